"""Benchmarks of DICOMweb beside Orthanc's: searches in a large index, and storing; must not reach into the archive."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from archive.clock import monotonic
from benchmarks import clients, peers
from benchmarks.conftest import Record, Size
from benchmarks.peers import Endpoint
from benchmarks.phantom import cached_series
from benchmarks.results import OURS, Figure, Target, grouped, percentile
from benchmarks.rounds import Benchmark, Contender, peaks_mib, rates, take_turns
from benchmarks.stores import expect_instances, filled_home, fresh
from benchmarks.web import body_of, connected

Keys = dict[str, str]
_AT_ONCE = 20
_PAGE = 101
_TARGETS = (Target(20.0),)


# ---- QIDO-RS -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def full_archive(size: Size) -> Iterator[Endpoint]:
    """Serve an archive whose index holds as many studies as the size says."""
    with filled_home(size.studies, size.instances_per_study) as home, peers.web_archive(home) as endpoint:
        yield endpoint


@pytest.fixture(scope="module")
def studies(full_archive: Endpoint, size: Size) -> list[dict[str, Any]]:
    """Give as many studies as there will be queries, as the archive itself answers them."""
    with connected(full_archive) as web:
        found = [
            study for offset in range(0, size.studies, 5000) for study in web.search("/studies", **_page(offset, 5000))
        ]
    return random.Random(1).choices(found, k=size.queries)


def _page(offset: int, limit: int) -> Keys:
    return {"limit": str(limit), "offset": str(offset)}


def _value(study: dict[str, Any], tag: str) -> str:
    found = study[tag]["Value"][0]
    return str(found["Alphabetic"] if isinstance(found, dict) else found)


def _measure(benchmark: Benchmark, archive: Endpoint, queries: Sequence[Keys], name: str, title: str) -> Figure:
    """Ask every query once over one connection and return the figure of their times' 95th percentile."""
    took: list[float] = []
    answers: list[int] = []
    remaining = iter(queries)
    with connected(archive) as web:
        web.search("/studies", **queries[0])

        def ask() -> None:
            started = monotonic()
            found = web.search("/studies", **next(remaining))
            took.append((monotonic() - started) * 1000)
            answers.append(len(found))

        benchmark.pedantic(ask, setup=_nothing, teardown=_nothing, rounds=len(queries), iterations=1)
    assert min(answers) >= 1, "a query made of a stored study found nothing"
    details = {
        "queries": len(took),
        "answers": {"median": int(percentile(answers, 50)), "most": max(answers)},
        "ms": {f"p{rank}": round(percentile(took, rank), 3) for rank in (50, 95, 99, 100)},
    }
    third = max(1, len(took) // 3)
    rounds = {OURS: [percentile(took[start : start + third], 95) for start in range(0, third * 3, third)]}
    return Figure(name, title, "ms p95", rounds, _TARGETS, higher_is_better=False, details=details)


def _nothing() -> None:
    """Do nothing before and after a query."""


def _title(size: Size, what: str) -> str:
    return f"QIDO-RS by {what}, {grouped(size.studies)} studies"


def test_search_by_patient_id(
    benchmark: Benchmark, record: Record, full_archive: Endpoint, studies: list[dict[str, Any]], size: Size
) -> None:
    """A search for a patient's studies is answered whole within 20 ms at the 95th percentile."""
    queries = [{"PatientID": _value(study, "00100020")} for study in studies]
    record(_measure(benchmark, full_archive, queries, "search-by-patient-id", _title(size, "PatientID")))


def test_search_by_date_and_modality(
    benchmark: Benchmark, record: Record, full_archive: Endpoint, studies: list[dict[str, Any]], size: Size
) -> None:
    """A search for a week and a modality is answered, a page of 101, within 20 ms at the 95th percentile."""
    queries = [_week_of(_value(study, "00080020"), _value(study, "00080061")) for study in studies]
    title = _title(size, "StudyDate range and modality")
    record(_measure(benchmark, full_archive, queries, "search-by-date-and-modality", title))


def _week_of(first_day: str, modality: str) -> Keys:
    last_day = (date.fromisoformat(first_day) + timedelta(days=6)).strftime("%Y%m%d")
    return {"StudyDate": f"{first_day}-{last_day}", "ModalitiesInStudy": modality, "limit": str(_PAGE)}


def test_search_by_name(
    benchmark: Benchmark, record: Record, full_archive: Endpoint, studies: list[dict[str, Any]], size: Size
) -> None:
    """A search for the beginning of a name, a page of 101, is answered within 20 ms at the 95th percentile."""
    names = [_value(study, "00100010").partition("^")[0].lower() for study in studies]
    queries = [{"PatientName": f"{name}*", "limit": str(_PAGE)} for name in names]
    record(_measure(benchmark, full_archive, queries, "search-by-name", _title(size, "name prefix")))


def test_worklist_page(
    benchmark: Benchmark, record: Record, full_archive: Endpoint, studies: list[dict[str, Any]], size: Size
) -> None:
    """A page of 101 of all studies, as a viewer opens its list, comes within 20 ms at the 95th percentile."""
    offsets = [random.Random(2).randrange(0, max(1, size.studies - _PAGE)) for _ in studies]
    queries = [_page(offset, _PAGE) for offset in offsets]
    record(_measure(benchmark, full_archive, queries, "study-list", _title(size, "nothing, pages of 101")))


# ---- STOW-RS -------------------------------------------------------------------------------------------------------


def _contenders(bodies: Sequence[bytes], workspace: Path, study: str, count: int, *, at_once: int) -> list[Contender]:
    check = expect_instances(count, study)
    work = partial(_store, bodies, at_once)
    return [
        Contender(OURS, partial(fresh, peers.web_archive, workspace), work, check),
        Contender("orthanc", partial(fresh, peers.orthanc, workspace), work, check),
    ]


def _store(bodies: Sequence[bytes], at_once: int, endpoint: Endpoint) -> None:
    """Send the bodies over so many connections at once."""

    def send(mine: Sequence[bytes]) -> None:
        with connected(endpoint) as web:
            for body in mine:
                web.store(body)

    with ThreadPoolExecutor(at_once) as pool:
        list(pool.map(send, [bodies[start::at_once] for start in range(at_once)]))


@pytest.mark.parametrize(("at_once", "name"), [(1, "store-one-connection"), (4, "store-four-connections")])
def test_store(benchmark: Benchmark, record: Record, size: Size, workspace: Path, at_once: int, name: str) -> None:
    """A CT series sent in requests of 20 instances is taken in faster than by Orthanc."""
    source, shown = cached_series(size.slices)
    clients.warm(source)
    files = sorted(source.iterdir())
    bodies = [body_of(files[start : start + _AT_ONCE]) for start in range(0, len(files), _AT_ONCE)]
    contenders = _contenders(bodies, workspace, shown.study_instance_uid, len(files), at_once=at_once)
    take_turns(benchmark, contenders, size.rounds)
    title = f"STOW-RS of a 512² CT series, {at_once} connection{'s' * (at_once > 1)}"
    details = {"peak_rss_mib": peaks_mib(contenders), "instances": len(files), "instances_per_request": _AT_ONCE}
    rounds = rates(contenders, len(files))
    record(Figure(name, title, "instances/s", rounds, [Target(1.0, 2.0, against="orthanc")], details=details))
