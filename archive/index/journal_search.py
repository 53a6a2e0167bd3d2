"""Looks through the journal backwards, a bounded stretch at a time; must not check its chain.

The journal has no index but its sequence: a stretch is read whole, so what a look costs does not grow with the journal.
Entries of somebody looking at a study have an index of their own.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from archive.index.access_entries import LOOKING
from archive.index.session import Connection
from archive.index.statements import Statement


class Stretch(NamedTuple):
    """The entries of ``[first, beyond)`` that are looked through; sequences."""

    first: int
    beyond: int


class Filter(NamedTuple):
    """What entries have to be; "" is anything. ``text`` stands in the body as it is written there, in JSON."""

    event: str = ""
    actor: str = ""
    text: str = ""


class FoundEntry(NamedTuple):
    """An entry; ``at`` as it is stored, ``body`` canonical JSON."""

    sequence: int
    at: str
    event: str
    actor: str
    body: str


_SELECT: Final = "SELECT sequence, at, event, actor, body FROM audit WHERE sequence >= ? AND sequence < ?"
_HAS_TEXT: Final = "(CAST(? AS TEXT) = '' OR REPLACE(body, ?, '') <> body)"
_FIND: Final = Statement(
    f"{_SELECT} AND (CAST(? AS TEXT) = '' OR event = ?) AND (CAST(? AS TEXT) = '' OR actor = ?) AND {_HAS_TEXT} "
    "ORDER BY sequence DESC LIMIT ?"
)
_LOOKS: Final = Statement(
    "SELECT sequence, at, event, actor, body FROM (SELECT sequence, at, event, actor, body FROM audit "
    f"WHERE event IN ({', '.join(repr(event) for event in LOOKING)}) ORDER BY sequence DESC LIMIT ?) AS looks "
    "WHERE REPLACE(body, ?, '') <> body ORDER BY sequence DESC LIMIT ?"
)
_LAST: Final = Statement("SELECT COALESCE(MAX(sequence), 0) FROM audit")
_MOMENT: Final = Statement("SELECT at FROM audit WHERE sequence >= ? ORDER BY sequence LIMIT 1")


def last_sequence(connection: Connection) -> int:
    """Return the sequence of the last entry; 0 when there is none."""
    row = _LAST.one(connection)
    assert row is not None
    return int(row[0])


def first_since(connection: Connection, at: str) -> int:
    """Return the sequence of the first entry at or after a moment, by halving: entries stand in their order of time.

    A clock that was set back makes this a little early or late, never much.
    """
    low, high = 1, last_sequence(connection) + 1
    while low < high:
        middle = (low + high) // 2
        row = _MOMENT.one(connection, (middle,))
        if row is not None and row[0] < at:
            low = middle + 1
        else:
            high = middle
    return low


def find(connection: Connection, stretch: Stretch, wanted: Filter, limit: int) -> list[FoundEntry]:
    """Return the entries of a stretch that are wanted, the newest first."""
    event, actor, text = wanted
    values = (*stretch, event, event, actor, actor, text, text, limit)
    return [FoundEntry(*row) for row in _FIND.rows(connection, values)]


def find_looks(connection: Connection, among: int, text: str, limit: int) -> list[FoundEntry]:
    """Return those of the last entries of somebody looking whose body has a text, the newest first."""
    return [FoundEntry(*row) for row in _LOOKS.rows(connection, (among, text, limit))]
