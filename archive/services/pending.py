"""What waits for a browser to come back, and how often somebody may fail; must not be kept on disk.

One process serves the port, so both live in its memory: whoever was in the middle of signing in when it was started
again begins anew.
"""

from __future__ import annotations

import hashlib
import secrets
import threading
from collections import OrderedDict, deque
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, Generic, TypeVar

from archive.clock import Clock
from archive.errors import TooManyAttempts

T = TypeVar("T")

_MOST: Final = 10_000
_TOKEN_BYTES: Final = 32


def new_token() -> str:
    """Return a secret of 256 random bits, as base64url text."""
    return secrets.token_urlsafe(_TOKEN_BYTES)


def digest_of(token: str) -> str:
    """Return the SHA-256 of a token, hexadecimal: what is kept in its stead."""
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()


@dataclass(slots=True)
class Pending(Generic[T]):
    """Values given out once, for a while, to whoever shows the token; the oldest go when there are too many."""

    clock: Clock
    lasts: timedelta = timedelta(minutes=5)
    _kept: OrderedDict[str, tuple[datetime, T]] = field(default_factory=OrderedDict)
    _alone: threading.Lock = field(default_factory=threading.Lock)

    def put(self, value: T, token: str | None = None) -> str:
        """Keep a value; return the token for it, a new one unless it is given."""
        token = new_token() if token is None else token
        with self._alone:
            self._kept[digest_of(token)] = (self.clock() + self.lasts, value)
            while len(self._kept) > _MOST:
                self._kept.popitem(last=False)
        return token

    def take(self, token: str) -> T | None:
        """Give a value out, once; None when there is none, or its time is over."""
        with self._alone:
            until, value = self._kept.pop(digest_of(token), (None, None))
        return value if until is not None and self.clock() < until else None


@dataclass(slots=True)
class Attempts:
    """Failures by address: after ``most`` within ``window`` nobody from there is heard until the first is past."""

    clock: Clock
    most: int = 20
    window: timedelta = timedelta(minutes=10)
    _failed: OrderedDict[str, deque[datetime]] = field(default_factory=OrderedDict)
    _alone: threading.Lock = field(default_factory=threading.Lock)

    def check(self, address: str) -> None:
        """Raise TooManyAttempts while an address has failed too often."""
        with self._alone:
            if len(self._recent(address)) >= self.most:
                raise TooManyAttempts(minutes=max(1, round(self.window.total_seconds() / 60)))

    def note_failure(self, address: str) -> None:
        """Count a failure."""
        with self._alone:
            failed = self._recent(address)
            failed.append(self.clock())
            self._failed[address] = failed
            self._failed.move_to_end(address)
            while len(self._failed) > _MOST:
                self._failed.popitem(last=False)

    def _recent(self, address: str) -> deque[datetime]:
        failed = self._failed.get(address, deque(maxlen=self.most))
        while failed and failed[0] <= self.clock() - self.window:
            failed.popleft()
        return failed
