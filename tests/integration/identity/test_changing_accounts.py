"""Changing accounts: other roles, another password, and an operator who always remains."""

from __future__ import annotations

import pytest

from archive.errors import AccountRefused, NotAllowed
from archive.services.accounts import Accounts, NewAccount
from archive.services.ledger import Ledger
from archive.services.people import ROLES, Person
from tests.integration.identity.conftest import PASSWORD

BEA = NewAccount("bea", "Béatrice Noël", frozenset({"radiologist"}))


def test_every_role_of_the_table_can_be_given(accounts: Accounts, anne: Person) -> None:
    """An account may have any of them, and several."""
    accounts.set(NewAccount("all", "All Roles", frozenset(ROLES)), PASSWORD, by=anne)
    assert accounts.authenticate("all", PASSWORD).roles == set(ROLES)


def test_a_change_keeps_the_password(accounts: Accounts, anne: Person) -> None:
    """Other roles and sites, the same proof."""
    accounts.set(BEA, PASSWORD, by=anne)
    accounts.change(NewAccount("bea", "Béatrice Noël-Petit", frozenset({"auditor"}), frozenset({"CHU"})), by=anne)
    bea = accounts.authenticate("bea", PASSWORD)
    assert (bea.full_name, bea.roles, bea.sites) == ("Béatrice Noël-Petit", frozenset({"auditor"}), frozenset({"CHU"}))
    with pytest.raises(NotAllowed):
        accounts.change(BEA, by=bea)
    with pytest.raises(AccountRefused, match="no such open account"):
        accounts.change(NewAccount("eve", "Eve", frozenset({"auditor"})), by=anne)


def test_the_last_operator_stays_one(accounts: Accounts, anne: Person) -> None:
    """A change of roles cannot leave the archive without somebody who makes accounts."""
    with pytest.raises(AccountRefused, match="last operator"):
        accounts.change(NewAccount("anne", "Anne Le Goff", frozenset({"auditor"})), by=anne)
    accounts.change(NewAccount("anne", "Anne Goff", frozenset({"operator", "auditor"})), by=anne)


def test_an_account_without_a_password_has_none_that_fits(accounts: Accounts, ledger: Ledger, anne: Person) -> None:
    """Whoever has passkeys only cannot act at the command line, with no password and with any."""
    accounts.set(BEA, PASSWORD, by=anne)
    with ledger.database.write(synced=False) as connection:
        connection.exec_driver_sql("UPDATE account SET secret = '' WHERE name = 'bea'")
    for password in ("", PASSWORD):
        with pytest.raises(NotAllowed):
            accounts.authenticate("bea", password)
    accounts.set_password("bea", PASSWORD, by="(at the machine)")
    assert accounts.authenticate("bea", PASSWORD).roles == BEA.roles
    with pytest.raises(AccountRefused, match="12 characters"):
        accounts.set_password("bea", "short", by="(at the machine)")
