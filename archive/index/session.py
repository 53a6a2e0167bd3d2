"""Connections and transactions on SQLite or PostgreSQL, and the one door driver errors leave by; must not know a table.

One transaction writes at a time, on both databases: SQLite by BEGIN IMMEDIATE, PostgreSQL by an advisory lock taken
at the start. So a writer may read, decide and write without a race, and the audit chain has one head. Reads never wait
for writes: they see the last committed state, and cannot write (the database refuses).
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import psycopg
from sqlalchemy import Connection, Engine, create_engine, event, exc as sa, make_url
from sqlalchemy.engine import URL

from archive.errors import ArchiveError, IndexUnavailable

__all__ = ["Connection", "Database", "IndexRefused", "driver_of"]

BUSY_SECONDS: Final = 30
MAPPED_BYTES: Final = 1 << 30
CACHED_BYTES: Final = 1 << 26
_KEPT: Final = 8
_WRITER_LOCK: Final = 0x6472696D  # "drim": the advisory lock of PostgreSQL that one writer holds
_SQLITE_PRAGMAS: Final = (
    "PRAGMA journal_mode=WAL",
    "PRAGMA synchronous=NORMAL",
    "PRAGMA foreign_keys=ON",
    "PRAGMA temp_store=MEMORY",
    "PRAGMA wal_autocheckpoint=4000",
    "PRAGMA journal_size_limit=67108864",
)
_REFUSALS: Final = (
    sqlite3.IntegrityError,
    sqlite3.DataError,
    sqlite3.ProgrammingError,
    psycopg.IntegrityError,
    psycopg.DataError,
    psycopg.ProgrammingError,
)
_UNKNOWN_TABLES: Final = (
    "SELECT quote_ident(relname) FROM pg_class WHERE relkind = 'r' AND relnamespace = current_schema()::regnamespace "
    "AND reltuples <= 0 AND pg_relation_size(oid) > 0 ORDER BY relname"
)
_BEGIN_POSTGRESQL: Final = (
    "SELECT set_config('synchronous_commit', %s, true), set_config('lock_timeout', %s, true), "
    f"pg_advisory_xact_lock({_WRITER_LOCK})"
)


class IndexRefused(ArchiveError):
    """The index database refused a value or a statement: {reason}."""

    exit_code = 14


class Database:
    """One index database, shared by all threads of a process.

    ``url`` is ``sqlite:///path`` or ``postgresql://…``. Reads use a pool of ``pool_size`` connections (twice as many
    in a rush), writes a connection of their own. ``mapped_bytes`` of an SQLite file are read through mapped memory,
    and each connection keeps ``cached_bytes`` of what it read and wrote.
    Every method raises IndexUnavailable when the database does not answer and IndexRefused when it refuses a value;
    neither carries a value of the index.
    """

    def __init__(
        self, url: str, *, pool_size: int = 16, mapped_bytes: int = MAPPED_BYTES, cached_bytes: int = CACHED_BYTES
    ) -> None:
        target = make_url(url)
        self.dialect = target.get_backend_name()
        assert self.dialect in ("sqlite", "postgresql"), "the index runs on SQLite or PostgreSQL"
        self._wal = Path(f"{target.database}-wal") if self.dialect == "sqlite" else None
        self._alone = threading.Lock()
        self._kept: list[Connection] = []
        self._readers = _engine(target, size=pool_size, overflow=pool_size, is_reader=True)
        self._writer = _engine(target, size=1, overflow=0, is_reader=False)
        if self._wal is not None:
            for engine in (self._readers, self._writer):
                _limit(engine, mapped_bytes, cached_bytes)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Lend a connection that sees one committed state until the block ends and cannot write."""
        with _converted(), self._readers.connect() as connection:
            if self._wal is not None:
                driver_of(connection).execute("BEGIN")
            try:
                yield connection
            finally:
                _roll_back(connection)

    @contextmanager
    def glance(self) -> Iterator[Connection]:
        """Lend a connection for single look-ups, each seeing what is committed then; cheaper than ``read``."""
        with _converted():
            connection = self._take_kept()
            is_good = False
            try:
                yield connection
                is_good = True
            finally:
                # More than a few would take the readers' places in the pool for good, after one rush.
                if is_good and len(self._kept) < _KEPT:
                    self._kept.append(connection)
                else:
                    connection.invalidate()
                    connection.close()

    def _take_kept(self) -> Connection:
        try:
            return self._kept.pop()
        except IndexError:
            return self._open_kept()

    def _open_kept(self) -> Connection:
        connection = self._readers.connect()
        if self._wal is None:
            driver_of(connection).autocommit = True
        return connection

    @contextmanager
    def write(self, *, synced: bool) -> Iterator[Connection]:
        """Lend the writing connection for one transaction: committed at the end, rolled back when the block raises.

        With ``synced`` this commit and all commits before it, of any process, are on disk on return. Waits up to
        30 s for another writer. Not re-entrant.
        """
        with _converted(), self._only_writer(), self._writer.connect() as connection:
            changes = self._begin(connection, synced=synced)
            try:
                yield connection
            except BaseException:
                _roll_back(connection)
                raise
            self._commit(connection, changes, synced=synced)

    def migrate(self) -> None:
        """Create or upgrade the tables; processes that start together do it once."""
        from archive.index.migrations.upgrade import upgrade  # noqa: PLC0415  Alembic is slow to load

        with self.write(synced=True) as connection:
            upgrade(connection)
        if self._wal is not None:
            _sync_file(self._wal.parent)

    def know_tables(self) -> None:
        """Have PostgreSQL look at tables it knows nothing of, as after a restore: it would plan by guess, and slowly.

        Costs a look, or once less than a second; to do before work that goes through everything.
        """
        if self.dialect != "postgresql":
            return
        with self.read() as connection:
            unknown = [name for (name,) in driver_of(connection).execute(_UNKNOWN_TABLES)]
        if unknown:
            with self.write(synced=False) as connection:
                driver_of(connection).execute(f"ANALYZE {', '.join(unknown)}")

    def ping(self) -> None:
        """Return when the database answers; raise IndexUnavailable when it does not."""
        with self.read() as connection:
            driver_of(connection).execute("SELECT 1").fetchone()

    def close(self) -> None:
        """Close every idle connection; connections in use close when their block ends."""
        with _converted():
            while self._kept:
                self._kept.pop().close()
            self._readers.dispose()
            self._writer.dispose()

    @contextmanager
    def _only_writer(self) -> Iterator[None]:
        if not self._alone.acquire(timeout=BUSY_SECONDS):
            raise IndexUnavailable(reason=f"another write has gone on for {BUSY_SECONDS} s")
        try:
            yield
        finally:
            self._alone.release()

    def _begin(self, connection: Connection, *, synced: bool) -> int:
        """Begin a writing transaction; return SQLite's count of changes so far."""
        driver = driver_of(connection)
        if self._wal is None:
            driver.execute(_BEGIN_POSTGRESQL, ("on" if synced else "off", f"{BUSY_SECONDS}s"))
            return 0
        mode = "FULL" if synced else "NORMAL"
        if connection.info.get("synchronous", "NORMAL") != mode:
            driver.execute(f"PRAGMA synchronous={mode}")
            connection.info["synchronous"] = mode
        driver.execute("BEGIN IMMEDIATE")
        changes: int = driver.total_changes
        return changes

    def _commit(self, connection: Connection, changes: int, *, synced: bool) -> None:
        """Commit; a synced transaction that changed nothing syncs what was committed before it all the same."""
        driver = driver_of(connection)
        if synced and self._wal is None:
            # A commit is flushed only if it wrote to the log: this writes to the log.
            driver.execute("SELECT pg_logical_emit_message(true, 'drimbox', 'sync')")
        driver.commit()
        if synced and self._wal is not None and driver.total_changes == changes:
            _sync_file(self._wal)


