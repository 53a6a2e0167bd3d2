"""Rows of objects kept aside for the operator; must not touch the objects."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import datetime
from typing import Final

from archive.index.records import NewQuarantined, Quarantined, from_text, to_text
from archive.index.session import Connection
from archive.index.statements import Row, Statement, insert_into, rows_in

_COLUMNS: Final = (
    "key",
    "reason",
    "sop_instance_uid",
    "calling_ae_title",
    "peer_address",
    "size_bytes",
    "sha256",
    "received_at",
)
_SELECT: Final = f"SELECT {', '.join(_COLUMNS)}, resolved_at FROM quarantine"
_ADD: Final = insert_into("quarantine", _COLUMNS, " ON CONFLICT (key) DO NOTHING")
_FIND: Final = Statement(f"{_SELECT} WHERE key = ?")
_FIND_COPIES: Final = Statement(
    "SELECT key FROM quarantine WHERE sop_instance_uid = ? AND sha256 = ? AND calling_ae_title = ? AND reason = ? "
    "AND resolved_at IS NULL"
)
_OPEN: Final = Statement(f"{_SELECT} WHERE resolved_at IS NULL ORDER BY received_at, id")
_OPEN_PAGE: Final = Statement(f"{_SELECT} WHERE resolved_at IS NULL ORDER BY received_at, id LIMIT ? OFFSET ?")
_OF_UIDS: Final = f"{_SELECT} WHERE sop_instance_uid IN (%s)"
_RESOLVE: Final = Statement("UPDATE quarantine SET resolved_at = ? WHERE key = ? AND resolved_at IS NULL")


def add(connection: Connection, kept: NewQuarantined) -> None:
    """Index an object kept aside; one already indexed under its key stays as it is."""
    values = [getattr(kept, name) for name in _COLUMNS[:-1]]
    _ADD.run(connection, (*values, to_text(kept.received_at)))


def find(connection: Connection, key: str) -> Quarantined | None:
    """Return the object kept under ``key``, resolved or not, or None."""
    row = _FIND.one(connection, (key,))
    return None if row is None else _quarantined(row)


def find_copies(connection: Connection, wanted: NewQuarantined) -> list[str]:
    """Return the keys under which the same bytes wait already, from the same peer, for the same reason."""
    same = (wanted.sop_instance_uid, wanted.sha256, wanted.calling_ae_title, wanted.reason)
    return [key for (key,) in _FIND_COPIES.rows(connection, same)]


def iter_open(connection: Connection) -> Iterator[Quarantined]:
    """Yield what waits for the operator, oldest first."""
    return map(_quarantined, _OPEN.rows(connection))


def open_page(connection: Connection, limit: int, offset: int) -> list[Quarantined]:
    """Return some of what waits for the operator, oldest first."""
    return [_quarantined(row) for row in _OPEN_PAGE.rows(connection, (limit, offset))]


def iter_of(connection: Connection, sop_instance_uids: Collection[str]) -> Iterator[Quarantined]:
    """Yield everything kept aside under one of these UIDs, resolved or not."""
    return map(_quarantined, rows_in(connection, _OF_UIDS, sop_instance_uids))


def resolve(connection: Connection, key: str, resolved_at: datetime) -> bool:
    """Say that the operator dealt with an object; tell whether it was waiting."""
    changed: int = _RESOLVE.run(connection, (to_text(resolved_at), key)).rowcount
    return changed == 1


def _quarantined(row: Row) -> Quarantined:
    values = dict(zip(_COLUMNS, row[:-1], strict=True))
    values["received_at"] = from_text(values["received_at"])
    return Quarantined(**values, resolved_at=None if row[-1] is None else from_text(row[-1]))
