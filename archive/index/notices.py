"""Which warnings were given, on which channel; must not give one."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from archive.index.records import to_text
from archive.index.session import Connection
from archive.index.statements import Statement, insert_into

__all__ = ["Connection", "channels", "forget", "forget_before", "grades", "mark"]

_COLUMNS: Final = ("subject", "grade", "channel", "told_at")
_TOLD: Final = insert_into("notice", _COLUMNS, " ON CONFLICT (subject, grade, channel) DO NOTHING")
_CHANNELS: Final = Statement("SELECT channel FROM notice WHERE subject = ? AND grade = ?")
_GRADES: Final = Statement("SELECT DISTINCT grade FROM notice WHERE subject = ?")
_FORGET: Final = Statement("DELETE FROM notice WHERE told_at < ?")
_FORGET_SUBJECT: Final = Statement("DELETE FROM notice WHERE subject = ?")


def mark(connection: Connection, subject: str, grade: str, channel: str, at: datetime) -> None:
    """Note that a warning was given on a channel."""
    _TOLD.run(connection, (subject, grade, channel, to_text(at)))


def channels(connection: Connection, subject: str, grade: str) -> set[str]:
    """Return on which channels a warning was given."""
    return {str(channel) for (channel,) in _CHANNELS.rows(connection, (subject, grade))}


def grades(connection: Connection, subject: str) -> set[str]:
    """Return which warnings were given about a subject."""
    return {str(grade) for (grade,) in _GRADES.rows(connection, (subject,))}


def forget(connection: Connection, subject: str) -> None:
    """Let everything about a subject be told again."""
    _FORGET_SUBJECT.run(connection, (subject,))


def forget_before(connection: Connection, moment: datetime) -> None:
    """Drop what was told before a moment: what it spoke of is long gone."""
    _FORGET.run(connection, (to_text(moment),))
