"""Who acts: named accounts with roles, proven by a password at the command line; must not decide what a role may do.

Passwords are kept as scrypt (RFC 7914) with a salt of their own. The first account is made by whoever holds the home:
until there is one, nobody could have made it.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
from dataclasses import dataclass
from typing import Final

from archive.audit import Body
from archive.errors import AccountRefused, NotAllowed
from archive.index import accounts as table, web_sessions
from archive.index.accounts import AccountRow
from archive.index.session import Connection
from archive.services.ledger import Draft, Ledger
from archive.services.people import ROLES, Permission, Person

LEAST_CHARACTERS: Final = 12
_NAME: Final = re.compile(r"[a-z][a-z0-9._-]{1,31}")
_COST: Final = 2**14
_FIRST: Final = "(first account)"


@dataclass(frozen=True, slots=True)
class NewAccount:
    """An account to be made, or changed."""

    name: str
    full_name: str
    roles: frozenset[str]
    sites: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Accounts:
    """The accounts of one archive."""

    ledger: Ledger

    def set(self, wanted: NewAccount, password: str, *, by: Person | None) -> None:
        """Make or change an account; ``by`` an operator, or None for the first. Raises AccountRefused, NotAllowed."""
        check_account(wanted)
        secret = _secret(_checked(wanted.name, password))

        def decide(connection: Connection) -> list[Draft]:
            if by is None and table.all_accounts(connection):
                raise NotAllowed(name=wanted.name, reason="there are accounts: an operator makes the next (--as NAME)")
            if by is None and "operator" not in wanted.roles:
                raise AccountRefused(name=wanted.name, reason="the first account takes the role operator")
            if by is not None:
                by.require(Permission.MANAGE_ACCOUNTS)
            return [account_draft(wanted, secret)]

        self.ledger.act(_FIRST if by is None else by.name, decide)

    def change(self, wanted: NewAccount, *, by: Person) -> None:
        """Give an open account another name, roles or sites; its keys and password stay. Raises as ``set``."""
        check_account(wanted)
        by.require(Permission.MANAGE_ACCOUNTS)

        def decide(connection: Connection) -> list[Draft]:
            account = _open(connection, wanted.name)
            if "operator" not in wanted.roles:
                _keep_an_operator(connection, wanted.name)
            return [account_draft(wanted, account.secret)]

        self.ledger.act(by.name, decide)

    def set_password(self, name: str, password: str, *, by: str) -> None:
        """Give an open account another password; ``by`` is who does it, for the journal. Raises AccountRefused."""
        secret = _secret(_checked(name, password))

        def decide(connection: Connection) -> list[Draft]:
            row = _open(connection, name)
            return [account_draft(NewAccount(name, row.full_name, row.roles, row.sites), secret)]

        self.ledger.act(by, decide)

    def disable(self, name: str, *, by: Person) -> None:
        """Close an account and end its sessions; the last operator's stays open. Raises AccountRefused, NotAllowed."""
        by.require(Permission.MANAGE_ACCOUNTS)

        def decide(connection: Connection) -> list[Draft]:
            _open(connection, name)
            _keep_an_operator(connection, name)
            web_sessions.end_all(connection, name)
            return [Draft("account_disabled", {"name": name}, {"account": name})]

        self.ledger.act(by.name, decide)

    def authenticate(self, name: str, password: str) -> Person:
        """Return the account whose password this is; raise NotAllowed, the same for a wrong name and password."""
        with self.ledger.database.read() as connection:
            row = table.find(connection, name)
        secret = row.secret or _NOBODY if row is not None else _NOBODY
        is_right = _is_right(password, secret)
        if row is None or row.disabled_at is not None or not is_right:
            raise NotAllowed(name=name, reason="the name or the password is wrong, or the account is closed")
        return Person(row.name, row.full_name, row.roles, row.sites)

    def list(self) -> list[AccountRow]:
        """Return every account, closed ones too."""
        with self.ledger.database.read() as connection:
            return table.all_accounts(connection)


def account_draft(wanted: NewAccount, secret: str) -> Draft:
    """Return the event that makes or changes an account; ``secret`` "" is one without a password."""
    public: Body = {"account": wanted.name, "roles": sorted(wanted.roles), "sites": sorted(wanted.sites)}
    data = {"name": wanted.name, "full_name": wanted.full_name, "secret": secret}
    lists = {"roles": sorted(wanted.roles), "sites": sorted(wanted.sites)}
    return Draft("account_set", {**data, **lists}, public)


def check_account(wanted: NewAccount) -> None:
    """Raise AccountRefused unless there may be such an account."""
    if not _NAME.fullmatch(wanted.name):
        raise AccountRefused(name=wanted.name, reason="a name is 2 to 32 of a-z, 0-9, dot, dash, low line")
    unknown = wanted.roles.difference(ROLES)
    if unknown or not wanted.roles:
        raise AccountRefused(name=wanted.name, reason=f"roles are: {', '.join(ROLES)}")
    if not wanted.full_name.strip() or not wanted.full_name.isprintable():
        raise AccountRefused(name=wanted.name, reason="a full name is needed: it is printed on lists and certificates")


def _checked(name: str, password: str) -> str:
    if len(password) < LEAST_CHARACTERS:
        raise AccountRefused(name=name, reason=f"a password has {LEAST_CHARACTERS} characters or more")
    return password


def _open(connection: Connection, name: str) -> AccountRow:
    account = table.find(connection, name)
    if account is None or account.disabled_at is not None:
        raise AccountRefused(name=name, reason="there is no such open account")
    return account


def _keep_an_operator(connection: Connection, name: str) -> None:
    """Raise AccountRefused when nobody else could make accounts."""
    others = (row for row in table.all_accounts(connection) if row.name != name)
    if not any("operator" in row.roles and row.disabled_at is None for row in others):
        raise AccountRefused(name=name, reason="it is the last operator's")


def _secret(password: str, salt: bytes | None = None) -> str:
    salt = os.urandom(16) if salt is None else salt
    key = hashlib.scrypt(password.encode(), salt=salt, n=_COST, r=8, p=1, dklen=32)
    return f"scrypt${_COST}${salt.hex()}${key.hex()}"


def _is_right(password: str, secret: str) -> bool:
    _, cost, salt, key = secret.split("$")
    found = hashlib.scrypt(password.encode(), salt=bytes.fromhex(salt), n=int(cost), r=8, p=1, dklen=32)
    return hmac.compare_digest(found.hex(), key)


_NOBODY: Final = f"scrypt${_COST}${bytes(16).hex()}${bytes(32).hex()}"
"""What a password is compared with when there is no such account, so that the answer takes as long."""
