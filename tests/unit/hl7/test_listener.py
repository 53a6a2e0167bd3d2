"""The HL7 port: where it opens, whom it lets in, and how it ends."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from archive.config import Hl7Settings, TlsSettings
from archive.dimse.tls import server_context
from archive.errors import ConfigError, MessageTooLong
from archive.hl7.listener import Listener
from tests.authority import Authority


@dataclass
class Echo:
    """Answers each message with itself, after being let go."""

    seen: list[bytes] = field(default_factory=list)
    begun: threading.Event = field(default_factory=threading.Event)
    go: threading.Event = field(default_factory=threading.Event)

    def handle(self, raw: bytes, _peer_address: str) -> list[bytes]:
        """Answer."""
        self.begun.set()
        assert self.go.wait(10)
        if raw == b"BUG":
            raise ZeroDivisionError
        self.seen.append(raw)
        return [raw]

    def handle_too_long(self, begun: bytes, _error: MessageTooLong, _peer_address: str) -> list[bytes]:
        """Answer with the size."""
        return [str(len(begun)).encode()]


@pytest.fixture
def echo() -> Echo:
    """Answers at once."""
    each = Echo()
    each.go.set()
    return each


@pytest.fixture
def address(echo: Echo) -> Iterator[tuple[str, int]]:
    """An open port."""
    listener = Listener(Hl7Settings(port=0, max_message_kib=16), echo)
    address = listener.start()
    assert address is not None
    yield address
    listener.stop(grace_seconds=1)


def ask(connection: socket.socket, message: bytes) -> bytes:
    """Send a message and return the answer."""
    connection.sendall(b"\x0b" + message + b"\x1c\r")
    found = b""
    while not found.endswith(b"\x1c\r"):
        data = connection.recv(1000)
        if not data:
            break
        found += data
    return found[1:-2]


def test_no_port_no_listener(echo: Echo) -> None:
    """Without a port nothing is opened, and stopping is harmless."""
    listener = Listener(Hl7Settings(), echo)
    assert listener.start() is None
    listener.stop(grace_seconds=0)


def test_a_port_in_use_is_named(address: tuple[str, int], echo: Echo) -> None:
    """A port that is taken names the setting."""
    with pytest.raises(ConfigError, match=r"hl7\.port"):
        Listener(Hl7Settings(port=address[1]), echo).start()


def test_a_bug_ends_its_own_connection(address: tuple[str, int]) -> None:
    """A handler that fails closes that connection; the next one is served."""
    with socket.create_connection(address, timeout=5) as connection:
        assert ask(connection, b"BUG") == b""
    with socket.create_connection(address, timeout=5) as connection:
        assert ask(connection, b"good") == b"good"


def test_a_half_closed_connection_is_answered(address: tuple[str, int]) -> None:
    """A sender that closes its side after the message still gets its answer."""
    with socket.create_connection(address, timeout=5) as connection:
        connection.sendall(b"\x0bone\x1c\r")
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(100) == b"\x0bone\x1c\r"


def test_stopping_answers_what_is_being_kept(echo: Echo) -> None:
    """A message in hand when the archive stops is finished and answered, then the connection ends."""
    echo.go.clear()
    listener = Listener(Hl7Settings(port=0), echo)
    address = listener.start()
    assert address is not None
    with socket.create_connection(address, timeout=5) as busy, socket.create_connection(address, timeout=5) as idle:
        busy.sendall(b"\x0blast\x1c\r")
        assert echo.begun.wait(5)
        stopping = threading.Thread(target=listener.stop, kwargs={"grace_seconds": 5})
        stopping.start()
        echo.go.set()
        assert busy.recv(100) == b"\x0blast\x1c\r" and busy.recv(100) == b""
        assert idle.recv(100) == b""
        stopping.join(5)
        assert not stopping.is_alive()
    with pytest.raises(OSError):
        socket.create_connection(address, timeout=1)


def test_addresses_in_their_mapped_form(echo: Echo) -> None:
    """On a socket for both families an IPv4 peer is known by its IPv4 address."""
    settings = Hl7Settings(host="::", port=0, addresses=("127.0.0.0/8",))  # type: ignore[arg-type]
    listener = Listener(settings, echo)
    bound = listener.start()
    assert bound is not None
    with socket.create_connection(("127.0.0.1", bound[1]), timeout=5) as connection:
        assert ask(connection, b"hello") == b"hello"
    listener.stop(grace_seconds=1)


def test_tls(echo: Echo, tmp_path: Path) -> None:
    """With the files of DICOM TLS the port speaks TLS, asks for a certificate, and lets plain text in nowhere."""
    authority = Authority(tmp_path / "pki")
    (certificate, key, _), (own, own_key, _) = authority.issue("archive"), authority.issue("gam")
    files = TlsSettings(port=0, certificate=certificate, key=key, ca=authority.ca, client_certificate="required")
    listener = Listener(Hl7Settings(port=0, tls=True, message_seconds=2), echo, tls=server_context(files))
    address = listener.start()
    assert address is not None
    context = ssl.create_default_context(cafile=str(authority.ca))
    context.check_hostname = False
    with socket.create_connection(address, timeout=5) as plain, suppress(ConnectionResetError):
        assert ask(plain, b"plain") == b""
    context.load_cert_chain(own, own_key)
    with context.wrap_socket(socket.create_connection(address, timeout=5)) as secured:
        assert ask(secured, b"secret") == b"secret"
        listener.stop(grace_seconds=5)
        assert not any(thread.name.startswith("hl7 ") for thread in threading.enumerate())
    assert echo.seen == [b"secret"]