def driver_of(connection: Connection) -> Any:
    """Return the sqlite3 or psycopg connection underneath: both have ``execute(sql, parameters) -> cursor``."""
    return connection.connection.driver_connection


def _engine(target: URL, *, size: int, overflow: int, is_reader: bool) -> Engine:
    """Return an engine whose errors never print a statement's parameters."""
    if target.get_backend_name() == "sqlite":
        arguments: dict[str, Any] = {"timeout": BUSY_SECONDS, "check_same_thread": False}
    else:
        target = target.set(drivername="postgresql+psycopg")
        snapshot = " -c default_transaction_read_only=on -c default_transaction_isolation=repeatable\\ read"
        arguments = {
            "connect_timeout": BUSY_SECONDS,
            "client_encoding": "utf8",
            # Ours are short walks through indexes: compiling one takes longer than running it.
            "options": "-c jit=off" + (snapshot if is_reader else ""),
        }
    engine = create_engine(
        target,
        pool_size=size,
        max_overflow=overflow,
        pool_timeout=BUSY_SECONDS,
        pool_pre_ping=target.get_backend_name() == "postgresql",
        pool_use_lifo=True,
        hide_parameters=True,
        connect_args=arguments,
    )
    if target.get_backend_name() == "sqlite":
        _prepare_sqlite(engine, is_reader=is_reader)
    return engine


