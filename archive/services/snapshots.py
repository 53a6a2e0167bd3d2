"""A figure that takes long to work out, kept a while and renewed behind whoever looks; must not know what it is."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Generic, TypeVar

from archive import logs
from archive.clock import Clock
from archive.errors import ArchiveError

T = TypeVar("T")
_log = logs.get(__name__)


@dataclass(frozen=True, slots=True)
class Taken(Generic[T]):
    """A value, and as of which moment it is."""

    value: T
    at: datetime


class Snapshot(Generic[T]):
    """A value that ``make`` works out: the first to ask waits; one older than ``kept`` is given, and renewed."""

    def __init__(self, make: Callable[[], T], clock: Clock, kept: timedelta) -> None:
        self._make, self._clock, self._kept = make, clock, kept
        self._alone = threading.Lock()
        self._taken: Taken[T] | None = None

    def get(self) -> Taken[T]:
        """Return the value with its moment; raises what ``make`` raises when there is none yet."""
        taken = self._taken
        if taken is None:
            with self._alone:
                return self._taken or self._renew()
        if self._clock() - taken.at > self._kept:
            self._begin()
        return taken

    def ready(self) -> Taken[T] | None:
        """Return the value if it is there, an old one too; else begin to work it out, and return None."""
        if self._taken is None:
            self._begin()
            return None
        return self.get()

    def warm(self) -> None:
        """Begin to work the value out, so that the first to ask waits less, or not at all."""
        self._begin()

    def _begin(self) -> None:
        if self._alone.acquire(blocking=False):
            threading.Thread(target=self._renew_behind, name="snapshot", daemon=True).start()

    def _renew(self) -> Taken[T]:
        at = self._clock()
        self._taken = Taken(self._make(), at)
        return self._taken

    def _renew_behind(self) -> None:
        try:
            self._renew()
        except ArchiveError as exc:
            _log.warning("snapshot_failed", exc_info=exc)
        finally:
            self._alone.release()
