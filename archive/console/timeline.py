"""Why a study is kept, as lanes on one axis of years: exam, visits, rules, suspensions, holds; must not conclude.

Places are in points of the drawing; the template draws it, the style sheet colours it, and the sentences beside it
say the same for whoever cannot see it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final, NamedTuple

from archive.console.catalogue import Catalogue
from archive.console.formats import day as day_text
from archive.index.holds import Hold
from archive.services.explaining import Explanation
from archive.services.fact_dates import last_day
from retention_rules.assessment import Candidate
from retention_rules.periods import as_date

WIDTH: Final = 1000
GUTTER: Final = 200
RIGHT: Final = 96
TOP: Final = 46
LANE: Final = 26
_BOTTOM: Final = 28
_DAY: Final = timedelta(days=1)
_ACCESS: Final = "common.immediate_access"
"""The rule whose time has a lane of its own anyway."""

_CHILDHOOD_YEARS: Final = 30
_FURTHEST_YEARS: Final = 60
_MOST_MARKS: Final = 60
_TICKS: Final = 9
_STEPS: Final = (1, 2, 5, 10, 20, 50)


class Span(NamedTuple):
    """A bar from ``x`` on; ``kind`` is its style, ``is_open`` that it goes on beyond the edge, ``text`` its end."""

    x: float
    width: float
    kind: str
    is_open: bool
    text: str


class Mark(NamedTuple):
    """A moment at ``x``; ``is_before`` tells that it lies before the axis begins."""

    x: float
    kind: str
    is_before: bool
    text: str


class Line(NamedTuple):
    """A line across all lanes, or a year of the axis."""

    x: float
    text: str


@dataclass(frozen=True, slots=True)
class Lane:
    """One row; ``y`` is its middle."""

    label: str
    y: float
    is_deciding: bool
    spans: Sequence[Span]
    marks: Sequence[Mark]


@dataclass(frozen=True, slots=True)
class Timeline:
    """The whole drawing; ``eligible`` is None when there is no such day on the axis."""

    width: int
    height: int
    title: str
    lanes: Sequence[Lane]
    years: Sequence[Line]
    today: Line
    eligible: Line | None


class _Row(NamedTuple):
    """A lane before it has a place: bars as (from, until, kind), moments as (day, kind)."""

    label: str
    bars: Sequence[tuple[date, date | None, str]] = ()
    days: Sequence[tuple[date, str]] = ()
    is_deciding: bool = False


def timeline(found: Explanation, today: date, words: Catalogue) -> Timeline:
    """Return the drawing of one study's assessment for a day."""
    rows = [row for row in _rows(found, today, words) if row.bars or row.days]
    return _Drawing(found, rows, today, words).made()


def _rows(found: Explanation, today: date, words: Catalogue) -> Iterator[_Row]:
    facts, basis = found.assessment.basis.facts, found.assessment.basis
    yield _Row(words.text("timeline.birth"), days=_days(facts.birth_on, "birth"))
    yield _Row(words.text("timeline.visits"), days=_visits(found))
    yield _Row(words.text("timeline.exam"), days=_days(facts.exam_on, "exam"))
    yield _Row(words.text("timeline.death"), days=_days(facts.death_on, "death" if facts.facts_trusted else "doubt"))
    yield _Row(words.text("timeline.access"), [(facts.exam_on, found.assessment.lossless_until - _DAY, "access")])
    for place, candidate in enumerate(basis.candidates):
        if not place or _says_more(candidate, facts.exam_on):
            yield _rule(candidate, "rule" if place else "deciding", words)
    for candidate in basis.set_aside:
        yield _rule(candidate, "aside", words)
    yield _Row(words.text("timeline.appeals"), [(each.from_on, each.to_on, "suspension") for each in facts.appeals])
    yield _Row(words.text("timeline.holds"), [_held(each, today) for each in found.holds])


def _says_more(candidate: Candidate, exam_on: date) -> bool:
    """Tell whether a rule that does not decide is worth a lane: one that ended before the exam is told in words."""
    return candidate.rule.name != _ACCESS and candidate.reached >= exam_on.toordinal()


