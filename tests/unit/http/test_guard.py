"""The door of the HTTP port, as an ASGI application in memory: who gets in, and what everything is answered with."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route, Router
from starlette.types import Receive, Scope, Send

from archive.config import HttpClientSettings
from archive.errors import NotAuthenticated, StorageFull
from archive.http.access import Authenticator, access_of, address_of, certificate_of
from archive.http.authenticators import KnownAddresses
from archive.http.guard import Bounds, Guard
from archive.http.limits import CROWDED
from archive.http.proxies import ForwardedAddress
from archive.http.surfaces import Surface, find_surface
from archive.services.people import Person

RADIOLOGIST = Person("poste-1", "Poste 1", frozenset({"radiologist"}), via="address")


async def who(request: Request) -> Response:
    """Say who asks, why, and what was sent."""
    access = access_of(request)
    return PlainTextResponse(f"{access.person.name} {access.address} {access.reason} {len(await request.body())}")


async def fails(request: Request) -> Response:
    """Fail in a way that quotes a patient."""
    raise ValueError("DUPONT^JEANNE")


async def is_full(request: Request) -> Response:
    """Fail in a way that is ours."""
    raise StorageFull(floor_mib=1)


async def breaks_off(request: Request) -> Response:
    """Fail once the answer has begun."""

    async def parts() -> AsyncIterator[bytes]:
        yield b"begun"
        raise ValueError("DUPONT^JEANNE")

    return StreamingResponse(parts())


ROUTES = Router(
    [
        Route("/who", who, methods=["GET", "POST"]),
        Route("/fails", fails),
        Route("/full", is_full),
        Route("/breaks", breaks_off),
    ]
)
SURFACES = (
    Surface("/api", ROUTES, max_body_bytes=1000),
    Surface("/pages/", ROUTES, login="/login/", policy="default-src 'self'"),
    Surface("/login/", PlainTextResponse("sign in"), is_public=True, headers={"Cache-Control": "public"}),
)


def nobody(scope: Scope) -> Person | None:
    """Know nobody."""
    return None


def somebody(scope: Scope) -> Person | None:
    """Know everybody."""
    return RADIOLOGIST


def refuses(scope: Scope) -> Person | None:
    """Refuse everybody."""
    raise NotAuthenticated(reason="the token has expired")


def guard(*authenticators: Authenticator, proxies: Sequence[str] = (), max_requests: int = 10) -> Guard:
    """Return a guard of the surfaces above."""
    networks = tuple(ipaddress.ip_network(each) for each in proxies)
    return Guard(SURFACES, authenticators, Bounds(max_requests, 0.2, 0.2), ForwardedAddress(networks))


def ask(
    application: Guard, path: str, *, method: str = "GET", crowded: bool = False, **options: object
) -> httpx.Response:
    """Ask once; ``crowded``: on a connection too many."""

    async def asked(scope: Scope, receive: Receive, send: Send) -> None:
        await application({**scope, "extensions": {CROWDED: {}} if crowded else {}}, receive, send)

    async def run() -> httpx.Response:
        transport = httpx.ASGITransport(asked, raise_app_exceptions=False, client=("192.0.2.7", 4711))
        async with httpx.AsyncClient(transport=transport, base_url="http://archive") as client:
            return await client.request(method, path, **options)  # type: ignore[arg-type]

    return asyncio.run(run())


def test_the_first_that_knows_somebody_decides() -> None:
    """Authenticators are asked in turn; who is found is known to the endpoint, with address and reason."""
    response = ask(guard(nobody, somebody, refuses), "/api/who", headers={"Access-Reason": "a%0Ab%C3%A9"})
    assert response.text == "poste-1 192.0.2.7 abé 0"


def test_one_that_refuses_ends_it() -> None:
    """A proof that does not hold is a refusal, even where the address would be known."""
    response = ask(guard(refuses, somebody), "/api/who")
    assert response.status_code == 401
    assert "expired" in response.json()["detail"]


@pytest.mark.parametrize(
    ("headers", "is_elsewhere"),
    [({}, False), ({"Authorization": "Bearer x"}, True), ({"cookie": "drimbox=x"}, True), ({"Accept": "*/*"}, False)],
)
def test_a_secret_is_looked_at_in_another_thread(headers: dict[str, str], is_elsewhere: bool) -> None:
    """To look it up may take time, and nobody else waits for that; an address alone is known at once."""
    threads: list[threading.Thread] = []

    def notes(scope: Scope) -> Person | None:
        threads.append(threading.current_thread())
        return somebody(scope)

    assert ask(guard(notes), "/api/who", headers=headers).status_code == 200
    assert (threads != [threading.current_thread()]) == is_elsewhere


def test_who_is_unknown() -> None:
    """Programs are told 401, browsers are sent to sign in, what is public is open."""
    assert ask(guard(nobody), "/api/who").status_code == 401
    assert ask(guard(nobody), "/pages/who", method="POST").status_code == 401
    assert ask(guard(nobody), "/login/").text == "sign in"


def test_a_person_goes_on_to_where_they_were_going_once_signed_in() -> None:
    """The page asked for, with its query; of a form that was open longer than its session, its address alone."""
    page = ask(guard(nobody), "/pages/a%20b/%C3%A9?months=60&x=%2F")
    wanted = parse_qs(urlsplit(page.headers["location"]).query)["to"]
    assert (page.status_code, wanted) == (303, ["/pages/a%20b/%C3%A9?months=60&x=%2F"])
    assert page.headers["location"].startswith("/login/?to=/pages/")
    browser = {"accept": "text/html,application/xhtml+xml", "content-type": "application/x-www-form-urlencoded"}
    form = ask(guard(nobody), "/pages/who?x=1", method="POST", headers=browser, content=b"reason=kept")
    assert (form.status_code, form.headers["location"]) == (303, "/login/?to=/pages/who")
    assert ask(guard(nobody), "/api/who", method="POST", headers=browser).status_code == 401


def test_paths_that_lead_nowhere() -> None:
    """What no surface begins is a problem; a surface is begun by whole segments."""
    for path in ("/", "/apiary/who", "/api/nothing", "/pages", "/%2e%2e/api"):
        response = ask(guard(somebody), path)
        assert response.status_code == 404
        assert response.headers["content-type"] == "application/problem+json"
    assert find_surface(SURFACES, "/api") is SURFACES[0]
    assert find_surface((*SURFACES, Surface("/api/v2", ROUTES)), "/api/v2/x").path == "/api/v2"  # type: ignore[union-attr]


def test_security_headers() -> None:
    """Every answer has them; a surface has its own policy and may say otherwise."""
    api, page, login = (ask(guard(somebody), path) for path in ("/api/who", "/pages/who", "/login/"))
    assert api.headers["content-security-policy"].startswith("default-src 'none'")
    assert page.headers["content-security-policy"] == "default-src 'self'"
    assert [each.headers["cache-control"] for each in (api, page, login)] == ["no-store", "no-store", "public"]
    assert "strict-transport-security" not in api.headers


def test_errors_say_nothing_of_themselves(capsys: pytest.CaptureFixture[str]) -> None:
    """An error that is not ours is 500 without words; one that is ours has its status and what goes with it."""
    response = ask(guard(somebody), "/api/fails")
    assert response.status_code == 500
    assert "DUPONT" not in response.text
    full = ask(guard(somebody), "/api/full")
    assert (full.status_code, "retry-after" in full.headers) == (507, True)


def test_a_method_that_is_not_there() -> None:
    """A wrong method is told with those there are."""
    response = ask(guard(somebody), "/api/who", method="DELETE")
    assert response.status_code == 405
    assert "GET" in response.headers["allow"]


def test_a_body_is_bounded_by_its_surface() -> None:
    """Each surface takes bodies of its own size, however they come."""
    application = guard(somebody)
    assert ask(application, "/api/who", method="POST", content=bytes(1000)).text.endswith(" 1000")
    response = ask(application, "/api/who", method="POST", content=bytes(1001))
    assert response.status_code == 413
    assert ask(application, "/pages/who", method="POST", content=bytes(5000)).text.endswith(" 5000")


def test_too_many_at_once() -> None:
    """Beyond the limit a request is told to come again; the count goes down whatever happens."""
    application = guard(somebody, max_requests=0)
    response = ask(application, "/api/who")
    assert (response.status_code, response.headers["retry-after"]) == (503, "1")
    for path in ("/api/fails", "/api/nothing", "/api/breaks"):
        ask(application, path)
    assert application.running == 0


@pytest.mark.parametrize("path", ["/api/who", "/pages/who", "/login/", "/nowhere"])
@pytest.mark.parametrize(("method", "content"), [("GET", b""), ("POST", b"x" * 500)])
def test_too_many_connections(path: str, method: str, content: bytes) -> None:
    """Whatever is asked for, the answer is a problem that says when to come back, and the connection makes room.

    Nobody is asked who it is, which may cost a query, and the answer is protected as any other.
    """
    application = guard(refuses)
    response = ask(application, path, method=method, content=content, crowded=True)
    assert (response.status_code, response.headers["content-type"]) == (503, "application/problem+json")
    assert (response.headers["retry-after"], response.headers["connection"]) == ("1", "close")
    assert response.json()["type"] == "urn:drimbox:problem:too-many-connections"
    assert response.json()["detail"] == "Too many connections at once: try again in a moment."
    assert response.headers["x-content-type-options"] == "nosniff"
    assert "content-security-policy" in response.headers and "cache-control" in response.headers
    assert application.running == 0


def test_with_room_a_connection_goes_on() -> None:
    """Neither an answer nor a refusal for another reason ends a connection whose request was read."""
    for application in (guard(somebody), guard(refuses), guard(somebody, max_requests=0)):
        assert "connection" not in ask(application, "/api/who").headers


def test_an_answer_that_breaks_off_is_not_taken_for_whole() -> None:
    """Once an answer has begun, an error ends the connection: nobody takes a part for the whole."""

    async def run() -> list[str]:
        sent: list[str] = []
        messages = [{"type": "http.request", "body": b"", "more_body": False}]

        async def receive() -> dict[str, object]:
            if not messages:
                await asyncio.Event().wait()  # the client stays
            return messages.pop()

        async def send(message: dict[str, object]) -> None:
            sent.append(str(message["type"]))

        scope = {
            "type": "http",
            "method": "GET",
            "path": "/api/breaks",
            "query_string": b"",
            "headers": [],
            "scheme": "http",
            "client": ("192.0.2.7", 1),
        }
        with pytest.raises(Exception, match=r"DUPONT|unhandled errors"):
            await guard(somebody)(scope, receive, send)  # type: ignore[arg-type]
        return sent

    assert asyncio.run(run()) == ["http.response.start", "http.response.body"]


@pytest.mark.parametrize(
    ("forwarded", "seen"),
    [
        ("203.0.113.5", "203.0.113.5"),
        ("198.51.100.1, 203.0.113.5", "203.0.113.5"),
        ("203.0.113.5, 192.0.2.8", "203.0.113.5"),
        ("::ffff:203.0.113.5", "::ffff:203.0.113.5"),
        ("", ""),
        ("192.0.2.8", "192.0.2.7"),
    ],
)
def test_addresses_behind_proxies(forwarded: str, seen: str) -> None:
    """The nearest address that is no proxy of ours is the client's; what stands before it was written by the client."""
    application = guard(somebody, proxies=["192.0.2.0/24"])
    response = ask(application, "/api/who", headers={"X-Forwarded-For": forwarded})
    assert response.text.split(" ")[1] == seen
    assert ask(guard(somebody), "/api/who", headers={"X-Forwarded-For": forwarded}).text.split(" ")[1] == "192.0.2.7"


