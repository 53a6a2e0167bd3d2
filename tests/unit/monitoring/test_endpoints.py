"""Certificates that servers show, asked for over real TLS."""

from __future__ import annotations

import socket
import ssl
import threading
from pathlib import Path

import pytest

from archive.monitoring.endpoints import Endpoints
from archive.services.tls_certificates import Place, Seen, State, judge
from tests.pki import Issued, in_days, issue, serving, tls_server

ROOT = issue("Root", is_authority=True)
MIDDLE = issue("Middle", ROOT, is_authority=True)


def look(port: int, *authorities: Path) -> Seen:
    """Ask a server of this machine."""
    (seen,) = Endpoints(2.0).look(Place("test", endpoint=("127.0.0.1", port), authorities=authorities))
    return seen


def shown(folder: Path, leaf: Issued, *beside: Issued) -> Seen:
    """Return what a server with this certificate shows to somebody who knows the root."""
    ca, _ = ROOT.write(folder, "ca")
    with tls_server(*leaf.write(folder, "server", *beside)) as port:
        return look(port, ca)


@pytest.mark.parametrize(
    ("leaf", "beside", "chain"),
    [
        (issue("localhost", MIDDLE), (MIDDLE,), "complete"),
        (issue("localhost", MIDDLE), (), "incomplete"),
        (issue("localhost", MIDDLE, until=in_days(-3)), (MIDDLE,), "complete"),
        (issue("localhost"), (), "self-signed"),
    ],
)
def test_a_server_shows_its_certificate(tmp_path: Path, leaf: Issued, beside: tuple[Issued, ...], chain: str) -> None:
    """Trusted or not, expired or not; whether its chain is whole is found by asking as a client would."""
    seen = shown(tmp_path, leaf, *beside)
    assert seen.certificate is not None
    assert seen.certificate.not_after == leaf.certificate.not_valid_after_utc
    assert (seen.chain, seen.problem) == (chain, "")


def test_an_expired_server_is_expired(tmp_path: Path) -> None:
    """The handshake goes through and the day is judged."""
    seen = shown(tmp_path, issue("localhost", ROOT, until=in_days(-3)))
    assert judge(seen, in_days(0), (60,)).state is State.EXPIRED


def test_who_does_not_answer_is_told() -> None:
    """Nobody listens; somebody listens and speaks no TLS; somebody says nothing at all."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        (silent,) = Endpoints(0.3).look(Place("test", endpoint=("127.0.0.1", port)))
    assert silent.problem == "no answer in time"
    assert look(port).problem == "Connection refused"
    assert look_at_name("no-such-host.invalid").problem


def look_at_name(host: str) -> Seen:
    """Ask a server by name."""
    (seen,) = Endpoints(2.0).look(Place("test", endpoint=(host, 443)))
    return seen


def asking_for_certificates(folder: Path, version: ssl.TLSVersion) -> ssl.SSLContext:
    """Return what a server is that lets nobody in without a certificate."""
    ca, _ = ROOT.write(folder, "ca")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.maximum_version = version
    context.load_cert_chain(*issue("localhost", ROOT).write(folder, "server"))
    context.load_verify_locations(ca)
    context.verify_mode = ssl.CERT_REQUIRED
    return context


@pytest.mark.parametrize(("version", "is_seen"), [(ssl.TLSVersion.TLSv1_3, True), (ssl.TLSVersion.TLSv1_2, False)])
def test_a_server_that_wants_our_certificate(tmp_path: Path, version: ssl.TLSVersion, is_seen: bool) -> None:
    """With TLS 1.3 it has shown its own before it refuses us; with TLS 1.2 that is told."""
    with serving(asking_for_certificates(tmp_path, version)) as port:
        seen = look(port, tmp_path / "ca.pem")
    assert (seen.certificate is not None) is is_seen
    assert seen.problem == "" if is_seen else seen.problem.startswith("the handshake failed")


def test_an_address_without_a_name_is_asked_too(tmp_path: Path) -> None:
    """An IPv6 one, as destinations have them."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*issue("localhost", ROOT).write(tmp_path, "server"))
    with serving(context, "::1") as port:
        (seen,) = Endpoints(2.0).look(Place("test", endpoint=("::1", port)))
    assert seen.certificate is not None and seen.chain == "incomplete"


def test_authorities_that_cannot_be_read_leave_the_chain_open(tmp_path: Path) -> None:
    """The file is a finding of its own; the certificate is seen all the same."""
    with tls_server(*issue("localhost", ROOT).write(tmp_path, "server")) as port:
        seen = look(port, tmp_path / "none.pem")
    assert seen.certificate is not None and seen.chain == "unknown"


def test_a_server_of_another_protocol_is_told(tmp_path: Path) -> None:
    """It answers something that is no TLS."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.sendall(b"220 mail.example ESMTP\r\n" * 50)
                connection.recv(1000)

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        seen = look(listener.getsockname()[1])
        thread.join(5)
    assert seen.problem.startswith("the handshake failed")
