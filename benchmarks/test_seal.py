"""Benchmarks of sealing: how fast a CT becomes a proven pack, and how fast it comes back out of it."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import BinaryIO, cast

from archive.clock import monotonic
from benchmarks import probe
from benchmarks.conftest import Record, Serve, Size
from benchmarks.peers import Endpoint
from benchmarks.phantom import cached_series
from benchmarks.results import OURS, Figure, Target, percentile
from benchmarks.rounds import Benchmark, Contender, take_turns
from benchmarks.stores import stock, warmed
from tiering.transcode import compress
from tiering.transcode.encoders import HTJ2K_RPCL_LOSSLESS, JPEG_2000_LOSSLESS, JPEG_LS_LOSSLESS

_IMAGES = 600
_FEW = 60
_EXPLICIT = "1.2.840.10008.1.2.1"
_CODECS = {OURS: HTJ2K_RPCL_LOSSLESS, "JPEG-LS": JPEG_LS_LOSSLESS, "JPEG 2000": JPEG_2000_LOSSLESS}
_SEAL = (Target(60.0),)
_FIRST = (Target(100.0),)
_SERIES = (Target(5.0),)
_AT_ONCE = {"DRIMBOX_SEALING__QUIET_MINUTES": "0", "DRIMBOX_SEALING__GRACE_HOURS": "0"}
_PASSWORD = {"DRIMBOX_NEW_PASSWORD": "correct horse battery", "DRIMBOX_PASSWORD": "correct horse battery"}


def drimbox(home: Path, *words: str) -> tuple[float, str]:
    """Run a command to its end; return the seconds it took, its start included, and what it printed."""
    environment = {**os.environ, **_PASSWORD, **_AT_ONCE, "DRIMBOX_HOME": str(home)}
    started = monotonic()
    command = [sys.executable, "-m", "archive", *words]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return monotonic() - started, done.stdout


@dataclass
class _Sealing:
    """Homes with one CT each, sealed in turn; the start of the command is measured by itself and taken off."""

    subject: Serve
    workspace: Path
    source: Path
    megabytes: float
    speeds: list[float] = field(default_factory=list)
    shares: list[float] = field(default_factory=list)

    def home(self) -> Path:
        """Return where the next home is."""
        return self.workspace / f"home-{len(self.speeds)}" / "store"

    def prepare(self) -> None:
        """Make the next home."""
        self.home().parent.mkdir()
        stock(self.subject, self.home(), self.source)
        drimbox(self.home(), "account", "create", "bench", "--full-name", "Bench", "--role", "operator")

    def seal(self) -> None:
        """Seal, and let the received files go."""
        home = self.home()
        start, _ = drimbox(home, "tier", "seal", "--as", "bench")
        seconds, said = drimbox(home, "tier", "seal", "--apply", "--json", "--as", "bench")
        report = json.loads(said)["report"]
        assert report["compressed"] == report["instances"], said
        self.shares.append(report["packed_bytes"] / report["received_bytes"])
        drimbox(home, "tier", "trim", "--apply", "--as", "bench")
        self.speeds.append(self.megabytes / (seconds - start))


def _nothing() -> None:
    """Leave the homes: freed inodes would be charged to the next."""


def test_sealing(benchmark: Benchmark, record: Record, subject: Serve, size: Size, workspace: Path) -> None:
    """A CT of 512 x 512 is read, compressed, decoded again, packed and read back at 60 MB of pixels a second."""
    source, shown = cached_series(size.slices)
    sealing = _Sealing(subject, workspace, source, size.slices * shown.side**2 * 2 / 1e6)
    rounds = size.rounds if size.full else 1
    benchmark.pedantic(sealing.seal, setup=sealing.prepare, teardown=_nothing, rounds=rounds, iterations=1)
    details = {"share_of_received": round(sealing.shares[-1], 3)}
    title = "Sealing a 512² CT, all checks included"
    record(Figure("seal", title, "MB/s", {OURS: sealing.speeds}, _SEAL, higher_is_better=True, details=details))


def test_lossless_codecs(benchmark: Benchmark, record: Record, size: Size) -> None:
    """The slices of a CT compressed in memory by each codec of the settings, every frame decoded again and compared."""
    files = sorted(cached_series(size.slices)[0].rglob("*.dcm"))[:_FEW]
    whole = [file.read_bytes() for file in files]
    native = [data[144 + int.from_bytes(data[140:144], "little") :] for data in whole]  # behind the file meta group
    speeds: dict[str, list[float]] = {OURS: []}
    ratios: dict[str, float] = {}

    def run() -> None:
        for name, uid in _CODECS.items():
            started = monotonic()
            done = [
                compress(cast(BinaryIO, io.BytesIO(data)), source_uid=_EXPLICIT, target_uid=uid, target=_memory())
                for data in native
            ]
            pixels = sum(each.native_bytes for each in done)
            speeds.setdefault(name, []).append(pixels / 1e6 / (monotonic() - started))
            ratios[name] = round(pixels / sum(each.compressed_bytes for each in done), 2)

    benchmark.pedantic(run, setup=_nothing, teardown=_nothing, rounds=size.rounds if size.full else 1, iterations=1)
    title = "Compressing a CT without loss (HTJ2K), each frame proven"
    record(Figure("seal-codecs", title, "MB/s", speeds, higher_is_better=True, details={"ratios": ratios}))


def _memory() -> BinaryIO:
    return cast(BinaryIO, io.BytesIO())


@contextmanager
def _sealed(serve: Serve, home: Path) -> Iterator[Endpoint]:
    with warmed(serve, home) as endpoint:
        yield endpoint


def test_sealed_comes_back(benchmark: Benchmark, record: Record, subject: Serve, size: Size, workspace: Path) -> None:
    """Out of a pack, for a client that takes Explicit VR Little Endian: first image in 100 ms, 600 images in 5 s."""
    source, shown = cached_series(size.slices)
    sealing = _Sealing(subject, workspace, source, 1.0)
    sealing.prepare()
    home = sealing.home()
    sealing.seal()
    first: list[list[float]] = []

    def work(endpoint: Endpoint) -> None:
        assert probe.get_study(endpoint, shown.study_instance_uid).objects == size.slices

    def check(endpoint: Endpoint) -> None:
        seconds = [probe.first_image_seconds(endpoint, shown.study_instance_uid) for _ in range(size.first_images)]
        first.append([1000 * value for value in seconds])

    contender = Contender(OURS, partial(_sealed, subject, home), work, check)
    take_turns(benchmark, [contender], size.rounds)
    rounds = [seconds * _IMAGES / size.slices for seconds in contender.seconds]
    title = "C-GET of a sealed 512² CT, decoded"
    record(Figure("sealed-series", title, "s per 600 images", {OURS: rounds}, _SERIES, higher_is_better=False))
    firsts = [percentile(values, 95) for values in first]
    title = "First image of a sealed CT, decoded"
    record(Figure("sealed-first-image", title, "ms p95", {OURS: firsts}, _FIRST, higher_is_better=False))
