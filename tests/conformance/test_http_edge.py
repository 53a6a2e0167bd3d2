"""The HTTP port against clients that are slow, too many, too long or hostile, on bare sockets; and over TLS."""

from __future__ import annotations

import json
import re
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.archive_process import ArchiveProcess, running_archive
from tests.objects import ROOT, ct_dataset
from tests.web import CLIENTS, SITES, STOW, client_at, multipart, stow, web_archive

LIMITS = """
header_seconds = 1
body_seconds = 1
send_seconds = 2
max_requests = 6
max_header_kib = 8
max_body_mib = 4
"""
HOST = b"Host: 127.0.0.1\r\n"


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ArchiveProcess]:
    """One archive with short timers for the whole module."""
    with web_archive(tmp_path_factory.mktemp("edge") / "home", settings=LIMITS) as running:
        yield running


@contextmanager
def connected(archive: ArchiveProcess) -> Iterator[socket.socket]:
    """Lend a bare connection."""
    with socket.create_connection(("127.0.0.1", archive.http_port), timeout=15) as connection:
        yield connection


def answer(connection: socket.socket) -> bytes:
    """Read until the archive ends the connection."""
    parts = []
    try:
        while part := connection.recv(65536):
            parts.append(part)
    except ConnectionResetError:
        pass
    return b"".join(parts)


def head(path: str, *lines: str, method: str = "POST") -> bytes:
    """Return the head of a request."""
    return (
        f"{method} /dicom-web{path} HTTP/1.1\r\n".encode() + HOST + "".join(f"{x}\r\n" for x in (*lines, "")).encode()
    )


def problem(said: bytes) -> Any:
    """Return the problem details of an answer whose length is the one it tells."""
    lines, _, body = said.partition(b"\r\n\r\n")
    assert b"content-type: application/problem+json" in lines.lower()
    assert f"content-length: {len(body)}".encode() in lines.lower()
    return json.loads(body)


def test_headers_that_do_not_come(archive: ArchiveProcess) -> None:
    """A connection that says nothing, or never ends its headers, is closed in time with 408."""
    for begun in (b"", b"GET /dicom-web/studies HTTP/1.1\r\nHost: x\r\nX-Slow: "):
        with connected(archive) as connection:
            started = time.monotonic()
            connection.sendall(begun)
            said = answer(connection)
            assert said.startswith(b"HTTP/1.1 408 ")
            assert problem(said)["type"] == "urn:drimbox:problem:too-slow"
            assert time.monotonic() - started < 8


def test_headers_that_trickle(archive: ArchiveProcess) -> None:
    """A header line every now and then does not keep a connection open: the clock runs from the first byte."""
    with connected(archive) as connection:
        started = time.monotonic()
        connection.sendall(b"GET /dicom-web/studies HTTP/1.1\r\n")
        try:
            while time.monotonic() - started < 8:
                connection.sendall(b"X: y\r\n")
                time.sleep(0.2)
        except OSError:
            pass
        assert time.monotonic() - started < 7


@pytest.mark.parametrize(
    "begun",
    [
        b"GET /dicom-web/studies?x=" + b"y" * 20_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /dicom-web/studies HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * 5000 + b"\r\n",
        b"GET /dicom-web/studies HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 2_000_000,
    ],
)
def test_headers_that_are_too_long(archive: ArchiveProcess, begun: bytes) -> None:
    """Long lines, many lines and endless ones are refused with 431."""
    with connected(archive) as connection:
        try:
            connection.sendall(begun)
        except OSError:
            return  # the archive hung up while we were still talking
        said = answer(connection)
    assert said == b"" or problem(said)["status"] == 431


def test_a_refusal_says_why(archive: ArchiveProcess) -> None:
    """What never becomes a request is answered with problem details as requests are, and the connection ends."""
    long = b"GET /dicom-web/studies?x=" + b"y" * 20_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n"
    for sent, status, kind in ((long, 431, "headers-too-long"), (b"NO HTTP AT ALL\r\n\r\n", 400, "bad-request")):
        with connected(archive) as connection:
            connection.sendall(sent)
            said = answer(connection)
        assert said.startswith(b"HTTP/1.1 %d " % status)
        assert b"connection: close\r\n" in said
        told = problem(said)
        assert (told["status"], told["type"]) == (status, f"urn:drimbox:problem:{kind}")


def test_a_body_that_stands_still(archive: ArchiveProcess) -> None:
    """A body that is announced and does not come is refused with 408, and the connection ends."""
    with connected(archive) as connection:
        connection.sendall(head("/studies", f"Content-Type: {STOW}", "Content-Length: 100000") + b"--")
        said = answer(connection)
    assert said.startswith(b"HTTP/1.1 408 ")
    assert b"connection: close" in said
    assert b"problem:too-slow" in said


def test_a_body_that_trickles(archive: ArchiveProcess) -> None:
    """A byte now and then is as good as nothing: it is refused once that is clear."""
    with connected(archive) as connection:
        connection.sendall(head("/studies", f"Content-Type: {STOW}", "Content-Length: 100000"))
        started = time.monotonic()
        try:
            while time.monotonic() - started < 10:
                connection.sendall(b"-")
                time.sleep(0.1)
        except OSError:
            pass
        assert time.monotonic() - started < 8


