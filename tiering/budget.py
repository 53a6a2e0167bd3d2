"""When background work may go on, and how much of the time: pure; must not read a clock nor wait by itself."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

EVERY_DAY: Final = frozenset(range(7))
_DAY: Final = timedelta(days=1)
_WINDOW: Final = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]):([0-5]\d)")


@dataclass(frozen=True, slots=True)
class TimeWindow:
    """Times of day between which work may begin, across midnight when ``end`` comes before ``start``.

    Wall-clock times of a zone: on the nights when clocks change the window is an hour longer or shorter. The same
    start and end: all day. ``days`` (0 is Monday) are those on which it opens: one that opens on Friday evening goes on
    into Saturday.
    """

    start: time
    end: time
    zone: ZoneInfo
    days: frozenset[int] = EVERY_DAY

    @classmethod
    def parse(cls, text: str, zone: str, days: frozenset[int] = EVERY_DAY) -> TimeWindow | None:
        """Return the window of ``"20:00-06:00"``, None for "" on every day. Raises ValueError for what is none."""
        if not text and days == EVERY_DAY:
            return None
        found = _WINDOW.fullmatch(text or "00:00-00:00")
        if found is None:
            raise ValueError(f"{text!r} is no window such as 20:00-06:00")
        hours = [int(each) for each in found.groups()]
        return cls(time(hours[0], hours[1]), time(hours[2], hours[3]), zone_of(zone), days)

    def is_open(self, at: datetime) -> bool:
        """Tell whether work may begin at a moment (aware)."""
        local = at.astimezone(self.zone)
        now, today, yesterday = local.time(), local.weekday(), (local.date() - _DAY).weekday()
        if self.start < self.end:
            return self.start <= now < self.end and today in self.days
        return (now >= self.start and today in self.days) or (now < self.end and yesterday in self.days)


def zone_of(name: str) -> ZoneInfo:
    """Return a time zone by its name, such as Europe/Paris. Raises ValueError when there is none of that name."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as exc:
        raise ValueError(f"there is no time zone {name!r}") from exc


@dataclass(slots=True)
class DutyCycle:
    """Work for a share of the time: after each piece a pause that makes up for it.

    ``share``: percent, above 0. ``sleep`` takes seconds and may return sooner, when the work is to end.
    """

    share: float
    sleep: Callable[[float], object]
    longest_seconds: float = 600.0

    def rest(self, worked_seconds: float) -> None:
        """Pause for what working so long costs."""
        pause = worked_seconds * (100 / self.share - 1)
        if pause > 0:
            self.sleep(min(pause, self.longest_seconds))


@dataclass(frozen=True, slots=True)
class GiveWay:
    """Let what cannot wait go first: wait before each small piece of work for as long as ``is_busy``.

    At most ``longest_seconds`` a piece, so that work goes on where it is never quiet. ``sleep`` takes seconds and may
    return sooner, when the work is to end.
    """

    is_busy: Callable[[], bool]
    sleep: Callable[[float], object]
    longest_seconds: float = 1.0
    look_seconds: float = 0.05

    def wait(self) -> None:
        """Return when a piece of work may be done."""
        left = self.longest_seconds
        while left > 0 and self.is_busy():
            self.sleep(self.look_seconds)
            left -= self.look_seconds
