"""What becomes due on which day, added up in the database from stored assessments; must not assess anything.

A million assessments give some ten thousand sums: one for each site, rule, day, and whether something blocks.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from archive.index.session import Connection
from archive.index.statements import Statement


class DueSum(NamedTuple):
    """Studies that one rule keeps until the same day; ``eligible_on`` is ISO text, sizes in bytes of all copies.

    A sum may come in several parts, to be added up.
    """

    site: str
    rule: str
    eligible_on: str
    is_blocked: int
    studies: int
    instances: int
    size_bytes: int


_KEY: Final = "site, COALESCE(rule, ''), eligible_on, CASE WHEN blocked_by = '' THEN 0 ELSE 1 END"
_SUMS: Final = f"SELECT {_KEY}, COUNT(*), SUM(instances), SUM(size_bytes){{}} FROM {{}} {{}} GROUP BY 1, 2, 3, 4"
_IS_DATED: Final = "WHERE eligible_on IS NOT NULL AND error IS NULL"
_ALL: Final = Statement(_SUMS.format("", "assessment", _IS_DATED))
# SQLite groups by sorting, and sorts in memory: in pages, in the order in which the rows lie in the file.
_OF_PAGE: Final = Statement(
    _SUMS.format("", "(SELECT * FROM assessment WHERE rowid > ? AND rowid <= ?) AS page", _IS_DATED)
)
_LAST_ROW: Final = Statement("SELECT COALESCE(MAX(rowid), 0) FROM assessment")
_AT_ONCE: Final = 100_000


def iter_sums(connection: Connection) -> Iterator[DueSum]:
    """Yield the sums of everything stored; reads all of it once."""
    if connection.dialect.name == "postgresql":
        yield from (_sum(row) for row in _ALL.rows(connection))
        return
    last = _LAST_ROW.one(connection)
    assert last is not None
    for start in range(0, last[0], _AT_ONCE):
        yield from (_sum(row) for row in _OF_PAGE.rows(connection, (start, start + _AT_ONCE)))


def _sum(row: tuple[object, ...]) -> DueSum:
    site, rule, day, blocked, *amounts = row
    return DueSum(str(site), str(rule), str(day), int(str(blocked)), *(int(str(each or 0)) for each in amounts))
