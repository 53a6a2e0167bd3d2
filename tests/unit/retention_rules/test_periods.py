"""Anniversaries, merged intervals and clocks that stand still."""

from __future__ import annotations

from datetime import date, timedelta
from itertools import pairwise

import pytest
from hypothesis import given, strategies as st

from retention_rules.periods import (
    LAST_DAY,
    anniversary,
    as_date,
    day_after,
    day_text,
    suspended_end,
    union,
)

DAY_SETS = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 20)), max_size=6)
EPOCH = date(2020, 1, 1)


def day(number: int) -> date:
    """Return a day of 2020 by its number."""
    return EPOCH + timedelta(days=number)


class TestAnniversary:
    """Code de procédure civile, articles 641 and 642."""

    @pytest.mark.parametrize(
        ("start", "years", "last"),
        [
            (date(2010, 3, 2), 20, date(2030, 3, 2)),
            (date(2004, 2, 29), 20, date(2024, 2, 29)),
            (date(2004, 2, 29), 5, date(2009, 2, 28)),
            (date(2072, 2, 29), 28, date(2100, 2, 28)),
            (date(2003, 2, 28), 5, date(2008, 2, 28)),
            (date(2010, 12, 31), 0, date(2010, 12, 31)),
            (date(9979, 12, 31), 20, date.max),
        ],
    )
    def test_it_is_the_same_day_or_the_last_of_the_month(self, start: date, years: int, last: date) -> None:
        """A period ends on the same day of the month, or on the month's last one where there is none."""
        assert as_date(anniversary(start, years)) == last

    @given(st.dates(), st.integers(0, 1000))
    def test_it_goes_on_past_the_calendar(self, start: date, years: int) -> None:
        """Past the year 9999 days are counted on as the calendar's 400-year cycle has them."""
        shifted = start.replace(year=(start.year - 1) % 400 + 1)
        assert anniversary(start, years) - start.toordinal() == anniversary(shifted, years) - shifted.toordinal()

    def test_what_lies_past_the_calendar_has_no_date(self) -> None:
        """A day after 9999-12-31 has no date, and is told as such."""
        assert as_date(LAST_DAY) == date.max and as_date(LAST_DAY + 1) is None
        assert day_after(date(9979, 12, 31), 20) is None
        assert day_after(date(9979, 12, 30), 20) == date.max
        assert day_text(LAST_DAY + 1) == "after 9999" and day_text(LAST_DAY) == "9999-12-31"

    @given(st.dates(max_value=date(9000, 1, 1)), st.dates(max_value=date(9000, 1, 1)), st.integers(0, 100))
    def test_a_later_start_never_ends_earlier(self, first: date, second: date, years: int) -> None:
        """Periods of equal length end in the order they begin."""
        early, late = sorted((first, second))
        assert anniversary(early, years) <= anniversary(late, years)


class TestUnion:
    """Intervals [from, to), merged."""

    @given(DAY_SETS)
    def test_it_holds_the_same_days(self, intervals: list[tuple[int, int]]) -> None:
        """A day is in the union when it is in one of the intervals; the union's parts are apart and in order."""
        merged = union((day(begin), day(begin + length)) for begin, length in intervals)
        wanted = {begin + shift for begin, length in intervals for shift in range(length)}
        first = EPOCH.toordinal()
        assert {each for begin, until in merged for each in range(begin - first, (until or 0) - first)} == wanted
        assert all((one[1] or 0) < other[0] for one, other in pairwise(merged))

    def test_one_without_end_swallows_what_follows(self) -> None:
        """Nothing comes after an interval without an end, which begins where it first touches another."""
        merged = union([(day(5), None), (day(9), day(12)), (day(1), day(5)), (day(30), None)])
        assert merged == [(day(1).toordinal(), None)]

    def test_empty_ones_are_left_out(self) -> None:
        """An interval of no day does not stand for anything, not even between two others."""
        assert union([(day(3), day(3))]) == []


class TestSuspendedEnd:
    """The clock stands still."""

    @pytest.mark.parametrize(
        ("stops", "end", "is_open"),
        [
            ([], 100, False),
            ([(20, 30)], 110, False),
            ([(0, 5)], 100, False),
            ([(0, 15)], 105, False),
            ([(100, 103)], 103, False),
            ([(101, 103)], 100, False),
            ([(20, 30), (110, 115)], 115, False),
            ([(20, 30), (111, 115)], 110, False),
            ([(20, 30), (40, 50), (115, None)], 120, True),
            ([(20, 30), (111, None)], 110, False),
            ([(5, None)], 100, True),
        ],
    )
    def test_days_within_the_period_are_added(
        self, stops: list[tuple[int, int | None]], end: int, is_open: bool
    ) -> None:
        """Days from the start to an end that moves are added; one without end that begins by then stops for good."""
        assert suspended_end(10, 100, stops) == (end, is_open)

    def test_a_period_over_before_it_starts_is_not_suspended(self) -> None:
        """A birthday that was before the last visit is not put off by an appeal."""
        assert suspended_end(100, 50, [(40, 200)]) == (50, False)

    @given(st.integers(0, 30), st.integers(0, 40), DAY_SETS)
    def test_it_is_what_counting_gives(self, start: int, length: int, intervals: list[tuple[int, int]]) -> None:
        """The end is the first day that runs after as many running days as the period has."""
        merged = union((day(begin), day(begin + size)) for begin, size in intervals)
        stopped = {begin + shift for begin, size in intervals for shift in range(size)}
        each, left = start, length
        while left or each in stopped:
            left -= each not in stopped
            each += 1
        first = EPOCH.toordinal()
        assert suspended_end(first + start, first + start + length, merged) == (first + each, False)
