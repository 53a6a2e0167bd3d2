"""Sessions of browsers that signed in, by the digest of their token; must not know a token or judge a moment."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from archive.index.records import from_text, to_text
from archive.index.session import Connection
from archive.index.statements import Statement, insert_into


@dataclass(frozen=True, slots=True)
class WebSession:
    """One session: who, how they came in, when it began, was last used, and ends at the latest."""

    token_sha256: str
    name: str
    full_name: str
    roles: frozenset[str]
    sites: frozenset[str]
    via: str
    begun_at: datetime
    seen_at: datetime
    until: datetime


_COLUMNS: Final = ("token_sha256", "name", "full_name", "roles", "sites", "via", "begun_at", "seen_at", "until")
_ADD: Final = insert_into("web_session", _COLUMNS)
_FIND: Final = Statement(f"SELECT {', '.join(_COLUMNS)} FROM web_session WHERE token_sha256 = ?")
_SEEN: Final = Statement("UPDATE web_session SET seen_at = ? WHERE token_sha256 = ?")
_END: Final = Statement("DELETE FROM web_session WHERE token_sha256 = ?")
_END_ALL: Final = Statement("DELETE FROM web_session WHERE name = ?")
_SWEEP: Final = Statement("DELETE FROM web_session WHERE until <= ? OR seen_at <= ?")


def add(connection: Connection, session: WebSession) -> None:
    """Keep a session."""
    lists = ("\n".join(sorted(session.roles)), "\n".join(sorted(session.sites)))
    moments = (to_text(session.begun_at), to_text(session.seen_at), to_text(session.until))
    _ADD.run(connection, (session.token_sha256, session.name, session.full_name, *lists, session.via, *moments))


def find(connection: Connection, token_sha256: str) -> WebSession | None:
    """Return the session of a token's digest (hexadecimal), or None."""
    row = _FIND.one(connection, (token_sha256,))
    if row is None:
        return None
    digest, name, full_name, roles, sites, via, *moments = row
    lists = (frozenset(filter(None, roles.split("\n"))), frozenset(filter(None, sites.split("\n"))))
    return WebSession(digest, name, full_name, *lists, via, *map(from_text, moments))


def note_seen(connection: Connection, token_sha256: str, at: datetime) -> None:
    """Remember that a session was used."""
    _SEEN.run(connection, (to_text(at), token_sha256))


def end(connection: Connection, token_sha256: str) -> None:
    """End one session."""
    _END.run(connection, (token_sha256,))


def end_all(connection: Connection, name: str) -> None:
    """End every session of somebody."""
    _END_ALL.run(connection, (name,))


def sweep(connection: Connection, *, over_at: datetime, idle_since: datetime) -> None:
    """Forget the sessions whose time was over at a moment, or that nobody used since another."""
    _SWEEP.run(connection, (to_text(over_at), to_text(idle_since)))
