"""Puts the identity provider together from the settings and the files they name; must hold no rule of its own."""

from __future__ import annotations

import ssl
from datetime import timedelta

from archive.clock import utc_now
from archive.config import OidcRule, OidcSettings, Settings
from archive.errors import ConfigError
from archive.services.bearer import Bearers
from archive.services.people import ROLES
from archive.services.professionals import Professionals, Rule
from archive.services.provider import Client, Provider, load_key
from archive.services.provider_sign_in import ProviderSignIn
from archive.services.signed_tokens import SignedTokens


def provider_sign_in(settings: Settings) -> ProviderSignIn | None:
    """Return the way in by the provider, or None without one. Raises ConfigError."""
    oidc = settings.oidc
    if oidc.issuer is None:
        return None
    tokens = _signed_tokens(oidc)
    return ProviderSignIn(tokens.provider, tokens, _professionals(settings), utc_now, oidc.scopes, oidc.acr_values)


def bearers_of(settings: Settings) -> Bearers | None:
    """Return who proves access tokens, or None when none are taken. Raises ConfigError."""
    oidc = settings.oidc
    if oidc.issuer is None or oidc.audience is None:
        return None
    tokens = _signed_tokens(oidc)
    return Bearers(
        provider=tokens.provider,
        tokens=tokens,
        professionals=_professionals(settings),
        clock=utc_now,
        audience=oidc.audience,
        by_introspection=oidc.tokens == "introspection",
        certificate_bound=oidc.certificate_bound,
        believed=timedelta(seconds=oidc.introspection_seconds),
    )


def _signed_tokens(oidc: OidcSettings) -> SignedTokens:
    provider = Provider(_client(oidc), utc_now)
    return SignedTokens(provider, utc_now, oidc.algorithms, timedelta(seconds=oidc.leeway_seconds))


def _professionals(settings: Settings) -> Professionals:
    names = {site.name for site in settings.sites}
    for number, rule in enumerate(settings.oidc.rules, start=1):
        unknown = sorted({*rule.roles}.difference(ROLES)) or sorted({*rule.sites}.difference(names))
        if unknown:
            raise ConfigError(name=f"oidc.rules {number}", reason=f"there is no role or site {unknown[0]!r}")
    return Professionals([_rule(rule) for rule in settings.oidc.rules], settings.oidc.identifier)


def _rule(rule: OidcRule) -> Rule:
    return Rule(
        roles=frozenset(rule.roles),
        sites=frozenset(rule.sites),
        professions=frozenset(rule.professions),
        specialties=frozenset(rule.specialties),
        subjects=frozenset(rule.subjects),
        claims=rule.values_of_claims,
    )


def _client(oidc: OidcSettings) -> Client:
    """Return the archive as the provider knows it, its files read. Raises ConfigError."""
    assert oidc.issuer is not None and oidc.client_id is not None, "the settings say so"
    try:
        tls = ssl.create_default_context(cafile=oidc.ca)
        if oidc.certificate is not None:
            tls.load_cert_chain(oidc.certificate, oidc.key)
        secret = oidc.secret_file.read_text().strip() if oidc.secret_file is not None else ""
        key = load_key(oidc.key.read_bytes()) if oidc.authentication == "private_key_jwt" and oidc.key else None
    except (OSError, ValueError) as exc:
        raise ConfigError(name="oidc", reason=f"certificate, key, ca or secret_file does not load ({exc})") from exc
    return Client(oidc.issuer, oidc.client_id, oidc.authentication, tls, secret, key)
