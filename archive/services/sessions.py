"""Sessions of browsers: begun by whoever signed in, ended by time, by hand or with the account; must not know cookies.

A token is random and is kept as its digest. What an account may do is looked up at every request, so that a change or
the end of an account counts at once; somebody who came by the identity provider keeps what was told then.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from archive.audit import Body, Entry
from archive.clock import Clock
from archive.index import accounts, web_sessions
from archive.index.session import Connection
from archive.index.web_sessions import WebSession
from archive.services.committer import Committer
from archive.services.pending import digest_of, new_token
from archive.services.people import Person

PASSKEY: Final = "passkey"
OIDC: Final = "oidc"
_NOTED_EVERY: Final = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Sessions:
    """The sessions of one archive: over when unused for ``idle``, and ``whole`` after they began."""

    committer: Committer
    clock: Clock
    idle: timedelta = timedelta(minutes=30)
    whole: timedelta = timedelta(hours=10)

    def begin(self, person: Person, *, address: str) -> str:
        """Begin a session, journal it, and return its token. Raises IndexUnavailable."""
        now, token = self.clock(), new_token()
        who = (person.name, person.full_name, person.roles, person.sites, person.via)
        session = WebSession(digest_of(token), *who, now, now, now + self.whole)

        def keep(connection: Connection) -> None:
            web_sessions.sweep(connection, over_at=now, idle_since=now - self.idle)
            web_sessions.add(connection, session)

        self.committer.record(self._entry("signed_in", person, address), work=keep)
        return token

    def find(self, token: str) -> Person | None:
        """Return whose session a token is, or None when it is over. Raises IndexUnavailable."""
        now, digest = self.clock(), digest_of(token)
        with self.committer.database.glance() as connection:
            session = web_sessions.find(connection, digest)
            if session is None or now >= session.until or now >= session.seen_at + self.idle:
                return None
            person = _person(connection, session)
        if person is not None and now >= session.seen_at + _NOTED_EVERY:
            self._note_seen(digest, now)
        return person

    def end(self, token: str, *, address: str) -> None:
        """End a session, if there is one, and journal it. Raises IndexUnavailable."""
        person = self.find(token)
        if person is not None:
            digest = digest_of(token)
            self.committer.record(
                self._entry("signed_out", person, address),
                work=lambda connection: web_sessions.end(connection, digest),
            )

    def _note_seen(self, digest: str, now: datetime) -> None:
        self.committer.record(work=lambda connection: web_sessions.note_seen(connection, digest, now))

    def _entry(self, event: str, person: Person, address: str) -> Entry:
        told: Body = {"full_name": person.full_name, "roles": sorted(person.roles), "via": person.via}
        return Entry(self.clock(), event, person.name, {**told, "address": address})


def form_token(token: str) -> str:
    """Return what a form of a session carries, so that no other site can send it in the session's name."""
    return hmac.digest(token.encode("utf-8", "replace"), b"form", hashlib.sha256).hex()


def is_form_token(given: str, token: str) -> bool:
    """Tell whether a form was made for this session."""
    return hmac.compare_digest(given.encode("utf-8", "replace"), form_token(token).encode())


def _person(connection: Connection, session: WebSession) -> Person | None:
    if session.via == OIDC:
        return Person(session.name, session.full_name, session.roles, session.sites, via=OIDC)
    account = accounts.find(connection, session.name)
    if account is None or account.disabled_at is not None:
        return None
    return Person(account.name, account.full_name, account.roles, account.sites, via=session.via)
