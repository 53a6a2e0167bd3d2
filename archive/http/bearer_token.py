"""Takes an access token out of a request, with the certificate it came over; must not judge either."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.types import Scope

from archive.http.access import address_of, certificate_of
from archive.services.people import Person
from archive.services.sign_in import SignIn


@dataclass(frozen=True, slots=True)
class TokenShown:
    """Whoever sends ``Authorization: Bearer`` (RFC 6750 section 2.1); a token in an address is not looked at."""

    person_of: Callable[[str, bytes | None], Person]
    sign_in: SignIn

    def __call__(self, scope: Scope) -> Person | None:
        """Return who shows the token, or None when there is none; raise SignInError for one that is no good."""
        scheme, _, token = Headers(scope=scope).get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            return None
        pem = certificate_of(scope)
        certificate = None if pem is None else ssl.PEM_cert_to_DER_cert(pem)
        return self.sign_in.bounded(address_of(scope), lambda: self.person_of(token.strip(), certificate))
