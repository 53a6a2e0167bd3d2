"""Objects to store, and the calls that every test of a store makes; it has no test."""

from __future__ import annotations

import hashlib
import io
import random
from collections.abc import Iterator

from tiering.stores.base import CHUNK_BYTES, ObjectStore, StoredObject
from tiering.warrant import DeleteWarrant

KEY = "site/1.2.840.113619.2.55/000001.pack"
SMALL = b"bytes of an object"
LARGE = random.Random(7).randbytes(2 * CHUNK_BYTES + 4321)


def sha256(data: bytes) -> bytes:
    """Return the digest."""
    return hashlib.sha256(data).digest()


def put(store: ObjectStore, data: bytes = SMALL, key: str = KEY) -> StoredObject:
    """Store bytes under a key."""
    return store.put(key, io.BytesIO(data), size_bytes=len(data), sha256=sha256(data))


def get(store: ObjectStore, key: str = KEY) -> bytes:
    """Read all of an object."""
    return b"".join(store.read(key))


def warrant(stored: StoredObject, data: bytes = SMALL) -> DeleteWarrant:
    """Return the permission to delete an object of these bytes."""
    return DeleteWarrant(stored.key, sha256(data), stored.generation, "list D-2026-0001")


def keys(store: ObjectStore, prefix: str = "") -> list[str]:
    """Return the keys with a prefix, sorted."""
    return sorted(store.iter_keys(prefix))


class Broken(io.BytesIO):
    """A source that fails once so many bytes have been asked for."""

    def __init__(self, data: bytes, good_bytes: int) -> None:
        super().__init__(data)
        self.good_bytes = good_bytes

    def read(self, size: int | None = -1, /) -> bytes:
        """Read, or fail."""
        if self.tell() >= self.good_bytes:
            raise OSError("the source broke")
        return super().read(size)


class Dribbling(io.BytesIO):
    """A source that gives fewer bytes than it was asked for."""

    def read(self, size: int | None = -1, /) -> bytes:
        """Give 40 000 bytes at most."""
        return super().read(min(size or 0, 40_000))


def ranges(size_bytes: int) -> Iterator[tuple[int, int]]:
    """Yield offsets and lengths: at both ends, across every border that a store might have, and at random."""
    yield from ((0, 0), (0, 1), (0, size_bytes), (size_bytes, 0), (size_bytes - 1, 1))
    for border in (1 << 16, 1 << 20, (1 << 20) + (1 << 16)):
        yield from ((border - 1, 2), (border, 1), (border - 1, 1), (max(border - 70_000, 0), 140_000))
    dice = random.Random(11)
    for _ in range(5):
        offset = dice.randrange(size_bytes)
        yield offset, dice.randrange(size_bytes - offset)
