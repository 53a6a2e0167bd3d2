"""Rows of the journal: appended, read back in order, provable."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from datetime import timedelta

import pytest

from archive.audit import GENESIS, Entry, SealedEntry, seal, verify
from archive.errors import AuditBroken
from archive.index import journal
from archive.index.session import Database, IndexRefused
from tests.integration.index.making import NOW, change, rows


def entry(number: int, event: str = "stored") -> Entry:
    """Return an entry that differs by ``number``."""
    return Entry(NOW + timedelta(seconds=number), event, "CTSCAN", {"sop_instance_uid": f"2.25.{number}", "é": None})


def append(database: Database, entries: Sequence[Entry]) -> list[SealedEntry]:
    """Chain entries to the journal in one transaction."""
    with database.write(synced=False) as connection:
        sequence, previous = journal.head(connection)
        sealed = seal(entries, sequence=sequence + 1, previous_hash=previous)
        journal.append(connection, sealed)
    return sealed


def test_the_head_of_an_empty_journal_is_genesis(database: Database) -> None:
    """The chain starts where ``archive.audit`` says."""
    with database.read() as connection:
        assert journal.head(connection) == (0, GENESIS)
        assert list(journal.iter_entries(connection)) == []
    assert journal.GENESIS == GENESIS


def test_what_was_appended_comes_back_unchanged(database: Database) -> None:
    """Every field survives both databases, so that the hashes hold."""
    sealed = append(database, [entry(1), entry(2)])
    with database.read() as connection:
        stored = list(journal.iter_entries(connection))
        assert journal.head(connection) == (2, sealed[-1].hash)
        assert verify(journal.iter_entries(connection)) == (2, sealed[-1].hash)
    for row, original in zip(stored, sealed, strict=True):
        for name in ("sequence", "at", "event", "actor", "body", "previous_hash", "hash"):
            assert getattr(row, name) == getattr(original, name)
    assert all(type(row.hash) is bytes for row in stored)


def test_the_chain_goes_on_over_transactions(database: Database) -> None:
    """Each transaction takes up where the last one ended."""
    for number in range(5):
        append(database, [entry(number * 10 + n) for n in range(number)])
    with database.read() as connection:
        assert verify(journal.iter_entries(connection))[0] == 10


def test_appending_nothing_is_nothing(database: Database) -> None:
    """A transaction without an event leaves the head where it is."""
    append(database, [])
    with database.read() as connection:
        assert journal.head(connection) == (0, GENESIS)


def test_a_place_in_the_chain_is_taken_once(database: Database) -> None:
    """Two entries cannot have the same sequence: a forked chain is refused, not stored."""
    sealed = append(database, [entry(1)])
    with pytest.raises(IndexRefused), database.write(synced=False) as connection:
        journal.append(connection, sealed)
    assert rows(database, "SELECT COUNT(*) FROM audit") == [(1,)]


def test_threads_append_to_one_chain(database: Database) -> None:
    """However many write at once, the journal is one chain without a hole."""
    threads = [threading.Thread(target=lambda: [append(database, [entry(n)]) for n in range(10)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with database.read() as connection:
        assert verify(journal.iter_entries(connection))[0] == 40


def test_a_long_journal_is_read_page_by_page(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages do not show: all entries come, in order, also when the last page is exactly full."""
    monkeypatch.setattr(journal, "_PAGE_SIZE", 10)
    append(database, [entry(n) for n in range(20)])
    with database.read() as connection:
        assert [row.sequence for row in journal.iter_entries(connection)] == list(range(1, 21))
        assert [row.sequence for row in journal.iter_entries(connection, after=13)] == list(range(14, 21))
        assert list(journal.iter_entries(connection, after=20)) == []


def test_the_latest_entries_come_in_order(database: Database) -> None:
    """The operator sees the last ones, oldest first, of one kind or of all."""
    append(database, [entry(n, "stored" if n % 2 else "retrieved") for n in range(10)])
    with database.read() as connection:
        assert [row.sequence for row in journal.latest(connection, limit=3)] == [8, 9, 10]
        assert [row.sequence for row in journal.latest(connection, limit=3, event="stored")] == [6, 8, 10]
        assert journal.latest(connection, limit=3, event="adopted") == []
        assert len(journal.latest(connection, limit=99)) == 10


@pytest.mark.parametrize(
    "tampering",
    [
        "UPDATE audit SET actor = 'SOMEONE' WHERE sequence = 2",
        "UPDATE audit SET at = '2026-11-23T06:35:31.123457Z' WHERE sequence = 2",
        "UPDATE audit SET body = '{}' WHERE sequence = 2",
        "UPDATE audit SET hash = previous_hash WHERE sequence = 2",
        "DELETE FROM audit WHERE sequence = 2",
    ],
)
def test_a_change_in_the_table_shows(database: Database, tampering: str) -> None:
    """Whoever changes a row of the database breaks the chain there."""
    append(database, [entry(1), entry(2), entry(3)])
    change(database, tampering)
    with pytest.raises(AuditBroken) as caught, database.read() as connection:
        verify(journal.iter_entries(connection))
    assert caught.value.fields["sequence"] == 2
