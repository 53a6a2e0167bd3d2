"""Passkeys of accounts and the links by which they are made; must not check a signature or a moment.

Both are projections of the ledger. A passkey's counter and last use are not in the ledger: made again, they start at
what the passkey said when it was added.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from archive.index.records import Event, from_text, to_text
from archive.index.session import Connection
from archive.index.statements import Row, Statement, insert_into


@dataclass(frozen=True, slots=True)
class PasskeyRow:
    """One passkey: ``credential`` is the attested credential data (WebAuthn section 6.5.1), ids are base64url."""

    credential_id: str
    account: str
    credential: bytes
    sign_count: int
    added_at: datetime
    used_at: datetime | None


@dataclass(frozen=True, slots=True)
class Invitation:
    """What a link is for: ``first``, ``invite``, ``recover`` or ``add``; ``until`` is when it ends."""

    token_sha256: str
    purpose: str
    name: str
    full_name: str
    roles: frozenset[str]
    sites: frozenset[str]
    until: datetime
    made_by: str


_KEY: Final = ("credential_id", "account", "credential", "sign_count", "added_at")
_LINK: Final = ("token_sha256", "purpose", "name", "full_name", "roles", "sites", "until", "made_by")
_ADD: Final = insert_into("passkey", _KEY)
_SELECT: Final = f"SELECT {', '.join(_KEY)}, used_at FROM passkey"
_FIND: Final = Statement(f"{_SELECT} WHERE credential_id = ?")
_OF: Final = Statement(f"{_SELECT} WHERE account = ? ORDER BY added_at, credential_id")
_REMOVE_ALL: Final = Statement("DELETE FROM passkey WHERE account = ?")
_USED: Final = Statement("UPDATE passkey SET sign_count = ?, used_at = ? WHERE credential_id = ?")
_INVITE: Final = insert_into("invitation", _LINK)
_FORGET: Final = Statement("DELETE FROM invitation WHERE name = ?")
_SPEND: Final = Statement("DELETE FROM invitation WHERE token_sha256 = ?")
_LINK_OF: Final = Statement(f"SELECT {', '.join(_LINK)} FROM invitation WHERE token_sha256 = ?")


def apply_invited(connection: Connection, event: Event) -> None:
    """Keep a link by its digest; an earlier one for the same name is no longer good."""
    data = event.data
    lists = ("\n".join(sorted(data["roles"])), "\n".join(sorted(data["sites"])))
    _FORGET.run(connection, (data["name"],))
    named = (data["token_sha256"], data["purpose"], data["name"], data["full_name"])
    _INVITE.run(connection, (*named, *lists, data["until"], event.actor))


def apply_added(connection: Connection, event: Event) -> None:
    """Give an account a passkey, and spend the link it was made by."""
    data = event.data
    _ADD.run(
        connection,
        (data["credential_id"], data["name"], data["credential"], data["sign_count"], to_text(event.at)),
    )
    _SPEND.run(connection, (data["token_sha256"],))


def apply_removed(connection: Connection, event: Event) -> None:
    """Take all passkeys of an account away."""
    _REMOVE_ALL.run(connection, (event.data["name"],))


def find(connection: Connection, credential_id: str) -> PasskeyRow | None:
    """Return a passkey by its id, or None."""
    row = _FIND.one(connection, (credential_id,))
    return None if row is None else _passkey(row)


def of_account(connection: Connection, name: str) -> list[PasskeyRow]:
    """Return the passkeys of an account, the oldest first."""
    return [_passkey(row) for row in _OF.rows(connection, (name,))]


def note_use(connection: Connection, credential_id: str, *, sign_count: int, at: datetime) -> None:
    """Remember the counter a passkey showed, and when."""
    _USED.run(connection, (sign_count, to_text(at), credential_id))


def find_invitation(connection: Connection, token_sha256: str) -> Invitation | None:
    """Return what a link is for, by its digest in hexadecimal; None when it was spent or never made."""
    row = _LINK_OF.one(connection, (token_sha256,))
    if row is None:
        return None
    digest, purpose, name, full_name, roles, sites, until, made_by = row
    lists = (frozenset(filter(None, roles.split("\n"))), frozenset(filter(None, sites.split("\n"))))
    return Invitation(digest, purpose, name, full_name, *lists, from_text(until), made_by)


def _passkey(row: Row) -> PasskeyRow:
    credential_id, account, credential, sign_count, added_at, used_at = row
    moments = (from_text(added_at), None if used_at is None else from_text(used_at))
    return PasskeyRow(credential_id, account, bytes.fromhex(credential), sign_count, *moments)
