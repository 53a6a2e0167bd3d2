"""One TCP or TLS connection with its timers; must not know what a PDU means.

``PlainTransport`` leaves the socket blocking and lets the kernel keep the time (SO_RCVTIMEO, SO_SNDTIMEO): a timed
Python socket would add a ``poll`` to every call. ``TlsTransport`` cannot, so it counts itself.
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import struct
from collections.abc import Sequence
from typing import Protocol

from archive import tcp
from archive.clock import monotonic
from archive.errors import PeerClosed, PeerTimeout

_IOV_MAX = 1000
_AHEAD_BYTES = 4096


class Transport(Protocol):
    """What an association needs of a connection. All sizes in bytes, all times in seconds."""

    def receive(self, view: memoryview, *, what: str) -> None:
        """Fill ``view`` or raise PeerClosed / PeerTimeout."""

    def receive_some(self, view: memoryview, *, idle_seconds: float, what: str) -> int:
        """Wait up to ``idle_seconds`` for a first byte; return how many came (1 to len(view))."""

    def send(self, buffers: Sequence[bytes | memoryview], *, what: str) -> None:
        """Send every byte of ``buffers`` in order or raise PeerClosed / PeerTimeout."""

    def is_readable(self) -> bool:
        """Tell whether bytes wait to be read, without blocking."""

    def close(self) -> None:
        """Close the connection; harmless when it is closed already."""

    def interrupt(self) -> None:
        """Make a call blocked in another thread return with PeerClosed."""


def _timeval(seconds: float) -> bytes:
    whole = int(seconds)
    return struct.pack("ll", whole, int((seconds - whole) * 1_000_000))


class PlainTransport:
    """A TCP connection."""

    def __init__(self, connection: socket.socket, *, io_seconds: float) -> None:
        self._socket = connection
        self._io_seconds = io_seconds
        self._ahead = memoryview(b"")
        self._space = memoryview(bytearray(_AHEAD_BYTES))
        connection.settimeout(None)
        tcp.set_up(connection)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _timeval(io_seconds))
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _timeval(io_seconds))

    def receive(self, view: memoryview, *, what: str) -> None:
        """Fill ``view``: MSG_WAITALL makes it one system call, timed as a whole by the kernel."""
        if self._ahead:
            view = view[self._take_ahead(view) :]
        wanted = len(view)
        if not wanted:
            return
        got = self._receive(view, socket.MSG_WAITALL, what)
        if got == wanted:
            return
        deadline = monotonic() + self._io_seconds
        while got < wanted:
            # A signal may cut MSG_WAITALL short; a timeout too, and then the deadline is the second chance's end.
            if monotonic() > deadline or not self.wait_readable(deadline - monotonic()):
                raise PeerTimeout(seconds=self._io_seconds, what=what)
            got += self._receive(view[got:], 0, what)

    def _take_ahead(self, view: memoryview) -> int:
        """Copy what was received ahead into ``view``; return how many bytes."""
        count = min(len(view), len(self._ahead))
        view[:count] = self._ahead[:count]
        self._ahead = self._ahead[count:]
        return count

    def _receive(self, view: memoryview, flags: int, what: str) -> int:
        try:
            got = self._socket.recv_into(view, len(view), flags)
        except BlockingIOError as exc:
            raise PeerTimeout(seconds=self._io_seconds, what=what) from exc
        except OSError as exc:
            raise PeerClosed(what=what) from exc
        if got == 0:
            raise PeerClosed(what=what)
        return got

    def receive_some(self, view: memoryview, *, idle_seconds: float, what: str) -> int:
        """Return as soon as some bytes are there; a command and the head of its data set come in one call.

        Before waiting, acknowledge what came: a peer that left Nagle's algorithm on (DCMTK by default) sits on the
        rest of its message until then, 40 ms by Linux's delayed acknowledgement.
        """
        if not self._ahead:
            self._ahead = self._space[: self._receive_first(idle_seconds, what)]
        return self._take_ahead(view)

    def _receive_first(self, idle_seconds: float, what: str) -> int:
        try:
            return self._receive(self._space, socket.MSG_DONTWAIT, what)
        except PeerTimeout:
            with contextlib.suppress(OSError):
                self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        if not self.wait_readable(idle_seconds):
            raise PeerTimeout(seconds=idle_seconds, what=what)
        return self._receive(self._space, 0, what)

    def wait_readable(self, seconds: float) -> bool:
        """Tell whether bytes come within ``seconds``."""
        try:
            poller = select.poll()
            poller.register(self._socket, select.POLLIN)
            return bool(poller.poll(max(0, int(seconds * 1000))))
        except (OSError, ValueError):
            return True  # closed: the next read tells

    def is_readable(self) -> bool:
        """Look at what came ahead, then poll without waiting."""
        return bool(self._ahead) or self.wait_readable(0)

    def send(self, buffers: Sequence[bytes | memoryview], *, what: str) -> None:
        """Hand all buffers to the kernel in as few ``sendmsg`` calls as it takes them."""
        for start in range(0, len(buffers), _IOV_MAX):
            self._send_batch(list(buffers[start : start + _IOV_MAX]), what)

    def _send_batch(self, batch: list[bytes | memoryview], what: str) -> None:
        left = sum(map(len, batch))
        while left:
            try:
                sent = self._socket.sendmsg(batch)
            except BlockingIOError as exc:
                raise PeerTimeout(seconds=self._io_seconds, what=what) from exc
            except OSError as exc:
                raise PeerClosed(what=what) from exc
            left -= sent
            if left:
                batch = _drop_front(batch, sent)

    def close(self) -> None:
        """Close the socket."""
        with contextlib.suppress(OSError):
            self._socket.close()

    def interrupt(self) -> None:
        """Shut both directions down so that blocked calls return."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)


