"""Knows who signed in by the session cookie, and what another site made a browser send; must not begin a session."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from starlette.requests import HTTPConnection
from starlette.types import Scope

from archive.errors import NotAllowed
from archive.http.origins import SAFE_METHODS, Origin, read_cookie
from archive.services.people import Person
from archive.services.sessions import Sessions

SESSION: Final = "drimbox"


@dataclass(frozen=True, slots=True)
class SignedIn:
    """Whoever has a session. What changes something has to come from a page of ours, on every path of the port."""

    sessions: Sessions
    origin: Origin

    def __call__(self, scope: Scope) -> Person | None:
        """Return whose session it is, or None; raise NotAllowed for what another site's page sends in their name."""
        token = read_cookie(HTTPConnection(scope), SESSION)
        person = None if token is None else self.sessions.find(token)
        if person is not None and scope["method"] not in SAFE_METHODS and not self.origin.is_same(scope):
            raise NotAllowed(name=person.name, reason="the request was not made by a page of this archive")
        return person
