"""The pages and steps of signing in, and out; must not decide who may: that is for the services.

A link's token comes in a body, never in an address: browsers keep what stands behind ``#`` to themselves.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final
from urllib.parse import parse_qs

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Mount, Route, Router
from starlette.staticfiles import StaticFiles

from archive.console.login_words import role_names, told, words
from archive.console.pages import POLICY, STATIC, language_of, render
from archive.errors import ArchiveError, BadRequest, NotAllowed, SignInExpired
from archive.http.access import address_of, signed_in_person
from archive.http.origins import Origin, drop_cookie, read_cookie, set_cookie
from archive.http.problems import problem_of
from archive.http.session_cookie import SESSION
from archive.http.surfaces import Surface
from archive.services.accounts import NewAccount
from archive.services.invitations import Invitations
from archive.services.passkeys import Options, Passkeys
from archive.services.people import Person
from archive.services.sessions import PASSKEY, Sessions, form_token, is_form_token
from archive.services.sign_in import SignIn

PATH: Final = "/login"
CEREMONY: Final = "drimbox-ceremony"
INVITE: Final = "drimbox account invite"
RECOVER: Final = "drimbox account recover"
"""What brings in who has no key, once there is an account (docs/operations.md, More people, spare keys, lost keys)."""
_MAX_BODY_BYTES: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class Entrance:
    """What signing in stands on; ``home`` is where one goes on, ``has_provider`` shows the way by OpenID Connect."""

    sign_in: SignIn
    passkeys: Passkeys
    invitations: Invitations
    origin: Origin
    home: str = ""
    has_provider: bool = False

    @property
    def sessions(self) -> Sessions:
        """Return where sessions are kept."""
        return self.sign_in.sessions


def login_surface(entrance: Entrance, *more: Route) -> Surface:
    """Return everything below ``/login``, open to everybody."""
    router = login_router(entrance, *more)
    # With no-referrer, older browsers would hide which page a form is sent by.
    headers = {"Referrer-Policy": "same-origin"}
    return Surface(PATH, router, is_public=True, policy=POLICY, headers=headers, max_body_bytes=_MAX_BODY_BYTES)


def login_router(entrance: Entrance, *more: Route) -> Router:
    """Return the routes; ``more`` are those of the identity provider."""
    pages, steps = _Pages(entrance), _Steps(entrance)
    return Router(
        [
            Route("/", pages.sign_in, methods=["GET"]),
            Route("/first", pages.first, methods=["GET"]),
            Route("/link", pages.link, methods=["GET"]),
            Route("/out", pages.sign_out, methods=["POST"]),
            Route("/add", pages.add, methods=["POST"]),
            Route("/begin", steps.begin, methods=["POST"]),
            Route("/complete", steps.complete, methods=["POST"]),
            Route("/link/begin", steps.begin_link, methods=["POST"]),
            Route("/link/complete", steps.complete_link, methods=["POST"]),
            Mount("/static", StaticFiles(directory=STATIC)),
            *more,
        ],
        redirect_slashes=False,
    )


@dataclass(frozen=True, slots=True)
class _Pages:
    entrance: Entrance

    async def sign_in(self, request: Request) -> Response:
        """Show how to sign in, or who is signed in."""
        person, token = signed_in_person(request.scope), read_cookie(request, SESSION)
        lang = language_of(request)
        text = words(lang)
        if person is not None and token is not None:
            values = {"person": person, "roles": role_names(person.roles, lang), "home": self.entrance.home}
            values |= {"form_token": form_token(token)}
            return render(request, "login/signed_in.html", {"words": text, **values})
        values = {"to": local_path(request.query_params.get("to")), "has_provider": self.entrance.has_provider}
        return render(request, "login/sign_in.html", {"words": text, **values})

    async def first(self, request: Request) -> Response:
        """Show the form of the first administrator, or that there is one: what the link holds is not in the address."""
        text = words(language_of(request))
        if await run_in_threadpool(self.entrance.invitations.has_accounts):
            return render(request, "login/used.html", {"words": text, "invite": INVITE, "recover": RECOVER}, status=410)
        return render(request, "login/link.html", {"words": text, "is_first": True})

    async def link(self, request: Request) -> Response:
        """Show the page on which a link makes a passkey."""
        return render(request, "login/link.html", {"words": words(language_of(request)), "is_first": False})

    async def sign_out(self, request: Request) -> Response:
        """End the session."""
        return await _answered(request, self._sign_out)

    async def add(self, request: Request) -> Response:
        """Lead to the page where one more key is made."""
        return await _answered(request, self._add)

    async def _sign_out(self, request: Request) -> Response:
        token = await _checked_form(request)
        await run_in_threadpool(self.entrance.sessions.end, token, address=address_of(request.scope))
        response = RedirectResponse(f"{PATH}/", 303)
        drop_cookie(response, request, SESSION)
        return response

    async def _add(self, request: Request) -> Response:
        await _checked_form(request)
        person = signed_in_person(request.scope)
        if person is None or person.via != PASSKEY:
            raise NotAllowed(name="(unknown)", reason="only who signed in with a passkey can add another")
        token = await run_in_threadpool(self.entrance.invitations.add, person)
        return RedirectResponse(f"{PATH}/link#{token}", 303)


async def _answered(request: Request, act: Callable[[Request], Awaitable[Response]]) -> Response:
    """Do what a form asks for; one that is of another session gets a page in the reader's language."""
    try:
        return await act(request)
    except NotAllowed as exc:
        lang = language_of(request)
        values = {"words": words(lang), "reason": told(exc, lang)}
        return render(request, "login/refused.html", values, status=problem_of(exc).status)


