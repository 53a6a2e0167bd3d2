"""The server by itself on a real port: what it tells an application of a connection, how it starts and stops."""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from archive.config import HttpSettings
from archive.errors import ConfigError
from archive.http.access import certificate_of
from archive.http.limits import is_crowded
from archive.http.server import HttpServer


async def tells_tls(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with the client's certificate and the version of TLS."""
    tls = scope.get("extensions", {}).get("tls", {})
    text = f"{tls.get('tls_version', 'plain')}\n{certificate_of(scope) or 'none'}"
    await PlainTextResponse(text)(scope, receive, send)


async def tells_size(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with the size of the body."""
    await PlainTextResponse(str(len(await Request(scope, receive).body())))(scope, receive, send)


@contextmanager
def serving(application: ASGIApp, **settings: object) -> Iterator[int]:
    """Serve an application and lend its port."""
    server = HttpServer(HttpSettings.model_validate({"port": 0, **settings}), application)
    address = server.start()
    assert address is not None
    try:
        yield address[1]
    finally:
        server.stop(grace_seconds=1)
        assert not [thread for thread in threading.enumerate() if thread.name == "http"]


@pytest.fixture(scope="module")
def pems(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with two certificates, each its own issuer: the server's, and a client's."""
    folder = tmp_path_factory.mktemp("pems")
    for name in ("server", "client"):
        command = (
            f"openssl req -x509 -newkey rsa:2048 -nodes -days 2 -keyout {name}.key -out {name}.pem -subj /CN={name}"
        )
        names = ["-addext", "subjectAltName=IP:127.0.0.1"]
        subprocess.run([*command.split(), *names], cwd=folder, check=True, capture_output=True)
    return folder


def test_the_client_certificate_reaches_the_application(pems: Path) -> None:
    """A certificate that a client shows is in the scope, byte for byte: what tokens are bound to (RFC 8705)."""
    files = {"certificate": pems / "server.pem", "key": pems / "server.key", "ca": pems / "client.pem"}
    with serving(tells_tls, **files, client_certificate="optional") as port:
        trust = ssl.create_default_context(cafile=str(pems / "server.pem"))
        with httpx.Client(verify=trust) as client:
            assert client.get(f"https://127.0.0.1:{port}/").text == "TLSv1.3\nnone"
        trust.load_cert_chain(pems / "client.pem", pems / "client.key")
        with httpx.Client(verify=trust) as client:
            for _ in range(2):  # the second request of a connection too
                said = client.get(f"https://127.0.0.1:{port}/").text.partition("\n")[2]
                assert ssl.PEM_cert_to_DER_cert(said) == ssl.PEM_cert_to_DER_cert((pems / "client.pem").read_text())


def test_a_certificate_nobody_signed_is_refused(pems: Path) -> None:
    """A client whose certificate the CA does not know gets no connection, even where none is required."""
    files = {"certificate": pems / "server.pem", "key": pems / "server.key", "ca": pems / "server.pem"}
    with serving(tells_tls, **files, client_certificate="optional") as port:
        trust = ssl.create_default_context(cafile=str(pems / "server.pem"))
        trust.load_cert_chain(pems / "client.pem", pems / "client.key")
        with httpx.Client(verify=trust) as client, pytest.raises(httpx.HTTPError):
            client.get(f"https://127.0.0.1:{port}/")


def test_without_tls_there_is_none_to_tell() -> None:
    """On a plain port a scope says nothing of TLS."""
    with serving(tells_tls) as port:
        assert httpx.get(f"http://127.0.0.1:{port}/").text == "plain\nnone"


def test_requests_in_one_go() -> None:
    """Requests that come in one packet, with bodies and without, are each answered, in their order."""
    request = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{}"
    raw = "".join(request.format(size, "x" * size) for size in (3, 0, 5)).encode()
    with serving(tells_size) as port, socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(raw + b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        said = b""
        while part := connection.recv(65536):
            said += part
    assert [each.rpartition(b"\r\n\r\n")[2][:1] for each in said.split(b"HTTP/1.1 200 OK")[1:]] == [
        b"3",
        b"0",
        b"5",
        b"0",
    ]


def test_long_headers_end_at_their_bound() -> None:
    """Headers are taken up to the bound of the settings, whatever body follows at once, and not beyond."""
    body = b"x" * 100_000
    with serving(tells_size, max_header_kib=16) as port:
        for length, status in ((15_000, b"200"), (17_000, b"431")):
            with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
                head = f"POST / HTTP/1.1\r\nHost: x\r\nX: {'y' * length}\r\nContent-Length: {len(body)}\r\n\r\n"
                connection.sendall(head.encode() + body)
                assert connection.recv(12)[9:] == status


async def tells_room(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer whether there is room, and whether the connection is encrypted."""
    extensions = scope["extensions"]
    words = ("crowded" if is_crowded(scope) else "room", "tls" if "tls" in extensions else "plain")
    await PlainTextResponse(" ".join(words))(scope, receive, send)


@contextmanager
def clients(count: int, address: str, **options: Any) -> Iterator[list[httpx.Client]]:
    """Lend clients with one connection each, kept open once they have asked."""
    limits = httpx.Limits(max_connections=1, max_keepalive_connections=1)
    with ExitStack() as stack:
        yield [stack.enter_context(httpx.Client(base_url=address, limits=limits, **options)) for _ in range(count)]


def asks_until(client: httpx.Client, told: str) -> bool:
    """Tell whether a client is told something within some seconds: a server hears a little later who has left."""
    deadline = time.monotonic() + 10
    while client.get("/").text != told:
        if time.monotonic() > deadline:
            return False
    return True


def test_as_many_connections_as_the_settings_say() -> None:
    """The last one that may be open has room as the first has; with one more who asks is told, until it has left."""
    with serving(tells_room, max_connections=3) as port, clients(3, f"http://127.0.0.1:{port}") as kept:
        for _ in range(2):
            assert [client.get("/").text for client in kept] == ["room plain"] * 3
        with clients(1, f"http://127.0.0.1:{port}") as more:
            assert more[0].get("/").text == "crowded plain"
            assert kept[0].get("/").text == "crowded plain"
        assert asks_until(kept[0], "room plain")
        assert [client.get("/").text for client in kept] == ["room plain"] * 3


def test_a_connection_that_says_nothing_is_one_too() -> None:
    """It takes the place of one that asks, for as long as its headers may take."""
    with serving(tells_room, max_connections=1) as port, clients(1, f"http://127.0.0.1:{port}") as (client,):
        assert client.get("/").text == "room plain"
        with socket.create_connection(("127.0.0.1", port), timeout=10):
            assert asks_until(client, "crowded plain")
        assert asks_until(client, "room plain")


def test_an_encrypted_connection_is_counted_as_any_other(pems: Path) -> None:
    """It is told beside its certificate."""
    files = {"certificate": pems / "server.pem", "key": pems / "server.key"}
    trust = ssl.create_default_context(cafile=str(pems / "server.pem"))
    with (
        serving(tells_room, max_connections=1, **files) as port,
        clients(2, f"https://127.0.0.1:{port}", verify=trust) as (first, second),
    ):
        assert first.get("/").text == "room tls"
        assert second.get("/").text == "crowded tls"


def test_requests_in_one_go_are_all_told() -> None:
    """Each request of a crowded connection is, also those that wait behind the first."""
    request = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
    last = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    with serving(tells_room, max_connections=1) as port, clients(1, f"http://127.0.0.1:{port}") as (kept,):
        assert kept.get("/").text == "room plain"
        with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
            connection.sendall(request * 2 + last)
            said = b""
            while part := connection.recv(65536):
                said += part
    assert said.count(b"crowded plain") == 3 and b"room" not in said


def test_a_port_that_is_taken_is_told() -> None:
    """A port that somebody holds is named in the refusal."""
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        with pytest.raises(ConfigError, match=str(port)):
            HttpServer(HttpSettings(port=port), tells_tls).start()


def test_files_that_are_no_certificate(tmp_path: Path) -> None:
    """Files that do not load keep the port closed, with their setting named."""
    for name in ("c.pem", "k.pem"):
        (tmp_path / name).write_text("nonsense")
    settings = HttpSettings(port=0, certificate=tmp_path / "c.pem", key=tmp_path / "k.pem")
    with pytest.raises(ConfigError, match="does not load"):
        HttpServer(settings, tells_tls).start()


def test_off_means_nothing_is_opened() -> None:
    """Without a port there is no thread and nothing to stop."""
    server = HttpServer(HttpSettings(), tells_tls)
    assert server.start() is None
    server.stop(grace_seconds=1)


def test_what_answers_were_made_by_is_ended_with_the_port() -> None:
    """Once no request is answered any more, whatever the surfaces have running is told to end."""
    ended: list[str] = []
    server = HttpServer(HttpSettings.model_validate({"port": 0}), tells_size, at_end=[lambda: ended.append("wado")])
    assert server.start() is not None
    assert ended == []
    server.stop(grace_seconds=1)
    assert ended == ["wado"]
