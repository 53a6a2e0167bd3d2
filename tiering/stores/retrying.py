"""Tries again what may work the next time: a store around a store; must not repeat what an error says is final."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from tiering.deletion import Deletion
from tiering.errors import StoreError
from tiering.stores.base import Availability, ObjectStore, Source, StoredObject
from tiering.warrant import DeleteWarrant

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Backoff:
    """How often and after how long; ``sleep`` takes seconds, ``jitter`` gives a number from 0 to 1.

    The n-th pause is ``first_seconds`` times 2 to the n, ``longest_seconds`` at most, times ``jitter``: those whom one
    failure hit do not all come back at the same moment.
    """

    sleep: Callable[[float], None]
    jitter: Callable[[], float]
    attempts: int = 6
    first_seconds: float = 0.5
    longest_seconds: float = 30.0

    def pause(self, failures: int) -> None:
        """Wait after so many failures."""
        self.sleep(min(self.first_seconds * 2.0 ** (failures - 1), self.longest_seconds) * self.jitter())

    def call(self, action: Callable[[], T]) -> T:
        """Return what the action returns, in the end; raise its last error, or its first final one."""
        for failures in range(1, self.attempts):
            try:
                return action()
            except StoreError as exc:
                if not exc.retryable:
                    raise
            self.pause(failures)
        return action()


class RetryingStore:
    """Repeats what failed with a retryable error.

    A put starts again from where its source stood. A read goes on where it broke off, and every piece that comes is a
    success: only attempts that bring nothing are counted. A deletion whose answer was lost is GONE the next time.
    """

    def __init__(self, store: ObjectStore, backoff: Backoff) -> None:
        self._store = store
        self._backoff = backoff

    def put(self, key: str, source: Source, *, size_bytes: int, sha256: bytes) -> StoredObject:
        """Start from the beginning each time."""
        start = source.tell()

        def attempt() -> StoredObject:
            source.seek(start)
            return self._store.put(key, source, size_bytes=size_bytes, sha256=sha256)

        return self._backoff.call(attempt)

    def read(self, key: str, *, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        """Go on behind the last byte that came."""
        passed, failures = 0, 0
        while True:
            try:
                for chunk in self._store.read(key, offset=offset + passed, length=_rest(length, passed)):
                    passed, failures = passed + len(chunk), 0
                    yield chunk
                return
            except StoreError as exc:
                failures += 1
                if not exc.retryable or failures >= self._backoff.attempts:
                    raise
            self._backoff.pause(failures)

    def read_range(self, key: str, offset: int, length: int) -> bytes:
        """Read it again."""
        return self._backoff.call(partial(self._store.read_range, key, offset, length))

    def find(self, key: str) -> StoredObject | None:
        """Ask again."""
        return self._backoff.call(partial(self._store.find, key))

    def iter_keys(self, prefix: str = "", *, after: str = "") -> Iterator[str]:
        """Go on behind the last key that came."""
        last, failures = after, 0
        while True:
            try:
                for key in self._store.iter_keys(prefix, after=last):
                    last, failures = key, 0
                    yield key
                return
            except StoreError as exc:
                failures += 1
                if not exc.retryable or failures >= self._backoff.attempts:
                    raise
            self._backoff.pause(failures)

    def delete(self, warrant: DeleteWarrant, *, accept_damaged: bool = False) -> Deletion:
        """Delete again."""
        return self._backoff.call(partial(self._store.delete, warrant, accept_damaged=accept_damaged))

    def availability(self, key: str) -> Availability:
        """Ask again."""
        return self._backoff.call(partial(self._store.availability, key))

    def request_thaw(self, keys: Collection[str], days: int) -> None:
        """Ask for all of them again."""
        self._backoff.call(partial(self._store.request_thaw, keys, days))


def _rest(length: int | None, passed: int) -> int | None:
    return None if length is None else length - passed
