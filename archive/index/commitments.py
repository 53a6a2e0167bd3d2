"""Storage commitment requests waiting for their report (PS3.4 annex J); must not decide what was committed."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from archive.index.records import Commitment, from_text, to_text
from archive.index.session import Connection
from archive.index.statements import Row, Statement, insert_into

_COLUMNS: Final = ("transaction_uid", "ae_title", "requested_at", "body", "attempts", "next_attempt_at")
_SELECT: Final = f"SELECT id, {', '.join(_COLUMNS)}, reported_at FROM commitment"
_ADD: Final = insert_into("commitment", _COLUMNS, " RETURNING id")
_FIND: Final = Statement(f"{_SELECT} WHERE id = ?")
_DUE: Final = Statement(
    f"{_SELECT} WHERE reported_at IS NULL AND next_attempt_at <= ? ORDER BY next_attempt_at, id LIMIT ?"
)
_POSTPONE: Final = Statement(
    "UPDATE commitment SET attempts = attempts + 1, next_attempt_at = ? WHERE id = ? AND reported_at IS NULL"
)
_REPORTED: Final = Statement(
    "UPDATE commitment SET attempts = attempts + 1, reported_at = ? WHERE id = ? AND reported_at IS NULL"
)


def add(connection: Connection, *, transaction_uid: str, ae_title: str, requested_at: datetime, body: str) -> int:
    """Keep a request, due at once; return its id. ``body`` is JSON that the caller understands."""
    at = to_text(requested_at)
    commitment_id: int = _ADD.run(connection, (transaction_uid, ae_title, at, body, 0, at)).fetchone()[0]
    return commitment_id


def find(connection: Connection, commitment_id: int) -> Commitment | None:
    """Return a request, reported or not, or None."""
    row = _FIND.one(connection, (commitment_id,))
    return None if row is None else _commitment(row)


def due(connection: Connection, *, now: datetime, limit: int) -> list[Commitment]:
    """Return the requests to report now, the one that waits longest first."""
    return [_commitment(row) for row in _DUE.rows(connection, (to_text(now), limit))]


def postpone(connection: Connection, commitment_id: int, *, next_attempt_at: datetime) -> None:
    """Count an attempt that failed and say when the next is due."""
    _POSTPONE.run(connection, (to_text(next_attempt_at), commitment_id))


def reported(connection: Connection, commitment_id: int, *, at: datetime) -> None:
    """Say that the peer has its report."""
    _REPORTED.run(connection, (to_text(at), commitment_id))


def _commitment(row: Row) -> Commitment:
    commitment_id, transaction_uid, ae_title, requested_at, body, attempts, next_attempt_at, reported_at = row
    return Commitment(
        commitment_id=commitment_id,
        transaction_uid=transaction_uid,
        ae_title=ae_title,
        requested_at=from_text(requested_at),
        body=body,
        attempts=attempts,
        next_attempt_at=from_text(next_attempt_at),
        reported_at=None if reported_at is None else from_text(reported_at),
    )
