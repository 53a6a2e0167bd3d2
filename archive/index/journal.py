"""Rows of the audit journal, only ever appended; must not compute or judge hashes: that is ``archive.audit``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Final, Protocol

from archive.index.records import JournalRow, from_text, to_text
from archive.index.session import Connection
from archive.index.statements import Row, Statement, insert_into

GENESIS: Final = bytes(32)
"""The previous hash of the first entry."""


class Sealed(Protocol):
    """What ``append`` takes: an ``archive.audit.SealedEntry`` or anything with its fields."""

    @property
    def sequence(self) -> int: ...
    @property
    def at(self) -> datetime: ...
    @property
    def event(self) -> str: ...
    @property
    def actor(self) -> str: ...
    @property
    def body(self) -> str: ...
    @property
    def previous_hash(self) -> bytes: ...
    @property
    def hash(self) -> bytes: ...


_COLUMNS: Final = ("sequence", "at", "event", "actor", "body", "previous_hash", "hash")
_SELECT: Final = f"SELECT {', '.join(_COLUMNS)} FROM audit"
_HEAD: Final = Statement("SELECT sequence, hash FROM audit ORDER BY sequence DESC LIMIT 1")
_INSERT: Final = insert_into("audit", _COLUMNS)
_PAGE: Final = Statement(f"{_SELECT} WHERE sequence > ? ORDER BY sequence LIMIT ?")
_LATEST: Final = Statement(f"{_SELECT} ORDER BY sequence DESC LIMIT ?")
_LATEST_OF_EVENT: Final = Statement(f"{_SELECT} WHERE event = ? ORDER BY sequence DESC LIMIT ?")
_MOMENTS: Final = Statement("SELECT sequence, at FROM audit WHERE sequence > ? ORDER BY sequence LIMIT ?")
_PAGE_SIZE: Final = 1000


def head(connection: Connection) -> tuple[int, bytes]:
    """Return sequence and hash of the last entry; (0, GENESIS) when there is none.

    Inside ``Database.write`` nobody else can move the head before the transaction ends.
    """
    row = _HEAD.one(connection)
    return (0, GENESIS) if row is None else (row[0], row[1])


def append(connection: Connection, rows: Iterable[Sealed]) -> None:
    """Write sealed entries after the head."""
    values = [
        (row.sequence, to_text(row.at), row.event, row.actor, row.body, row.previous_hash, row.hash) for row in rows
    ]
    if values:
        _INSERT.run_many(connection, values)


def iter_entries(connection: Connection, *, after: int = 0) -> Iterator[JournalRow]:
    """Stream the entries with a sequence above ``after``, ascending, a bounded number in memory."""
    while True:
        page = [_row(row) for row in _PAGE.rows(connection, (after, _PAGE_SIZE))]
        yield from page
        if len(page) < _PAGE_SIZE:
            return
        after = page[-1].sequence


def iter_moments(connection: Connection, *, after: int = 0) -> Iterator[datetime]:
    """Stream when the entries above a sequence were made, in the order in which they were appended."""
    while True:
        page = list(_MOMENTS.rows(connection, (after, _PAGE_SIZE)))
        yield from (from_text(at) for _, at in page)
        if len(page) < _PAGE_SIZE:
            return
        after = page[-1][0]


def latest(connection: Connection, *, limit: int, event: str | None = None) -> list[JournalRow]:
    """Return the last ``limit`` entries, of one kind of event or of all, ascending."""
    if event is None:
        rows = _LATEST.rows(connection, (limit,))
    else:
        rows = _LATEST_OF_EVENT.rows(connection, (event, limit))
    return [_row(row) for row in rows][::-1]


def _row(row: Row) -> JournalRow:
    sequence, at, event, actor, body, previous_hash, digest = row
    return JournalRow(sequence, from_text(at), event, actor, body, bytes(previous_hash), bytes(digest))
