"""Studies on bare connections: kept open, pipelined, in chunks, read slowly or not at all, with and without TLS."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.client import HTTPResponse
from pathlib import Path

import httpx
import pytest

from tests.archive_process import ArchiveProcess, running_archive
from tests.conformance.test_wado import large, open_files
from tests.dcmtk import storescu
from tests.objects import ROOT, ct_dataset, dataset_bytes, part10_bytes
from tests.pki import issue
from tests.web_reader import DICOM, HTTP, Reader

SLOW = HTTP.replace("[http]\n", "[http]\nsend_seconds = 1\nheader_seconds = 1\n")
DEFLATED = f"{DICOM}; transfer-syntax=1.2.840.10008.1.2.1.99"
SMALL, LARGE = f"/studies/{ROOT}.1", f"/studies/{ROOT}.2"
COUNT = 12


@pytest.fixture(scope="module")
def sent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two studies, one of them of more bytes than a connection holds."""
    folder = tmp_path_factory.mktemp("sent")
    for number in range(1, COUNT + 1):
        (folder / f"{number}.dcm").write_bytes(part10_bytes(ct_dataset(number)))
        (folder / f"large-{number}.dcm").write_bytes(part10_bytes(large(number)))
    return folder


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory, sent: Path) -> Iterator[ArchiveProcess]:
    """A running archive that waits a second for who does not read."""
    with running_archive(tmp_path_factory.mktemp("line") / "home", config=SLOW) as running:
        assert storescu(running, "+sd", sent).returncode == 0
        yield running


def connected(archive: ArchiveProcess) -> socket.socket:
    """Return a bare connection."""
    return socket.create_connection((archive.host, archive.http_port), timeout=20)


def request(path: str, accept: str = DICOM, *, version: str = "1.1", connection: str = "keep-alive") -> bytes:
    """Return a request."""
    lines = (
        f"GET /dicom-web{path} HTTP/{version}",
        "Host: x",
        f"Accept: {accept}",
        f"Connection: {connection}",
        "",
        "",
    )
    return "\r\n".join(lines).encode()


def answered(connection: socket.socket) -> HTTPResponse:
    """Return the next answer on a connection."""
    answer = HTTPResponse(connection)
    answer.begin()
    return answer


def test_several_studies_come_on_one_connection(archive: ArchiveProcess, sent: Path) -> None:
    """Each whole and behind the other, of a known length, whatever came before it on the line."""
    with closing(connected(archive)) as connection:
        bodies = []
        for path in (LARGE, SMALL, LARGE, LARGE):
            connection.sendall(request(path))
            answer = answered(connection)
            bodies.append(answer.read())
            assert (answer.status, int(answer.headers["content-length"])) == (200, len(bodies[-1]))
    assert [body.count(b"DICM") for body in bodies] == [COUNT] * 4
    for number in range(1, COUNT + 1):
        stored = dataset_bytes(ct_dataset(number))
        assert stored in bodies[1]


def test_requests_that_do_not_wait_for_answers(archive: ArchiveProcess) -> None:
    """Pipelined requests (RFC 9112 section 9.3.2) are answered one after the other, also when the line is full."""
    with closing(connected(archive)) as connection:
        connection.sendall(request(LARGE) + request(SMALL) + request(LARGE, connection="close"))
        time.sleep(0.3)
        with connection.makefile("rb") as stream:
            lengths = []
            for _ in range(3):
                headers = b""
                while not headers.endswith(b"\r\n\r\n"):
                    headers += stream.readline()
                assert headers.startswith(b"HTTP/1.1 200 ")
                (length,) = (
                    int(line.partition(b":")[2])
                    for line in headers.split(b"\r\n")
                    if line.lower().startswith(b"content-length")
                )
                lengths.append((length, stream.read(length).count(b"DICM")))
            assert stream.read() == b""
    assert [count for _, count in lengths] == [COUNT] * 3
    assert lengths[0] == lengths[2]


@pytest.mark.parametrize("behind", [b"\0 nonsense \r\n\r\n", b"GET /dicom-web/studies HTTP/1.1\r\nX-Slow: "])
def test_nonsense_behind_a_request_is_not_told_within_its_answer(archive: ArchiveProcess, behind: bytes) -> None:
    """The answer comes whole, however long its reader takes, and nothing of a refusal in it; then the line ends."""
    with closing(connected(archive)) as connection:
        connection.sendall(request(LARGE) + behind)
        answer = answered(connection)
        body = b""
        while part := answer.read(1 << 20):
            body += part
            time.sleep(0.1)
        assert (len(body), body.count(b"DICM")) == (int(answer.headers["content-length"]), COUNT)
        assert b"HTTP/1.1 4" not in body
        refusal = connection.recv(1 << 10)
        assert refusal == b"" or refusal.startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize("path", [SMALL, LARGE])
