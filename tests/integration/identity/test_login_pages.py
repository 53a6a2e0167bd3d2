"""The steps of signing in as HTTP: what comes in the wrong form, from elsewhere, or too often."""

from __future__ import annotations

import html
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from archive.config import HttpSettings
from archive.console.login import INVITE, RECOVER, Entrance, login_surface
from archive.http.guard import Bounds, Guard
from archive.http.origins import Origin
from archive.http.server import HttpServer
from archive.http.session_cookie import SignedIn
from archive.services.accounts import NewAccount
from archive.services.invitations import Invitations
from archive.services.ledger import Ledger
from archive.services.passkeys import Passkeys
from archive.services.pending import Attempts
from archive.services.sessions import Sessions
from archive.services.sign_in import SignIn
from tests.integration.identity.authenticator import SoftwareKey
from tests.unit.services.shelf import Clock


@pytest.fixture(params=["sqlite"])
def kind(request: pytest.FixtureRequest) -> str:
    """Name the one kind of database that is enough for what is asked here."""
    return str(request.param)


@pytest.fixture
def web(ledger: Ledger, clock: Clock, sessions: Sessions, invitations: Invitations) -> Iterator[httpx.Client]:
    """Lend a browser's connection to the pages on a real port, without the browser."""
    origin = Origin()
    sign_in = SignIn(sessions, Attempts(clock, most=3), clock)
    entrance = Entrance(sign_in, Passkeys(ledger, clock, "localhost"), invitations, origin, home="/console/")
    guard = Guard([login_surface(entrance)], [SignedIn(sessions, origin)], Bounds(8, 5, 5))
    server = HttpServer(HttpSettings(port=0), guard)
    address = server.start()
    assert address is not None
    site = f"http://localhost:{address[1]}"
    with httpx.Client(base_url=site, headers={"origin": site, "accept-language": "en"}) as client:
        yield client
    server.stop(grace_seconds=1)


def origin_of(web: httpx.Client) -> str:
    """Return the origin of the pages."""
    return str(web.base_url).rstrip("/")


def make_first(web: httpx.Client, invitations: Invitations) -> SoftwareKey:
    """Make the first administrator, and sign in as such."""
    key = SoftwareKey(origin=origin_of(web))
    asked = {"token": invitations.first(), "name": "anne", "full_name": "Anne Le Goff"}
    options = web.post("/login/link/begin", json=asked).json()
    done = web.post("/login/link/complete", json={"answer": key.make(options), "to": ""})
    assert (done.status_code, done.json()) == (200, {"to": "/login/"})
    return key


def sign_in(web: httpx.Client, key: SoftwareKey, **more: Any) -> Any:
    """Show a key."""
    options = web.post("/login/begin", json={}).json()
    return web.post("/login/complete", json={"answer": key.show(options), **more})


def form_token(web: httpx.Client) -> str:
    """Return the token the forms of the page carry."""
    token: str = web.get("/login/").text.partition('name="form_token" value="')[2].partition('"')[0]
    return token


def test_every_page_has_its_headers(web: httpx.Client) -> None:
    """The policy allows no script in a page and no frame around it; nothing is kept, nothing told to other sites."""
    for path in ("/login/", "/login/first", "/login/link", "/login/static/login.js"):
        headers = web.get(path).headers
        assert "script-src 'self'" in headers["content-security-policy"]
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert headers["referrer-policy"] == "same-origin"
        assert (headers["cache-control"], headers["x-content-type-options"]) == ("no-store", "nosniff")


def test_a_session_leads_on_to_where_one_wanted(web: httpx.Client, invitations: Invitations) -> None:
    """A path of this archive, and no other address whatever the request says."""
    key = make_first(web, invitations)
    assert sign_in(web, key, to="/viewer/?StudyInstanceUIDs=1.2").json() == {"to": "/viewer/?StudyInstanceUIDs=1.2"}
    assert sign_in(web, key, to="//evil.example/").json() == {"to": "/login/"}
    assert "/console/" in web.get("/login/").text


@pytest.mark.parametrize(
    ("lang", "used", "command"),
    [
        ("fr", "Ce lien a servi", 'drimbox account invite NOM --as EXPLOITANT --full-name "NOM COMPLET" --role RÔLE'),
        ("en", "This link was used", 'drimbox account invite NAME --as OPERATOR --full-name "FULL NAME" --role ROLE'),
    ],
)
def test_the_first_link_says_at_once_that_it_was_used(
    web: httpx.Client, invitations: Invitations, lang: str, used: str, command: str
) -> None:
    """No form is filled in for nothing: the page says what brings somebody in now. Before, it is the form."""
    before = web.get("/login/first", params={"lang": lang})
    assert before.status_code == 200 and 'name="full_name"' in before.text and used not in before.text
    make_first(web, invitations)
    web.cookies.clear()
    after = web.get("/login/first", params={"lang": lang})
    told = html.unescape(after.text)
    assert after.status_code == 410 and used in told and "<form" not in told
    assert command in told and "drimbox account recover" in told and 'href="/login/"' in told
    assert 'id="passkey"' in web.get("/login/link").text


def test_the_commands_of_the_page_are_commands() -> None:
    """What somebody is told to type is there, with these options, and is in the manual."""
    from archive.cli.account import command

    manual = (Path(__file__).parents[3] / "docs" / "operations.md").read_text(encoding="utf-8")
    for written in (INVITE, RECOVER):
        assert written.removeprefix("drimbox account ") in command.commands
        assert f"{written} " in manual
    options = {option for each in command.commands["invite"].params for option in each.opts}
    assert {"--as", "--full-name", "--role"} <= options


