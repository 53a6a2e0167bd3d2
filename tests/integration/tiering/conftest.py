"""The archive of the disposal tests, lent to those of tiering too."""

from __future__ import annotations

import pytest

from tests.integration.disposal.conftest import (
    Office,
    clock,
    database,
    empty_url,
    kind,
    migrated_file,
    migrated_name,
    office,
    postgres_server,
    postgres_url,
    url,
)
from tests.integration.tiering.cold_side import ColdSide

__all__ = [
    "clock",
    "database",
    "empty_url",
    "kind",
    "migrated_file",
    "migrated_name",
    "office",
    "postgres_server",
    "postgres_url",
    "url",
]


@pytest.fixture
def side(office: Office) -> ColdSide:
    """Lend an archive with a cold store."""
    return ColdSide(office)
