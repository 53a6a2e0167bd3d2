"""The sweeps that were kept, each with what it found; must not sweep."""

from __future__ import annotations

from datetime import date, datetime
from typing import Final

from archive.index.records import to_text
from archive.index.session import Connection
from archive.index.statements import Statement, insert_into

_ADD: Final = insert_into("sweep", ("as_of", "site", "at", "by", "summary"))
_LAST: Final = Statement(
    "SELECT at, summary FROM sweep WHERE COALESCE(site, '') = COALESCE(CAST(? AS TEXT), '') ORDER BY id DESC LIMIT 1"
)


def add(connection: Connection, *, as_of: date, site: str | None, at: datetime, by: str, summary: str) -> None:
    """Keep a sweep; ``summary`` is JSON that the caller understands."""
    _ADD.run(connection, (as_of.isoformat(), site, to_text(at), by, summary))


def last(connection: Connection, site: str | None) -> tuple[str, str] | None:
    """Return when the last sweep of a site (None: of all) was kept, and its summary."""
    row = _LAST.one(connection, (site,))
    return None if row is None else (row[0], row[1])
