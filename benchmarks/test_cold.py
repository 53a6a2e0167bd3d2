"""Benchmarks of reading cold: a CT whose only copy is in Ceph's S3 gateway, with nothing of it on the local disk."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from archive.clock import utc_now
from archive.index import cold, packs
from archive.index.session import Connection, Database
from archive.index.statements import Statement
from benchmarks import probe
from benchmarks.conftest import Record, Serve, Size
from benchmarks.peers import Endpoint
from benchmarks.phantom import cached_series
from benchmarks.results import OURS, Figure, Target, percentile
from benchmarks.rounds import Benchmark, Contender, peaks_mib, take_turns
from benchmarks.stores import stock
from benchmarks.test_seal import drimbox
from tests.ceph import NewBucket
from tiering.landing import pack_path
from tiering.stores.base import ObjectStore
from tiering.stores.s3.bucket import open_bucket
from tiering.stores.s3.settings import S3Settings
from tiering.stores.s3.store import S3Store

_IMAGES = 600
_FIRST = (Target(1000.0),)
_SERIES = (Target(15.0),)


@dataclass(frozen=True, slots=True)
class _Bucket:
    """A bucket of Ceph, and the settings of an archive that has its cold store there."""

    settings: S3Settings

    @property
    def store(self) -> ObjectStore:
        """Return the store as it is, without what the archive puts around it."""
        return S3Store(open_bucket(self.settings))

    def configure(self, home: Path) -> None:
        """Write the settings of an archive."""
        keys = home / "keys.toml"
        keys.write_text(f'access_key = "{self.settings.access_key}"\nsecret_key = "{self.settings.secret_key}"\n')
        keys.chmod(0o600)
        lines = {"store": "s3", "endpoint_url": self.settings.endpoint_url, "bucket": self.settings.bucket}
        text = "".join(f"{name} = {json.dumps(value)}\n" for name, value in lines.items())
        (home / "drimbox.toml").write_text(f'[cold]\n{text}credentials = "{keys}"\n')


def _seal(home: Path) -> None:
    """Pack what is there and let the received files go."""
    drimbox(home, "account", "create", "bench", "--full-name", "Bench", "--role", "operator")
    for verb in ("seal", "trim"):
        drimbox(home, "tier", verb, "--apply", "--as", "bench")


def _go_cold(home: Path, study_uid: str, store: ObjectStore) -> None:
    """Leave a sealed study in the cold store alone, as it is after the grace period, however young it is."""
    database = Database(f"sqlite:///{home / 'index.db'}")
    try:
        with database.read() as connection:
            hot = list(packs.of_studies(connection, [study_uid]))
        for pack in hot:
            path = pack_path(home / "hot", pack.key)
            data = path.read_bytes()
            key = cold.cold_key(pack.key, pack.sha256)
            stored = store.put(key, io.BytesIO(data), size_bytes=pack.size_bytes, sha256=pack.sha256)
            row = packs.PackRow(
                *(key, "cold", pack.study_instance_uid, pack.series_instance_uid, pack.generation, pack.size_bytes),
                *(pack.sha256, pack.created_at, stored.generation),
            )
            with database.write(synced=True) as connection:
                _switch(connection, pack.key, row)
            path.unlink()
    finally:
        database.close()


def _switch(connection: Connection, hot_key: str, row: packs.PackRow) -> None:
    now = utc_now()
    cold.note_upload(connection, row, now)
    cold.switch_lossless(connection, hot_key, row, now)
    Statement("DELETE FROM location WHERE tier = 'hot'").run(connection)
    Statement("DELETE FROM pack WHERE tier = 'hot'").run(connection)
    Statement("DELETE FROM pack_trim").run(connection)


def _empty_cache(home: Path) -> None:
    """Take away what was read lately; the archive that uses it finds out."""
    for path in (home / "cache").glob("*-*"):
        path.unlink()


@contextmanager
def _with_empty_cache(serve: Serve, home: Path) -> Iterator[Endpoint]:
    shutil.rmtree(home / "cache", ignore_errors=True)
    with serve(home) as endpoint:
        yield endpoint


def _first_images(home: Path, study_uid: str, count: int) -> Callable[[Endpoint], list[float]]:
    """Return what measures the first image so many times, each with an empty cache; in milliseconds."""

    def measure(endpoint: Endpoint) -> list[float]:
        found = []
        for _ in range(count):
            _empty_cache(home)
            found.append(1000 * probe.first_image_seconds(endpoint, study_uid))
        return found

    return measure


def test_cold_comes_back(
    benchmark: Benchmark, record: Record, subject: Serve, size: Size, workspace: Path, new_bucket: NewBucket
) -> None:
    """From Ceph, for a client that takes Explicit VR Little Endian: first image in 1 s, 600 images in 15 s."""
    source, shown = cached_series(size.slices)
    home, bucket = workspace / "store", _Bucket(new_bucket("plain"))
    stock(subject, home, source)
    _seal(home)
    _go_cold(home, shown.study_instance_uid, bucket.store)
    bucket.configure(home)
    measure = _first_images(home, shown.study_instance_uid, size.first_images)
    first: list[list[float]] = []

    def work(endpoint: Endpoint) -> None:
        assert probe.get_study(endpoint, shown.study_instance_uid).objects == size.slices

    contender = Contender(
        OURS,
        partial(_with_empty_cache, subject, home),
        work,
        lambda endpoint: first.append(measure(endpoint)),
    )
    take_turns(benchmark, [contender], size.rounds)
    rounds = [seconds * _IMAGES / size.slices for seconds in contender.seconds]
    title = "C-GET of a 512² CT from Ceph, decoded, nothing cached"
    details = {"peak_rss_mib": peaks_mib([contender]), "instances": size.slices}
    record(Figure("cold-series", title, "s per 600 images", {OURS: rounds}, _SERIES, False, details))
    firsts = [percentile(values, 95) for values in first]
    title = "First image of a CT from Ceph, decoded, nothing cached"
    record(Figure("cold-first-image", title, "ms p95", {OURS: firsts}, _FIRST, higher_is_better=False))
