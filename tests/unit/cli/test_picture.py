"""The forecast's picture: well formed, readable at any number, in both languages."""

from __future__ import annotations

import math
from datetime import date
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archive.cli.picture import forecast_svg
from archive.services.sweep import ForecastYear, SweepReport, Total

_SVG = "{http://www.w3.org/2000/svg}"
_COLOURS = ("#2b6cb0", "#c05621", "#a0aec0")


def report(
    due: int = 0, blocked: int = 0, years: tuple[tuple[int, int], ...] = ((0, 0),), site: str = ""
) -> SweepReport:
    """Return a report of so many studies due, blocked, and (free, blocked) by year."""
    forecast = [
        ForecastYear(2026 + number, Total(free, free * 10**9), Total(held, 0))
        for number, (free, held) in enumerate(years)
    ]
    return SweepReport(
        as_of=date(2026, 11, 26),
        site=site or None,
        is_applied=False,
        is_complete=True,
        assessed=0,
        all=Total(due + blocked, 0),
        due=Total(due, due * 10**9),
        due_but_blocked=Total(blocked, 0),
        longest_due=[],
        overtaken=0,
        set_aside=Total(),
        rules=[],
        blocked={},
        assumptions={},
        forecast=forecast,
        errors=[],
        overdue_holds=[],
        last_as_of=None,
        changes=None,
    )


def parts(svg: str, name: str) -> list[ET.Element]:
    """Return the elements of one kind."""
    return list(ET.fromstring(svg).iter(_SVG + name))


def texts(svg: str) -> list[str]:
    """Return what is written, in order."""
    return [element.text or "" for element in parts(svg, "text")]


@given(
    st.integers(0, 10**8),
    st.integers(0, 10**8),
    st.lists(st.tuples(st.integers(0, 10**8), st.integers(0, 10**8)), min_size=1, max_size=10),
)
def test_every_column_lies_within_the_picture(due: int, blocked: int, years: list[tuple[int, int]]) -> None:
    """Whatever the numbers: nothing negative, nothing outside, columns as high as their numbers say."""
    svg = forecast_svg(report(due, blocked, tuple(years)), "fr")
    boxes = [box for box in parts(svg, "rect") if box.get("fill") in _COLOURS and box.get("height") != "13"]
    assert len(boxes) == 2 * (len(years) + 1)
    for box in boxes:
        x, y, width, height = (float(box.get(name, "")) for name in ("x", "y", "width", "height"))
        assert min(width, height) >= 0
        assert 0 <= x <= x + width <= 960
        assert 91.9 <= y <= y + height <= 396.2
    numbers = [due, blocked, *(number for year in years for number in year)]
    tallest = max(range(len(numbers)), key=numbers.__getitem__)
    heights = [float(box.get("height", "")) for box in boxes]
    assert math.isclose(heights[tallest], max(heights), abs_tol=0.11)


@pytest.mark.parametrize(
    ("language", "number", "size", "title"),
    [
        ("fr", "12\u202f345", "11,2 Tio", "Études dont l'élimination pourra être proposée"),
        ("en", "12,345", "11.2 TiB", "Studies whose elimination may be proposed"),
    ],
)
def test_numbers_are_written_as_the_language_does(language: str, number: str, size: str, title: str) -> None:
    """Thousands, decimals and units are the language's."""
    found = texts(forecast_svg(report(12345), language))
    assert {number, size, title} <= set(found)


def test_a_name_cannot_break_the_picture() -> None:
    """A site's name with characters that mean something in XML is shown as it is."""
    assert any('A<B & "C"' in text for text in texts(forecast_svg(report(site='A<B & "C"'), "fr")))
