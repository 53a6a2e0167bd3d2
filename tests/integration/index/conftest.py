"""An index on SQLite and on PostgreSQL: every test that asks for ``database`` runs on both."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from archive.index.session import Database
from tests.postgres import Server, postgres_server, postgres_url

__all__ = ["postgres_server", "postgres_url"]


@pytest.fixture(params=["sqlite", "postgresql"])
def kind(request: pytest.FixtureRequest) -> str:
    """Name the kind of database of this run of the test."""
    return str(request.param)


@pytest.fixture
def empty_url(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the address of a database without a table."""
    if kind == "sqlite":
        return f"sqlite:///{tmp_path / 'index.db'}"
    return str(request.getfixturevalue("postgres_url"))


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a SQLite file with the tables and no row, to be copied."""
    path = tmp_path_factory.mktemp("migrated") / "index.db"
    migrate(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="session")
def migrated_name(postgres_server: Server) -> str:
    """Return the name of a PostgreSQL database with the tables and no row, to be copied."""
    url = postgres_server.create_database()
    migrate(url)
    return url.rpartition("/")[2]


def migrate(url: str) -> None:
    """Make the tables and leave nobody connected."""
    database = Database(url)
    database.migrate()
    database.close()


@pytest.fixture
def url(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Lend the address of a migrated, empty index."""
    if kind == "sqlite":
        shutil.copy(request.getfixturevalue("migrated_file"), tmp_path / "index.db")
        yield f"sqlite:///{tmp_path / 'index.db'}"
        return
    server: Server = request.getfixturevalue("postgres_server")
    url = server.create_database(request.getfixturevalue("migrated_name"))
    yield url
    server.drop_database(url)


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    """Lend a migrated, empty index."""
    database = Database(url)
    yield database
    database.close()
