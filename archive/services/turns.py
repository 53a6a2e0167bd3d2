"""Whose turn it is to be verified: what was verified longest ago, as far as a budget goes; must not verify anything."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from archive.index.scrub import FIRST, Turn
from archive.index.session import Connection

_SLICE: Final = 8192
"""Asking once takes as long as the table is: rarely, then, and each time for an hour's work or so."""

Fetch = Callable[[Connection, datetime, Turn, int], list[Turn]]


@dataclass(frozen=True, slots=True)
class Budget:
    """How much to verify: a percentage (0 to 100) of all there is, at so many bytes a second.

    ``pace``: called with the size of each piece that was read; it returns when the next one may be.
    """

    percent: float = 100.0
    pace: Callable[[int], None] = lambda _size: None

    def quota(self, total: int) -> int:
        """Return how many of ``total`` the percentage comes to, rounded up."""
        return math.ceil(total * self.percent / 100)


def iter_turns(
    read: Callable[[], AbstractContextManager[Connection]], fetch: Fetch, now: datetime, quota: int
) -> Iterator[Turn]:
    """Yield up to ``quota`` turns, what was verified longest before ``now`` first; none comes twice."""
    after = FIRST
    while quota > 0:
        with read() as connection:
            found = fetch(connection, now, after, min(_SLICE, quota))
        if not found:
            return
        yield from found
        after, quota = found[-1], quota - len(found)
