"""What the archive does by itself while it serves: notes that the clock is right, and keeps assessments current."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from archive import bootstrap
from archive.bootstrap_disposal import assessor_of
from archive.clock import utc_now
from archive.config import load_settings
from archive.index import sweeps
from archive.index.session import Database
from archive.opening import Core, open_existing
from archive.services.facts import NewFact, changes
from archive.services.sweep import Sweeps, Wanted
from tests.integration.index.making import add, change, rows, value
from tests.integration.retention.sweeping import nothing, study


@pytest.fixture
def core(database: Database, url: str, tmp_path: Path) -> Iterator[Core]:
    """Lend an open archive with one study, swept once."""
    home = tmp_path / "home"
    home.mkdir()
    (home / "drimbox.toml").write_text(f'[[sites]]\nname = "CHU"\n[index]\nurl = "{url}"\n')
    add(database, study(1))
    with open_existing(load_settings(None, {"home": home})) as core:
        Sweeps(assessor_of(core)).apply(Wanted(), "anne", nothing)
        yield core


@contextmanager
def keeping(core: Core, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have the house kept meanwhile, settling each second."""
    monkeypatch.setattr(bootstrap, "_SETTLE_SECONDS", 1)
    over = threading.Event()
    keeper = threading.Thread(target=bootstrap._keep_house, args=(core, over))
    keeper.start()
    try:
        yield
    finally:
        over.set()
        keeper.join()


def wait_until(holds: Callable[[], bool]) -> None:
    """Wait for what has to come within ten seconds."""
    deadline = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.05)


def test_a_fact_and_an_arrival_settle_by_themselves(core: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody sweeps: a visit that is told moves the date, and a study that arrives is assessed."""
    visit = NewFact("CHU", "P1", "visit", "test", "v1", from_on="2015-05-01")
    with keeping(core, monkeypatch):
        core.ledger.act("anne", lambda connection: changes(connection, [visit]))
        add(core.database, study(2))
        wait_until(
            lambda: (
                rows(core.database, "SELECT eligible_on FROM assessment ORDER BY study_instance_uid")
                == [("2035-05-02",), ("2020-03-03",)]
            )
        )


def test_the_clock_is_noted(core: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the house is kept, the moment last trusted goes with the clock."""
    with core.database.read() as connection:
        before = sweeps.trusted(connection)
    assert before is not None
    with keeping(core, monkeypatch):
        wait_until(lambda: value(core.database, "SELECT trusted_at FROM sweep_mark") > before.at.isoformat())


def test_with_a_clock_that_jumped_nothing_settles(core: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is stale stays so, and the house goes on being kept."""
    change(core.database, "UPDATE assessment SET is_stale = 1")
    past = (utc_now() - timedelta(days=3)).isoformat(timespec="microseconds")[:26] + "Z"
    change(core.database, "UPDATE sweep_mark SET trusted_at = ?", (past,))
    with keeping(core, monkeypatch):
        time.sleep(2.5)
    assert value(core.database, "SELECT is_stale FROM assessment") == 1
    assert value(core.database, "SELECT trusted_at FROM sweep_mark") == past
