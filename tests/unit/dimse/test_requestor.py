"""Opening associations: what is proposed, what is understood of the answer, every way of not getting one."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st

from archive.config import DicomSettings
from archive.dimse import acceptor, command as dimse, requestor
from archive.dimse.association import Association, Context, Limits, Message, Peer, Released
from archive.dimse.contexts import EXPLICIT_BIG, EXPLICIT_LITTLE, IMPLICIT_LITTLE, STORAGE_COMMITMENT, VERIFICATION
from archive.dimse.requestor import MAX_PROPOSALS, Destination, Proposal, request_association
from archive.dimse.transport import PlainTransport, TlsTransport, Transport
from archive.errors import AssociationRefused, DestinationUnreachable
from archive.part10.meta import IMPLEMENTATION_CLASS_UID
from tests.authority import Authority
from tests.objects import CT_IMAGE

LIMITS = Limits(idle_seconds=5, max_pdu_bytes=262_144)
CT = Proposal(CT_IMAGE, (EXPLICIT_LITTLE,))
ECHO = Proposal(VERIFICATION, (IMPLICIT_LITTLE,))
Host = Callable[[socket.socket], object]


@contextmanager
def hosted(host: Host) -> Iterator[Destination]:
    """Lend a destination whose one connection ``host`` serves in a thread."""
    listener = socket.create_server(("127.0.0.1", 0))

    def run() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.settimeout(10)
            host(connection)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield Destination("WAREHOUSE", "127.0.0.1", listener.getsockname()[1])
    finally:
        thread.join(10)
        listener.close()
        assert not thread.is_alive()


def request(destination: Destination, *proposals: Proposal, seconds: float = 5.0) -> Association:
    """Open an association as the archive does."""
    return request_association(
        destination,
        proposals or (CT,),
        calling_ae_title="DRIMBOX",
        limits=LIMITS,
        connect_seconds=seconds,
        io_seconds=seconds,
    )


class Acceptor:
    """A host that answers with the archive's own acceptor and notes what was asked."""

    def __init__(self, converse: Callable[[Association], object] = lambda _association: None) -> None:
        self.request: acceptor.Request | None = None
        self._converse = converse
        self._settings = DicomSettings(check_called_ae_title=False, max_pdu_bytes=65_536)

    def __call__(self, connection: socket.socket) -> None:
        self.serve(PlainTransport(connection, io_seconds=5))

    def serve(self, transport: Transport) -> None:
        """Answer on a connection."""
        self.request = acceptor.read_request(transport, artim_seconds=5)
        peer = Peer(self.request.calling_ae_title, self.request.called_ae_title, "127.0.0.1")
        self._converse(acceptor.accept(transport, self.request, peer, self._settings))


def test_the_request_says_who_we_are_and_what_we_want() -> None:
    """AE titles, contexts with their syntaxes, maximum length and implementation are as the standard wants them."""
    host = Acceptor()
    proposals = (CT, Proposal(CT_IMAGE, (IMPLICIT_LITTLE, EXPLICIT_BIG)), ECHO)
    with hosted(host) as destination:
        request(destination, *proposals).transport.close()
    assert host.request is not None
    assert (host.request.calling_ae_title, host.request.called_ae_title) == ("DRIMBOX", "WAREHOUSE")
    assert host.request.max_pdu_bytes == 262_144
    assert host.request.roles == {}
    contexts = host.request.primitive.presentation_context_definition_list
    assert [context.context_id for context in contexts] == [1, 3, 5]
    assert [(str(context.abstract_syntax), tuple(map(str, context.transfer_syntax))) for context in contexts] == [
        (proposal.abstract_syntax, proposal.transfer_syntaxes) for proposal in proposals
    ]
    assert str(host.request.primitive.implementation_class_uid) == IMPLEMENTATION_CLASS_UID


