"""Benchmarks of ``drimbox retention sweep`` on a large embedded index, as a process of its own; must not time the fill.

Studies have one instance each: what a sweep costs goes with the number of studies.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from archive.clock import monotonic
from benchmarks.conftest import Record, Size
from benchmarks.results import OURS, Figure, Target, grouped
from benchmarks.rounds import Benchmark, settle
from benchmarks.stores import filled_index

_STORE = (Target(90.0),)
_DRY = (Target(10.0),)
_FACT = (Target(1.0),)
_MEMORY = (Target(300.0),)
_TOUCHED = 50
_DUE_OF = 50  # one study in fifty is due on the day that is asked about: 20 000 of a million
_PASSWORD = {"DRIMBOX_NEW_PASSWORD": "correct horse battery", "DRIMBOX_PASSWORD": "correct horse battery"}

_SCRIPT = """
import sys
from archive.cli import root
root.main(sys.argv[1:], standalone_mode=False)
print(*[line for line in open("/proc/self/status") if line.startswith("VmHWM:")], file=sys.stderr)
"""
# Not ru_maxrss: what a process was forked from counts in that.


def _studies(size: Size) -> int:
    return 1_000_000 if size.full else 5_000


@dataclass(frozen=True, slots=True)
class Swept:
    """What a sweep took and said; ``peak_mib`` is the process's largest resident memory."""

    seconds: float
    peak_mib: float
    report: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Home:
    """An archive's home, worked on through the command line."""

    path: Path

    def run(self, *words: str) -> Swept:
        """Run ``drimbox`` to its end; the start of the process counts."""
        environment = {**os.environ, **_PASSWORD, "DRIMBOX_HOME": str(self.path)}
        started = monotonic()
        done = subprocess.run(
            [sys.executable, "-c", _SCRIPT, *words], env=environment, capture_output=True, text=True, check=True
        )
        seconds = monotonic() - started
        report = json.loads(done.stdout) if "--json" in words else {}
        return Swept(seconds, int(done.stderr.split()[-2]) / 1024, report)

    def sweep(self, *words: str) -> Swept:
        """Sweep and return what it said."""
        return self.run("retention", "sweep", "--json", *words)

    def ask(self, sql: str) -> Any:
        """Return the first value of the first row of the index."""
        with closing(sqlite3.connect(f"file:{self.path / 'index.db'}?mode=ro", uri=True)) as connection:
            return connection.execute(sql).fetchone()[0]


@pytest.fixture(scope="module")
def home(size: Size) -> Iterator[Home]:
    """Give an archive with as many studies as the size says, none of them assessed yet, and an account."""
    with tempfile.TemporaryDirectory(prefix="drimbox-bench-") as folder:
        path = Path(folder) / "home"
        path.mkdir()
        (path / "drimbox.toml").write_text('[[sites]]\nname = "CHU"\n')
        shutil.copyfile(filled_index(_studies(size), 1), path / "index.db")
        home = Home(path)
        home.run("account", "create", "bench", "--full-name", "Bench", "--role", "operator")
        settle()
        yield home


def _figure(name: str, title: str, rounds: list[float], targets: tuple[Target, ...], **details: Any) -> Figure:
    unit = "MiB" if targets is _MEMORY else "s"
    return Figure(name, title, unit, {OURS: rounds}, targets, higher_is_better=False, details=details)


def test_assess_and_store(benchmark: Benchmark, record: Record, home: Home, size: Size) -> None:
    """A first sweep assesses and stores a million studies within 90 s, and in little memory."""
    found: list[Swept] = []
    benchmark.pedantic(
        lambda: found.append(home.sweep("--apply", "--as", "bench")),
        setup=_nothing,
        teardown=_nothing,
        rounds=1,
        iterations=1,
    )
    assert found[0].report["assessed"] == found[0].report["all"]["studies"] == _studies(size)
    title = f"First sweep: {grouped(_studies(size))} studies assessed and stored"
    record(_figure("sweep-store", title, [found[0].seconds], _STORE, peak_mib=round(found[0].peak_mib, 1)))


def test_dry_run(benchmark: Benchmark, record: Record, home: Home, size: Size) -> None:
    """A dry run over a million assessed studies, 20 000 of them due, takes at most 10 s."""
    day = _day_on_which_many_are_due(home, size)
    found: list[Swept] = []
    benchmark.pedantic(
        lambda: found.append(home.sweep("--as-of", day)), setup=_nothing, teardown=_nothing, rounds=3, iterations=1
    )
    due = found[0].report["due"]["studies"]
    assert due >= _studies(size) // _DUE_OF
    title = f"Dry-run sweep over {grouped(_studies(size))} studies"
    record(_figure("sweep-dry-run", title, [each.seconds for each in found], _DRY, due=due))


def test_dry_run_memory(benchmark: Benchmark, record: Record, home: Home, size: Size) -> None:
    """The same dry run holds at most 300 MiB at any moment, the pages of the index it has mapped included."""
    day = _day_on_which_many_are_due(home, size)
    found: list[Swept] = []
    benchmark.pedantic(
        lambda: found.append(home.sweep("--as-of", day)), setup=_nothing, teardown=_nothing, rounds=1, iterations=1
    )
    title = f"Memory of a dry-run sweep over {grouped(_studies(size))} studies"
    record(_figure("sweep-memory", title, [found[0].peak_mib], _MEMORY))


def test_a_fact_settles(benchmark: Benchmark, record: Record, home: Home, size: Size) -> None:
    """A fact that touches 50 studies is told and settled within a second, by the code the archive serves with."""
    import_line = "UPDATE study SET patient_fk = 1 WHERE id IN (SELECT id FROM study ORDER BY id DESC LIMIT ?)"
    with closing(sqlite3.connect(home.path / "index.db")) as connection, connection:
        connection.execute(import_line, (_TOUCHED,))
    home.sweep("--apply", "--as", "bench")
    found: list[float] = []
    days = iter(range(1, 20))
    benchmark.pedantic(
        lambda: found.append(_told(home, f"2027-03-{next(days):02d}")),
        setup=_nothing,
        teardown=_nothing,
        rounds=size.rounds,
        iterations=1,
    )
    title = f"A fact that touches {_TOUCHED} of {grouped(_studies(size))} studies, told and settled"
    record(_figure("sweep-settle", title, found, _FACT))


def _told(home: Home, day: str) -> float:
    """Tell a visit, settle, and return the seconds of both; they run in this process, as they do in the server's."""
    from archive.config import load_settings
    from archive.opening import open_existing
    from archive.services.assess import Assessor, rules_of
    from archive.services.facts import NewFact, changes

    settings = load_settings(None, {"home": home.path})
    with open_existing(settings) as core:
        assessor = Assessor(core.database, rules_of(settings.sites), core.ledger.clock)
        patient_id = home.ask("SELECT patient_id FROM patient WHERE id = 1")
        fact = NewFact("CHU", patient_id, "visit", "bench", day, from_on=day)
        started = monotonic()
        core.ledger.act("bench", lambda connection: changes(connection, [fact]))
        settled = assessor.settle()
        seconds = monotonic() - started
    assert settled >= _TOUCHED, "the fact touched fewer studies than it should"
    return seconds


def _day_on_which_many_are_due(home: Home, size: Size) -> str:
    """Return the first day on which one study in fifty is due."""
    place = _studies(size) // _DUE_OF
    ordered = "SELECT eligible_on FROM assessment WHERE eligible_on IS NOT NULL ORDER BY eligible_on"
    return str(home.ask(f"{ordered} LIMIT 1 OFFSET {place - 1}"))


def _nothing() -> None:
    """Do nothing before and after a round."""
