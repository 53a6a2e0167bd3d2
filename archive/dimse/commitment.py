"""Storage Commitment Push SCP on the wire (PS3.4 annex J, PS3.7 chapter 10); must not decide what is committed.

A report goes out on the association its request came on as long as the peer says nothing else there: checking stops
at the first byte that waits. Its confirmation comes through the server's dispatch like any message, so whatever the
peer sends in between is served. What is not reported so is the reporter's.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, NamedTuple
from weakref import WeakKeyDictionary, finalize

from archive import logs
from archive.dimse import command as dimse
from archive.dimse.association import Association, Context, Message, Released
from archive.dimse.contexts import (
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
    STORAGE_COMMITMENT,
    STORAGE_COMMITMENT_INSTANCE,
)
from archive.dimse.references import decode_request, encode_report
from archive.dimse.requestor import Connect, Destination, Proposal
from archive.dimse.status import NO_SUCH_INSTANCE, PROCESSING_FAILURE, SUCCESS, status_of
from archive.dimse.store import drain
from archive.dimse.transport import Transport
from archive.errors import (
    ArchiveError,
    DestinationUnreachable,
    InvalidIdentifier,
    PduError,
    ProtocolError,
    Unavailable,
    UnknownDestination,
)
from archive.services.commitment import (
    GRACE,
    CommitmentReport,
    CommitmentReporter,
    CommitmentRequest,
    Commitments,
    Interrupted,
)

NO_SUCH_CLASS: Final = 0x0118
NO_SUCH_ACTION: Final = 0x0123
INVALID_ARGUMENT: Final = 0x0115
RESOURCE_LIMITATION: Final = 0x0213

_REQUEST_COMMITMENT: Final = 1
_SUCCESSFUL: Final = 1
_FAILURES_EXIST: Final = 2
_REQUEST_LIMIT: Final = 16 * 1024 * 1024
_log = logs.get(__name__)


class _Ticket(NamedTuple):
    """A request kept in the index, and its report once there is one."""

    commitment_id: int
    request: CommitmentRequest


class _Sent(NamedTuple):
    commitment_id: int
    report: CommitmentReport


@dataclass(slots=True)
class _Conversation:
    """What one association still has to report; touched by its own thread alone."""

    waiting: list[_Ticket] = field(default_factory=list)
    sent: dict[int, _Sent] = field(default_factory=dict)
    last_message_id: int = 0


class CommitmentHandler:
    """Answers N-ACTION requests and takes N-EVENT-REPORT responses of all associations.

    ``reports_here`` tells of an AE title whether it wants reports on the association of the request.
    """

    def __init__(
        self, commitments: Commitments, reporter: CommitmentReporter, *, reports_here: Callable[[str], bool]
    ) -> None:
        self._commitments = commitments
        self._reporter = reporter
        self._reports_here = reports_here
        self._conversations: WeakKeyDictionary[Transport, _Conversation] = WeakKeyDictionary()
        self._lock = threading.Lock()

    def handle_action(self, association: Association, message: Message) -> None:
        """Keep a request, say so, check and report. Protocol errors leave; everything else is a status for the peer."""
        reports_here = self._reports_here(association.peer.calling_ae_title)
        try:
            request = _read_request(association, message)
            commitment_id = self._commitments.accept(request, reporting_here=reports_here)
        except (ProtocolError, Released):
            raise
        except Exception as exc:
            _refuse(association, message, exc)
            return
        _log.info("commitment_requested", transaction_uid=request.transaction_uid, instances=len(request.references))
        _answer(association, message, SUCCESS, "")
        if reports_here:
            conversation = self._conversation(association)
            conversation.waiting.append(_Ticket(commitment_id, request))
            self._report(association, message.context, conversation)
        else:
            self._reporter.wake()

    def handle_report_response(self, association: Association, message: Message) -> None:
        """Close the request whose report the peer confirms; go on with the next one of this association."""
        if message.has_dataset:
            drain(association, message)
        conversation = self._conversation(association)
        sent = conversation.sent.pop(dimse.number(message.command, dimse.MESSAGE_ID_RESPONDED_TO), None)
        if sent is None:
            raise PduError(reason="a response to a report that was not sent")
        status = dimse.number(message.command, dimse.STATUS)
        try:
            if is_confirmation(status):
                self._commitments.delivered(sent.commitment_id, association.peer.calling_ae_title, sent.report)
            else:
                _log.warning("commitment_report_refused", status=f"{status:04X}")
        except ArchiveError as exc:
            _log.warning("commitment_not_closed", exc_info=exc)  # it is reported again later: no harm
        self._report(association, message.context, conversation)

    def _conversation(self, association: Association) -> _Conversation:
        transport = association.transport
        with self._lock:
            known = self._conversations.get(transport)
            if known is None:
                known = self._conversations[transport] = _Conversation()
                finalize(transport, self._left, known).atexit = False
            return known

    def _left(self, conversation: _Conversation) -> None:
        """An association is gone: what it did not report, or the peer did not confirm, is the reporter's."""
        left = [ticket.commitment_id for ticket in conversation.waiting]
        self._reporter.hurry([*left, *(sent.commitment_id for sent in conversation.sent.values())])

    def _report(self, association: Association, context: Context, conversation: _Conversation) -> None:
        """Check and report what waits, one report at a time (PS3.7 annex D.3.3.3: no asynchronous operations)."""
        while conversation.waiting and not conversation.sent:
            ticket = conversation.waiting[0]
            try:
                report = self._proven(association, ticket)
            except Interrupted:
                self._hand_over(association, conversation)
                return
            except ArchiveError as exc:
                _log.warning("commitment_not_checked", exc_info=exc)
                report = None
            conversation.waiting.pop(0)
            if report is not None:
                conversation.last_message_id = conversation.last_message_id % 0xFFFF + 1
                conversation.sent[conversation.last_message_id] = _Sent(ticket.commitment_id, report)
                send_report(association, context, report, message_id=conversation.last_message_id)

    def _proven(self, association: Association, ticket: _Ticket) -> CommitmentReport:
        """Return the report; raise Interrupted as soon as the peer has something else to say."""
        with self._commitments.held(ticket.commitment_id):
            is_interrupted = association.has_message_waiting
            report = self._commitments.verify(ticket.request, is_interrupted=is_interrupted)
            if is_interrupted():
                raise Interrupted
            self._commitments.postpone(ticket.commitment_id, self._commitments.clock() + GRACE)
        return report

    def _hand_over(self, association: Association, conversation: _Conversation) -> None:
        """Leave what waits to the reporter; what it could not deliver stays until this association is quiet again."""
        if not self._reporter.knows(association.peer.calling_ae_title):
            return
        try:
            for ticket in conversation.waiting:
                self._commitments.postpone(ticket.commitment_id, self._commitments.clock())
        except ArchiveError as exc:
            _log.warning("commitment_not_handed_over", exc_info=exc)  # it is due after its time of grace
        conversation.waiting.clear()
        self._reporter.wake()