def test_an_answer_that_nobody_reads(archive: ArchiveProcess) -> None:
    """Who asks and does not read the answers loses the connection; others are answered meanwhile."""
    with client_at(archive) as client:
        assert stow(client, *[ct_dataset(number) for number in range(1, 200)]).status_code == 200
    request = head("/instances?includefield=all", method="GET")
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", archive.http_port))
        connection.sendall(request * 40)
        assert archive.has_logged("TooSlow", seconds=20)


def test_too_many_at_once(archive: ArchiveProcess) -> None:
    """Beyond the limit requests are told to come again, and once others end there is room."""
    opening = head("/studies", f"Content-Type: {STOW}", "Content-Length: 100000") + b"--"
    with ExitStack() as stack:
        for _ in range(6):
            stack.enter_context(connected(archive)).sendall(opening)
        time.sleep(0.3)
        with client_at(archive) as client:
            response = client.get("/studies")
    assert response.status_code == 503
    assert response.headers["retry-after"] == "1"
    with client_at(archive) as client:
        deadline = time.monotonic() + 10
        while client.get("/studies?limit=1").status_code != 200:
            assert time.monotonic() < deadline
            time.sleep(0.1)


def test_too_many_connections(tmp_path: Path) -> None:
    """One more than may be open: told so in the form of every other error, and when to come back; then there is room.

    The connection ends, so that it does not stand in somebody's way; the log says which limit it was, and no path.
    """
    with web_archive(tmp_path / "home", settings="max_connections = 2\nbody_seconds = 5") as archive:
        with client_at(archive) as first, client_at(archive) as second:
            for client in (first, second):
                assert client.get("/studies?limit=1").status_code == 200
            with client_at(archive) as third:
                refused = third.get("/studies/DUPONT")
            with connected(archive) as connection:
                connection.sendall(head("/studies", f"Content-Type: {STOW}", "Content-Length: 6") + b"DUPONT")
                said = answer(connection)
        assert (refused.status_code, refused.headers["content-type"]) == (503, "application/problem+json")
        assert (refused.headers["retry-after"], refused.headers["connection"]) == ("1", "close")
        told = refused.json()
        assert (told["status"], told["title"]) == (503, "Service Unavailable")
        assert told["type"] == "urn:drimbox:problem:too-many-connections"
        for name in ("cache-control", "content-security-policy", "x-content-type-options", "referrer-policy"):
            assert name in refused.headers
        assert said.startswith(b"HTTP/1.1 503 ") and b"problem:too-many-connections" in said
        assert archive.has_logged("TooManyConnections")
        assert "DUPONT" not in archive.log()
        with client_at(archive) as client:
            deadline = time.monotonic() + 10
            while client.get("/studies?limit=1").status_code != 200:
                assert time.monotonic() < deadline


