"""Listens, lets peers in, reads their messages and hands them to handlers; must not know what a handler does.

One thread per connection. A peer that breaks the protocol, goes silent or disappears costs its own association and
nothing else: it is aborted within its timer, logged and counted.
"""

from __future__ import annotations

import errno
import hashlib
import socket
import ssl
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Final, Protocol

from archive import logs, tcp
from archive.clock import Clock
from archive.config import DicomSettings
from archive.dimse import acceptor, command as dimse
from archive.dimse.association import Association, Message, Peer, Released
from archive.dimse.status import UNRECOGNIZED_OPERATION
from archive.dimse.store import drain
from archive.dimse.transport import PlainTransport, TlsTransport, Transport
from archive.errors import (
    ArchiveError,
    AssociationRefused,
    ConfigError,
    PduError,
    PeerAborted,
    PeerClosed,
    PeerTimeout,
    ProtocolError,
)

Handler = Callable[[Association, Message], None]

_log = logs.get(__name__)
_BACKLOG: Final = 256
_IPV4_MAPPED: Final = "::ffff:"
_SERVICE_PROVIDER: Final = 2
_UNEXPECTED_PDU: Final = 2
_INVALID_PDU: Final = 6


class Recorder(Protocol):
    """Writes what associations did to the association log and the journal; never raises."""

    def ended(self, association: Association, started_at: datetime, outcome: str) -> None:
        """An association that was established has ended."""

    def refused(self, peer: Peer, reason: str) -> None:
        """A peer was not let in."""


@dataclass(slots=True)
class _Visits:
    """Counts who is in, for the limits."""

    maximum: int
    maximum_per_peer: int
    _total: int = 0
    _by_peer: Counter[tuple[str, str]] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def enter(self, peer: Peer) -> bool:
        """Take one more association of this peer, if both limits allow."""
        key = (peer.calling_ae_title, peer.address)
        with self._lock:
            if self._total >= self.maximum or self._by_peer[key] >= self.maximum_per_peer:
                return False
            self._total += 1
            self._by_peer[key] += 1
            return True

    def leave(self, peer: Peer) -> None:
        """Undo ``enter``."""
        key = (peer.calling_ae_title, peer.address)
        with self._lock:
            self._total -= 1
            self._by_peer[key] -= 1
            if not self._by_peer[key]:
                del self._by_peer[key]


