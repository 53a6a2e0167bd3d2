"""One bucket and what it says of an object; must not store, delete or decide."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import boto3
import botocore.session
from botocore.config import Config

from tiering.errors import ObjectNotFound, StoreRefused
from tiering.stores.base import StoredObject
from tiering.stores.s3.faults import told
from tiering.stores.s3.settings import S3Settings
from tiering.warrant import SHA256_BYTES

DIGEST: Final = "sha256"
"""The name, in an object's metadata, of the digest of its bytes in hexadecimal."""
_VERSION: Final = "version:"
_ETAG: Final = "etag:"
_one_at_a_time: Final = threading.Lock()
"""Clients may be used by many threads; a session that makes them may not."""


@dataclass(frozen=True, slots=True)
class Bucket:
    """A client and the bucket it is for."""

    client: Any
    settings: S3Settings

    @property
    def name(self) -> str:
        """Return the bucket's name."""
        return self.settings.bucket

    def at(self, key: str, version: str | None = None) -> dict[str, str]:
        """Return the arguments that name an object."""
        return {
            "Bucket": self.name,
            "Key": self.settings.prefix + key,
            **({} if version is None else {"VersionId": version}),
        }

    def below(self, prefix: str) -> dict[str, str]:
        """Return the arguments that list what starts with a text."""
        return {"Bucket": self.name, "Prefix": self.settings.prefix + prefix}

    def key_of(self, listed: Mapping[str, Any]) -> str:
        """Return the key of an entry of a listing."""
        return str(listed["Key"]).removeprefix(self.settings.prefix)

    def find_head(self, key: str, version: str | None = None) -> Head | None:
        """Ask for an object's head; None when there is none, or no bucket: only ``check`` tells."""
        try:
            with told(key):
                return Head(key, self.client.head_object(**self.at(key, version)))
        except ObjectNotFound:
            return None

    def get_head(self, key: str, version: str | None = None) -> Head:
        """Return an object's head. Raises ObjectNotFound."""
        head = self.find_head(key, version)
        if head is None:
            self.check()
            raise ObjectNotFound(key=key)
        return head

    def check(self) -> None:
        """Raise StoreRefused when the bucket is not there: HEAD of an object says the same of both."""
        try:
            with told(self.name):
                self.client.head_bucket(Bucket=self.name)
        except ObjectNotFound as exc:
            raise StoreRefused(reason=f"there is no bucket {self.name}") from exc


@dataclass(frozen=True, slots=True)
class Head:
    """The answer to HEAD."""

    key: str
    answer: Mapping[str, Any]

    @property
    def version(self) -> str | None:
        """Return the version's id, None in a bucket without versions."""
        version = self.answer.get("VersionId")
        return None if version in (None, "", "null") else str(version)

    @property
    def etag(self) -> str:
        """Return the entity tag as it came, with its quotes."""
        return str(self.answer["ETag"])

    @property
    def stored(self) -> StoredObject:
        """Return the object."""
        size_bytes = int(self.answer["ContentLength"])
        by_etag = f"{_ETAG}{self.etag.strip(chr(34))}.{size_bytes}"
        generation = by_etag if self.version is None else f"{_VERSION}{self.version}"
        return StoredObject(self.key, size_bytes, generation, _digest(self.answer.get("Metadata", {}).get(DIGEST)))

    @property
    def is_held(self) -> bool:
        """Tell whether a legal hold is on."""
        return self.answer.get("ObjectLockLegalHoldStatus") == "ON"

    @property
    def retained_until(self) -> Any:
        """Return the moment a retention ends or has ended, None without one."""
        return self.answer.get("ObjectLockRetainUntilDate")


def version_in(generation: str) -> str | None:
    """Return the version a generation names, None for one that names none."""
    return generation.removeprefix(_VERSION) if generation.startswith(_VERSION) else None


def _digest(text: str | None) -> bytes | None:
    try:
        digest = bytes.fromhex(text or "")
    except ValueError:
        return None
    return digest if len(digest) == SHA256_BYTES else None


def open_bucket(settings: S3Settings) -> Bucket:
    """Return a bucket; nothing is sent yet.

    botocore repeats nothing itself: that is ``RetryingStore``'s. Its checksums of its own are off, for they go in
    trailers that older endpoints take for part of the object; SHA-256 goes in the signature.
    """
    style = "path" if settings.is_path_style else "virtual"
    config = Config(
        signature_version="s3v4",
        s3={"addressing_style": style, "payload_signing_enabled": True},
        connect_timeout=settings.connect_seconds,
        read_timeout=settings.read_seconds,
        max_pool_connections=settings.connections,
        retries={"total_max_attempts": 1},
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        tcp_keepalive=True,
    )
    where = {"endpoint_url": settings.endpoint_url, "verify": settings.ca_file, "region_name": settings.region}
    with _one_at_a_time:
        client = open_session().client("s3", config=config, **where, **_credentials(settings))
    return Bucket(client, settings)


def _credentials(settings: S3Settings) -> dict[str, str | None]:
    return {
        "aws_access_key_id": settings.access_key,
        "aws_secret_access_key": settings.secret_key,
        "aws_session_token": settings.session_token,
    }


@cache
def open_session() -> boto3.session.Session:
    """Return the one session, which has read its models once, and no profile, file or bundle of whoever runs it."""
    nothing: dict[str, tuple[str | None, ...]] = {"profile": (None,) * 4, "ca_bundle": (None,) * 4}
    nothing |= {name: (None, None, os.devnull, None) for name in ("config_file", "credentials_file")}
    return boto3.session.Session(botocore_session=botocore.session.Session(nothing))
