"""What every page goes through: permission, proof, language, cookies, and errors as pages."""

from __future__ import annotations

import asyncio
import html
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from archive import errors
from archive.console import refusals
from archive.console.catalogue import LANGUAGES, catalogue
from archive.console.desk import Desk, told_of
from archive.console.forms import FormTokens
from archive.console.rendering import PATH, Renderer
from archive.console.routes import application
from archive.console.visit import REASONS, Visit
from archive.errors import ArchiveError
from archive.http.access import set_person
from archive.http.problems import problem_of
from archive.services.people import Permission, Person

ANNE = Person("anne", "Anne", frozenset({"archivist"}))
RITA = Person("rita", "Rita", frozenset({"radiologist"}))
FORM = {"content-type": "application/x-www-form-urlencoded"}


@dataclass
class Room:
    """A console with a page of its own for each test: ``handler`` answers /page and the form /act."""

    handler: Callable[[Visit], Response] = lambda _visit: PlainTextResponse("seen")
    person: Person = ANNE
    seen: list[Visit] = field(default_factory=list)
    scheme: str = "http"

    def __post_init__(self) -> None:
        renderer = Renderer({"account": "/login/", "sign_out": "/login/out"})
        self.desk = Desk(renderer, FormTokens(), frozenset({"CHU", "Nord"}))
        self.cookies = httpx.Cookies()
        self.application = self._below(application(self.desk, [self]))

    def routes(self) -> list[Any]:
        """Return the page and the form."""
        allowed = Permission.PLACE_HOLD
        page, act = self.desk.page, self.desk.act
        below = act("/page/{name}/act", allowed, self._handle, of="/page/{name}")
        return [page("/page", allowed, self._handle), act("/act", allowed, self._handle), below]

    def _handle(self, visit: Visit) -> Response:
        self.seen.append(visit)
        return self.handler(visit)

    def _below(self, console: ASGIApp) -> ASGIApp:
        async def below(scope: Scope, receive: Receive, send: Send) -> None:
            set_person(scope, self.person)
            scope["app"] = self
            await console({**scope, "root_path": PATH}, receive, send)

        return below

    def ask(self, method: str, path: str, **given: Any) -> httpx.Response:
        """Send a request below /console."""

        async def send() -> httpx.Response:
            transport = httpx.ASGITransport(self.application)
            base = f"{self.scheme}://console.test"
            async with httpx.AsyncClient(transport=transport, base_url=base, cookies=self.cookies) as client:
                answer = await client.request(method, f"{PATH}{path}", **given)
                self.cookies = client.cookies
                return answer

        return asyncio.run(send())

    def token(self) -> str:
        """Return the proof that a page of ours carries."""
        found = re.search(r'name="form_token" value="([0-9a-f]+)"', self.ask("GET", "/nowhere").text)
        assert found is not None
        return found[1]


@pytest.fixture
def room() -> Room:
    """Lend a console."""
    return Room()


def raising(error: Exception) -> Callable[[Visit], Response]:
    """Return a handler that fails."""

    def handler(_: Visit) -> Response:
        raise error

    return handler


# ---- permission and proof ------------------------------------------------------------------------------------------


def test_a_handler_is_only_called_for_who_may(room: Room) -> None:
    """Whoever lacks the permission gets the page of refusals, and nothing was done."""
    assert room.ask("GET", "/page").text == "seen"
    room.person = RITA
    for method in ("GET", "POST"):
        refused = room.ask(method, "/page" if method == "GET" else "/act", headers=FORM if method == "POST" else {})
        assert refused.status_code == 403
        assert "archivist" in refused.text
    assert len(room.seen) == 1


def test_a_form_is_only_taken_with_its_proof(room: Room) -> None:
    """The body is read as a form, and only one with a token of this person and browser comes to the handler."""
    token = room.token()
    assert room.ask("POST", "/act", data={"form_token": token, "name": " a ", "study": ["1", "2"]}).text == "seen"
    (visit,) = room.seen
    assert (visit.given("name"), visit.given("other"), list(visit.all_given("study"))) == ("a", "", ["1", "2"])
    assert room.ask("POST", "/act", data={"form_token": token[::-1]}).status_code == 403
    assert room.ask("POST", "/act", content=b"\xff", headers=FORM).status_code == 400
    assert room.ask("POST", "/act", json={"form_token": token}).status_code == 400
    room.person = Person("olga", "Olga", frozenset({"operator"}))
    assert room.ask("POST", "/act", data={"form_token": token}).status_code == 403
    assert len(room.seen) == 1


