"""Benchmarks of ingest into an archive that is full already, beside an empty one; must not measure a peer."""

from __future__ import annotations

import itertools
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from benchmarks import clients, peers
from benchmarks.conftest import Record, Size
from benchmarks.peers import Endpoint, Postgresql
from benchmarks.phantom import cached_series
from benchmarks.results import OURS, Figure, Target, grouped
from benchmarks.rounds import Benchmark, Contender, peaks_mib, rates, take_turns
from benchmarks.stores import expect_instances, fill, filled_index, fresh

_EMPTY = "empty archive"
_TARGETS = (Target(0.9, against=_EMPTY),)
_numbers = itertools.count()


def _measure(benchmark: Benchmark, size: Size, contenders: list[Contender], database: str) -> Figure:
    take_turns(benchmark, contenders, size.rounds)
    instances = size.studies * size.instances_per_study
    title = f"C-STORE of a 512² CT series, {grouped(instances)} instances indexed in {database}"
    details = {"peak_rss_mib": peaks_mib(contenders), "instances": size.slices, "indexed": instances}
    rounds = rates(contenders, size.slices)
    return Figure(f"full-{database.lower()}", title, "instances/s", rounds, _TARGETS, details=details)


@contextmanager
def _filled_home(index: Path, workspace: Path) -> Iterator[Endpoint]:
    """Serve an archive on a copy of the filled index."""
    home = Path(tempfile.mkdtemp(dir=workspace))
    try:
        shutil.copyfile(index, home / "index.db")
        with peers.archive(home) as endpoint:
            yield endpoint
    finally:
        shutil.rmtree(home)


def test_full_sqlite(benchmark: Benchmark, record: Record, size: Size, workspace: Path) -> None:
    """With the index full, on SQLite, ingest keeps nine tenths of an empty archive's speed."""
    source, shown = cached_series(size.slices)
    clients.warm(source)
    index = filled_index(size.studies, size.instances_per_study)
    check = expect_instances(size.slices, shown.study_instance_uid)
    work = partial(_store, source)
    contenders = [
        Contender(OURS, partial(_filled_home, index, workspace), work, check),
        Contender(_EMPTY, partial(fresh, peers.archive, workspace), work, check),
    ]
    record(_measure(benchmark, size, contenders, "SQLite"))


def _store(source: Path, endpoint: Endpoint) -> None:
    clients.store(endpoint, source)


@pytest.fixture
def database() -> Iterator[Postgresql]:
    """Give a PostgreSQL server of its own."""
    with peers.postgresql() as server:
        yield server


@contextmanager
def _on_postgresql(server: Postgresql, template: str, workspace: Path) -> Iterator[Endpoint]:
    """Serve an archive whose index is a copy of the database ``template``."""
    name = f"round{next(_numbers)}"
    url = server.create(name, template=template)
    try:
        with fresh(partial(peers.archive, index_url=url), workspace) as endpoint:
            yield endpoint
    finally:
        server.drop(name)


def test_full_postgresql(
    benchmark: Benchmark, record: Record, size: Size, workspace: Path, database: Postgresql
) -> None:
    """With the index full, on PostgreSQL, ingest keeps nine tenths of an empty archive's speed."""
    source, shown = cached_series(size.slices)
    clients.warm(source)
    fill(database.create("filled"), size.studies, size.instances_per_study)
    check = expect_instances(size.slices, shown.study_instance_uid)
    work = partial(_store, source)
    contenders = [
        Contender(OURS, partial(_on_postgresql, database, "filled", workspace), work, check),
        Contender(_EMPTY, partial(_on_postgresql, database, "template1", workspace), work, check),
    ]
    record(_measure(benchmark, size, contenders, "PostgreSQL"))