def _days(day: date | None, kind: str) -> Sequence[tuple[date, str]]:
    return () if day is None else ((day, kind),)


def _visits(found: Explanation) -> Sequence[tuple[date, str]]:
    told = [fact.to_on or fact.from_on for fact in found.facts if fact.kind == "visit"]
    days = sorted({last_day(day) for day in told if day})
    return [(date.fromisoformat(day), "visit") for day in days[-_MOST_MARKS:]]


def _rule(candidate: Candidate, kind: str, words: Catalogue) -> _Row:
    """Return the lane of a rule: its own time, and what suspensions add."""
    label = words.found(f"rule.{candidate.rule.name}", candidate.rule.name)
    end, reached = as_date(candidate.end), as_date(candidate.reached)
    bars: list[tuple[date, date | None, str]] = [(candidate.counted_from, end, kind)]
    if end is not None and (candidate.is_open or candidate.reached > candidate.end):
        bars.append((end, None if candidate.is_open else reached, "added"))
    return _Row(label, bars, is_deciding=kind == "deciding")


def _held(hold: Hold, today: date) -> tuple[date, date | None, str]:
    return min(hold.placed_at.date(), today), None, "hold"


class _Drawing:
    """Puts the rows of one study on an axis."""

    def __init__(self, found: Explanation, rows: Sequence[_Row], today: date, words: Catalogue) -> None:
        self._found, self._rows, self._today, self._words = found, rows, today, words
        exam = found.assessment.basis.facts.exam_on
        first, last = exam.year - _CHILDHOOD_YEARS, max(exam.year, today.year) + _FURTHEST_YEARS
        bars = [day for row in rows for begin, until, _ in row.bars for day in (begin, until) if day is not None]
        days = [day for row in rows for day, _ in row.days]
        shown = [day.year for day in (*bars, *days, today) if first <= day.year <= last]
        self._first, self._last = min(shown), min(max(shown) + 1, date.max.year)
        self._start = date(self._first, 1, 1).toordinal()
        self._days = max(1, date(self._last, 12, 31).toordinal() - self._start)

    def made(self) -> Timeline:
        height = TOP + LANE * len(self._rows) + _BOTTOM
        eligible = self._found.assessment.eligible_on
        line = None
        if eligible is not None and self._first <= eligible.year <= self._last:
            line = Line(self._x(eligible), self._text("timeline.eligible", eligible))
        lanes = [self._lane(row, TOP + LANE * (place + 0.5)) for place, row in enumerate(self._rows)]
        now = Line(self._x(self._today), self._words.text("timeline.today"))
        return Timeline(WIDTH, height, self._words.text("timeline.title"), lanes, list(self._years()), now, line)

    def _lane(self, row: _Row, y: float) -> Lane:
        spans = [self._span(begin, until, kind) for begin, until, kind in row.bars]
        return Lane(row.label, y, row.is_deciding, spans, [self._mark(day, kind) for day, kind in row.days])

    def _span(self, begin: date, until: date | None, kind: str) -> Span:
        is_open = until is None or until.year > self._last
        x, end = self._x(begin), float(WIDTH - RIGHT) if until is None else self._x(until)
        text = "" if until is None else day_text(until, self._words.language)
        return Span(x, max(2.0, end - x), kind, is_open, text)

    def _mark(self, day: date, kind: str) -> Mark:
        return Mark(self._x(day), kind, day.year < self._first, day_text(day, self._words.language))

    def _years(self) -> Iterator[Line]:
        span = self._last - self._first + 1
        step = next((step for step in _STEPS if span / step <= _TICKS), _STEPS[-1])
        for year in range(-(-self._first // step) * step, self._last + 1, step):
            yield Line(self._x(date(year, 1, 1)), str(year))

    def _x(self, day: date) -> float:
        share = (day.toordinal() - self._start) / self._days
        return round(GUTTER + min(max(share, 0.0), 1.0) * (WIDTH - GUTTER - RIGHT), 1)

    def _text(self, key: str, day: date) -> str:
        return self._words.text(key, day=day_text(day, self._words.language))
