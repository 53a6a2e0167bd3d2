"""One-time links: for the first administrator, for a new account, for somebody who lost a key; must not see a passkey.

A link holds a random token behind ``#``, which no browser sends and no log sees. The ledger keeps its digest.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from archive.audit import Body
from archive.clock import Clock
from archive.errors import AccountRefused, LinkRefused
from archive.index import accounts, passkeys
from archive.index.passkeys import Invitation
from archive.index.records import to_text
from archive.index.session import Connection
from archive.services.accounts import NewAccount, check_account
from archive.services.ledger import Draft, Ledger
from archive.services.pending import digest_of, new_token
from archive.services.people import Permission, Person

FIRST: Final = "first"
INVITE: Final = "invite"
ADD: Final = "add"
RECOVER: Final = "recover"

AT_MACHINE: Final = "(at the machine)"
"""What the journal calls whoever holds the home and acts without an account."""


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """How long links are good for."""

    first: timedelta = timedelta(hours=1)
    invite: timedelta = timedelta(hours=48)
    recover: timedelta = timedelta(hours=1)

    def of(self, purpose: str) -> timedelta:
        """Return how long a link of this purpose is good for."""
        return {FIRST: self.first, INVITE: self.invite}.get(purpose, self.recover)


@dataclass(frozen=True, slots=True)
class Invitations:
    """Makes links and tells what they are for. Methods return a link's token, which is nowhere else."""

    ledger: Ledger
    clock: Clock
    lifetimes: Lifetimes = Lifetimes()

    def first(self) -> str | None:
        """Make the link for the first administrator; None when there is an account. The one before is void."""
        operator = NewAccount("", "", frozenset({"operator"}))
        return self._make(self._link(FIRST, operator, by=AT_MACHINE), is_first=True)

    def invite(self, wanted: NewAccount, *, by: Person) -> str:
        """Make a link for a new account, or for other roles and keys of one. Raises AccountRefused, NotAllowed."""
        by.require(Permission.MANAGE_ACCOUNTS)
        check_account(wanted)
        return self._made(self._link(INVITE, wanted, by=by.name))

    def recover(self, name: str) -> str:
        """Make a link for somebody who lost every key: whoever commands the machine may. Raises AccountRefused."""
        return self._made(self._link(RECOVER, self._account(name), by=AT_MACHINE))

    def add(self, person: Person) -> str:
        """Make a link by which somebody gives their own account one more key. Raises AccountRefused."""
        return self._made(self._link(ADD, self._account(person.name), by=person.name))

    def has_accounts(self) -> bool:
        """Tell whether there is an account: the first administrator's link makes no other then."""
        with self.ledger.database.read() as connection:
            return bool(accounts.all_accounts(connection))

    def open(self, token: str) -> Invitation:
        """Return what a link is for; raise LinkRefused when it is no longer good."""
        with self.ledger.database.read() as connection:
            return good_invitation(connection, digest_of(token), self.clock())

    def _account(self, name: str) -> NewAccount:
        with self.ledger.database.read() as connection:
            row = accounts.find(connection, name)
        if row is None or row.disabled_at is not None:
            raise AccountRefused(name=name, reason="there is no such open account")
        return NewAccount(name, row.full_name, row.roles, row.sites)

    def _link(self, purpose: str, wanted: NewAccount, *, by: str) -> Invitation:
        until = self.clock() + self.lifetimes.of(purpose)
        return Invitation("", purpose, wanted.name, wanted.full_name, wanted.roles, wanted.sites, until, by)

    def _made(self, link: Invitation) -> str:
        token = self._make(link)
        assert token is not None
        return token

    def _make(self, link: Invitation, *, is_first: bool = False) -> str | None:
        token = new_token()
        draft = _draft(link, digest_of(token))

        def decide(connection: Connection) -> list[Draft]:
            return [] if is_first and accounts.all_accounts(connection) else [draft]

        return token if self.ledger.act(link.made_by, decide) else None


def good_invitation(connection: Connection, token_sha256: str, now: datetime) -> Invitation:
    """Return what a link is for; raise LinkRefused when it was spent, is too old, or is the first no more."""
    invitation = passkeys.find_invitation(connection, token_sha256)
    if invitation is None or now >= invitation.until:
        raise LinkRefused()
    if invitation.purpose == FIRST and accounts.all_accounts(connection):
        raise LinkRefused()
    return invitation


def _draft(link: Invitation, token_sha256: str) -> Draft:
    lists = {"roles": sorted(link.roles), "sites": sorted(link.sites)}
    public: Body = {"account": link.name, "purpose": link.purpose, "until": to_text(link.until), **lists}
    data = {"token_sha256": token_sha256, "name": link.name, "full_name": link.full_name}
    return Draft("account_invited", {**data, "purpose": link.purpose, "until": to_text(link.until), **lists}, public)
