"""Tells somebody of every call, its bytes, time and end: a store around a store; must not change any of them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tiering.deletion import Deletion
from tiering.errors import StoreError
from tiering.stores.base import Availability, ObjectStore, Source, StoredObject
from tiering.warrant import DeleteWarrant


@dataclass(slots=True)
class Call:
    """One call that has ended: ``operation`` is the method's name, ``error`` the class's, None when it succeeded.

    ``size_bytes`` counts what was stored or read; a read that somebody gave up counts what had come.
    """

    operation: str
    size_bytes: int = 0
    seconds: float = 0.0
    error: str | None = None


class MeteredStore:
    """Gives each call to ``observe``; ``monotonic`` returns seconds from any zero."""

    def __init__(self, store: ObjectStore, observe: Callable[[Call], None], monotonic: Callable[[], float]) -> None:
        self._store = store
        self._observe = observe
        self._monotonic = monotonic

    def put(self, key: str, source: Source, *, size_bytes: int, sha256: bytes) -> StoredObject:
        """Count the object's size once it is stored."""
        with self._measured("put") as call:
            stored = self._store.put(key, source, size_bytes=size_bytes, sha256=sha256)
            call.size_bytes = size_bytes
            return stored

    def read(self, key: str, *, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        """Count what comes; the time is that until the end, the reader's own included."""
        with self._measured("read") as call:
            for chunk in self._store.read(key, offset=offset, length=length):
                call.size_bytes += len(chunk)
                yield chunk

    def read_range(self, key: str, offset: int, length: int) -> bytes:
        """Count the range."""
        with self._measured("read_range") as call:
            data = self._store.read_range(key, offset, length)
            call.size_bytes = len(data)
            return data

    def find(self, key: str) -> StoredObject | None:
        """Count the call."""
        with self._measured("find"):
            return self._store.find(key)

    def iter_keys(self, prefix: str = "", *, after: str = "") -> Iterator[str]:
        """Count one call for the whole listing."""
        with self._measured("iter_keys"):
            yield from self._store.iter_keys(prefix, after=after)

    def delete(self, warrant: DeleteWarrant, *, accept_damaged: bool = False) -> Deletion:
        """Count the call."""
        with self._measured("delete"):
            return self._store.delete(warrant, accept_damaged=accept_damaged)

    def availability(self, key: str) -> Availability:
        """Count the call."""
        with self._measured("availability"):
            return self._store.availability(key)

    def request_thaw(self, keys: Collection[str], days: int) -> None:
        """Count the call."""
        with self._measured("request_thaw"):
            self._store.request_thaw(keys, days)

    @contextmanager
    def _measured(self, operation: str) -> Iterator[Call]:
        call, start = Call(operation), self._monotonic()
        try:
            yield call
        except StoreError as exc:
            call.error = type(exc).__name__
            raise
        finally:
            call.seconds = self._monotonic() - start
            self._observe(call)
