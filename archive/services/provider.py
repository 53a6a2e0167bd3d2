"""Speaks to the identity provider over HTTPS: discovery, keys, token, introspection, user info; must not judge a claim.

The only user of urllib3 here. OpenID Connect Discovery 1.0, RFC 6749, 7662, 7523 and 8705: with mutual TLS the
provider's ``mtls_endpoint_aliases`` are preferred. No answer of a redirect is followed, and none is read beyond 1 MiB.
"""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final
from urllib.parse import urlencode

import urllib3
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, KeySet, OKPKey, RSAKey, import_key

from archive.clock import Clock
from archive.errors import ProviderFailed, TokenRefused
from archive.services.pending import new_token

_MOST_BYTES: Final = 1024 * 1024
_TIMEOUT: Final = urllib3.Timeout(connect=3, read=5)
_KEPT: Final = timedelta(hours=1)
_KEYS_AGAIN: Final = timedelta(seconds=30)
_ASSERTED: Final = timedelta(minutes=1)
_ASSERTION: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

Fields = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Client:
    """The archive as the provider knows it; ``secret`` or ``key`` proves it where the TLS certificate does not."""

    issuer: str
    client_id: str
    authentication: str
    tls: ssl.SSLContext
    secret: str = field(default="", repr=False)
    key: RSAKey | ECKey | OKPKey | None = field(default=None, repr=False)


class Provider:
    """One identity provider. Every method raises ProviderFailed when it does not answer as it should."""

    def __init__(self, client: Client, clock: Clock) -> None:
        self.client = client
        self._clock = clock
        self._pool = urllib3.PoolManager(
            ssl_context=client.tls, timeout=_TIMEOUT, retries=False, maxsize=8, headers={"Accept": "application/json"}
        )
        self._alone = threading.Lock()
        self._metadata: tuple[datetime, Mapping[str, Any]] | None = None
        self._keys: tuple[datetime, KeySet] | None = None

    def endpoint(self, name: str) -> str:
        """Return the address of an endpoint, that for mutual TLS where there is one."""
        metadata = self.metadata()
        uses_tls = self.client.authentication.endswith("tls_client_auth")
        aliases = metadata.get("mtls_endpoint_aliases") if uses_tls else None
        found = (aliases.get(name) if isinstance(aliases, Mapping) else None) or metadata.get(name)
        if not isinstance(found, str):
            raise ProviderFailed(reason=f"it has no {name}")
        return found

    def metadata(self) -> Mapping[str, Any]:
        """Return what the provider says of itself, an hour old at most (Discovery section 4)."""
        with self._alone:
            if self._metadata is None or self._clock() >= self._metadata[0] + _KEPT:
                found = self._get(f"{self.client.issuer.rstrip('/')}/.well-known/openid-configuration")
                if found.get("issuer") != self.client.issuer:
                    raise ProviderFailed(reason="it calls itself otherwise than oidc.issuer")
                self._metadata = (self._clock(), found)
            return self._metadata[1]

    def keys(self, *, is_newest: bool = False) -> KeySet:
        """Return its signing keys, an hour old at most; ``is_newest``: half a minute."""
        address = self.endpoint("jwks_uri")
        with self._alone:
            limit = _KEYS_AGAIN if is_newest else _KEPT
            if self._keys is None or self._clock() >= self._keys[0] + limit:
                self._keys = (self._clock(), _key_set(self._get(address)))
            return self._keys[1]

    def exchange(self, code: str, verifier: str, redirect_uri: str) -> Mapping[str, Any]:
        """Return the tokens for a code (RFC 6749 section 4.1.3, RFC 7636); raise TokenRefused for a bad one."""
        fields = {"grant_type": "authorization_code", "code": code, "redirect_uri": redirect_uri}
        return self._post(self.endpoint("token_endpoint"), {**fields, "code_verifier": verifier})

    def introspect(self, token: str) -> Mapping[str, Any]:
        """Return what the provider says of an access token (RFC 7662)."""
        return self._post(self.endpoint("introspection_endpoint"), {"token": token, "token_type_hint": "access_token"})

    def user_info(self, access_token: str) -> Mapping[str, Any]:
        """Return the claims of whoever signed in (OpenID Connect Core section 5.3)."""
        headers = {"Authorization": f"Bearer {access_token}"}
        return self._get(self.endpoint("userinfo_endpoint"), headers=headers)

    def _get(self, address: str, *, headers: Fields | None = None) -> Mapping[str, Any]:
        return self._answer("GET", address, headers=dict(headers or {}))

    def _post(self, address: str, fields: Fields) -> Mapping[str, Any]:
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        proof: Fields = {"client_id": self.client.client_id}
        if self.client.authentication == "client_secret_basic":
            headers |= urllib3.make_headers(basic_auth=_basic(self.client))
        elif self.client.authentication == "private_key_jwt":
            proof = {**proof, "client_assertion_type": _ASSERTION, "client_assertion": self._assertion()}
        return self._answer("POST", address, headers=headers, body=urlencode({**fields, **proof}))

    def _assertion(self) -> str:
        """Return a statement by which the archive proves itself (RFC 7523 section 3)."""
        key, now = self.client.key, self._clock()
        assert key is not None
        claims = {
            "iss": self.client.client_id,
            "sub": self.client.client_id,
            "aud": self.client.issuer,
            "jti": new_token(),
            "iat": int(now.timestamp()),
            "exp": int((now + _ASSERTED).timestamp()),
        }
        algorithm = {"EC": "ES256", "OKP": "EdDSA"}.get(key.key_type, "RS256")
        return jwt.encode({"alg": algorithm}, claims, key, algorithms=[algorithm])

    def _answer(self, method: str, address: str, **what: Any) -> Mapping[str, Any]:
        try:
            answer = self._pool.request(method, address, redirect=False, preload_content=False, **what)
            try:
                body = answer.read(_MOST_BYTES + 1)
            finally:
                answer.release_conn()
        except (urllib3.exceptions.HTTPError, OSError) as exc:
            raise ProviderFailed(reason=f"it cannot be reached ({type(exc).__name__})") from exc
        if answer.status in (400, 401) and method == "POST" and b"invalid_grant" in body:
            raise TokenRefused(reason="the provider does not know the code, or it was used")
        if answer.status != 200 or len(body) > _MOST_BYTES:
            raise ProviderFailed(reason=f"it answers {answer.status} to {method} {address}")
        return _object(body)


