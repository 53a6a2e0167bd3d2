"""Benchmarks of DICOMweb retrieves beside Orthanc's plug-in in one run; must not reach into the archive."""

from __future__ import annotations

import shutil
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Final

import pytest

from archive.clock import monotonic
from benchmarks import clients, peers, wado_reader
from benchmarks.conftest import Record, Size
from benchmarks.peers import Endpoint
from benchmarks.phantom import cached_series
from benchmarks.processes import peak_rss, reset_peak
from benchmarks.results import OURS, Figure, Target, percentile
from benchmarks.rounds import Benchmark, Contender, peaks_mib, settle, take_turns
from benchmarks.stores import fresh, stock, warmed
from benchmarks.test_seal import drimbox

IMAGES: Final = 600
READERS: Final = 50
_SEALED: Final = "sealed"
_MIB: Final = 1 << 20
_LINE_BYTES: Final = 125_000_000
"""A second, on the line that all readers share: 1 Gbit/s."""
Work = Callable[[Endpoint], object]


@pytest.fixture(scope="module")
def stores(workspaces: Path, size: Size) -> Path:
    """Give the folder of stores that hold the series: the archive's, the same once it is sealed, and Orthanc's."""
    folder, (source, _) = Path(tempfile.mkdtemp(dir=workspaces)), cached_series(size.slices)
    stock(peers.web_archive, folder / OURS, source)
    shutil.copytree(folder / OURS, folder / _SEALED)
    drimbox(folder / _SEALED, "account", "create", "bench", "--full-name", "Bench", "--role", "operator")
    for step in ("seal", "trim"):
        drimbox(folder / _SEALED, "tier", step, "--apply", "--as", "bench")
    stock(partial(peers.orthanc, stop_signal=signal.SIGTERM), folder / "orthanc", source)
    return folder


def _contenders(stores: Path, work: Work, prepare: Work = lambda _: None, *, ours: str = OURS) -> list[Contender]:
    """Return the archive, with the store that is named, and Orthanc, restarted and prepared for every round."""

    @contextmanager
    def prepared(name: str) -> Iterator[Endpoint]:
        serve, store = (peers.web_archive, ours) if name == OURS else (peers.orthanc, name)
        with warmed(serve, stores / store) as endpoint:
            prepare(endpoint)
            yield endpoint

    return [Contender(name, partial(prepared, name), work) for name in (OURS, "orthanc")]


def _first_look(endpoint: Endpoint) -> None:
    """Have the first query, image and study behind us: what starts with the process is measured elsewhere."""
    (study,) = wado_reader.get_json(endpoint, "/studies?limit=1")
    uid = study["0020000D"]["Value"][0]
    series, instances = wado_reader.uids_of(endpoint, uid)
    wado_reader.get(endpoint, f"/studies/{uid}/series/{series}/instances/{instances[0]}", wado_reader.OBJECTS)
    wado_reader.get(endpoint, f"/studies/{uid}", wado_reader.AS_STORED)


def test_study(benchmark: Benchmark, record: Record, size: Size, stores: Path) -> None:
    """A client that keeps nothing has all objects of a study in a third of the time that Orthanc takes."""
    source, shown = cached_series(size.slices)
    stored = sum(file.stat().st_size for file in source.iterdir())

    def work(endpoint: Endpoint) -> None:
        answer = wado_reader.get(endpoint, f"/studies/{shown.study_instance_uid}", wado_reader.OBJECTS)
        assert (answer.status, answer.size_bytes > 0.99 * stored) == (200, True)

    contenders = _contenders(stores, work, _first_look)
    take_turns(benchmark, contenders, size.rounds)
    rounds = {one.name: [seconds * IMAGES / size.slices for seconds in one.seconds] for one in contenders}
    details = {"peak_rss_mib": peaks_mib(contenders), "instances": size.slices}
    title = "WADO-RS of a 512² CT study"
    record(Figure("wado-study", title, "s per 600 images", rounds, (Target(3.0, against="orthanc"),), False, details))


def test_sealed_study(benchmark: Benchmark, record: Record, size: Size, stores: Path) -> None:
    """Who takes any transfer syntax, as viewers do, has a sealed study in a third of the time that Orthanc takes."""
    _, shown = cached_series(size.slices)
    sizes: list[int] = []

    def work(endpoint: Endpoint) -> None:
        answer = wado_reader.get(endpoint, f"/studies/{shown.study_instance_uid}", wado_reader.AS_STORED)
        assert answer.status == 200
        sizes.append(answer.size_bytes)

    contenders = _contenders(stores, work, _first_look, ours=_SEALED)
    take_turns(benchmark, contenders, size.rounds)
    rounds = {one.name: [seconds * IMAGES / size.slices for seconds in one.seconds] for one in contenders}
    details = {"instances": size.slices, "least_mib": round(min(sizes) / _MIB), "most_mib": round(max(sizes) / _MIB)}
    title = "WADO-RS of a sealed 512² CT study, as it is stored"
    record(Figure("wado-sealed", title, "s per 600 images", rounds, (Target(3.0, against="orthanc"),), False, details))


