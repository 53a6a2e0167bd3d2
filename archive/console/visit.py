"""One request to the console, as its pages see it; must not answer it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from starlette.requests import Request

from archive.console.catalogue import Language
from archive.console.forms import Fields
from archive.errors import NoSuchResource
from archive.http.access import address_of
from archive.services.accesses import Access
from archive.services.people import Person

_HIGHEST_PAGE: Final = 1_000_000
REASON_COOKIE: Final = "drimbox_reason"
REASONS: Final = ("retention", "patient_request", "court", "check", "other")
"""Why somebody looks at studies, for the journal; ``retention`` is what the console is for."""


@dataclass(frozen=True, slots=True)
class Visit:
    """Who asks for what, in which language; ``fields`` are those of a form, ``cookie`` proves forms."""

    request: Request
    person: Person
    language: Language
    cookie: str
    fields: Fields = field(default_factory=dict)

    def given(self, name: str) -> str:
        """Return a field of the form, without spaces around it; "" when it was not sent."""
        values = self.fields.get(name)
        return values[-1].strip() if values else ""

    def all_given(self, name: str) -> Sequence[str]:
        """Return every value that was sent for a field."""
        return self.fields.get(name, ())

    def asked(self, name: str) -> str:
        """Return a value of the query string; "" when there is none. It never holds anything about a patient."""
        return self.request.query_params.get(name, "")

    def segment(self, name: str) -> str:
        """Return a part of the path."""
        return str(self.request.path_params[name])

    def number(self, name: str) -> int:
        """Return a part of the path that is a number. Raises NoSuchResource."""
        text = self.segment(name)
        if not text.isascii() or not text.isdigit() or len(text) > 18:
            raise NoSuchResource(reason="the address of a page of the console has a number here")
        return int(text)

    @property
    def page(self) -> int:
        """Return which page of a long list is asked for, from 1."""
        text = self.asked("page")
        return min(max(int(text), 1), _HIGHEST_PAGE) if text.isascii() and text.isdigit() and len(text) < 10 else 1

    @property
    def access(self) -> Access:
        """Return who looks, from where and why, for the journal."""
        reason = self.request.cookies.get(REASON_COOKIE, "")
        return Access(self.person, address_of(self.request.scope), reason if reason in REASONS else REASONS[0])
