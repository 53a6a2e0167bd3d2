"""What a study holds at a moment: its site, its series, and a generation that changes with every copy."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from archive.index.contents import SeriesContent, contents, site_of
from archive.index.statements import Statement
from tests.objects import ROOT, ct_dataset
from tests.unit.services.shelf import Shelf, open_shelf

STUDY = f"{ROOT}.1"


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Shelf]:
    """A shelf with two series of a study."""
    with open_shelf(tmp_path) as shelf:
        for series, number in ((2, 1), (1, 1), (1, 2)):
            shelf.put(ct_dataset(number, series=series))
        yield shelf


def now(shelf: Shelf, series: str = "") -> list[SeriesContent]:
    """Return what the study holds."""
    with shelf.committer.read() as connection:
        return contents(connection, STUDY, series)


def test_series_in_the_order_in_which_they_came(shelf: Shelf) -> None:
    """Each with its count; one of them by its UID; nothing of a study that is not here."""
    assert [(uid, count) for uid, count, _ in now(shelf)] == [(f"{STUDY}.2", 1), (f"{STUDY}.1", 2)]
    assert now(shelf, f"{STUDY}.1") == now(shelf)[1:]
    assert now(shelf, "1.2.3") == []
    with shelf.committer.read() as connection:
        assert contents(connection, "1.2.3") == []
        assert (site_of(connection, STUDY), site_of(connection, "1.2.3")) == ("default", None)


def test_the_generation_is_that_of_the_copies_given(shelf: Shelf) -> None:
    """A new instance changes that of its series alone; a second copy, behind a hot one, changes none."""
    before = now(shelf)
    copy = (
        "INSERT INTO location (instance_fk, tier, key, sha256, header_size, size_bytes, state, dataset_sha256) "
        "SELECT instance_fk, 'cold', 'elsewhere', sha256, header_size, size_bytes, 'present', sha256 "
        "FROM location WHERE instance_fk = 1"
    )
    with shelf.committer.database.write(synced=False) as connection:
        Statement(copy).run(connection)
    assert now(shelf) == before
    shelf.put(ct_dataset(3, series=1))
    after = now(shelf)
    assert after[0] == before[0]
    assert (after[1][1], after[1][2] == before[1][2]) == (3, False)
    with shelf.committer.database.write(synced=False) as connection:
        Statement("UPDATE location SET state = 'missing' WHERE key <> 'elsewhere' AND instance_fk = 1").run(connection)
    assert now(shelf)[0][2] != before[0][2]
