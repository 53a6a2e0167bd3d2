"""Every store there is, each with something to be taken away from; must not say what a store does."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from tests.ceph import NewBucket
from tiering.disk import OsDisk
from tiering.stores.base import ObjectStore
from tiering.stores.encrypting import EncryptingStore
from tiering.stores.filesystem import FileStore
from tiering.stores.keyring import KeyRing
from tiering.stores.lazy import LazyStore, Once
from tiering.stores.limiting import Bandwidth, LimitingStore
from tiering.stores.memory import MemoryStore
from tiering.stores.metered import MeteredStore
from tiering.stores.retrying import Backoff, RetryingStore
from tiering.stores.s3.bucket import Bucket, open_bucket
from tiering.stores.s3.settings import MIB, S3Settings
from tiering.stores.s3.store import S3Store

RING = KeyRing.generate("2026")


def no_sleep(_seconds: float) -> None:
    """Wait for nothing."""


def retrying(store: ObjectStore) -> RetryingStore:
    """Return a store that tries again at once."""
    return RetryingStore(store, Backoff(no_sleep, random.Random(1).random))


def limiting(store: ObjectStore) -> LimitingStore:
    """Return a store with a limit that stays out of the way."""
    return LimitingStore(store, transfers=4, bandwidth=Bandwidth(1e12, lambda: 0.0, no_sleep))


def metered(store: ObjectStore) -> MeteredStore:
    """Return a store that tells nobody."""
    return MeteredStore(store, lambda _call: None, lambda: 0.0)


def encrypting(store: ObjectStore) -> EncryptingStore:
    """Return a store that encrypts."""
    return EncryptingStore(store, RING)


def _file(folder: Path) -> FileStore:
    return FileStore.create(OsDisk(), folder)


LOCAL: dict[str, Callable[[Path], ObjectStore]] = {
    "memory": lambda _: MemoryStore(),
    "filesystem": _file,
    "retrying": lambda _: retrying(MemoryStore()),
    "limiting": lambda _: limiting(MemoryStore()),
    "metered": lambda _: metered(MemoryStore()),
    "lazy": lambda _: LazyStore(Once(MemoryStore)),
    "encrypting": lambda _: encrypting(MemoryStore()),
    "encrypting-files": lambda folder: encrypting(_file(folder)),
    "all-around-files": lambda folder: encrypting(retrying(limiting(metered(_file(folder))))),
}
REMOTE: dict[str, Callable[[NewBucket], tuple[Bucket, ObjectStore]]] = {
    "ceph": lambda new: _s3(new("plain")),
    "ceph-no-parts": lambda new: _s3(replace(new("plain"), multipart_bytes=64 * MIB)),
    "ceph-locked": lambda new: _s3(replace(new("locked"), prefix="chu/cold/")),
    "all-around-ceph": lambda new: _all_around(new("locked")),
}


def _s3(settings: S3Settings) -> tuple[Bucket, ObjectStore]:
    bucket = open_bucket(settings)
    return bucket, S3Store(bucket)


def _all_around(settings: S3Settings) -> tuple[Bucket, ObjectStore]:
    bucket = open_bucket(settings)
    return bucket, encrypting(retrying(limiting(metered(S3Store(bucket)))))


@cache
def _remote(name: str, new_bucket: NewBucket) -> tuple[Bucket, ObjectStore]:
    return REMOTE[name](new_bucket)


@pytest.fixture(params=[*LOCAL, *REMOTE])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ObjectStore]:
    """Lend every store in turn, empty."""
    name = request.param
    if name in LOCAL:
        yield LOCAL[name](tmp_path)
    else:
        bucket, remote = _remote(name, request.getfixturevalue("new_bucket"))
        yield remote
        empty(bucket)


def empty(bucket: Bucket) -> None:
    """Delete all that a test left in a bucket."""
    listed = bucket.client.list_object_versions(Bucket=bucket.name)
    left = [*listed.get("Versions", ()), *listed.get("DeleteMarkers", ())]
    for each in left:
        bucket.client.delete_object(Bucket=bucket.name, Key=each["Key"], VersionId=each["VersionId"])
