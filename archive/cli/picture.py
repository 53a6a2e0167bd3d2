"""The forecast of a sweep as a picture: a column for each year; must not count anything."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from archive.cli.drawing import Box, Drawing, Text
from archive.cli.output import size_text

if TYPE_CHECKING:
    from archive.services.sweep import SweepReport

_WIDTH: Final = 960
_HEIGHT: Final = 480
_LEFT, _RIGHT, _TOP, _BOTTOM = 76, 24, 92, 84
_FREE, _DUE, _BLOCKED, _PALE = "#2b6cb0", "#c05621", "#a0aec0", "#e2e8f0"
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


def forecast(report: SweepReport, language: str) -> Drawing:
    """Return a sweep's forecast as a drawing; ``language`` is fr or en."""
    words = _WORDS[language]
    bars = [_Bar(words["now"], report.due.studies, report.due_but_blocked.studies, report.due.size_bytes, _DUE)]
    bars += [
        _Bar(str(year.year), year.free.studies, year.blocked.studies, year.free.size_bytes, _FREE)
        for year in report.forecast
    ]
    scope = _scope(report, language)
    shapes = [*_heading(words, scope), *_legend(words), *_scale(bars, language), *_columns(bars, language)]
    return Drawing(_WIDTH, _HEIGHT, words["title"], f"{words['text']} {scope}", shapes)


def _scope(report: SweepReport, language: str) -> str:
    words = _WORDS[language]
    return words["scope"].format(
        day=f"{report.as_of:%d/%m/%Y}" if language == "fr" else report.as_of.isoformat(),
        site=report.site or words["every"],
        due=_number(report.due.studies, language),
        all=_number(report.all.studies, language),
    )


def _heading(words: dict[str, str], scope: str) -> Iterator[Text]:
    yield Text(_LEFT, 32, words["title"], size=20, is_bold=True)
    yield Text(_LEFT, 56, scope, size=14)


def _legend(words: dict[str, str]) -> Iterator[Box | Text]:
    x = _LEFT
    for colour, name in ((_DUE, "due"), (_FREE, "free"), (_BLOCKED, "blocked")):
        yield Box(x, _HEIGHT - 26, 13, 13, colour)
        yield Text(x + 19, _HEIGHT - 15, words[name])
        x += 60 + 7 * len(words[name])


def _scale(bars: Sequence[_Bar], language: str) -> Iterator[Box | Text]:
    top = _top(bars)
    for step in range(_STEPS + 1):
        value = top * step // _STEPS
        y = _y(value, top)
        yield Box(_LEFT, y - 0.5, _WIDTH - _RIGHT - _LEFT, 1, _PALE)
        yield Text(_LEFT - 8, y + 4, _number(value, language), anchor="end")


def _columns(bars: Sequence[_Bar], language: str) -> Iterator[Box | Text]:
    top, slot = _top(bars), (_WIDTH - _LEFT - _RIGHT) / len(bars)
    for number, bar in enumerate(bars):
        x, centre = _LEFT + slot * (number + 0.18), _LEFT + slot * (number + 0.5)
        free, both = _y(bar.free, top), _y(bar.free + bar.blocked, top)
        yield Box(x, free, slot * 0.64, _y(0, top) - free, bar.colour)
        yield Box(x, both, slot * 0.64, free - both, _BLOCKED)
        if bar.free + bar.blocked:
            yield Text(centre, both - 6, _number(bar.free + bar.blocked, language), anchor="middle")
        yield Text(centre, _HEIGHT - _BOTTOM + 18, bar.label, size=13, anchor="middle")
        yield Text(centre, _HEIGHT - _BOTTOM + 35, _size(bar.size_bytes, language), size=11, anchor="middle")


def _size(size_bytes: int, language: str) -> str:
    text = size_text(size_bytes) if size_bytes else ""
    return text.replace("iB", "io").replace(".", ",").replace(" B", " o") if language == "fr" else text


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
