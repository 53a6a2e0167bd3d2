"""What is known of one study, and how it is read from the machine contract; must not draw conclusions."""

from __future__ import annotations

import re
from calendar import monthrange
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import lru_cache
from typing import Any, Literal, NamedTuple, get_args

from retention_rules.errors import InvalidFacts

Regime = Literal["hospital", "private"]

REGIMES: tuple[Regime, ...] = get_args(Regime)
_DATE = re.compile(r"([0-9]{4})(?:-([0-9]{2})(?:-([0-9]{2}))?|([0-9]{2})([0-9]{2}))?")
_NONE: tuple[()] = ()
_KEPT = 1 << 16


class Appeal(NamedTuple):
    """A recours gracieux or contentieux, running on ``[from_on, to_on)``; without ``to_on`` it is open."""

    from_on: date
    to_on: date | None = None


class Hold(NamedTuple):
    """Someone forbids disposal, whatever the clock says."""

    id: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class StudyFacts:
    """What is known of a study and its patient in one establishment; None is unknown.

    ``years`` is a private site's own number; ``partial`` names the dates that were given without their day and are
    read as the latest day they may mean.
    """

    regime: Regime
    exam_on: date
    last_visit_on: date | None = None
    first_seen_on: date | None = None
    birth_on: date | None = None
    death_on: date | None = None
    deceased: bool = False
    appeals: tuple[Appeal, ...] = ()
    holds: tuple[Hold, ...] = ()
    modalities: tuple[str, ...] | None = None
    years: int | None = None
    facts_trusted: bool = True
    partial: tuple[str, ...] = ()


def parse_facts(mapping: Mapping[str, Any]) -> StudyFacts:
    """Return the facts of one object of the machine contract; other keys are ignored.

    Dates are ``YYYY-MM-DD``, ``YYYYMMDD``, ``YYYY-MM`` or ``YYYY`` (or ``date``); null, "" and a missing key are
    unknown. Raises InvalidFacts when ``regime`` or ``exam_on`` is missing or anything cannot be read.
    """
    get = mapping.get
    partial: list[str] = []
    regime, exam_on = get("regime"), _date("exam_on", get("exam_on"), partial)
    if exam_on is None:
        raise InvalidFacts(name="exam_on", reason="is missing")
    if regime not in REGIMES:
        raise InvalidFacts(name="regime", reason="is missing" if regime is None else "is not hospital or private")
    return StudyFacts(
        regime,
        exam_on,
        _date("last_visit_on", get("last_visit_on"), partial),
        _date("first_seen_on", get("first_seen_on"), partial),
        _date("birth_on", get("birth_on"), partial),
        _date("death_on", get("death_on"), partial),
        _flag("deceased", get("deceased"), False),
        _appeals(get("appeals"), partial),
        _holds(get("holds")),
        _modalities(get("modalities")),
        _years(get("years")) if regime == "private" else None,
        _flag("facts_trusted", get("facts_trusted"), True),
        tuple(partial) if partial else _NONE,
    )


def _date(name: str, value: object, partial: list[str]) -> date | None:
    if value is None or value == "":
        return None
    if isinstance(value, str):
        day, is_partial = read_date(value)
        if is_partial:
            partial.append(name)
    else:
        day = value if isinstance(value, date) and not isinstance(value, datetime) else None
    if day is None:
        raise InvalidFacts(name=name, reason="is not a date (YYYY-MM-DD, YYYYMMDD, YYYY-MM or YYYY)")
    return day


@lru_cache(maxsize=_KEPT)
def read_date(text: str) -> tuple[date | None, bool]:
    """Return the latest day ``text`` may mean (None when it means none), and whether its day or month is missing."""
    match = _DATE.fullmatch(text)
    if match is None:
        return None, False
    year, month, day = int(match[1]), int(match[2] or match[4] or 12), match[3] or match[5]
    try:
        return date(year, month, int(day) if day else monthrange(year, month)[1]), day is None
    except ValueError:
        return None, False


def _flag(name: str, value: object, default: bool) -> bool:
    if value is None:
        return default
    if value is True or value is False:
        return bool(value)
    raise InvalidFacts(name=name, reason="is not true or false")


def _list(name: str, value: object) -> Sequence[Any]:
    if isinstance(value, list | tuple):
        return value
    raise InvalidFacts(name=name, reason="is not a list")


def _objects(name: str, value: object) -> Sequence[Mapping[str, Any]]:
    items = _list(name, value)
    if not all(isinstance(item, Mapping) for item in items):
        raise InvalidFacts(name=name, reason="has an item that is not an object")
    return items


def _appeals(value: object, partial: list[str]) -> tuple[Appeal, ...]:
    if value is None or value == []:
        return _NONE
    return tuple([_appeal(item, partial) for item in _objects("appeals", value)])


def _appeal(item: Mapping[str, Any], partial: list[str]) -> Appeal:
    from_on = _date("appeals.from", item.get("from"), partial)
    if from_on is None:
        raise InvalidFacts(name="appeals.from", reason="is missing")
    return Appeal(from_on, _date("appeals.to", item.get("to"), partial))


def _holds(value: object) -> tuple[Hold, ...]:
    if value is None or value == []:
        return _NONE
    return tuple([_hold(item) for item in _objects("holds", value)])


def _hold(item: Mapping[str, Any]) -> Hold:
    identifier = item.get("id")
    if identifier in (None, "") or not isinstance(identifier, str | int):
        raise InvalidFacts(name="holds.id", reason="is missing or not a text")
    return Hold(str(identifier), str(item.get("reason") or ""))


def _modalities(value: object) -> tuple[str, ...] | None:
    if value is None:
        return None
    items = _list("modalities", value)
    if not all(isinstance(item, str) for item in items):
        raise InvalidFacts(name="modalities", reason="has an item that is not a text")
    return tuple([item.strip().upper() for item in items])


def _years(value: object) -> int | None:
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 1000):
        return value
    raise InvalidFacts(name="years", reason="is not a whole number of years from 0 to 1000")
