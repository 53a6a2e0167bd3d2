"""Benchmarks of ingest, durable and indexed, beside Orthanc and storescp; must not reach into the archive.

storescp neither syncs nor indexes: it shows how fast this sender and this wire can be at all.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from benchmarks import clients, peers
from benchmarks.conftest import Record, Serve, Size
from benchmarks.peers import Endpoint
from benchmarks.phantom import cached_series, cached_small
from benchmarks.phantom_header import Subject
from benchmarks.results import OURS, Figure, Target
from benchmarks.rounds import Benchmark, Contender, peaks_mib, rates, take_turns
from benchmarks.stores import expect_instances, fresh


def _contenders(subject: Serve, workspace: Path, sources: list[Path], shown: Subject, count: int) -> list[Contender]:
    """Return the archive, Orthanc and storescp, each to be given ``sources`` on a fresh store."""

    def work(endpoint: Endpoint) -> None:
        clients.store(endpoint, *sources)

    check = expect_instances(count, shown.study_instance_uid)
    clients.warm(*sources)
    return [
        Contender(OURS, partial(fresh, subject, workspace), work, check),
        Contender("orthanc", partial(fresh, peers.orthanc, workspace), work, check),
        Contender("storescp", partial(fresh, peers.storescp, workspace), work),
    ]


def _figure(name: str, title: str, contenders: list[Contender], count: int, targets: list[Target]) -> Figure:
    details = {"peak_rss_mib": peaks_mib(contenders), "instances": count}
    return Figure(name, title, "instances/s", rates(contenders, count), targets, details=details)


def test_one_association(benchmark: Benchmark, record: Record, subject: Serve, size: Size, workspace: Path) -> None:
    """A CT series sent in one association is taken in at least 1.7 times as fast as by Orthanc."""
    source, shown = cached_series(size.slices)
    contenders = _contenders(subject, workspace, [source], shown, size.slices)
    take_turns(benchmark, contenders, size.rounds)
    title = "C-STORE of a 512² CT series, one association"
    targets = [Target(1.7, 3.0, against="orthanc")]
    record(_figure("one-association", title, contenders, size.slices, targets))


def test_four_associations(benchmark: Benchmark, record: Record, subject: Serve, size: Size, workspace: Path) -> None:
    """A CT series sent in four associations at once is taken in at least 1.5 times as fast as by Orthanc."""
    source, shown = cached_series(size.slices)
    parts = clients.split(source, 4, workspace / "parts")
    contenders = _contenders(subject, workspace, parts, shown, size.slices)
    take_turns(benchmark, contenders, size.rounds)
    title = "C-STORE of a 512² CT series, four associations"
    targets = [Target(1.5, 2.5, against="orthanc")]
    record(_figure("four-associations", title, contenders, size.slices, targets))


def test_small_objects(benchmark: Benchmark, record: Record, subject: Serve, size: Size, workspace: Path) -> None:
    """Objects of 40 kB sent in one association are taken in at 500 a second or more."""
    source, shown = cached_small(size.small_objects)
    contenders = _contenders(subject, workspace, [source], shown, size.small_objects)
    take_turns(benchmark, contenders, size.rounds)
    title = "C-STORE of 40 kB objects, one association"
    record(_figure("small-objects", title, contenders, size.small_objects, [Target(500)]))


def test_small_objects_four_associations(
    benchmark: Benchmark, record: Record, subject: Serve, size: Size, workspace: Path
) -> None:
    """Objects of 40 kB sent in four associations are measured too, without a target."""
    source, shown = cached_small(size.small_objects)
    parts = clients.split(source, 4, workspace / "parts")
    contenders = _contenders(subject, workspace, parts, shown, size.small_objects)
    take_turns(benchmark, contenders, size.rounds)
    title = "C-STORE of 40 kB objects, four associations"
    record(_figure("small-objects-four", title, contenders, size.small_objects, []))
