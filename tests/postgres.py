"""A throw-away PostgreSQL 15 for tests: one server a session, one fresh database a test; must never be skipped."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Final

import psycopg
import pytest

BINARIES: Final = Path(os.environ.get("DRIMBOX_TEST_POSTGRES", "/usr/lib/postgresql/15/bin"))
_USER: Final = "archive"
_SETTINGS: Final = {
    "listen_addresses": "127.0.0.1",
    "max_connections": "100",
    "fsync": "off",
    "full_page_writes": "off",
    "shared_buffers": "64MB",
}
_numbers = count(1)


class Server:
    """A PostgreSQL server of our own, on a loopback port, its data in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        if not (BINARIES / "initdb").exists():
            pytest.fail(f"PostgreSQL 15 is needed to test the index: nothing in {BINARIES}", pytrace=False)
        self._folder = folder
        self.port = _free_port()
        self._as_owner("initdb", "-D", "data", "-U", _USER, "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "-N")
        self.start()

    def start(self) -> None:
        """Start it and wait until it answers."""
        settings = {**_SETTINGS, "port": str(self.port), "unix_socket_directories": str(self._folder)}
        options = " ".join(f"-c {name}={value}" for name, value in settings.items())
        self._as_owner("pg_ctl", "-D", "data", "-w", "-l", "log", "-o", options, "start")

    def stop(self) -> None:
        """Stop it at once, as a crash would for those connected."""
        self._as_owner("pg_ctl", "-D", "data", "-m", "immediate", "-w", "stop")

    def url(self, database: str) -> str:
        """Return the address of a database, as the settings take it."""
        return f"postgresql://{_USER}@127.0.0.1:{self.port}/{database}"

    def create_database(self, template: str = "template1") -> str:
        """Create a database, empty or a copy of another, and return its address."""
        name = f"test_{next(_numbers)}"
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}".encode())
        return self.url(name)

    def drop_database(self, url: str) -> None:
        """Remove a database, whoever is still connected."""
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(f"DROP DATABASE IF EXISTS {url.rpartition('/')[2]} WITH (FORCE)".encode())

    def _as_owner(self, program: str, *arguments: str) -> None:
        command: Sequence[str] = (str(BINARIES / program), *arguments)
        if os.geteuid() == 0:
            shutil.chown(self._folder, "postgres")
            command = ("runuser", "-u", "postgres", "--", *command)
        done = subprocess.run(
            command,
            cwd=self._folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{program}: {done.stderr}"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def new_server() -> Iterator[Server]:
    """Lend a server in a folder of its own, which goes afterwards; stopping it is the borrower's."""
    folder = Path(tempfile.mkdtemp(prefix="drimbox-pg-"))
    folder.chmod(0o755)
    try:
        yield Server(folder)
    finally:
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Server]:
    """Lend the server, started for the first test that asks."""
    with new_server() as server:
        try:
            yield server
        finally:
            server.stop()


@pytest.fixture
def postgres_url(postgres_server: Server) -> Iterator[str]:
    """Lend an empty database for one test."""
    url = postgres_server.create_database()
    yield url
    postgres_server.drop_database(url)
