"""Draws the forecast of a sweep as SVG, plain enough for any browser and for print; must not count anything."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple
from xml.sax.saxutils import escape

from archive.cli.output import size_text

_WIDTH: Final = 760
_HEIGHT: Final = 340
_LEFT: Final = 20
_TOP: Final = 76
_BOTTOM: Final = 276
_BAR, _LINE = "#2f6f9f", "#cbd2d9"
_DARK, _SOFT = 'fill="#1f2933"', 'fill="#52606d"'
_BOLD = f'{_DARK} font-weight="bold"'


class Bar(NamedTuple):
    """One year: how many studies become due, and how many bytes they hold."""

    year: int
    studies: int
    size_bytes: int


def draw_forecast(bars: Sequence[Bar], *, title: str, subtitle: str) -> str:
    """Return an SVG document of 760 x 340: a bar a year, as high as its studies, with both figures on it."""
    return "\n".join(["", *_lines(bars, title, subtitle), ""]).lstrip("\n")


def _lines(bars: Sequence[Bar], title: str, subtitle: str) -> Iterator[str]:
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{_HEIGHT}" '
        f'viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="Helvetica, Arial, sans-serif" role="img">'
    )
    yield f"<title>{escape(title)}</title>"
    yield f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#ffffff"/>'
    yield _text(_LEFT, 30, title, size=17, anchor="start", style=_BOLD)
    yield _text(_LEFT, 50, subtitle, size=12, anchor="start", style=_SOFT)
    yield f'<line x1="{_LEFT}" y1="{_BOTTOM}" x2="{_WIDTH - _LEFT}" y2="{_BOTTOM}" stroke="{_LINE}"/>'
    step = (_WIDTH - 2 * _LEFT) / max(len(bars), 1)
    highest = max((bar.studies for bar in bars), default=0) or 1
    for number, bar in enumerate(bars):
        yield from _bar(bar, _LEFT + step * (number + 0.5), step * 0.62, bar.studies / highest)
    yield "</svg>"


def _bar(bar: Bar, middle: float, width: float, share: float) -> Iterator[str]:
    height = share * (_BOTTOM - _TOP - 20)
    top = _BOTTOM - height
    if bar.studies:
        place = f'x="{middle - width / 2:.1f}" y="{top:.1f}" width="{width:.1f}" height="{height:.1f}"'
        yield f'<rect {place} rx="2" fill="{_BAR}"/>'
    yield _text(middle, top - 6, f"{bar.studies:,}".replace(",", "\u202f"), size=12)
    yield _text(middle, _BOTTOM + 20, str(bar.year), size=13, style=_BOLD)
    yield _text(middle, _BOTTOM + 38, size_text(bar.size_bytes), size=11, style=_SOFT)


def _text(left: float, top: float, text: str, *, size: int, anchor: str = "middle", style: str = "") -> str:
    place = f'x="{left:.1f}" y="{top:.1f}" font-size="{size}" text-anchor="{anchor}"'
    return f"<text {place} {style or _DARK}>{escape(text)}</text>"
