"""A DICOM client just large enough to time one message to the byte; must not share code with the archive it measures.

PS3.8 section 9.3 (PDUs) and PS3.7 section 9 and annex E (commands), written by hand: nothing is decoded that is not
needed, and a received data set goes to a sink as it arrives.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

EXPLICIT_LE = "1.2.840.10008.1.2.1"
VERIFICATION = "1.2.840.10008.1.1"
STUDY_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.2.1"
STUDY_ROOT_GET = "1.2.840.10008.5.1.4.1.2.2.3"
CT_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.2"
MULTI_FRAME_WORD_STORAGE = "1.2.840.10008.5.1.4.1.1.7.3"

AFFECTED_SOP_CLASS, COMMAND_FIELD, MESSAGE_ID, REPLIED_MESSAGE_ID = 0x0002, 0x0100, 0x0110, 0x0120
PRIORITY, DATA_SET_TYPE, STATUS, AFFECTED_SOP_INSTANCE = 0x0700, 0x0800, 0x0900, 0x1000
STORE_RQ, STORE_RSP, GET_RQ, GET_RSP = 0x0001, 0x8001, 0x0010, 0x8010
FIND_RQ, FIND_RSP, ECHO_RQ, ECHO_RSP, CANCEL_RQ = 0x0020, 0x8020, 0x0030, 0x8030, 0x0FFF
PENDING = (0xFF00, 0xFF01)
_NO_DATA_SET, _HAS_DATA_SET = 0x0101, 0x0001
_TIMEOUT_SECONDS = 60.0
_ASSOCIATE_RQ, _ASSOCIATE_AC, _P_DATA, _RELEASE_RQ, _RELEASE_RP = 1, 2, 4, 5, 6

Sink = Callable[[memoryview], object]


class WireError(RuntimeError):
    """The peer refused, aborted, closed or answered something that was not asked."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """One presentation context: what is proposed, and whether we offer to be its SCP (storage in a C-GET)."""

    abstract_syntax: str
    transfer_syntax: str = EXPLICIT_LE
    as_scp: bool = False


@dataclass(frozen=True, slots=True)
class Message:
    """One received DIMSE message: its command's elements as numbers or text, and its data set unless a sink took it."""

    context_id: int
    command: Mapping[int, int | str]
    data: bytes
    data_size: int

    @property
    def field(self) -> int:
        """Return the command field."""
        return int(self.command[COMMAND_FIELD])

    @property
    def status(self) -> int:
        """Return the status of a response."""
        return int(self.command[STATUS])


def _item(kind: int, body: bytes) -> bytes:
    return struct.pack(">BBH", kind, 0, len(body)) + body


def _context(number: int, proposal: Proposal) -> bytes:
    syntaxes = _item(0x30, proposal.abstract_syntax.encode()) + _item(0x40, proposal.transfer_syntax.encode())
    return _item(0x20, bytes((number, 0, 0, 0)) + syntaxes)


def _scp_role(abstract_syntax: bytes) -> bytes:
    """Return the role selection that offers to be SCP and not SCU (PS3.7 section D.3.3.4)."""
    return _item(0x54, struct.pack(">H", len(abstract_syntax)) + abstract_syntax + b"\x00\x01")


def encode_associate(called: str, calling: str, proposals: Sequence[Proposal], *, max_pdu: int) -> bytes:
    """Return an A-ASSOCIATE-RQ; the context of ``proposals[i]`` is 2 * i + 1 (PS3.8 section 9.3.2)."""
    contexts = b"".join(_context(2 * index + 1, proposal) for index, proposal in enumerate(proposals))
    roles = b"".join(_scp_role(proposal.abstract_syntax.encode()) for proposal in proposals if proposal.as_scp)
    user = _item(0x51, struct.pack(">I", max_pdu)) + _item(0x52, b"2.25.195826415230402416215320") + roles
    names = called.ljust(16).encode() + calling.ljust(16).encode()
    application = _item(0x10, b"1.2.840.10008.3.1.1.1")
    body = b"\x00\x01\x00\x00" + names + bytes(32) + application + contexts + _item(0x50, user)
    return struct.pack(">BBI", _ASSOCIATE_RQ, 0, len(body)) + body


