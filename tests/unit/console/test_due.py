"""Which day the slider and the field of dates mean."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given, strategies as st
from starlette.requests import Request

from archive.console.due import _day_of, _later, _months, _year_ends
from archive.console.visit import Visit
from archive.services.people import Person

TODAY = date(2026, 11, 27)


def visit(query: str) -> Visit:
    """Return a visit that asks for a day."""
    scope = {"type": "http", "method": "GET", "path": "/", "headers": [], "query_string": query.encode()}
    return Visit(Request(scope), Person("anne", "Anne", frozenset()), "en", "")


@pytest.mark.parametrize(
    ("query", "day"),
    [
        ("", TODAY),
        ("months=0", TODAY),
        ("months=1", date(2026, 12, 27)),
        ("months=14", date(2028, 1, 27)),
        ("months=9999", date(2051, 11, 27)),
        ("months=-4", TODAY),
        ("months=x", TODAY),
        ("on=2030-06-01", date(2030, 6, 1)),
        ("on=2030-06-01&months=3", date(2030, 6, 1)),
        ("on=2030-13-01&months=3", date(2027, 2, 27)),
        ("on=0001-01-01", date(1970, 1, 1)),
        ("on=9999-12-31", date(2051, 11, 27)),
        ("on=%00", TODAY),
    ],
)
def test_a_day_is_what_the_field_or_the_slider_says(query: str, day: date) -> None:
    """An exact date goes before the slider; what is no date is not taken; far away is brought near."""
    assert _day_of(visit(query), TODAY) == day


@given(st.dates(date(1970, 1, 1), date(2100, 1, 1)), st.integers(0, 300))
def test_months_later_is_that_month_and_no_later_day(day: date, months: int) -> None:
    """The day is the same, or the month's last; going back by months comes to where it began."""
    later = _later(day, months)
    assert (later.year * 12 + later.month) - (day.year * 12 + day.month) == months
    assert later.day <= day.day
    assert _months(day, later) == months


def test_the_slider_stands_still_for_days_past() -> None:
    """It has no place before today."""
    assert _months(TODAY, date(2020, 1, 1)) == 0


def test_years_end_on_their_last_day() -> None:
    """Twelve years, this one first."""
    ends = list(_year_ends(TODAY))
    assert (ends[0], ends[-1], len(ends)) == (date(2026, 12, 31), date(2037, 12, 31), 12)
