"""An index on SQLite and on PostgreSQL: every test that asks for ``database`` runs on both."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from archive.index.session import Database
from tests.postgres import postgres_server, postgres_url

__all__ = ["postgres_server", "postgres_url"]


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the address of a database without a table."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'index.db'}"
    url: str = request.getfixturevalue("postgres_url")
    return url


@pytest.fixture
def database(empty_url: str) -> Iterator[Database]:
    """Lend a migrated, empty index."""
    database = Database(empty_url)
    database.migrate()
    yield database
    database.close()