@pytest.mark.parametrize(
    ("site", "status"), [("same-origin", 200), ("same-site", 403), ("cross-site", 403), ("none", 403)]
)
def test_a_form_that_a_browser_says_came_from_elsewhere_is_refused(room: Room, site: str, status: int) -> None:
    """Fetch Metadata is believed, proof or no proof."""
    answer = room.ask("POST", "/act", data={"form_token": room.token()}, headers={"sec-fetch-site": site})
    assert answer.status_code == status


def test_a_page_is_not_sent_a_form_and_a_form_is_not_asked_for(room: Room) -> None:
    """Another method than the one offered is refused, as the port's guard tells it; a form alone is no page."""
    assert room.ask("GET", "/act").status_code == 404
    for method, path in (("POST", "/page"), ("DELETE", "/page"), ("PUT", "/act")):
        with pytest.raises(HTTPException) as refused:
            room.ask(method, path)
        assert refused.value.status_code == 405
    assert room.seen == []


def test_the_address_of_a_form_leads_back_to_its_page(room: Room) -> None:
    """A form that was refused stands under its own address: asked for, in whatever way, that is the page's."""
    for name, there in (("a", "a"), ("1%202", "1%202"), ("%3Fx%3D1", "%3Fx%3D1"), ("%C3%A9", "%C3%A9")):
        back = room.ask("GET", f"/page/{name}/act")
        assert (back.status_code, back.headers["location"]) == (303, f"/console/page/{there}")
    room.person = RITA
    assert room.ask("POST", "/page/a/act", headers=FORM).status_code == 403
    assert room.seen == []


def test_a_form_that_is_too_old_is_told_as_that(room: Room) -> None:
    """After a restart nobody is told that they may not do what they may: the form has to be opened again."""
    told = room.ask("POST", "/act", data={"form_token": "00"}, headers={"accept-language": "en"})
    assert told.status_code == 403
    assert "This form is no longer valid" in told.text and "open the page again" in told.text


@pytest.mark.parametrize(
    ("asked", "back"),
    [
        ("/page?months=60&site=H%C3%B4pital&done=hold_placed", "/page?months=60&site=H%C3%B4pital"),
        ("/page", "/page"),
        ("/page?a=%0d%0aX:1", "/page?a=%0D%0AX%3A1"),
    ],
)
def test_another_language_shows_the_same_page(room: Room, asked: str, back: str) -> None:
    """What the page was asked for stays in its address; that something was done is not told twice."""
    room.handler = lambda visit: room.desk.show(visit, "error.html", {"headline": "", "advice": "", **told})
    told = {"detail": (), "status_code": 200}
    page = html.unescape(room.ask("GET", asked).text)
    found, token = re.search('name="back" value="([^"]*)"', page), re.search('form_token" value="([^"]*)"', page)
    assert found is not None and token is not None and found[1] == back
    chosen = {"form_token": token[1], "language": "en", "back": found[1]}
    assert room.ask("POST", "/language", data=chosen).headers["location"] == f"/console{back}"


def test_cookies_are_for_the_console_and_for_no_script(room: Room) -> None:
    """The proof's cookie is set once, out of reach of scripts and other sites, and over TLS never in the clear."""
    (cookie,) = room.ask("GET", "/nowhere").headers.get_list("set-cookie")
    assert all(part in cookie for part in ("drimbox_form=", "HttpOnly", "SameSite=strict", "Path=/console/"))
    assert "Secure" not in cookie
    assert room.ask("GET", "/nowhere").headers.get_list("set-cookie") == []
    safe = Room(scheme="https")
    assert "Secure" in safe.ask("GET", "/nowhere").headers["set-cookie"]


# ---- answers -------------------------------------------------------------------------------------------------------


def test_the_root_leads_to_the_first_page_and_what_is_not_there_is_told(room: Room) -> None:
    """/console is /console/; any other path is a page that says so, in the reader's language."""
    home = room.ask("GET", "")
    assert (home.status_code, home.headers["location"]) == (308, "/console/")
    missing = room.ask("GET", "/a/b/c", headers={"accept-language": "fr"})
    assert missing.status_code == 404
    assert "Cette page n'existe pas" in missing.text.replace("&#39;", "'")


