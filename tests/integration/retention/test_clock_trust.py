"""The clock: when no sweep believes it, what proves it right, and what a person's word does."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest

from archive.audit import Entry
from archive.errors import ClockNotTrusted
from archive.index import sweeps
from archive.index.session import Database
from archive.services.clock_trust import ClockTrust
from archive.services.committer import append_entries
from archive.services.ledger import Ledger
from archive.services.sweep import Sweeps, Total, Wanted
from tests.integration.index.making import add, change, rows, value
from tests.integration.retention.sweeping import apply, assessor, dry, stored, study, tell
from tests.unit.services.shelf import Clock


def journal(database: Database, at: datetime) -> None:
    """Have the journal's last entry made then."""
    with database.write(synced=False) as connection:
        append_entries(connection, [Entry(at, "stored", "CTSCAN", {})])


@pytest.mark.parametrize(
    ("off", "told"),
    [
        (timedelta(days=-200), "but the audit journal has an entry of 2026-11-26 09:30 UTC"),
        (timedelta(minutes=-2), "but the audit journal has an entry"),
        (timedelta(days=1, minutes=1), "was last sure of the time on 2026-11-26 09:30"),
        (timedelta(days=20 * 365), "it says 2046-11-21 09:30 UTC"),
        (timedelta(days=-56 * 365), "this archive did not exist then"),
    ],
)
def test_a_clock_that_cannot_be_right_stops_every_sweep(
    ledger: Ledger, clock: Clock, off: timedelta, told: str
) -> None:
    """Back, or more than a day ahead of the last entry, or in 1970: dry or applied, simulated or not, no sweep."""
    add(ledger.database, study(1))
    journal(ledger.database, clock.now)
    clock.advance(seconds=off.total_seconds())
    for attempt in (dry, apply):
        with pytest.raises(ClockNotTrusted, match=told):
            attempt(ledger)
    with pytest.raises(ClockNotTrusted):
        dry(ledger, as_of=date(2060, 1, 1))
    assert rows(ledger.database, "SELECT * FROM assessment") == []


def test_the_small_steps_of_a_clock_are_let_pass(ledger: Ledger, clock: Clock) -> None:
    """Half a minute back, as time servers correct, or 23 hours on: swept."""
    add(ledger.database, study(1))
    journal(ledger.database, clock.now + timedelta(seconds=30))
    assert apply(ledger).assessed == 1
    clock.advance(hours=23)
    assert dry(ledger).due.studies == 1


def test_an_empty_archive_has_nothing_to_doubt_by(ledger: Ledger) -> None:
    """Without a journal there is nothing that a wrong clock could destroy."""
    assert apply(ledger).all == Total()


def test_an_entry_made_by_a_clock_that_jumped_proves_nothing(ledger: Ledger, clock: Clock) -> None:
    """After a jump the way in journals with the wrong year: the entries agree with the clock, and it is refused."""
    add(ledger.database, study(1))
    apply(ledger)
    clock.advance(days=7300)
    journal(ledger.database, clock.now)
    with pytest.raises(ClockNotTrusted, match="the audit journal jumps from 2026-11-26 09:30 to 2046"):
        dry(ledger)
    with pytest.raises(ClockNotTrusted):
        ClockTrust(ledger).observe()


def test_an_archive_that_works_every_day_is_believed(ledger: Ledger, clock: Clock) -> None:
    """Entries a day apart lead from the moment last trusted to now, without anybody's word."""
    add(ledger.database, study(1))
    apply(ledger)
    for _ in range(30):
        clock.advance(hours=23)
        journal(ledger.database, clock.now)
    assert dry(ledger).due.studies == 1


def test_a_jump_before_the_first_sweep_is_seen(ledger: Ledger, clock: Clock) -> None:
    """Nobody ever looked at the clock: the journal is followed from its first entry."""
    add(ledger.database, study(1))
    journal(ledger.database, clock.now)
    clock.advance(days=7300)
    journal(ledger.database, clock.now)
    with pytest.raises(ClockNotTrusted, match="the audit journal jumps from 2026-11-26 09:30 to 2046"):
        dry(ledger)


