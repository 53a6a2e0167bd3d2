"""Makes a store when it is first needed: a store around a store; must not give up: what failed is tried the next time.

So that what a store needs at hand (a file of credentials, a slow library) keeps nothing else from starting.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator
from datetime import datetime
from typing import Generic, TypeVar

from tiering.deletion import Deletion
from tiering.stores.base import Availability, ObjectHolds, ObjectStore, Source, StoredObject
from tiering.warrant import DeleteWarrant

T = TypeVar("T")


class Once(Generic[T]):
    """Something that is made at the first call of ``get``, whoever calls, and then kept; an error is not kept."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._made: T | None = None
        self._lock = threading.Lock()

    def get(self) -> T:
        """Return it. Raises what making it raises."""
        with self._lock:
            if self._made is None:
                self._made = self._make()
            return self._made


class LazyStore:
    """Passes every call on to a store that is made for the first one; its making raises StoreError, if anything."""

    def __init__(self, store: Once[ObjectStore]) -> None:
        self._store = store

    def put(self, key: str, source: Source, *, size_bytes: int, sha256: bytes) -> StoredObject:
        """Pass on."""
        return self._store.get().put(key, source, size_bytes=size_bytes, sha256=sha256)

    def read(self, key: str, *, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        """Pass on, at the first step."""
        yield from self._store.get().read(key, offset=offset, length=length)

    def read_range(self, key: str, offset: int, length: int) -> bytes:
        """Pass on."""
        return self._store.get().read_range(key, offset, length)

    def find(self, key: str) -> StoredObject | None:
        """Pass on."""
        return self._store.get().find(key)

    def iter_keys(self, prefix: str = "", *, after: str = "") -> Iterator[str]:
        """Pass on, at the first step."""
        yield from self._store.get().iter_keys(prefix, after=after)

    def delete(self, warrant: DeleteWarrant, *, accept_damaged: bool = False) -> Deletion:
        """Pass on."""
        return self._store.get().delete(warrant, accept_damaged=accept_damaged)

    def availability(self, key: str) -> Availability:
        """Pass on."""
        return self._store.get().availability(key)

    def request_thaw(self, keys: Collection[str], days: int) -> None:
        """Pass on."""
        self._store.get().request_thaw(keys, days)


class LazyHolds:
    """The holds of a store that is made for the first call."""

    def __init__(self, holds: Once[ObjectHolds]) -> None:
        self._holds = holds

    def set_hold(self, key: str) -> None:
        """Pass on."""
        self._holds.get().set_hold(key)

    def release_hold(self, key: str) -> None:
        """Pass on."""
        self._holds.get().release_hold(key)

    def is_held(self, key: str) -> bool:
        """Pass on."""
        return self._holds.get().is_held(key)

    def retain_until(self, key: str, until: datetime) -> None:
        """Pass on."""
        self._holds.get().retain_until(key, until)
