"""Two ends of a connection for tests of the upper layer; must not know a service."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager

from archive.dimse.association import Association, Context, Limits, Peer
from archive.dimse.transport import PlainTransport

CT = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
CONTEXT = Context(1, CT, EXPLICIT, False, True)


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    """Return both ends of a real TCP connection on loopback."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(1)
        ours = socket.create_connection(listener.getsockname())
        theirs, _ = listener.accept()
    return ours, theirs


@contextmanager
def association_pair(
    *, io_seconds: float = 5.0, idle_seconds: float = 5.0, max_pdu_bytes: int = 1 << 20, peer_max: int = 16384
) -> Iterator[tuple[Association, socket.socket]]:
    """Lend an established association and the raw socket of its peer."""
    ours, theirs = tcp_pair()
    theirs.settimeout(10)
    association = Association(
        transport=PlainTransport(ours, io_seconds=io_seconds),
        peer=Peer("MODALITY", "DRIMBOX", "127.0.0.1"),
        contexts={1: CONTEXT},
        peer_max_pdu_bytes=peer_max,
        limits=Limits(idle_seconds=idle_seconds, max_pdu_bytes=max_pdu_bytes),
    )
    try:
        yield association, theirs
    finally:
        association.transport.close()
        theirs.close()


def pdv(data: bytes, *, context_id: int = 1, command: bool = False, last: bool = True) -> bytes:
    """Return one presentation data value item."""
    return struct.pack(">LBB", len(data) + 2, context_id, command | last << 1) + data


def p_data(*items: bytes) -> bytes:
    """Return a P-DATA-TF PDU of the given items."""
    body = b"".join(items)
    return struct.pack(">BBL", 4, 0, len(body)) + body


def read_exactly(connection: socket.socket, count: int) -> bytes:
    """Read ``count`` bytes or fail."""
    data = bytearray()
    while len(data) < count:
        part = connection.recv(count - len(data))
        assert part, "the connection closed early"
        data += part
    return bytes(data)


def read_pdu(connection: socket.socket) -> tuple[int, bytes]:
    """Read one PDU: its type and its body."""
    kind, _, length = struct.unpack(">BBL", read_exactly(connection, 6))
    return kind, read_exactly(connection, length)


def read_message(connection: socket.socket) -> tuple[bytes, bytes]:
    """Read a command and, when PDUs with data follow at once, its data set."""
    command, dataset, seen_last = bytearray(), bytearray(), False
    while not seen_last:
        _, body = read_pdu(connection)
        length, _, control = struct.unpack(">LBB", body[:6])
        assert length == len(body) - 4
        (command if control & 1 else dataset).extend(body[6:])
        seen_last = bool(control & 2)
    return bytes(command), bytes(dataset)
