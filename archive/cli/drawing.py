"""Boxes and texts on a white page, as SVG or as PNG; must not know what they tell.

Places and sizes are in points from the top left corner, a text's is the left, middle or right of its base line.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from html import escape
from importlib.resources import files
from io import BytesIO
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont

INK: Final = "#1a202c"
_SHARPNESS: Final = 2  # pixels of PNG a point
_PNG_DPI: Final = 96 * _SHARPNESS
_ANCHORS: Final = {"start": "ls", "middle": "ms", "end": "rs"}
_FONTS: Final = "DejaVu Sans, Arial, sans-serif"


@dataclass(frozen=True, slots=True)
class Box:
    """A filled rectangle, its top left corner at (x, y)."""

    x: float
    y: float
    width: float
    height: float
    colour: str


@dataclass(frozen=True, slots=True)
class Text:
    """One line of text."""

    x: float
    y: float
    text: str
    size: int = 12
    anchor: Literal["start", "middle", "end"] = "start"
    is_bold: bool = False


@dataclass(frozen=True, slots=True)
class Drawing:
    """A page; ``title`` and ``description`` are for those who cannot see it."""

    width: int
    height: int
    title: str
    description: str
    shapes: Sequence[Box | Text]


# ---- SVG -----------------------------------------------------------------------------------------------------------


def svg(drawing: Drawing) -> bytes:
    """Return the page as an SVG document: it prints at any size."""
    return "\n".join([*_svg_lines(drawing), "</svg>", ""]).encode()


def _svg_lines(drawing: Drawing) -> Iterator[str]:
    width, height = drawing.width, drawing.height
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" font-family="{_FONTS}" fill="{INK}" role="img">'
    )
    yield f"<title>{escape(drawing.title)}</title><desc>{escape(drawing.description)}</desc>"
    yield f'<rect width="{width}" height="{height}" fill="white"/>'
    for shape in drawing.shapes:
        yield _svg_box(shape) if isinstance(shape, Box) else _svg_text(shape)


def _svg_box(box: Box) -> str:
    place = f'x="{box.x:.1f}" y="{box.y:.1f}" width="{box.width:.1f}" height="{box.height:.1f}"'
    return f'<rect {place} fill="{box.colour}"/>'


def _svg_text(text: Text) -> str:
    weight = ' font-weight="bold"' if text.is_bold else ""
    look = f'font-size="{text.size}"{weight} text-anchor="{text.anchor}"'
    return f'<text x="{text.x:.1f}" y="{text.y:.1f}" {look}>{escape(text.text)}</text>'


# ---- PNG -----------------------------------------------------------------------------------------------------------


def png(drawing: Drawing) -> bytes:
    """Return the page as a PNG image, two pixels a point: for documents that take no SVG."""
    from PIL import Image, ImageDraw
    from PIL.PngImagePlugin import PngInfo

    image = Image.new("RGB", (drawing.width * _SHARPNESS, drawing.height * _SHARPNESS), "white")
    canvas = ImageDraw.Draw(image)
    for shape in drawing.shapes:
        if isinstance(shape, Box):
            _paint_box(canvas, shape)
        else:
            _paint_text(canvas, shape)
    told, out = PngInfo(), BytesIO()
    told.add_itxt("Title", drawing.title)
    told.add_itxt("Description", drawing.description)
    image.save(out, "PNG", optimize=True, pnginfo=told, dpi=(_PNG_DPI, _PNG_DPI))
    return out.getvalue()


def _paint_box(canvas: ImageDraw, box: Box) -> None:
    left, top = _pixel(box.x), _pixel(box.y)
    right, bottom = _pixel(box.x + box.width), _pixel(box.y + box.height)
    if right > left and bottom > top:
        canvas.rectangle((left, top, right - 1, bottom - 1), fill=box.colour)


def _paint_text(canvas: ImageDraw, text: Text) -> None:
    font = _font(text.size * _SHARPNESS, is_bold=text.is_bold)
    place = (_pixel(text.x), _pixel(text.y))
    canvas.text(place, _drawable(text.text), fill=INK, font=font, anchor=_ANCHORS[text.anchor])


def _pixel(points: float) -> int:
    return round(points * _SHARPNESS)


def _drawable(text: str) -> str:
    """Put plain spaces in the place of the narrow ones, which the font lacks."""
    return text.replace("\u202f", " ")


@cache
def _font(pixels: int, *, is_bold: bool) -> FreeTypeFont:
    """Return the font that comes with reportlab: no machine has to have one installed."""
    from PIL import ImageFont

    file = files("reportlab") / "fonts" / ("VeraBd.ttf" if is_bold else "Vera.ttf")
    return ImageFont.truetype(BytesIO(file.read_bytes()), pixels, layout_engine=ImageFont.Layout.BASIC)
