"""Benchmarks of memory: one object of 2 GiB, and a hundred idle associations; must not reach into the archive."""

from __future__ import annotations

import hashlib
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import clients, peers, probe
from benchmarks.conftest import Record, Serve, Size
from benchmarks.peers import Endpoint
from benchmarks.phantom import cached_multi_frame, cached_small
from benchmarks.processes import PeakSampler, memory, peak_rss, reset_peak
from benchmarks.results import OURS, Figure, Target
from benchmarks.rounds import Benchmark, settle
from benchmarks.stores import fresh
from benchmarks.wire import WireError

_MIB = 2**20


def _dataset_sha256(file: Path) -> str:
    """Return the digest of a Part 10 file's data set: what follows the file meta group."""
    with file.open("rb") as content:
        content.seek(128 + 4 + 8)
        group_length = int.from_bytes(content.read(4), "little")
        content.seek(128 + 4 + 12 + group_length)
        return hashlib.file_digest(content, "sha256").hexdigest()


class _Growth:
    """How much a server's resident memory rises above where it stood: the kernel's peak and the sampled one."""

    def __init__(self, endpoint: Endpoint) -> None:
        reset_peak(endpoint.pid)
        self._pid = endpoint.pid
        self._before = memory(endpoint.pid)
        self._sampler = PeakSampler(endpoint.pid)
        self.mib = 0.0

    def __enter__(self) -> _Growth:
        self._sampler.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._sampler.__exit__()
        highest = max(self._sampler.peak.rss, peak_rss(self._pid))
        self.mib = round((highest - self._before.rss) / _MIB, 1)


def _warm_up(endpoint: Endpoint) -> None:
    """Let the server load what it loads at its first object, so that only the large object's own memory is seen."""
    source, shown = cached_small(120)
    clients.store(endpoint, source)
    probe.get_study(endpoint, shown.study_instance_uid)


@dataclass(slots=True)
class _LargeObject:
    """The round trip of one large object, and what each server grew by in it."""

    source: Path
    study_instance_uid: str
    workspace: Path
    stored_mib: dict[str, list[float]] = field(default_factory=dict)
    retrieved_mib: dict[str, list[float]] = field(default_factory=dict)

    def run(self, name: str, serve: Serve) -> None:
        """Store the object, retrieve it, and assert that it came back unchanged."""
        with fresh(serve, self.workspace) as endpoint:
            _warm_up(endpoint)
            with _Growth(endpoint) as storing:
                clients.store(endpoint, self.source)
            with _Growth(endpoint) as retrieving:
                answer = probe.get_study(endpoint, self.study_instance_uid, digest=True)
        assert answer.sha256 == _dataset_sha256(self.source / "multi-frame.dcm")
        self.stored_mib[name], self.retrieved_mib[name] = [storing.mib], [retrieving.mib]

    def try_peer(self) -> str:
        """Do the same with Orthanc, for comparison only, and return what became of it."""
        try:
            self.run("orthanc", peers.orthanc)
        except (clients.ClientFailed, probe.ProbeError, WireError, OSError) as exc:
            return f"failed: {type(exc).__name__}"
        return "done"


def test_large_object(benchmark: Benchmark, record: Record, subject: Serve, size: Size, workspace: Path) -> None:
    """A multi-frame object of 2 GiB is stored and given back, unchanged, with less than 96 MiB more memory."""
    source, shown = cached_multi_frame(size.frames)
    large = _LargeObject(source, shown.study_instance_uid, workspace)
    details = {"orthanc": large.try_peer(), "bytes": (source / "multi-frame.dcm").stat().st_size}
    benchmark.pedantic(lambda: large.run(OURS, subject), setup=settle, teardown=settle, rounds=1, iterations=1)
    for name, what, mib in (("store", "stored", large.stored_mib), ("retrieve", "retrieved", large.retrieved_mib)):
        title = f"Memory growth, one object of {size.frames / 2048:g} GiB {what}"
        record(Figure(f"large-{name}", title, "MiB", mib, [Target(96.0)], False, details))


def test_idle_associations(benchmark: Benchmark, record: Record, size: Size, workspace: Path) -> None:
    """A hundred associations that have verified and now wait hold the archive below 300 MiB in all."""
    resident: list[float] = []
    grown: list[float] = []

    def hold() -> None:
        with fresh(peers.archive, workspace) as endpoint, ExitStack() as stack:
            before = memory(endpoint.pid).rss
            for _ in range(size.idle_associations):
                stack.enter_context(probe.open_echo(endpoint))
            now = memory(endpoint.pid).rss
            resident.append(now / _MIB)
            grown.append(round((now - before) / _MIB, 1))

    benchmark.pedantic(hold, setup=settle, teardown=settle, rounds=1, iterations=1)
    title = f"Memory in all with {size.idle_associations} idle associations"
    record(Figure("idle-associations", title, "MiB", {OURS: resident}, [Target(300.0)], False, {"growth_mib": grown}))
