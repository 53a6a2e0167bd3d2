"""A store in memory that keeps every hard rule and fails on request; must not be where anything is kept for good.

It is shipped for tests, ours and others': what passes here does not rely on more than the contract gives. Objects may
be held, cold or damaged; calls may fail before or after they did their work.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from itertools import count
from typing import Final

from tiering.deletion import Deletion
from tiering.errors import (
    KeyTaken,
    NotThawed,
    ObjectDiffers,
    ObjectHeld,
    ObjectNotFound,
    StoreError,
    StoreFull,
    StoreUnavailable,
)
from tiering.stores.base import (
    CHUNK_BYTES,
    Availability,
    Source,
    StoredObject,
    check_key,
    check_prefix,
    checked_chunks,
    exactly,
    wanted_bytes,
)
from tiering.warrant import DeleteWarrant

_READABLE: Final = (Availability.ONLINE, Availability.WARM)


@dataclass(slots=True)
class _Object:
    data: bytes
    stored: StoredObject
    availability: Availability
    is_held: bool = False
    retained_until: datetime | None = None


@dataclass(slots=True)
class Faults:
    """What goes wrong next, in the order in which it was asked for; each failure happens once."""

    before: list[StoreError] = field(default_factory=list)
    after: list[StoreError] = field(default_factory=list)
    breaks: list[int] = field(default_factory=list)

    def fail_next(self, calls: int = 1, error: StoreError | None = None) -> None:
        """Have the next calls fail before they do anything; with StoreUnavailable, unless told otherwise."""
        self.before += [error or StoreUnavailable(reason="as asked")] * calls

    def lose_acknowledgements(self, calls: int = 1) -> None:
        """Have the next puts and deletions do their work and fail all the same."""
        self.after += [StoreUnavailable(reason="the answer was lost, as asked")] * calls

    def break_off(self, after_bytes: int) -> None:
        """Have the next put or read break off once so many bytes have passed; they pass in pieces of 1 MiB at most."""
        self.breaks.append(after_bytes)


class MemoryStore:
    """Objects in a dictionary. ``is_cold``: whatever is put must be thawed before it is read.

    Nobody's clock is read: a thaw is done when ``finish_thaws`` says so and over when ``expire_thaws`` does, and a
    retention is over when ``now``, which only a test moves, has come to it.
    """

    def __init__(self, *, is_cold: bool = False, capacity_bytes: int = 1 << 40) -> None:
        self.faults = Faults()
        self.now: datetime | None = None
        self.capacity_bytes = capacity_bytes
        self._initial = Availability.COLD if is_cold else Availability.ONLINE
        self._objects: dict[str, _Object] = {}
        self._generations = count(1)
        self._lock = threading.RLock()

    # ---- the contract ------------------------------------------------------------------------------------------------

    def put(self, key: str, source: Source, *, size_bytes: int, sha256: bytes) -> StoredObject:
        """Take the whole object before it is there for anybody."""
        self._begin(check_key(key))
        taken = self._broken(checked_chunks(key, source, size_bytes=size_bytes, sha256=sha256))
        data = b"".join(taken)
        with self._lock:
            stored = self._add(key, data, sha256)
        self._acknowledge()
        return stored

    def _add(self, key: str, data: bytes, sha256: bytes) -> StoredObject:
        found = self._objects.get(key)
        if found is not None:
            if found.stored.sha256 != sha256:
                raise KeyTaken(key=key)
            return found.stored
        if len(data) + sum(len(each.data) for each in self._objects.values()) > self.capacity_bytes:
            raise StoreFull(reason=f"it takes {self.capacity_bytes} bytes")
        stored = StoredObject(key, len(data), f"g{next(self._generations)}", sha256)
        self._objects[key] = _Object(data, stored, self._initial)
        return stored

    def read(self, key: str, *, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        """Yield chunks of 1 MiB."""
        self._begin(key)
        found = self._get(key)
        if found.availability not in _READABLE:
            raise NotThawed(key=key)
        wanted = wanted_bytes(found.stored, offset=offset, length=length)
        pieces = (found.data[start : start + CHUNK_BYTES] for start in range(offset, len(found.data), CHUNK_BYTES))
        yield from exactly(key, self._broken(pieces), wanted)

    def read_range(self, key: str, offset: int, length: int) -> bytes:
        """Join what ``read`` yields."""
        return b"".join(self.read(key, offset=offset, length=length))

    def find(self, key: str) -> StoredObject | None:
        """Look it up."""
        self._begin(check_key(key))
        found = self._objects.get(key)
        return None if found is None else found.stored

    def iter_keys(self, prefix: str = "", *, after: str = "") -> Iterator[str]:
        """Go through a copy of the keys, in their order."""
        self._begin(check_prefix(prefix))
        yield from sorted(key for key in self._objects.copy() if key.startswith(prefix) and key > after)

    def delete(self, warrant: DeleteWarrant, *, accept_damaged: bool = False) -> Deletion:
        """Compare the bytes themselves, like a store that trusts nobody."""
        self._begin(check_key(warrant.key))
        with self._lock:
            outcome = self._remove(warrant, accept_damaged=accept_damaged)
        self._acknowledge()
        return outcome

    def _remove(self, warrant: DeleteWarrant, *, accept_damaged: bool) -> Deletion:
        found = self._objects.get(warrant.key)
        if found is None:
            return Deletion.GONE
        is_same = hashlib.sha256(found.data).digest() == warrant.sha256 == found.stored.sha256
        is_same = is_same and found.stored.generation == warrant.generation
        if not is_same and not accept_damaged:
            raise ObjectDiffers(key=warrant.key, reason="it is not the one of the warrant")
        self._check_free(found)
        del self._objects[warrant.key]
        return Deletion.DELETED if is_same else Deletion.DELETED_DAMAGED

    def _check_free(self, found: _Object) -> None:
        if found.is_held:
            raise ObjectHeld(key=found.stored.key, reason="it is held")
        if found.retained_until is not None and (self.now is None or self.now < found.retained_until):
            raise ObjectHeld(key=found.stored.key, reason=f"it is retained until {found.retained_until}")

    def availability(self, key: str) -> Availability:
        """Look it up."""
        self._begin(key)
        return self._get(key).availability

    def request_thaw(self, keys: Collection[str], days: int) -> None:
        """Have cold objects warm up until ``finish_thaws``."""
        assert days > 0, "a thaw lasts a day or more"
        for key in keys:
            self._begin(key)
            found = self._get(key)
            if found.availability is Availability.COLD:
                found.availability = Availability.WARMING

    # ---- holds -------------------------------------------------------------------------------------------------------

    def set_hold(self, key: str) -> None:
        """Hold it."""
        self._get(key).is_held = True

    def release_hold(self, key: str) -> None:
        """Let it go."""
        self._get(key).is_held = False

    def is_held(self, key: str) -> bool:
        """Look it up."""
        return self._get(key).is_held

    def retain_until(self, key: str, until: datetime) -> None:
        """Keep the later of two moments."""
        found = self._get(key)
        found.retained_until = until if found.retained_until is None else max(until, found.retained_until)

    # ---- what a test does to it --------------------------------------------------------------------------------------

    def finish_thaws(self) -> None:
        """Make warm what is warming."""
        self._turn(Availability.WARMING, Availability.WARM)

    def expire_thaws(self) -> None:
        """Make cold what was warm."""
        self._turn(Availability.WARM, Availability.COLD)

    def damage(self, key: str, data: bytes) -> None:
        """Put other bytes in an object's place, as a disk might; what the store says of it stays."""
        self._get(key).data = data

    def _turn(self, old: Availability, new: Availability) -> None:
        for found in self._objects.values():
            if found.availability is old:
                found.availability = new

    def _get(self, key: str) -> _Object:
        found = self._objects.get(check_key(key))
        if found is None:
            raise ObjectNotFound(key=key)
        return found

    def _begin(self, _key: str) -> None:
        if self.faults.before:
            raise self.faults.before.pop(0)

    def _acknowledge(self) -> None:
        if self.faults.after:
            raise self.faults.after.pop(0)

    def _broken(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        """Let chunks through until it is time to break off."""
        left = self.faults.breaks.pop(0) if self.faults.breaks else None
        for chunk in chunks:
            if left is not None and left < len(chunk):
                if left:
                    yield chunk[:left]
                raise StoreUnavailable(reason="it broke off, as asked")
            left = None if left is None else left - len(chunk)
            yield chunk
