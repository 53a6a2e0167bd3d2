"""Somebody comes in: the attempt is bounded, journaled, and ends in a session; must not know how they prove it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from archive.audit import Entry
from archive.clock import Clock
from archive.errors import ProviderFailed, SignInError
from archive.services.pending import Attempts
from archive.services.people import Person
from archive.services.sessions import Sessions


@dataclass(frozen=True, slots=True)
class SignIn:
    """The one way into a session."""

    sessions: Sessions
    attempts: Attempts
    clock: Clock

    def attempt(self, address: str, prove: Callable[[], Person]) -> str:
        """Let somebody prove who they are, and return the token of their session. Raises SignInError."""
        return self.sessions.begin(self.bounded(address, prove), address=address)

    def bounded(self, address: str, prove: Callable[[], Person]) -> Person:
        """Return who somebody proves to be; count and journal a failure. Raises SignInError."""
        self.attempts.check(address)
        try:
            return prove()
        except SignInError as exc:
            if not isinstance(exc, ProviderFailed):  # that is no fault of whoever comes
                self.attempts.note_failure(address)
                self._journal(address, exc)
            raise

    def _journal(self, address: str, error: SignInError) -> None:
        actor = str(error.fields.get("person", "(unknown)"))
        entry = Entry(self.clock(), "sign_in_refused", actor, {"address": address, "reason": error.message})
        self.sessions.committer.post(entry)