class Server:
    """The DICOM listeners: a plain one, and a TLS one when it is configured.

    ``own_titles``: calling AE titles, known to nobody else, of parts of the archive itself, and how the journal calls
    them; they need not be known peers.
    """

    def __init__(
        self,
        settings: DicomSettings,
        handlers: Mapping[int, Handler],
        *,
        recorder: Recorder,
        clock: Clock,
        tls: ssl.SSLContext | None,
        own_titles: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self._settings = settings
        self._handlers = handlers
        self._recorder = recorder
        self._clock = clock
        self._tls = tls
        self._own_titles = own_titles
        self._visits = _Visits(settings.max_associations, settings.max_associations_per_peer)
        self._listeners: list[socket.socket] = []
        self._open: dict[Transport, threading.Thread] = {}
        self._connections = 0
        self._lock = threading.Lock()
        self._stopping = threading.Event()

    # ---- listening -----------------------------------------------------------------------------------------------

    def start(self) -> dict[str, tuple[str, int]]:
        """Open the ports and return where they are: ``dicom`` and, when configured, ``dicom_tls``."""
        settings = self._settings
        addresses = {"dicom": self._listen(settings.port, None)}
        if self._tls is not None and settings.tls.port is not None:
            addresses["dicom_tls"] = self._listen(settings.tls.port, self._tls)
        return addresses

    def _listen(self, port: int, tls: ssl.SSLContext | None) -> tuple[str, int]:
        host = self._settings.host
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        tcp.prepare(listener)
        try:
            listener.bind((host, port))
        except OSError as exc:
            listener.close()
            name = _setting_at_fault(exc, is_tls=tls is not None)
            raise ConfigError(name=name, reason=f"{host}:{port} cannot be opened ({exc.strerror})") from exc
        listener.listen(_BACKLOG)
        self._listeners.append(listener)
        name = "dicom-tls" if tls else "dicom"
        threading.Thread(target=self._accept, args=(listener, tls), name=f"{name}-listener", daemon=True).start()
        bound: tuple[str, int] = listener.getsockname()[:2]
        return bound

    def _accept(self, listener: socket.socket, tls: ssl.SSLContext | None) -> None:
        while not self._stopping.is_set():
            try:
                connection, address = listener.accept()
            except OSError:
                if not self._stopping.wait(0.1):
                    _log.exception("connection_not_accepted")
                continue
            self._start_thread(connection, plain_address(str(address[0])), tls)

    def _start_thread(self, connection: socket.socket, address: str, tls: ssl.SSLContext | None) -> None:
        # Connections that have not asked for an association yet are bounded too.
        with self._lock:
            is_full = self._connections >= 2 * self._settings.max_associations
            self._connections += not is_full
        if is_full:
            _log.warning("connection_dropped", peer_address=address, reason="too many connections")
            connection.close()
            return
        thread = threading.Thread(
            target=self._serve, args=(connection, address, tls), name=f"association {address}", daemon=True
        )
        thread.start()

    def stop(self, *, grace_seconds: float) -> None:
        """Close the ports, let running associations end within the grace period, then cut them."""
        self._stopping.set()
        for listener in self._listeners:
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        self._join(grace_seconds)
        with self._lock:
            transports = list(self._open)
        for transport in transports:
            transport.interrupt()
        self._join(5.0)

    def _join(self, seconds: float) -> None:
        with self._lock:
            threads = list(self._open.values())
        share = seconds / max(len(threads), 1)
        for thread in threads:
            thread.join(share)

    # ---- one connection ------------------------------------------------------------------------------------------

    def _serve(self, connection: socket.socket, address: str, tls: ssl.SSLContext | None) -> None:
        try:
            with logs.context(peer_address=address):
                self._greet(connection, address, tls)
        finally:
            connection.close()
            with self._lock:
                self._connections -= 1

    def _greet(self, connection: socket.socket, address: str, tls: ssl.SSLContext | None) -> None:
        try:
            transport, certificate = self._transport(connection, tls)
        except (OSError, ValueError) as exc:
            _log.warning("handshake_failed", reason=type(exc).__name__, exc_info=exc)
            return
        with self._lock:
            self._open[transport] = threading.current_thread()
        try:
            self._admit(transport, address, certificate)
        finally:
            transport.close()
            with self._lock:
                del self._open[transport]

    def _transport(self, connection: socket.socket, tls: ssl.SSLContext | None) -> tuple[Transport, str | None]:
        seconds = self._settings.pdu_seconds
        if tls is None:
            return PlainTransport(connection, io_seconds=seconds), None
        connection.settimeout(self._settings.artim_seconds)
        secured = tls.wrap_socket(connection, server_side=True)
        certificate = secured.getpeercert(binary_form=True)
        digest = hashlib.sha256(certificate).hexdigest() if certificate else None
        return TlsTransport(secured, io_seconds=seconds), digest

    def _admit(self, transport: Transport, address: str, certificate: str | None) -> None:
        try:
            request = acceptor.read_request(transport, artim_seconds=self._settings.artim_seconds)
        except (ProtocolError, OSError) as exc:
            _log.warning("association_not_requested", reason=type(exc).__name__, exc_info=exc)
            _abort_quietly(transport, exc)
            return
        known_as = self._own_titles.get(request.calling_ae_title, "")
        peer = Peer(request.calling_ae_title, request.called_ae_title, address, certificate, known_as)
        with logs.context(calling_ae_title=peer.name):
            try:
                self._enter(transport, request, peer)
            except AssociationRefused as exc:
                _log.warning("association_refused", reason=exc.fields["reason"])
                self._recorder.refused(peer, str(exc.fields["reason"]))
            except ProtocolError as exc:
                _log.warning("association_lost", reason=type(exc).__name__, exc_info=exc)

    def _enter(self, transport: Transport, request: acceptor.Request, peer: Peer) -> None:
        refusal = None if peer.known_as else acceptor.refusal_of(request, peer, self._settings)
        if refusal is not None:
            acceptor.send_refusal(transport, refusal)
        if not self._visits.enter(peer):
            acceptor.send_refusal(transport, acceptor.TOO_MANY)
        try:
            started_at = self._clock()
            association = acceptor.accept(transport, request, peer, self._settings)
            outcome = self._converse(association)
            self._recorder.ended(association, started_at, outcome)
        finally:
            self._visits.leave(peer)

    def _converse(self, association: Association) -> str:
        """Answer messages until the association ends; return how it ended."""
        try:
            while True:
                self._dispatch(association, association.read_message())
        except Released:
            _log.info("association_released", **_counts(association))
            return "released"
        except PeerAborted:
            _log.info("association_aborted", by="peer", **_counts(association))
            return "aborted by peer"
        except ProtocolError as exc:
            _log.warning("association_aborted", by="archive", exc_info=exc, **_counts(association))
            association.abort(source=_SERVICE_PROVIDER, reason=_abort_reason(exc))
            return type(exc).__name__
        except Exception as exc:
            _log.error("association_failed", exc_info=exc, **_counts(association))
            association.abort()
            return "internal error"

    def _dispatch(self, association: Association, message: Message) -> None:
        field_ = dimse.number(message.command, dimse.COMMAND_FIELD)
        handler = self._handlers.get(field_)
        if handler is not None:
            handler(association, message)
        elif field_ == dimse.C_CANCEL_RQ:
            _log.debug("cancel_came_late")
        elif field_ & 0x8000:
            raise PduError(reason=f"a response {field_:04x} to no request")
        else:
            if message.has_dataset:
                drain(association, message)
            association.send_message(message.context, dimse.response_to(message.command, UNRECOGNIZED_OPERATION))


def plain_address(address: str) -> str:
    """Return a peer's address as configurations write it: a listener on ``::`` sees IPv4 peers as ::ffff:192.0.2.1."""
    return address.removeprefix(_IPV4_MAPPED) if "." in address else address


def _setting_at_fault(error: OSError, *, is_tls: bool) -> str:
    if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
        return "dicom.host"
    return "dicom.tls.port" if is_tls else "dicom.port"


def _counts(association: Association) -> dict[str, int]:
    tally = association.tally
    return {
        "stored": tally.stored,
        "retrieved": tally.retrieved,
        "found": tally.found,
        "refused": tally.refused,
        "bytes_in": tally.bytes_in,
        "bytes_out": tally.bytes_out,
    }


def _abort_reason(error: ArchiveError) -> int:
    """Return the A-P-ABORT reason (PS3.8 table 9-26)."""
    if isinstance(error, PduError):
        return _INVALID_PDU
    return _UNEXPECTED_PDU if isinstance(error, PeerTimeout) else 0


def _abort_quietly(transport: Transport, error: Exception) -> None:
    """Send an A-ABORT to a peer that never had an association, unless it is gone."""
    if isinstance(error, PeerClosed):
        return
    try:
        transport.send([bytes((7, 0, 0, 0, 0, 4, 0, 0, _SERVICE_PROVIDER, _INVALID_PDU))], what="an abort")
    except (ProtocolError, OSError):
        _log.debug("abort_not_sent")
