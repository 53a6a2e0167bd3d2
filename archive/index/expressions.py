"""SQL expressions the two databases spell differently, and streaming of rows; must not know a table.

Patterns are DICOM's: ``*`` any run of characters, ``?`` exactly one. Every value is a bound parameter.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from sqlalchemy import BigInteger, Boolean, ColumnElement, Connection, Select, Text, exists, literal, select
from sqlalchemy.engine import Row
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

_ROWS_AT_ONCE: Final = 500
_LONGEST_IN: Final = 32
_LIKE_SPECIAL: Final = re.compile(r"[\\%_]")
_LIKE_WILDCARDS: Final = str.maketrans("*?", "%_")

Predicate = Callable[[ColumnElement[str]], ColumnElement[bool]]


class number_of(FunctionElement[int]):
    """The whole number a text begins with, or NULL."""

    type = BigInteger()
    inherit_cache = True


class first_group(FunctionElement[str]):
    """The text before the first ``=``: the alphabetic group of a person name."""

    type = Text()
    inherit_cache = True


class from_backslash(FunctionElement[str]):
    """The text from its first backslash on: all values but the first; NULL when there is one alone."""

    type = Text()
    inherit_cache = True


class joined(FunctionElement[str]):
    """An aggregate: the values joined by backslashes, in no particular order; NULL when there is none."""

    type = Text()
    inherit_cache = True


class _glob(FunctionElement[bool]):
    type = Boolean()
    inherit_cache = True


class _json_elements(FunctionElement[str]):
    """A table with a column ``value``: the elements of a JSON array of texts."""

    type = Text()
    inherit_cache = True


class _values(FunctionElement[str]):
    """A table with a column ``value``: the parts of a text between backslashes."""

    type = Text()
    inherit_cache = True


_SPELLINGS: Final[Mapping[type[FunctionElement[Any]], tuple[str, str]]] = {
    number_of: (
        "CASE WHEN {0} GLOB '[0-9]*' OR {0} GLOB '[-+][0-9]*' THEN CAST({0} AS INTEGER) END",
        "CAST(substring({0} from '^[-+]?[0-9]{{1,18}}') AS BIGINT)",
    ),
    first_group: ("substr({0}, 1, instr({0} || '=', '=') - 1)", "split_part({0}, '=', 1)"),
    from_backslash: ("substr({0}, NULLIF(instr({0}, '\\'), 0))", "substr({0}, NULLIF(strpos({0}, '\\'), 0))"),
    joined: ("group_concat({0}, '\\')", "string_agg({0}, '\\')"),
    _glob: ("{0} GLOB {1}", "{0} LIKE {1}"),
    _json_elements: ("json_each({0})", "jsonb_array_elements_text(CAST({0} AS jsonb))"),
    _values: (
        "json_each('[' || replace(json_quote({0}), '\\\\', '\",\"') || ']')",
        # string_to_array makes no value of an empty text, which is one: a name of nothing but delimiters.
        "jsonb_array_elements_text(to_jsonb(CASE {0} WHEN '' THEN ARRAY[''] ELSE string_to_array({0}, '\\') END))",
    ),
}


def _spell(element: FunctionElement[Any], compiler: SQLCompiler, **options: Any) -> str:
    sqlite, postgresql = _SPELLINGS[type(element)]
    arguments = [compiler.process(clause, **options) for clause in element.clauses]
    return (sqlite if compiler.dialect.name == "sqlite" else postgresql).format(*arguments)


for _element in _SPELLINGS:
    compiles(_element)(_spell)


def glob(text: ColumnElement[str], pattern: str, dialect: str) -> ColumnElement[bool]:
    """Return whether ``text`` matches a DICOM pattern as a whole, case-sensitively."""
    if dialect == "sqlite":
        return _glob(text, literal(pattern.replace("[", "[[]"), Text()))
    return _glob(text, literal(_LIKE_SPECIAL.sub(r"\\\g<0>", pattern).translate(_LIKE_WILDCARDS), Text()))


def starts_with(text: ColumnElement[str], prefix: str) -> ColumnElement[bool]:
    """Return whether ``text`` begins with ``prefix``, as a range an index answers."""
    after = _after(prefix)
    return text >= prefix if after is None else (text >= prefix) & (text < after)


def _after(prefix: str) -> str | None:
    """Return the first text, by code point, that follows all those beginning with ``prefix``."""
    kept = prefix.rstrip("\U0010ffff")
    if not kept:
        return None
    last = ord(kept[-1]) + 1
    return kept[:-1] + chr(0xE000 if 0xD800 <= last <= 0xDFFF else last)


def split_values(text: str) -> list[str]:
    """Return the values between backslashes, without padding and empty ones, in characters a database can hold."""
    values = text.replace("\0", "").encode("utf-8", "surrogatepass").decode("utf-8", "replace").split("\\")
    return [value for value in (value.strip(" ") for value in values) if value]


def any_of(text: ColumnElement[str], values: Iterable[str]) -> ColumnElement[bool]:
    """Return whether ``text`` is one of ``values``, however many."""
    wanted = sorted(set(values))
    if len(wanted) <= _LONGEST_IN:
        return text == wanted[0] if len(wanted) == 1 else text.in_(wanted)
    rows = _json_elements(literal(json.dumps(wanted), Text())).table_valued("value")
    return text.in_(select(rows.c.value))


def some_value(text: ColumnElement[str], predicate: Predicate) -> ColumnElement[bool]:
    """Return whether ``predicate`` holds for one of the values of ``text``, which backslashes separate."""
    rows = _values(text).table_valued("value")
    return exists(select(literal(1)).select_from(rows).where(predicate(rows.c.value)))


def stream(connection: Connection, statement: Select[Any]) -> Iterator[Row[Any]]:
    """Yield the rows as the database finds them; stopping early stops the database."""
    options = {"stream_results": True, "yield_per": _ROWS_AT_ONCE}
    result = connection.execute(statement, execution_options=options)
    try:
        yield from result
    finally:
        result.close()
