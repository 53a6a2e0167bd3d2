"""Opens the cold store that the settings name; must not reach it: a store that is down keeps nothing from starting."""

from __future__ import annotations

import random
import time
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from archive import logs
from archive.clock import monotonic
from archive.config_tiering import ColdSettings
from archive.errors import ConfigError
from archive.services.cold_check import Asked, ColdCheck, Endpoint
from tiering.disk import Disk
from tiering.errors import StoreError, StoreRefused
from tiering.stores.base import ObjectHolds, ObjectStore
from tiering.stores.encrypting import EncryptingStore
from tiering.stores.filesystem import MARKER, FileStore
from tiering.stores.keyring import KeyRing, KeyRingFile
from tiering.stores.lazy import LazyHolds, LazyStore, Once
from tiering.stores.limiting import Bandwidth, LimitingStore
from tiering.stores.metered import Call, MeteredStore
from tiering.stores.retrying import Backoff, RetryingStore

if TYPE_CHECKING:
    from tiering.stores.s3.bucket import Bucket
    from tiering.stores.s3.settings import S3Settings
    from tiering.stores.s3.store import S3Store

_log = logs.get(__name__)
_MIB = 1 << 20
_NO_FAILURE = ("GeneratorExit", "ObjectNotFound", "KeyTaken", "NotThawed")
"""How calls end that did what they should: a reader left, nothing or other bytes were there, an object is frozen."""


@dataclass(frozen=True, slots=True)
class ColdStore:
    """The cold store of an archive; ``holds`` is there when objects can be held where they lie.

    ``find_endpoint`` asks the bucket behind it about itself; None for a folder, which has nothing to tell.
    ``end_uploads`` ends uploads in parts that were begun before a moment and never ended; None for a folder.
    """

    store: ObjectStore
    holds: ObjectHolds | None
    find_endpoint: Callable[[], Endpoint] | None = None
    end_uploads: Callable[[datetime], int] | None = None


def open_cold_store(settings: ColdSettings, disk: Disk) -> ColdStore | None:
    """Return the cold store, None when there is none.

    From the outside in: encrypted here, once however often it is sent; tried again, each attempt taking its place
    among the transfers and its part of the bandwidth; told to the log when it failed. Credentials and keys that
    cannot be used are told to the log now, and by the store's StoreRefused until they can: images go on coming in.
    """
    if settings.store != "none":
        _tell_unusable(settings)
    return _opened(settings, disk)


def _opened(settings: ColdSettings, disk: Disk) -> ColdStore | None:
    if settings.store == "none":
        return None
    if settings.store == "folder":
        assert settings.folder is not None
        return ColdStore(_wrapped(FileStore(disk, settings.folder), settings), None)
    bucket = Once(lambda: _open_bucket(settings))
    holds = LazyHolds(Once(lambda: _s3_holds(bucket.get()))) if settings.object_lock else None
    store = LazyStore(Once(lambda: _s3_store(bucket.get())))
    return ColdStore(
        _wrapped(store, settings),
        holds,
        lambda: _s3_endpoint(bucket.get()),
        lambda before: _s3_store(bucket.get()).abandon_uploads(before),
    )


def cold_check_of(settings: ColdSettings, disk: Disk) -> ColdCheck:
    """Return what tries the cold store out. Raises ConfigError in an archive without one."""
    cold = _opened(settings.model_copy(update={"attempts": 1}), disk)
    if cold is None:
        raise ConfigError(name="cold.store", reason="there is no cold tier; set it to folder or s3")
    encryption = None if settings.encryption == "none" else settings.encryption
    asked = Asked(settings.storage_class, encryption, is_encrypted_here=settings.key_ring is not None)
    return ColdCheck(cold.store, monotonic, cold.holds, cold.find_endpoint, asked)


def create_folder(settings: ColdSettings, disk: Disk) -> None:
    """Make the folder of the settings a store. Raises ConfigError when they name none, StoreError."""
    if settings.folder is None:
        raise ConfigError(name="cold.folder", reason="there is no folder to make a store: a bucket is its provider's")
    names = disk.names(settings.folder)
    if names and MARKER not in names:
        reason = f"{settings.folder} is not empty and no store: name an empty folder"
        raise ConfigError(name="cold.folder", reason=reason)
    settings.folder.mkdir(parents=True, exist_ok=True)
    FileStore.create(disk, settings.folder)