def test_a_proxy_says_how_it_was_reached() -> None:
    """Behind a proxy that does the TLS, browsers are told to stay with it; nobody else can say so."""
    headers = {"X-Forwarded-For": "203.0.113.5", "X-Forwarded-Proto": "https"}
    behind = ask(guard(somebody, proxies=["192.0.2.7/32"]), "/api/who", headers=headers)
    assert "strict-transport-security" in behind.headers
    assert "strict-transport-security" not in ask(guard(somebody), "/api/who", headers=headers).headers


def known(*clients: tuple[str, str]) -> Callable[[str], str]:
    """Return a function that names the machine at an address."""
    settings = [
        HttpClientSettings.model_validate({"name": name, "addresses": [network], "roles": ["radiologist"]})
        for name, network in clients
    ]
    authenticate = KnownAddresses(settings)

    def name_at(address: str) -> str:
        person = authenticate({"type": "http", "client": (address, 1)})
        return "" if person is None else f"{person.name} {person.via}"

    return name_at


def test_machines_known_by_their_address() -> None:
    """The first client whose network has the address is who asks; an IPv4 address behind IPv6 is the same."""
    name_at = known(("one", "192.0.2.7"), ("ward", "192.0.2.0/24"), ("six", "2001:db8::/32"))
    assert name_at("192.0.2.7") == "one address"
    assert name_at("192.0.2.9") == "ward address"
    assert name_at("::ffff:192.0.2.9") == "ward address"
    assert name_at("2001:db8::1%eth0") == "six address"
    assert [name_at(each) for each in ("198.51.100.1", "nonsense", "")] == ["", "", ""]


def test_what_a_scope_says() -> None:
    """Address and certificate of a client are read from the scope; what is missing is missing."""
    assert address_of({"type": "http", "client": None}) == ""
    assert certificate_of({"type": "http"}) is None
    assert certificate_of({"type": "http", "extensions": {"tls": {"client_cert_chain": []}}}) is None
    assert certificate_of({"type": "http", "extensions": {"tls": {"client_cert_chain": ["PEM"]}}}) == "PEM"


def test_a_problem_is_json() -> None:
    """What is refused is told in the form of RFC 9457."""
    told = json.loads(ask(guard(nobody), "/api/who").content)
    assert {"type", "title", "status", "detail"} <= {*told}
