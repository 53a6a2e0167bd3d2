"""Whether the server's clock can be believed, by the journal; must not set it.

A clock that is wrong makes studies due that are not. The journal knows when the archive last did anything: a clock
before that jumped back, one more than a day after it may have jumped ahead. An archive that serves writes an entry
every hour while that holds, so only one that was off for a day has to be vouched for.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from archive.audit import Entry
from archive.errors import ClockNotTrusted
from archive.index import journal
from archive.index.session import Connection, Database
from archive.services.committer import Committer

AHEAD: Final = timedelta(days=1)
BACK: Final = timedelta(minutes=5)
"""Clocks are set right by less than this without harm."""


def check_clock(connection: Connection, now: datetime) -> None:
    """Raise ClockNotTrusted when ``now`` lies before the last journal entry, or more than a day after it."""
    last = journal.latest(connection, limit=1)
    if not last:
        return
    if now < last[0].at - BACK:
        raise ClockNotTrusted(reason=f"it says {_text(now)}, but the journal's last entry is of {_text(last[0].at)}")
    if now > last[0].at + AHEAD:
        raise ClockNotTrusted(
            reason=f"it says {_text(now)}, a day or more after the last entry, of {_text(last[0].at)}"
        )


def beat(database: Database, committer: Committer, now: datetime) -> None:
    """Journal that the clock was right now, unless it cannot be believed. Raises ClockNotTrusted, IndexUnavailable."""
    with database.read() as connection:
        check_clock(connection, now)
    committer.record(Entry(now, "clock", "drimbox", {}))


def vouch(committer: Committer, now: datetime, by: str) -> None:
    """Journal that somebody compared the clock and it is right: it is believed from now on."""
    committer.record(Entry(now, "clock_vouched", by, {}))


def _text(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S}Z"