def _prepare_sqlite(engine: Engine, *, is_reader: bool) -> None:
    """Make each new SQLite connection obey our own BEGIN and COMMIT and the pragmas."""

    def prepare(driver: sqlite3.Connection, _record: object) -> None:
        driver.isolation_level = None
        for pragma in _SQLITE_PRAGMAS:
            driver.execute(pragma).fetchall()
        if is_reader:
            driver.execute("PRAGMA query_only=ON")

    event.listen(engine, "connect", prepare)


def _limit(engine: Engine, mapped_bytes: int, cached_bytes: int) -> None:
    """Let SQLite map so much of its file, which counts as the process's own memory, and copy so much into its cache."""

    def prepare(driver: sqlite3.Connection, _record: object) -> None:
        driver.execute(f"PRAGMA mmap_size={mapped_bytes}").fetchall()
        driver.execute(f"PRAGMA cache_size=-{cached_bytes // 1024}").fetchall()

    event.listen(engine, "connect", prepare)


def _roll_back(connection: Connection) -> None:
    """Undo what was not committed; a connection already lost has nothing to undo."""
    with suppress(sqlite3.Error, psycopg.Error, sa.SQLAlchemyError):
        driver_of(connection).rollback()


def _sync_file(path: Path) -> None:
    """Make a file's bytes, or a folder's names, last; no file means that its bytes were checkpointed, synced."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return
    try:
        os.fsync(descriptor)
    except OSError as exc:
        raise IndexUnavailable(reason=f"the index could not be synced: {exc.strerror}") from exc
    finally:
        os.close(descriptor)


@contextmanager
def _converted() -> Iterator[None]:
    """Turn what SQLAlchemy and the drivers raise into our two errors."""
    try:
        yield
    except (sa.SQLAlchemyError, sqlite3.Error, psycopg.Error) as exc:
        origin = exc.orig if isinstance(exc, sa.DBAPIError) and exc.orig is not None else exc
        if isinstance(origin, _REFUSALS):
            # The driver's own message may quote a value of the index: it goes no further.
            raise IndexRefused(reason=_code(origin)) from None
        raise IndexUnavailable(reason=_reason(origin)) from exc


def _code(error: BaseException) -> str:
    """Return what the database calls the error, without a value: ``UniqueViolation 23505``."""
    code = getattr(error, "sqlite_errorname", None) or getattr(error, "sqlstate", None)
    return f"{type(error).__name__} {code}" if code else type(error).__name__


def _reason(error: BaseException) -> str:
    """Return the code, with the driver's first line when it speaks of the connection or the file."""
    if getattr(error, "sqlstate", None) is not None:
        return _code(error)
    line = (str(error).splitlines() or [""])[0][:200]
    return f"{_code(error)}: {line}" if line else _code(error)
