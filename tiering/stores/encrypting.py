"""Encrypts objects before they leave and decrypts what is asked for: a store around a store; must not reveal a key.

What the store inside keeps is told in ``envelope``: a sealed header, then chunks that are opened one by one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace

from tiering.deletion import Deletion
from tiering.errors import ChecksumMismatch, KeyTaken, NotThawed, ObjectDiffers, ObjectNotFound
from tiering.stores.base import (
    Availability,
    ObjectStore,
    Source,
    StoredObject,
    check_key,
    digest_of,
    wanted_bytes,
)
from tiering.stores.envelope import (
    CHUNK_BYTES,
    HEADER_BYTES,
    Ciphertext,
    Envelope,
    plain_size,
    seal,
    stored_size,
    unseal,
)
from tiering.stores.keyring import KeyRings
from tiering.warrant import DeleteWarrant


class EncryptingStore:
    """Encrypts with the active key of the ring that holds now; reads with whichever key an object names.

    Sizes and digests are those of the objects as they were put, generations those of the store inside.
    """

    def __init__(self, store: ObjectStore, rings: KeyRings) -> None:
        self._store = store
        self._rings = rings

    def put(self, key: str, source: Source, *, size_bytes: int, sha256: bytes) -> StoredObject:
        """Encrypt twice: once for the digest of what is sent, once to send it."""
        check_key(key)
        cipher = Ciphertext(seal(self._rings.current(), key, size_bytes, sha256), key, source)
        size, digest = digest_of(iter(lambda: cipher.read(1 << 20), b""))
        cipher.seek(0)
        try:
            stored = self._store.put(key, cipher, size_bytes=size, sha256=digest)
        except KeyTaken:
            found = self._find_ours(key)  # the same object, perhaps, from before the ring turned to a new key
            if found is None or found.sha256 != sha256:
                raise
            return found
        return replace(stored, size_bytes=size_bytes, sha256=sha256)

    def read(self, key: str, *, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        """Read the header, then the chunks that the range touches; ChecksumMismatch for what was tampered with."""
        envelope = self._open(key)
        plain = StoredObject(key, envelope.size_bytes, "", envelope.sha256)
        wanted = wanted_bytes(plain, offset=offset, length=length)
        if not wanted:
            return
        first, skipped = divmod(offset, CHUNK_BYTES)
        end = min(-(-(offset + wanted) // CHUNK_BYTES) * CHUNK_BYTES, envelope.size_bytes)
        start = stored_size(first * CHUNK_BYTES)
        pieces = self._store.read(key, offset=start, length=stored_size(end) - start)
        for data in envelope.opened(key, pieces, first):
            yield data[skipped : skipped + wanted]
            wanted -= len(data) - skipped
            skipped = 0

    def read_range(self, key: str, offset: int, length: int) -> bytes:
        """Join what ``read`` yields."""
        return b"".join(self.read(key, offset=offset, length=length))

    def find(self, key: str) -> StoredObject | None:
        """Read the header for the digest; a cold object has none. ChecksumMismatch for a damaged header or size."""
        found = self._store.find(key)
        if found is None:
            return None
        size_bytes = plain_size(key, found.size_bytes)
        try:
            envelope = self._open(key)
        except NotThawed:
            return replace(found, size_bytes=size_bytes, sha256=None)
        except ObjectNotFound:
            return None
        if envelope.size_bytes != size_bytes:
            raise ChecksumMismatch(key=key, reason=f"{size_bytes} bytes are there, {envelope.size_bytes} were sealed")
        return replace(found, size_bytes=size_bytes, sha256=envelope.sha256)

    def iter_keys(self, prefix: str = "", *, after: str = "") -> Iterator[str]:
        """Pass on."""
        return self._store.iter_keys(prefix, after=after)

    def delete(self, warrant: DeleteWarrant, *, accept_damaged: bool = False) -> Deletion:
        """Compare the object with the warrant, then have the store inside compare what it keeps.

        Where that store knows the digest of what it keeps, the header is compared; a cold object's cannot be, its
        generation decides. Where it does not, all of the object is read and decrypted.
        """
        found = self._store.find(warrant.key)
        if found is None:
            return self._store.delete(warrant, accept_damaged=accept_damaged)
        digest, is_same = self._compare(found, warrant)
        if not is_same and not accept_damaged:
            raise ObjectDiffers(key=warrant.key, reason="it is not the one of the warrant")
        inside = replace(warrant, generation=found.generation, sha256=digest)
        outcome = self._store.delete(inside, accept_damaged=accept_damaged)
        return outcome if is_same or outcome is Deletion.GONE else Deletion.DELETED_DAMAGED

    def _compare(self, found: StoredObject, warrant: DeleteWarrant) -> tuple[bytes, bool]:
        """Return the digest of what is stored, and whether it is what the warrant names."""
        is_same = found.generation == warrant.generation
        if found.sha256 is None:
            digest, plain_digest = self._digests(found.key)
            return digest, is_same and plain_digest == warrant.sha256
        try:
            return found.sha256, is_same and self._open(found.key).sha256 == warrant.sha256
        except NotThawed:
            return found.sha256, is_same
        except ChecksumMismatch:
            return found.sha256, False

    def _digests(self, key: str) -> tuple[bytes, bytes | None]:
        """Read all that is stored; return its digest and that of the object, None when it cannot be decrypted."""
        digest = digest_of(self._store.read(key))[1]
        try:
            return digest, digest_of(self.read(key))[1]
        except ChecksumMismatch:
            return digest, None

    def availability(self, key: str) -> Availability:
        """Pass on."""
        return self._store.availability(key)

    def request_thaw(self, keys: Collection[str], days: int) -> None:
        """Pass on."""
        self._store.request_thaw(keys, days)

    def _find_ours(self, key: str) -> StoredObject | None:
        try:
            return self.find(key)
        except ChecksumMismatch:
            return None

    def _open(self, key: str) -> Envelope:
        return unseal(self._rings.current(), key, self._store.read_range(key, 0, HEADER_BYTES))
