"""What an object store is: the contract that every store keeps and every caller relies on; must not store anything.

**Keys.** ``check_key`` says what a key is. A key names one object for ever: it is never used again for another, not
even after the object is gone. The caller sees to that; a store sees to it that no object is ever overwritten.

**Objects are immutable.** ``put`` creates, and nothing changes an object afterwards. What a reader sees under a key is
the whole object or nothing; never a part of it, whatever broke off in between.

**Durable.** When ``put`` or ``delete`` has returned, what it did survives a power cut at the other end.

**Repeatable.** Every call may be made again after an answer was lost: the same bytes under the same key are the same
object, what is gone is gone, a thaw that was asked for is asked for.

**Errors.** Only those of ``tiering.errors.StoreError`` and, for what a source of bytes raises, its own. The ones that
are ``retryable`` may go away by themselves. An iterator raises at its first step or at any later one.

Stores take calls from several threads at once.
"""

from __future__ import annotations

import enum
import hashlib
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

from tiering.deletion import Deletion
from tiering.errors import ChecksumMismatch, InvalidKey
from tiering.warrant import DeleteWarrant

CHUNK_BYTES: Final = 1 << 20
KEY_CHARACTERS: Final = 240
"""What a file system leaves of the 255 bytes of a file's name."""
_SEGMENT: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
_PREFIX: Final = re.compile(r"[A-Za-z0-9._/-]*")


class Source(Protocol):
    """Where the bytes of a new object come from: any binary file that can be read twice."""

    def read(self, size: int, /) -> bytes:
        """Return at most ``size`` bytes, none at the end."""

    def seek(self, offset: int, /) -> object:
        """Go to a position that ``tell`` gave."""

    def tell(self) -> int:
        """Return the position."""


@dataclass(frozen=True, slots=True)
class StoredObject:
    """One object as its store knows it.

    ``generation`` tells this object from any other that could ever lie under its key; only its store reads meaning
    into it. ``sha256`` (32 bytes) is None where the store cannot tell it without reading all of the object.
    """

    key: str
    size_bytes: int
    generation: str
    sha256: bytes | None


class Availability(enum.Enum):
    """Whether an object can be read. What an archive tells the outside (0008,0056) is made of it."""

    ONLINE = "online"
    """At once and always."""
    COLD = "cold"
    """Only after a thaw; also once the time of a thaw has run out."""
    WARMING = "warming"
    """A thaw was asked for and is not done."""
    WARM = "warm"
    """At once, until the time of the thaw runs out."""


