"""Draws a paper of the archive as PDF: facts, tables, boxes to sign; must not know what they say.

A4 landscape, in Bitstream Vera, which is embedded: accents show on any machine. Equal papers are equal bytes.
Text is data: its markup is shown, not obeyed, and a text too long for its cell is cut with an ellipsis.
"""

from __future__ import annotations

import io
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final
from xml.sax.saxutils import escape

from reportlab.lib import colors
from reportlab.lib.pagesizes import A4, landscape
from reportlab.lib.styles import ParagraphStyle
from reportlab.pdfbase.pdfmetrics import registerFont
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import KeepTogether, PageBreak, Paragraph, SimpleDocTemplate, Spacer, Table

_PAGE: Final = landscape(A4)
_MARGIN: Final = 28.0
_WIDTH: Final = _PAGE[0] - 2 * _MARGIN
_GREY: Final = colors.HexColor("#5a5a5a")
_SHADE: Final = colors.HexColor("#e8e8e8")
_MOST_LINES: Final = 20
"""Lines of a cell: even of the widest letters and badly broken, they are lower than a page, which a row must be."""
_LONGEST_FACT: Final = 120
_DIGIT_WIDTH: Final = 0.64
_PAD: Final = 3.0
_FRAME_PAD: Final = 6.0
"""What reportlab keeps free inside the margins."""
_PEN_HEIGHT: Final = 34.0
_BOXES_A_ROW: Final = 3


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its heading, its share of the width, whether struck rows are legible in it."""

    heading: str
    share: float
    is_number: bool = False
    is_never_struck: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a grid; a newline in a cell is a new line. Struck: shown grey and struck through."""

    cells: tuple[str, ...]
    is_struck: bool = False
    is_total: bool = False


@dataclass(frozen=True, slots=True)
class Grid:
    """A table whose heading is repeated on every page."""

    columns: tuple[Column, ...]
    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class Box:
    """A box to sign: its title, then names and values; an empty value leaves room for a pen."""

    title: str
    fields: tuple[tuple[str, str], ...]
    signing: str


@dataclass(frozen=True, slots=True)
class Section:
    """A heading, what is said under it, then the grid or the boxes."""

    heading: str
    text: str = ""
    grid: Grid | None = None
    boxes: tuple[Box, ...] = ()
    is_on_new_page: bool = False


@dataclass(frozen=True, slots=True)
class Paper:
    """A whole paper; ``reference`` is at the foot of every page, ``facts`` are names and values under the title."""

    title: str
    reference: str
    facts: tuple[tuple[str, str], ...]
    sections: tuple[Section, ...]


