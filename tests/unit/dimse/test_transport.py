"""Connections and their timers, plain and TLS."""

from __future__ import annotations

import socket
import threading
import time

import pytest

from archive.dimse.transport import PlainTransport
from archive.errors import PeerClosed, PeerTimeout
from tests.unit.dimse.wire import tcp_pair


def test_nagle_is_off() -> None:
    """TCP_NODELAY is set: a response never waits for a delayed acknowledgement."""
    ours, theirs = tcp_pair()
    PlainTransport(ours, io_seconds=1)
    assert ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0
    ours.close()
    theirs.close()


def test_receive_fills_the_view_from_pieces() -> None:
    """However the bytes come, the view is full on return."""
    ours, theirs = tcp_pair()
    transport = PlainTransport(ours, io_seconds=5)
    view = memoryview(bytearray(5000))

    def send() -> None:
        for start in range(0, 5000, 700):
            theirs.sendall(bytes(n % 256 for n in range(start, min(start + 700, 5000))))
            time.sleep(0.002)

    thread = threading.Thread(target=send)
    thread.start()
    transport.receive(view, what="test")
    thread.join()
    assert bytes(view) == bytes(n % 256 for n in range(5000))
    transport.close()
    theirs.close()


def test_receive_times_out_as_a_whole() -> None:
    """Half of what was promised and then silence raises PeerTimeout within about twice the I/O time."""
    ours, theirs = tcp_pair()
    transport = PlainTransport(ours, io_seconds=0.3)
    theirs.sendall(b"x" * 10)
    started = time.monotonic()
    with pytest.raises(PeerTimeout):
        transport.receive(memoryview(bytearray(20)), what="test")
    assert time.monotonic() - started < 5
    transport.close()
    theirs.close()


def test_the_end_of_the_stream_is_told() -> None:
    """A closed peer raises PeerClosed in every kind of receive."""
    ours, theirs = tcp_pair()
    transport = PlainTransport(ours, io_seconds=1)
    theirs.close()
    with pytest.raises(PeerClosed):
        transport.receive(memoryview(bytearray(4)), what="test")
    with pytest.raises(PeerClosed):
        transport.receive_some(memoryview(bytearray(4)), idle_seconds=1, what="test")
    transport.close()


def test_many_buffers_are_sent_in_order() -> None:
    """More buffers than one system call takes, larger than the socket's buffer, arrive in order."""
    ours, theirs = tcp_pair()
    transport = PlainTransport(ours, io_seconds=5)
    parts = [bytes([n % 256]) * (n % 997) for n in range(2500)]
    received = bytearray()

    def read() -> None:
        while part := theirs.recv(65536):
            received.extend(part)

    thread = threading.Thread(target=read)
    thread.start()
    transport.send([parts[0], *(memoryview(part) for part in parts[1:])], what="test")
    ours.shutdown(socket.SHUT_WR)
    thread.join(10)
    assert bytes(received) == b"".join(parts)
    transport.close()
    theirs.close()


def test_a_peer_that_does_not_read_runs_into_the_timer() -> None:
    """A full socket buffer that nobody empties raises PeerTimeout."""
    ours, theirs = tcp_pair()
    transport = PlainTransport(ours, io_seconds=0.3)
    with pytest.raises(PeerTimeout):
        transport.send([bytes(64 * 1024 * 1024)], what="test")
    transport.close()
    theirs.close()


def test_interrupt_ends_a_blocked_read() -> None:
    """Stopping the archive does not wait for idle peers."""
    ours, theirs = tcp_pair()
    transport = PlainTransport(ours, io_seconds=30)
    ended = threading.Event()

    def read() -> None:
        with pytest.raises(PeerClosed):
            transport.receive(memoryview(bytearray(1)), what="test")
        ended.set()

    thread = threading.Thread(target=read)
    thread.start()
    time.sleep(0.05)
    transport.interrupt()
    assert ended.wait(5)
    thread.join()
    transport.close()
    theirs.close()


def test_readable_is_told_without_blocking() -> None:
    """is_readable is False on a silent connection and True once a byte came."""
    ours, theirs = tcp_pair()
    transport = PlainTransport(ours, io_seconds=5)
    assert not transport.is_readable()
    theirs.sendall(b"x")
    assert transport.wait_readable(2)
    assert transport.is_readable()
    transport.close()
    theirs.close()
