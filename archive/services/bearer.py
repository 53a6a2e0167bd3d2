"""Proves access tokens shown to DICOMweb: good now, for this archive, by whose certificate; must not know HTTP.

RFC 6750, RFC 7662 or RFC 9068, and RFC 8705 section 3: a token that names a certificate is good only on a connection
made with it. What the provider said of a token is believed again for a moment, never beyond the token's own end.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from archive.clock import Clock
from archive.errors import TokenRefused
from archive.services.pending import digest_of
from archive.services.people import Person
from archive.services.professionals import Claims, Professionals
from archive.services.provider import Provider
from archive.services.signed_tokens import SignedTokens

BEARER: Final = "bearer"
_MOST: Final = 4096
_LONGEST: Final = 16 * 1024


@dataclass(slots=True)
class Bearers:
    """Who shows a token. ``audience`` is this archive's name at the provider."""

    provider: Provider
    tokens: SignedTokens
    professionals: Professionals
    clock: Clock
    audience: str
    by_introspection: bool = True
    certificate_bound: bool = True
    believed: timedelta = timedelta(seconds=30)
    _known: OrderedDict[str, tuple[datetime, Claims]] = field(default_factory=OrderedDict)
    _alone: threading.Lock = field(default_factory=threading.Lock)

    def person(self, token: str, certificate: bytes | None) -> Person:
        """Return who shows a token over a connection with this client certificate (DER). Raises SignInError."""
        if len(token) > _LONGEST:
            raise TokenRefused(reason="it is too long")
        claims = self._claims(token)
        self._check_certificate(claims, certificate)
        return self.professionals.person(claims, via=BEARER)

    def _claims(self, token: str) -> Claims:
        if not self.by_introspection:
            return self.tokens.access(token, audience=self.audience)
        digest = digest_of(token)
        claims = self._remembered(digest)
        if claims is None:
            claims = self.provider.introspect(token)
            if claims.get("active") is not True:
                raise TokenRefused(reason="the provider says it is not active")
            self._remember(digest, claims)
        if claims.get("iss", self.provider.client.issuer) != self.provider.client.issuer:
            raise TokenRefused(reason="another provider made it (iss)")
        self.tokens.check_use(claims, audience=self.audience)
        return claims

    def _check_certificate(self, claims: Claims, certificate: bytes | None) -> None:
        """Raise TokenRefused unless the token's certificate is the connection's (RFC 8705 section 3.1)."""
        named = claims.get("cnf")
        thumbprint = named.get("x5t#S256") if isinstance(named, Mapping) else None
        if thumbprint is None:
            if self.certificate_bound or named is not None:
                raise TokenRefused(reason="it is not bound to a certificate (cnf)")
            return
        if certificate is None:
            raise TokenRefused(reason="it is bound to a certificate, and the connection has none")
        shown = base64.urlsafe_b64encode(hashlib.sha256(certificate).digest()).rstrip(b"=")
        if not hmac.compare_digest(shown, str(thumbprint).encode()):
            raise TokenRefused(reason="it is bound to another certificate than the connection's")

    def _remembered(self, digest: str) -> Claims | None:
        with self._alone:
            until, claims = self._known.get(digest, (None, None))
        return claims if until is not None and self.clock() < until else None

    def _remember(self, digest: str, claims: Claims) -> None:
        with self._alone:
            self._known[digest] = (self.clock() + self.believed, claims)
            self._known.move_to_end(digest)
            while len(self._known) > _MOST:
                self._known.popitem(last=False)
