"""One established association: messages in and out over P-DATA (PS3.8 section 9.3); must not know any service.

The reader keeps one promise that the data plane lives on: the bytes of a data set are received straight into the
sink's own buffer, one system call a PDU. Where another PDU must follow, its 12-byte header is received in the same
call, behind the body, and is overwritten by its own body once it is parsed: the object lies in one run.
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Protocol

from archive.dimse import command as dimse
from archive.dimse.command import Command
from archive.dimse.transport import Transport
from archive.errors import PduError, PeerAborted, ProtocolError

P_DATA_TF: Final = 0x04
A_RELEASE_RQ: Final = 0x05
A_RELEASE_RP: Final = 0x06
A_ABORT: Final = 0x07

_PDU: Final = struct.Struct(">BBL")
_PDV: Final = struct.Struct(">LBB")
_HEADER: Final = struct.Struct(">BBLLBB")
_HEADER_SIZE: Final = 12
_COMMAND_LIMIT: Final = 64 * 1024
_RELEASE_RP: Final = b"\x06\x00\x00\x00\x00\x04\x00\x00\x00\x00"
_RELEASE_RQ: Final = b"\x05\x00\x00\x00\x00\x04\x00\x00\x00\x00"


class Released(Exception):
    """The peer asked for release; the association ended as it should."""


class Sink(Protocol):
    """Where the bytes of a data set go."""

    def room(self) -> memoryview:
        """Return writable space, at least 64 KiB."""

    def filled(self, count: int) -> None:
        """Take the first ``count`` bytes of the space last returned by ``room``."""


class Context(NamedTuple):
    """One accepted presentation context; ``as_scu``: we may send requests on it."""

    context_id: int
    abstract_syntax: str
    transfer_syntax: str
    as_scu: bool
    as_scp: bool


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is at the other end; ``known_as`` when it is a part of the archive itself."""

    calling_ae_title: str
    called_ae_title: str
    address: str
    certificate_sha256: str | None = None
    known_as: str = ""

    @property
    def name(self) -> str:
        """Return how the journal calls who asks: by the calling AE title, unless it is a part of ourselves."""
        return self.known_as or self.calling_ae_title


@dataclass(slots=True)
class Tally:
    """What an association did; written to the association log at its end. Sizes in bytes."""

    stored: int = 0
    retrieved: int = 0
    found: int = 0
    refused: int = 0
    bytes_in: int = 0
    bytes_out: int = 0


@dataclass(frozen=True, slots=True)
class Message:
    """A command and the context it came on; its data set, if any, is still on the wire."""

    context: Context
    command: Command

    @property
    def has_dataset(self) -> bool:
        """Tell whether a data set follows (PS3.7 annex E: any value but 0101H)."""
        return self.command.get(dimse.DATASET_TYPE, dimse.NO_DATASET) != dimse.NO_DATASET


class _Fragment(NamedTuple):
    context_id: int
    is_command: bool
    is_last: bool
    size: int


@dataclass(slots=True)
class Limits:
    """Timers in seconds, sizes in bytes."""

    idle_seconds: float
    max_pdu_bytes: int


