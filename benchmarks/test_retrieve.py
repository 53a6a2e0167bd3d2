"""Benchmarks of C-GET beside Orthanc, and the two delays the law asks for; must not reach into the archive.

The law (UNCAM, archiving of images): the first image within 5 s, a CT of 600 images within 60 s. Both are asserted at
every size; a smaller series counts in proportion.
"""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from benchmarks import clients, peers, probe
from benchmarks.conftest import Record, Serve, Size
from benchmarks.peers import Endpoint
from benchmarks.phantom import cached_series
from benchmarks.results import OURS, Figure, Target, percentile
from benchmarks.rounds import Benchmark, Contender, peaks_mib, take_turns
from benchmarks.stores import fresh, pixel_digests, stock, warmed

LEGAL_IMAGES = 600
_SERIES_TARGETS = (
    Target(1.0, 1.5, against="orthanc"),
    Target(5.0),
    Target(60.0, legal=True, source="UNCAM: 600 images within 1 min"),
)
_FIRST_IMAGE_TARGETS = (Target(100.0), Target(5000.0, legal=True, source="UNCAM: first image within 5 s"))
Work = Callable[[Endpoint], object]
Check = Callable[[Endpoint], None]


def _stocked(subject: Serve, workspace: Path, source: Path, work: Work, check: Check) -> list[Contender]:
    """Return the archive and Orthanc, each with the series in its store, restarted for every round."""
    stock(subject, workspace / OURS, source)
    stock(partial(peers.orthanc, stop_signal=signal.SIGTERM), workspace / "orthanc", source)
    return [
        Contender(name, partial(warmed, serve, workspace / name), work, check)
        for name, serve in {OURS: subject, "orthanc": peers.orthanc}.items()
    ]


def _series_figure(name: str, title: str, contenders: list[Contender], count: int) -> Figure:
    rounds = {one.name: [seconds * LEGAL_IMAGES / count for seconds in one.seconds] for one in contenders}
    details = {"peak_rss_mib": peaks_mib(contenders), "instances": count}
    return Figure(name, title, "s per 600 images", rounds, _SERIES_TARGETS, higher_is_better=False, details=details)


def test_series_with_getscu(benchmark: Benchmark, record: Record, subject: Serve, size: Size, workspace: Path) -> None:
    """DCMTK's getscu has the CT series no later than from Orthanc, under 5 s, every pixel as it was sent."""
    source, shown = cached_series(size.slices)
    received = workspace / "received"
    pixel_bytes = shown.side * shown.side * 2
    sent = pixel_digests(source, pixel_bytes)

    def work(endpoint: Endpoint) -> None:
        received.mkdir()
        clients.get_study(endpoint, shown.study_instance_uid, received)

    def check(_: Endpoint) -> None:
        assert pixel_digests(received, pixel_bytes) == sent
        shutil.rmtree(received)

    contenders = _stocked(subject, workspace, source, work, check)
    take_turns(benchmark, contenders, size.rounds)
    record(_series_figure("series-getscu", "C-GET of a 512² CT series by getscu, to disk", contenders, size.slices))


def test_series_on_the_wire(benchmark: Benchmark, record: Record, subject: Serve, size: Size, workspace: Path) -> None:
    """A client that keeps nothing has the CT series from the archive no later than from Orthanc, under 5 s."""
    source, shown = cached_series(size.slices)
    retrieved: list[probe.Retrieved] = []

    def work(endpoint: Endpoint) -> None:
        retrieved.append(probe.get_study(endpoint, shown.study_instance_uid))

    def check(_: Endpoint) -> None:
        assert retrieved[-1].objects == size.slices

    contenders = _stocked(subject, workspace, source, work, check)
    take_turns(benchmark, contenders, size.rounds)
    title = "C-GET of a 512² CT series by a client that keeps nothing"
    record(_series_figure("series-wire", title, contenders, size.slices))


@contextmanager
def _under_load(serve: Serve, workspace: Path, source: Path) -> Iterator[Endpoint]:
    """Serve a store that holds the series while one association stores under new UIDs and another queries."""
    with fresh(serve, workspace) as endpoint:
        clients.store(endpoint, source)
        storing = clients.storing_for_ever(endpoint, source, workspace / "storescu.log")
        querying = clients.querying_for_ever(endpoint, workspace / "findscu.log")
        with storing as store_load, querying as find_load:
            yield endpoint
            ended = [load.args for load in (store_load, find_load) if load.poll() is not None]
            assert not ended, f"{ended} ended before the measurement did"


def test_first_image_under_load(
    benchmark: Benchmark, record: Record, subject: Serve, size: Size, workspace: Path
) -> None:
    """While others store and query, the first image of a C-GET is whole within 100 ms at the 95th percentile."""
    source, shown = cached_series(size.slices)
    clients.warm(source)
    samples: dict[str, list[list[float]]] = {OURS: [], "orthanc": []}

    def work(name: str, endpoint: Endpoint) -> None:
        seconds = [probe.first_image_seconds(endpoint, shown.study_instance_uid) for _ in range(size.first_images)]
        samples[name].append([1000 * value for value in seconds])

    contenders = [
        Contender(name, partial(_under_load, serve, workspace, source), partial(work, name))
        for name, serve in {OURS: subject, "orthanc": peers.orthanc}.items()
    ]
    take_turns(benchmark, contenders, size.rounds)
    record(_first_image_figure(samples))


def _first_image_figure(samples: dict[str, list[list[float]]]) -> Figure:
    """Return the figure of each round's 95th percentile, all the samples' percentiles beside it."""
    rounds = {name: [percentile(values, 95) for values in collected] for name, collected in samples.items()}
    pooled = {name: [value for values in collected for value in values] for name, collected in samples.items()}
    ranks = {
        name: {f"p{rank}": round(percentile(values, rank), 2) for rank in (50, 95, 100)}
        for name, values in pooled.items()
    }
    title = "First image of a C-GET while others store and query"
    details = {"samples": len(pooled[OURS]), "pooled_ms": ranks}
    return Figure("first-image", title, "ms p95", rounds, _FIRST_IMAGE_TARGETS, False, details)
