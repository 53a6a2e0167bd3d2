"""drimbox echo, against a real peer and against peers that misbehave."""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from pynetdicom import AE, evt
from pynetdicom.sop_class import CTImageStorage, Verification  # type: ignore[attr-defined]
from pynetdicom.transport import ThreadedAssociationServer

from archive.cli.echo import echo
from archive.dimse import command as dimse
from archive.errors import (
    ArchiveError,
    AssociationRefused,
    DestinationUnreachable,
    InvalidAETitle,
    PduError,
    PeerAborted,
    PeerClosed,
    PeerTimeout,
    ProtocolError,
)
from tests.unit.cli.conftest import Drimbox

ACCEPTED, RELEASED = 0x02, 0x06
Answer = Callable[[bytes], bytes]


def pdu(kind: int, body: bytes) -> bytes:
    """Return a PDU."""
    return struct.pack(">BBL", kind, 0, len(body)) + body


def acceptance(result: int = 0) -> bytes:
    """Return an A-ASSOCIATE-AC with one presentation context of this result, behind another item."""
    context = struct.pack(">BBHBBBB", 0x21, 0, 4, 1, 0, result, 0)
    application = struct.pack(">BBH", 0x10, 0, 21) + b"1.2.840.10008.3.1.1.1"
    return pdu(ACCEPTED, bytes(68) + application + context)


def fragments(command: bytes, *, size: int) -> bytes:
    """Return a command message in presentation data values of ``size`` bytes, all in one PDU."""
    parts = [command[start : start + size] for start in range(0, len(command), size)]
    controls = [0x01] * (len(parts) - 1) + [0x03]
    pairs = zip(parts, controls, strict=True)
    values = [struct.pack(">LBB", len(part) + 2, 1, control) + part for part, control in pairs]
    return pdu(0x04, b"".join(values))


def response(status: int = 0) -> bytes:
    """Return the command set of a C-ECHO-RSP."""
    return dimse.encode(
        {
            dimse.COMMAND_FIELD: dimse.C_ECHO_RSP,
            dimse.MESSAGE_ID_RESPONDED_TO: 1,
            dimse.DATASET_TYPE: dimse.NO_DATASET,
            dimse.STATUS: status,
        }
    )


@contextmanager
def scripted(*answers: bytes | None) -> Iterator[tuple[tuple[str, int], list[bytes]]]:
    """Run a peer that answers each PDU with the next of ``answers``, then closes; None stays silent."""
    listener = socket.create_server(("127.0.0.1", 0))
    heard: list[bytes] = []
    over = threading.Event()

    def speak() -> None:
        connection, _ = listener.accept()
        with connection:
            for answer in answers:
                heard.append(connection.recv(4096))
                if answer is None:
                    over.wait(10)
                    return
                connection.sendall(answer)

    peer = threading.Thread(target=speak)
    peer.start()
    try:
        yield listener.getsockname(), heard
    finally:
        over.set()
        peer.join(10)
        listener.close()


def failure(*answers: bytes | None, seconds: float = 5) -> ArchiveError:
    """Return the error a C-ECHO to a scripted peer ends with."""
    with scripted(*answers) as (address, _), pytest.raises(ArchiveError) as caught:
        echo(address, called="PEER", calling="ME", seconds=seconds)
    return caught.value


def start(entity: AE) -> ThreadedAssociationServer:
    """Start an SCP on a free port."""
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_ECHO, lambda _: 0x0000)])
    assert server is not None
    return server


def port_of(server: ThreadedAssociationServer) -> int:
    """Return the port an SCP listens on."""
    assert server.socket is not None
    return int(server.socket.getsockname()[1])


@pytest.fixture(scope="module")
def peer() -> Iterator[int]:
    """A pynetdicom SCP called PEER that knows only GOOD; give its port."""
    entity = AE("PEER")
    entity.add_supported_context(Verification)
    entity.require_called_aet = True
    entity.require_calling_aet = ["GOOD", "DRIMBOX-ECHO"]
    server = start(entity)
    yield port_of(server)
    server.shutdown()


class TestRealPeer:
    """Against pynetdicom."""

    def test_answer_is_timed(self, peer: int) -> None:
        """A C-ECHO that succeeds returns how long it took."""
        assert 0 < echo(("127.0.0.1", peer), called="PEER", calling="GOOD") < 5

    def test_people_get_a_line(self, drimbox: Drimbox, peer: int) -> None:
        """The answer says who answered where, and exits with 0."""
        result = drimbox("echo", "--host", "127.0.0.1", "--port", str(peer), "--called", "PEER")
        assert result.exit_code == 0
        assert result.stdout.startswith(f"PEER at 127.0.0.1:{peer} answered in ") and result.stdout.endswith(" ms\n")

    @pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
    def test_health_check_needs_no_option(self, drimbox: Drimbox, peer: int, host: str) -> None:
        """Host, port and AE title come from the configuration; an archive that listens everywhere is called locally."""
        env = {"DRIMBOX_DICOM__HOST": host, "DRIMBOX_DICOM__PORT": str(peer), "DRIMBOX_DICOM__AE_TITLE": "PEER"}
        result = drimbox("echo", "--json", env=env)
        told = json.loads(result.stdout)
        assert result.exit_code == 0 and told.pop("latency_ms") > 0
        assert told == {"host": "127.0.0.1", "port": peer, "called": "PEER"}

    @pytest.mark.parametrize(
        ("called", "calling", "words"),
        [("OTHER", "GOOD", "called AE title not recognized"), ("PEER", "BAD", "calling AE title not recognized")],
    )
    def test_rejection_says_why(self, peer: int, called: str, calling: str, words: str) -> None:
        """A rejected association is an error with the standard's reason in words."""
        with pytest.raises(AssociationRefused, match=words):
            echo(("127.0.0.1", peer), called=called, calling=calling)

    def test_rejection_exits_with_its_code(self, drimbox: Drimbox, peer: int) -> None:
        """The exit code of a rejection is that of a protocol error, and standard output stays empty."""
        result = drimbox("echo", "--port", str(peer), "--called", "PEER", "--ae-title", "BAD")
        assert result.exit_code == 18 and result.stdout == ""
        assert "calling AE title not recognized" in result.stderr

    def test_peer_without_verification(self) -> None:
        """A peer that accepts the association but not the Verification SOP class refuses the C-ECHO."""
        entity = AE("PEER")
        entity.add_supported_context(CTImageStorage)
        server = start(entity)
        try:
            with pytest.raises(AssociationRefused, match="Verification was not accepted"):
                echo(("127.0.0.1", port_of(server)), called="PEER", calling="ME")
        finally:
            server.shutdown()


