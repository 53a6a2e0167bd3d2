"""Connections and transactions: what is committed, what is seen, what is on disk, how errors leave."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import text

from archive.errors import ArchiveError, IndexUnavailable
from archive.index import session
from archive.index.session import Database, IndexRefused, driver_of
from archive.index.statements import Statement
from tests.integration.index.making import add, change, new_instance, rows, value
from tests.postgres import Server

INSERT = Statement("INSERT INTO landing_folder (name, opened_at) VALUES (?, 'now')")
COUNT = "SELECT COUNT(*) FROM landing_folder"


def insert(database: Database, name: str, *, synced: bool = False) -> None:
    """Commit one row."""
    with database.write(synced=synced) as connection:
        INSERT.run(connection, (name,))


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch, empty_url: str) -> Iterator[Database]:
    """Lend an index that waits half a second for others, not half a minute."""
    monkeypatch.setattr(session, "BUSY_SECONDS", 1)
    database = Database(empty_url)
    database.migrate()
    yield database
    database.close()


@pytest.mark.parametrize("synced", [True, False])
def test_a_write_is_seen_once_it_is_committed(database: Database, synced: bool) -> None:
    """Readers see nothing of a transaction before its end and all of it after."""
    with database.write(synced=synced) as connection:
        INSERT.run(connection, ("a",))
        assert value(database, COUNT) == 0
    assert value(database, COUNT) == 1


def test_a_block_that_raises_changes_nothing(database: Database) -> None:
    """The caller's own error comes out unchanged and the transaction did not happen."""
    with pytest.raises(KeyError), database.write(synced=False) as connection:
        INSERT.run(connection, ("a",))
        raise KeyError("mine")
    assert value(database, COUNT) == 0
    insert(database, "b")
    assert value(database, COUNT) == 1


def test_a_reader_sees_one_state_until_its_block_ends(database: Database) -> None:
    """What is committed meanwhile does not mix into an answer half given."""
    with database.read() as connection:
        before = Statement(COUNT).one(connection)
        insert(database, "a")
        assert Statement(COUNT).one(connection) == before == (0,)
    assert value(database, COUNT) == 1


def test_a_reader_cannot_write(database: Database) -> None:
    """The database itself refuses: a mistake in a query module cannot damage the index."""
    with pytest.raises((IndexUnavailable, IndexRefused)), database.read() as connection:
        INSERT.run(connection, ("a",))
    assert value(database, COUNT) == 0


def test_a_connection_is_clean_after_an_error(database: Database) -> None:
    """An error inside a block does not follow the connection to its next user."""
    for _ in range(40):
        with pytest.raises(ArchiveError), database.read() as connection:
            Statement("SELECT nothing FROM nowhere").run(connection)
    assert value(database, COUNT) == 0


def test_reads_do_not_wait_for_a_write(database: Database) -> None:
    """A long transaction does not stop queries."""
    with database.write(synced=False) as connection:
        INSERT.run(connection, ("a",))
        seen = [value(database, COUNT) for _ in range(20)]
    assert seen == [0] * 20


