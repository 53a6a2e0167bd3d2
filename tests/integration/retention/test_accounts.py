"""Accounts: who may make one, and what proves who acts."""

from __future__ import annotations

import pytest

from archive.errors import AccountRefused, NotAllowed
from archive.services.accounts import Accounts, NewAccount
from archive.services.ledger import Ledger
from archive.services.people import Person

PASSWORD = "correct horse battery"
ANNE = NewAccount("anne", "Anne Le Goff", frozenset({"operator"}))
BEA = NewAccount("bea", "Béatrice Noël", frozenset({"director"}), frozenset({"CHU"}))


@pytest.fixture
def accounts(ledger: Ledger) -> Accounts:
    """Lend the accounts of an archive that has none yet."""
    return Accounts(ledger)


@pytest.fixture
def anne(accounts: Accounts) -> Person:
    """Lend the first account: an operator."""
    accounts.set(ANNE, PASSWORD, by=None)
    return accounts.authenticate("anne", PASSWORD)


def test_the_first_account_is_an_operator_and_makes_the_others(accounts: Accounts, anne: Person) -> None:
    """Nobody is needed for the first, an operator for each one after it."""
    with pytest.raises(NotAllowed, match="--as"):
        accounts.set(BEA, PASSWORD, by=None)
    accounts.set(BEA, PASSWORD, by=anne)
    bea = accounts.authenticate("bea", PASSWORD)
    assert (bea.full_name, bea.roles, bea.sites) == (BEA.full_name, BEA.roles, BEA.sites)
    with pytest.raises(NotAllowed, match="operator"):
        accounts.set(BEA, PASSWORD, by=bea)
    assert [(row.name, row.created_by) for row in accounts.list()] == [("anne", "(first account)"), ("bea", "anne")]


def test_the_first_account_must_be_able_to_make_another(accounts: Accounts) -> None:
    """Without an operator nobody could ever be added."""
    with pytest.raises(AccountRefused, match="operator"):
        accounts.set(BEA, PASSWORD, by=None)


def test_a_password_proves_who_acts(accounts: Accounts, anne: Person) -> None:
    """A wrong name and a wrong password hear the same; a changed password counts at once."""
    for name, password in (("anne", "another password"), ("nobody", PASSWORD)):
        with pytest.raises(NotAllowed, match="name or the password"):
            accounts.authenticate(name, password)
    accounts.set(ANNE, "a new password!", by=anne)
    assert accounts.authenticate("anne", "a new password!") == anne
    with pytest.raises(NotAllowed):
        accounts.authenticate("anne", PASSWORD)


def test_no_password_is_in_the_ledger(ledger: Ledger, accounts: Accounts, anne: Person) -> None:
    """Only a salted digest is kept, another one for the same password of somebody else."""
    accounts.set(BEA, PASSWORD, by=anne)
    text = b"".join(path.read_bytes() for path in ledger.files.root.iterdir())
    assert PASSWORD.encode() not in text
    assert len({row.secret for row in accounts.list()}) == 2


def test_a_closed_account_acts_no_more_and_the_last_operator_stays(accounts: Accounts, anne: Person) -> None:
    """Closing bars the way in and keeps the history; an archive is never left without an operator."""
    accounts.set(BEA, PASSWORD, by=anne)
    accounts.disable("bea", by=anne)
    with pytest.raises(NotAllowed):
        accounts.authenticate("bea", PASSWORD)
    for name in ("anne", "bea", "nobody"):
        with pytest.raises(AccountRefused):
            accounts.disable(name, by=anne)


def test_roles_and_sites_are_asked_for() -> None:
    """One of the roles is enough; an account for one site may not act for another."""
    bea = Person("bea", "Béatrice Noël", frozenset({"director"}), frozenset({"CHU"}))
    bea.require_role(("director", "operator"), site="CHU")
    with pytest.raises(NotAllowed, match="archivist"):
        bea.require_role(("archivist",))
    with pytest.raises(NotAllowed, match="Clinique"):
        bea.require_role(("director",), site="Clinique")
    Person("carl", "Carl", frozenset({"director"})).require_role(("director",), site="Clinique")


@pytest.mark.parametrize(
    ("wanted", "password", "reason"),
    [
        (NewAccount("Anne", "Anne", frozenset({"operator"})), PASSWORD, "a-z"),
        (NewAccount("anne", "Anne", frozenset({"king"})), PASSWORD, "roles are"),
        (NewAccount("anne", "Anne", frozenset()), PASSWORD, "roles are"),
        (NewAccount("anne", " ", frozenset({"operator"})), PASSWORD, "full name"),
        (NewAccount("anne", "Anne", frozenset({"operator"})), "short", "12 characters"),
    ],
)
def test_an_account_that_cannot_be_is_refused(
    accounts: Accounts, wanted: NewAccount, password: str, reason: str
) -> None:
    """Each refusal says what would be right."""
    with pytest.raises(AccountRefused, match=reason):
        accounts.set(wanted, password, by=None)