class ReportCourier:
    """Opens an association to a peer, as SCP of the commitment class, and delivers one report on it.

    ``connect`` is ``request_association`` with our title and timers; ``find_destination`` knows the addresses.
    """

    def __init__(self, connect: Connect, find_destination: Callable[[str], Destination | None]) -> None:
        self._connect = connect
        self._find_destination = find_destination
        self._association: Association | None = None

    def knows(self, ae_title: str) -> bool:
        """Tell whether there is an address for this peer."""
        return self._find_destination(ae_title) is not None

    def deliver(self, ae_title: str, report: CommitmentReport) -> None:
        """Return when the peer has confirmed; raise DestinationUnreachable, UnknownDestination or ProtocolError."""
        destination = self._find_destination(ae_title)
        if destination is None:
            raise UnknownDestination(ae_title=ae_title)
        proposal = Proposal(STORAGE_COMMITMENT, (EXPLICIT_LITTLE, IMPLICIT_LITTLE), as_scp=True)
        self._association = association = self._connect(destination, [proposal])
        try:
            _deliver(association, ae_title, report)
        except BaseException:
            association.abort()
            raise
        finally:
            self._association = None

    def interrupt(self) -> None:
        """Cut the association of a delivery that goes on in another thread."""
        association = self._association
        if association is not None:
            association.transport.interrupt()