def test_the_association_knows_what_was_agreed() -> None:
    """Accepted contexts, the peer's maximum length, who is at the other end."""
    with hosted(Acceptor()) as destination:
        association = request(destination, CT, Proposal("1.2.840.10008.1.20.1.1", (IMPLICIT_LITTLE,)), ECHO)
        association.transport.close()
    assert association.contexts == {
        1: Context(1, CT_IMAGE, EXPLICIT_LITTLE, True, False),
        5: Context(5, VERIFICATION, IMPLICIT_LITTLE, True, False),
    }
    assert association.peer_max_pdu_bytes == 65_536
    assert association.peer == Peer("DRIMBOX", "WAREHOUSE", "127.0.0.1")


def test_the_scp_role_is_proposed_and_granted() -> None:
    """For a class we want to be SCP of, the role is proposed once, and an acceptor that agrees makes us SCP."""
    host = Acceptor()
    with hosted(host) as destination:
        association = request(destination, Proposal(CT_IMAGE, (EXPLICIT_LITTLE,), as_scp=True), ECHO)
        association.transport.close()
    assert host.request is not None
    assert {str(key): value for key, value in host.request.roles.items()} == {CT_IMAGE: (False, True)}
    assert association.contexts[1] == Context(1, CT_IMAGE, EXPLICIT_LITTLE, False, True)
    assert association.contexts[3].as_scu


def test_a_role_not_granted_is_not_taken() -> None:
    """An acceptor that does not answer the role leaves us SCU, as without the proposal."""
    with hosted(Acceptor()) as destination:
        association = request(destination, Proposal(STORAGE_COMMITMENT, (EXPLICIT_LITTLE,), as_scp=True))
        association.transport.close()
    assert [(context.as_scu, context.as_scp) for context in association.contexts.values()] == [(True, False)]


def test_messages_go_both_ways() -> None:
    """On the new association a request goes out, its response comes in, and the release is answered."""

    def converse(association: Association) -> None:
        message = association.read_message()
        association.send_message(message.context, dimse.response_to(message.command, 0))
        with pytest.raises(Released):
            association.read_message()

    with hosted(Acceptor(converse)) as destination:
        association = request(destination, ECHO)
        echo: dimse.Command = {dimse.COMMAND_FIELD: dimse.C_ECHO_RQ, dimse.MESSAGE_ID: 3, dimse.DATASET_TYPE: 0x0101}
        association.send_message(association.contexts[1], echo)
        answer: Message = association.read_message()
        association.release()
    assert answer.command[dimse.MESSAGE_ID_RESPONDED_TO] == 3


def test_a_full_house_of_contexts_is_proposed() -> None:
    """128 contexts fit one association and are all answered."""
    proposals = [Proposal(f"1.2.3.{number}", (EXPLICIT_LITTLE,)) for number in range(MAX_PROPOSALS)]
    with hosted(Acceptor()) as destination:
        association = request(destination, *proposals)
        association.transport.close()
    assert list(association.contexts) == list(range(1, 256, 2))


@pytest.mark.parametrize("count", [0, MAX_PROPOSALS + 1])
def test_too_few_or_too_many_contexts_are_our_own_mistake(count: int) -> None:
    """No context, or more than the standard has numbers for, is caught before anything is sent."""
    with pytest.raises(AssertionError):
        request_association(
            Destination("X", "127.0.0.1", 1),
            [CT] * count,
            calling_ae_title="DRIMBOX",
            limits=LIMITS,
            connect_seconds=1,
            io_seconds=1,
        )


def unreachable(host: Host, *, seconds: float = 5.0) -> str:
    """Return the reason for which no association came about."""
    with hosted(host) as destination, pytest.raises(DestinationUnreachable) as caught:
        request(destination, seconds=seconds)
    assert caught.value.fields["ae_title"] == "WAREHOUSE"
    return str(caught.value.fields["reason"])