class TestScriptedPeer:
    """Against a peer that says exactly what a test wants."""

    def test_request_is_what_the_standard_says(self) -> None:
        """The association request names both AE titles, padded; the release follows the answer."""
        with scripted(acceptance(), fragments(response(), size=4096), pdu(RELEASED, bytes(4))) as (address, heard):
            echo(address, called="PEER", calling="ME")
        request, data, release = heard
        assert request[0] == 0x01 and request[6:8] == b"\0\1"
        assert request[10:42] == b"PEER".ljust(16) + b"ME".ljust(16)
        assert data[0] == 0x04 and data[11] == 0x03
        assert dimse.decode(data[12:])[dimse.COMMAND_FIELD] == dimse.C_ECHO_RQ
        assert release == pdu(0x05, bytes(4))

    @pytest.mark.parametrize("size", [1, 7, 4096])
    def test_answer_in_pieces_is_put_together(self, size: int) -> None:
        """A response cut into many presentation data values is read whole."""
        with scripted(acceptance(), fragments(response(), size=size), pdu(RELEASED, bytes(4))) as (address, _):
            assert echo(address, called="PEER", calling="ME") > 0

    def test_failure_status_is_an_error(self) -> None:
        """A status other than success is told in hexadecimal."""
        error = failure(acceptance(), fragments(response(0x0122), size=4096))
        assert isinstance(error, ProtocolError) and "status 0x0122" in error.message

    @pytest.mark.parametrize(
        ("answers", "kind"),
        [
            ((b"",), PeerClosed),
            ((acceptance()[:40],), PeerClosed),
            ((pdu(0x07, bytes(4)),), PeerAborted),
            ((pdu(0x03, bytes((0, 1, 3, 2))),), AssociationRefused),
            ((pdu(0x03, b""),), ProtocolError),
            ((acceptance(result=3),), AssociationRefused),
            ((pdu(ACCEPTED, b""),), AssociationRefused),
            ((acceptance(), pdu(0x07, bytes(4))), PeerAborted),
            ((acceptance(), pdu(RELEASED, bytes(4))), ProtocolError),
            ((acceptance(), fragments(b"rubbish!!", size=64)), PduError),
            ((acceptance(), fragments(response(), size=4096), pdu(0x07, bytes(4))), PeerAborted),
            ((b"HTTP/1.1 400 Bad Request\r\n\r\n",), ProtocolError),
            ((struct.pack(">BBL", ACCEPTED, 0, 0xFFFFFFFF),), ProtocolError),
        ],
    )
    def test_misbehaviour_is_an_error_of_ours(self, answers: tuple[bytes, ...], kind: type[ArchiveError]) -> None:
        """Whatever a peer answers, the C-ECHO ends with an error that says what happened."""
        assert type(failure(*answers)) is kind

    def test_rejection_that_the_standard_does_not_know(self) -> None:
        """A reason without words is told in numbers."""
        assert "source 9, reason 8" in failure(pdu(0x03, bytes((0, 1, 9, 8)))).message

    def test_silence_ends_after_its_time(self) -> None:
        """A peer that says nothing is given up after the time to wait."""
        error = failure(None, seconds=0.2)
        assert isinstance(error, PeerTimeout) and "0.2 s" in error.message


class TestUnreachable:
    """Nobody there."""

    def free_port(self) -> int:
        """Return a port nobody listens on."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            return int(listener.getsockname()[1])

    def test_closed_port_is_unreachable(self, drimbox: Drimbox) -> None:
        """An archive that does not run is unreachable: exit code 16, which a health check takes as ill."""
        result = drimbox("echo", "--port", str(self.free_port()))
        assert result.exit_code == DestinationUnreachable.exit_code == 16
        assert "DRIMBOX could not be reached: Connection refused." in result.stderr

    def test_unknown_host_is_unreachable(self) -> None:
        """A name that does not resolve is an error of ours."""
        with pytest.raises(DestinationUnreachable):
            echo(("host.invalid", 104), called="PEER", calling="ME")

    @pytest.mark.parametrize(("called", "calling"), [("A\\B", "ME"), ("PEER", "SEVENTEEN_LETTERS")])
    def test_wrong_ae_title_calls_nobody(self, called: str, calling: str) -> None:
        """An AE title that is none is refused before a connection is made."""
        with pytest.raises(InvalidAETitle):
            echo(("127.0.0.1", self.free_port()), called=called, calling=calling)
