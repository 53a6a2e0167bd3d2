"""Dates of facts: every form that is read, and what is none."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given, strategies as st

from archive.services.fact_dates import first_day, iso_date, last_day


@pytest.mark.parametrize(
    ("text", "iso"),
    [
        ("2020", "2020"),
        ("2020-02", "2020-02"),
        ("2020-02-29", "2020-02-29"),
        (" 20200229 ", "2020-02-29"),
        ("202002", "2020-02"),
        ("20200229134500", "2020-02-29"),
        ("202002291345+0100", "2020-02-29"),
        ("20200229134500.1234-0500", "2020-02-29"),
        ("2020-02-29T13:45:00Z", "2020-02-29"),
        ("2020-02-29 00:00:00", "2020-02-29"),
        ("31/12/2020", "2020-12-31"),
        ("1/2/2020", "2020-02-01"),
        ("01.02.2020", "2020-02-01"),
    ],
)
def test_forms_that_are_read(text: str, iso: str) -> None:
    """ISO, partial or not, DICOM, HL7 and French dates come to the same form, as precise as they were."""
    assert iso_date(text) == iso


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "2021-02-29",
        "29/02/2021",
        "12/31/2020",
        "31/12/20",
        "20201301",
        "20200000",
        "0000",
        "2020-1-1",
        "٢٠٢٠",
    ],
)
def test_what_is_no_date(text: str) -> None:
    """A day that does not exist, an American date, a year of two digits: none is guessed at."""
    assert iso_date(text) is None


@given(st.dates())
def test_every_day_keeps_its_place(day: date) -> None:
    """Any day in any form is that day; its month and its year begin and end around it."""
    iso = day.isoformat()
    assert iso_date(iso) == iso_date(iso.replace("-", "")) == iso_date(f"{day.day:02}/{day.month:02}/{iso[:4]}") == iso
    for part in (iso, iso[:7], iso[:4]):
        assert first_day(part) <= iso <= last_day(part)
        assert date.fromisoformat(first_day(part)) <= date.fromisoformat(last_day(part))