def test_the_time_is_journaled_when_nothing_else_is(ledger: Ledger, clock: Clock) -> None:
    """Twice a day, so that the journal leads to now even when the index forgot the moment last trusted."""
    add(ledger.database, study(1))
    journal(ledger.database, clock.now)
    for _ in range(30):
        clock.advance(hours=4)
        ClockTrust(ledger).observe()
    assert value(ledger.database, "SELECT COUNT(*) FROM audit WHERE event = 'clock'") == 10
    change(ledger.database, "DELETE FROM sweep_mark")
    assert dry(ledger).due.studies == 1


def test_a_clock_that_jumps_during_a_sweep_is_not_trusted(ledger: Ledger, clock: Clock) -> None:
    """What was assessed was so for the day at its beginning; the sweep is not stored, the wrong moment not trusted."""
    add(ledger.database, study(1))
    journal(ledger.database, clock.now)
    right = clock.now
    with pytest.raises(ClockNotTrusted):
        Sweeps(assessor(ledger)).apply(Wanted(), "anne", lambda _done, _total: clock.advance(days=400))
    assert rows(ledger.database, "SELECT * FROM sweep") == []
    clock.now = right
    assert dry(ledger).due.studies == 1


def test_an_archive_that_serves_is_never_idle(ledger: Ledger, clock: Clock) -> None:
    """Looking at the clock from time to time keeps it trusted though nothing is journaled."""
    add(ledger.database, study(1))
    apply(ledger)
    for _ in range(10):
        clock.advance(hours=20)
        ClockTrust(ledger).observe()
    assert dry(ledger).due.studies == 1


def test_a_person_may_trust_the_clock(ledger: Ledger, clock: Clock) -> None:
    """After a month off, or once a clock that was wrong is right again; it is in the ledger who said so."""
    add(ledger.database, study(1))
    journal(ledger.database, clock.now)
    for days in (30, -15):
        clock.advance(days=days)
        with pytest.raises(ClockNotTrusted):
            dry(ledger)
        ClockTrust(ledger).trust("anne")
        assert dry(ledger).due.studies == 1
    assert [actor for (actor,) in rows(ledger.database, "SELECT actor FROM audit WHERE event = 'clock_trusted'")] == [
        "anne",
        "anne",
    ]
    clock.now = datetime(1970, 1, 1, tzinfo=UTC)
    with pytest.raises(ClockNotTrusted):
        ClockTrust(ledger).trust("anne")


def test_a_persons_word_outlives_the_index(ledger: Ledger, clock: Clock) -> None:
    """Replayed from the ledger, the moment is trusted as before."""
    ClockTrust(ledger).trust("anne")
    with ledger.database.write(synced=True) as connection:
        ledger.files.replay(connection)
        found = sweeps.trusted(connection)
    assert found is not None
    assert found.at == clock.now


def test_what_was_assessed_under_a_wrong_clock_is_made_again(ledger: Ledger, clock: Clock) -> None:
    """Somebody trusted a clock twenty years ahead, an appeal seemed over: set right, it blocks again by itself."""
    add(ledger.database, study(1), study(2))
    tell(ledger, 1, "appeal", "2026-01-01", "2028-01-01")
    apply(ledger)
    clock.advance(days=7300)
    ClockTrust(ledger).trust("anne")
    assert apply(ledger).due.studies == 2
    clock.advance(days=-7300)
    ClockTrust(ledger).trust("anne")
    assert assessor(ledger).settle() == 1
    assert stored(ledger.database)[1].blocked_by == "appeal"


def test_a_persons_word_replayed_covers_nothing_later(ledger: Ledger, clock: Clock) -> None:
    """An entry made by a clock that jumped after the word is as suspect after a rebuild as before."""
    add(ledger.database, study(1))
    ClockTrust(ledger).trust("anne")
    clock.advance(days=7300)
    journal(ledger.database, clock.now)
    clock.advance(days=-7300)
    with ledger.database.write(synced=True) as connection:
        ledger.files.replay(connection)
    with pytest.raises(ClockNotTrusted, match="the audit journal jumps"):
        dry(ledger)
