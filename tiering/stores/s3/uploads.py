"""Sends the bytes of a new object, in one request or in parts; must not overwrite one, as far as the endpoint can tell.

``If-None-Match: *`` makes the endpoint refuse a key that is taken. Ceph (up to Pacific at least) does so for an object
in one request in a bucket without versions, and takes no notice of it for one in parts and in a bucket with versions.
So the key is looked at before parts are put together, which leaves a moment, and ``settle`` decides between versions,
which leaves none; a reader who comes in between may see the one that goes.
"""

from __future__ import annotations

import base64
import hashlib
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from tiering.errors import KeyTaken, StoreError
from tiering.stores.base import Source, checked_chunks
from tiering.stores.s3.bucket import DIGEST, Bucket, Head
from tiering.stores.s3.faults import told

_ONLY_NEW: Final = {"IfNoneMatch": "*"}


@dataclass(frozen=True, slots=True)
class Uploads:
    """Puts objects into one bucket."""

    bucket: Bucket

    def send(self, key: str, source: Source, *, size_bytes: int, sha256: bytes) -> str | None:
        """Send an object; return the version that was made, None without versions. Raises KeyTaken."""
        settings = self.bucket.settings
        chunks = checked_chunks(key, source, size_bytes=size_bytes, sha256=sha256)
        if size_bytes > settings.multipart_bytes:
            parts = _joined(chunks, settings.part_bytes_of(size_bytes))
            answer = self._send_parts(key, parts, sha256)
        else:
            data = b"".join(chunks)
            with told(key):
                kept = self._kept(sha256) | self._checksum(sha256)
                answer = self._client.put_object(**self.bucket.at(key), Body=data, **kept, **_ONLY_NEW)
        version = answer.get("VersionId")
        return None if version in (None, "", "null") else str(version)

    def settle(self, head: Head, sha256: bytes) -> Head:
        """Return the first version that the key of a version ever had; take back the later ones of this digest.

        Every writer keeps to it and the endpoint lists versions in one order, so exactly one of them stays. What goes
        is what this very put has made, or another of the same bytes, perhaps one that was killed in the middle: nobody
        was told of it, no warrant names it, and it would outlive the first. Raises KeyTaken for a key whose first
        object somebody hid behind a delete marker.
        """
        versions, is_hidden = self._versions(head.key)
        for version in versions[:-1]:
            self._take_back(head.key, version, sha256)
        if not versions or versions[-1] == head.version:
            return head
        if is_hidden:
            raise KeyTaken(key=head.key)
        return self.bucket.get_head(head.key, versions[-1])

    def _take_back(self, key: str, version: str, sha256: bytes) -> None:
        head = self.bucket.find_head(key, version)
        if head is not None and head.stored.sha256 == sha256:
            with told(key):
                self._client.delete_object(**self.bucket.at(key, version))

    def find_first(self, key: str) -> Head | None:
        """Return the first version of a key by its own name; None when there is none, or no versions.

        Ceph (Pacific at least) may say for a moment that nothing lies under a key while somebody takes a later version
        of it back: the key still leads to the one that went. Raises KeyTaken for a key hidden behind a delete marker.
        """
        versions, is_hidden = self._versions(key)
        if is_hidden:
            raise KeyTaken(key=key)
        return self.bucket.find_head(key, versions[-1]) if versions and versions[-1] != "null" else None

    def _versions(self, key: str) -> tuple[list[str], bool]:
        """Return a key's versions, the newest first, and whether a delete marker is among them."""
        with told(key):
            listed = self._client.list_object_versions(**self.bucket.below(key))
        versions = [each["VersionId"] for each in listed.get("Versions", ()) if self.bucket.key_of(each) == key]
        return versions, any(self.bucket.key_of(each) == key for each in listed.get("DeleteMarkers", ()))

    def abandon(self, started_before: datetime) -> int:
        """End the uploads in parts that were begun before a moment (aware) and never ended; return how many.

        Their parts take room that no listing shows. A bucket's lifecycle can do the same.
        """
        count = 0
        for upload in list(self._iter_uploads()):
            if upload["Initiated"] < started_before:
                self._abort(self.bucket.key_of(upload), upload["UploadId"])
                count += 1
        return count

    @property
    def _client(self) -> Any:
        return self.bucket.client

    def _kept(self, sha256: bytes) -> dict[str, Any]:
        """Return how an object is to be kept."""
        settings = self.bucket.settings
        asked = {
            "StorageClass": settings.storage_class,
            "ServerSideEncryption": settings.server_side_encryption,
            "SSEKMSKeyId": settings.kms_key_id,
        }
        return {"Metadata": {DIGEST: sha256.hex()}} | {name: value for name, value in asked.items() if value}

    def _checksum(self, sha256: bytes) -> dict[str, str]:
        is_sent = self.bucket.settings.sends_checksums
        return {"ChecksumSHA256": base64.b64encode(sha256).decode("ascii")} if is_sent else {}

    def _send_parts(self, key: str, parts: Iterator[bytes], sha256: bytes) -> Any:
        algorithm = {"ChecksumAlgorithm": "SHA256"} if self.bucket.settings.sends_checksums else {}
        with told(key):
            begun = self._client.create_multipart_upload(**self.bucket.at(key), **self._kept(sha256), **algorithm)
        upload = begun["UploadId"]
        try:
            sent = self._send_side_by_side(key, upload, parts)
            if self.bucket.find_head(key) is not None:
                raise KeyTaken(key=key)
            named = {"UploadId": upload, "MultipartUpload": {"Parts": sent}}
            with told(key):
                return self._client.complete_multipart_upload(**self.bucket.at(key), **named, **_ONLY_NEW)
        except BaseException:
            with suppress(StoreError):  # what broke off is worth more than what cannot be cleared away now
                self._abort(key, upload)
            raise

    def _send_side_by_side(self, key: str, upload: str, parts: Iterator[bytes]) -> list[dict[str, Any]]:
        """Send parts while the next ones are read; no more than ``parts_at_once`` of them are in memory.

        All that were begun have ended when this returns or raises: an upload is not ended under a part on its way.
        """
        at_once = self.bucket.settings.parts_at_once
        waiting: deque[Future[dict[str, Any]]] = deque()
        sent: list[dict[str, Any]] = []
        with ThreadPoolExecutor(at_once, thread_name_prefix="upload") as threads:
            for number, data in enumerate(parts, 1):
                waiting.append(threads.submit(self._send_part, key, upload, number, data))
                del data
                while len(waiting) >= at_once:
                    sent.append(waiting.popleft().result())
            sent += [each.result() for each in waiting]
        return sent

    def _send_part(self, key: str, upload: str, number: int, data: bytes) -> dict[str, Any]:
        is_sent = self.bucket.settings.sends_checksums
        checksum = self._checksum(hashlib.sha256(data).digest()) if is_sent else {}
        place = {"UploadId": upload, "PartNumber": number}
        with told(key):
            answer = self._client.upload_part(**self.bucket.at(key), **place, Body=data, **checksum)
        return {"PartNumber": number, "ETag": answer["ETag"], **checksum}

    def _abort(self, key: str, upload: str) -> None:
        with told(key):
            self._client.abort_multipart_upload(**self.bucket.at(key), UploadId=upload)

    def _iter_uploads(self) -> Iterator[Any]:
        with told(self.bucket.name):
            for page in self._client.get_paginator("list_multipart_uploads").paginate(**self.bucket.below("")):
                yield from page.get("Uploads", ())


def _joined(chunks: Iterator[bytes], size: int) -> Iterator[bytes]:
    """Yield the same bytes in pieces of ``size``, the last one perhaps shorter; each is copied once."""
    waiting: list[bytes] = []
    missing = size
    for chunk in chunks:
        rest = chunk
        while len(rest) >= missing:
            yield b"".join((*waiting, rest[:missing]))
            rest, waiting, missing = rest[missing:], [], size
        if rest:
            waiting.append(rest)
            missing -= len(rest)
    if waiting:
        yield b"".join(waiting)