def test_where_one_goes_on_is_in_the_console(room: Room) -> None:
    """An act leads on with 303 and the name of what was done; only names that have a message are shown."""
    assert room.desk.go("/holds", done="hold_placed").headers["location"] == "/console/holds?done=hold_placed"
    assert room.desk.go("/holds").headers["location"] == "/console/holds"
    shown = room.ask("GET", "/nowhere?done=hold_placed").text
    assert "The hold is placed." in shown or "Le gel est posé." in shown
    for made_up in ("<script>", "nothing", "../../x"):
        assert 'role="status"' not in room.ask("GET", "/nowhere", params={"done": made_up}).text


def test_an_error_that_is_none_of_ours_is_not_swallowed(room: Room) -> None:
    """The guard of the port tells and logs it: the console never shows a half-made page."""
    room.handler = raising(ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        room.ask("GET", "/page")


def every_error() -> Iterator[ArchiveError]:
    """Yield one of each kind of error, its fields filled with something."""
    waiting: list[type[ArchiveError]] = [ArchiveError]
    while waiting:
        kind = waiting.pop()
        waiting += kind.__subclasses__()
        if kind.__module__ == errors.__name__:
            names = re.findall(r"\{(\w+)", kind.__doc__ or "")
            yield kind(
                **{name: 3 if "second" in name or "minute" in name or "limit" in name else "x" for name in names}
            )


@pytest.mark.parametrize("error", list(every_error()), ids=lambda error: type(error).__name__)
def test_every_error_is_a_page_with_its_status(room: Room, error: ArchiveError) -> None:
    """The status is that of the port's one table; what is technical is marked as English, below a headline."""
    room.handler = raising(error)
    answer = room.ask("GET", "/page", headers={"accept-language": "fr"})
    problem = problem_of(error)
    assert answer.status_code == problem.status
    technical = [part.text for part in refusals.told(error, "fr") if part.is_technical]
    assert re.findall('<span lang="en">(.*?)</span>', html.unescape(answer.text)) == technical
    assert answer.headers.get("retry-after") == problem.headers.get("Retry-After")


@pytest.mark.parametrize("language", LANGUAGES)
def test_an_error_has_the_headline_of_its_nearest_kind(room: Room, language: str) -> None:
    """A kind without a headline of its own has its parent's."""
    room.ask("GET", "/page", headers={"accept-language": language})
    (visit,) = room.seen
    words = catalogue("fr" if language == "fr" else "en")
    told = told_of(errors.InvalidHold(name="a", reason="b"), visit)
    assert (told["headline"], told["advice"]) == (words.text("error.HoldError"), words.text("advice.InvalidHold"))
    assert told_of(errors.IndexUnavailable(reason="x"), visit)["advice"] == words.text("advice.Unavailable")
    assert told_of(errors.AuditBroken(sequence=1, reason="x"), visit)["advice"] == ""
    assert told_of(errors.AssociationRefused(reason="x"), visit)["headline"] == words.text("error.ArchiveError")


# ---- a visit -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "page"),
    [("", 1), ("1", 1), ("7", 7), ("0", 1), ("-3", 1), ("x", 1), ("²", 1), ("9" * 30, 1), ("999999999", 1_000_000)],
)
def test_the_number_of_a_page_is_at_least_one(room: Room, asked: str, page: int) -> None:
    """Nonsense is the first page, a number beyond all pages the last there may be."""
    room.ask("GET", "/page", params={"page": asked})
    assert room.seen[0].page == page


@pytest.mark.parametrize(("kept", "reason"), [("court", "court"), ("made up", REASONS[0]), ("", REASONS[0])])
def test_the_reason_for_looking_is_one_of_those_offered(room: Room, kept: str, reason: str) -> None:
    """What a cookie holds is only believed if it is one of them."""
    room.ask("GET", "/page", headers={"cookie": f"drimbox_reason={kept}"})
    assert room.seen[0].access.reason == reason
    assert room.seen[0].access.person is ANNE


def test_sites_are_those_of_the_settings_that_the_person_is_for(room: Room) -> None:
    """None named is every one; a site that the settings have no more is none."""
    room.ask("GET", "/page")
    assert room.desk.sites_of(room.seen[-1]) == {"CHU", "Nord"}
    room.person = Person("nina", "Nina", frozenset({"archivist"}), frozenset({"Nord", "Gone"}))
    room.ask("GET", "/page")
    assert room.desk.sites_of(room.seen[-1]) == {"Nord"}
