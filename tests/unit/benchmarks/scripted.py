"""A DICOM peer that plays a script, for tests of the benchmarks' client; must not judge what it receives."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks import wire


def pdu_of(kind: int, body: bytes) -> bytes:
    """Return a PDU of type ``kind``."""
    return struct.pack(">BBI", kind, 0, len(body)) + body


def accept(results: dict[int, int], *, max_pdu: int = 16384) -> bytes:
    """Return an A-ASSOCIATE-AC that gives each context its result."""
    contexts = b"".join(
        struct.pack(">BBHBBBB", 0x21, 0, 4 + 21, number, 0, result, 0) + b"\x40\x00\x00\x11" + b"1.2.840.10008.1.2"
        for number, result in results.items()
    )
    user = struct.pack(">BBHBBHI", 0x50, 0, 8, 0x51, 0, 4, max_pdu)
    return pdu_of(2, b"\x00\x01\x00\x00" + bytes(64) + contexts + user)


@contextmanager
def scripted(*replies: bytes) -> Iterator[tuple[tuple[str, int], list[bytes]]]:
    """Give a peer that sends ``replies[i]`` after the i-th PDU it receives, and what it received."""
    received: list[bytes] = []

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            for reply in replies:
                head = connection.recv(6, socket.MSG_WAITALL)
                received.append(head + connection.recv(int.from_bytes(head[2:6], "big"), socket.MSG_WAITALL))
                connection.sendall(reply)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname(), received
        thread.join(10)


def fragment(context_id: int, header: int, body: bytes) -> bytes:
    """Return a presentation data value: control header 1 command, 2 last."""
    return struct.pack(">IBB", len(body) + 2, context_id, header) + body


RELEASED = pdu_of(6, bytes(4))


def message(context_id: int, command: dict[int, int | str], data: bytes | None = None) -> bytes:
    """Return a whole DIMSE message in one PDU."""
    elements = {**command, wire.DATA_SET_TYPE: 0x0101 if data is None else 1}
    body = fragment(context_id, 3, wire.encode_command(elements))
    return pdu_of(4, body if data is None else body + fragment(context_id, 2, data))