def _wrapped(inner: ObjectStore, settings: ColdSettings) -> ObjectStore:
    metered = MeteredStore(inner, _tell_failure, monotonic)
    rate = settings.bandwidth_mib * _MIB
    bandwidth = Bandwidth(rate, monotonic, time.sleep) if rate else None
    limited = LimitingStore(metered, transfers=settings.transfers, bandwidth=bandwidth)
    retried = RetryingStore(limited, Backoff(time.sleep, random.random, attempts=settings.attempts))
    return retried if settings.key_ring is None else EncryptingStore(retried, KeyRingFile(settings.key_ring))


def _tell_failure(call: Call) -> None:
    if call.error is not None and call.error not in _NO_FAILURE:
        _log.warning("cold_store_call_failed", operation=call.operation, error=call.error, seconds=call.seconds)


def _tell_unusable(settings: ColdSettings) -> None:
    """Read the files that the store needs, so that what is wrong with them is told at the start."""
    try:
        if settings.key_ring is not None:
            KeyRing.load(settings.key_ring)
        if settings.store == "s3":
            _credentials(settings)
    except StoreError as exc:
        _log.error("cold_store_not_usable", reason=exc.message)


# ---- S3: boto3 is slow to load, and few commands need it -------------------------------------------------------------


def _open_bucket(settings: ColdSettings) -> Bucket:
    from tiering.stores.s3.bucket import open_bucket  # noqa: PLC0415

    return open_bucket(_s3_settings(settings))


def _s3_store(bucket: Bucket) -> S3Store:
    from tiering.stores.s3.store import S3Store  # noqa: PLC0415

    return S3Store(bucket)


def _s3_holds(bucket: Bucket) -> ObjectHolds:
    from tiering.stores.s3.holds import S3Holds  # noqa: PLC0415

    return S3Holds(bucket)


def _s3_endpoint(bucket: Bucket) -> Endpoint:
    from tiering.stores.s3.probe import S3Probe  # noqa: PLC0415

    return S3Probe(bucket)


def _s3_settings(settings: ColdSettings) -> S3Settings:
    from tiering.stores.s3.settings import S3Settings  # noqa: PLC0415

    assert settings.endpoint_url is not None
    assert settings.bucket is not None
    access_key, secret_key = _credentials(settings)
    part_bytes = settings.part_mib * _MIB
    return S3Settings(
        endpoint_url=settings.endpoint_url,
        bucket=settings.bucket,
        access_key=access_key,
        secret_key=secret_key,
        prefix=settings.prefix,
        region=settings.region,
        is_path_style=settings.path_style,
        ca_file=None if settings.ca_file is None else str(settings.ca_file),
        storage_class=settings.storage_class,
        server_side_encryption=None if settings.encryption == "none" else settings.encryption,
        kms_key_id=None if settings.kms_key is None else settings.kms_key.get_secret_value(),
        multipart_bytes=part_bytes,
        part_bytes=part_bytes,
        connections=max(settings.transfers * 4, 16),
    )


def _credentials(settings: ColdSettings) -> tuple[str, str]:
    """Read the key and the secret of the bucket. Raises StoreRefused; neither is ever in a message."""
    path = settings.credentials
    assert path is not None
    try:
        if path.stat().st_mode & 0o077:
            raise StoreRefused(reason=f"others may read the file of cold.credentials: chmod 600 {path}")
        found = tomllib.loads(path.read_text(encoding="utf-8"))
        return _text(found["access_key"]), _text(found["secret_key"])
    except OSError as exc:
        raise StoreRefused(reason=f"cold.credentials: {path}: {exc.strerror}") from exc
    except (KeyError, ValueError) as exc:
        reason = f"cold.credentials: {path} is no TOML file with access_key and secret_key"
        raise StoreRefused(reason=reason) from exc


def _text(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError("not a text")
    return value
