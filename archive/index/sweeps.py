"""What sweeps have seen and reported, and the moment up to which the clock is trusted; must not judge any of it.

Instance ids may be used again on SQLite after the last row was deleted, so a place among the instances is remembered
with the instance that had the id: as long as that one is there, later ones have larger ids. It is remembered by the UID
it was received under: a lossy copy that takes its place, or gives it back, changes nothing.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final, NamedTuple

from archive.index import successors
from archive.index.assessments import Arrival
from archive.index.records import Event, from_text, to_text
from archive.index.session import Connection
from archive.index.statements import Statement, insert_into


class Trusted(NamedTuple):
    """The last moment at which the clock was found right, and the journal's last entry then."""

    at: datetime
    sequence: int


class SweepRow(NamedTuple):
    """A sweep that was stored: for which day, when, by whom; ``summary`` is JSON that the caller understands."""

    as_of: str
    at: datetime
    by: str
    summary: str


_SEEN: Final = Statement("SELECT instance_id, sop_instance_uid, received_at FROM sweep_mark WHERE instance_id > 0")
_IS_THERE: Final = Statement("SELECT 1 FROM instance WHERE id = ? AND sop_instance_uid = ? AND received_at = ?")
_HEAD: Final = Statement("SELECT id, sop_instance_uid, received_at FROM instance ORDER BY id DESC LIMIT 1")
_SETTINGS: Final = Statement("SELECT COALESCE(settings, '') FROM sweep_mark")
_TRUSTED: Final = Statement("SELECT trusted_at, trusted_sequence FROM sweep_mark WHERE trusted_at IS NOT NULL")


def _set(*columns: str) -> Statement:
    changes = ", ".join(f"{name} = excluded.{name}" for name in columns)
    return insert_into("sweep_mark", ("id", *columns), f" ON CONFLICT (id) DO UPDATE SET {changes}")


_SEE: Final = _set("instance_id", "sop_instance_uid", "received_at")
_SET_SETTINGS: Final = _set("settings")
_TRUST: Final = _set("trusted_at", "trusted_sequence")
_LAST_ENTRY: Final = Statement("SELECT COALESCE(MAX(sequence), 0) FROM audit")
_TOO_EARLY: Final = Statement("UPDATE assessment SET is_stale = 1 WHERE assessed_at > ?")
_WORD_GIVEN: Final = Statement("SELECT MAX(sequence) FROM audit WHERE event = 'clock_trusted' AND at = ?")
_ADD: Final = insert_into("sweep", ("as_of", "at", "by", "summary"), " RETURNING id")
_LAST: Final = Statement("SELECT as_of, at, by, summary FROM sweep ORDER BY id DESC LIMIT 1")


def apply_clock_trusted(connection: Connection, event: Event) -> None:
    """Take the moment of the event for right: somebody looked at a clock that could not be proven.

    Replayed, it is believed for the entries up to that moment's own, and not for those that came later. What was
    assessed for days that have not come yet is to be made again.
    """
    _TOO_EARLY.run(connection, (to_text(event.at),))
    given = _WORD_GIVEN.one(connection, (to_text(event.at),))
    assert given is not None
    trust(connection, event.at, given[0])


# ---- the place among the instances ---------------------------------------------------------------------------------


def seen(connection: Connection) -> Arrival | None:
    """Return the last instance that assessments know of; None when that cannot be told, so that all are compared."""
    row = _SEEN.one(connection)
    if row is None:
        return None
    instance_id, uid, received_at = row
    now = successors.resolve(connection, [uid]).get(uid, uid)  # a lossy copy that took its place has its row
    if _IS_THERE.one(connection, (instance_id, now, received_at)) is None:
        return None
    return Arrival(instance_id, uid, received_at, "")


def see(connection: Connection, last: Arrival) -> None:
    """Say that assessments know of every instance up to this one."""
    uid = successors.received_as(connection, last.sop_instance_uid)
    _SEE.run(connection, (1, last.instance_id, uid, last.received_at))


def newest(connection: Connection) -> Arrival | None:
    """Return the instance that was indexed last."""
    row = _HEAD.one(connection)
    return None if row is None else Arrival(row[0], row[1], row[2], "")


def settings(connection: Connection) -> str:
    """Return the settings by which everything stored was assessed, as they were given to ``set_settings``."""
    row = _SETTINGS.one(connection)
    return "" if row is None else str(row[0])


def set_settings(connection: Connection, text: str) -> None:
    """Say that everything stored was assessed by these settings."""
    _SET_SETTINGS.run(connection, (1, text))


# ---- the clock -----------------------------------------------------------------------------------------------------


def trusted(connection: Connection) -> Trusted | None:
    """Return the last moment at which the clock was found right, or None."""
    row = _TRUSTED.one(connection)
    return None if row is None else Trusted(from_text(row[0]), row[1])


def trust(connection: Connection, at: datetime, sequence: int | None = None) -> None:
    """Say that the clock was found right at that moment, when the journal ended with ``sequence`` (None: ends now)."""
    row = _LAST_ENTRY.one(connection)
    assert row is not None
    _TRUST.run(connection, (1, to_text(at), row[0] if sequence is None else sequence))


# ---- sweeps --------------------------------------------------------------------------------------------------------


def add(connection: Connection, row: SweepRow) -> int:
    """Keep a sweep; return its number."""
    found = _ADD.one(connection, (row.as_of, to_text(row.at), row.by, row.summary))
    assert found is not None
    return int(found[0])


def last(connection: Connection) -> SweepRow | None:
    """Return the last sweep that was stored, or None."""
    row = _LAST.one(connection)
    return None if row is None else SweepRow(row[0], from_text(row[1]), row[2], row[3])
