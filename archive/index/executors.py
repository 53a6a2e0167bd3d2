"""Which workers are alive: a lock each holds for as long as it lives; must not know what they work on.

The kernel, or the database server, lets go of the lock when its holder ends, however it ends.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Final, Protocol, TypeVar

import psycopg
from sqlalchemy import make_url

from archive.errors import WorkflowsUnavailable

T = TypeVar("T")
_CONNECT_SECONDS: Final = 10
_CHIEF: Final = "\0chief"


class Executors(Protocol):
    """The workers of one database of workflows, as one of them sees it."""

    def hold(self) -> bool:
        """Hold the own lock, again where it was lost; False while another has it. Raises WorkflowsUnavailable."""
        ...

    def is_gone(self, name: str) -> bool:
        """Tell whether the worker of that name holds its lock no more. Raises WorkflowsUnavailable."""
        ...

    def alone(self) -> AbstractContextManager[bool]:
        """Tell whether this worker alone hands out work until the block ends. Raises WorkflowsUnavailable."""
        ...

    def close(self) -> None:
        """Let go of everything."""
        ...


class _OneExecutor:
    """A database in a file is one worker's: who has the file's lock is alone."""

    def __init__(self, database: Path) -> None:
        self._path = Path(f"{database}.lock")
        self._handle: int | None = None

    def hold(self) -> bool:
        """Hold the lock of the file."""
        if self._handle is not None:
            return True
        try:
            handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        except OSError as exc:
            raise WorkflowsUnavailable(reason=exc.strerror) from exc
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            return False
        self._handle = handle
        return True

    def is_gone(self, name: str) -> bool:
        """Every other one is gone: this one has the lock."""
        return True

    @contextmanager
    def alone(self) -> Iterator[bool]:
        """It always is."""
        yield True

    def close(self) -> None:
        """Let go of the lock."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None


class _SharedExecutors:
    """A PostgreSQL database has many workers: each holds an advisory lock of its session (PostgreSQL 15, 13.3.5)."""

    def __init__(self, url: str, name: str) -> None:
        plain = make_url(url).set(drivername="postgresql")
        self._url = plain.render_as_string(hide_password=False)
        self._name = name
        self._session: psycopg.Connection | None = None

    def hold(self) -> bool:
        """Hold the lock of this worker's name: it lasts for as long as the session does."""
        if self._session is not None:
            with suppress(WorkflowsUnavailable):
                self._ask("SELECT 1")
                return True
        self.close()
        self._session = self._told(self._connect)
        if self._try(self._name):
            return True
        self.close()
        return False

    def is_gone(self, name: str) -> bool:
        """Tell whether the lock of that name is free."""
        if not self._try(name):
            return False
        self._release(name)
        return True

    @contextmanager
    def alone(self) -> Iterator[bool]:
        """One of them at a time."""
        if not self._try(_CHIEF):
            yield False
            return
        try:
            yield True
        finally:
            with suppress(WorkflowsUnavailable):  # the lock is gone with the session
                self._release(_CHIEF)

    def close(self) -> None:
        """End the session."""
        if self._session is not None:
            with suppress(psycopg.Error):
                self._session.close()
            self._session = None

    def _connect(self) -> psycopg.Connection:
        return psycopg.connect(
            self._url,
            autocommit=True,
            connect_timeout=_CONNECT_SECONDS,
            application_name="drimbox worker",
            # A host that vanished must not keep its lock for the two hours the kernel would wait.
            options="-c tcp_keepalives_idle=30 -c tcp_keepalives_interval=10 -c tcp_keepalives_count=3",
        )

    def _try(self, name: str) -> bool:
        return bool(self._ask("SELECT pg_try_advisory_lock(%s)", _key(name)))

    def _release(self, name: str) -> None:
        self._ask("SELECT pg_advisory_unlock(%s)", _key(name))

    def _ask(self, query: str, *values: int) -> object:
        session = self._session
        assert session is not None, "hold comes first"
        row = self._told(lambda: session.execute(query.encode(), values).fetchone())
        assert row is not None
        return row[0]

    def _told(self, call: Callable[[], T]) -> T:
        try:
            return call()
        except psycopg.Error as exc:
            raise WorkflowsUnavailable(reason=f"{type(exc).__name__} {exc.sqlstate or ''}".rstrip()) from exc


def executors(url: str, name: str) -> Executors:
    """Return the workers of the database at ``url`` (``sqlite:///path`` or ``postgresql://…``), seen by ``name``."""
    target = make_url(url)
    if target.get_backend_name() == "sqlite":
        assert target.database is not None
        return _OneExecutor(Path(target.database))
    return _SharedExecutors(url, name)


def database_file(url: str) -> Path | None:
    """Return the file of a database of workflows, None when it is a server's."""
    target = make_url(url)
    return Path(target.database) if target.get_backend_name() == "sqlite" and target.database else None


def _key(name: str) -> int:
    """Return the number of a lock, as PostgreSQL takes it: 64 bits, signed."""
    return int.from_bytes(hashlib.sha256(b"drimbox worker\0" + name.encode()).digest()[:8], "big", signed=True)
