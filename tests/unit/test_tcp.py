"""What a TCP connection is set to."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from archive import tcp


class FromAfar(socket.socket):
    """A connection that says its peer is on another machine."""

    def getpeername(self) -> Any:
        """Tell an address of nobody (RFC 5737)."""
        return ("192.0.2.1", 104)


@pytest.fixture(params=["127.0.0.1", "::1"])
def pair(request: pytest.FixtureRequest) -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two ends of one connection inside the machine: who connected, and what a prepared listener accepted."""
    with socket.socket(socket.AF_INET6 if ":" in request.param else socket.AF_INET) as listener:
        other_than_reno(listener)
        tcp.prepare(listener)
        listener.bind((request.param, 0))
        listener.listen()
        ours = socket.create_connection(listener.getsockname()[:2])
        theirs, _ = listener.accept()
    with ours, theirs:
        yield ours, theirs


def congestion(connection: socket.socket) -> bytes:
    """Return the name of the congestion control."""
    return connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16).rstrip(b"\0")


def other_than_reno(connection: socket.socket) -> bytes:
    """Have a connection controlled otherwise, where the machine lets us, and return how it is."""
    for name in (b"bbr", b"cubic"):
        with suppress(OSError):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, name)
            break
    return congestion(connection)


def test_what_is_accepted_begins_unpaced(pair: tuple[socket.socket, socket.socket]) -> None:
    """A connection is not paced for a moment, whatever the machine is set to: pacing would not end again."""
    assert congestion(pair[1]) == b"reno"


def test_inside_a_machine_nothing_is_paced(pair: tuple[socket.socket, socket.socket]) -> None:
    """A connection between two programs of one machine is not slowed, at either end."""
    for connection in pair:
        other_than_reno(connection)
        tcp.set_up(connection)
        assert congestion(connection) == b"reno"
        assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)


def test_to_another_machine_the_setting_of_the_machine_holds(pair: tuple[socket.socket, socket.socket]) -> None:
    """How a line between machines is used is for its administrator to say, accepted or made."""
    with socket.socket() as fresh:
        of_machine = congestion(fresh)
    for connection in pair:
        with FromAfar(connection.family, connection.type, connection.proto, connection.detach()) as afar:
            tcp.set_up(afar)
            assert congestion(afar) == of_machine
            assert afar.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_a_peer_that_is_gone_is_found_by_who_reads(pair: tuple[socket.socket, socket.socket]) -> None:
    """A connection that ended before it was set up raises nothing yet."""
    ours, theirs = pair
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    theirs.close()
    tcp.set_up(ours)
    with pytest.raises(ConnectionResetError):
        ours.recv(1)