@dataclass(frozen=True, slots=True)
class _Steps:
    """What the script of the pages asks for: JSON in, JSON out."""

    entrance: Entrance

    async def begin(self, request: Request) -> Response:
        """Return what a browser needs to show a passkey."""
        return await self._answer(request, self._begun, lambda _: self.entrance.passkeys.begin_showing())

    async def complete(self, request: Request) -> Response:
        """Begin the session of whoever showed their passkey."""
        return await self._answer(request, self._signed_in, self.entrance.passkeys.finish_showing)

    async def begin_link(self, request: Request) -> Response:
        """Return what a browser needs to make the passkey of a link."""

        def begin(told: Mapping[str, Any]) -> tuple[str, Options]:
            chosen = None
            if "name" in told:
                chosen = NewAccount(_text(told, "name"), _text(told, "full_name"), frozenset({"operator"}))
            return self.entrance.passkeys.begin_making(_text(told, "token"), chosen)

        return await self._answer(request, self._begun, begin)

    async def complete_link(self, request: Request) -> Response:
        """Keep the new passkey and begin the session of whoever made it."""
        return await self._answer(request, self._signed_in, self.entrance.passkeys.finish_making)

    async def _answer(self, request: Request, do: Callable[..., Response], prove: Callable[..., Any]) -> Response:
        """Do a step; what goes wrong is told in the reader's language beside the problem."""
        try:
            if not self.entrance.origin.is_same(request.scope):
                raise NotAllowed(name="(unknown)", reason="the request was not made by a page of this archive")
            body = await _read_json(request)
            return await run_in_threadpool(do, request, body, prove)
        except ArchiveError as exc:
            return problem_of(exc).response({"message": told(exc, language_of(request))})

    def _begun(self, request: Request, body: Mapping[str, Any], begin: Callable[..., tuple[str, Options]]) -> Response:
        self.entrance.sign_in.attempts.check(address_of(request.scope))
        ceremony, options = begin(body)
        response = JSONResponse(dict(options))
        set_cookie(response, request, CEREMONY, ceremony)
        return response

    def _signed_in(self, request: Request, body: Mapping[str, Any], prove: Callable[..., Person]) -> Response:
        ceremony, scope, answer = read_cookie(request, CEREMONY), request.scope, body.get("answer")
        if ceremony is None or not isinstance(answer, Mapping):
            raise SignInExpired()
        is_origin = partial(self.entrance.origin.is_page, scope=scope)
        token = self.entrance.sign_in.attempt(address_of(scope), lambda: prove(ceremony, answer, is_origin=is_origin))
        to = local_path(_text(body, "to")) or f"{PATH}/"
        response = JSONResponse({"to": to})
        set_cookie(response, request, SESSION, token)
        drop_cookie(response, request, CEREMONY)
        return response


def local_path(wanted: str | None) -> str:
    """Return a path of this archive to go on to, or "" for anything that could lead elsewhere."""
    if not wanted or not wanted.startswith("/") or not wanted.isprintable():
        return ""
    return "" if wanted.startswith(("//", "/\\")) or "\\" in wanted else wanted


async def _checked_form(request: Request) -> str:
    """Return the session's token; raise NotAllowed unless the form was made for it."""
    token = read_cookie(request, SESSION)
    fields = parse_qs((await request.body()).decode("ascii", "replace"), max_num_fields=8)
    given = fields.get("form_token", [""])[0]
    if token is None or not is_form_token(given, token):
        raise NotAllowed(name="(unknown)", reason="the form was not made for this session: load the page again")
    return token


async def _read_json(request: Request) -> Mapping[str, Any]:
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise BadRequest(reason="JSON is expected")
    try:
        value = await request.json()
    except ValueError as exc:
        raise BadRequest(reason="the JSON cannot be read") from exc
    if not isinstance(value, dict):
        raise BadRequest(reason="a JSON object is expected")
    return value


def _text(body: Mapping[str, Any], name: str) -> str:
    value = body.get(name, "")
    return value if isinstance(value, str) else ""
