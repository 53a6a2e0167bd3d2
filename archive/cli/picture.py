"""The forecast of a sweep as a picture (SVG, by hand: it prints at any size); must not count anything."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from archive.cli.output import size_text

if TYPE_CHECKING:
    from archive.services.sweep import SweepReport

_WIDTH: Final = 960
_HEIGHT: Final = 480
_LEFT, _RIGHT, _TOP, _BOTTOM = 76, 24, 92, 84
_FREE, _DUE, _BLOCKED, _INK, _PALE = "#2b6cb0", "#c05621", "#a0aec0", "#1a202c", "#e2e8f0"
_STEPS: Final = 4

_WORDS: Final[dict[str, dict[str, str]]] = {
    "fr": {
        "title": "Études dont l'élimination pourra être proposée",
        "scope": "Au {day}, {site} : {due} échues sur {all} études",
        "every": "tous les sites",
        "now": "échues",
        "free": "à échoir dans l'année",
        "due": "échues à ce jour",
        "blocked": "bloquées (gel, recours, faits contradictoires)",
        "text": "Histogramme : études par année d'échéance.",
    },
    "en": {
        "title": "Studies whose elimination may be proposed",
        "scope": "On {day}, {site}: {due} due of {all} studies",
        "every": "all sites",
        "now": "due now",
        "free": "becoming eligible in the year",
        "due": "due on that day",
        "blocked": "blocked (hold, appeal, contradictory facts)",
        "text": "Bar chart: studies by the year they become eligible.",
    },
}


class _Bar(NamedTuple):
    """One column: how many studies are free and blocked, and the bytes of those that are free."""

    label: str
    free: int
    blocked: int
    size_bytes: int
    colour: str


def forecast_svg(report: SweepReport, language: str) -> str:
    """Return a sweep's forecast as an SVG document; ``language`` is fr or en."""
    words = _WORDS[language]
    bars = [_Bar(words["now"], report.due.studies, report.due_but_blocked.studies, report.due.size_bytes, _DUE)]
    bars += [
        _Bar(str(year.year), year.free.studies, year.blocked.studies, year.free.size_bytes, _FREE)
        for year in report.forecast
    ]
    return "\n".join([*_frame(report, words), *_scale(bars, language), *_columns(bars, language), "</svg>", ""])


def _frame(report: SweepReport, words: dict[str, str]) -> Iterator[str]:
    every, language = words["every"], "fr" if words is _WORDS["fr"] else "en"
    scope = words["scope"].format(
        day=f"{report.as_of:%d/%m/%Y}" if language == "fr" else report.as_of.isoformat(),
        site=report.site or every,
        due=_number(report.due.studies, language),
        all=_number(report.all.studies, language),
    )
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{_HEIGHT}" '
        f'viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="DejaVu Sans, Arial, sans-serif" fill="{_INK}" role="img">'
    )
    yield f"<title>{escape(words['title'])}</title><desc>{escape(words['text'])} {escape(scope)}</desc>"
    yield f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>'
    yield _text(_LEFT, 32, words["title"], size=20, weight="bold")
    yield _text(_LEFT, 56, scope, size=14)
    x = _LEFT
    for colour, name in ((_DUE, "due"), (_FREE, "free"), (_BLOCKED, "blocked")):
        yield f'<rect x="{x}" y="{_HEIGHT - 26}" width="13" height="13" fill="{colour}"/>'
        yield _text(x + 19, _HEIGHT - 15, words[name], size=12)
        x += 60 + 7 * len(words[name])


def _scale(bars: Sequence[_Bar], language: str) -> Iterator[str]:
    top = _top(bars)
    for step in range(_STEPS + 1):
        value = top * step // _STEPS
        y = _y(value, top)
        yield f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="{_PALE}"/>'
        yield _text(_LEFT - 8, y + 4, _number(value, language), size=12, anchor="end")


def _columns(bars: Sequence[_Bar], language: str) -> Iterator[str]:
    top, slot = _top(bars), (_WIDTH - _LEFT - _RIGHT) / len(bars)
    for number, bar in enumerate(bars):
        x, centre = _LEFT + slot * (number + 0.18), _LEFT + slot * (number + 0.5)
        free, both = _y(bar.free, top), _y(bar.free + bar.blocked, top)
        yield _box(x, free, slot * 0.64, _y(0, top) - free, bar.colour)
        yield _box(x, both, slot * 0.64, free - both, _BLOCKED)
        if bar.free + bar.blocked:
            yield _text(centre, both - 6, _number(bar.free + bar.blocked, language), size=12, anchor="middle")
        yield _text(centre, _HEIGHT - _BOTTOM + 18, bar.label, size=13, anchor="middle")
        size = size_text(bar.size_bytes) if bar.size_bytes else ""
        size = size.replace("iB", "io").replace(".", ",").replace(" B", " o") if language == "fr" else size
        yield _text(centre, _HEIGHT - _BOTTOM + 35, size, size=11, anchor="middle")


def _top(bars: Sequence[_Bar]) -> int:
    """Return the end of the scale, above every column: it has round quarters."""
    most = max(bar.free + bar.blocked for bar in bars)
    power = 1
    while True:
        for step in (4, 8, 12, 16, 20, 24, 32):
            if step * power >= most:
                return step * power
        power *= 10


def _y(value: float, top: int) -> float:
    return _HEIGHT - _BOTTOM - (_HEIGHT - _BOTTOM - _TOP) * value / top


def _number(value: int, language: str) -> str:
    return f"{value:,}".replace(",", "\u202f" if language == "fr" else ",")


def _box(x: float, y: float, width: float, height: float, colour: str) -> str:
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{colour}"/>'


def _text(x: float, y: float, text: str, **look: Any) -> str:
    look = {"size": 12, "weight": "normal", "anchor": "start", **look}
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{look["size"]}" font-weight="{look["weight"]}" '
        f'text-anchor="{look["anchor"]}">{escape(text)}</text>'
    )
