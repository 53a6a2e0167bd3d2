"""Keeps within a bandwidth and a number of transfers: a store around a store; must not refuse, only delay."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field

from tiering.deletion import Deletion
from tiering.stores.base import Availability, ObjectStore, Source, StoredObject
from tiering.warrant import DeleteWarrant


@dataclass(slots=True)
class Bandwidth:
    """A bucket of tokens, one a byte, filled at a steady rate; a second's worth is the most it holds.

    It may go below nothing: who takes more than there is waits until that has been made up for, and takes turns with
    the others. ``monotonic`` returns seconds from any zero, ``sleep`` takes seconds.
    """

    bytes_per_second: float
    monotonic: Callable[[], float]
    sleep: Callable[[float], None]
    _tokens: float = 0.0
    _filled_at: float | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, size_bytes: int) -> None:
        """Return once so many bytes may have passed."""
        with self._lock:
            now = self.monotonic()
            if self._filled_at is None:
                self._filled_at, self._tokens = now, self.bytes_per_second
            filled = self._tokens + (now - self._filled_at) * self.bytes_per_second
            self._tokens = min(filled, self.bytes_per_second) - size_bytes
            self._filled_at = now
            missing = -self._tokens
        if missing > 0:
            self.sleep(missing / self.bytes_per_second)


@dataclass(frozen=True, slots=True)
class _Paced:
    """A source that gives its bytes no faster than the bandwidth allows."""

    source: Source
    bandwidth: Bandwidth

    def read(self, size: int, /) -> bytes:
        data = self.source.read(size)
        self.bandwidth.take(len(data))
        return data

    def seek(self, offset: int, /) -> object:
        return self.source.seek(offset)

    def tell(self) -> int:
        return self.source.tell()


class LimitingStore:
    """Lets ``transfers`` puts and reads go on at a time, their bytes together within ``bandwidth``; None: without one.

    A read holds its place until it is read to the end or closed. A store that reads a source twice pays twice.
    """

    def __init__(self, store: ObjectStore, *, transfers: int, bandwidth: Bandwidth | None = None) -> None:
        self._store = store
        self._places = threading.BoundedSemaphore(transfers)
        self._bandwidth = bandwidth

    def put(self, key: str, source: Source, *, size_bytes: int, sha256: bytes) -> StoredObject:
        """Pace the source."""
        paced = source if self._bandwidth is None else _Paced(source, self._bandwidth)
        with self._places:
            return self._store.put(key, paced, size_bytes=size_bytes, sha256=sha256)

    def read(self, key: str, *, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        """Pace what comes."""
        with self._places:
            for chunk in self._store.read(key, offset=offset, length=length):
                self._pace(len(chunk))
                yield chunk

    def read_range(self, key: str, offset: int, length: int) -> bytes:
        """Pace before: it comes in one piece."""
        with self._places:
            self._pace(length)
            return self._store.read_range(key, offset, length)

    def find(self, key: str) -> StoredObject | None:
        """Pass on."""
        return self._store.find(key)

    def iter_keys(self, prefix: str = "", *, after: str = "") -> Iterator[str]:
        """Pass on."""
        return self._store.iter_keys(prefix, after=after)

    def delete(self, warrant: DeleteWarrant, *, accept_damaged: bool = False) -> Deletion:
        """Pass on."""
        return self._store.delete(warrant, accept_damaged=accept_damaged)

    def availability(self, key: str) -> Availability:
        """Pass on."""
        return self._store.availability(key)

    def request_thaw(self, keys: Collection[str], days: int) -> None:
        """Pass on."""
        self._store.request_thaw(keys, days)

    def _pace(self, size_bytes: int) -> None:
        if self._bandwidth is not None:
            self._bandwidth.take(size_bytes)
