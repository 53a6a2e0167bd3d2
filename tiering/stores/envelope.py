"""The form of an encrypted object: how one is sealed, cut, opened; must not know where it is kept.

::

    magic 8 | id of the ring's key 32, NUL-padded | sealed 88 = AES-SIV(data key 32 | SHA-256 32 | size 8)
    chunk 0: AES-256-GCM(data key, nonce 0, the header as associated data) | chunk 1: nonce 1 | ...

Chunks have 64 KiB, the last one perhaps less, and a tag of 16 bytes each. The header is sealed (RFC 5297) with the
object's key as associated data, so an object that was put under another's key is noticed, and so are chunks left out
or swapped; what is added behind is never read. Each object has a data key of its own, made from the ring's key, the
object's key, its size and its digest (HMAC-SHA-256): a put that is repeated sends the same bytes again, and no data key
ever encrypts two different texts.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, AESSIV
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from tiering.errors import ChecksumMismatch
from tiering.stores.base import Source, checked_chunks
from tiering.stores.keyring import KEY_BYTES, KEY_ID_CHARACTERS, KeyRing

MAGIC: Final = b"DRIMBOX\x01"
HEADER_BYTES: Final = 128
CHUNK_BYTES: Final = 1 << 16
TAG_BYTES: Final = 16
_SEALED_AT: Final = len(MAGIC) + KEY_ID_CHARACTERS
_SIZE_BYTES: Final = 8


@dataclass(frozen=True, slots=True)
class Envelope:
    """What the header of one object holds, and the header itself."""

    header: bytes
    data_key: bytes = field(repr=False)
    sha256: bytes
    size_bytes: int

    def close_chunk(self, index: int, data: bytes) -> bytes:
        """Encrypt a chunk; its tag follows."""
        return AESGCM(self.data_key).encrypt(index.to_bytes(12), data, self.header)

    def opened(self, key: str, pieces: Iterator[bytes], first: int) -> Iterator[bytes]:
        """Yield what the chunks hold, the first of which has a number. Raises ChecksumMismatch."""
        cipher = AESGCM(self.data_key)
        for index, chunk in enumerate(_recut(pieces, CHUNK_BYTES + TAG_BYTES), first):
            try:
                yield cipher.decrypt(index.to_bytes(12), chunk, self.header)
            except InvalidTag as exc:
                raise ChecksumMismatch(key=key, reason=f"chunk {index} was not encrypted like this") from exc


class Ciphertext:
    """The source of what is stored; the object's own source is read again from where it stood after each ``seek``."""

    def __init__(self, envelope: Envelope, key: str, source: Source) -> None:
        self._envelope = envelope
        self._key = key
        self._source = source
        self._start = source.tell()
        self._position = 0
        self._pieces = self._encrypted()
        self._rest = memoryview(b"")

    def read(self, size: int, /) -> bytes:
        """Encrypt as much as is asked for."""
        taken: list[memoryview] = []
        while size and (self._rest or self._turn()):
            taken.append(self._rest[:size])
            self._rest = self._rest[size:]
            size -= len(taken[-1])
        data = b"".join(taken)
        self._position += len(data)
        return data

    def seek(self, offset: int, /) -> object:
        """Start again, and pass over what lies before."""
        self._source.seek(self._start)
        self._position, self._pieces, self._rest = 0, self._encrypted(), memoryview(b"")
        while self._position < offset and self.read(min(offset - self._position, 1 << 20)):
            pass
        return self._position

    def tell(self) -> int:
        """Return the position in what is stored."""
        return self._position

    def _turn(self) -> bool:
        self._rest = memoryview(next(self._pieces, b""))
        return bool(self._rest)

    def _encrypted(self) -> Iterator[bytes]:
        envelope = self._envelope
        plain = checked_chunks(self._key, self._source, size_bytes=envelope.size_bytes, sha256=envelope.sha256)
        yield envelope.header
        for index, chunk in enumerate(_recut(plain, CHUNK_BYTES)):
            yield envelope.close_chunk(index, chunk)


def _recut(pieces: Iterator[bytes], size: int) -> Iterator[bytes]:
    """Yield the same bytes in pieces of ``size``, the last one perhaps shorter."""
    rest = b""
    for piece in pieces:
        data = rest + piece if rest else piece
        whole = len(data) // size * size
        yield from (data[start : start + size] for start in range(0, whole, size))
        rest = data[whole:]
    if rest:
        yield rest


def stored_size(size_bytes: int) -> int:
    """Return how many bytes header and chunks take for the first ``size_bytes`` of an object."""
    return HEADER_BYTES + size_bytes + TAG_BYTES * -(-size_bytes // CHUNK_BYTES)


def plain_size(key: str, stored_bytes: int) -> int:
    """Return how many bytes an object has that takes so many. Raises ChecksumMismatch when none can."""
    body = stored_bytes - HEADER_BYTES
    size_bytes = body - TAG_BYTES * -(-body // (CHUNK_BYTES + TAG_BYTES))
    if size_bytes < 0 or stored_size(size_bytes) != stored_bytes:
        raise ChecksumMismatch(key=key, reason=f"an encrypted object cannot have {stored_bytes} bytes")
    return size_bytes


def _derived(ring_key: bytes, purpose: bytes, length: int) -> bytes:
    return HKDF(SHA256(), length, salt=None, info=b"drimbox object store, " + purpose).derive(ring_key)


def seal(ring: KeyRing, key: str, size_bytes: int, sha256: bytes) -> Envelope:
    """Return the envelope of a new object, under the ring's active key."""
    ring_key, size = ring.get(ring.active, key), size_bytes.to_bytes(_SIZE_BYTES)
    maker = _derived(ring_key, b"data keys", KEY_BYTES)
    data_key = hmac.digest(maker, key.encode("ascii") + b"\0" + size + sha256, hashlib.sha256)
    front = MAGIC + ring.active.encode("ascii").ljust(KEY_ID_CHARACTERS, b"\0")
    sealer = AESSIV(_derived(ring_key, b"sealing", 2 * KEY_BYTES))
    sealed = sealer.encrypt(data_key + sha256 + size, [front, key.encode("ascii")])
    return Envelope(front + sealed, data_key, sha256, size_bytes)


def unseal(ring: KeyRing, key: str, header: bytes) -> Envelope:
    """Open a header. Raises ChecksumMismatch for one that was not sealed like this, EncryptionKeyMissing."""
    if not header.startswith(MAGIC):
        raise ChecksumMismatch(key=key, reason="it is not encrypted, or not by this archive")
    front, sealed = header[:_SEALED_AT], header[_SEALED_AT:]
    key_id = front[len(MAGIC) :].rstrip(b"\0").decode("ascii", "replace")
    sealer = AESSIV(_derived(ring.get(key_id, key), b"sealing", 2 * KEY_BYTES))
    try:
        opened = sealer.decrypt(sealed, [front, key.encode("ascii")])
    except InvalidTag as exc:
        raise ChecksumMismatch(key=key, reason="its header was not sealed like this") from exc
    return Envelope(header, opened[:KEY_BYTES], opened[KEY_BYTES:-_SIZE_BYTES], int.from_bytes(opened[-_SIZE_BYTES:]))
