"""The upper layer's reader and writer over a real TCP connection, byte by byte where it matters."""

from __future__ import annotations

import struct
import threading

import pytest
from hypothesis import given, settings, strategies as st

from archive.dimse import command as dimse
from archive.dimse.association import MemorySink, Released
from archive.errors import PduError, PeerAborted, PeerClosed, PeerTimeout
from tests.unit.dimse.wire import CONTEXT, CT, association_pair, p_data, pdv, read_message, read_pdu

ECHO = dimse.encode({dimse.COMMAND_FIELD: dimse.C_ECHO_RQ, dimse.MESSAGE_ID: 1, dimse.DATASET_TYPE: 0x0101})
STORE = dimse.encode({dimse.COMMAND_FIELD: dimse.C_STORE_RQ, dimse.MESSAGE_ID: 1, dimse.DATASET_TYPE: 1})


class _Sink:
    """A small sink that turns often, so that every boundary is crossed."""

    def __init__(self, size: int = 64 * 1024) -> None:
        self.space = bytearray(size)
        self.value = bytearray()

    def room(self) -> memoryview:
        return memoryview(self.space)

    def filled(self, count: int) -> None:
        self.value += self.space[:count]


def test_a_command_is_read_with_its_context() -> None:
    """A command in one PDU gives its elements and the context it came on."""
    with association_pair() as (association, peer):
        peer.sendall(p_data(pdv(ECHO, command=True)))
        message = association.read_message()
        assert message.context == CONTEXT
        assert message.command[dimse.COMMAND_FIELD] == dimse.C_ECHO_RQ
        assert not message.has_dataset


def test_a_command_in_pieces_is_one_command() -> None:
    """A command cut into several presentation data values is put together."""
    with association_pair() as (association, peer):
        peer.sendall(p_data(pdv(ECHO[:5], command=True, last=False)) + p_data(pdv(ECHO[5:], command=True)))
        assert association.read_message().command[dimse.MESSAGE_ID] == 1


def test_bytes_that_trickle_in_make_the_same_message() -> None:
    """Where the network cuts the stream makes no difference."""
    with association_pair() as (association, peer):
        stream = p_data(pdv(STORE, command=True)) + p_data(pdv(b"abc", last=False)) + p_data(pdv(b"def"))

        def trickle() -> None:
            for byte in stream:
                peer.sendall(bytes([byte]))

        thread = threading.Thread(target=trickle)
        thread.start()
        message, sink = association.read_message(), _Sink()
        assert association.receive_dataset(message.context, sink) == 6
        thread.join()
        assert bytes(sink.value) == b"abcdef"


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 200_000), min_size=1, max_size=6), st.booleans(), st.integers(66_000, 300_000))
def test_a_data_set_arrives_whole_however_it_is_cut(sizes: list[int], together: bool, room: int) -> None:
    """Any fragment sizes, one or many per PDU, into any sink size: the bytes are the bytes, and the next one fits."""
    parts = [bytes((index + n) % 256 for n in range(size)) for index, size in enumerate(sizes)]
    items = [pdv(part, last=index == len(parts) - 1) for index, part in enumerate(parts)]
    stream = p_data(*items) if together else b"".join(p_data(item) for item in items)
    with association_pair(max_pdu_bytes=2_000_000) as (association, peer):
        sender = threading.Thread(
            target=peer.sendall,
            args=(p_data(pdv(STORE, command=True)) + stream + p_data(pdv(ECHO, command=True)),),
        )
        sender.start()
        message, sink = association.read_message(), _Sink(room)
        association.receive_dataset(message.context, sink)
        assert bytes(sink.value) == b"".join(parts)
        assert association.read_message().command[dimse.COMMAND_FIELD] == dimse.C_ECHO_RQ
        sender.join()
        assert association.tally.bytes_in == sum(sizes)


def test_release_is_answered() -> None:
    """A release request gets its response and ends the loop."""
    with association_pair() as (association, peer):
        peer.sendall(b"\x05\0\0\0\0\x04\0\0\0\0")
        with pytest.raises(Released):
            association.read_message()
        assert read_pdu(peer) == (6, b"\0\0\0\0")


