"""The archive of the disposal tests, lent to those of tiering too."""

from __future__ import annotations

from tests.integration.disposal.conftest import (
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
