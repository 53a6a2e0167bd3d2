"""The forecast's picture: well formed, readable at any number, in both languages, as SVG and as PNG."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from datetime import date
from typing import Literal
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given, strategies as st
from PIL import Image

from archive.cli.drawing import Box, Drawing, Text, _drawable, _font, png, svg
from archive.cli.picture import forecast
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


def drawn(found: SweepReport, language: str = "fr") -> str:
    """Return the picture as SVG."""
    return svg(forecast(found, language)).decode()


def painted(drawing: Drawing) -> Image.Image:
    """Return the picture as pixels, from PNG."""
    image = Image.open(io.BytesIO(png(drawing)))
    image.load()
    return image


def parts(document: str, name: str) -> list[ET.Element]:
    """Return the elements of one kind."""
    return list(ET.fromstring(document).iter(_SVG + name))


def texts(document: str) -> list[str]:
    """Return what is written, in order."""
    return [element.text or "" for element in parts(document, "text")]


@given(
    st.integers(0, 10**8),
    st.integers(0, 10**8),
    st.lists(st.tuples(st.integers(0, 10**8), st.integers(0, 10**8)), min_size=1, max_size=10),
)
def test_every_column_lies_within_the_picture(due: int, blocked: int, years: list[tuple[int, int]]) -> None:
    """Whatever the numbers: nothing negative, nothing outside, columns as high as their numbers say."""
    picture = drawn(report(due, blocked, tuple(years)))
    boxes = [box for box in parts(picture, "rect") if box.get("fill") in _COLOURS and box.get("width") != "13.0"]
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
    found = texts(drawn(report(12345), language))
    assert {number, size, title} <= set(found)


def test_a_name_cannot_break_the_picture() -> None:
    """A site's name with characters that mean something in XML is shown as it is."""
    assert any('A<B & "C"' in text for text in texts(drawn(report(site='A<B & "C"'))))


# ---- PNG -----------------------------------------------------------------------------------------------------------


def test_a_png_shows_the_columns_that_the_svg_shows() -> None:
    """Each box that covers a pixel has its colour in its middle, at twice the size."""
    drawing = forecast(report(500, 100, ((300, 200), (0, 0), (1000, 50))), "fr")
    image = painted(drawing)
    assert (image.size, image.mode) == ((1920, 960), "RGB")
    columns = [each for each in drawing.shapes if isinstance(each, Box) and each.width > 13 and each.height > 1]
    assert len(columns) == 6
    for box in columns:
        pixel = image.getpixel((round(2 * box.x + box.width), round(2 * box.y + box.height)))
        assert pixel == tuple(bytes.fromhex(box.colour[1:]))


@pytest.mark.parametrize(("anchor", "share"), [("start", 0.0), ("middle", 0.5), ("end", 1.0)])
def test_the_texts_of_a_png_are_written_where_the_svg_has_them(
    anchor: Literal["start", "middle", "end"], share: float
) -> None:
    """From, around or up to its place, on its base line, and as high as its size says."""
    image = painted(Drawing(200, 60, "", "", [Text(100, 40, "HHHHHH", size=12, anchor=anchor)]))
    left, top, right, bottom = image.convert("L").point(lambda value: 255 * (value < 128)).getbbox() or (0, 0, 0, 0)
    assert abs(left + share * (right - left) - 200) <= 4
    assert (bottom, 100 < right - left < 120, 16 <= bottom - top <= 19) == (80, True, True)


@pytest.mark.parametrize("language", ["fr", "en"])
@pytest.mark.parametrize("is_bold", [False, True])
def test_the_font_has_every_letter_that_is_written(language: str, is_bold: bool) -> None:
    """No letter comes out as the box that stands for letters a font lacks."""
    written = {letter for text in _texts(forecast(report(12345), language)) for letter in _drawable(text)}
    font = _font(24, is_bold=is_bold)
    missing = bytes(font.getmask("\ufffe"))
    assert {letter for letter in written if letter != " " and bytes(font.getmask(letter)) == missing} == set()


def _texts(drawing: Drawing) -> Iterator[str]:
    return (shape.text for shape in drawing.shapes if isinstance(shape, Text))


def test_both_files_tell_what_they_show_to_those_who_cannot_see_it() -> None:
    """Title and description, with the day and the numbers; a PNG keeps them beside the pixels, letters and all."""
    drawing = forecast(report(12345), "fr")
    image = painted(drawing)
    assert (image.info["Title"], image.info["Description"]) == (drawing.title, drawing.description)
    assert "26/11/2026" in drawing.description
    assert [each.text for each in parts(svg(drawing).decode(), "desc")] == [drawing.description]


def test_an_empty_archive_has_a_picture() -> None:
    """Nothing due and nothing to come: the scale, and no column."""
    image = painted(forecast(report(), "en"))
    assert image.getpixel((1000, 500)) == (255, 255, 255)