def clean(text: str) -> str:
    """Return a text on one line: every control, invisible or unassigned character becomes a space."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(" " if unicodedata.category(sign)[0] == "C" or sign in "\u2028\u2029" else sign for sign in text)


def draw(paper: Paper) -> bytes:
    """Return the paper as PDF."""
    _register_fonts()
    file = io.BytesIO()
    document = SimpleDocTemplate(
        file,
        pagesize=_PAGE,
        leftMargin=_MARGIN - _FRAME_PAD,
        rightMargin=_MARGIN - _FRAME_PAD,
        topMargin=_MARGIN - _FRAME_PAD,
        bottomMargin=_MARGIN + 10,
        title=clean(f"{paper.title} {paper.reference}"),
        author="drimbox-archive",
        lang="fr-FR",
        invariant=1,
    )
    story: list[Any] = [Paragraph(_markup(paper.title), _style("title")), _facts(paper.facts)]
    for section in paper.sections:
        story += _section(section)
    document.build(story, canvasmaker=_canvas_maker(clean(paper.reference[:_LONGEST_FACT])))
    return file.getvalue()


@cache
def _register_fonts() -> None:
    registerFont(TTFont("Paper", "Vera.ttf"))
    registerFont(TTFont("PaperBold", "VeraBd.ttf"))


def _canvas_maker(reference: str) -> Callable[..., Any]:
    """Return a canvas that writes the foot of every page once it knows how many there are."""

    class NumberedCanvas(Canvas):  # type: ignore[misc]  # reportlab has no types
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **{**options, "initialFontName": "Paper"})
            self._pages: list[dict[str, Any]] = []

        def showPage(self) -> None:
            self._pages.append(dict(self.__dict__))
            self._startPage()

        def save(self) -> None:
            for number, page in enumerate(self._pages, start=1):
                self.__dict__.update(page)
                self.setFont("Paper", 6.5)
                self.setFillColor(_GREY)
                self.drawString(_MARGIN, _MARGIN, reference)
                self.drawRightString(_PAGE[0] - _MARGIN, _MARGIN, f"Page {number} / {len(self._pages)}")
                super().showPage()
            super().save()

    return NumberedCanvas


@cache
def _style(name: str) -> ParagraphStyle:
    plain: dict[str, Any] = {"fontName": "Paper", "fontSize": 6.2, "leading": 7.6, "splitLongWords": 1}
    bold = {**plain, "fontName": "PaperBold"}
    styles = {
        "cell": plain,
        "number": {**plain, "alignment": 2},
        "struck": {**plain, "textColor": _GREY},
        "struck number": {**plain, "textColor": _GREY, "alignment": 2},
        "bold": bold,
        "bold number": {**bold, "alignment": 2},
        "fact": {**plain, "fontSize": 8, "leading": 10.5},
        "text": {**plain, "fontSize": 7.5, "leading": 9.5, "spaceAfter": 5},
        "title": {**bold, "fontSize": 17, "leading": 22, "spaceAfter": 6},
        "heading": {**bold, "fontSize": 10, "leading": 13, "spaceBefore": 9, "spaceAfter": 4, "keepWithNext": 1},
    }
    return ParagraphStyle(name, **styles[name])


def _markup(text: str) -> str:
    lines = text.split("\n")[:_MOST_LINES]
    return "<br/>".join(escape(unicodedata.normalize("NFC", clean(line))) for line in lines)


def _strong(text: str) -> str:
    return f'<font name="PaperBold">{_markup(text)}</font>'


def _facts(facts: Sequence[tuple[str, str]]) -> Table:
    """Lay names and values out in two columns, read downwards."""
    cells = [Paragraph(f"{_strong(name)} : {_markup(value[:_LONGEST_FACT])}", _style("fact")) for name, value in facts]
    half = (len(cells) + 1) // 2
    rows = [[cells[place], cells[place + half] if place + half < len(cells) else ""] for place in range(half)]
    return Table(rows, colWidths=[_WIDTH / 2] * 2, style=[*_padding(1.5), ("LEFTPADDING", (0, 0), (-1, -1), 0)])


def _section(section: Section) -> list[Any]:
    story: list[Any] = [PageBreak()] if section.is_on_new_page else []
    opening: list[Any] = [Paragraph(_markup(section.heading), _style("heading"))]
    if section.text:
        opening.append(Paragraph(_markup(section.text), _style("text")))
    if section.boxes:
        return [*story, KeepTogether([*opening, _boxes(section.boxes)])]
    return [*story, *opening, *([_grid(section.grid)] if section.grid else [])]


def _grid(grid: Grid) -> Table:
    widths = _widths(grid.columns)
    heading = [Paragraph(_markup(column.heading), _style("bold")) for column in grid.columns]
    rows = [
        [_cell(cell, row, column, width) for cell, column, width in zip(row.cells, grid.columns, widths, strict=True)]
        for row in grid.rows
    ]
    style = [
        ("GRID", (0, 0), (-1, -1), 0.4, colors.black),
        ("BACKGROUND", (0, 0), (-1, 0), _SHADE),
        ("VALIGN", (0, 0), (-1, -1), "TOP"),
        *_padding(2),
    ]
    return Table([heading, *rows], colWidths=widths, repeatRows=1, style=style)


def _widths(columns: Sequence[Column]) -> list[float]:
    total = sum(column.share for column in columns)
    return [_WIDTH * column.share / total for column in columns]


def _cell(text: str, row: Row, column: Column, width: float) -> Paragraph:
    size = 6.2 * _DIGIT_WIDTH
    most = int((width - 2 * _PAD) / size) * _MOST_LINES
    markup = _markup(text if len(text) <= most else f"{text[: most - 1]}…")
    suffix = "number" if column.is_number else ""
    if row.is_struck and not column.is_never_struck:
        return Paragraph(f"<strike>{markup}</strike>", _style(f"struck {suffix}".rstrip()))
    return Paragraph(markup, _style(f"bold {suffix}".rstrip() if row.is_total else suffix or "cell"))


def _boxes(boxes: Sequence[Box]) -> Table:
    """Lay boxes out side by side; what is below the last field is for the pen."""
    across = min(len(boxes), _BOXES_A_ROW)
    rows: list[list[Any]] = [list(map(_box, boxes[start : start + across])) for start in range(0, len(boxes), across)]
    rows[-1] += [""] * (across - len(rows[-1]))
    style: list[tuple[Any, ...]] = []
    for place in range(len(boxes)):
        down, right = divmod(place, across)
        style.append(("BOX", (right, down), (right, down), 0.6, colors.black))
    style += [("VALIGN", (0, 0), (-1, -1), "TOP"), *_padding(4)]
    widths = [_WIDTH / _BOXES_A_ROW] * across
    return Table(rows, widths, hAlign="LEFT", style=style)


def _box(box: Box) -> list[Any]:
    fields = [f"{_markup(name)} : {_markup(value[:_LONGEST_FACT])}" for name, value in (*box.fields, (box.signing, ""))]
    title = Paragraph(_strong(box.title), _style("fact"))
    return [title, Spacer(0, 3), *(Paragraph(field, _style("text")) for field in fields), Spacer(0, _PEN_HEIGHT)]


def _padding(points: float) -> list[tuple[Any, ...]]:
    whole = (0, 0), (-1, -1)
    sides: list[tuple[Any, ...]] = [
        ("FONTNAME", *whole, "Paper"),
        ("LEFTPADDING", *whole, _PAD),
        ("RIGHTPADDING", *whole, _PAD),
    ]
    return [*sides, ("TOPPADDING", *whole, points), ("BOTTOMPADDING", *whole, points)]