class ObjectStore(Protocol):
    """Keeps objects by key; the module says what holds for every call."""

    def put(self, key: str, source: Source, *, size_bytes: int, sha256: bytes) -> StoredObject:
        """Store the next ``size_bytes`` of ``source`` under a key; return the object once it is durable.

        The key is free: the object is created. It has an object with the same digest: that one is returned and stays
        as it is. It has any other: KeyTaken. Whoever comes first wins, and all others are told. ``source`` is read
        from where it stands, perhaps more than once, and left anywhere. Memory does not grow with the object, but for
        a few parts of it. Raises ChecksumMismatch when the source's bytes are not ``size_bytes`` with that ``sha256``
        (32 bytes), StoreFull, StoreUnavailable, StoreRefused; the key is then as it was, or has the whole object.
        """

    def read(self, key: str, *, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        """Yield exactly ``length`` bytes from ``offset`` on, or all that follow, in pieces of any size but none empty.

        Raises ObjectNotFound; NotThawed; ChecksumMismatch when the object ends before; StoreUnavailable when the
        store breaks off, after any number of right bytes. No digest of the whole is compared: that is the caller's.
        """

    def read_range(self, key: str, offset: int, length: int) -> bytes:
        """Return exactly ``length`` bytes from ``offset`` on. Raises what ``read`` raises."""

    def find(self, key: str) -> StoredObject | None:
        """Return what lies under the key, None when nothing does."""

    def iter_keys(self, prefix: str = "", *, after: str = "") -> Iterator[str]:
        """Yield every key that starts with the text ``prefix``, each once, in an order of the store's own.

        The order is the same each time: ``after``, a key that was yielded before, gives those that come behind it,
        also when its object is gone by now. Objects put or deleted meanwhile may or may not be among them.
        """

    def delete(self, warrant: DeleteWarrant, *, accept_damaged: bool = False) -> Deletion:
        """Delete the object that the warrant names, durably; say what became of it.

        Key, digest and generation are compared with the object first. One that is not the warrant's stays, and
        ObjectDiffers is raised; with ``accept_damaged`` what lies under the key goes all the same, and is said to
        have been damaged. Raises ObjectHeld for an object that is held, whatever the warrant says.
        """

    def availability(self, key: str) -> Availability:
        """Tell whether the object can be read now. Raises ObjectNotFound."""

    def request_thaw(self, keys: Collection[str], days: int) -> None:
        """Ask for objects to be made readable for some days, and return without waiting: ``availability`` tells.

        All are asked for before any is waited for, so a hundred objects thaw together. An object that is online, warm
        or warming already is no error. Raises ObjectNotFound for the first key that has none.
        """


class ObjectHolds(Protocol):
    """What a store offers that can keep objects from being deleted whoever asks, itself included."""

    def set_hold(self, key: str) -> None:
        """Hold an object until the hold is released; again is harmless. Raises ObjectNotFound, StoreRefused."""

    def release_hold(self, key: str) -> None:
        """Release an object's hold; again is harmless. Raises ObjectNotFound, StoreRefused."""

    def is_held(self, key: str) -> bool:
        """Tell whether ``set_hold`` holds an object. Raises ObjectNotFound, StoreRefused."""

    def retain_until(self, key: str, until: datetime) -> None:
        """Keep an object from being deleted before a moment (aware), which may only move later."""


def check_key(key: str) -> str:
    """Return a key that is one: segments of letters, digits and ``._-``, none of which opens with ``.`` or ``-``.

    Slashes stand between them. Raises InvalidKey.
    """
    if len(key) > KEY_CHARACTERS:
        raise InvalidKey(key=key, reason=f"is longer than {KEY_CHARACTERS} characters")
    if not all(_SEGMENT.fullmatch(segment) for segment in key.split("/")):
        raise InvalidKey(key=key, reason="is not made of segments of letters, digits and ._-")
    return key


def check_prefix(prefix: str) -> str:
    """Return a text that a key could start with. Raises InvalidKey."""
    if not _PREFIX.fullmatch(prefix):
        raise InvalidKey(key=prefix, reason="cannot be how a key starts")
    return prefix


def wanted_bytes(stored: StoredObject, *, offset: int, length: int | None) -> int:
    """Return how many bytes a read is to give; ChecksumMismatch when the object does not have them.

    A range that no object could have is a mistake of the caller's: ValueError.
    """
    if offset < 0 or (length is not None and length < 0):
        raise ValueError(f"not a range: {length} bytes from {offset}")
    wanted = max(stored.size_bytes - offset, 0) if length is None else length
    if offset + wanted > stored.size_bytes:
        raise ChecksumMismatch(key=stored.key, reason=f"it ends at byte {stored.size_bytes}, before {offset + wanted}")
    return wanted


def checked_chunks(key: str, source: Source, *, size_bytes: int, sha256: bytes) -> Iterator[bytes]:
    """Yield what the source gives, 1 MiB at a time; ChecksumMismatch in place of a last chunk that makes it wrong."""
    digest, left = hashlib.sha256(), size_bytes
    while left:
        chunk = source.read(min(CHUNK_BYTES, left))
        if not chunk:
            raise ChecksumMismatch(key=key, reason=f"{left} of {size_bytes} bytes are missing")
        digest.update(chunk)
        left -= len(chunk)
        if not left:
            _check_digest(key, digest.digest(), sha256)
        yield chunk
    if not size_bytes:
        _check_digest(key, digest.digest(), sha256)


def _check_digest(key: str, found: bytes, promised: bytes) -> None:
    if found != promised:
        raise ChecksumMismatch(key=key, reason=f"SHA-256 is {found.hex()}, not {promised.hex()}")


def exactly(key: str, chunks: Iterator[bytes], length: int) -> Iterator[bytes]:
    """Yield the first ``length`` bytes of ``chunks``; ChecksumMismatch when they end before."""
    left = length
    while left:
        chunk = next(chunks, b"")
        if not chunk:
            raise ChecksumMismatch(key=key, reason=f"{left} of {length} bytes are missing")
        yield chunk[:left]
        left -= min(left, len(chunk))


def digest_of(chunks: Iterator[bytes]) -> tuple[int, bytes]:
    """Return the size in bytes and the SHA-256 of all that comes."""
    digest, size_bytes = hashlib.sha256(), 0
    for chunk in chunks:
        digest.update(chunk)
        size_bytes += len(chunk)
    return size_bytes, digest.digest()
