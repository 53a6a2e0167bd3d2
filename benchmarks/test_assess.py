"""Benchmarks of ``drimbox retention assess``: lines a second end to end, and its memory; must not call the engine."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from archive.clock import monotonic
from benchmarks.conftest import Record, Size
from benchmarks.results import OURS, Figure, Target, grouped
from benchmarks.rounds import Benchmark

_TARGETS = (Target(20_000, goal=40_000),)
_GROWTH = (Target(12.0),)
_DAYS = (date(2026, 1, 1) - date(1995, 1, 1)).days

# The command, then the largest memory its process had; getrusage would give its parent's.
_SCRIPT = """
import sys
from archive.cli import root
root.main(sys.argv[1:], standalone_mode=False)
print(*[line for line in open("/proc/self/status") if line.startswith("VmHWM:")], file=sys.stderr)
"""


def write_facts(path: Path, lines: int) -> None:
    """Write facts as hospitals and practices have them: most patients alive, some dead, few appeals and holds."""
    draw = random.Random(1)
    with path.open("w", encoding="ascii") as file:
        for number in range(lines):
            file.write(json.dumps(_facts(draw, number)) + "\n")


def _facts(draw: random.Random, number: int) -> dict[str, Any]:
    exam = date(1995, 1, 1) + timedelta(days=draw.randrange(_DAYS))
    visit = exam + timedelta(days=draw.randrange(3000))
    appeal = {"from": f"{exam + timedelta(days=200)}", "to": f"{exam + timedelta(days=900)}"}
    return {
        "case": f"c{number}",
        "regime": draw.choice(["hospital", "hospital", "private"]),
        "exam_on": f"{exam}",
        "last_visit_on": f"{visit}",
        "birth_on": draw.choice([f"{exam - timedelta(days=draw.randrange(33_000))}"] * 9 + [None]),
        "death_on": f"{visit + timedelta(days=draw.randrange(6000))}" if draw.random() < 0.2 else None,
        "deceased": False,
        "appeals": [appeal] if draw.random() < 0.02 else [],
        "holds": [{"id": "h1", "reason": "research"}] if draw.random() < 0.02 else [],
        "modalities": [draw.choice(["CT", "MR", "MG", "US", "CR"])],
        "facts_trusted": True,
    }


@pytest.fixture(scope="module")
def facts(size: Size, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Give a file with as many lines as the size says, and one with a tenth beside it."""
    folder = tmp_path_factory.mktemp("facts")
    write_facts(folder / "many.jsonl", _lines(size))
    write_facts(folder / "few.jsonl", _lines(size) // 10)
    yield folder
    shutil.rmtree(folder)


def _lines(size: Size) -> int:
    return 1_000_000 if size.full else 20_000


def run(file: Path) -> tuple[float, float]:
    """Assess a file in a process of its own, on one core; return its seconds and its largest memory in MiB."""
    answers = file.with_suffix(".out")
    words = [sys.executable, "-c", _SCRIPT, "retention", "assess", "--facts", str(file), "--as-of", "2035-01-01"]
    with answers.open("wb") as out, _one_core():
        started = monotonic()
        done = subprocess.run(words, stdout=out, stderr=subprocess.PIPE, text=True, check=True)
        seconds = monotonic() - started
    assert _count(answers) == _count(file), "there is one answer a line"
    return seconds, int(done.stderr.split()[1]) / 1024


@contextmanager
def _one_core() -> Iterator[None]:
    """Keep this process, and what it starts, on one core."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


def _count(file: Path) -> int:
    with file.open("rb") as lines:
        return sum(1 for _ in lines)


def test_assess(benchmark: Benchmark, record: Record, facts: Path, size: Size) -> None:
    """At least 20 000 lines a second are answered on one core, start of the process included."""
    rounds: list[float] = []

    def assess() -> None:
        rounds.append(_lines(size) / run(facts / "many.jsonl")[0])

    benchmark.pedantic(assess, setup=_nothing, teardown=_nothing, rounds=size.rounds, iterations=1)
    title = f"Assessments a second, {grouped(_lines(size))} lines of facts, one core"
    record(Figure("assess", title, "1/s", {OURS: rounds}, _TARGETS))


def test_memory_is_flat(benchmark: Benchmark, record: Record, facts: Path, size: Size) -> None:
    """Ten times the lines take at most 12 MiB more at full size: the bounded cache of dates, and no line, is kept."""
    rounds: list[float] = []
    peaks: list[float] = []

    def assess() -> None:
        few, many = (run(facts / name)[1] for name in ("few.jsonl", "many.jsonl"))
        rounds.append(max(0.0, many - few))
        peaks.append(round(many, 1))

    benchmark.pedantic(assess, setup=_nothing, teardown=_nothing, rounds=2, iterations=1)
    title = f"Memory {grouped(_lines(size))} assessments take beyond a tenth of them"
    details = {"peak_mib": peaks}
    record(Figure("assess-memory", title, "MiB", {OURS: rounds}, _GROWTH, higher_is_better=False, details=details))


def _nothing() -> None:
    """Do nothing before and after a round."""
