"""Signing in by the identity provider: authorization code with PKCE, bound to one browser; must not know HTTP.

OpenID Connect Core section 3.1, RFC 7636, and RFC 9700: state and nonce are random, kept with the verifier under a
token that only this browser's cookie holds, and taken out once. Whoever brings another browser's answer, or the same
twice, is refused.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlencode

from archive.clock import Clock
from archive.errors import ProviderFailed, SignInExpired, TokenRefused
from archive.services.pending import Pending, new_token
from archive.services.people import Person
from archive.services.professionals import Claims, Professionals
from archive.services.provider import Provider
from archive.services.sessions import OIDC
from archive.services.signed_tokens import SignedTokens


@dataclass(frozen=True, slots=True)
class _Attempt:
    """What one browser has begun."""

    state: str
    nonce: str
    verifier: str
    redirect_uri: str
    to: str


@dataclass(frozen=True, slots=True)
class ProviderSignIn:
    """The way in by the provider. ``scopes`` and ``acr_values`` are asked for; the latter has to be answered."""

    provider: Provider
    tokens: SignedTokens
    professionals: Professionals
    clock: Clock
    scopes: tuple[str, ...] = ("openid",)
    acr_values: str | None = None
    pending: Pending[_Attempt] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "pending", Pending(self.clock))

    def begin(self, redirect_uri: str, *, to: str) -> tuple[str, str]:
        """Return a token for the browser's cookie and the address to send it to. Raises ProviderFailed."""
        attempt = _Attempt(new_token(), new_token(), new_token(), redirect_uri, to)
        asked = {
            "response_type": "code",
            "client_id": self.provider.client.client_id,
            "redirect_uri": redirect_uri,
            "scope": " ".join(self.scopes),
            "state": attempt.state,
            "nonce": attempt.nonce,
            "code_challenge": _challenge(attempt.verifier),
            "code_challenge_method": "S256",
        }
        if self.acr_values:
            asked["acr_values"] = self.acr_values
        address = self.provider.endpoint("authorization_endpoint")
        return self.pending.put(attempt), f"{address}{'&' if '?' in address else '?'}{urlencode(asked)}"

    def finish(self, cookie: str, answer: Mapping[str, str]) -> tuple[Person, str]:
        """Return who signed in, and where they go on to. Raises SignInError."""
        attempt = self.pending.take(cookie)
        if attempt is None or not hmac.compare_digest(attempt.state.encode(), answer.get("state", "").encode()):
            raise SignInExpired()
        if answer.get("iss", self.provider.client.issuer) != self.provider.client.issuer:
            raise TokenRefused(reason="another provider answered (RFC 9207)")
        if "code" not in answer:
            raise ProviderFailed(reason=f"it answers {_word(answer.get('error', 'nothing'))}")
        tokens = self.provider.exchange(answer["code"], attempt.verifier, attempt.redirect_uri)
        claims = self.tokens.identity(tokens.get("id_token"), nonce=attempt.nonce)
        self._check_strength(claims)
        return self.professionals.person(self._all_claims(claims, tokens), via=OIDC), attempt.to

    def _check_strength(self, claims: Claims) -> None:
        if self.acr_values and claims.get("acr") not in self.acr_values.split():
            raise TokenRefused(reason="the way of signing in is not strong enough (acr)")

    def _all_claims(self, identity: Claims, tokens: Claims) -> Claims:
        """Return the ID token's claims with those of user info, which have to be about the same person."""
        access_token = tokens.get("access_token")
        if not isinstance(access_token, str):
            raise ProviderFailed(reason="it gives no access token")
        told = self.provider.user_info(access_token)
        if told.get("sub") != identity["sub"]:
            raise TokenRefused(reason="user info is about somebody else (sub)")
        return {**told, **identity}


def _challenge(verifier: str) -> str:
    """Return the S256 challenge of a verifier (RFC 7636 section 4.2)."""
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()


def _word(text: str) -> str:
    """Return an error's code, or nothing of a text that is none."""
    return text if text.isidentifier() and len(text) < 50 else "an error"
