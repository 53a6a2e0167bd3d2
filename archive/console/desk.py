"""What every page of the console goes through: permission, proof of forms, language, errors; must not know any page.

A handler gets a visit and returns an answer; it runs in a thread, for it waits for the index.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qsl, quote, urlencode

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from archive import logs
from archive.console import refusals
from archive.console.catalogue import LANGUAGES, catalogue, choose
from archive.console.forms import COOKIE, FIELD, Fields, FormTokens, new_cookie, parse_form
from archive.console.pages import LANGUAGE_COOKIE
from archive.console.rendering import Renderer, address_of
from archive.console.searches import Searches
from archive.console.visit import Visit
from archive.errors import ArchiveError, FormTooOld, NoSuchResource
from archive.http.access import person_of
from archive.http.origins import read_cookie
from archive.http.problems import problem_of
from archive.http.session_cookie import SESSION
from archive.services.people import Permission
from archive.services.sessions import form_token

_YEAR_SECONDS: Final = 31_536_000
_LONGEST_QUERY: Final = 2000
_log = logs.get(__name__)

Handler = Callable[[Visit], Response]
Endpoint = Callable[[Request], Awaitable[Response]]

_P = Permission
NAVIGATION: Final = (
    ("overview", "/", _P.VIEW_CONSOLE),
    ("studies", "/studies", _P.VIEW_CONSOLE),
    ("holds", "/holds", _P.VIEW_CONSOLE),
    ("facts", "/facts", _P.VIEW_CONSOLE),
    ("lists", "/lists", _P.VIEW_CONSOLE),
    ("due", "/due", _P.VIEW_CONSOLE),
    ("evidence", "/evidence", _P.VIEW_CONSOLE),
    ("quarantine", "/quarantine", _P.OPERATE),
    ("jobs", "/jobs", _P.VIEW_CONSOLE),
    ("audit", "/audit", _P.READ_AUDIT),
)
"""The sections: name, path, and what opening them takes."""


@dataclass(frozen=True, slots=True)
class Desk:
    """Makes routes of handlers, and answers of values. ``sites`` are those of the settings."""

    renderer: Renderer
    tokens: FormTokens
    sites: frozenset[str]
    searches: Searches = field(default_factory=Searches)

    # ---- routes --------------------------------------------------------------------------------------------------

    def page(self, path: str, permission: Permission, handler: Handler) -> Route:
        """Return the route of a page, for those who have the permission."""

        async def endpoint(request: Request) -> Response:
            visit = self._visit(request, {})
            return await run_in_threadpool(self._answer, visit, permission, handler)

        return Route(path, endpoint, methods=["GET"])

    def act(self, path: str, permission: Permission, handler: Handler, *, of: str | None = None) -> Route:
        """Return the route of a form, for those who have the permission and sent it from a page of ours.

        ``of`` is the page the form is on, when that is another path. A form that is refused is shown under the form's
        own address: asked for again (another language, after signing in), that leads back to the page.
        """

        async def endpoint(request: Request) -> Response:
            if of is not None and request.method != "POST":
                return self.go(of.format(**{name: quote(part, safe="") for name, part in request.path_params.items()}))
            body, content_type = await request.body(), request.headers.get("content-type", "")
            visit = self._visit(request, {})

            def proven(_: Visit) -> Response:
                sent = self._visit(request, parse_form(body, content_type))
                self._prove(sent)
                return handler(sent)

            return await run_in_threadpool(self._answer, visit, permission, proven)

        return Route(path, endpoint, methods=["POST"] if of is None else ["GET", "POST"])

    def elsewhere(self, visit: Visit) -> Response:
        """Answer for a path that has no page."""
        raise NoSuchResource(reason="the console has no such page")

    # ---- answers -------------------------------------------------------------------------------------------------

    def show(self, visit: Visit, template: str, values: dict[str, Any], *, status: int = 200) -> Response:
        """Return a page."""
        text = self.renderer.render(template, visit.language, self._known(visit) | values)
        response = HTMLResponse(text, status)
        if COOKIE not in visit.request.cookies:
            self.set_cookie(visit, response, COOKIE, visit.cookie)
        return response

    def go(self, path: str, *, done: str = "") -> Response:
        """Send the browser on after an act; ``done`` names the message that tells of it."""
        return RedirectResponse(address_of(path) + (f"?done={quote(done)}" if done else ""), status_code=303)

    def go_to_search(self, visit: Visit, path: str, told: Mapping[str, str]) -> Response:
        """Send the browser on to the answer of a search, which its address does not tell."""
        return self.go(f"{path}?search={self.searches.keep(visit.person.name, told)}")

    def searched(self, visit: Visit) -> Mapping[str, str] | None:
        """Return what the address asks the answer of; None when it names no search of this person."""
        return self.searches.recall(visit.person.name, visit.asked("search"))

    def set_cookie(
        self, visit: Visit, response: Response, name: str, value: str, *, seconds: int | None = None
    ) -> None:
        """Keep a value in the browser, for the console alone; for ``seconds``, or as long as the browser is open."""
        response.set_cookie(
            name,
            value,
            max_age=seconds,
            path=address_of("/"),
            secure=visit.request.url.scheme == "https",
            httponly=True,
            samesite="strict",
        )

    def sites_of(self, visit: Visit) -> frozenset[str]:
        """Return the sites of the settings that a person acts for."""
        return frozenset(site for site in self.sites if visit.person.is_for(site))

    def choose_language(self, visit: Visit) -> Response:
        """Keep the language somebody chose, and show the page they were on again."""
        chosen, back = visit.given("language"), visit.given("back")
        own = back if back.startswith("/") and not back.startswith("//") and "\\" not in back else "/"
        path, _, asked = own.partition("?")
        query = urlencode(parse_qsl(asked[:_LONGEST_QUERY]))
        response = self.go(quote(path, safe="/-") + (f"?{query}" if query else ""))
        if chosen in LANGUAGES:
            response.set_cookie(LANGUAGE_COOKIE, chosen, max_age=_YEAR_SECONDS, path="/", httponly=True, samesite="lax")
        return response

    # ---- the edge ------------------------------------------------------------------------------------------------

    def _visit(self, request: Request, fields: Fields) -> Visit:
        language = choose(request.cookies.get(LANGUAGE_COOKIE, ""), request.headers.get("accept-language", ""))
        cookie = request.cookies.get(COOKIE) or request.scope.setdefault(COOKIE, new_cookie())
        return Visit(request, person_of(request), language, cookie, fields)

    def _prove(self, visit: Visit) -> None:
        """Raise NotAllowed for a form that came from elsewhere (Fetch Metadata) or is not this person's."""
        from_where = visit.request.headers.get("sec-fetch-site", "same-origin")
        is_ours = self.tokens.is_right(visit.given(FIELD), visit.request.cookies.get(COOKIE, ""), visit.person.name)
        if from_where != "same-origin" or not is_ours:
            raise FormTooOld

    def _answer(self, visit: Visit, permission: Permission, handler: Handler) -> Response:
        try:
            visit.person.require(permission)
            return handler(visit)
        except ArchiveError as exc:
            _log.warning("page_refused", reason=type(exc).__name__)
            return self.refusal(visit, exc)

    def refusal(self, visit: Visit, error: ArchiveError) -> Response:
        """Return the page that tells of an error, with its status."""
        problem = problem_of(error)
        told = {"status_code": problem.status, **told_of(error, visit)}
        response = self.show(visit, "error.html", told, status=problem.status)
        response.headers.update(problem.headers)
        return response

    def _known(self, visit: Visit) -> dict[str, Any]:
        """Return what the frame of every page shows."""
        path = visit.request.url.path.removeprefix(address_of(""))
        session = read_cookie(visit.request, SESSION)
        return {
            "person": visit.person,
            "navigation": [(name, to) for name, to, needed in NAVIGATION if visit.person.may(needed)],
            "section": "overview" if path in ("", "/") else path.split("/")[1],
            "here": (path or "/") + _query_of(visit),
            "languages": LANGUAGES,
            "form_field": FIELD,
            "sign_out_token": None if session is None else form_token(session),
            "form_token": self.tokens.make(visit.cookie, visit.person.name),
            "done": catalogue(visit.language).found(f"done.{visit.asked('done')}", ""),
            "may": lambda name, site=None: visit.person.may(Permission(name), site),
            "may_as": lambda roles, site=None: bool(visit.person.roles & set(roles)) and visit.person.is_for(site),
        }


def told_of(error: ArchiveError, visit: Visit) -> dict[str, Any]:
    """Return an error's kind and what to do, in the language of whoever looks, and what it says itself."""
    words = catalogue(visit.language)
    names: Sequence[str] = [kind.__name__ for kind in type(error).__mro__]
    headline = next(words.messages[f"error.{name}"] for name in names if f"error.{name}" in words.messages)
    advice = next((words.messages[f"advice.{name}"] for name in names if f"advice.{name}" in words.messages), "")
    return {"headline": headline, "advice": advice, "detail": refusals.told(error, visit.language)}


def _query_of(visit: Visit) -> str:
    """Return the query of a page's address, without what was just done; the address a form goes to has none."""
    asked = visit.request.query_params.multi_items() if visit.request.method == "GET" else []
    query = urlencode([(name, value) for name, value in asked if name != "done"])
    return f"?{query}" if query else ""