@dataclass(slots=True)
class Association:
    """Reads and writes messages; one thread at a time reads, ``send_message`` may be called by several."""

    transport: Transport
    peer: Peer
    contexts: Mapping[int, Context]
    peer_max_pdu_bytes: int
    limits: Limits
    tally: Tally = field(default_factory=Tally)
    _head: bytearray = field(default_factory=lambda: bytearray(_HEADER_SIZE))
    _head_ready: bool = False
    _pdu_left: int = 0
    _send_lock: threading.Lock = field(default_factory=threading.Lock)

    # ---- reading -------------------------------------------------------------------------------------------------

    def read_message(self) -> Message:
        """Wait for the next command; raise Released, PeerAborted, PeerClosed, PeerTimeout or PduError."""
        fragment = self._next_fragment(self.limits.idle_seconds)
        if not fragment.is_command:
            raise PduError(reason="a data set came without its command")
        context = self.contexts.get(fragment.context_id)
        if context is None:
            raise PduError(reason=f"presentation context {fragment.context_id} was not accepted")
        raw = self._read_command_bytes(fragment)
        return Message(context, dimse.decode(raw))

    def _read_command_bytes(self, fragment: _Fragment) -> bytes:
        raw = bytearray()
        first = fragment.context_id
        while True:
            if len(raw) + fragment.size > _COMMAND_LIMIT:
                raise PduError(reason="a command set of more than 64 KiB")
            part = bytearray(fragment.size)
            if part:
                self.transport.receive(memoryview(part), what="a command")
            raw += part
            if fragment.is_last:
                return bytes(raw)
            fragment = self._next_fragment(self.limits.idle_seconds)
            if not fragment.is_command or fragment.context_id != first:
                raise PduError(reason="another message began before the command ended")

    def receive_dataset(self, context: Context, sink: Sink) -> int:
        """Receive the data set of the message just read into ``sink``; return its size in bytes."""
        total, last = 0, False
        while not last:
            fragment = self._next_fragment(self.limits.idle_seconds)
            if fragment.is_command or fragment.context_id != context.context_id:
                raise PduError(reason="another message began before the data set ended")
            last = fragment.is_last
            total += fragment.size
            self._receive_fragment(fragment.size, last, sink)
        self.tally.bytes_in += total
        return total

    def _receive_fragment(self, size: int, last: bool, sink: Sink) -> None:
        left = size
        while left:
            view = sink.room()
            count = min(left, len(view) - _HEADER_SIZE)
            if count == left and not last and self._pdu_left == 0:
                self._receive_with_next_header(view[: count + _HEADER_SIZE])
            else:
                self.transport.receive(view[:count], what="a data set")
            sink.filled(count)
            left -= count

    def _receive_with_next_header(self, view: memoryview) -> None:
        """Receive a body and the header of the PDU that must follow it, since its message goes on."""
        self.transport.receive(view, what="a data set")
        self._head[:] = view[-_HEADER_SIZE:]
        self._head_ready = True

    def read_dataset(self, message: Message, *, limit_bytes: int) -> bytes:
        """Receive a small data set (an identifier) into memory; PduError when it is larger than the limit."""
        sink = MemorySink(limit_bytes)
        self.receive_dataset(message.context, sink)
        return sink.value()

    def _next_fragment(self, idle_seconds: float) -> _Fragment:
        if self._pdu_left:
            return self._next_pdv()
        if not self._head_ready:
            self._read_head(idle_seconds)
        self._head_ready = False
        kind, _, length, pdv_length, context_id, control = _HEADER.unpack_from(self._head)
        if kind != P_DATA_TF:
            self._end_of_messages(kind)
        if length > self.limits.max_pdu_bytes:
            raise PduError(reason=f"a PDU of {length} bytes, more than the {self.limits.max_pdu_bytes} agreed")
        self._pdu_left = length - 6
        return self._fragment(pdv_length, context_id, control)

    def _next_pdv(self) -> _Fragment:
        head = memoryview(bytearray(6))
        if self._pdu_left < 6:
            raise PduError(reason="a presentation data value is cut short")
        self.transport.receive(head, what="a presentation data value")
        self._pdu_left -= 6
        return self._fragment(*_PDV.unpack(head))

    def _fragment(self, pdv_length: int, context_id: int, control: int) -> _Fragment:
        size = pdv_length - 2
        if size < 0 or size > self._pdu_left:
            raise PduError(reason="a presentation data value does not fit its PDU")
        self._pdu_left -= size
        return _Fragment(context_id, bool(control & 1), bool(control & 2), size)

    def _read_head(self, idle_seconds: float) -> None:
        view = memoryview(self._head)
        got = self.transport.receive_some(view, idle_seconds=idle_seconds, what="the next message")
        # Release and abort PDUs have 10 bytes in all: never wait for 12 before the type is known.
        if got < 10:
            self.transport.receive(view[got:10], what="a PDU header")
            got = 10
        if self._head[0] == P_DATA_TF and got < _HEADER_SIZE:
            self.transport.receive(view[got:], what="a PDU header")

    def _end_of_messages(self, kind: int) -> None:
        if kind == A_RELEASE_RQ:
            self.transport.send([_RELEASE_RP], what="a release response")
            raise Released
        if kind == A_ABORT:
            raise PeerAborted
        raise PduError(reason=f"PDU type {kind:02x} is not expected now")

    def has_message_waiting(self) -> bool:
        """Tell, without blocking, whether bytes came: a C-CANCEL, a release or an abort."""
        return self._head_ready or self.transport.is_readable()

    # ---- writing -------------------------------------------------------------------------------------------------

    def send_message(self, context: Context, command: Command, dataset: bytes | memoryview | None = None) -> None:
        """Send a command and its data set, cut to the peer's maximum PDU length."""
        buffers = self.fragments(context.context_id, dimse.encode(command), is_command=True)
        if dataset is not None:
            buffers += self.fragments(context.context_id, dataset, is_command=False)
        with self._send_lock:
            self.transport.send(buffers, what="a message")

    def fragments(
        self, context_id: int, data: bytes | memoryview, *, is_command: bool, is_last: bool = True
    ) -> list[bytes | memoryview]:
        """Return ``data`` as PDU headers and slices ready for ``sendmsg``: no byte of it is copied."""
        size = self.fragment_bytes
        view = memoryview(data)
        control = 1 if is_command else 0
        whole = _HEADER.pack(P_DATA_TF, 0, size + 6, size + 2, context_id, control)
        buffers: list[bytes | memoryview] = []
        for start in range(0, max(len(view) - size, 0), size):
            buffers += (whole, view[start : start + size])
        start = len(buffers) // 2 * size
        rest = len(view) - start
        final = control | 2 if is_last else control
        buffers += (_HEADER.pack(P_DATA_TF, 0, rest + 6, rest + 2, context_id, final), view[start:])
        return buffers

    @property
    def fragment_bytes(self) -> int:
        """Return how many bytes of a message fit in one PDU for this peer."""
        agreed = self.peer_max_pdu_bytes or self.limits.max_pdu_bytes
        return max(min(agreed, self.limits.max_pdu_bytes) - 6, 64) & ~1  # fragments are of even length

    def send_fragments(self, buffers: list[bytes | memoryview]) -> None:
        """Send what ``fragments`` made."""
        with self._send_lock:
            self.transport.send(buffers, what="a data set")

    # ---- ending --------------------------------------------------------------------------------------------------

    def abort(self, *, source: int = 0, reason: int = 0) -> None:
        """Send A-ABORT (PS3.8 section 9.3.8) as far as the peer still listens, and close."""
        try:
            self.transport.send([bytes((A_ABORT, 0, 0, 0, 0, 4, 0, 0, source, reason))], what="an abort")
        except ProtocolError:
            pass
        finally:
            self.transport.close()

    def release(self) -> None:
        """Ask the peer for release and wait for its answer, dropping what it still sends; then close."""
        self.transport.send([_RELEASE_RQ], what="a release request")
        sink = MemorySink(0)
        while True:
            if not self._head_ready and self._pdu_left == 0:
                self._read_head(self.limits.idle_seconds)
                self._head_ready = True
                if self._head[0] in (A_RELEASE_RP, A_ABORT, A_RELEASE_RQ):
                    break
            self._receive_fragment(self._next_fragment(self.limits.idle_seconds).size, True, sink.dropping())
        self.transport.close()


class MemorySink:
    """Collects a small data set in memory, with a limit in bytes."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._value = bytearray()
        self._space = bytearray(64 * 1024)
        self._drops = False

    def room(self) -> memoryview:
        """Return the same space again."""
        return memoryview(self._space)

    def filled(self, count: int) -> None:
        """Append, or raise PduError at the limit."""
        if self._drops:
            return
        if len(self._value) + count > self._limit:
            raise PduError(reason=f"an identifier of more than {self._limit} bytes")
        self._value += self._space[:count]

    def value(self) -> bytes:
        """Return what came."""
        return bytes(self._value)

    def dropping(self) -> MemorySink:
        """Return the sink in the state in which it forgets everything."""
        self._drops = True
        return self
