"""Benchmark of the way to S3: a series as one pack, beside one object for each instance, on Ceph's own gateway.

All three put the same bytes, one call after the other, into one bucket with versions. ``one object an instance`` goes
through the same store as the pack does, with the same proofs; ``bare PUT`` proves nothing at all.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from archive.clock import monotonic
from archive.config_tiering import ColdSettings
from archive.opening_cold import open_cold_store
from benchmarks.conftest import Record, Size
from benchmarks.results import OURS, Figure, Target
from benchmarks.rounds import Benchmark, settle
from tests.ceph import Ceph, NewBucket
from tiering.disk import OsDisk
from tiering.stores.base import ObjectStore
from tiering.stores.s3.settings import S3Settings

_SINGLE = "one object an instance"
_BARE = "bare PUT"
_TARGETS = (Target(5.0, against=_SINGLE),)
_INSTANCE_BYTES = 500_000
_MIB = 1 << 20


def _cold_store(bucket: S3Settings, folder: Path) -> ObjectStore:
    """Return the store as an archive has it by default, all that stands around it included."""
    keys = folder / "keys.toml"
    keys.write_text(f'access_key = "{bucket.access_key}"\nsecret_key = "{bucket.secret_key}"\n')
    keys.chmod(0o600)
    where = {"endpoint_url": bucket.endpoint_url, "bucket": bucket.bucket, "credentials": keys}
    cold = open_cold_store(ColdSettings.model_validate({"store": "s3", **where}), OsDisk())
    assert cold is not None
    return cold.store


@dataclass
class _Upload:
    """The same bytes three ways; ``speeds`` in megabytes a second for each round."""

    store: ObjectStore
    client: Any
    bucket: str
    instances: list[Path]
    pack: Path
    speeds: dict[str, list[float]] = field(default_factory=lambda: {OURS: [], _SINGLE: [], _BARE: []})
    growth_mib: list[float] = field(default_factory=list)
    _before: int = 0
    _numbers: Iterator[int] = field(default_factory=count)
    """No key is used twice: what is there already would not be sent."""

    def others(self) -> None:
        """Put one object for each instance, with and without proofs."""
        number = next(self._numbers)
        settle()
        self._measure(_SINGLE, lambda: self._put(f"single-{number}", self.instances))
        settle()
        self._measure(_BARE, lambda: self._put_bare(f"bare-{number}"))
        settle()
        self._before = _resident("VmRSS")
        with suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")

    def ours(self) -> None:
        """Put the pack."""
        prefix = f"pack-{next(self._numbers)}"
        self._measure(OURS, lambda: self._put(prefix, [self.pack]))
        self.growth_mib.append((_resident("VmHWM") - self._before) / _MIB)

    def _measure(self, name: str, work: Callable[[], None]) -> None:
        started = monotonic()
        work()
        self.speeds[name].append(self.pack.stat().st_size / 1e6 / (monotonic() - started))

    def _put(self, prefix: str, files: Iterable[Path]) -> None:
        for file in files:
            with file.open("rb") as source:
                sha256 = hashlib.file_digest(source, "sha256").digest()
                source.seek(0)
                size = file.stat().st_size
                self.store.put(f"{prefix}/{file.name}", source, size_bytes=size, sha256=sha256)

    def _put_bare(self, prefix: str) -> None:
        for file in self.instances:
            self.client.put_object(Bucket=self.bucket, Key=f"{prefix}/{file.name}", Body=file.read_bytes())


def _resident(name: str) -> int:
    """Return this process's resident memory, now or at most, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(name))


def _write(path: Path, size_bytes: int) -> Path:
    path.write_bytes(os.urandom(size_bytes))
    return path


@pytest.fixture
def upload(ceph: Ceph, new_bucket: NewBucket, workspace: Path, size: Size) -> _Upload:
    """Lend a series on the disk and a bucket with versions; all three ways have been gone once."""
    bucket = new_bucket("versioned")
    (workspace / "instances").mkdir()
    instances = [_write(workspace / f"instances/{number}", _INSTANCE_BYTES) for number in range(size.slices // 2)]
    pack = workspace / "pack"
    pack.write_bytes(b"".join(file.read_bytes() for file in instances))
    upload = _Upload(_cold_store(bucket, workspace), ceph.client(), bucket.bucket, instances, pack)
    upload.others()
    upload.ours()
    for values in (*upload.speeds.values(), upload.growth_mib):
        values.clear()
    return upload


@pytest.mark.timeout(1800)
def test_upload(benchmark: Benchmark, record: Record, size: Size, upload: _Upload) -> None:
    """A series goes to S3 five times as fast as one pack than as an object for each instance."""
    rounds = size.rounds if size.full else 1
    benchmark.pedantic(upload.ours, setup=upload.others, teardown=lambda: None, rounds=rounds, iterations=1)
    megabytes = len(upload.instances) * _INSTANCE_BYTES / 1e6
    details = {"megabytes": megabytes, "peak_growth_mib": round(max(upload.growth_mib), 1)}
    title = "Upload of a CT series to Ceph's S3 gateway"
    record(Figure("upload", title, "MB/s", upload.speeds, _TARGETS, higher_is_better=True, details=details))
