"""Which page a browser's request was made by, and cookies that only such a page uses; must not know who signs in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.types import Scope

SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_FETCH_SITE: Final = "sec-fetch-site"


@dataclass(frozen=True, slots=True)
class Origin:
    """The origin of our own pages: ``given`` by the settings, else what the browser asked for."""

    given: str | None = None

    def of(self, scope: Scope) -> str:
        """Return the origin a request was sent to: scheme, name and port."""
        return self.given or f"{scope['scheme']}://{Headers(scope=scope).get('host', '')}"

    def host_for_passkeys(self) -> str:
        """Return the host name passkeys are for (WebAuthn section 5.1.2: the relying party's id)."""
        return (urlsplit(self.given).hostname if self.given else None) or "localhost"

    def is_page(self, origin: str, scope: Scope) -> bool:
        """Tell whether a page of ours, on the host that passkeys are for, has this origin."""
        return origin == self.of(scope) and urlsplit(origin).hostname == self.host_for_passkeys()

    def is_same(self, scope: Scope) -> bool:
        """Tell whether a page of ours sent a request: every browser says so of what changes something.

        No page can choose what Sec-Fetch-Site says (W3C Fetch Metadata); browsers that do not know it send Origin.
        """
        headers = Headers(scope=scope)
        site = headers.get(_FETCH_SITE)
        return site == "same-origin" if site is not None else headers.get("origin") == self.of(scope)


def read_cookie(request: HTTPConnection, name: str) -> str | None:
    """Return the value of one of our cookies, or None."""
    return request.cookies.get(_full_name(name, request.scope))


def set_cookie(response: Response, request: HTTPConnection, name: str, value: str) -> None:
    """Give the browser a cookie until it is closed: for this host, for no script, not sent along by other sites."""
    is_secure = request.scope["scheme"] == "https"
    full = _full_name(name, request.scope)
    response.set_cookie(full, value, path="/", secure=is_secure, httponly=True, samesite="lax")


def drop_cookie(response: Response, request: HTTPConnection, name: str) -> None:
    """Take a cookie back."""
    is_secure = request.scope["scheme"] == "https"
    full = _full_name(name, request.scope)
    response.delete_cookie(full, path="/", secure=is_secure, httponly=True, samesite="lax")


def _full_name(name: str, scope: Scope) -> str:
    """Return the name with the prefix that keeps other hosts and plain HTTP from setting it (RFC 6265bis 4.1.3.2)."""
    return f"__Host-{name}" if scope["scheme"] == "https" else name
