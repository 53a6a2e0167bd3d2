"""Storage commitment on the wire: requests, reports on the same and on a new association, whatever comes between."""

from __future__ import annotations

import gc
import socket
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import pytest

from archive.dimse import command as dimse, contexts
from archive.dimse.association import Association, Context, Released
from archive.dimse.commitment import CommitmentHandler, is_confirmation
from archive.dimse.echo import handle_echo
from archive.dimse.references import encode_report
from archive.errors import IndexUnavailable, PduError
from archive.index import commitments as table
from archive.index.records import Commitment
from archive.services.commitment import (
    GRACE,
    CommitmentReport,
    CommitmentReporter,
    CommitmentRequest,
    Commitments,
    IsInterrupted,
    Reference,
)
from tests.objects import CT_IMAGE, ROOT, ct_dataset
from tests.unit.dimse.wire import CT, association_pair, p_data, pdv, read_message, read_pdu
from tests.unit.services.shelf import Shelf, open_shelf

CONTEXT = Context(1, contexts.STORAGE_COMMITMENT, contexts.EXPLICIT_LITTLE, False, True)
STORED = tuple(Reference(CT_IMAGE, f"{ROOT}.1.1.{number}") for number in (1, 2))
UNKNOWN = Reference(CT_IMAGE, "1.2.3.4")
Changes = Mapping[str, int | str]
NONE: Changes = MappingProxyType({})
RELEASE = b"\x05\x00\x00\x00\x00\x04\x00\x00\x00\x00"
ECHO: dimse.Command = {dimse.COMMAND_FIELD: dimse.C_ECHO_RQ, dimse.MESSAGE_ID: 9, dimse.DATASET_TYPE: dimse.NO_DATASET}


@dataclass
class Post:
    """A courier that notes what it is given."""

    known: set[str] = field(default_factory=set)
    delivered: list[CommitmentReport] = field(default_factory=list)

    def knows(self, ae_title: str) -> bool:
        return ae_title in self.known

    def deliver(self, ae_title: str, report: CommitmentReport) -> None:
        self.delivered.append(report)

    def interrupt(self) -> None:
        return


class Message(NamedTuple):
    """One message as the peer reads it; ``raw`` is its data set."""

    command: dimse.Command
    raw: bytes

    @property
    def field(self) -> int:
        """Return the command field."""
        return dimse.number(self.command, dimse.COMMAND_FIELD)

    @property
    def status(self) -> int:
        """Return the status."""
        return dimse.number(self.command, dimse.STATUS)


@dataclass
class Line:
    """An association, its peer, the handler between them and what it keeps."""

    association: Association
    peer: socket.socket
    shelf: Shelf
    post: Post
    commitments: Commitments
    elsewhere: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.reporter = CommitmentReporter(self.commitments, self.post)
        elsewhere = self.elsewhere
        self.handler = CommitmentHandler(self.commitments, self.reporter, reports_here=lambda ae: ae not in elsewhere)

    def serve(self, count: int = 1) -> None:
        """Read and handle messages, as the server does."""
        handlers = {
            dimse.N_ACTION_RQ: self.handler.handle_action,
            dimse.N_EVENT_REPORT_RSP: self.handler.handle_report_response,
            dimse.C_ECHO_RQ: handle_echo,
        }
        for _ in range(count):
            message = self.association.read_message()
            handlers[dimse.number(message.command, dimse.COMMAND_FIELD)](self.association, message)

    def ask(
        self, *references: Reference, uid: str = "1.9", changes: Mapping[str, int | str] = MappingProxyType({})
    ) -> None:
        """Send an N-ACTION request from the peer; ``changes`` are made to its command."""
        raw = encode_report(CommitmentReport(uid, "", references, ()), contexts.EXPLICIT_LITTLE)
        self.peer.sendall(action(raw, changes))

    def read(self) -> Message:
        """Read one message at the peer's end."""
        raw, _ = read_message(self.peer)
        command = dimse.decode(raw)
        has_dataset = command[dimse.DATASET_TYPE] != dimse.NO_DATASET
        return Message(command, read_message(self.peer)[1] if has_dataset else b"")

    def confirm(self, report: Message, *, status: int = 0) -> None:
        """Answer an N-EVENT-REPORT from the peer."""
        self.peer.sendall(message(dimse.response_to(report.command, status)))

    def rows(self) -> list[Commitment]:
        """Return everything the index keeps of commitments."""
        with self.shelf.committer.read() as connection:
            return [row for number in range(1, 10) if (row := table.find(connection, number)) is not None]


def message(command: dimse.Command) -> bytes:
    """Return a message without a data set."""
    return p_data(pdv(dimse.encode(command), command=True))


