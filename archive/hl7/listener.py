"""Listens for HL7 messages over MLLP and answers them, one thread a connection; must not read what they say.

A sender that is silent, slow, talks nonsense or disappears costs its own connection and nothing else.
"""

from __future__ import annotations

import ipaddress
import socket
import ssl
import threading
from dataclasses import dataclass, field
from typing import Final, Protocol

from archive import logs, tcp
from archive.clock import monotonic
from archive.config import Hl7Settings
from archive.errors import ConfigError, FeedBroken, MessageTooLong
from archive.hl7.mllp import Deframer, frame

_log = logs.get(__name__)
_BACKLOG: Final = 64
_CHUNK_BYTES: Final = 16 * 1024
_SEND_SECONDS: Final = 30.0
_DRAINED_CHUNKS: Final = 4096
_KIB: Final = 1024


class Handles(Protocol):
    """What is asked about each message."""

    def handle(self, raw: bytes, peer_address: str) -> list[bytes]:
        """Return the answers to a whole message."""

    def handle_too_long(self, begun: bytes, error: MessageTooLong, peer_address: str) -> list[bytes]:
        """Return the answers to a message that does not end."""


class Listener:
    """The HL7 port."""

    def __init__(self, settings: Hl7Settings, receiver: Handles, *, tls: ssl.SSLContext | None = None) -> None:
        self._settings = settings
        self._receiver = receiver
        self._tls = tls
        self._listener: socket.socket | None = None
        self._open: dict[threading.Thread, socket.socket] = {}
        self._lock = threading.Lock()
        self._stopping = threading.Event()

    def start(self) -> tuple[str, int] | None:
        """Open the port and return where it is; None when none is set. Raises ConfigError."""
        host, port = self._settings.host, self._settings.port
        if port is None:
            return None
        listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        tcp.prepare(listener)
        try:
            listener.bind((host, port))
        except OSError as exc:
            listener.close()
            raise ConfigError(name="hl7.port", reason=f"{host}:{port} cannot be opened ({exc.strerror})") from exc
        listener.listen(_BACKLOG)
        self._listener = listener
        threading.Thread(target=self._accept, args=(listener,), name="hl7-listener", daemon=True).start()
        bound: tuple[str, int] = listener.getsockname()[:2]
        return bound

    def stop(self, *, grace_seconds: float) -> None:
        """Close the port; what is being kept is kept and answered, then connections end."""
        self._stopping.set()
        if self._listener is not None:
            self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
        with self._lock:
            connections = dict(self._open)
        for connection in connections.values():
            _shut(connection, socket.SHUT_RD)
        deadline = monotonic() + grace_seconds
        for thread, connection in connections.items():
            thread.join(max(0.0, deadline - monotonic()))
            _shut(connection, socket.SHUT_RDWR)

    def _accept(self, listener: socket.socket) -> None:
        while not self._stopping.is_set():
            try:
                connection, address = listener.accept()
            except OSError:
                if not self._stopping.wait(0.1):
                    _log.exception("hl7_connection_not_accepted")
                continue
            reason = self._why_not(str(address[0]))
            if reason:
                _log.warning("hl7_connection_refused", peer_address=address[0], reason=reason)
                connection.close()
                continue
            self._begin(connection, str(address[0]))

    def _why_not(self, address: str) -> str:
        known = self._settings.addresses
        if known and not any(_plain(address) in network for network in known):
            return "its address is not in hl7.addresses"
        with self._lock:
            return "too many connections" if len(self._open) >= self._settings.max_connections else ""

    def _begin(self, connection: socket.socket, address: str) -> None:
        thread = threading.Thread(target=self._serve, args=(connection, address), name=f"hl7 {address}", daemon=True)
        with self._lock:
            self._open[thread] = connection
            thread.start()  # within: whoever stops us joins every thread that is noted

    def _serve(self, connection: socket.socket, address: str) -> None:
        secured = connection
        try:
            with logs.context(peer_address=address):
                secured = self._secured(connection)
                with self._lock:
                    self._open[threading.current_thread()] = secured
                _Conversation(secured, address, self._settings, self._receiver).run()
        except OSError as exc:
            _log.warning("hl7_handshake_failed", peer_address=address, exc_info=exc)
        finally:
            secured.close()
            connection.close()
            with self._lock:
                del self._open[threading.current_thread()]

    def _secured(self, connection: socket.socket) -> socket.socket:
        tcp.set_up(connection)
        if self._tls is None:
            return connection
        connection.settimeout(self._settings.message_seconds)
        return self._tls.wrap_socket(connection, server_side=True)


@dataclass(slots=True)
class _Conversation:
    """Messages in, answers out, until one side ends it."""

    connection: socket.socket
    address: str
    settings: Hl7Settings
    receiver: Handles
    messages: int = 0
    deframer: Deframer = field(init=False)

    def __post_init__(self) -> None:
        self.deframer = Deframer(self.settings.max_message_kib * _KIB)

    def run(self) -> None:
        """Converse; never raises what a peer can cause."""
        reason = "internal error"
        try:
            reason = self._converse()
        except MessageTooLong as exc:
            reason = exc.message
            self._refuse(exc)
        except FeedBroken as exc:
            reason = exc.message
        except OSError as exc:
            reason = "it took too long" if isinstance(exc, TimeoutError) else "the connection broke"
        except Exception as exc:
            _log.error("hl7_connection_failed", exc_info=exc)
        self.deframer.close()
        self._log(reason)

    def _converse(self) -> str:
        deadline = monotonic() + self.settings.idle_seconds
        was_inside = False
        while True:
            self.connection.settimeout(max(0.001, deadline - monotonic()))
            data = self.connection.recv(_CHUNK_BYTES)
            if not data:
                return ""
            before = self.messages
            for message in self.deframer.feed(data):
                self._take(message)
            is_inside = self.deframer.is_inside
            # The clock of a message runs from its first byte, that of silence from the last message.
            if is_inside and (not was_inside or self.messages != before):
                deadline = monotonic() + self.settings.message_seconds
            elif not is_inside and (was_inside or self.messages != before):
                deadline = monotonic() + self.settings.idle_seconds
            was_inside = is_inside

    def _take(self, message: bytes) -> None:
        self.messages += 1
        self._send(self.receiver.handle(message, self.address))

    def _send(self, answers: list[bytes]) -> None:
        self.connection.settimeout(_SEND_SECONDS)
        if answers:
            self.connection.sendall(b"".join(map(frame, answers)))

    def _refuse(self, error: MessageTooLong) -> None:
        """Answer a peer that may not listen, and let it read the answer before the connection is reset."""
        try:
            self._send(self.receiver.handle_too_long(self.deframer.begun, error, self.address))
            self.connection.shutdown(socket.SHUT_WR)
            self.connection.settimeout(1.0)
            for _ in range(_DRAINED_CHUNKS):
                if not self.connection.recv(_CHUNK_BYTES):
                    return
        except OSError:
            return

    def _log(self, reason: str) -> None:
        deframer = self.deframer
        counts = {
            "messages": self.messages,
            "dropped_frames": deframer.dropped_frames,
            "garbage_bytes": deframer.garbage_bytes,
        }
        level = _log.warning if reason or deframer.dropped_frames else _log.info
        level("hl7_connection_closed", reason=reason or "the peer closed it", **counts)


def _plain(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    found = ipaddress.ip_address(address.partition("%")[0])
    return getattr(found, "ipv4_mapped", None) or found


def _shut(connection: socket.socket, how: int) -> None:
    try:
        connection.shutdown(how)
    except OSError:
        return