def _key_set(told: Mapping[str, Any]) -> KeySet:
    """Return the keys that can be read; those of a kind we do not know are passed over (RFC 7517 section 5)."""
    listed, keys = told.get("keys"), []
    for each in listed if isinstance(listed, list) else []:
        try:
            keys.append(import_key(each))
        except (JoseError, ValueError, TypeError, KeyError):
            continue
    if not keys:
        raise ProviderFailed(reason="its keys cannot be read")
    return KeySet(keys)


def load_key(pem: bytes) -> RSAKey | ECKey | OKPKey:
    """Return the private key of a PEM file; ValueError for one that cannot sign."""
    for kind in (RSAKey, ECKey, OKPKey):
        try:
            key = kind.import_key(pem)
        except (ValueError, TypeError, JoseError):
            continue
        if key.is_private:
            return key
    raise ValueError("it holds no private key")


def _object(body: bytes) -> Mapping[str, Any]:
    try:
        value = json.loads(body)
    except ValueError as exc:
        raise ProviderFailed(reason="its answer cannot be read") from exc
    if not isinstance(value, dict):
        raise ProviderFailed(reason="its answer cannot be read")
    return value


def _basic(client: Client) -> str:
    """Return name and secret, each encoded as a form's value (RFC 6749 section 2.3.1)."""
    return ":".join(urlencode({"": part})[1:] for part in (client.client_id, client.secret))