def action(raw: bytes, changes: Changes = NONE) -> bytes:
    """Return an N-ACTION request; ``changes`` are element names of the command in upper case."""
    command: dimse.Command = {
        dimse.COMMAND_FIELD: dimse.N_ACTION_RQ,
        dimse.MESSAGE_ID: 5,
        dimse.DATASET_TYPE: dimse.HAS_DATASET if raw else dimse.NO_DATASET,
        dimse.REQUESTED_SOP_CLASS_UID: contexts.STORAGE_COMMITMENT,
        dimse.REQUESTED_SOP_INSTANCE_UID: contexts.STORAGE_COMMITMENT_INSTANCE,
        dimse.ACTION_TYPE_ID: 1,
    }
    command |= {getattr(dimse, name): value for name, value in changes.items()}
    head = p_data(pdv(dimse.encode(command), command=True))
    parts = [raw[start : start + 60_000] for start in range(0, len(raw), 60_000)]
    return head + b"".join(p_data(pdv(part, last=part is parts[-1])) for part in parts)


@pytest.fixture
def line(tmp_path: Path) -> Iterator[Line]:
    """An association for storage commitment with two CT images stored; the peer has no address."""
    with open_shelf(tmp_path) as shelf, association_pair() as (association, peer):
        for number in (1, 2):
            shelf.put(ct_dataset(number))
        association.contexts = {1: CONTEXT}
        yield Line(association, peer, shelf, Post(), Commitments(shelf.retrieve, shelf.committer, shelf.clock))


# ---- requests --------------------------------------------------------------------------------------------------------


def test_a_request_is_acknowledged_and_reported_on_its_association(line: Line) -> None:
    """First the N-ACTION response, then the N-EVENT-REPORT of type 1 with everything that was asked."""
    line.ask(*STORED)
    line.serve()
    response, report = line.read(), line.read()
    assert (response.field, response.status) == (dimse.N_ACTION_RSP, 0x0000)
    assert response.command[dimse.ACTION_TYPE_ID] == 1
    assert response.command[dimse.AFFECTED_SOP_CLASS_UID] == contexts.STORAGE_COMMITMENT
    assert response.command[dimse.AFFECTED_SOP_INSTANCE_UID] == contexts.STORAGE_COMMITMENT_INSTANCE
    assert (report.field, report.command[dimse.EVENT_TYPE_ID]) == (dimse.N_EVENT_REPORT_RQ, 1)
    assert report.command[dimse.AFFECTED_SOP_INSTANCE_UID] == contexts.STORAGE_COMMITMENT_INSTANCE
    assert report.raw == encode_report(CommitmentReport("1.9", "DRIMBOX", STORED, ()), contexts.EXPLICIT_LITTLE)


def test_failures_make_a_report_of_type_2(line: Line) -> None:
    """An object the archive does not have is listed as failed, the others as committed."""
    line.ask(STORED[0], UNKNOWN)
    line.serve()
    _, report = line.read(), line.read()
    expected = CommitmentReport("1.9", "DRIMBOX", STORED[:1], ((UNKNOWN, 0x0112),))
    assert report.command[dimse.EVENT_TYPE_ID] == 2
    assert report.raw == encode_report(expected, contexts.EXPLICIT_LITTLE)


def test_a_confirmed_report_closes_the_request(line: Line) -> None:
    """The response to the report, dispatched like any message, is what closes the request."""
    line.ask(*STORED)
    line.serve()
    _, report = line.read(), line.read()
    assert line.rows()[0].reported_at is None
    line.confirm(report)
    line.serve()
    assert line.rows()[0].reported_at is not None


def test_a_refused_report_stays_for_the_reporter(line: Line) -> None:
    """A peer that answers with a failure is reported to again, after the time of grace."""
    line.ask(*STORED)
    line.serve()
    _, report = line.read(), line.read()
    line.confirm(report, status=0x0110)
    line.serve()
    (row,) = line.rows()
    assert row.reported_at is None
    assert row.next_attempt_at == line.shelf.clock() + GRACE


def test_a_request_is_kept_before_it_is_acknowledged(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the index is down the peer hears so (0213) and keeps its objects; it never hears success."""

    def fail(*_: object, **__: object) -> None:
        raise IndexUnavailable(reason="stopped")

    monkeypatch.setattr(line.shelf.committer, "record_synced", fail)
    line.ask(*STORED)
    line.serve()
    assert line.read().status == 0x0213
    assert not line.association.has_message_waiting()


def test_a_peer_that_wants_reports_elsewhere_gets_none_here(line: Line) -> None:
    """With commitment_same_association off, the report is the reporter's at once."""
    line.elsewhere.add("MODALITY")
    line.ask(*STORED)
    line.serve()
    assert line.read().status == 0x0000
    assert [row.transaction_uid for row in line.commitments.due()] == ["1.9"]


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"REQUESTED_SOP_CLASS_UID": contexts.VERIFICATION}, 0x0118),
        ({"REQUESTED_SOP_INSTANCE_UID": "1.2.3"}, 0x0112),
        ({"ACTION_TYPE_ID": 2}, 0x0123),
    ],
)
def test_other_actions_are_refused_and_the_association_goes_on(
    line: Line, changes: dict[str, int | str], status: int
) -> None:
    """Another class, instance or action: the standard's status, nothing kept; the next request is served."""
    line.ask(*STORED, changes=changes)
    line.ask(*STORED, uid="1.10")
    line.serve(2)
    refusal, success = line.read(), line.read()
    assert (refusal.status, success.status) == (status, 0x0000)
    assert refusal.command[dimse.ERROR_COMMENT]
    assert [row.transaction_uid for row in line.rows()] == ["1.10"]


