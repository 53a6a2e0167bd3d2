"""The settings of signing in: sessions, links, and the identity provider; must not know where they are read from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator as check_field, model_validator as check_model

from archive.config_sections import Section
from archive.config_values import Count, Name

Url = Annotated[str, Field(max_length=500)]
Algorithm = Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]

ClientAuthentication = Literal[
    "tls_client_auth", "self_signed_tls_client_auth", "private_key_jwt", "client_secret_basic"
]


class LoginSettings(Section):
    """How people come in by a browser.

    ``origin`` is the address they type, ``https://archive.example``: passkeys are for its host name, and links begin
    with it. Without it passkeys are for ``localhost`` alone. Times of links and sessions end what nobody uses.
    """

    origin: Url | None = None
    session_idle_minutes: Count = 30
    session_hours: Count = 10
    first_link_minutes: Count = 60
    invitation_hours: Count = 48
    recovery_minutes: Count = 60

    @check_field("origin")
    @classmethod
    def _is_origin(cls, origin: str | None) -> str | None:
        if origin is None:
            return None
        parts = urlsplit(origin)
        is_bare = origin == f"{parts.scheme}://{parts.netloc}" and "@" not in parts.netloc
        if not parts.hostname or not is_bare or (parts.scheme, parts.hostname) == ("http", ""):
            raise ValueError("an origin is https://NAME or https://NAME:PORT, without a path")
        if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname == "localhost"):
            raise ValueError("an origin starts with https:// (http:// for localhost alone): passkeys need it")
        if parts.hostname.replace(".", "").isdigit() or ":" in parts.hostname:
            raise ValueError("an origin has a host name, no address: browsers want it for passkeys")
        return origin

    @property
    def host(self) -> str:
        """Return the host name that passkeys are for."""
        return (urlsplit(self.origin).hostname if self.origin else None) or "localhost"


class OidcRule(Section):
    """Who gets which roles: all that is given has to fit what the provider tells of a person.

    ``professions`` are profession codes (TRE_G15: 10 physician, 98 manipulator), ``specialties`` know-how codes
    (TRE_R38: SM44 radiology), ``subjects`` national identifiers, with their prefix; ``claims`` others, ``name=value``.
    """

    roles: Annotated[tuple[Name, ...], Field(min_length=1)]
    sites: tuple[Name, ...] = ()
    professions: tuple[str, ...] = ()
    specialties: tuple[str, ...] = ()
    subjects: tuple[str, ...] = ()
    claims: tuple[Annotated[str, Field(pattern=r"^[^=\s]+=.+$")], ...] = ()

    @check_model(mode="after")
    def _asks_something(self) -> OidcRule:
        if not (self.professions or self.specialties or self.subjects or self.claims):
            raise ValueError("a rule has to ask for something: professions, specialties, subjects or claims")
        return self

    @property
    def values_of_claims(self) -> dict[str, frozenset[str]]:
        """Return what is allowed for each claim by name."""
        pairs = [claim.split("=", 1) for claim in self.claims]
        return {name: frozenset(value for each, value in pairs if each == name) for name, _ in pairs}


class OidcSettings(Section):
    """The identity provider (OpenID Connect Core, RFC 8705); off while ``issuer`` is absent.

    The archive is a client of it for the console, and a resource server for DICOMweb: there a token has to be for
    ``audience`` and, with ``certificate_bound``, used by the client whose certificate it names. ``tokens`` says how
    they are checked: by the provider (``introspection``, RFC 7662) or by its keys (``jwt``, RFC 9068). Without
    ``audience`` no token is taken. ``identifier`` is the claim that names a person for good.
    """

    issuer: Url | None = None
    client_id: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    authentication: ClientAuthentication = "tls_client_auth"
    certificate: Path | None = None
    key: Path | None = None
    secret_file: Path | None = None
    ca: Path | None = None
    identifier: Name = "SubjectNameID"
    scopes: tuple[str, ...] = ("openid", "scope_all")
    acr_values: str | None = None
    algorithms: tuple[Algorithm, ...] = ("RS256", "PS256", "ES256")
    audience: str | None = None
    tokens: Literal["introspection", "jwt"] = "introspection"
    certificate_bound: bool = True
    introspection_seconds: Annotated[int, Field(ge=0, le=300)] = 30
    leeway_seconds: Annotated[int, Field(ge=0, le=120)] = 30
    rules: tuple[OidcRule, ...] = ()

    @check_model(mode="after")
    def _is_whole(self) -> OidcSettings:
        if self.issuer is None:
            return self
        parts = urlsplit(self.issuer)
        if parts.scheme != "https" and parts.hostname not in ("localhost", "127.0.0.1"):
            raise ValueError("issuer starts with https://")
        if self.client_id is None:
            raise ValueError("client_id is needed when issuer is set")
        for name in self._files_needed:
            path: Path | None = getattr(self, name)
            if path is None:
                raise ValueError(f"{name} is needed for authentication {self.authentication}: give the path of a file")
        for name in ("certificate", "key", "secret_file", "ca"):
            given: Path | None = getattr(self, name)
            if given is not None and not given.is_file():
                raise ValueError(f"{name}: there is no file {given}")
        return self

    @property
    def _files_needed(self) -> tuple[str, ...]:
        if self.authentication == "client_secret_basic":
            return ("secret_file",)
        return ("key",) if self.authentication == "private_key_jwt" else ("certificate", "key")