def test_more_readers_than_the_pool_holds_wait_their_turn(empty_url: str) -> None:
    """A small pool serves many threads, one after the other."""
    database = Database(empty_url, pool_size=2)
    database.migrate()
    answers: list[Any] = []
    threads = [threading.Thread(target=lambda: answers.append(value(database, COUNT))) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    database.close()
    assert answers == [0] * 12


def test_writers_of_one_process_take_turns(database: Database) -> None:
    """Threads that read, decide and write do not overwrite each other."""

    def count_up() -> None:
        for _ in range(10):
            with database.write(synced=False) as connection:
                row = Statement(COUNT).one(connection)
                assert row is not None
                INSERT.run(connection, (f"{row[0]:04d}",))

    threads = [threading.Thread(target=count_up) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [name for (name,) in rows(database, "SELECT name FROM landing_folder ORDER BY name")] == [
        f"{number:04d}" for number in range(40)
    ]


def test_a_writer_in_another_process_is_waited_for(empty_url: str) -> None:
    """Two databases objects stand for two processes: the second writer goes on when the first has committed."""
    first, second = Database(empty_url), Database(empty_url)
    first.migrate()
    order: list[str] = []

    def write_second() -> None:
        with second.write(synced=False) as connection:
            order.append("second")
            INSERT.run(connection, ("second",))

    with first.write(synced=False) as connection:
        INSERT.run(connection, ("first",))
        thread = threading.Thread(target=write_second)
        thread.start()
        thread.join(0.3)
        assert thread.is_alive(), "the second writer did not wait"
        order.append("first")
    thread.join()
    assert order == ["first", "second"]
    assert value(second, COUNT) == 2
    first.close()
    second.close()


def test_a_writer_elsewhere_that_never_ends_is_an_error(impatient: Database, empty_url: str) -> None:
    """Waiting has an end: the peer hears that the archive is out of resources, not nothing."""
    other = Database(empty_url)
    with other.write(synced=False) as connection:
        INSERT.run(connection, ("a",))
        with pytest.raises(IndexUnavailable):
            insert(impatient, "b")
    insert(impatient, "c")
    assert value(other, COUNT) == 2
    other.close()


def test_a_writer_of_this_process_that_never_ends_is_an_error(impatient: Database) -> None:
    """A transaction inside a transaction would wait for itself: it is told instead."""
    with impatient.write(synced=False), pytest.raises(IndexUnavailable, match="another write"):
        insert(impatient, "b")


def test_no_connection_left_is_an_error(impatient: Database, empty_url: str) -> None:
    """When every connection is in use for too long, the next reader hears so."""
    small = Database(empty_url, pool_size=1)
    with small.read(), small.read(), pytest.raises(IndexUnavailable, match="TimeoutError"):
        small.ping()
    small.ping()
    small.close()


def test_ping_answers(database: Database) -> None:
    """A database that works says nothing."""
    database.ping()


def test_ping_fails_without_a_server() -> None:
    """A server that is not there is IndexUnavailable, with words for the operator and no password."""
    database = Database("postgresql://archive:secret@127.0.0.1:1/archive")
    with pytest.raises(IndexUnavailable, match="refused") as caught:
        database.ping()
    assert "secret" not in str(caught.value)
    assert caught.value.retryable
    database.close()


def test_ping_fails_without_the_folder(tmp_path: Path) -> None:
    """A path that cannot be opened is IndexUnavailable."""
    database = Database(f"sqlite:///{tmp_path / 'nowhere' / 'index.db'}")
    with pytest.raises(IndexUnavailable, match="unable to open"):
        database.ping()
    database.close()


def test_a_file_that_is_no_database_is_an_error(tmp_path: Path) -> None:
    """A damaged or foreign file is told, not overwritten."""
    path = tmp_path / "index.db"
    path.write_bytes(b"this is not a database, whatever its name says" * 100)
    database = Database(f"sqlite:///{path}")
    with pytest.raises(IndexUnavailable, match="not a database"):
        database.migrate()
    assert path.read_bytes().startswith(b"this is not")
    database.close()


def test_another_kind_of_database_is_our_mistake() -> None:
    """Settings let only SQLite and PostgreSQL through; anything else is a bug here."""
    with pytest.raises(AssertionError):
        Database("mysql://localhost/archive")


def test_the_archive_goes_on_after_the_server_came_back(postgres_server: Server, postgres_url: str) -> None:
    """A restart of PostgreSQL costs the transactions of that moment and nothing afterwards."""
    database = Database(postgres_url)
    database.migrate()
    insert(database, "before", synced=True)
    with pytest.raises(IndexUnavailable), database.read() as connection:
        postgres_server.stop()
        try:
            Statement(COUNT).one(connection)
        finally:
            postgres_server.start()
    insert(database, "after")
    assert value(database, COUNT) == 2
    database.close()


def test_a_write_cut_by_a_crash_of_the_server_did_not_happen(postgres_server: Server, postgres_url: str) -> None:
    """A transaction the server did not commit raises and leaves nothing."""
    database = Database(postgres_url)
    database.migrate()
    with pytest.raises(IndexUnavailable), database.write(synced=False) as connection:
        INSERT.run(connection, ("lost",))
        postgres_server.stop()
        postgres_server.start()
    assert value(database, COUNT) == 0
    insert(database, "kept")
    assert value(database, COUNT) == 1
    database.close()


# ---- what reaches the disk ------------------------------------------------------------------------------------------


@pytest.fixture
def file_database(tmp_path: Path) -> Iterator[Database]:
    """Lend an index on SQLite."""
    database = Database(f"sqlite:///{tmp_path / 'index.db'}")
    database.migrate()
    yield database
    database.close()


@pytest.fixture
def synced_paths(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the paths our own code syncs from now on."""
    seen: list[str] = []
    real = os.fsync

    def note(descriptor: int) -> None:
        seen.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    return seen


@pytest.mark.parametrize(("synced", "mode"), [(True, 2), (False, 1), (True, 2)])
def test_sqlite_syncs_its_log_at_a_synced_commit(file_database: Database, synced: bool, mode: int) -> None:
    """FULL (2) syncs the log at each commit, NORMAL (1) at checkpoints only."""
    insert(file_database, "earlier", synced=not synced)
    with file_database.write(synced=synced) as connection:
        assert driver_of(connection).execute("PRAGMA synchronous").fetchone() == (mode,)


def test_a_synced_transaction_that_changes_nothing_syncs_the_log(
    file_database: Database, tmp_path: Path, synced_paths: list[str]
) -> None:
    """SQLite would not touch the disk; what was committed before has to be on it all the same."""
    insert(file_database, "a")
    assert synced_paths == []
    with file_database.write(synced=True):
        pass
    assert synced_paths == [str(tmp_path / "index.db-wal")]


def test_an_unsynced_transaction_syncs_nothing(file_database: Database, synced_paths: list[str]) -> None:
    """The hot path does not wait for the disk."""
    with file_database.write(synced=False):
        pass
    assert synced_paths == []


def test_a_synced_transaction_needs_no_log_file(tmp_path: Path) -> None:
    """Without a log everything was checkpointed, synced: nothing to do, no error."""
    database = Database(f"sqlite:///{tmp_path / 'index.db'}")
    database.migrate()
    with database.write(synced=True):
        (tmp_path / "index.db-wal").rename(tmp_path / "elsewhere")
    (tmp_path / "elsewhere").rename(tmp_path / "index.db-wal")
    database.close()


def test_a_log_that_cannot_be_synced_is_an_error(file_database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that fails is told: nobody may think that a commit lasts."""

    def fail(_descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(IndexUnavailable, match="Input/output"), file_database.write(synced=True):
        pass


def test_migration_makes_the_file_s_name_last(tmp_path: Path, synced_paths: list[str]) -> None:
    """A new database file whose folder was never synced could be gone after a power cut."""
    database = Database(f"sqlite:///{tmp_path / 'index.db'}")
    database.migrate()
    database.close()
    assert str(tmp_path) in synced_paths


def test_sqlite_connections_have_our_settings(file_database: Database) -> None:
    """Write-ahead log, foreign keys, caches: on readers and on the writer."""
    wanted = {"journal_mode": "wal", "foreign_keys": 1, "cache_size": -65536, "wal_autocheckpoint": 4000}
    with file_database.read() as reader, file_database.write(synced=False) as writer:
        for connection in (reader, writer):
            driver = driver_of(connection)
            assert {name: driver.execute(f"PRAGMA {name}").fetchone()[0] for name in wanted} == wanted
            assert driver.execute("PRAGMA busy_timeout").fetchone() == (30_000,)
        assert driver_of(reader).execute("PRAGMA query_only").fetchone() == (1,)
        assert driver_of(writer).execute("PRAGMA query_only").fetchone() == (0,)


def test_memory_of_sqlite_connections_may_be_limited(tmp_path: Path) -> None:
    """A command that reads everything once maps nothing and keeps little: on readers and on the writer."""
    database = Database(f"sqlite:///{tmp_path / 'index.db'}", mapped_bytes=0, cached_bytes=1 << 24)
    wanted = {"mmap_size": 0, "cache_size": -16384}
    with database.read() as reader, database.write(synced=False) as writer:
        for connection in (reader, writer):
            driver = driver_of(connection)
            assert {name: driver.execute(f"PRAGMA {name}").fetchone()[0] for name in wanted} == wanted
    database.close()


def test_a_synced_transaction_flushes_postgresql_s_log(postgres_url: str) -> None:
    """What was committed unsynced is flushed by the next synced commit, even one that changes nothing."""
    database = Database(postgres_url)
    database.migrate()
    with psycopg.connect(postgres_url, autocommit=True) as probe:
        for attempt in range(20):
            insert(database, f"unsynced {attempt}")
            written = probe.execute("SELECT pg_current_wal_insert_lsn()::text").fetchone()
            with database.write(synced=True):
                pass
            assert probe.execute("SELECT pg_current_wal_flush_lsn() >= %s::pg_lsn", written).fetchone() == (True,)
    database.close()


@pytest.mark.parametrize(("synced", "setting"), [(True, "on"), (False, "off")])
def test_postgresql_waits_for_its_disk_only_when_asked(postgres_url: str, synced: bool, setting: str) -> None:
    """Unsynced commits do not wait, and the setting ends with the transaction."""
    database = Database(postgres_url)
    with database.write(synced=synced) as connection:
        assert driver_of(connection).execute("SHOW synchronous_commit").fetchone() == (setting,)
    database.close()


# ---- errors tell no value -------------------------------------------------------------------------------------------

CANARY = "ZZCANARY^PATIENT"


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and all that a log would print with it."""
    while error is not None:
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def refuse_duplicate(database: Database) -> None:
    """Break a unique constraint with a value that must not be told."""
    for _ in range(2):
        change(database, "INSERT INTO patient (identity_key, site) VALUES (?, 'CHU')", (CANARY,))


def refuse_value(database: Database) -> None:
    """Hand the driver a value no column takes, beside one that must not be told."""
    change(database, "INSERT INTO patient (identity_key, site) VALUES (?, ?)", (CANARY, object()))


def refuse_statement(database: Database) -> None:
    """Run a statement that names no table, with a value that must not be told."""
    change(database, "INSERT INTO nowhere (identity_key) VALUES (?)", (CANARY,))


def refuse_query(database: Database) -> None:
    """Call a function that does not exist, through SQLAlchemy, with a value that must not be told."""
    with database.read() as connection:
        connection.execute(text("SELECT no_such_function(:patient)"), {"patient": CANARY})


@pytest.mark.parametrize("act", [refuse_duplicate, refuse_value, refuse_statement, refuse_query])
def test_an_error_of_the_database_tells_no_value(database: Database, act: Any) -> None:
    """Drivers quote values in their messages; neither ours nor a printed cause may repeat them."""
    with pytest.raises(ArchiveError) as caught:
        act(database)
    for error in causes(caught.value):
        assert CANARY not in str(error)
        assert CANARY not in repr(error)


def test_a_refusal_is_not_taken_for_an_outage(database: Database) -> None:
    """A value the database refuses will be refused again: nobody should retry it for ever."""
    with pytest.raises(IndexRefused) as caught:
        refuse_duplicate(database)
    assert not isinstance(caught.value, IndexUnavailable)
    assert not caught.value.retryable
    assert "UNIQUE" in str(caught.value) or "UniqueViolation" in str(caught.value)


def test_a_refused_transaction_leaves_nothing_behind(database: Database) -> None:
    """What came before the refused statement is undone with it."""
    with pytest.raises(IndexRefused), database.write(synced=False) as connection:
        INSERT.run(connection, ("a",))
        INSERT.run(connection, ("a",))
    assert value(database, COUNT) == 0


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (sqlite3.OperationalError("database is locked"), "OperationalError: database is locked"),
        (sqlite3.DatabaseError("database disk image is malformed"), "malformed"),
        (psycopg.OperationalError("connection refused\nhint: start it"), "OperationalError: connection refused"),
    ],
)
def test_an_outage_says_what_the_operator_can_use(database: Database, error: Exception, words: str) -> None:
    """The first line of the driver's message goes along when it speaks of the file or the connection."""
    with pytest.raises(IndexUnavailable) as caught, database.read():
        raise error
    assert words in str(caught.value)
    assert "hint" not in str(caught.value)


def test_errors_of_others_pass_through(database: Database) -> None:
    """Only what drivers raise is turned into an error of the index."""
    with pytest.raises(ValueError, match="mine"), database.read():
        raise ValueError("mine")


def test_closing_twice_and_using_again_is_harmless(database: Database) -> None:
    """Closing lets go of idle connections; the next use opens new ones."""
    add(database, new_instance())
    database.close()
    database.close()
    assert value(database, "SELECT COUNT(*) FROM instance") == 1


@pytest.mark.parametrize("kind", ["postgresql"], indirect=True)
def test_postgresql_compiles_no_statement(database: Database) -> None:
    """Compiling a short walk through an index takes a hundred times as long as the walk: neither connection does."""
    with database.read() as connection:
        assert Statement("SHOW jit").one(connection) == ("off",)
    with database.write(synced=False) as connection:
        assert Statement("SHOW jit").one(connection) == ("off",)