def test_what_another_page_sends_is_refused(web: httpx.Client) -> None:
    """Before and after signing in, whatever it holds."""
    for path in ("/login/begin", "/login/complete", "/login/link/begin", "/login/link/complete"):
        for headers in ({"origin": "https://evil.example"}, {"sec-fetch-site": "cross-site"}, {"origin": "null"}):
            assert web.post(path, json={}, headers=headers).status_code == 403


@pytest.mark.parametrize("path", ["/login/out", "/login/add"])
def test_a_form_of_another_session_is_told_on_a_page(web: httpx.Client, invitations: Invitations, path: str) -> None:
    """Who signs out in a tab that was left open reads why it is refused, in their language, and can go on."""
    make_first(web, invitations)
    for lang, told in (("fr", "le formulaire n'est pas de cette session"), ("en", "load the page again")):
        refused = web.post(path, data={"form_token": "00"}, params={"lang": lang})
        page = html.unescape(refused.text)
        assert refused.status_code == 403 and told in page and 'href="/login/"' in page
        assert refused.headers["content-type"].startswith("text/html")


def test_what_a_proxy_hides_is_told_in_the_readers_language(web: httpx.Client) -> None:
    """The script shows this message: the origin is not the one the archive is set to."""
    headers = {"origin": "https://elsewhere.example", "accept-language": "fr"}
    refused = web.post("/login/begin", json={}, headers=headers)
    assert refused.status_code == 403
    assert "la demande ne vient pas d'une page de cette archive" in refused.json()["message"]


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"x"', b"\xff"])
def test_what_is_no_json_object_is_refused(web: httpx.Client, body: bytes) -> None:
    """A form of another site could send any of it but the type."""
    headers = {"content-type": "application/json"}
    assert web.post("/login/begin", content=body, headers=headers).status_code == 400
    assert web.post("/login/begin", content=b"{}", headers={"content-type": "text/plain"}).status_code == 400


def test_an_answer_without_a_question_is_refused(web: httpx.Client, invitations: Invitations) -> None:
    """No cookie, or no answer: begin again, in the reader's language."""
    key = make_first(web, invitations)
    web.cookies.clear()
    options = web.post("/login/begin", json={}).json()
    web.cookies.clear()
    refused = web.post("/login/complete", json={"answer": key.show(options)}, headers={"accept-language": "fr"})
    assert refused.status_code == 403
    assert "recommencez" in refused.json()["message"]
    assert refused.json()["type"] == "urn:drimbox:problem:sign-in-expired"
    assert web.post("/login/complete", json={"answer": "x"}).status_code == 403


def test_an_address_that_fails_too_often_is_shut_out(web: httpx.Client, invitations: Invitations, clock: Clock) -> None:
    """Not even with the right key, until the time is over; it is told when to come back."""
    key = make_first(web, invitations)
    for _ in range(3):
        assert sign_in(web, SoftwareKey(origin=origin_of(web))).status_code == 403
    refused = web.post("/login/begin", json={})
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "600")
    clock.advance(minutes=11)
    assert sign_in(web, key).status_code == 200


def test_forms_need_the_sessions_own_token(web: httpx.Client, invitations: Invitations) -> None:
    """Signing out and adding a key are done by the page that was loaded in this session."""
    make_first(web, invitations)
    for path in ("/login/out", "/login/add"):
        for data in ({}, {"form_token": ""}, {"form_token": "0" * 64}):
            assert web.post(path, data=data).status_code == 403
    added = web.post("/login/add", data={"form_token": form_token(web)})
    assert (added.status_code, added.headers["location"][:12]) == (303, "/login/link#")
    out = web.post("/login/out", data={"form_token": form_token(web)})
    assert (out.status_code, out.headers["location"]) == (303, "/login/")
    assert "Sign in with a passkey" in web.get("/login/").text


def test_a_body_too_long_is_not_read(web: httpx.Client) -> None:
    """Nobody needs 64 KiB to sign in."""
    assert web.post("/login/begin", json={"x": "y" * 70_000}).status_code == 413


def test_static_files_are_ours_alone(web: httpx.Client) -> None:
    """No path leads out of their folder."""
    assert web.get("/login/static/login.css").headers["content-type"].startswith("text/css")
    for path in ("/login/static/../pages.py", "/login/static/%2e%2e/pages.py", "/login/static/", "/login/nothing"):
        assert web.get(path).status_code in (404, 405)


def test_a_name_is_asked_for_in_words(web: httpx.Client, invitations: Invitations) -> None:
    """A name that is none is told as such, and the link stays good."""
    token = invitations.first()
    refused = web.post("/login/link/begin", json={"token": token, "name": "Anne!", "full_name": "Anne"})
    assert (refused.status_code, refused.json()["type"]) == (422, "urn:drimbox:problem:account-refused")
    assert web.post("/login/link/begin", json={"token": 7, "name": [], "full_name": {}}).status_code == 403
    good = NewAccount("anne", "Anne", frozenset({"operator"}))
    asked = {"token": token, "name": good.name, "full_name": good.full_name}
    assert web.post("/login/link/begin", json=asked).json()["user"]["displayName"] == "Anne"