def accepted_contexts(body: bytes) -> tuple[set[int], int]:
    """Return the accepted context identifiers and the peer's maximum PDU length from an A-ASSOCIATE-AC's body."""
    accepted: set[int] = set()
    limit = 0
    position = 68
    while position + 4 <= len(body):
        kind, _, length = struct.unpack_from(">BBH", body, position)
        value = body[position + 4 : position + 4 + length]
        if kind == 0x21 and value[2] == 0:
            accepted.add(value[0])
        if kind == 0x50 and value[:1] == b"\x51":
            limit = int.from_bytes(value[4:8], "big")
        position += 4 + length
    return accepted, limit


def encode_command(elements: Mapping[int, int | str]) -> bytes:
    """Return a command set: Implicit VR Little Endian, ascending, with its group length (PS3.7 section 6.3.1)."""
    body = b""
    for element in sorted(elements):
        value = elements[element]
        raw = struct.pack("<H", value) if isinstance(value, int) else value.encode() + b"\0" * (len(value) % 2)
        body += struct.pack("<HHI", 0, element, len(raw)) + raw
    return struct.pack("<HHII", 0, 0, 4, len(body)) + body


def decode_command(raw: bytes) -> dict[int, int | str]:
    """Return the elements of a command set: unsigned shorts as numbers, the rest as text."""
    elements: dict[int, int | str] = {}
    position = 0
    while position + 8 <= len(raw):
        _, element, length = struct.unpack_from("<HHI", raw, position)
        value = raw[position + 8 : position + 8 + length]
        if length == 2:
            elements[element] = int.from_bytes(value, "little")
        elif element != 0:
            elements[element] = value.rstrip(b"\0 ").decode("latin-1")
        position += 8 + length
    return elements


def encode_identifier(keys: Mapping[int, tuple[str, str]]) -> bytes:
    """Return an Explicit VR Little Endian identifier, text in Latin-1, from tag -> (VR, value); short VRs only."""
    body = b""
    for tag in sorted(keys):
        vr, value = keys[tag]
        raw = value.encode("latin-1")
        raw += (b"\0" if vr == "UI" else b" ") * (len(raw) % 2)
        body += struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr.encode(), len(raw)) + raw
    return body


def decode_identifier(raw: bytes) -> dict[int, str]:
    """Return tag -> text (UTF-8 where the answer says so, else Latin-1) of an Explicit VR Little Endian answer."""
    charset = "utf-8" if b"ISO_IR 192" in raw[:32] else "latin-1"
    elements: dict[int, str] = {}
    position = 0
    while position + 8 <= len(raw):
        group, element, _, length = struct.unpack_from("<HH2sH", raw, position)
        elements[group << 16 | element] = raw[position + 8 : position + 8 + length].rstrip(b"\0 ").decode(charset)
        position += 8 + length
    return elements


