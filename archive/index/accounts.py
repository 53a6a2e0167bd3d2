"""Named accounts and what they may do; must not check a password: that is ``archive.services.accounts``."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from archive.index.records import Event, from_text, to_text
from archive.index.session import Connection
from archive.index.statements import Row, Statement, insert_into


@dataclass(frozen=True, slots=True)
class AccountRow:
    """One account; ``sites`` empty: every site. ``secret`` is what a password is checked against."""

    name: str
    full_name: str
    roles: frozenset[str]
    sites: frozenset[str]
    secret: str
    created_at: datetime
    created_by: str
    disabled_at: datetime | None


_COLUMNS: Final = ("name", "full_name", "roles", "sites", "secret", "created_at", "created_by")
_SELECT: Final = f"SELECT {', '.join(_COLUMNS)}, disabled_at FROM account"
_FIND: Final = Statement(f"{_SELECT} WHERE name = ?")
_ALL: Final = Statement(f"{_SELECT} ORDER BY name")
_SET: Final = insert_into(
    "account",
    _COLUMNS,
    " ON CONFLICT (name) DO UPDATE SET full_name = excluded.full_name, roles = excluded.roles, "
    "sites = excluded.sites, secret = excluded.secret, disabled_at = NULL",
)
_DISABLE: Final = Statement("UPDATE account SET disabled_at = ? WHERE name = ? AND disabled_at IS NULL")


def apply_set(connection: Connection, event: Event) -> None:
    """Create an account, or give one other roles, sites or another secret."""
    data = event.data
    lists = ("\n".join(sorted(data["roles"])), "\n".join(sorted(data["sites"])))
    _SET.run(connection, (data["name"], data["full_name"], *lists, data["secret"], to_text(event.at), event.actor))


def apply_disabled(connection: Connection, event: Event) -> None:
    """Close an account; what it did stays."""
    _DISABLE.run(connection, (to_text(event.at), event.data["name"]))


def find(connection: Connection, name: str) -> AccountRow | None:
    """Return an account, disabled or not, or None."""
    row = _FIND.one(connection, (name,))
    return None if row is None else _account(row)


def all_accounts(connection: Connection) -> list[AccountRow]:
    """Return every account, disabled ones too, by name."""
    return [_account(row) for row in _ALL.rows(connection)]


def _account(row: Row) -> AccountRow:
    name, full_name, roles, sites, secret, created_at, created_by, disabled_at = row
    return AccountRow(
        name=name,
        full_name=full_name,
        roles=frozenset(filter(None, roles.split("\n"))),
        sites=frozenset(filter(None, sites.split("\n"))),
        secret=secret,
        created_at=from_text(created_at),
        created_by=created_by,
        disabled_at=None if disabled_at is None else from_text(disabled_at),
    )
