"""Whether the clock can be believed before anything depends on the day; must not set a clock.

A wrong year would make a million studies due. What the clock says is compared with the journal: every entry since the
moment last trusted (since the first, when none was) must lie within a day of the ones before it, and the present moment
too. While the archive serves it looks every half minute and journals the time when nothing else did, so an archive that
runs is never idle for a day; one that was off for longer cannot tell, and a person with an account says that the clock
is right.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from archive.audit import Entry
from archive.errors import ClockNotTrusted
from archive.index import journal, sweeps
from archive.index.session import Connection
from archive.services.committer import append_entries
from archive.services.ledger import Draft, Ledger

AHEAD: Final = timedelta(days=1)
BACK: Final = timedelta(minutes=1)
"""How far a clock may be set back: the small corrections of NTP."""

HEARTBEAT: Final = timedelta(hours=12)
"""After so long without an entry the time itself is journaled: twice within the day that entries may be apart."""

NEVER_BEFORE: Final = datetime(2026, 1, 1, tzinfo=UTC)
"""This software did not exist before: whoever says so is mistaken too."""


def check_clock(connection: Connection, now: datetime) -> None:
    """Raise ClockNotTrusted when ``now`` lies before what the journal holds, or more than a day after it."""
    if now < NEVER_BEFORE:
        raise _error(now, "and this archive did not exist then")
    known = _last_known(connection, now)
    if known is None:
        return
    if now < known - BACK:
        raise _error(now, f"but the audit journal has an entry of {known:%Y-%m-%d %H:%M} UTC")
    if now > known + AHEAD:
        raise _error(now, f"and the audit journal was last sure of the time on {known:%Y-%m-%d %H:%M} UTC")


def _last_known(connection: Connection, now: datetime) -> datetime | None:
    """Return the latest moment that follows from the one last trusted by steps of a day at most."""
    trusted = sweeps.trusted(connection)
    moments = journal.iter_moments(connection, after=0 if trusted is None else trusted.sequence)
    known = next(moments, None) if trusted is None else trusted.at
    if known is None:
        return None
    for at in moments:
        if at > known + AHEAD:
            raise _error(now, f"and the audit journal jumps from {known:%Y-%m-%d %H:%M} to {at:%Y-%m-%d %H:%M} UTC")
        known = max(known, at)
    return known


def _error(now: datetime, reason: str) -> ClockNotTrusted:
    return ClockNotTrusted(now=f"{now:%Y-%m-%d %H:%M} UTC", reason=reason)


@dataclass(frozen=True, slots=True)
class ClockTrust:
    """Looks at the clock of a ledger's archive."""

    ledger: Ledger

    def observe(self) -> None:
        """Check the clock and remember that it was right, twice a day in the journal too. Raises ClockNotTrusted."""
        now = self.ledger.clock()
        with self.ledger.database.read() as connection:
            check_clock(connection, now)
        with self.ledger.database.write(synced=False) as connection:
            last = journal.latest(connection, limit=1)
            if not last or now - last[0].at >= HEARTBEAT:
                append_entries(connection, [Entry(now, "clock", "drimbox", {})])
            sweeps.trust(connection, now)

    def trust(self, actor: str) -> None:
        """Let a person say that the clock is right, whatever the journal holds. Raises ClockNotTrusted in 1970."""
        now = self.ledger.clock()
        if now < NEVER_BEFORE:
            raise _error(now, "and this archive did not exist then")
        self.ledger.act(actor, lambda _: [Draft("clock_trusted", {})])