def test_series_metadata(benchmark: Benchmark, record: Record, size: Size, stores: Path) -> None:
    """The metadata of a series that was looked at before come within 100 ms, in an eighth of Orthanc's time."""
    _, shown = cached_series(size.slices)
    places: dict[int, str] = {}

    def prepare(endpoint: Endpoint) -> None:
        series, _ = wado_reader.uids_of(endpoint, shown.study_instance_uid)
        places[endpoint.pid] = f"/studies/{shown.study_instance_uid}/series/{series}/metadata"
        assert len(wado_reader.get_json(endpoint, places[endpoint.pid])) == size.slices

    def work(endpoint: Endpoint) -> None:
        assert wado_reader.get(endpoint, places[endpoint.pid], wado_reader.JSON).status == 200

    contenders = _contenders(stores, work, prepare)
    take_turns(benchmark, contenders, size.rounds)
    rounds = {one.name: [1000 * seconds for seconds in one.seconds] for one in contenders}
    targets = (Target(100.0), Target(8.0, against="orthanc"))
    details = {"instances": size.slices}
    record(Figure("wado-metadata", "Metadata of a CT series", "ms", rounds, targets, False, details))


def test_rendered(benchmark: Benchmark, record: Record, size: Size, stores: Path) -> None:
    """The first picture of a CT image is drawn and there within 150 ms at the 95th percentile, image by image."""
    _, shown = cached_series(size.slices)
    samples: dict[str, list[float]] = {OURS: [], "orthanc": []}

    def work(name: str, endpoint: Endpoint) -> None:
        series, instances = wado_reader.uids_of(endpoint, shown.study_instance_uid)
        seconds = []
        for uid in instances[: size.first_images]:
            path = f"/studies/{shown.study_instance_uid}/series/{series}/instances/{uid}/rendered"
            answer = wado_reader.get(endpoint, path, "image/jpeg")
            assert answer.status == 200
            seconds.append(1000 * answer.seconds)
        samples[name].append(percentile(seconds, 95))

    contenders = _contenders(stores, lambda _: None, _first_look)
    for one in contenders:
        one.work = partial(work, one.name)
    take_turns(benchmark, contenders, size.rounds)
    record(Figure("wado-rendered", "Rendered CT image, 95th percentile", "ms", samples, (Target(150.0),), False))


class _Readers:
    """Fifty readers on one line who read a study again and again until they are told to stop."""

    def __init__(self, endpoint: Endpoint, study: str) -> None:
        self.failures: list[str] = []
        self._over = threading.Event()
        self._pool = ThreadPoolExecutor(READERS)
        for _ in range(READERS):
            self._pool.submit(self._read, endpoint, study)

    def _read(self, endpoint: Endpoint, study: str) -> None:
        series, instances = wado_reader.uids_of(endpoint, study)
        for uid in cycle(instances):
            if self._over.is_set():
                return
            path = f"/studies/{study}/series/{series}/instances/{uid}"
            answer = wado_reader.get(endpoint, path, wado_reader.OBJECTS, bytes_a_second=_LINE_BYTES // READERS)
            if answer.status != 200:
                self.failures.append(str(answer.status))

    def stop(self) -> None:
        """Return when every reader has read its image to the end."""
        self._over.set()
        self._pool.shutdown()


def _read_once(endpoint: Endpoint, study: str) -> list[str]:
    """Have each of fifty readers read the study once, at the same time; return what failed."""
    with ThreadPoolExecutor(READERS) as pool:
        answers = pool.map(
            lambda _: wado_reader.get(endpoint, f"/studies/{study}", wado_reader.OBJECTS), range(READERS)
        )
    return [str(answer.status) for answer in answers if answer.status != 200]


def test_fifty_readers(benchmark: Benchmark, record: Record, size: Size, workspace: Path) -> None:
    """Fifty readers of a study at once: no request fails, and the archive stays below 500 MiB."""
    source, shown = cached_series(size.slices)
    resident: list[float] = []
    with fresh(peers.web_archive, workspace) as endpoint:
        clients.store(endpoint, source)
        _first_look(endpoint)

        def work() -> None:
            reset_peak(endpoint.pid)
            assert _read_once(endpoint, shown.study_instance_uid) == []
            resident.append(peak_rss(endpoint.pid) / _MIB)

        benchmark.pedantic(work, setup=settle, teardown=settle, rounds=size.rounds, iterations=1)
    title = "Memory with 50 readers of a CT study at once"
    record(Figure("wado-readers", title, "MiB", {OURS: resident}, (Target(500.0),), False, {"readers": READERS}))


def test_ingest_beside_readers(benchmark: Benchmark, record: Record, size: Size, workspace: Path) -> None:
    """While fifty readers read all that a line of 1 Gbit/s carries, a modality stores at 70 % of its speed at least."""
    source, shown = cached_series(size.slices)
    clients.warm(source)
    shares: list[float] = []
    with fresh(peers.web_archive, workspace) as endpoint:
        clients.store(endpoint, source)

        def work() -> None:
            alone = _seconds_of_ingest(endpoint, source)
            readers = _Readers(endpoint, shown.study_instance_uid)
            beside = _seconds_of_ingest(endpoint, source)
            readers.stop()
            assert readers.failures == []
            shares.append(100 * alone / beside)

        benchmark.pedantic(work, setup=settle, teardown=settle, rounds=size.rounds, iterations=1)
    title = f"Speed of ingest beside {READERS} readers on 1 Gbit/s"
    record(Figure("wado-ingest", title, "% of its speed alone", {OURS: shares}, (Target(70.0),)))


def _seconds_of_ingest(endpoint: Endpoint, source: Path) -> float:
    started = monotonic()
    clients.store_anew(endpoint, source)
    return monotonic() - started
