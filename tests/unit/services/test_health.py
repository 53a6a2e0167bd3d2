"""Whether the archive can work: what is wrong is said, without a name."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import UTC
from pathlib import Path

import pytest

from archive.errors import LedgerBroken
from archive.index.session import Database
from archive.services.arrival_watch import ArrivalWatch
from archive.services.drops import DropRules
from archive.services.figures import FigureKeeper
from archive.services.health import Health
from tests.unit.services.rig import Rig, open_rig


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    """Lend an empty archive."""
    with open_rig(tmp_path / "home") as lent:
        yield lent


def health(rig: Rig, *, free: int = 1 << 40, ledger: str = "") -> Health:
    """Return what looks at it."""
    return Health(rig.committer, rig.hot, lambda: free, 512 << 20, lambda: ledger)


def test_an_archive_that_works_is_ready(rig: Rig) -> None:
    """And looking leaves nothing behind."""
    assert list(health(rig).problems()) == []
    assert (list(rig.hot.iterdir()), rig.events()) == ([], [])


def test_a_full_disk_is_told(rig: Rig) -> None:
    """With the floor."""
    assert list(health(rig, free=512 << 20).problems()) == ["hot store: less than 512 MiB are free"]


def test_a_hot_store_that_is_gone_is_told(rig: Rig) -> None:
    """A file system that was not mounted."""
    shutil.rmtree(rig.hot)
    assert list(health(rig).problems()) == ["hot store: No such file or directory"]


def test_a_ledger_that_is_broken_is_told(rig: Rig) -> None:
    """In the words of the ledger."""
    assert list(health(rig, ledger="broken at event 3").problems()) == ["ledger: broken at event 3"]


def test_an_index_that_does_not_take_anything_is_told(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write is tried, not only a read."""
    monkeypatch.setattr(Database, "write", _refused)
    (problem,) = health(rig).problems()
    assert problem.startswith("index: The index database does not answer: disk full")


def _refused(self: Database, *, synced: bool) -> object:
    from archive.errors import IndexUnavailable

    raise IndexUnavailable(reason="disk full")


def test_many_who_ask_cost_one_look(rig: Rig) -> None:
    """For two seconds the answer stays."""
    looks: list[int] = []

    def free() -> int:
        looks.append(1)
        return 1 << 40

    asked = Health(rig.committer, rig.hot, free, 0, str)
    for _ in range(50):
        asked.problems()
    assert len(looks) == 1


def keeper(rig: Rig, catch_up: object) -> FigureKeeper:
    """Return what counts."""
    assert callable(catch_up)
    return FigureKeeper(rig.database, ArrivalWatch(rig.database, DropRules(), UTC), rig.clock, 3, catch_up)


def test_a_broken_ledger_does_not_hide_the_figures(rig: Rig) -> None:
    """It is one of them."""

    def broken() -> None:
        raise LedgerBroken(sequence=4, reason="a line cannot be read")

    figures = keeper(rig, broken).refresh()
    assert "broken at event 4" in figures.ledger_problem
    assert keeper(rig, int).refresh().ledger_problem == ""
