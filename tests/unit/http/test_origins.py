"""Which page sent a request, and what follows for a session's cookie."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import Response

from archive.errors import NotAllowed, TokenRefused
from archive.http.bearer_token import TokenShown
from archive.http.origins import Origin, drop_cookie, read_cookie, set_cookie
from archive.http.session_cookie import SESSION, SignedIn
from archive.services.pending import Attempts
from archive.services.people import Person
from archive.services.sign_in import SignIn
from tests.unit.services.shelf import Clock

BEA = Person("bea", "Béatrice", frozenset({"radiologist"}), via="passkey")


def scope(headers: Mapping[str, str] | None = None, *, method: str = "POST", scheme: str = "https") -> dict[str, Any]:
    """Return the scope of a request to archive.example."""
    given = {"host": "archive.example", **(headers or {})}
    raw = [(name.encode(), value.encode()) for name, value in given.items()]
    return {
        "type": "http",
        "method": method,
        "scheme": scheme,
        "path": "/",
        "headers": raw,
        "client": ("10.0.0.7", 1),
    }


@pytest.mark.parametrize(
    ("headers", "is_same"),
    [
        ({"sec-fetch-site": "same-origin"}, True),
        ({"sec-fetch-site": "same-origin", "origin": "null"}, True),
        ({"origin": "https://archive.example"}, True),
        ({"sec-fetch-site": "same-site", "origin": "https://archive.example"}, False),
        ({"sec-fetch-site": "cross-site"}, False),
        ({"sec-fetch-site": "none"}, False),
        ({"origin": "https://archive.example:8443"}, False),
        ({"origin": "http://archive.example"}, False),
        ({"origin": "null"}, False),
        ({}, False),
    ],
)
def test_a_page_of_ours_is_told_from_any_other(headers: dict[str, str], is_same: bool) -> None:
    """What the browser says of the page decides; a browser that says nothing is not believed."""
    assert Origin().is_same(scope(headers)) is is_same


def test_the_settings_say_what_our_origin_is() -> None:
    """Behind a proxy the name in the request may be another than the one people type."""
    origin = Origin("https://images.chu.example")
    assert origin.is_same(scope({"origin": "https://images.chu.example"}))
    assert not origin.is_same(scope({"origin": "https://archive.example"}))
    assert origin.host_for_passkeys() == "images.chu.example"
    assert origin.is_page("https://images.chu.example", scope())


@pytest.mark.parametrize("host", ["archive.example", "127.0.0.1:8042"])
def test_without_settings_passkeys_are_for_localhost(host: str) -> None:
    """A name that anybody may put into a request is no relying party."""
    assert Origin().host_for_passkeys() == "localhost"
    assert not Origin().is_page(f"http://{host}", scope({"host": host}, scheme="http"))
    local = scope({"host": "localhost:8042"}, scheme="http")
    assert Origin().is_page("http://localhost:8042", local)
    assert not Origin().is_page("http://localhost:9999", local)


@pytest.mark.parametrize(("scheme", "name"), [("https", "__Host-drimbox"), ("http", "drimbox")])
def test_cookies_are_for_this_host_and_for_no_script(scheme: str, name: str) -> None:
    """Over TLS the prefix keeps other hosts and plain pages from setting one."""
    request, response = Request(scope(scheme=scheme)), Response()
    set_cookie(response, request, SESSION, "token")
    told = response.headers["set-cookie"]
    assert told.startswith(f"{name}=token;")
    assert {"HttpOnly", "Path=/", "SameSite=lax"} <= set(told.split("; "))
    assert ("Secure" in told) is (scheme == "https")
    assert "Domain" not in told
    back = Request(scope({"cookie": f"{name}=token"}, scheme=scheme))
    assert read_cookie(back, SESSION) == "token"
    drop_cookie(response, request, SESSION)
    assert "Max-Age=0" in response.headers.getlist("set-cookie")[1]


def test_over_tls_a_plain_cookie_is_no_session() -> None:
    """A neighbour on the same host cannot plant one."""
    assert read_cookie(Request(scope({"cookie": "drimbox=planted"})), SESSION) is None


@dataclass
class OneSession:
    """Knows one token."""

    def find(self, token: str) -> Person | None:
        """Return whose session it is."""
        return BEA if token == "good" else None


def signed_in() -> SignedIn:
    """Return what knows sessions."""
    return SignedIn(OneSession(), Origin())  # type: ignore[arg-type]


def test_whoever_has_a_session_is_known() -> None:
    """Reading needs no more; an old cookie is nobody, which leads to the page where one signs in."""
    assert signed_in()(scope({"cookie": "__Host-drimbox=good"}, method="GET")) == BEA
    assert signed_in()(scope({"cookie": "__Host-drimbox=old"}, method="GET")) is None
    assert signed_in()(scope(method="GET")) is None


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_what_changes_something_has_to_come_from_a_page_of_ours(method: str) -> None:
    """On every path of the port: the cookie alone stores no image and signs nothing."""
    with pytest.raises(NotAllowed, match="page of this archive"):
        signed_in()(scope({"cookie": "__Host-drimbox=good", "sec-fetch-site": "cross-site"}, method=method))
    good = scope({"cookie": "__Host-drimbox=good", "sec-fetch-site": "same-origin"}, method=method)
    assert signed_in()(good) == BEA


class Journal:
    """Takes entries."""

    def post(self, *entries: object) -> None:
        """Take them."""


def test_a_token_is_taken_from_its_header_alone() -> None:
    """Bearer in any case; another scheme, or none, is for others to judge."""
    seen: list[tuple[str, bytes | None]] = []

    def person_of(token: str, certificate: bytes | None) -> Person:
        seen.append((token, certificate))
        if token == "bad":
            raise TokenRefused(reason="made up")
        return BEA

    class Sessions:
        committer = Journal()

    attempts = Attempts(Clock(), most=2)
    shown = TokenShown(person_of, SignIn(Sessions(), attempts, Clock()))  # type: ignore[arg-type]
    assert shown(scope({"authorization": "bearer  abc "})) == BEA
    assert shown(scope({"authorization": "Basic abc"})) is None
    assert shown(scope()) is None
    assert seen == [("abc", None)]
    for _ in range(2):
        with pytest.raises(TokenRefused):
            shown(scope({"authorization": "Bearer bad"}))
    with pytest.raises(Exception, match="Too many failed attempts"):
        shown(scope({"authorization": "Bearer abc"}))
