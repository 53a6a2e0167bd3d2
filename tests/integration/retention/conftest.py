"""A ledger beside an index, on SQLite and on PostgreSQL: every test that asks for ``ledger`` runs on both."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from archive.index.session import Database
from archive.services.ledger import Ledger, LedgerFiles
from tests.integration.index.conftest import (
    database,
    empty_url,
    kind,
    migrated_file,
    migrated_name,
    postgres_server,
    postgres_url,
    url,
)
from tests.unit.services.shelf import Clock
from tiering.disk import OsDisk

__all__ = [
    "database",
    "empty_url",
    "kind",
    "migrated_file",
    "migrated_name",
    "postgres_server",
    "postgres_url",
    "url",
]


@pytest.fixture
def clock() -> Clock:
    """Lend a clock that stands still until it is moved."""
    return Clock(datetime(2026, 11, 26, 9, 30, tzinfo=UTC))


@pytest.fixture
def ledger(database: Database, clock: Clock, tmp_path: Path) -> Iterator[Ledger]:
    """Lend an empty ledger."""
    yield Ledger(LedgerFiles(OsDisk(), tmp_path / "ledger"), database, clock)