class Association:
    """One association as requestor; a context manager that releases on a clean exit and aborts otherwise."""

    def __init__(
        self,
        address: tuple[str, int],
        called: str,
        proposals: Sequence[Proposal],
        *,
        calling: str = "BENCHMARK",
        max_pdu: int = 131072,
    ) -> None:
        self._socket = socket.create_connection(address, timeout=_TIMEOUT_SECONDS)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = memoryview(bytearray(max(max_pdu, 65536)))
        self._message_id = self._pdu_left = 0
        self._proposals = tuple(proposals)
        self._socket.sendall(encode_associate(called, calling, proposals, max_pdu=max_pdu))
        kind, size = self._read_head()
        body = bytes(self._read(size))
        if kind != _ASSOCIATE_AC:
            raise WireError(f"association not accepted: PDU type {kind}, {body.hex()}")
        self._accepted, limit = accepted_contexts(body)
        self._send_limit = min(limit or 131072, 131072) - 6

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.release()
        self._socket.close()

    def release(self) -> None:
        """Release the association and wait for the peer's word (PS3.8 section 7.2)."""
        self._socket.sendall(struct.pack(">BBII", _RELEASE_RQ, 0, 4, 0))
        kind, size = self._read_head()
        self._read(size)
        if kind != _RELEASE_RP:
            raise WireError(f"release answered with PDU type {kind}")

    def context_of(self, abstract_syntax: str) -> int:
        """Return the accepted context for ``abstract_syntax``."""
        for index, proposal in enumerate(self._proposals):
            if proposal.abstract_syntax == abstract_syntax and 2 * index + 1 in self._accepted:
                return 2 * index + 1
        raise WireError(f"{abstract_syntax} was not accepted")

    def request(self, field: int, abstract_syntax: str, identifier: bytes | None = None) -> int:
        """Send a request, with its identifier in the same write, and return its message number."""
        self._message_id += 1
        command: dict[int, int | str] = {
            AFFECTED_SOP_CLASS: abstract_syntax, COMMAND_FIELD: field, MESSAGE_ID: self._message_id,
            DATA_SET_TYPE: _NO_DATA_SET if identifier is None else _HAS_DATA_SET,
        }  # fmt: skip
        if identifier is not None:
            command[PRIORITY] = 0
        self._send(self.context_of(abstract_syntax), command, identifier)
        return self._message_id

    def cancel(self, message_id: int, abstract_syntax: str) -> None:
        """Send a C-CANCEL for the request ``message_id`` (PS3.7 section 9.3.2.3)."""
        command = {COMMAND_FIELD: CANCEL_RQ, REPLIED_MESSAGE_ID: message_id, DATA_SET_TYPE: _NO_DATA_SET}
        self._send(self.context_of(abstract_syntax), command, None)

    def answer_store(self, request: Message, status: int = 0) -> None:
        """Answer a C-STORE sub-operation."""
        command: dict[int, int | str] = {
            AFFECTED_SOP_CLASS: request.command[AFFECTED_SOP_CLASS], COMMAND_FIELD: STORE_RSP, STATUS: status,
            REPLIED_MESSAGE_ID: request.command[MESSAGE_ID], DATA_SET_TYPE: _NO_DATA_SET,
            AFFECTED_SOP_INSTANCE: request.command[AFFECTED_SOP_INSTANCE],
        }  # fmt: skip
        self._send(request.context_id, command, None)

    def _send(self, context_id: int, command: Mapping[int, int | str], data: bytes | None) -> None:
        parts = [self._fragment(context_id, 3, encode_command(command))]
        for start in range(0, len(data or b""), self._send_limit):
            piece = (data or b"")[start : start + self._send_limit]
            parts.append(self._fragment(context_id, 2 * (start + len(piece) == len(data or b"")), piece))
        self._socket.sendall(b"".join(parts))

    @staticmethod
    def _fragment(context_id: int, header: int, body: bytes) -> bytes:
        return struct.pack(">BBIIBB", _P_DATA, 0, len(body) + 6, len(body) + 2, context_id, header) + body

    def receive(self, sink: Sink | None = None) -> Message:
        """Return the next whole message; its data set goes to ``sink`` piece by piece when there is one."""
        context_id, raw = self._read_command()
        command = decode_command(raw)
        data = bytearray()
        size = 0
        if command[DATA_SET_TYPE] != _NO_DATA_SET:
            size = self._read_data(data.extend if sink is None else sink)
        return Message(context_id, command, bytes(data), size)

    def _read_command(self) -> tuple[int, bytes]:
        raw = bytearray()
        header = 0
        while not header & 2:
            context_id, header, length = self._read_fragment_head()
            raw += self._read(length)
        return context_id, bytes(raw)

    def _read_data(self, sink: Sink) -> int:
        size = header = 0
        while not header & 2:
            _, header, length = self._read_fragment_head()
            sink(self._read(length))
            size += length
        return size

    def _read_fragment_head(self) -> tuple[int, int, int]:
        """Return the next fragment's context, control header and length of its body."""
        if not self._pdu_left:
            kind, self._pdu_left = self._read_head()
            if kind != _P_DATA:
                raise WireError(f"PDU type {kind} where data was expected")
        length, context_id, header = struct.unpack(">IBB", self._read(6))
        self._pdu_left -= 4 + length
        return context_id, header, length - 2

    def _read_head(self) -> tuple[int, int]:
        kind, _, size = struct.unpack(">BBI", self._read(6))
        return kind, size

    def _read(self, count: int) -> memoryview:
        """Return the next ``count`` bytes, valid until the next read."""
        if count > len(self._buffer):
            self._buffer = memoryview(bytearray(count))
        position = 0
        while position < count:
            received = self._socket.recv_into(self._buffer[position:count], 0, socket.MSG_WAITALL)
            if not received:
                raise WireError("the peer closed the connection")
            position += received
        return self._buffer[:count]