def test_abort_in_the_middle_of_an_object_ends_it() -> None:
    """An abort where a fragment should follow is an abort, not data."""
    with association_pair() as (association, peer):
        peer.sendall(p_data(pdv(STORE, command=True)) + p_data(pdv(b"abcd", last=False)))
        peer.sendall(b"\x07\0\0\0\0\x04\0\0\0\0")
        peer.close()
        message = association.read_message()
        with pytest.raises((PeerAborted, PeerClosed)):
            association.receive_dataset(message.context, _Sink())


@pytest.mark.parametrize(
    "stream",
    [
        pytest.param(p_data(pdv(b"data")), id="data without command"),
        pytest.param(p_data(pdv(ECHO, command=True, context_id=9)), id="context not accepted"),
        pytest.param(struct.pack(">BBL", 4, 0, 1 << 30) + pdv(b"x"), id="oversized PDU"),
        pytest.param(struct.pack(">BBLLBB", 4, 0, 10, 1, 1, 3), id="value shorter than its header"),
        pytest.param(struct.pack(">BBLLBB", 4, 0, 8, 90, 1, 3), id="value longer than its PDU"),
        pytest.param(p_data(pdv(ECHO[:20], command=True)), id="half a command"),
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", id="not DICOM"),
        pytest.param(b"\x01" + b"\0" * 20, id="a second association request"),
        pytest.param(p_data(pdv(ECHO, command=True) + b"\0\0\0"), id="three bytes behind a value"),
    ],
)
def test_a_malformed_stream_is_a_protocol_error(stream: bytes) -> None:
    """Whatever breaks PS3.8 raises PduError, and nothing else."""
    with association_pair() as (association, peer):
        peer.sendall(stream)
        with pytest.raises(PduError):
            association.read_message()
            association.read_message()


def test_a_command_without_end_is_refused() -> None:
    """Command fragments that add up to more than 64 KiB are refused before they fill the memory."""
    with association_pair() as (association, peer):
        peer.sendall(b"".join(p_data(pdv(b"\0" * 15_000, command=True, last=False)) for _ in range(5)))
        with pytest.raises(PduError):
            association.read_message()


def test_another_message_inside_an_object_is_refused() -> None:
    """A command fragment before the data set's last fragment breaks the message."""
    with association_pair() as (association, peer):
        peer.sendall(
            p_data(pdv(STORE, command=True)) + p_data(pdv(b"ab", last=False)) + p_data(pdv(ECHO, command=True))
        )
        message = association.read_message()
        with pytest.raises(PduError):
            association.receive_dataset(message.context, _Sink())


def test_a_silent_peer_runs_into_the_idle_timer() -> None:
    """Nothing at all within the idle time raises PeerTimeout."""
    with association_pair(idle_seconds=0.2, io_seconds=0.1) as (association, _), pytest.raises(PeerTimeout):
        association.read_message()


def test_a_slow_loris_runs_into_the_pdu_timer() -> None:
    """A PDU that was begun and never ends raises PeerTimeout although single bytes keep coming."""
    stop = threading.Event()
    with association_pair(idle_seconds=30, io_seconds=0.4) as (association, peer):

        def drip() -> None:
            while not stop.wait(0.05):
                try:
                    peer.sendall(b"\0")
                except OSError:
                    return

        peer.sendall(struct.pack(">BBLLBB", 4, 0, 10_006, 10_002, 1, 3))
        thread = threading.Thread(target=drip)
        thread.start()
        try:
            with pytest.raises(PeerTimeout):
                association.read_message()
        finally:
            stop.set()
            thread.join()


def test_a_connection_lost_in_an_object_is_told() -> None:
    """The end of the stream inside a data set raises PeerClosed."""
    with association_pair() as (association, peer):
        peer.sendall(p_data(pdv(STORE, command=True)) + p_data(pdv(b"abcd"))[:-2])
        peer.close()
        message = association.read_message()
        with pytest.raises(PeerClosed):
            association.receive_dataset(message.context, _Sink())


