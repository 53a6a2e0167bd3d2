"""What a request says of who asks, from where and why; must not decide what they may do."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from typing import Final
from urllib.parse import unquote

from starlette.requests import HTTPConnection
from starlette.types import Scope

from archive.errors import NotAuthenticated
from archive.services.accesses import Access
from archive.services.people import Person

Authenticator = Callable[[Scope], Person | None]
"""Says who sends a request, or None when it does not know; raises NotAuthenticated or NotAllowed to refuse it.

It gets the ASGI scope: ``client`` is the address of who asks, proxies believed, ``extensions["tls"]`` has the client's
certificate. It may block for a request with a cookie or an ``Authorization``, for which it runs in a thread.
"""

REASON_HEADER: Final = "access-reason"
"""The request header in which a client says why it looks (percent-encoded UTF-8); it goes to the journal."""

_PERSON: Final = "person"
_LONGEST_REASON: Final = 200


def set_person(scope: Scope, person: Person | None) -> None:
    """Note who sends a request, for ``person_of``."""
    scope.setdefault("state", {})[_PERSON] = person


def person_of(request: HTTPConnection) -> Person:
    """Return who sends a request; raise NotAuthenticated where nobody had to say."""
    found = signed_in_person(request.scope)
    if found is None:
        raise NotAuthenticated(reason="nobody is signed in")
    return found


def signed_in_person(scope: Scope) -> Person | None:
    """Return who sends a request, or None: where everybody may come in."""
    found = scope.get("state", {}).get(_PERSON)
    return found if isinstance(found, Person) else None


def access_of(request: HTTPConnection) -> Access:
    """Return who asks, from which address, and the reason they give."""
    return Access(person_of(request), address_of(request.scope), _reason(request))


def address_of(scope: Scope) -> str:
    """Return the address a request comes from, without its port."""
    client = scope.get("client")
    return str(client[0]) if client else ""


def certificate_of(scope: Scope) -> str | None:
    """Return the client's TLS certificate in PEM, or None."""
    chain = scope.get("extensions", {}).get("tls", {}).get("client_cert_chain") or [None]
    return chain[0] if isinstance(chain[0], str) else None


def _reason(request: HTTPConnection) -> str:
    text = unquote(request.headers.get(REASON_HEADER, ""))
    return "".join(each for each in text if unicodedata.category(each)[0] != "C")[:_LONGEST_REASON].strip()