@pytest.mark.parametrize(
    ("refusal", "words"),
    [
        (acceptor.CALLED_UNKNOWN, "rejected: called ae title not recognised"),
        (acceptor.CALLING_UNKNOWN, "rejected: calling ae title not recognised"),
        (acceptor.TOO_MANY, "rejected: local limit exceeded"),
        (acceptor.BUSY, "rejected: temporary congestion"),
    ],
)
def test_a_rejection_is_told_in_words(refusal: acceptor.Refusal, words: str) -> None:
    """The reason the peer gives is the reason the requester hears."""

    def reject(connection: socket.socket) -> None:
        transport = PlainTransport(connection, io_seconds=5)
        acceptor.read_request(transport, artim_seconds=5)
        with pytest.raises(AssociationRefused):
            acceptor.send_refusal(transport, refusal)

    assert unreachable(reject) == words


def answering(raw: bytes) -> Host:
    """Return a host that answers any request with these bytes and closes when the peer does."""

    def host(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(raw)
        connection.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionResetError):
            while connection.recv(65536):
                pass

    return host


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"\x07\0\0\0\0\x04\0\0\0\0", "aborted by the peer"),
        (b"", "The peer closed the connection (an association answer)"),
        (b"\x02\0\0\0", "The peer closed the connection (an association answer)"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "A PDU is malformed: no answer to an association request"),
        (struct.pack(">BBL", 2, 0, 1 << 30), "A PDU is malformed: no answer to an association request"),
        (struct.pack(">BBL", 2, 0, 8) + bytes(8), "A PDU is malformed: the association answer cannot be parsed"),
        (struct.pack(">BBL", 3, 0, 4) + b"\0\1\x09\x09", "A PDU is malformed: the association answer cannot be parsed"),
    ],
    ids=["abort", "nothing", "half a header", "HTTP", "too long", "garbage", "unknown reason"],
)
def test_an_answer_that_is_none_is_unreachable(raw: bytes, words: str) -> None:
    """Aborts, closed connections, other protocols and nonsense all end as DestinationUnreachable, in words."""
    assert unreachable(answering(raw)) == words


class Paper:
    """A transport that keeps what is sent and has nothing to read."""

    def __init__(self) -> None:
        self.raw = b""

    def send(self, buffers: Sequence[bytes | memoryview], *, what: str) -> None:
        """Keep the bytes."""
        self.raw += b"".join(buffers)


def written_acceptance() -> bytes:
    """Return what an acceptor answers to a proposal of two contexts, one in another role."""
    proposals = (Proposal(CT_IMAGE, (EXPLICIT_LITTLE,), as_scp=True), ECHO)
    raw = requestor._request(Destination("WAREHOUSE", "", 0), proposals, "DRIMBOX", LIMITS)
    paper = Paper()
    peer = Peer("DRIMBOX", "WAREHOUSE", "127.0.0.1")
    acceptor.accept(paper, acceptor.parse_request(raw), peer, DicomSettings())  # type: ignore[arg-type]
    return paper.raw


@pytest.mark.filterwarnings("ignore:(Invalid value for VR|The value length)")  # pydicom's, of made-up UIDs
@settings(max_examples=150, deadline=None)
@given(st.data())
def test_any_answer_is_an_association_or_unreachable(data: st.DataObject) -> None:
    """Whatever a peer answers, noise or an acceptance with some bytes changed, nothing else is raised."""
    if data.draw(st.booleans()):
        raw = bytearray(written_acceptance())
        for position in data.draw(st.lists(st.integers(6, len(raw) - 1), max_size=3)):
            raw[position] = data.draw(st.integers(0, 255))
    else:
        body = data.draw(st.binary(max_size=120))
        raw = bytearray(struct.pack(">BBL", data.draw(st.sampled_from((2, 3))), 0, len(body)) + body)
    with hosted(answering(bytes(raw))) as destination:
        try:
            request(destination, CT, ECHO).transport.close()
        except DestinationUnreachable as exc:
            assert exc.message.startswith("WAREHOUSE could not be reached: ")


def test_a_silent_peer_is_left_in_time() -> None:
    """A peer that accepts the connection and says nothing is given up after the I/O time."""
    done = threading.Event()

    def silent(connection: socket.socket) -> None:
        connection.recv(65536)
        done.wait(10)

    started = time.monotonic()
    with hosted(silent) as destination:
        with pytest.raises(DestinationUnreachable, match="did not go on"):
            request(destination, seconds=0.3)
        assert time.monotonic() - started < 4
        done.set()


