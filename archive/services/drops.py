"""Whether a site sends fewer images of a modality than it used to: pure; must not read an index or a clock.

A day is compared with the same weekdays before, up to the same hour of the day, in the time of the site: Mondays are
not Sundays. Of the days before the median counts, so that one strike or one holiday moves nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from statistics import median

from archive.index.arrivals import HourCount

Stream = tuple[str, str]
"""A site and a modality."""


@dataclass(frozen=True, slots=True)
class DropRules:
    """``percent``: so much less than before is a drop. ``weeks``: so many same weekdays are looked at.

    ``min_expected``: streams of which fewer instances are expected are too small to judge.
    """

    percent: float = 40.0
    weeks: int = 4
    min_expected: int = 50


@dataclass(frozen=True, slots=True)
class DayCompared:
    """One day of one stream: ``got`` instances against ``expected``, up to the hour ``until_hour`` (24: all of it).

    ``change_percent`` is None where too little is expected to judge.
    """

    site: str
    modality: str
    on: date
    until_hour: int
    got: int
    expected: float
    change_percent: float | None
    is_drop: bool


def by_local_hour(counts: Iterable[HourCount], zone: tzinfo) -> dict[Stream, dict[tuple[date, int], int]]:
    """Return instances by site and modality, then by day and hour in a time zone."""
    streams: dict[Stream, dict[tuple[date, int], int]] = defaultdict(lambda: defaultdict(int))
    for count in counts:
        local = datetime.fromisoformat(f"{count.hour}:00").replace(tzinfo=UTC).astimezone(zone)
        streams[count.site, count.modality][local.date(), local.hour] += count.instances
    return streams


def compare_days(
    counts: Iterable[HourCount], now: datetime, zone: tzinfo, *, rules: DropRules, days: int = 2
) -> list[DayCompared]:
    """Return the last ``days`` days of every stream, today up to the last whole hour, the latest day first.

    ``counts`` must reach back ``rules.weeks`` weeks before the first of these days.
    """
    local, streams = now.astimezone(zone), by_local_hour(counts, zone)
    first = min((day for hours in streams.values() for day, _ in hours), default=local.date())
    compared = []
    for back in range(days):
        on, until = local.date() - timedelta(days=back), local.hour if back == 0 else 24
        before = [day for day in _same_weekdays(on, rules.weeks) if day >= first]
        for (site, modality), hours in sorted(streams.items()):
            found = _compare(hours, on, until, before, rules)
            compared.append(DayCompared(site, modality, on, until, *found))
    return compared


def _same_weekdays(on: date, weeks: int) -> list[date]:
    return [on - timedelta(weeks=week) for week in range(1, weeks + 1)]


def _compare(
    hours: Mapping[tuple[date, int], int], on: date, until: int, before: Sequence[date], rules: DropRules
) -> tuple[int, float, float | None, bool]:
    got = _sum(hours, on, until)
    expected = float(median(_sum(hours, day, until) for day in before)) if before else 0.0
    if expected < max(rules.min_expected, 1):
        return got, expected, None, False
    change = round(100.0 * (got - expected) / expected, 1)
    return got, expected, change, change <= -rules.percent


def _sum(hours: Mapping[tuple[date, int], int], on: date, until: int) -> int:
    return sum(hours.get((on, hour), 0) for hour in range(until))