@pytest.mark.parametrize(
    "raw",
    [
        b"NONSENSE\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcde",
        b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET /dicom-web/studies HTTP/1.1\r\nHost: x\r\nBad Header: y\r\n\r\n",
        b"POST /dicom-web/studies HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
)
def test_what_is_no_http(archive: ArchiveProcess, raw: bytes) -> None:
    """Broken requests, contradictory lengths and other protocols end the connection and nothing else."""
    with connected(archive) as connection:
        connection.sendall(raw)
        connection.shutdown(socket.SHUT_WR)
        assert answer(connection)[:12] in (b"HTTP/1.1 400", b"HTTP/1.1 408", b"")
    with client_at(archive) as client:
        assert client.get("/studies?limit=1").status_code == 200


def test_a_client_that_goes_away(archive: ArchiveProcess) -> None:
    """A connection lost in the middle of a body leaves nothing behind."""
    body = multipart([ct_dataset(study=7)])
    with connected(archive) as connection:
        connection.sendall(head("/studies", f"Content-Type: {STOW}", f"Content-Length: {len(body)}") + body[:-50])
    assert archive.has_logged("ClientDisconnect")
    with client_at(archive) as client:
        assert client.get(f"/studies?StudyInstanceUID={ROOT}.7").json() == []


def test_a_refusal_is_read_although_much_was_sent(archive: ArchiveProcess) -> None:
    """Who is refused while a body of some size is on its way reads why, on the same connection."""
    content = bytes(900_000)
    with client_at(archive) as client:
        response = client.post("/studies", content=content, headers={"Content-Type": "text/plain"})
        assert response.status_code == 415
        assert client.get("/studies?limit=1").status_code == 200


def test_answers_are_protected(archive: ArchiveProcess) -> None:
    """Nothing that is answered is stored on the way, sniffed, framed or run in a browser; errors neither."""
    with client_at(archive) as client:
        for response in (client.get("/studies?limit=1"), client.get("/nothing")):
            assert response.headers["cache-control"] == "no-store"
            assert response.headers["x-content-type-options"] == "nosniff"
            assert "default-src 'none'" in response.headers["content-security-policy"]
            assert response.headers["referrer-policy"] == "no-referrer"
            assert "server" not in response.headers
            assert "access-control-allow-origin" not in response.headers


def test_the_log_holds_no_query_and_no_odd_path(archive: ArchiveProcess) -> None:
    """Of a request the log has what was found on which path; of paths that mean nothing it has none."""
    with client_at(archive) as client:
        client.get("/studies?PatientName=CANARI")
        client.get("/studies/CANARI/series")
        client.get("/CANARI?x=CANARI")
        client.get("/studies?limit=1", headers={"Access-Reason": "CANARI", "User-Agent": "CANARI"})
    assert archive.has_logged('"path": "/dicom-web/studies"')
    assert "CANARI" not in archive.log()


def test_nobody_is_believed_to_be_a_proxy(archive: ArchiveProcess) -> None:
    """X-Forwarded-For means nothing unless the settings say that there is a proxy."""
    with client_at(archive, "127.0.0.4") as client:
        assert client.get("/studies", headers={"X-Forwarded-For": "127.0.0.1"}).status_code == 401


def test_a_proxy_that_is_believed(tmp_path: Path) -> None:
    """Behind a proxy the address is the last one that it saw itself; what clients add before is not believed."""
    settings = 'behind_proxy = true\nproxies = ["127.0.0.9"]'
    with web_archive(tmp_path / "home", settings=settings) as archive, client_at(archive, "127.0.0.9") as proxy:
        for forwarded, status in (("127.0.0.1", 200), ("127.0.0.1, 192.0.2.1", 401), ("nonsense", 401)):
            assert proxy.get("/studies", headers={"X-Forwarded-For": forwarded}).status_code == status
        assert proxy.get("/studies").status_code == 401


# ---- TLS -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pems(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a certificate for this machine, its own issuer, made by openssl."""
    folder = tmp_path_factory.mktemp("pems")
    command = (
        "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -keyout key.pem -out certificate.pem -subj /CN=localhost"
    )
    names = ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    subprocess.run([*command.split(), *names], cwd=folder, check=True, capture_output=True)
    return folder


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated")
def test_over_tls(tmp_path: Path, pems: Path) -> None:
    """With a certificate the port speaks TLS 1.2 and later alone, and tells browsers to stay with it."""
    tls = f'certificate = "{pems}/certificate.pem"\nkey = "{pems}/key.pem"\nhost = "0.0.0.0"\n'
    with web_archive(tmp_path / "home", settings=tls) as archive:
        trust = ssl.create_default_context(cafile=str(pems / "certificate.pem"))
        address = f"https://127.0.0.1:{archive.http_port}/dicom-web/studies"
        with httpx.Client(verify=trust) as client:
            response = client.get(address)
            assert response.status_code == 200
            assert response.headers["strict-transport-security"].startswith("max-age")
        old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
        old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
        with connected(archive) as connection, pytest.raises((ssl.SSLError, OSError)):
            old.wrap_socket(connection)


def test_a_client_certificate_is_asked_for(tmp_path: Path, pems: Path) -> None:
    """With client_certificate = "required" nobody gets in without one that the CA signed."""
    files = f'certificate = "{pems}/certificate.pem"\nkey = "{pems}/key.pem"\nca = "{pems}/certificate.pem"\n'
    with web_archive(tmp_path / "home", settings=f'{files}client_certificate = "required"') as archive:
        address = f"https://127.0.0.1:{archive.http_port}/dicom-web/studies"
        trust = ssl.create_default_context(cafile=str(pems / "certificate.pem"))
        with httpx.Client(verify=trust) as client, pytest.raises(httpx.HTTPError):
            client.get(address)
        trust.load_cert_chain(pems / "certificate.pem", pems / "key.pem")
        with httpx.Client(verify=trust) as client:
            assert client.get(address).status_code == 200


def test_it_does_not_start_unencrypted_for_others(tmp_path: Path) -> None:
    """Where others can reach it, it starts with TLS or behind a proxy, and says so."""
    config = '[http]\nport = 0\nhost = "0.0.0.0"\n'
    with pytest.raises(RuntimeError, match="certificate and key, or behind_proxy"):
        running_archive(tmp_path / "home", config=config).__enter__()


def test_a_client_with_a_role_that_is_none(tmp_path: Path) -> None:
    """A misspelt role is refused at the start, with those there are."""
    config = f"{SITES}[http]\nport = 0\n{CLIENTS}".replace("radiologist", "radiologue")
    with pytest.raises(RuntimeError, match="roles are: radiologist"):
        running_archive(tmp_path / "home", config=config).__enter__()


def test_it_stops_while_a_client_holds_on(tmp_path: Path) -> None:
    """A client that stays connected, or in the middle of a body, does not keep the archive from ending in time."""
    with web_archive(tmp_path / "home") as archive, connected(archive) as idle, connected(archive) as busy:
        idle.sendall(head("/studies", method="GET"))
        busy.sendall(head("/studies", f"Content-Type: {STOW}", "Content-Length: 100000") + b"--")
        time.sleep(0.3)
        started = time.monotonic()
        assert archive.stop() == 0
        assert time.monotonic() - started < 20
    assert not re.search('"level": "(error|critical)"', archive.log())
