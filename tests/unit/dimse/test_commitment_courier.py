"""Storage commitment reports on associations of the archive's own: role, delivery, and peers that behave oddly."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import pytest

from archive.dimse import command as dimse, contexts
from archive.dimse.association import Association, Context
from archive.dimse.commitment import ReportCourier
from archive.dimse.references import encode_report
from archive.dimse.requestor import Destination, Proposal
from archive.errors import ArchiveError, DestinationUnreachable, PduError, PeerClosed, UnknownDestination
from archive.services.commitment import CommitmentReport, Reference
from tests.objects import CT_IMAGE
from tests.unit.dimse.wire import association_pair, p_data, pdv, read_message, read_pdu

CONTEXT = Context(1, contexts.STORAGE_COMMITMENT, contexts.EXPLICIT_LITTLE, False, True)
RELEASE = b"\x05\x00\x00\x00\x00\x04\x00\x00\x00\x00"
RELEASED = b"\x06\x00\x00\x00\x00\x04\x00\x00\x00\x00"
ECHO: dimse.Command = {dimse.COMMAND_FIELD: dimse.C_ECHO_RQ, dimse.MESSAGE_ID: 9, dimse.DATASET_TYPE: dimse.NO_DATASET}


class Line(NamedTuple):
    """The association the courier opens, and the peer at its end."""

    association: Association
    peer: socket.socket


@pytest.fixture
def line() -> Iterator[Line]:
    """An association on which the peer accepted storage commitment and our role."""
    with association_pair() as (association, peer):
        association.contexts = {1: CONTEXT}
        yield Line(association, peer)


def message(command: dimse.Command) -> bytes:
    """Return a message without a data set."""
    return p_data(pdv(dimse.encode(command), command=True))


REPORT = CommitmentReport("1.9", "DRIMBOX", (Reference(CT_IMAGE, "1.2.1"), Reference(CT_IMAGE, "1.2.2")), ())
Behaviour = Callable[[socket.socket], None]


def _courier(association: Association, seen: list[Proposal] | None = None) -> ReportCourier:
    def connect(destination: Destination, proposals: Sequence[Proposal]) -> Association:
        assert destination.ae_title == "MODALITY"
        if seen is not None:
            seen.extend(proposals)
        return association

    return ReportCourier(connect, {"MODALITY": Destination("MODALITY", "192.0.2.1", 104)}.get)


def _confirm(peer: socket.socket, status: int = 0) -> None:
    """Read a report, confirm it, and take the release."""
    command = dimse.decode(read_message(peer)[0])
    assert read_message(peer)[1] == encode_report(REPORT, contexts.EXPLICIT_LITTLE)
    peer.sendall(message(dimse.response_to(command, status)))
    assert read_pdu(peer)[0] == 0x05
    peer.sendall(RELEASED)


def _deliver(line: Line, behaviour: Behaviour, courier: ReportCourier | None = None) -> None:
    """Deliver a report to a peer that behaves so."""
    failures: list[BaseException] = []

    def run() -> None:
        try:
            behaviour(line.peer)
        except BaseException as exc:
            failures.append(exc)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        (courier or _courier(line.association)).deliver("MODALITY", REPORT)
    finally:
        thread.join(10)
        assert not failures, failures


def test_a_courier_proposes_to_be_scp_and_delivers(line: Line) -> None:
    """One context, in the role of SCP as role selection allows; then report, confirmation, release."""
    seen: list[Proposal] = []
    _deliver(line, _confirm, _courier(line.association, seen))
    (proposal,) = seen
    assert (proposal.abstract_syntax, proposal.as_scp) == (contexts.STORAGE_COMMITMENT, True)
    assert line.peer.recv(1) == b""


def test_a_peer_that_refuses_the_report_was_not_reached(line: Line) -> None:
    """A failure status is no delivery: the reporter tries again."""
    with pytest.raises(DestinationUnreachable, match="0110"):
        _deliver(line, lambda peer: _confirm(peer, 0x0110))


def test_a_peer_that_hangs_up_after_confirming_has_its_report(line: Line) -> None:
    """A confirmation counts even when the peer is gone before the release."""

    def confirm_and_go(peer: socket.socket) -> None:
        command = dimse.decode(read_message(peer)[0])
        read_message(peer)
        peer.sendall(message(dimse.response_to(command, 0)))
        peer.shutdown(socket.SHUT_RDWR)

    _deliver(line, confirm_and_go)


def test_a_peer_that_does_not_take_the_context_was_not_reached(line: Line) -> None:
    """An association without the commitment class is aborted, not left open."""
    line.association.contexts = {}
    with pytest.raises(DestinationUnreachable, match="does not accept"):
        _deliver(line, lambda peer: None)
    assert read_pdu(line.peer)[0] == 0x07


def _release(peer: socket.socket) -> None:
    read_message(peer), read_message(peer)
    peer.sendall(RELEASE)


def _say_something_else(peer: socket.socket) -> None:
    read_message(peer), read_message(peer)
    peer.sendall(message(ECHO))


def _hang_up(peer: socket.socket) -> None:
    read_message(peer), read_message(peer)
    peer.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize(
    ("behaviour", "error"),
    [(_release, DestinationUnreachable), (_say_something_else, PduError), (_hang_up, PeerClosed)],
)
def test_anything_but_a_confirmation_is_a_failed_delivery(
    line: Line, behaviour: Behaviour, error: type[ArchiveError]
) -> None:
    """A release, another message, a closed connection: an error of ours, and the association is gone."""
    with pytest.raises(error):
        _deliver(line, behaviour)


def test_a_courier_knows_whom_it_can_reach(line: Line) -> None:
    """A peer without an address is not known, and delivering to it says so."""
    courier = _courier(line.association)
    assert courier.knows("MODALITY")
    assert not courier.knows("STRANGER")
    with pytest.raises(UnknownDestination, match="STRANGER"):
        courier.deliver("STRANGER", REPORT)


def test_a_courier_can_be_interrupted(line: Line) -> None:
    """A peer that never confirms does not hold up the end of the process."""
    courier = _courier(line.association)

    def interrupt(peer: socket.socket) -> None:
        read_message(peer), read_message(peer)
        courier.interrupt()

    with pytest.raises(PeerClosed):
        _deliver(line, interrupt, courier)
    courier.interrupt()
