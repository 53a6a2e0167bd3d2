"""The two steps of signing in by the identity provider, as pages; must not decide who may: that is for the services."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from archive.console.login import PATH, Entrance, local_path
from archive.console.login_words import told, words
from archive.console.pages import language_of, render
from archive.errors import ArchiveError, SignInExpired
from archive.http.access import address_of
from archive.http.origins import drop_cookie, read_cookie, set_cookie
from archive.http.problems import problem_of
from archive.http.session_cookie import SESSION
from archive.services.people import Person
from archive.services.provider_sign_in import ProviderSignIn

_COOKIE: Final = "drimbox-provider"
_CALLBACK: Final = "/oidc/callback"


@dataclass(frozen=True, slots=True)
class ProviderPages:
    """To the provider and back."""

    entrance: Entrance
    provider: ProviderSignIn

    def routes(self) -> tuple[Route, ...]:
        """Return the routes, below ``/login``."""
        return Route("/oidc", self.begin, methods=["GET"]), Route(_CALLBACK, self.finish, methods=["GET"])

    async def begin(self, request: Request) -> Response:
        """Send the browser to the provider."""
        return await self._answer(request, self._sent)

    async def finish(self, request: Request) -> Response:
        """Begin the session of whoever comes back."""
        return await self._answer(request, self._come_back)

    async def _answer(self, request: Request, do: Callable[[Request], Response]) -> Response:
        """Do a step; what goes wrong is a page in the reader's language."""
        try:
            return await run_in_threadpool(do, request)
        except ArchiveError as exc:
            problem, lang = problem_of(exc), language_of(request)
            values = {"words": words(lang), "reason": told(exc, lang)}
            return render(request, "login/refused.html", values, status=problem.status)

    def _sent(self, request: Request) -> Response:
        back = f"{self.entrance.origin.of(request.scope)}{PATH}{_CALLBACK}"
        cookie, address = self.provider.begin(back, to=local_path(request.query_params.get("to")))
        response = RedirectResponse(address, 303)
        set_cookie(response, request, _COOKIE, cookie)
        return response

    def _come_back(self, request: Request) -> Response:
        cookie, destination = read_cookie(request, _COOKIE), ""

        def prove() -> Person:
            nonlocal destination
            if cookie is None:
                raise SignInExpired()
            person, destination = self.provider.finish(cookie, request.query_params)
            return person

        token = self.entrance.sign_in.attempt(address_of(request.scope), prove)
        response = RedirectResponse(destination or f"{PATH}/", 303)
        set_cookie(response, request, SESSION, token)
        drop_cookie(response, request, _COOKIE)
        return response
