"""Which day the slider and the field of dates mean."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given, strategies as st
from starlette.requests import Request

from archive.console.catalogue import Language
from archive.console.due import _day_of, _later, _months, _site_of, _year_ends
from archive.console.visit import Visit
from archive.services.people import Person

TODAY = date(2026, 11, 27)


def visit(query: str, language: Language = "en") -> Visit:
    """Return a visit that asks for a day."""
    scope = {"type": "http", "method": "GET", "path": "/", "headers": [], "query_string": query.encode()}
    return Visit(Request(scope), Person("anne", "Anne", frozenset()), language, "")


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
    assert _day_of(visit(query), TODAY)[0] == day


@pytest.mark.parametrize("query", ["", "months=0", "months=300", "on=", "on=&months=", "on=2030-06-01&months=x"])
def test_a_day_that_is_taken_has_nothing_wrong(query: str) -> None:
    """Nothing asked for is today; a field that was left empty is nothing."""
    assert _day_of(visit(query), TODAY)[1] == ""


@pytest.mark.parametrize(
    ("query", "french", "english"),
    [
        (
            "on=2026-99-99",
            "« 2026-99-99 » n'est pas une date qui existe (AAAA-MM-JJ). Voici ce qui est échu au 27/11/2026.",
            "“2026-99-99” is no date that exists (YYYY-MM-DD). Here is what is due on 27 Nov 2026.",
        ),
        (
            "on=hier&months=1",
            "« hier » n'est pas une date qui existe (AAAA-MM-JJ). Voici ce qui est échu au 27/12/2026.",
            "“hier” is no date that exists (YYYY-MM-DD). Here is what is due on 27 Dec 2026.",
        ),
        (
            "on=9999-12-31",
            "Cette date n'est pas calculée : on peut demander du 01/01/1970 au 27/11/2051. "
            "Voici ce qui est échu au 27/11/2051.",
            "That date is not counted: any from 1 Jan 1970 to 27 Nov 2051 can be asked for. "
            "Here is what is due on 27 Nov 2051.",
        ),
        (
            "months=-4",
            "« -4 » n'est pas un nombre de mois de 0 à 300. Voici ce qui est échu au 27/11/2026.",
            "“-4” is no number of months from 0 to 300. Here is what is due on 27 Nov 2026.",
        ),
        (
            "months=999",
            "« 999 » n'est pas un nombre de mois de 0 à 300. Voici ce qui est échu au 27/11/2051.",
            "“999” is no number of months from 0 to 300. Here is what is due on 27 Nov 2051.",
        ),
    ],
)
def test_what_is_wrong_with_a_day_is_said_with_the_day_that_is_shown(query: str, french: str, english: str) -> None:
    """In the language of whoever looks, and never as if it had been asked for."""
    assert _day_of(visit(query, "fr"), TODAY)[1].replace("\xa0", " ") == french
    assert _day_of(visit(query), TODAY)[1].replace("\xa0", " ") == english


def test_a_site_that_is_not_ones_own_is_said_and_nothing_of_it_is_told() -> None:
    """One that is there and one that is not are told alike; a long text is cut."""
    assert _site_of(visit("site=Nord"), {"Nord", "CHU"}) == ("Nord", "")
    assert _site_of(visit(""), {"Nord"}) == ("", "")
    assert _site_of(visit("site=CHU", "fr"), {"Nord"}) == (
        "",
        "« CHU » n'est pas un de vos sites : tous vos sites sont comptés.",
    )
    assert _site_of(visit("site=X"), {"Nord"})[1] == "“X” is not one of your sites: all your sites are counted."
    assert len(_site_of(visit(f"site={'x' * 500}"), {"Nord"})[1]) < 120


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
