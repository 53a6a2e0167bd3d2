"""SQL text run through the driver, without SQLAlchemy's cost per statement; must not decide anything.

Texts are written once with ``?`` and run on both databases; every value is a bound parameter.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

from sqlalchemy import Dialect, Select

from archive.index.session import Connection, driver_of

Row = tuple[Any, ...]
_SIZES: Final = (1, 8, 64, 512, 1024)
_AT_ONCE: Final = _SIZES[-1]


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement; ``sql`` holds ``?`` where values go and no literal ``?`` or ``%``."""

    sql: str
    postgresql: str = field(init=False)

    def __post_init__(self) -> None:
        assert "%" not in self.sql, "a literal % would be a place holder on PostgreSQL"
        object.__setattr__(self, "postgresql", self.sql.replace("?", "%s"))

    def run(self, connection: Connection, parameters: Sequence[Any] = ()) -> Any:
        """Run it and return the driver's cursor."""
        sql = self.sql if connection.dialect.name == "sqlite" else self.postgresql
        return driver_of(connection).execute(sql, parameters)

    def run_many(self, connection: Connection, rows: Sequence[Sequence[Any]]) -> None:
        """Run it once for each row of values, in as few exchanges as the driver can."""
        if len(rows) == 1:
            self.run(connection, rows[0])
            return
        sql = self.sql if connection.dialect.name == "sqlite" else self.postgresql
        driver_of(connection).cursor().executemany(sql, rows)

    def one(self, connection: Connection, parameters: Sequence[Any] = ()) -> Row | None:
        """Return the first row, or None."""
        row: Row | None = self.run(connection, parameters).fetchone()
        return row

    def rows(self, connection: Connection, parameters: Sequence[Any] = ()) -> Iterator[Row]:
        """Yield the rows; for answers that fit in memory, PostgreSQL sends them all at once."""
        yield from _drained(self.run(connection, parameters))


def rows_of(connection: Connection, query: Select[Any], values: Mapping[str, str]) -> Iterator[Row]:
    """Yield the rows of a query with named parameters, in answers that fit in memory.

    It is compiled once and kept: it has to be one of a few, not one made for the occasion.
    """
    sql, names, constants = _compiled(query, connection.dialect)
    given = {**constants, **values}
    parameters = given if names is None else [given[name] for name in names]
    yield from _drained(driver_of(connection).execute(sql, parameters))


def _drained(cursor: Any) -> Iterator[Row]:
    """Yield the rows of a cursor; it is closed however that ends."""
    try:
        yield from cursor
    finally:
        cursor.close()


@lru_cache(maxsize=64)
def _compiled(query: Select[Any], dialect: Dialect) -> tuple[str, list[str] | None, dict[str, Any]]:
    """Return the text, the names of its places in their order (None: it has the names), and all its parameters."""
    compiled = query.compile(dialect=dialect)
    return str(compiled), compiled.positiontup if compiled.positional else None, dict(compiled.params)


def insert_into(table: str, columns: Sequence[str], tail: str = "") -> Statement:
    """Return ``INSERT INTO table (columns) VALUES (?, …)`` followed by ``tail``."""
    places = ", ".join("?" * len(columns))
    return Statement(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({places}){tail}")


def rows_in(connection: Connection, sql: str, values: Collection[Any], *first: Any) -> Iterator[Row]:
    """Run ``sql`` for many values, as many at once as a statement takes; it says ``IN (%s)`` where they go, last."""
    for statement, places in _portions(connection, sql, values):
        yield from statement.rows(connection, (*first, *places))


def run_in(connection: Connection, sql: str, values: Collection[Any]) -> None:
    """Run ``sql``, which changes something and answers nothing, for many values as ``rows_in`` does."""
    for statement, places in _portions(connection, sql, values):
        statement.run(connection, places)


def _portions(connection: Connection, sql: str, values: Collection[Any]) -> Iterator[tuple[Statement, Sequence[Any]]]:
    """Yield a statement and the values for its places: the last one again where there are too few."""
    ordered = sorted(values)
    for start in range(0, len(ordered), _AT_ONCE):
        some = ordered[start : start + _AT_ONCE]
        if connection.dialect.name == "postgresql":
            yield _with_array(sql), (some,)
            continue
        size = next(size for size in _SIZES if size >= len(some))
        yield _with_places(sql, size), (*some, *([some[-1]] * (size - len(some))))


@lru_cache(maxsize=128)
def _with_places(sql: str, size: int) -> Statement:
    """A few sizes only: the drivers keep what they have prepared."""
    return Statement(sql % ", ".join("?" * size))


@lru_cache(maxsize=128)
def _with_array(sql: str) -> Statement:
    """One value for all of them: a place for each takes the driver and the server longer than the answer."""
    assert "IN (%s)" in sql
    return Statement(sql.replace("IN (%s)", "= ANY(?)"))