def test_a_closed_port_is_unreachable() -> None:
    """A refused connection is told as such."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(DestinationUnreachable, match="Connection refused"):
        request(Destination("WAREHOUSE", "127.0.0.1", port))


def test_a_host_nobody_knows_is_unreachable() -> None:
    """A name that does not resolve is told as such, and not raised as another error."""
    with pytest.raises(DestinationUnreachable):
        request(Destination("WAREHOUSE", "no-such-host.invalid", 104))


def test_contexts_nobody_proposed_are_no_agreement() -> None:
    """An acceptance that names other identifiers, or a syntax that was not proposed, gives no context."""

    class Odd(Acceptor):
        def serve(self, transport: Transport) -> None:
            """Answer as if other contexts had been proposed."""
            asked = acceptor.read_request(transport, artim_seconds=5)
            contexts = asked.primitive.presentation_context_definition_list
            contexts[0].transfer_syntax = []
            contexts[0].add_transfer_syntax(EXPLICIT_BIG)
            contexts[1].context_id = 201
            acceptor.accept(transport, asked, Peer("A", "B", "127.0.0.1"), self._settings)

    with hosted(Odd()) as destination:
        association = request(destination, CT, CT, CT)
        association.transport.close()
    assert list(association.contexts) == [5]


def _leaves_nothing_open(sockets: Sequence[socket.socket]) -> bool:
    return all(connection.fileno() == -1 for connection in sockets)


@pytest.mark.parametrize("raw", [b"\x07\0\0\0\0\x04\0\0\0\0", b"garbage!", b""])
def test_what_did_not_become_an_association_is_closed(raw: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """No connection stays open behind an error."""
    opened: list[socket.socket] = []
    create = socket.create_connection

    def noting(address: tuple[str, int], timeout: float) -> socket.socket:
        opened.append(create(address, timeout))
        return opened[-1]

    monkeypatch.setattr(socket, "create_connection", noting)
    unreachable(answering(raw))
    assert len(opened) == 1
    assert _leaves_nothing_open(opened)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """A throw-away certificate authority."""
    return Authority(tmp_path / "pki")


def secured(host: Acceptor, authority: Authority) -> Host:
    """Return a host that speaks TLS first."""
    certificate, key, _ = authority.issue("warehouse")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)

    def serve(connection: socket.socket) -> None:
        try:
            tls = context.wrap_socket(connection, server_side=True)
        except OSError:
            return
        with tls:
            host.serve(TlsTransport(tls, io_seconds=5))

    return serve


def trusting(ca: Path) -> ssl.SSLContext:
    """Return the context of a client that trusts one authority and looks at no name."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(ca)
    return context


def test_an_association_over_tls(authority: Authority) -> None:
    """A destination with TLS is spoken to over TLS."""
    host = Acceptor()
    with hosted(secured(host, authority)) as plain:
        destination = Destination(plain.ae_title, plain.host, plain.port, trusting(authority.ca))
        association = request(destination)
        association.transport.close()
    assert isinstance(association.transport, TlsTransport)
    assert list(association.contexts) == [1]


def test_a_certificate_we_do_not_trust_is_unreachable(authority: Authority, tmp_path: Path) -> None:
    """A peer whose certificate another authority signed gets nothing of us."""
    host, stranger = Acceptor(), Authority(tmp_path / "stranger")
    with hosted(secured(host, authority)) as plain:
        destination = Destination(plain.ae_title, plain.host, plain.port, trusting(stranger.ca))
        with pytest.raises(DestinationUnreachable):
            request(destination)
    assert host.request is None


def test_a_peer_that_does_not_speak_tls_is_unreachable(authority: Authority) -> None:
    """A plain DICOM port behind a TLS destination ends in time."""
    with hosted(answering(b"\x07\0\0\0\0\x04\0\0\0\0")) as plain:
        destination = Destination(plain.ae_title, plain.host, plain.port, trusting(authority.ca))
        with pytest.raises(DestinationUnreachable):
            request(destination)
