"""One-time links: who may make them, what for, and when they are no longer good."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from archive.errors import AccountRefused, LinkRefused, NotAllowed
from archive.services.accounts import Accounts, NewAccount
from archive.services.invitations import ADD, FIRST, INVITE, RECOVER, Invitations
from archive.services.ledger import Ledger
from archive.services.people import Person
from tests.unit.services.shelf import Clock

BEA = NewAccount("bea", "Béatrice Noël", frozenset({"radiologist"}), frozenset({"CHU"}))


def test_the_first_link_is_for_an_operator_and_ends_with_the_first_account(
    invitations: Invitations, accounts: Accounts, ledger: Ledger
) -> None:
    """Until there is an account a start makes a link, and the newest alone is good; then none is."""
    old, new = invitations.first(), invitations.first()
    assert old is not None and new is not None
    with pytest.raises(LinkRefused):
        invitations.open(old)
    link = invitations.open(new)
    assert (link.purpose, link.roles, link.made_by) == (FIRST, frozenset({"operator"}), "(at the machine)")
    accounts.set(NewAccount("anne", "Anne", frozenset({"operator"})), "correct horse battery", by=None)
    assert invitations.first() is None
    with pytest.raises(LinkRefused):
        invitations.open(new)


def test_an_operator_invites_with_roles_and_sites(invitations: Invitations, anne: Person) -> None:
    """The link says whose account it makes; somebody without the permission makes none."""
    link = invitations.open(invitations.invite(BEA, by=anne))
    assert (link.purpose, link.name, link.full_name, link.roles, link.sites, link.made_by) == (
        INVITE,
        "bea",
        "Béatrice Noël",
        frozenset({"radiologist"}),
        frozenset({"CHU"}),
        "anne",
    )
    with pytest.raises(NotAllowed, match="operator"):
        invitations.invite(BEA, by=Person("bea", "Béatrice", frozenset({"radiologist"})))
    with pytest.raises(AccountRefused, match="roles are"):
        invitations.invite(NewAccount("bea", "Béatrice", frozenset({"king"})), by=anne)


def test_only_an_open_account_is_recovered_or_gets_another_key(
    invitations: Invitations, accounts: Accounts, anne: Person
) -> None:
    """A link for a closed account would open it again."""
    accounts.set(BEA, "correct horse battery", by=anne)
    bea = accounts.authenticate("bea", "correct horse battery")
    assert invitations.open(invitations.recover("bea")).purpose == RECOVER
    assert invitations.open(invitations.add(bea)).purpose == ADD
    accounts.disable("bea", by=anne)
    with pytest.raises(AccountRefused, match="no such open account"):
        invitations.add(bea)
    for name in ("bea", "eve"):
        with pytest.raises(AccountRefused, match="no such open account"):
            invitations.recover(name)


@pytest.mark.parametrize(
    ("make", "hours"),
    [
        (lambda links, anne: links.invite(BEA, by=anne), 48),
        (lambda links, anne: links.recover("anne"), 1),
        (lambda links, anne: links.add(anne), 1),
    ],
    ids=["invite", "recover", "add"],
)
def test_links_end_by_themselves(
    invitations: Invitations, anne: Person, clock: Clock, make: Callable[[Invitations, Person], str], hours: int
) -> None:
    """Nobody finds a good link in an old mail."""
    token = make(invitations, anne)
    clock.advance(hours=hours, seconds=-1)
    invitations.open(token)
    clock.advance(seconds=1)
    with pytest.raises(LinkRefused):
        invitations.open(token)


def test_a_newer_link_replaces_the_one_before(invitations: Invitations, anne: Person) -> None:
    """Of two links for one name only the second is good: a mail that went astray is made worthless."""
    first, second = invitations.invite(BEA, by=anne), invitations.invite(BEA, by=anne)
    with pytest.raises(LinkRefused):
        invitations.open(first)
    invitations.open(second)


def test_links_come_back_with_the_ledger_and_hold_no_token(
    invitations: Invitations, ledger: Ledger, anne: Person
) -> None:
    """An index made again knows the links; what the ledger keeps opens nothing."""
    token = invitations.invite(BEA, by=anne)
    with ledger.database.write(synced=False) as connection:
        ledger.files.replay(connection)
    assert invitations.open(token).name == "bea"
    text = b"".join(path.read_bytes() for path in ledger.files.root.iterdir())
    assert token.encode() not in text