@pytest.mark.parametrize("raw", [b"", b"garbage!" * 5])
def test_a_request_that_cannot_be_read_is_refused(line: Line, raw: bytes) -> None:
    """No data set, or one that is none: invalid argument, with the reason."""
    line.peer.sendall(action(raw))
    line.serve()
    response = line.read()
    assert response.status == 0x0115
    assert response.command[dimse.ERROR_COMMENT]
    assert line.rows() == []


def test_an_action_on_another_context_breaks_the_association(line: Line) -> None:
    """On a storage context there is no N-ACTION: the peer broke the protocol."""
    line.association.contexts = {1: Context(1, CT, contexts.EXPLICIT_LITTLE, False, True)}
    line.ask(*STORED)
    with pytest.raises(PduError, match="not storage commitment"):
        line.serve()


def test_a_request_without_end_breaks_the_association(line: Line) -> None:
    """Sixteen mebibytes are a hundred thousand objects; a peer that sends more is cut off, not collected."""
    sending = threading.Thread(target=_send_quietly, args=(line.peer, action(bytes(17 * 1024 * 1024))))
    sending.start()
    with pytest.raises(PduError, match="more than"):
        line.serve()
    line.association.abort()
    sending.join(10)


def _send_quietly(peer: socket.socket, data: bytes) -> None:
    try:
        peer.sendall(data)
    except OSError:
        return


# ---- what comes between ----------------------------------------------------------------------------------------------


def test_another_request_between_report_and_confirmation_is_served(line: Line) -> None:
    """An echo sent before the peer read the report is answered; the confirmation still closes the request."""
    line.ask(*STORED)
    line.serve()
    line.peer.sendall(message(ECHO))
    line.serve()
    _, report, echo = line.read(), line.read(), line.read()
    assert echo.field == dimse.C_ECHO_RSP
    line.confirm(report)
    line.serve()
    assert line.rows()[0].reported_at is not None


def test_requests_in_a_row_are_reported_one_after_the_other(line: Line) -> None:
    """Three requests sent without waiting: three responses; each report waits for the confirmation of the last."""
    for number in (1, 2, 3):
        line.ask(*STORED, uid=f"1.{number}")
    line.serve(3)
    assert [line.read().field for _ in range(3)] == [dimse.N_ACTION_RSP] * 3
    for number in (1, 2, 3):
        report = line.read()
        assert (report.field, report.command[dimse.MESSAGE_ID]) == (dimse.N_EVENT_REPORT_RQ, number)
        assert f"1.{number}\0".encode() in report.raw
        assert not _has_bytes(line.peer)
        line.confirm(report)
        line.serve()
    assert all(row.reported_at is not None for row in line.rows())


def _has_bytes(peer: socket.socket) -> bool:
    peer.setblocking(False)
    try:
        return bool(peer.recv(1, socket.MSG_PEEK))
    except BlockingIOError:
        return False
    finally:
        peer.settimeout(10)


def test_a_peer_that_goes_on_is_reported_to_elsewhere(line: Line) -> None:
    """When something waits on the association and the peer has an address, the reporter takes over at once."""
    line.post.known.add("MODALITY")
    line.ask(*STORED)
    line.peer.sendall(message(ECHO))
    line.serve(2)
    assert [line.read().field for _ in range(2)] == [dimse.N_ACTION_RSP, dimse.C_ECHO_RSP]
    assert [row.transaction_uid for row in line.commitments.due()] == ["1.9"]


def test_what_was_handed_over_is_not_reported_here_too(line: Line) -> None:
    """The next request of the same association is reported there; the first one is the reporter's alone."""
    line.post.known.add("MODALITY")
    line.ask(*STORED, uid="1.1")
    line.peer.sendall(message(ECHO))
    line.serve(2)
    line.ask(*STORED, uid="1.2")
    line.serve()
    *_, report = [line.read() for _ in range(4)]
    assert b"1.2\0" in report.raw
    line.confirm(report)
    line.serve()
    assert [row.transaction_uid for row in line.commitments.due()] == ["1.1"]
    assert not _has_bytes(line.peer)


