"""Who acts: named accounts with roles, each proven by its password; must not decide what a role may do.

Passwords are kept as scrypt (RFC 7914) with a salt of their own. The first account is made by whoever holds the home:
until there is one, nobody could have made it.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Final

from archive.audit import Body
from archive.errors import AccountRefused, NotAllowed
from archive.index import accounts as table
from archive.index.accounts import AccountRow
from archive.index.session import Connection
from archive.services.ledger import Draft, Ledger

ROLES: Final = ("operator", "archivist", "director", "dim_physician", "archives_officer", "practitioner")
"""operator runs the archive; archivist proposes and holds; the others approve a disposal, each for their office."""

LEAST_CHARACTERS: Final = 12
_NAME: Final = re.compile(r"[a-z][a-z0-9._-]{1,31}")
_COST: Final = 2**14
_FIRST: Final = "(first account)"


@dataclass(frozen=True, slots=True)
class Account:
    """Somebody who proved who they are; ``sites`` empty: every site."""

    name: str
    full_name: str
    roles: frozenset[str]
    sites: frozenset[str] = frozenset()

    def require(self, roles: Collection[str], *, site: str | None = None) -> None:
        """Raise NotAllowed unless the account has one of the roles, for the site where one is given."""
        if self.roles.isdisjoint(roles):
            raise NotAllowed(name=self.name, reason=f"this takes the role {' or '.join(sorted(roles))}")
        if site is not None and self.sites and site not in self.sites:
            raise NotAllowed(name=self.name, reason=f"the account is not for the site {site}")


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

    def set(self, wanted: NewAccount, password: str, *, by: Account | None) -> None:
        """Make or change an account; ``by`` an operator, or None for the first. Raises AccountRefused, NotAllowed."""
        _check(wanted, password)
        secret = _secret(password)

        def decide(connection: Connection) -> list[Draft]:
            if by is None and table.all_accounts(connection):
                raise NotAllowed(name=wanted.name, reason="there are accounts: an operator makes the next (--as NAME)")
            if by is None and "operator" not in wanted.roles:
                raise AccountRefused(name=wanted.name, reason="the first account takes the role operator")
            if by is not None:
                by.require(("operator",))
            public: Body = {"account": wanted.name, "roles": sorted(wanted.roles), "sites": sorted(wanted.sites)}
            data = {"name": wanted.name, "full_name": wanted.full_name, "secret": secret}
            lists = {"roles": sorted(wanted.roles), "sites": sorted(wanted.sites)}
            return [Draft("account_set", {**data, **lists}, public)]

        self.ledger.act(_FIRST if by is None else by.name, decide)

    def disable(self, name: str, *, by: Account) -> None:
        """Close an account; the last operator's stays open. Raises AccountRefused, NotAllowed."""
        by.require(("operator",))

        def decide(connection: Connection) -> list[Draft]:
            account = table.find(connection, name)
            if account is None or account.disabled_at is not None:
                raise AccountRefused(name=name, reason="there is no such open account")
            if not _operators(each for each in table.all_accounts(connection) if each.name != name):
                raise AccountRefused(name=name, reason="it is the last operator's")
            return [Draft("account_disabled", {"name": name}, {"account": name})]

        self.ledger.act(by.name, decide)

    def authenticate(self, name: str, password: str) -> Account:
        """Return the account whose password this is; raise NotAllowed, the same for a wrong name and password."""
        with self.ledger.database.read() as connection:
            row = table.find(connection, name)
        secret = row.secret if row is not None else _NOBODY
        is_right = _is_right(password, secret)
        if row is None or row.disabled_at is not None or not is_right:
            raise NotAllowed(name=name, reason="the name or the password is wrong, or the account is closed")
        return Account(row.name, row.full_name, row.roles, row.sites)

    def list(self) -> list[AccountRow]:
        """Return every account, closed ones too."""
        with self.ledger.database.read() as connection:
            return table.all_accounts(connection)


def _operators(rows: Iterable[AccountRow]) -> bool:
    return any("operator" in row.roles and row.disabled_at is None for row in rows)


def _check(wanted: NewAccount, password: str) -> None:
    if not _NAME.fullmatch(wanted.name):
        raise AccountRefused(name=wanted.name, reason="a name is 2 to 32 of a-z, 0-9, dot, dash, low line")
    unknown = wanted.roles.difference(ROLES)
    if unknown or not wanted.roles:
        raise AccountRefused(name=wanted.name, reason=f"roles are: {', '.join(ROLES)}")
    if not wanted.full_name.strip() or not wanted.full_name.isprintable():
        raise AccountRefused(name=wanted.name, reason="a full name is needed: it is printed on lists and certificates")
    if len(password) < LEAST_CHARACTERS:
        raise AccountRefused(name=wanted.name, reason=f"a password has {LEAST_CHARACTERS} characters or more")


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
