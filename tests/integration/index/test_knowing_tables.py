"""Statistics: PostgreSQL looks at tables it knows nothing of when it is asked; SQLite needs none."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from archive.index.session import Database
from tests.integration.index.test_session import file_database, insert

__all__ = ["file_database"]


def known_rows(probe: psycopg.Connection[Any], table: str) -> float:
    """Return how many rows PostgreSQL believes a table to have; -1 when it was never looked at."""
    row = probe.execute("SELECT reltuples FROM pg_class WHERE oid = %s::regclass", (table,)).fetchone()
    assert row is not None
    return float(row[0])


def test_postgresql_looks_at_tables_it_knows_nothing_of(postgres_url: str) -> None:
    """After a restore it has rows and no statistics; asked for, it looks once, and leaves empty tables alone."""
    database = Database(postgres_url)
    database.migrate()
    with psycopg.connect(postgres_url, autocommit=True) as probe:
        probe.execute("ALTER TABLE landing_folder SET (autovacuum_enabled = off)")
        for number in range(5):
            insert(database, f"folder {number}")
        assert known_rows(probe, "landing_folder") == -1
        database.know_tables()
        assert (known_rows(probe, "landing_folder"), known_rows(probe, "study")) == (5, -1)
        insert(database, "another")
        database.know_tables()
        assert known_rows(probe, "landing_folder") == 5
    database.close()


def test_sqlite_needs_no_look_at_its_tables(file_database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even a transaction."""
    monkeypatch.setattr(file_database, "_readers", None)
    monkeypatch.setattr(file_database, "_writer", None)
    file_database.know_tables()
    monkeypatch.undo()
