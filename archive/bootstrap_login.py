"""Puts signing in together: sessions, passkeys, links, the identity provider; must hold no rule of its own."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from archive.bootstrap_oidc import bearers_of, provider_sign_in
from archive.clock import utc_now
from archive.config import Settings
from archive.console.login import Entrance, login_surface
from archive.console.login_oidc import ProviderPages
from archive.errors import ConfigError
from archive.http.access import Authenticator
from archive.http.bearer_token import TokenShown
from archive.http.origins import Origin
from archive.http.session_cookie import SignedIn
from archive.http.surfaces import Surface
from archive.opening import Core
from archive.services.invitations import Invitations, Lifetimes
from archive.services.passkeys import Passkeys
from archive.services.pending import Attempts
from archive.services.sessions import Sessions
from archive.services.sign_in import SignIn

_BAD_TOKENS_A_MINUTE = 300
CONSOLE = "/console/"
"""Where one goes on from signing in."""


def surface(core: Core) -> Surface:
    """Return the pages of signing in. Raises ConfigError."""
    origin = Origin(core.settings.login.origin)
    provider = provider_sign_in(core.settings)
    entrance = Entrance(
        sign_in=SignIn(sessions_of(core), Attempts(utc_now), utc_now),
        passkeys=Passkeys(core.ledger, utc_now, origin.host_for_passkeys()),
        invitations=invitations_of(core),
        origin=origin,
        home=CONSOLE,
        has_provider=provider is not None,
    )
    more = () if provider is None else ProviderPages(entrance, provider).routes()
    return login_surface(entrance, *more)


def authenticators(core: Core) -> Sequence[Authenticator]:
    """Return how those are known who proved who they are. Raises ConfigError."""
    signed_in = SignedIn(sessions_of(core), Origin(core.settings.login.origin))
    bearers = bearers_of(core.settings)
    if bearers is None:
        return (signed_in,)
    # One address may stand for many clients, a gateway's: a few with old tokens must not keep the others out.
    attempts = Attempts(utc_now, most=_BAD_TOKENS_A_MINUTE, window=timedelta(minutes=1))
    return TokenShown(bearers.person, SignIn(sessions_of(core), attempts, utc_now)), signed_in


def sessions_of(core: Core) -> Sessions:
    """Return where sessions are kept."""
    login = core.settings.login
    idle, whole = timedelta(minutes=login.session_idle_minutes), timedelta(hours=login.session_hours)
    return Sessions(core.committer, utc_now, idle, whole)


def invitations_of(core: Core) -> Invitations:
    """Return what makes links."""
    login = core.settings.login
    lifetimes = Lifetimes(
        first=timedelta(minutes=login.first_link_minutes),
        invite=timedelta(hours=login.invitation_hours),
        recover=timedelta(minutes=login.recovery_minutes),
    )
    return Invitations(core.ledger, utc_now, lifetimes)


def first_link(core: Core, address: tuple[str, int] | None) -> str | None:
    """Return the line that invites the first administrator; None without a port, or when there is an account."""
    token = None if address is None else invitations_of(core).first()
    if token is None or address is None:
        return None
    link = link_to("first", token, core.settings, port=address[1])
    return f"FIRST ADMINISTRATOR (once, within {core.settings.login.first_link_minutes} minutes): {link}"


def link_to(page: str, token: str, settings: Settings, *, port: int | None = None) -> str:
    """Return the address of a one-time link; ``port`` is the one that is open, if known. Raises ConfigError."""
    http = settings.http
    port = port or http.port
    if settings.login.origin is None and not port:
        raise ConfigError(name="login.origin", reason="a link has to lead somewhere: set it, or http.port")
    base = settings.login.origin or f"{'https' if http.has_tls else 'http'}://localhost:{port}"
    return f"{base}/login/{page}#{token}"
