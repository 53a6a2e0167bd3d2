"""Accounts, links and sessions beside an index, on SQLite and on PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from archive.index.session import Database
from archive.services.accounts import Accounts, NewAccount
from archive.services.committer import Committer
from archive.services.invitations import Invitations
from archive.services.ledger import Ledger
from archive.services.people import Person
from archive.services.sessions import Sessions
from tests.integration.retention.conftest import (
    clock,
    database,
    empty_url,
    kind,
    ledger,
    migrated_file,
    migrated_name,
    postgres_server,
    postgres_url,
    url,
)
from tests.unit.services.shelf import Clock

__all__ = [
    "clock",
    "database",
    "empty_url",
    "kind",
    "ledger",
    "migrated_file",
    "migrated_name",
    "postgres_server",
    "postgres_url",
    "url",
]

PASSWORD = "correct horse battery"


@pytest.fixture
def committer(database: Database) -> Iterator[Committer]:
    """Lend the writer of the index."""
    committer = Committer(database)
    committer.start()
    yield committer
    committer.close()


@pytest.fixture
def accounts(ledger: Ledger) -> Accounts:
    """Lend the accounts."""
    return Accounts(ledger)


@pytest.fixture
def invitations(ledger: Ledger, clock: Clock) -> Invitations:
    """Lend what makes links."""
    return Invitations(ledger, clock)


@pytest.fixture
def sessions(committer: Committer, clock: Clock) -> Sessions:
    """Lend the sessions."""
    return Sessions(committer, clock)


@pytest.fixture
def anne(accounts: Accounts) -> Person:
    """Lend the first account: an operator."""
    accounts.set(NewAccount("anne", "Anne Le Goff", frozenset({"operator"})), PASSWORD, by=None)
    return accounts.authenticate("anne", PASSWORD)
