"""Drops: a day against the same weekdays before, in the time of the site."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, strategies as st

from archive.index.arrivals import HourCount
from archive.services.drops import DayCompared, DropRules, compare_days

PARIS = ZoneInfo("Europe/Paris")
TUESDAY = date(2026, 11, 24)
NOON = datetime(2026, 11, 24, 11, 30, tzinfo=UTC)  # half past twelve in Paris


def day(on: date, instances: int, *, hours: range = range(8, 18), modality: str = "CT") -> Iterator[HourCount]:
    """Yield a day's instances, so many in each of these hours of Paris."""
    for hour in hours:
        at = datetime(on.year, on.month, on.day, hour, tzinfo=PARIS).astimezone(UTC)
        yield HourCount(f"{at:%Y-%m-%dT%H}", "CHU", modality, instances, instances * 1000)


def history(*weeks: int, on: date = TUESDAY) -> list[HourCount]:
    """Return the same weekday of the weeks before, latest first, with so many instances an hour."""
    return [row for back, count in enumerate(weeks, 1) for row in day(on - timedelta(weeks=back), count)]


def compared(counts: list[HourCount], *, now: datetime = NOON, days: int = 1) -> list[DayCompared]:
    """Compare with the default rules."""
    return compare_days(counts, now, PARIS, rules=DropRules(), days=days)


def test_today_is_compared_up_to_the_last_whole_hour() -> None:
    """At half past twelve, four hours of this morning stand against the same four hours of other weeks."""
    (found,) = compared([*history(100, 100, 100, 100), *day(TUESDAY, 70, hours=range(8, 12))])
    assert (found.on, found.until_hour, found.got, found.expected) == (TUESDAY, 12, 280, 400)
    assert (found.change_percent, found.is_drop) == (-30.0, False)


@pytest.mark.parametrize(("instances", "is_drop"), [(61, False), (60, True), (0, True)])
def test_forty_percent_less_is_a_drop(instances: int, is_drop: bool) -> None:
    """The limit itself is one."""
    counts = [*history(100, 100, 100, 100), *day(TUESDAY, instances, hours=range(8, 12))]
    assert [found.is_drop for found in compared(counts)] == [is_drop]


def test_silence_is_a_drop() -> None:
    """A modality that sends nothing at all has no row today, and is told all the same."""
    (found,) = compared(history(100, 100, 100, 100))
    assert (found.got, found.change_percent, found.is_drop) == (0, -100.0, True)


def test_other_weekdays_do_not_count() -> None:
    """A Sunday is not measured by a Saturday."""
    saturday = date(2026, 11, 21)
    counts = [*day(saturday, 100), *history(5, 5, 5, 5, on=saturday + timedelta(days=1))]
    found = compared(counts, now=datetime(2026, 11, 22, 20, tzinfo=UTC))
    assert [(each.expected, each.is_drop) for each in found] == [(50, True)]


def test_one_holiday_moves_nothing() -> None:
    """Of the weeks before the median counts."""
    (found,) = compared([*history(100, 0, 100, 100), *day(TUESDAY, 90, hours=range(8, 12))])
    assert (found.expected, found.is_drop) == (400, False)


def test_what_is_small_is_not_judged() -> None:
    """Where less than fifty instances are expected nothing is said."""
    (found,) = compared(history(12, 12, 12, 12))
    assert (found.expected, found.change_percent, found.is_drop) == (48, None, False)


def test_a_young_archive_is_compared_with_the_weeks_it_has() -> None:
    """Weeks before the first arrival are no weeks of silence."""
    (found,) = compared([*history(100), *day(TUESDAY, 50, hours=range(8, 12))])
    assert (found.expected, found.is_drop) == (400, True)
    assert [each.is_drop for each in compared(list(day(TUESDAY, 50, hours=range(8, 12))))] == [False]


def test_summer_time_does_not_shift_the_day() -> None:
    """On the Monday after the clocks changed, eight o'clock is eight o'clock."""
    monday = date(2026, 10, 26)
    counts = [*history(100, 100, 100, 100, on=monday), *day(monday, 100, hours=range(8, 10))]
    (found,) = compared(counts, now=datetime(2026, 10, 26, 9, 10, tzinfo=UTC))
    assert (found.until_hour, found.got, found.expected) == (10, 200, 200)


def test_streams_and_days_are_apart() -> None:
    """Each modality by itself, today first, then yesterday as a whole."""
    monday = TUESDAY - timedelta(days=1)
    mr = [row for back in range(1, 5) for row in day(TUESDAY - timedelta(weeks=back), 30, modality="MR")]
    found = compared([*history(100, 100, 100, 100), *history(80, 80, 80, 80, on=monday), *mr], days=2)
    assert [(each.modality, each.on, each.until_hour, each.expected) for each in found] == [
        *(("CT", TUESDAY, 12, 400), ("MR", TUESDAY, 12, 120)),
        *(("CT", monday, 24, 800), ("MR", monday, 24, 0)),
    ]


@given(st.lists(st.integers(0, 10_000), min_size=1, max_size=4), st.integers(0, 10_000))
def test_more_than_before_is_never_a_drop(weeks: list[int], today: int) -> None:
    """Whatever the history, a day that reaches every one before it is none."""
    best = max([*weeks, today])
    assert not any(each.is_drop for each in compared([*history(*weeks), *day(TUESDAY, best, hours=range(8, 12))]))
