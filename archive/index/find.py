"""Answers C-FIND and QIDO-RS queries from the index, row by row; must not know DIMSE, HTTP or character sets."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from sqlalchemy import ColumnElement, FromClause, Select, select

from archive.errors import InvalidIdentifier
from archive.index import successors
from archive.index.derived import DERIVED, availability, derived_condition
from archive.index.expressions import split_values, stream
from archive.index.keys import KEYS, TABLES, UNIQUE_KEYS, Level, Matching
from archive.index.lossy_values import key_of
from archive.index.matching import Condition, condition, fuzzy_name
from archive.index.models import study
from archive.index.session import Connection

SUPPORTED: Final = frozenset((*KEYS, *DERIVED, "InstanceAvailability"))
"""Every keyword a row may hold."""

_TOP: Final = {"patient": Level.PATIENT, "study": Level.STUDY}


@dataclass(frozen=True, slots=True)
class Query:
    """A query: ``keys`` maps keyword to value as in the identifier ("" asks for the attribute and matches all).

    ``root`` is ``patient`` or ``study``, ``level`` PATIENT, STUDY, SERIES or IMAGE. A query that is not ``relational``
    must carry the unique keys of the levels above. ``limit`` 0 means no limit; ``offset`` skips answers, which means
    something together with ``newest_first`` alone. ``sites``, unless empty, are the only ones whose studies there are.
    ``is_fuzzy``: a name matches when each word of the value begins one of its words.
    """

    root: str
    level: str
    keys: Mapping[str, str]
    limit: int = 0
    relational: bool = False
    offset: int = 0
    sites: frozenset[str] = frozenset()
    newest_first: bool = False
    is_fuzzy: bool = False


@dataclass(slots=True)
class _Plan:
    """What to select, keyword by keyword, what must hold, and the topmost level needed."""

    level: Level
    top: Level
    conditions: list[Condition]
    columns: dict[str, tuple[ColumnElement[Any], Callable[[Any], str]]]

    @property
    def rows(self) -> FromClause:
        """Return the table of the level joined upwards as far as needed."""
        return _joined_tables(self.level, self.top)

    def need(self, level: Level) -> None:
        self.top = min(self.top, level)

    def answer(self, keyword: str, level: Level, column: ColumnElement[Any], present: Callable[[Any], str]) -> None:
        self.need(level)
        self.columns[keyword] = (column, present)

    def where(self, wanted: Condition | None, level: Level) -> None:
        if wanted is not None:
            self.need(level)
            self.conditions.append(wanted)


def run_query(connection: Connection, query: Query) -> Iterator[Mapping[str, str]]:
    """Yield one row per matching entity: keyword to text, "" where the entity has none.

    A row holds every key asked for that the index supports at the level or above it, and the unique keys of the level
    and of those above. Keys of lower levels, and unknown ones, are neither matched nor answered. Stops at ``limit``.
    Raises InvalidIdentifier, before the first row, for a query that makes no sense.
    """
    plan = _plan(_resolved(connection, query), connection.dialect.name)
    names = list(plan.columns)
    presents = [present for _, present in plan.columns.values()]
    statement = select(*(column for column, _ in plan.columns.values())).select_from(plan.rows)
    if query.newest_first:
        key = TABLES[plan.level].c.id
        # What is derived is worked out for the page alone, not for all that had to be sorted to find it.
        page = _cut(select(key).select_from(plan.rows).where(*plan.conditions).order_by(key.desc()), query)
        statement = statement.where(key.in_(page)).order_by(key.desc())
    else:
        statement = _cut(statement.where(*plan.conditions), query)
    for row in stream(connection, statement):
        yield {name: present(value) for name, present, value in zip(names, presents, row, strict=True)}


def _cut(statement: Select[Any], query: Query) -> Select[Any]:
    if query.limit > 0:
        statement = statement.limit(query.limit)
    return statement.offset(query.offset) if query.offset > 0 else statement


def _resolved(connection: Connection, query: Query) -> Query:
    """Let UIDs of instances that lossy copies took the place of mean these copies: the answers name the copies."""
    asked = split_values(query.keys.get("SOPInstanceUID", ""))
    found = successors.resolve(connection, asked)
    if not found:
        return query
    values = "\\".join(found.get(uid, uid) for uid in asked)
    return replace(query, keys={**query.keys, "SOPInstanceUID": values})


def narrows(keyword: str, value: str) -> bool:
    """Tell whether a key of a study query leaves any study out; raise InvalidIdentifier for a value that is none.

    An empty value, ``*`` among several values, a name of delimiters alone and a key that is not matched do not.
    """
    if keyword in KEYS and KEYS[keyword].level <= Level.STUDY:
        return condition(KEYS[keyword], value, "sqlite") is not None
    return derived_condition(keyword, Level.STUDY, value, "sqlite") is not None


def _plan(query: Query, dialect: str) -> _Plan:
    level, top = _levels(query)
    plan = _Plan(level=level, top=level, conditions=[], columns={})
    for unique in UNIQUE_KEYS[top : level + 1]:
        _add_key(plan, unique, query.keys.get(unique, ""), dialect)
    for keyword, value in query.keys.items():
        if keyword in plan.columns:
            continue
        if query.is_fuzzy and value and keyword in KEYS and KEYS[keyword].matching is Matching.NAME:
            _add_fuzzy(plan, keyword, value, dialect)
        elif keyword in KEYS and KEYS[keyword].level <= level:
            _add_key(plan, keyword, value, dialect)
        else:
            _add_derived(plan, keyword, value, dialect)
    if query.sites:
        plan.where(study.c.site.in_(sorted(query.sites)), Level.STUDY)
    return plan


def _levels(query: Query) -> tuple[Level, Level]:
    """Return the level of the query and the topmost one of its model; raise InvalidIdentifier if they do not fit."""
    top = _TOP[query.root]
    if query.level not in Level.__members__ or Level[query.level] < top:
        raise InvalidIdentifier(reason=f"there is no such level in the {query.root} root model")
    level = Level[query.level]
    missing = [unique for unique in UNIQUE_KEYS[top:level] if not query.keys.get(unique, "").strip("\0 *")]
    if missing and not query.relational:
        raise InvalidIdentifier(reason=f"{missing[0]} is required at the {query.level} level")
    return level, top


def _add_key(plan: _Plan, keyword: str, value: str, dialect: str) -> None:
    key = key_of(keyword)
    plan.answer(keyword, key.level, key.column, _text)
    plan.where(condition(key, value, dialect), key.level)


def _add_fuzzy(plan: _Plan, keyword: str, value: str, dialect: str) -> None:
    key = key_of(keyword)
    if key.level <= plan.level:
        plan.answer(keyword, key.level, key.column, _text)
        plan.where(fuzzy_name(key, value, dialect), key.level)


def _add_derived(plan: _Plan, keyword: str, value: str, dialect: str) -> None:
    derived = availability(plan.level) if keyword == "InstanceAvailability" else DERIVED.get(keyword)
    if derived is not None and derived.level <= plan.level:
        plan.answer(keyword, derived.level, derived.expression, derived.present)
    if plan.level >= Level.STUDY:
        plan.where(derived_condition(keyword, plan.level, value, dialect), Level.STUDY)


def _text(value: str | None) -> str:
    return value or ""


def _joined_tables(level: Level, top: Level) -> FromClause:
    """Return the table of ``level`` joined upwards as far as ``top``."""
    rows: FromClause = TABLES[level]
    for upper in range(level - 1, top - 1, -1):
        rows = rows.join(TABLES[upper])
    return rows