def test_a_peer_that_speaks_up_at_the_last_moment_is_heard(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes that come while the last object is read keep the report back as well."""
    original = Commitments.verify

    def verify(self: Commitments, request: CommitmentRequest, *, is_interrupted: IsInterrupted) -> CommitmentReport:
        report = original(self, request, is_interrupted=is_interrupted)
        line.peer.sendall(RELEASE)
        while not line.association.has_message_waiting():
            continue
        return report

    monkeypatch.setattr(Commitments, "verify", verify)
    line.post.known.add("MODALITY")
    line.ask(*STORED)
    line.serve()
    assert line.read().field == dimse.N_ACTION_RSP
    assert not _has_bytes(line.peer)
    assert len(line.commitments.due()) == 1


def test_a_peer_that_releases_at_once_is_reported_to_elsewhere(line: Line) -> None:
    """A release that waits already stops the check: no report is thrown at a peer that leaves."""
    line.post.known.add("MODALITY")
    line.ask(*STORED)
    line.peer.sendall(RELEASE)
    line.serve()
    with pytest.raises(Released):
        line.association.read_message()
    assert line.read().field == dimse.N_ACTION_RSP
    assert read_pdu(line.peer)[0] == 0x06
    assert len(line.commitments.due()) == 1


def test_without_an_address_a_report_waits_for_a_quiet_moment(line: Line) -> None:
    """A peer that can be reached nowhere else gets the report after its next commitment message."""
    line.ask(*STORED, uid="1.1")
    line.peer.sendall(message(ECHO))
    line.serve(2)
    assert [line.read().field for _ in range(2)] == [dimse.N_ACTION_RSP, dimse.C_ECHO_RSP]
    line.ask(*STORED, uid="1.2")
    line.serve()
    fields = [line.read() for _ in range(2)]
    assert [part.field for part in fields] == [dimse.N_ACTION_RSP, dimse.N_EVENT_REPORT_RQ]
    assert b"1.1\0" in fields[1].raw


def test_what_cannot_be_checked_now_is_the_reporter_s(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    """An index that goes away while checking costs neither the association nor the request."""

    def fail(*_: object, **__: object) -> CommitmentReport:
        raise IndexUnavailable(reason="stopped")

    monkeypatch.setattr(Commitments, "verify", fail)
    line.ask(*STORED)
    line.peer.sendall(message(ECHO))
    line.serve(2)
    assert [line.read().field for _ in range(2)] == [dimse.N_ACTION_RSP, dimse.C_ECHO_RSP]
    assert line.rows()[0].reported_at is None


def test_an_index_that_is_down_at_the_confirmation_costs_nothing(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    """The request is not closed, so it is reported once more later; the association goes on."""
    line.ask(*STORED)
    line.serve()
    _, report = line.read(), line.read()

    def fail(*_: object, **__: object) -> None:
        raise IndexUnavailable(reason="stopped")

    monkeypatch.setattr(Commitments, "delivered", fail)
    line.confirm(report)
    line.peer.sendall(message(ECHO))
    line.serve(2)
    assert line.read().field == dimse.C_ECHO_RSP
    assert line.rows()[0].reported_at is None


def test_a_confirmation_of_nothing_breaks_the_protocol(line: Line) -> None:
    """A response to a report that was never sent is a peer that lost its way."""
    line.peer.sendall(message({**dimse.response_to({dimse.COMMAND_FIELD: 0x0100, dimse.MESSAGE_ID: 1}, 0)}))
    with pytest.raises(PduError, match="not sent"):
        line.serve()


def test_an_association_leaves_what_it_did_not_report_to_the_reporter(line: Line) -> None:
    """One report unconfirmed and one request not yet reported when the connection goes: both are due at once."""
    with association_pair() as (association, peer):
        association.contexts = {1: CONTEXT}
        other = replace(line, association=association, peer=peer)
        other.ask(*STORED, uid="1.1")
        other.ask(*STORED, uid="1.2")
        other.serve(2)
    handler, reporter = other.handler, other.reporter
    assert len(handler._conversations) == 1
    assert line.commitments.due() == []
    del other, association, peer
    gc.collect()
    assert len(handler._conversations) == 0
    line.post.known.add("MODALITY")
    assert reporter.sweep() == 2
    assert [report.transaction_uid for report in line.post.delivered] == ["1.1", "1.2"]


@pytest.mark.parametrize(
    ("status", "expected"), [(0x0000, True), (0x0001, True), (0xB000, True), (0x0110, False), (0xA700, False)]
)
def test_success_and_warnings_confirm(status: int, expected: bool) -> None:
    """A warning means that the report was taken; a failure that it was not."""
    assert is_confirmation(status) is expected