@pytest.mark.parametrize("size", [0, 1, 100, 16_378, 16_379, 32_756, 100_000])
def test_what_is_sent_respects_the_peers_maximum(size: int) -> None:
    """No PDU body exceeds the peer's maximum, fragments are even but the last, and the bytes are the bytes."""
    data = bytes(n % 251 for n in range(size))
    with association_pair(peer_max=16_384) as (association, peer):
        sender = threading.Thread(target=association.send_message, args=(CONTEXT, dimse.decode(STORE), data))
        sender.start()
        kind, body = read_pdu(peer)
        assert (kind, body[5]) == (4, 3)
        got, last = bytearray(), False
        while not last:
            kind, body = read_pdu(peer)
            assert kind == 4
            assert len(body) <= 16_384
            last = bool(body[5] & 2)
            assert last or len(body) % 2 == 0
            got += body[6:]
        sender.join()
        assert bytes(got) == data


def test_a_peer_without_a_limit_gets_our_own() -> None:
    """Maximum length 0 means no limit (PS3.8 D.1): our own is used."""
    with association_pair(peer_max=0, max_pdu_bytes=100_000) as (association, _):
        assert association.fragment_bytes == 100_000 - 6


def test_a_window_of_a_large_object_is_not_its_end() -> None:
    """A window that is not the last has no last-fragment mark, so that the next window can follow."""
    with association_pair(peer_max=1006) as (association, peer):
        association.send_fragments(association.fragments(1, b"a" * 2000, is_command=False, is_last=False))
        association.send_fragments(association.fragments(1, b"b" * 10, is_command=False))
        controls = [read_pdu(peer)[1][5] for _ in range(3)]
        assert controls == [0, 0, 2]


def test_a_message_is_read_back_by_its_receiver() -> None:
    """Two of our own ends understand each other."""
    with association_pair() as (association, peer):
        association.send_message(CONTEXT, {dimse.COMMAND_FIELD: dimse.C_FIND_RSP, dimse.STATUS: 0xFF00}, b"answer")
        command, dataset = read_message(peer)
        if not dataset:
            _, dataset = read_message(peer)
        assert dimse.decode(command)[dimse.STATUS] == 0xFF00
        assert dataset == b"answer"


def test_a_waiting_message_is_noticed_without_blocking() -> None:
    """A C-CANCEL on the wire can be seen between two answers."""
    with association_pair() as (association, peer):
        assert not association.has_message_waiting()
        peer.sendall(p_data(pdv(ECHO, command=True)))
        for _ in range(100):
            if association.has_message_waiting():
                break
        assert association.has_message_waiting()


def test_abort_names_its_source_and_reason() -> None:
    """An abort PDU carries source and reason, and the connection ends."""
    with association_pair() as (association, peer):
        association.abort(source=2, reason=6)
        assert read_pdu(peer) == (7, bytes((0, 0, 2, 6)))
        assert peer.recv(1) == b""


def test_release_waits_for_the_answer() -> None:
    """A release we ask for is sent, late data is dropped, and the answer ends it."""
    with association_pair() as (association, peer):
        thread = threading.Thread(target=association.release)
        thread.start()
        assert read_pdu(peer) == (5, b"\0\0\0\0")
        peer.sendall(p_data(pdv(b"late")) + b"\x06\0\0\0\0\x04\0\0\0\0")
        thread.join(5)
        assert not thread.is_alive()


def test_an_identifier_is_bounded() -> None:
    """read_dataset refuses more than its limit."""
    with association_pair() as (association, peer):
        peer.sendall(p_data(pdv(STORE, command=True)) + p_data(pdv(b"x" * 100)))
        message = association.read_message()
        with pytest.raises(PduError):
            association.read_dataset(message, limit_bytes=99)


def test_a_dropping_sink_keeps_nothing() -> None:
    """What is drained is not kept."""
    sink = MemorySink(0).dropping()
    sink.room()
    sink.filled(1000)
    assert sink.value() == b""
    assert CT