def _drop_front(batch: list[bytes | memoryview], count: int) -> list[bytes | memoryview]:
    """Return what is left of ``batch`` after its first ``count`` bytes."""
    for index, buffer in enumerate(batch):
        if count < len(buffer):
            return [memoryview(buffer)[count:], *batch[index + 1 :]]
        count -= len(buffer)
    return []


class TlsTransport:
    """A TLS connection (PS3.15 annex B); the handshake is done by the caller."""

    def __init__(self, connection: ssl.SSLSocket, *, io_seconds: float) -> None:
        self._socket = connection
        self._io_seconds = io_seconds
        tcp.set_up(connection)

    def receive(self, view: memoryview, *, what: str) -> None:
        """Fill ``view`` within the I/O time."""
        deadline = monotonic() + self._io_seconds
        got = 0
        while got < len(view):
            got += self._receive(view[got:], deadline - monotonic(), what)

    def _receive(self, view: memoryview, seconds: float, what: str) -> int:
        if seconds <= 0:
            raise PeerTimeout(seconds=self._io_seconds, what=what)
        try:
            self._socket.settimeout(seconds)
            got = self._socket.recv_into(view, len(view))
        except TimeoutError as exc:
            raise PeerTimeout(seconds=self._io_seconds, what=what) from exc
        except (OSError, ValueError) as exc:
            raise PeerClosed(what=what) from exc
        if got == 0:
            raise PeerClosed(what=what)
        return got

    def receive_some(self, view: memoryview, *, idle_seconds: float, what: str) -> int:
        """Return as soon as some bytes are there."""
        return self._receive(view, idle_seconds, what)

    def is_readable(self) -> bool:
        """Look at what TLS has decrypted already, then at the socket."""
        try:
            return self._socket.pending() > 0 or bool(select.select([self._socket], [], [], 0)[0])
        except (OSError, ValueError):
            return True

    def send(self, buffers: Sequence[bytes | memoryview], *, what: str) -> None:
        """Send small neighbours together, so that TLS records are full."""
        try:
            self._socket.settimeout(self._io_seconds)
            self._socket.sendall(b"".join(buffers))
        except TimeoutError as exc:
            raise PeerTimeout(seconds=self._io_seconds, what=what) from exc
        except OSError as exc:
            raise PeerClosed(what=what) from exc

    def close(self) -> None:
        """Close the socket without waiting for the peer's close_notify."""
        with contextlib.suppress(OSError):
            self._socket.close()

    def interrupt(self) -> None:
        """Shut both directions down so that blocked calls return."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