def _deliver(association: Association, ae_title: str, report: CommitmentReport) -> None:
    # A peer that accepts the context but says nothing of roles knows no other role for us than this one.
    context = next(iter(association.contexts.values()), None)
    if context is None:
        raise DestinationUnreachable(ae_title=ae_title, reason="it does not accept storage commitment")
    send_report(association, context, report, message_id=1)
    try:
        response = association.read_message()
    except Released as exc:
        raise DestinationUnreachable(ae_title=ae_title, reason="it released instead of confirming") from exc
    if dimse.number(response.command, dimse.COMMAND_FIELD) != dimse.N_EVENT_REPORT_RSP:
        raise PduError(reason="a report was answered by another message")
    if response.has_dataset:
        drain(association, response)
    status = dimse.number(response.command, dimse.STATUS)
    with contextlib.suppress(ProtocolError):  # the peer has what it wanted: how it leaves is its affair
        association.release()
    if not is_confirmation(status):
        raise DestinationUnreachable(ae_title=ae_title, reason=f"it answered the report with status {status:04X}")


def send_report(association: Association, context: Context, report: CommitmentReport, *, message_id: int) -> None:
    """Send an N-EVENT-REPORT request (PS3.4 section J.3.3)."""
    command: dimse.Command = {
        dimse.AFFECTED_SOP_CLASS_UID: STORAGE_COMMITMENT,
        dimse.COMMAND_FIELD: dimse.N_EVENT_REPORT_RQ,
        dimse.MESSAGE_ID: message_id,
        dimse.DATASET_TYPE: dimse.HAS_DATASET,
        dimse.AFFECTED_SOP_INSTANCE_UID: STORAGE_COMMITMENT_INSTANCE,
        dimse.EVENT_TYPE_ID: _FAILURES_EXIST if report.failed else _SUCCESSFUL,
    }
    association.send_message(context, command, encode_report(report, context.transfer_syntax))


def is_confirmation(status: int) -> bool:
    """Tell whether an N-EVENT-REPORT response says success or warning (PS3.7 annex C.1 and C.3)."""
    return status in (SUCCESS, 0x0001, 0x0107, 0x0116) or status >> 12 == 0xB


class _Refusal(Exception):
    """A request that is none of ours, with the status that says why."""

    def __init__(self, status: int, comment: str) -> None:
        super().__init__(comment)
        self.status = status
        self.comment = comment


def _read_request(association: Association, message: Message) -> CommitmentRequest:
    """Return what the peer asks; raise _Refusal, InvalidIdentifier or ProtocolError."""
    if message.context.abstract_syntax != STORAGE_COMMITMENT:
        raise PduError(reason="an N-ACTION request on a context that is not storage commitment")
    raw = association.read_dataset(message, limit_bytes=_REQUEST_LIMIT) if message.has_dataset else b""
    command = message.command
    if dimse.text(command, dimse.REQUESTED_SOP_CLASS_UID) != STORAGE_COMMITMENT:
        raise _Refusal(NO_SUCH_CLASS, "only storage commitment takes actions")
    if dimse.text(command, dimse.REQUESTED_SOP_INSTANCE_UID) != STORAGE_COMMITMENT_INSTANCE:
        raise _Refusal(NO_SUCH_INSTANCE, "not the well-known storage commitment instance")
    if command.get(dimse.ACTION_TYPE_ID) != _REQUEST_COMMITMENT:
        raise _Refusal(NO_SUCH_ACTION, "the only action is 1, request storage commitment")
    transaction_uid, references = decode_request(raw, message.context.transfer_syntax)
    peer = association.peer
    return CommitmentRequest(transaction_uid, peer.calling_ae_title, peer.called_ae_title, references)


def _refuse(association: Association, message: Message, error: Exception) -> None:
    status, comment = _status_of(error)
    association.tally.refused += 1
    level = _log.warning if isinstance(error, ArchiveError | _Refusal) else _log.error
    level("commitment_refused", status=f"{status:04X}", reason=type(error).__name__, exc_info=error)
    _answer(association, message, status, comment)


def _status_of(error: Exception) -> tuple[int, str]:
    """Return status and comment: N-ACTION has other codes than the C services (PS3.7 section 10.1.4.1.10)."""
    if isinstance(error, _Refusal):
        return error.status, error.comment
    _, comment = status_of(error)
    if isinstance(error, InvalidIdentifier):
        return INVALID_ARGUMENT, comment
    return RESOURCE_LIMITATION if isinstance(error, Unavailable) else PROCESSING_FAILURE, comment


def _answer(association: Association, message: Message, status: int, comment: str) -> None:
    response = dimse.response_to(message.command, status)
    if dimse.ACTION_TYPE_ID in message.command:
        response[dimse.ACTION_TYPE_ID] = message.command[dimse.ACTION_TYPE_ID]
    association.send_message(message.context, dimse.with_comment(response, comment) if comment else response)
