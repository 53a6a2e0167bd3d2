"""When something that is seldom done was done last; must not do it."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from archive.index.records import from_text, to_text
from archive.index.session import Connection
from archive.index.statements import Statement, insert_into

VERIFIED_HOT: Final = "verified hot"
VERIFIED_COLD: Final = "verified cold"
_SET: Final = insert_into("mark", ("name", "at"), " ON CONFLICT (name) DO UPDATE SET at = excluded.at")
_ALL: Final = Statement("SELECT name, at FROM mark")


def put(connection: Connection, name: str, at: datetime) -> None:
    """Note that something was done."""
    _SET.run(connection, (name, to_text(at)))


def all_marks(connection: Connection) -> dict[str, datetime]:
    """Return when each was done last."""
    return {name: from_text(at) for name, at in _ALL.rows(connection)}
