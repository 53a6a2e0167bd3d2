"""Proves tokens the provider signed: signature, issuer, audience, times; must not know what they are for.

The algorithm has to be one the site allows, whatever the token says of itself (RFC 8725 section 3.1): none is never.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from archive.clock import Clock
from archive.errors import TokenRefused
from archive.services.provider import Provider

Claims = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class SignedTokens:
    """Checks tokens of one provider; clocks may differ by ``leeway``."""

    provider: Provider
    clock: Clock
    algorithms: Collection[str]
    leeway: timedelta = timedelta(seconds=30)

    def identity(self, token: object, *, nonce: str) -> Claims:
        """Return the claims of an ID token (OpenID Connect Core section 3.1.3.7). Raises TokenRefused."""
        claims = self._proven(token)
        client_id = self.provider.client.client_id
        self.check(claims, audience=client_id)
        if claims.get("nonce") != nonce:
            raise TokenRefused(reason="it was not made for this attempt (nonce)")
        if claims.get("azp", client_id) != client_id:
            raise TokenRefused(reason="it was made for another client (azp)")
        if not isinstance(claims.get("sub"), str) or "iat" not in claims:
            raise TokenRefused(reason="it does not say whom it is about")
        return claims

    def access(self, token: str, *, audience: str) -> Claims:
        """Return the claims of a signed access token (RFC 9068). Raises TokenRefused."""
        claims = self._proven(token)
        self.check(claims, audience=audience)
        return claims

    def check(self, claims: Claims, *, audience: str) -> None:
        """Raise TokenRefused unless a token is of this provider, for ``audience``, and good now."""
        if claims.get("iss") != self.provider.client.issuer:
            raise TokenRefused(reason="another provider made it (iss)")
        self.check_use(claims, audience=audience)

    def check_use(self, claims: Claims, *, audience: str) -> None:
        """Raise TokenRefused unless a token is for ``audience``, and good now."""
        meant = claims.get("aud")
        if audience not in (meant if isinstance(meant, list) else [meant]):
            raise TokenRefused(reason="it is for another service (aud)")
        now, leeway = self.clock().timestamp(), self.leeway.total_seconds()
        ends, begins = claims.get("exp"), claims.get("nbf", 0)
        if not isinstance(ends, int | float) or not isinstance(begins, int | float):
            raise TokenRefused(reason="it does not say until when it is good (exp)")
        if now >= ends + leeway:
            raise TokenRefused(reason="it has expired (exp)")
        if now < begins - leeway:
            raise TokenRefused(reason="it is not good yet (nbf)")

    def _proven(self, token: object) -> Claims:
        """Return the claims of a token whose signature is the provider's; it may have changed keys a moment ago."""
        if not isinstance(token, str):
            raise TokenRefused(reason="there is none")
        try:
            return self._decoded(token, self.provider.keys())
        except TokenRefused:
            return self._decoded(token, self.provider.keys(is_newest=True))

    def _decoded(self, token: str, keys: KeySet) -> Claims:
        try:
            return jwt.decode(token, keys, algorithms=list(self.algorithms)).claims
        except (JoseError, ValueError, TypeError, KeyError) as exc:
            raise TokenRefused(reason="its signature is not the provider's") from exc
