"""Studies whose migration failed, how often and why; must not decide how often is too often."""

from __future__ import annotations

from datetime import datetime
from typing import Final, NamedTuple

from archive.index.records import to_text
from archive.index.session import Connection
from archive.index.statements import Statement, insert_into


class SetAside(NamedTuple):
    """A study that failed to migrate, or was rolled back: then ``attempts`` is past any limit."""

    study_instance_uid: str
    attempts: int
    reason: str
    failed_at: str


FOR_GOOD: Final = 1_000_000
"""So many attempts that nothing tries again by itself."""
_COLUMNS: Final = SetAside._fields
_FAIL: Final = insert_into(
    "set_aside",
    _COLUMNS,
    " ON CONFLICT (study_instance_uid) DO UPDATE SET attempts = set_aside.attempts + 1, reason = excluded.reason, "
    "failed_at = excluded.failed_at RETURNING attempts",
)
_LEAVE: Final = insert_into(
    "set_aside",
    _COLUMNS,
    " ON CONFLICT (study_instance_uid) DO UPDATE SET attempts = excluded.attempts, reason = excluded.reason, "
    "failed_at = excluded.failed_at",
)
_CLEAR: Final = Statement("DELETE FROM set_aside WHERE study_instance_uid = ?")
_ROLLED_BACK: Final = Statement(
    "SELECT 1 FROM set_aside WHERE study_instance_uid = ? AND attempts >= ? AND failed_at > ?"
)
_ALL: Final = Statement(f"SELECT {', '.join(_COLUMNS)} FROM set_aside ORDER BY failed_at, study_instance_uid")


def record_failure(connection: Connection, study_instance_uid: str, reason: str, at: datetime) -> int:
    """Count an attempt that failed; return how many there were."""
    row = _FAIL.one(connection, (study_instance_uid, 1, reason, to_text(at)))
    assert row is not None
    return int(row[0])


def leave_alone(connection: Connection, study_instance_uid: str, reason: str, at: datetime) -> None:
    """Keep a study from being migrated before somebody asks for it."""
    _LEAVE.run(connection, (study_instance_uid, FOR_GOOD, reason, to_text(at)))


def is_left_alone_since(connection: Connection, study_instance_uid: str, moment: datetime) -> bool:
    """Tell whether a study was rolled back after a moment, and nobody asked for it since."""
    return _ROLLED_BACK.one(connection, (study_instance_uid, FOR_GOOD, to_text(moment))) is not None


def clear(connection: Connection, study_instance_uid: str) -> bool:
    """Let a study be tried again; tell whether it was set aside."""
    changed: int = _CLEAR.run(connection, (study_instance_uid,)).rowcount
    return changed == 1


def all_of(connection: Connection) -> list[SetAside]:
    """Return every study that was set aside, the one that failed longest ago first."""
    return [SetAside(*row) for row in _ALL.rows(connection)]
