"""Benchmarks of C-FIND on a large embedded index, timed over the wire; must not reach into the archive."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, timedelta

import pytest

from benchmarks import peers, probe
from benchmarks.conftest import Record, Size
from benchmarks.peers import Endpoint
from benchmarks.results import OURS, Figure, Target, grouped, percentile
from benchmarks.rounds import Benchmark
from benchmarks.stores import filled_home
from benchmarks.wire import Association

Keys = Mapping[int, tuple[str, str]]
_TARGETS = (Target(10.0),)
_YEARS = range(2000, 2030)


@pytest.fixture(scope="module")
def archive(size: Size) -> Iterator[Endpoint]:
    """Serve an archive whose embedded index holds as much as the size says."""
    with filled_home(size.studies, size.instances_per_study) as home, peers.archive(home) as endpoint:
        yield endpoint


@pytest.fixture(scope="module")
def studies(archive: Endpoint, size: Size) -> list[dict[int, str]]:
    """Give as many studies as there will be queries, as the archive itself answers them: what the queries ask for."""
    with probe.open_find(archive) as association:
        found = [study for year in _YEARS for study in _studies_of(association, year)]
    return random.Random(1).choices(found, k=size.queries)


def _studies_of(association: Association, year: int) -> list[dict[int, str]]:
    return probe.find_studies(association, {probe.STUDY_DATE: ("DA", f"{year}0101-{year}1231")})[1]


def _measure(benchmark: Benchmark, archive: Endpoint, queries: Sequence[Keys], name: str, title: str) -> Figure:
    """Ask every query once over one association and return the figure of their times' 95th percentile."""
    seconds: list[float] = []
    answers: list[int] = []
    remaining = iter(queries)

    with probe.open_find(archive) as association:
        probe.find_studies(association, queries[0])

        def ask() -> None:
            took, found = probe.find_studies(association, next(remaining))
            seconds.append(took * 1000)
            answers.append(len(found))

        benchmark.pedantic(ask, setup=_nothing, teardown=_nothing, rounds=len(queries), iterations=1)
    assert min(answers) >= 1, "a query made of a stored study found nothing"
    details = {
        "queries": len(seconds),
        "answers": {"median": int(percentile(answers, 50)), "most": max(answers)},
        "ms": {f"p{rank}": round(percentile(seconds, rank), 3) for rank in (50, 95, 99, 100)},
    }
    rounds = {OURS: _by_round(seconds)}
    return Figure(name, title, "ms p95", rounds, _TARGETS, higher_is_better=False, details=details)


def _nothing() -> None:
    """Do nothing before and after a query."""


def _by_round(seconds: Sequence[float], rounds: int = 3) -> list[float]:
    """Return the 95th percentile of each third of the times, so that one bad moment shows."""
    length = max(1, len(seconds) // rounds)
    return [percentile(seconds[start : start + length], 95) for start in range(0, length * rounds, length)]


def _title(size: Size, what: str) -> str:
    return f"C-FIND by {what}, {grouped(size.studies * size.instances_per_study)} instances indexed"


def test_by_patient_id(
    benchmark: Benchmark, record: Record, archive: Endpoint, studies: list[dict[int, str]], size: Size
) -> None:
    """A study query by PatientID is answered whole within 10 ms at the 95th percentile."""
    queries = [{probe.PATIENT_ID: ("LO", study[probe.PATIENT_ID])} for study in studies]
    record(_measure(benchmark, archive, queries, "by-patient-id", _title(size, "PatientID")))


def test_by_date_and_modality(
    benchmark: Benchmark, record: Record, archive: Endpoint, studies: list[dict[int, str]], size: Size
) -> None:
    """A study query for a week and a modality is answered whole within 10 ms at the 95th percentile."""
    queries = [_week_of(study[probe.STUDY_DATE], study[probe.MODALITIES].split("\\")[0]) for study in studies]
    record(_measure(benchmark, archive, queries, "by-date-and-modality", _title(size, "StudyDate range and modality")))


def _week_of(first_day: str, modality: str) -> Keys:
    """Return the query for a modality's studies of the seven days from ``first_day``."""
    last_day = (date.fromisoformat(first_day) + timedelta(days=6)).strftime("%Y%m%d")
    return {probe.STUDY_DATE: ("DA", f"{first_day}-{last_day}"), probe.MODALITIES: ("CS", modality)}


def test_by_name_prefix(
    benchmark: Benchmark, record: Record, archive: Endpoint, studies: list[dict[int, str]], size: Size
) -> None:
    """A study query by the beginning of a name, in small letters, is answered within 10 ms at the 95th percentile."""
    names = [study[probe.PATIENT_NAME].partition("^")[0].lower() for study in studies]
    queries = [{probe.PATIENT_NAME: ("PN", f"{name}*")} for name in names]
    record(_measure(benchmark, archive, queries, "by-name-prefix", _title(size, "name prefix")))
