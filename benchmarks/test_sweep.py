"""Benchmarks of retention on a large index: all studies assessed and stored, swept, and one fact settled.

The archive is called as an operator calls it, in a process of its own; only the settling of a fact is timed inside one.
Must not look at a peer: none explains itself.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from archive.bootstrap import assessments_of, open_existing
from archive.clock import monotonic
from archive.config import load_settings
from benchmarks.conftest import Record, Size
from benchmarks.results import OURS, Figure, Target, grouped
from benchmarks.rounds import Benchmark, settle
from benchmarks.stores import filled_index

TOUCHED = 50
_ASSESSED = (Target(90.0),)
_SWEPT = (Target(10.0),)
_MEMORY = (Target(300.0),)
_SETTLED = (Target(1.0),)
_SCRIPT = """
import sys
from archive.cli import root
root.main(sys.argv[1:], standalone_mode=False)
print(*[line for line in open("/proc/self/status") if line.startswith("VmHWM:")], file=sys.stderr)
"""


@pytest.fixture(scope="module")
def home(size: Size) -> Iterator[Path]:
    """Give a home whose index holds a million studies (two thousand) of one instance, nothing assessed yet."""
    with tempfile.TemporaryDirectory(prefix="drimbox-bench-") as folder:
        shutil.copyfile(filled_index(_studies(size), 1), Path(folder) / "index.db")
        settle()
        yield Path(folder)


def _studies(size: Size) -> int:
    return 1_000_000 if size.full else 2_000


def sweep(home: Path, *options: str) -> tuple[float, float, dict[str, Any]]:
    """Sweep in a process of its own; return its seconds, its largest memory in MiB and its report."""
    words = [sys.executable, "-c", _SCRIPT, "retention", "sweep", "--home", str(home), "--json", *options]
    started = monotonic()
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    seconds = monotonic() - started
    return seconds, int(done.stderr.split()[1]) / 1024, json.loads(done.stdout)


def _figure(name: str, title: str, values: list[float], *, unit: str, targets: tuple[Target, ...]) -> Figure:
    return Figure(name, title, unit, {OURS: values}, targets, False)


def test_everything_is_assessed_and_stored(benchmark: Benchmark, record: Record, size: Size, home: Path) -> None:
    """A million studies never assessed before are assessed and stored by one sweep, in 90 s at most."""
    made: list[tuple[float, float, dict[str, Any]]] = []
    benchmark.pedantic(lambda: made.append(sweep(home)), setup=settle, teardown=settle, rounds=1, iterations=1)
    [(seconds, mebibytes, report)] = made
    assert report["assessed"] == report["total"]["studies"] == _studies(size)
    title = f"{grouped(_studies(size))} studies assessed and stored"
    record(_figure("assessed", title, [seconds], unit="s", targets=_ASSESSED))
    record(_figure("assessed-memory", f"Memory, {title}", [mebibytes], unit="MiB", targets=()))


def test_a_dry_run_over_everything(benchmark: Benchmark, record: Record, size: Size, home: Path) -> None:
    """A dry run over a million assessed studies, one in fifty due and judged again, takes 10 s at most."""
    sweep(home)
    due = _studies(size) // 50
    day = _day_on_which_are_due(home / "index.db", due)
    made: list[tuple[float, float, dict[str, Any]]] = []

    def work() -> None:
        made.append(sweep(home, "--as-of", day))

    benchmark.pedantic(work, setup=settle, teardown=settle, rounds=size.rounds, iterations=1)
    assert all(report["assessed"] == 0 and report["due"]["studies"] >= due for _, _, report in made)
    title = f"Dry-run sweep over {grouped(_studies(size))} studies, {grouped(due)} due"
    record(_figure("swept", title, [seconds for seconds, _, _ in made], unit="s", targets=_SWEPT))
    record(_figure("swept-memory", f"Memory, {title}", [each for _, each, _ in made], unit="MiB", targets=_MEMORY))


def _day_on_which_are_due(index: Path, studies: int) -> str:
    """Return the first day on which so many studies are due."""
    query = "SELECT eligible_on FROM assessment WHERE blocked_by = '' ORDER BY eligible_on LIMIT 1 OFFSET ?"
    with closing(sqlite3.connect(index)) as connection:
        return str(connection.execute(query, (studies,)).fetchone()[0])


def test_a_fact_that_touches_fifty_studies(benchmark: Benchmark, record: Record, size: Size, home: Path) -> None:
    """What one fact made stale, fifty studies among a million, is assessed again within a second."""
    sweep(home)
    seconds: list[float] = []
    with open_existing(load_settings(None, {"home": home})) as core:
        assessments = assessments_of(core)

        def touch() -> None:
            with core.database.write(synced=True) as connection:
                connection.exec_driver_sql(
                    "UPDATE assessment SET is_stale = 1 WHERE study_instance_uid IN "
                    f"(SELECT study_instance_uid FROM study WHERE id % {_studies(size) // TOUCHED} = 1)"
                )

        def work() -> None:
            started = monotonic()
            assert assessments.settle(date(2026, 11, 26)) == TOUCHED
            seconds.append(monotonic() - started)

        benchmark.pedantic(work, setup=touch, teardown=settle, rounds=size.rounds, iterations=1)
    title = f"A fact that touches {TOUCHED} of {grouped(_studies(size))} studies, settled"
    record(_figure("settled", title, seconds, unit="s", targets=_SETTLED))