def test_what_is_converted_comes_in_chunks(archive: ArchiveProcess, path: str) -> None:
    """Nobody knows its length before; a client that knows HTTP puts it together again."""
    with closing(connected(archive)) as connection:
        connection.sendall(request(path, DEFLATED) + request(SMALL))
        answer = answered(connection)
        assert answer.headers["transfer-encoding"] == "chunked"
        body = answer.read()
        assert (body.count(b"DICM"), body.endswith(b"--\r\n")) == (COUNT, True)


def test_an_old_client_reads_to_the_end(archive: ArchiveProcess) -> None:
    """HTTP/1.0 has no kept connections: the archive ends it behind the last byte."""
    with closing(connected(archive)) as connection:
        connection.sendall(request(LARGE, version="1.0", connection="close"))
        data = b""
        while part := connection.recv(1 << 20):
            data += part
    assert data.count(b"DICM") == COUNT
    assert data.endswith(b"--\r\n")


def test_who_does_not_read_is_let_go(archive: ArchiveProcess) -> None:
    """After the time of the settings the line ends and files are closed; others are served all the while."""
    lazy = [connected(archive) for _ in range(50)]
    try:
        for connection in lazy:
            connection.sendall(request(LARGE))
        time.sleep(0.2)
        for _ in range(3):
            assert len(Reader(archive).objects(SMALL)) == COUNT
        deadline = time.monotonic() + 30
        while open_files(archive):
            assert time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        for connection in lazy:
            connection.close()
    assert "TooSlow" in archive.log()


def test_who_reads_slowly_has_it_all(archive: ArchiveProcess) -> None:
    """Slower than the line, faster than nothing: every byte comes."""
    with closing(connected(archive)) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
        connection.sendall(request(LARGE, connection="close"))
        data = b""
        while part := connection.recv(256 * 1024):
            data += part
            time.sleep(0.01)
    assert data.count(b"DICM") == COUNT


def test_the_same_comes_over_tls(archive: ArchiveProcess, sent: Path, tmp_path: Path) -> None:
    """The way that TLS takes, through the event loop, gives the same objects, on a kept connection too."""
    certificate, key = issue("127.0.0.1").write(tmp_path, "server")
    tls = f'[http]\nport = 0\ncertificate = "{certificate}"\nkey = "{key}"\n'
    with running_archive(tmp_path / "home", config=HTTP.replace("[http]\nport = 0\n", tls)) as secured:
        assert storescu(secured, "+sd", sent).returncode == 0
        context = ssl.create_default_context(cafile=certificate)
        context.check_hostname = False
        found = []
        for where, wrap in ((archive, None), (secured, context)):
            connection = connected(where)
            if wrap is not None:
                connection = wrap.wrap_socket(connection, server_hostname="127.0.0.1")
            with closing(connection):
                for path in (SMALL, LARGE):
                    connection.sendall(request(path))
                    answer = answered(connection)
                    body = answer.read()
                    boundary = answer.headers["content-type"].partition("boundary=")[2].encode()
                    found.append(sorted(body.split(b"--" + boundary)))
    assert found[:2] == found[2:]


def test_all_who_read_are_served_while_objects_come_in(archive: ArchiveProcess, sent: Path, tmp_path: Path) -> None:
    """Reading waits its turn behind a modality that sends: every answer is whole, every object is stored, both end."""
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    for number in range(1, 61):
        (fresh / f"{number}.dcm").write_bytes(part10_bytes(ct_dataset(number, study=7)))
    reader = Reader(archive)
    one = f"{LARGE}/series/{ROOT}.2.1/instances/{ROOT}.2.1.1"

    def read(number: int) -> bool:
        with httpx.Client(timeout=60) as client:
            mine = Reader(archive, client)
            if number % 3 == 0:
                return len(mine.objects(LARGE)) == COUNT
            if number % 3 == 1:
                return mine.get(f"{one}/rendered").headers["content-type"] == "image/jpeg"
            return len(mine.get("/instances?limit=20").json()) == 20

    with ThreadPoolExecutor(24) as pool:
        pushed = pool.submit(storescu, archive, "+sd", fresh)
        answers = [pool.submit(read, number) for number in range(40)]
        assert all(each.result() for each in answers)
        assert pushed.result().returncode == 0
    assert len(reader.objects(f"/studies/{ROOT}.7")) == 60


def test_a_single_object_has_its_length_and_comes_alone(archive: ArchiveProcess, sent: Path) -> None:
    """As application/dicom, on a line that is kept; a range is not offered, so all of it comes."""
    path = f"{LARGE}/series/{ROOT}.2.1/instances/{ROOT}.2.1.3"
    with closing(connected(archive)) as connection:
        for _ in range(2):
            connection.sendall(request(path, "application/dicom"))
            answer = answered(connection)
            body = answer.read()
            assert (answer.status, len(body)) == (200, int(answer.headers["content-length"]))
            assert body[-5000:] == (sent / "large-3.dcm").read_bytes()[-5000:]
            assert body[128:132] == b"DICM"
