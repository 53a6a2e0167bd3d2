"""Which study migrates next, without going through all of them each time; must not decide which may.

The walk goes from the exam longest ago to the latest. What was looked at and stays, or has gone, is not looked at again
until the walk begins anew: on another day, and once its end was reached after a rest of fifty times as long as it took.
So a study whose hold is lifted, or one from long ago that is pushed today, is found soon in a small archive, and within
minutes in one of a million studies.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final, Protocol

_REST: Final = 50
_START: Final = ("", "")


class Walk(Protocol):
    """What knows the studies of an archive in an order: ``TierPlan``, ``Remaker``."""

    def next_due(self, on: date, after: tuple[str, str], /) -> Sequence[tuple[tuple[str, str], bool]]:
        """Look at the next studies after a (place in the order, Study UID); tell of each if it goes on a day."""
        ...


@dataclass(slots=True)
class MigrationQueue:
    """The studies of one archive that are due, for one worker; ``monotonic`` returns seconds from any zero.

    ``pages``: so many are looked at in one go, at most; the next goes on from there. Not for several threads.
    """

    plan: Walk
    monotonic: Callable[[], float]
    pages: int | None = None
    _on: date | None = None
    _mark: tuple[str, str] = _START
    _spent: float = 0.0
    _rests_until: float | None = None

    def due(self, on: date, limit: int) -> Sequence[str]:
        """Return the next studies to migrate on a day, so many at most, the oldest first."""
        started = self.monotonic()
        if on != self._on or (self._rests_until is not None and started >= self._rests_until):
            self._on, self._mark, self._spent, self._rests_until = on, _START, 0.0, None
        found, is_over = self._walk(on, limit)
        now = self.monotonic()
        self._spent += now - started
        if is_over and self._rests_until is None:
            self._rests_until = now + _REST * self._spent
        return found

    def _walk(self, on: date, limit: int) -> tuple[Sequence[str], bool]:
        """Return what goes, and whether the end was reached; the mark moves up to before the first that goes."""
        found: list[str] = []
        after, looked = self._mark, 0
        while page := self.plan.next_due(on, after):
            for key, goes in page:
                if goes:
                    found.append(key[1])
                elif not found:
                    self._mark = key
                if len(found) >= limit:
                    return found, False
            after, looked = page[-1][0], looked + 1
            if looked == self.pages:
                return found, False
        return found, True
