"""Objects in a bucket of S3, Ceph or their like; must not trust the endpoint with more than it can be asked about."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import closing
from datetime import datetime
from typing import Any, Final

from tiering.deletion import Deletion
from tiering.errors import (
    ChecksumMismatch,
    KeyTaken,
    ObjectDiffers,
    ObjectHeld,
    StoreRefused,
    StoreUnavailable,
)
from tiering.stores.base import (
    CHUNK_BYTES,
    Availability,
    Source,
    StoredObject,
    check_key,
    check_prefix,
    exactly,
    wanted_bytes,
)
from tiering.stores.s3.bucket import Bucket, Head, version_in
from tiering.stores.s3.faults import told
from tiering.stores.s3.uploads import Uploads
from tiering.warrant import DeleteWarrant

_RESTORED: Final = 'ongoing-request="false"'


class S3Store:
    """The objects of one bucket.

    The digest of an object is in its metadata, put there with the bytes. Its generation is its version, or its entity
    tag and size in a bucket without versions. Turn versions on: with them a deletion names what it deletes.
    """

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self._uploads = Uploads(bucket)

    def put(self, key: str, source: Source, *, size_bytes: int, sha256: bytes) -> StoredObject:
        """Send it, unless it is there; then have the endpoint say what it has."""
        head = self._bucket.find_head(check_key(key))
        made = None
        if head is None:
            made = self._sent(key, source, size_bytes=size_bytes, sha256=sha256)
            head = self._bucket.find_head(key, made) or self._uploads.find_first(key)
        if head is None:
            raise StoreUnavailable(reason=f"{key} was acknowledged and is not there")
        if head.version is not None:
            head = self._uploads.settle(head, sha256)
        if head.stored.sha256 != sha256:
            raise KeyTaken(key=key)
        self._check_kept(head, size_bytes)
        return head.stored

    def _sent(self, key: str, source: Source, *, size_bytes: int, sha256: bytes) -> str | None:
        """Send it; return the version that was made, None where there are none or somebody else has the key now."""
        try:
            return self._uploads.send(key, source, size_bytes=size_bytes, sha256=sha256)
        except KeyTaken:  # perhaps by us, when an answer was lost: the head will tell
            return None

    def _check_kept(self, head: Head, size_bytes: int) -> None:
        """Refuse to believe what the endpoint did not do."""
        if head.stored.size_bytes != size_bytes:
            raise ChecksumMismatch(key=head.key, reason=f"{head.stored.size_bytes} of {size_bytes} bytes are there")
        asked = self._bucket.settings.server_side_encryption
        if asked is not None and head.answer.get("ServerSideEncryption") != asked:
            raise StoreRefused(reason=f"it did not encrypt {head.key} by {asked}, and said nothing")

    def read(self, key: str, *, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        """Ask for the range; the answer says how long the object is."""
        answer = self._get(key, offset, length) if length != 0 else None
        if answer is None:
            wanted_bytes(self._bucket.get_head(check_key(key)).stored, offset=offset, length=length)
            return
        with closing(answer["Body"]) as body:
            total = answer.get("ContentRange", "").rpartition("/")[2] or answer["ContentLength"]
            stored = StoredObject(key, int(total), "", None)
            wanted = wanted_bytes(stored, offset=offset, length=length)
            yield from exactly(key, _pieces(key, body), wanted)

    def _get(self, key: str, offset: int, length: int | None) -> Any:
        """Return the answer to GET; None when the object does not reach as far as the range begins."""
        end = "" if length is None else offset + length - 1
        is_all = not offset and length is None
        span = {} if is_all else {"Range": f"bytes={max(offset, 0)}-{end}"}
        try:
            with told(key):
                return self._client.get_object(**self._bucket.at(check_key(key)), **span)
        except ChecksumMismatch:
            return None

    def read_range(self, key: str, offset: int, length: int) -> bytes:
        """Join what ``read`` yields."""
        return b"".join(self.read(key, offset=offset, length=length))

    def find(self, key: str) -> StoredObject | None:
        """Ask for the object's head."""
        head = self._bucket.find_head(check_key(key))
        if head is None:
            self._bucket.check()
            return None
        return head.stored

    def iter_keys(self, prefix: str = "", *, after: str = "") -> Iterator[str]:
        """List, a page at a time."""
        asked = self._bucket.below(check_prefix(prefix))
        if after:
            asked["StartAfter"] = self._bucket.at(after)["Key"]
        pages = self._client.get_paginator("list_objects_v2").paginate(**asked)
        with told(prefix):
            for page in pages:
                yield from (self._bucket.key_of(each) for each in page.get("Contents", ()))

    def delete(self, warrant: DeleteWarrant, *, accept_damaged: bool = False) -> Deletion:
        """Compare with what the endpoint says of the version that the warrant names, and delete that version.

        Its bytes are not read again: they may be gigabytes, or frozen. A version is never another's.
        """
        key = check_key(warrant.key)
        head = self._bucket.find_head(key, version_in(warrant.generation)) or self._bucket.find_head(key)
        if head is None:
            self._bucket.check()
            return Deletion.GONE
        is_same = (head.stored.generation, head.stored.sha256) == (warrant.generation, warrant.sha256)
        if not is_same and not accept_damaged:
            raise ObjectDiffers(key=key, reason="it is not the one of the warrant")
        self._delete(head)
        return Deletion.DELETED if is_same else Deletion.DELETED_DAMAGED

    def _delete(self, head: Head) -> None:
        if head.is_held:
            raise ObjectHeld(key=head.key, reason="it is held")
        match = {"IfMatch": head.etag} if head.version is None else {}
        try:
            with told(head.key):
                self._client.delete_object(**self._bucket.at(head.key, head.version), **match)
        except KeyTaken as exc:
            raise ObjectDiffers(key=head.key, reason="another object took its place") from exc
        except StoreRefused as exc:
            if head.retained_until is None:
                raise
            raise ObjectHeld(key=head.key, reason=f"it is retained until {head.retained_until}") from exc

    def availability(self, key: str) -> Availability:
        """Read it from the storage class and from the state of a restore."""
        answer = self._bucket.get_head(check_key(key)).answer
        is_cold = answer.get("StorageClass") in self._bucket.settings.cold_classes or "ArchiveStatus" in answer
        if not is_cold:
            return Availability.ONLINE
        restore = answer.get("Restore")
        if restore is None:
            return Availability.COLD
        return Availability.WARM if _RESTORED in restore else Availability.WARMING

    def request_thaw(self, keys: Collection[str], days: int) -> None:
        """Ask to restore each that is cold."""
        wish = {"Days": days, "GlacierJobParameters": {"Tier": self._bucket.settings.thaw_tier}}
        for key in keys:
            if self.availability(key) is Availability.COLD:
                with told(key):
                    self._client.restore_object(**self._bucket.at(key), RestoreRequest=wish)

    def abandon_uploads(self, started_before: datetime) -> int:
        """End uploads in parts that were begun before a moment (aware) and never ended; return how many."""
        return self._uploads.abandon(started_before)

    @property
    def _client(self) -> Any:
        return self._bucket.client


def _pieces(key: str, body: Any) -> Iterator[bytes]:
    while True:
        with told(key):
            piece = body.read(CHUNK_BYTES)
        if not piece:
            return
        yield piece
