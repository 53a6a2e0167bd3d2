"""What comes in is counted with the objects themselves, and compared."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from archive.audit import Entry
from archive.index import arrivals
from archive.index.arrivals import HourCount
from archive.index.instances import AddOutcome
from archive.services.arrival_watch import ArrivalWatch
from archive.services.drops import DropRules
from archive.services.importer import Importer
from tests.integration.index.making import new_instance
from tests.objects import ct_dataset, write_series
from tests.unit.services.rig import Rig, open_rig

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    """Lend an empty archive."""
    with open_rig(tmp_path / "home") as lent:
        yield lent


def counts(rig: Rig) -> list[HourCount]:
    """Return all that was counted."""
    with rig.committer.read() as connection:
        return arrivals.between(connection, NOON - timedelta(days=60), NOON + timedelta(days=60))


def test_each_stored_object_counts_once(rig: Rig) -> None:
    """One that is sent again is no arrival."""
    for number in (1, 2, 2):
        rig.send(ct_dataset(number))
    (row,) = counts(rig)
    assert (row.hour, row.site, row.modality, row.instances) == ("2026-11-23T12", "default", "CT", 2)


def test_an_object_that_two_processes_hand_in_counts_once(rig: Rig) -> None:
    """The index finds out, and so do the counts."""
    instance = new_instance()
    outcomes = [rig.committer.add(instance, Entry(NOON, "adopted", "drimbox", {})) for _ in range(2)]
    assert outcomes == [AddOutcome.ADDED, AddOutcome.SAME]
    assert [row.instances for row in counts(rig)] == [1]
    assert dict(rig.committer.arrived()) == {("CHU", "CT"): (1, 1001)}


def test_files_that_are_imported_are_no_arrivals(rig: Rig, tmp_path: Path) -> None:
    """A hundred thousand old images taken in on a Tuesday would make next Tuesday look like a breakdown."""
    write_series(tmp_path / "files", 2)
    report = Importer(rig.ingest, rig.committer, rig.clock, "clinic", "DRIMBOX").run(
        [tmp_path / "files"], lambda done, total: None
    )
    assert (report.stored, counts(rig)) == (2, [])


def test_a_modality_that_falls_silent_is_found(rig: Rig) -> None:
    """Four Mondays with an object, then none: a drop of today, and none of Sunday."""
    for week in range(1, 5):
        rig.clock.now = NOON - timedelta(weeks=week)
        rig.send(ct_dataset(week))
    rig.committer.barrier()
    watch = ArrivalWatch(rig.database, DropRules(min_expected=1), UTC)
    (found,) = watch.drops(NOON + timedelta(hours=3))
    assert (found.on, found.site, found.modality, found.got, found.expected) == (NOON.date(), "default", "CT", 0, 1)
    assert [each.is_drop for each in watch.days(NOON + timedelta(hours=3), days=3)] == [True, False, False]
    assert watch.drops(NOON + timedelta(days=2)) == []
