"""Benchmarks of DICOMweb beside Orthanc's: searches in a large index, and storing; must not reach into the archive."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from archive.clock import monotonic
from benchmarks import clients, peers, small_studies
from benchmarks.conftest import Record, Size
from benchmarks.peers import Endpoint
from benchmarks.phantom import cached_series
from benchmarks.results import OURS, Figure, Target, grouped, percentile
from benchmarks.rounds import Benchmark, Contender, peaks_mib, rates, settle, take_turns
from benchmarks.stores import expect_instances, filled_home, fresh
from benchmarks.web import Web, body_of, connected

Keys = dict[str, str]
Both = dict[str, Endpoint]
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
def all_studies(full_archive: Endpoint, size: Size) -> list[dict[str, Any]]:
    """Give all studies, as the archive itself answers them."""
    with connected(full_archive) as web:
        return [
            study for offset in range(0, size.studies, 5000) for study in web.search("/studies", **_page(offset, 5000))
        ]


@pytest.fixture(scope="module")
def studies(all_studies: list[dict[str, Any]], size: Size) -> list[dict[str, Any]]:
    """Give as many studies as there will be queries."""
    return random.Random(1).choices(all_studies, k=size.queries)


@pytest.fixture(scope="module")
def both(
    full_archive: Endpoint, all_studies: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Both]:
    """Serve the archive, and Orthanc with the same studies, a small object a modality each."""
    with peers.orthanc(tmp_path_factory.mktemp("orthanc")) as orthanc:
        small_studies.fill(orthanc, all_studies)
        settle()
        yield {OURS: full_archive, "orthanc": orthanc}


def _page(offset: int, limit: int) -> Keys:
    return {"limit": str(limit), "offset": str(offset)}


def _value(study: dict[str, Any], tag: str) -> str:
    found = study[tag]["Value"][0]
    return str(found["Alphabetic"] if isinstance(found, dict) else found)


@dataclass(slots=True)
class Asked:
    """A server that is asked one query after the other over one connection: how long each took, what it found."""

    web: Web
    queries: Iterator[Keys]
    took: list[float] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)

    def ask(self) -> None:
        """Ask the next query."""
        query = next(self.queries)
        started = monotonic()
        found = self.web.search("/studies", **query)
        self.took.append((monotonic() - started) * 1000)
        self.answers.append(len(found))

    def rounds(self) -> list[float]:
        """Return the 95th percentile of each third."""
        third = max(1, len(self.took) // 3)
        return [percentile(self.took[start : start + third], 95) for start in range(0, third * 3, third)]

    def details(self) -> dict[str, Any]:
        """Return how many answers there were, and in which time."""
        return {
            "answers": {"median": int(percentile(self.answers, 50)), "most": max(self.answers)},
            "ms": {f"p{rank}": round(percentile(self.took, rank), 3) for rank in (50, 95, 99, 100)},
        }


def _measure(benchmark: Benchmark, both: Both, queries: Sequence[Keys], name: str, title: str) -> Figure:
    """Ask every query once of each server, in turns; return the figure of their times' 95th percentile."""
    with ExitStack() as stack:
        asked = {
            server: Asked(stack.enter_context(connected(endpoint)), iter(queries)) for server, endpoint in both.items()
        }
        for each in asked.values():
            each.web.search("/studies", **queries[0])
        ours, others = asked[OURS], [each for server, each in asked.items() if server != OURS]

        def ask_others() -> None:
            for each in others:
                each.ask()

        benchmark.pedantic(ours.ask, setup=ask_others, teardown=_nothing, rounds=len(queries), iterations=1)
    found = {server: each.answers for server, each in asked.items()}
    assert min(found[OURS]) >= 1, "a query made of a stored study found nothing"
    assert all(answers == found[OURS] for answers in found.values()), "the servers do not find the same"
    details = {"queries": len(queries), **{server: each.details() for server, each in asked.items()}}
    rounds = {server: each.rounds() for server, each in asked.items()}
    return Figure(name, title, "ms p95", rounds, _TARGETS, higher_is_better=False, details=details)


def _nothing() -> None:
    """Do nothing after a query."""


def _title(size: Size, what: str) -> str:
    return f"QIDO-RS by {what}, {grouped(size.studies)} studies"


def test_search_by_patient_id(
    benchmark: Benchmark, record: Record, both: Both, studies: list[dict[str, Any]], size: Size
) -> None:
    """A search for a patient's studies is answered whole within 20 ms at the 95th percentile."""
    queries = [{"PatientID": _value(study, "00100020")} for study in studies]
    record(_measure(benchmark, both, queries, "search-by-patient-id", _title(size, "PatientID")))


def test_search_by_date_and_modality(
    benchmark: Benchmark, record: Record, both: Both, studies: list[dict[str, Any]], size: Size
) -> None:
    """A search for a week and a modality is answered, a page of 101, within 20 ms at the 95th percentile."""
    queries = [_week_of(_value(study, "00080020"), _value(study, "00080061")) for study in studies]
    title = _title(size, "StudyDate range and modality")
    record(_measure(benchmark, both, queries, "search-by-date-and-modality", title))


def _week_of(first_day: str, modality: str) -> Keys:
    last_day = (date.fromisoformat(first_day) + timedelta(days=6)).strftime("%Y%m%d")
    return {"StudyDate": f"{first_day}-{last_day}", "ModalitiesInStudy": modality, "limit": str(_PAGE)}


def test_search_by_name(
    benchmark: Benchmark, record: Record, both: Both, studies: list[dict[str, Any]], size: Size
) -> None:
    """A search for the beginning of a name, a page of 101, is answered within 20 ms at the 95th percentile."""
    names = [_value(study, "00100010").partition("^")[0].lower() for study in studies]
    # Orthanc's plugin does not read what is percent-encoded in a value: names without accents.
    queries = [{"PatientName": f"{name}*", "limit": str(_PAGE)} for name in names if name.isascii()]
    record(_measure(benchmark, both, queries, "search-by-name", _title(size, "name prefix")))


def test_worklist_page(
    benchmark: Benchmark, record: Record, both: Both, studies: list[dict[str, Any]], size: Size
) -> None:
    """A page of 101 of all studies, as a viewer opens its list, comes within 20 ms at the 95th percentile."""
    offsets = [random.Random(2).randrange(0, max(1, size.studies - _PAGE)) for _ in studies]
    queries = [_page(offset, _PAGE) for offset in offsets]
    record(_measure(benchmark, both, queries, "study-list", _title(size, "nothing, pages of 101")))


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
    data = [file.read_bytes() for file in sorted(source.iterdir())]
    bodies = [body_of(data[start : start + _AT_ONCE]) for start in range(0, len(data), _AT_ONCE)]
    contenders = _contenders(bodies, workspace, shown.study_instance_uid, len(data), at_once=at_once)
    take_turns(benchmark, contenders, size.rounds)
    title = f"STOW-RS of a 512² CT series, {at_once} connection{'s' * (at_once > 1)}"
    details = {"peak_rss_mib": peaks_mib(contenders), "instances": len(data), "instances_per_request": _AT_ONCE}
    rounds = rates(contenders, len(data))
    record(Figure(name, title, "instances/s", rounds, [Target(1.0, 2.0, against="orthanc")], details=details))
