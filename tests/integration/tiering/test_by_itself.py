"""Studies go cold by themselves: a worker on DBOS drives the real steps, from what is due to the trim."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from archive.clock import monotonic
from archive.index import set_aside
from archive.services.assess import rules_of
from archive.services.migration import Migration
from archive.services.migration_queue import MigrationQueue
from archive.services.tier_plan import TierPlan
from archive.services.trim_hot import ColdCleaner, HotTrimmer
from archive.worker import Pace, Worker
from tests.integration.disposal.conftest import SITES, study_uid
from tests.integration.index.making import value
from tests.integration.tiering.cold_side import ColdSide
from tests.integration.tiering.plain_lossy import PlainLossy
from tiering.errors import StoreRefused
from tiering.policy import TierPolicy
from tiering.prices import FOLDER, load_prices
from tiering.stores.base import Source, StoredObject
from tiering.stores.memory import MemoryStore

QUICK = Pace(2, 2, waits=(0.02,), tick=0.05, idle=0.1, pause=0.2, poll=0.05, trim=0.2)


def migration(side: ColdSide) -> Migration:
    """Return all that moves studies."""
    office = side.office
    committer, clock = office.rig.committer, office.clock
    bases = {site: rules.basis for site, rules in rules_of(SITES.values()).items()}
    queue = MigrationQueue(TierPlan(committer, TierPolicy(attempts=2), bases, load_prices(), FOLDER), monotonic)
    trimmer = HotTrimmer(committer, side.stores, side.cold, clock, timedelta(days=1))
    cleaner = ColdCleaner(committer, side.stores, clock)
    return Migration(side.migrator, trimmer, cleaner, lambda limit: queue.due(clock().date(), limit))


@contextmanager
def working(side: ColdSide, folder: Path, *, is_open: Callable[[], bool] = lambda: True) -> Iterator[None]:
    """Have a worker at it meanwhile."""
    url = f"sqlite:///{folder / 'workflows.db'}"
    worker = Worker(
        migration(side), QUICK, system_database_url=url, executor_id="test", is_open=is_open, clock=side.office.clock
    )
    worker.start()
    try:
        yield
    finally:
        worker.stop()


def wait_until(holds: Callable[[], bool]) -> None:
    """Wait for what has to come within half a minute."""
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.05)


def cold_studies(side: ColdSide) -> int:
    """Return how many studies have a cold pack that stands in."""
    found = value(
        side.office.ledger.database, "SELECT COUNT(DISTINCT study_instance_uid) FROM pack WHERE tier = 'cold'"
    )
    assert isinstance(found, int)
    return found


@pytest.mark.parametrize("is_lossy", [False, True], ids=["lossless", "lossy"])
def test_what_is_due_goes_cold_by_itself(side: ColdSide, tmp_path: Path, is_lossy: bool) -> None:
    """Each study once; when the grace period is over its hot packs go."""
    if is_lossy:
        side.lossy = PlainLossy(side.stores)
    side.sealed(1, 2, 3, instances=2)
    with working(side, tmp_path):
        wait_until(lambda: cold_studies(side) == 3)
        side.office.days(2)
        wait_until(lambda: side.hot_packs() == [])
    assert len(side.cold_keys()) == 3


def test_nothing_begins_outside_of_the_window(side: ColdSide, tmp_path: Path) -> None:
    """Closed: nothing goes. Opened: it does."""
    side.sealed(1, instances=1)
    opened = threading.Event()
    with working(side, tmp_path, is_open=opened.is_set):
        time.sleep(0.6)
        assert cold_studies(side) == 0
        opened.set()
        wait_until(lambda: cold_studies(side) == 1)


class Refusing(MemoryStore):
    """A store that refuses the packs of one study."""

    study = ""

    def put(self, key: str, source: Source, *, size_bytes: int, sha256: bytes) -> StoredObject:
        """Refuse it for good."""
        if self.study in key.split("/"):
            raise StoreRefused(reason="as asked")
        return super().put(key, source, size_bytes=size_bytes, sha256=sha256)


def test_a_study_that_cannot_go_is_set_aside_and_others_go(side: ColdSide, tmp_path: Path) -> None:
    """Tried twice, told why, left alone; the rest is done."""
    store = Refusing()
    store.study = study_uid(2)
    side = replace(side, cold=store)
    side.sealed(1, 2, 3, instances=1)
    database = side.office.ledger.database

    def attempts() -> list[int]:
        with database.read() as connection:
            return [each.attempts for each in set_aside.all_of(connection)]

    with working(side, tmp_path):
        wait_until(lambda: cold_studies(side) == 2 and attempts() != [])
    assert len(side.hot_packs()) == 3
    with database.read() as connection:
        (failed,) = set_aside.all_of(connection)
    assert failed.study_instance_uid == study_uid(2)
    assert "as asked" in failed.reason


def test_a_study_that_goes_in_the_end_is_not_set_aside_any_more(side: ColdSide) -> None:
    """Its failures are forgotten with the switch."""
    side.sealed(1, instances=1)
    steps = migration(side)
    assert [steps.failed(study_uid(1), "once") for _ in range(2)] == [1, 2]
    steps.switch(study_uid(1), [steps.prepare(study_uid(1), series) for series in steps.series_of(study_uid(1))])
    with side.office.ledger.database.read() as connection:
        assert set_aside.all_of(connection) == []


def test_work_is_told_to_whoever_paces_it(side: ColdSide) -> None:
    """Each series says how long it took."""
    side.sealed(1, instances=1)
    told: list[float] = []
    steps = replace(migration(side), rest=told.append)
    steps.prepare(study_uid(1), steps.series_of(study_uid(1))[0])
    assert len(told) == 1
    assert told[0] > 0
