"""``drimbox echo``: a C-ECHO to see whether an archive answers; must not load the server's own network code.

It is the health check of a container, so it starts fast and speaks for itself: one association (PS3.8 section 9.3),
one C-ECHO-RQ (PS3.7 section 9.3.5), one release.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from archive import tcp
from archive.cli.options import json_option, with_settings
from archive.cli.output import print_json
from archive.clock import monotonic
from archive.dimse import command as dimse
from archive.errors import (
    AssociationRefused,
    DestinationUnreachable,
    PeerAborted,
    PeerClosed,
    PeerTimeout,
    ProtocolError,
)
from archive.part10.meta import IMPLEMENTATION_CLASS_UID
from archive.uids import parse_ae_title

if TYPE_CHECKING:
    from archive.config import Settings

_VERIFICATION = b"1.2.840.10008.1.1"
_APPLICATION_CONTEXT = b"1.2.840.10008.3.1.1.1"
_IMPLICIT_VR = b"1.2.840.10008.1.2"
_ASSOCIATE_RQ, _ASSOCIATE_AC, _ASSOCIATE_RJ, _DATA, _RELEASE_RQ, _RELEASE_RP, _ABORT = range(1, 8)
_SECONDS = 5.0
_LARGEST_PDU = 1024 * 1024
_ITEMS_AT = 68
_ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}
_REFUSALS = {
    (1, 2): "application context not supported",
    (1, 3): "calling AE title not recognized",
    (1, 7): "called AE title not recognized",
    (2, 2): "protocol version not supported",
    (3, 1): "temporary congestion",
    (3, 2): "local limit exceeded",
}


@click.command("echo")
@click.option("--host", help="Host to call; by default the configured one.")
@click.option("--port", type=click.IntRange(1, 65535), help="Port to call; by default the configured one.")
@click.option("--called", help="AE title to call; by default the configured one.")
@click.option("--ae-title", default="DRIMBOX-ECHO", show_default=True, help="AE title to call as.")
@json_option
@with_settings
def command(
    settings: Settings, host: str | None, port: int | None, called: str | None, ae_title: str, as_json: bool
) -> None:
    """Ask an archive whether it is there (C-ECHO)."""
    dicom = settings.dicom
    address = host or _ANYWHERE.get(dicom.host, dicom.host), port or dicom.port
    called = called or dicom.ae_title
    seconds = echo(address, called=called, calling=ae_title)
    if as_json:
        print_json({"host": address[0], "port": address[1], "called": called, "latency_ms": round(seconds * 1000, 3)})
    else:
        click.echo(f"{called} at {address[0]}:{address[1]} answered in {seconds * 1000:.0f} ms")


def echo(address: tuple[str, int], *, called: str, calling: str, seconds: float = _SECONDS) -> float:
    """Return how long a C-ECHO took, in seconds, connection included; each wait is at most ``seconds``.

    Raises DestinationUnreachable, AssociationRefused, PeerAborted, PeerClosed, PeerTimeout or ProtocolError.
    """
    started = monotonic()
    request = _associate_request(called, calling)
    with _connection(address, called, seconds) as connection:
        connection.sendall(_pdu(_ASSOCIATE_RQ, request))
        _check_accepted(_receive_pdu(connection, _ASSOCIATE_AC))
        connection.sendall(_pdu(_DATA, _echo_request()))
        _check_success(_receive_command(connection))
        connection.sendall(_pdu(_RELEASE_RQ, bytes(4)))
        _receive_pdu(connection, _RELEASE_RP)
    return monotonic() - started


@contextmanager
def _connection(address: tuple[str, int], called: str, seconds: float) -> Iterator[socket.socket]:
    """Connect; what goes wrong on the socket leaves as an error of ours."""
    try:
        connection = socket.create_connection(address, timeout=seconds)
    except OSError as exc:
        raise DestinationUnreachable(ae_title=called, reason=exc.strerror or str(exc)) from exc
    with connection:
        try:
            tcp.set_up(connection)
            yield connection
        except TimeoutError as exc:
            raise PeerTimeout(seconds=seconds, what="an answer") from exc
        except OSError as exc:
            raise PeerClosed(what=exc.strerror or "connection lost") from exc


def _associate_request(called: str, calling: str) -> bytes:
    """Return the body of an A-ASSOCIATE-RQ for Verification in Implicit VR (PS3.8 table 9-11)."""
    titles = b"".join(parse_ae_title(title).encode("ascii").ljust(16) for title in (called, calling))
    syntaxes = _item(0x30, _VERIFICATION) + _item(0x40, _IMPLICIT_VR)
    context = _item(0x20, bytes((1, 0, 0, 0)) + syntaxes)
    largest = _item(0x51, struct.pack(">L", _LARGEST_PDU))
    implementation = _item(0x52, IMPLEMENTATION_CLASS_UID.encode("ascii"))
    user = _item(0x50, largest + implementation)
    return struct.pack(">HH", 1, 0) + titles + bytes(32) + _item(0x10, _APPLICATION_CONTEXT) + context + user


def _echo_request() -> bytes:
    """Return the presentation data value that holds a whole C-ECHO-RQ (PS3.8 section 9.3.5.1)."""
    request = dimse.encode(
        {
            dimse.AFFECTED_SOP_CLASS_UID: _VERIFICATION.decode("ascii"),
            dimse.COMMAND_FIELD: dimse.C_ECHO_RQ,
            dimse.MESSAGE_ID: 1,
            dimse.DATASET_TYPE: dimse.NO_DATASET,
        }
    )
    return struct.pack(">LBB", len(request) + 2, 1, 0x03) + request


def _check_accepted(body: bytes) -> None:
    """Raise AssociationRefused unless the one presentation context was accepted (PS3.8 table 9-18)."""
    position = _ITEMS_AT
    while position + 8 <= len(body):
        kind, _, length = struct.unpack_from(">BBH", body, position)
        if kind == 0x21 and body[position + 6] == 0:
            return
        position += 4 + length
    raise AssociationRefused(reason="Verification was not accepted")


def _check_success(answer: bytes) -> None:
    status = dimse.number(dimse.decode(answer), dimse.STATUS)
    if status:
        raise ProtocolError(reason=f"C-ECHO was answered with status 0x{status:04X}")


def _receive_command(connection: socket.socket) -> bytes:
    """Gather the fragments of one command message."""
    command, last = b"", False
    while not last:
        body = _receive_pdu(connection, _DATA)
        while len(body) >= 6 and not last:
            length, _, control = struct.unpack_from(">LBB", body)
            command, body = command + body[6 : 4 + length], body[4 + max(length, 2) :]
            last = bool(control & 0x02)
    return command


def _receive_pdu(connection: socket.socket, expected: int) -> bytes:
    """Return the body of the next PDU, which must be of the expected kind."""
    kind, _, length = struct.unpack(">BBL", _receive(connection, 6))
    if length > _LARGEST_PDU:
        raise ProtocolError(reason=f"a PDU of {length} bytes")
    body = _receive(connection, length)
    if kind == _ASSOCIATE_RJ and length >= 4:
        raise AssociationRefused(reason=_REFUSALS.get((body[2], body[3]), f"source {body[2]}, reason {body[3]}"))
    if kind == _ABORT:
        raise PeerAborted
    if kind != expected:
        raise ProtocolError(reason=f"a PDU of type {kind} where {expected} was due")
    return body


def _receive(connection: socket.socket, size: int) -> bytes:
    received = b""
    while len(received) < size:
        part = connection.recv(size - len(received))
        if not part:
            raise PeerClosed(what="while it answered")
        received += part
    return received


def _pdu(kind: int, body: bytes) -> bytes:
    return struct.pack(">BBL", kind, 0, len(body)) + body


def _item(kind: int, value: bytes) -> bytes:
    return struct.pack(">BBH", kind, 0, len(value)) + value
