"""Periods in whole years and the appeals that stop them, counted in days; must not know what a period is for.

A day is its number in the calendar (``date.toordinal``), so that an end past the year 9999 is still a number.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date
from functools import lru_cache

Day = int
Stop = tuple[Day, Day | None]

LAST_DAY: Day = date.max.toordinal()
_CYCLE_YEARS, _CYCLE_DAYS = 400, 146_097
_KEPT = 1 << 16


@lru_cache(maxsize=_KEPT)
def anniversary(start: date, years: int) -> Day:
    """Return the last day of a period of ``years`` that begins on ``start``: the anniversary.

    Where that day does not exist (29 February) it is the last day of its month. Code de procédure civile, articles
    641 and 642.
    """
    year = start.year + years
    cycles = max(0, -(-(year - date.max.year) // _CYCLE_YEARS))
    year -= cycles * _CYCLE_YEARS
    try:
        day = date(year, start.month, start.day)
    except ValueError:
        day = date(year, 2, 28)
    return day.toordinal() + cycles * _CYCLE_DAYS


def as_date(day: Day) -> date | None:
    """Return the date of a day, or None when it lies past the year 9999."""
    return date.fromordinal(day) if day <= LAST_DAY else None


def day_after(start: date, years: int) -> date | None:
    """Return the first day after a period, or None when it lies past the year 9999."""
    return as_date(anniversary(start, years) + 1)


def union(intervals: Iterable[tuple[date, date | None]]) -> list[Stop]:
    """Return intervals ``[from, to)`` merged where they overlap or touch, in order; one without end closes the list.

    Empty ones are left out.
    """
    merged: list[tuple[Day, Day]] = []
    for begin, until in sorted((begin.toordinal(), _until(until)) for begin, until in intervals):
        if until <= begin:
            continue
        if merged and begin <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(until, merged[-1][1])
        else:
            merged.append((begin, until))
    return [(begin, None if until == _FOREVER else until) for begin, until in merged]


_FOREVER: Day = 1 << 62


def _until(until: date | None) -> Day:
    return _FOREVER if until is None else until.toordinal()


def suspended_end(start: Day, end: Day, stops: Sequence[Stop]) -> tuple[Day, bool]:
    """Return the last day of a period that stands still during ``stops``, and whether it never ends.

    ``stops`` are merged and in order. Days of a stop before ``start`` do not count; a stop that begins on or before
    the end, as it has moved until then, does. With a stop that never ends the day is the end reached before it. A
    period that is over before it starts (an adult's twenty-eighth birthday) does not run, so it is not suspended.
    """
    if end < start:
        return end, False
    for begin, until in stops:
        if begin > end:
            break
        if until is None:
            return end, True
        end += max(0, until - max(begin, start))
    return end, False


@lru_cache(maxsize=_KEPT)
def day_text(day: Day) -> str:
    """Return a day in ISO 8601, or ``after 9999``."""
    found = as_date(day)
    return "after 9999" if found is None else found.isoformat()
