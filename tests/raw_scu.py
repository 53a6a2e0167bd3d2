"""A sender that can say anything, right or wrong, for tests of bad input; must not share code with the archive."""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Sequence
from io import BytesIO

from pydicom import Dataset
from pydicom.uid import generate_uid
from pynetdicom.dsutils import decode, encode

from benchmarks import wire
from tests.archive_process import ArchiveProcess
from tests.objects import CT_IMAGE

COMMITMENT = "1.2.840.10008.1.20.1"
COMMITMENT_INSTANCE = "1.2.840.10008.1.20.1.1"
ERROR_COMMENT = 0x0902
REQUESTED_SOP_CLASS, REQUESTED_SOP_INSTANCE, EVENT_TYPE, ACTION_TYPE = 0x0003, 0x1001, 0x1002, 0x1008
REPORT_RQ, REPORT_RSP, ACTION_RQ, ACTION_RSP = 0x0100, 0x8100, 0x0130, 0x8130


class RawScu(wire.Association):
    """An association that stores bytes as they are given, whatever the command says of them."""

    def store(self, sop_instance_uid: str, data: bytes, *, sop_class_uid: str = CT_IMAGE) -> tuple[int, str]:
        """Send one C-STORE on the first context; return status and Error Comment."""
        self.send_store(sop_instance_uid, data, sop_class_uid=sop_class_uid)
        answer = self.receive()
        return answer.status, str(answer.command.get(ERROR_COMMENT, ""))

    def send_store(self, sop_instance_uid: str, data: bytes, *, sop_class_uid: str = CT_IMAGE) -> None:
        """Send one C-STORE and do not wait."""
        self._message_id += 1
        command: dict[int, int | str] = {
            wire.AFFECTED_SOP_CLASS: sop_class_uid,
            wire.COMMAND_FIELD: wire.STORE_RQ,
            wire.MESSAGE_ID: self._message_id,
            wire.PRIORITY: 0,
            wire.DATA_SET_TYPE: 1,
            wire.AFFECTED_SOP_INSTANCE: sop_instance_uid,
        }
        self._send(1, command, data)

    def echo(self) -> int:
        """Send a C-ECHO; return its status."""
        self.request(wire.ECHO_RQ, wire.VERIFICATION)
        return self.receive().status

    @property
    def socket(self) -> socket.socket:
        """Return the connection, to break it."""
        return self._socket


def open_scu(
    archive: ArchiveProcess,
    *,
    sop_class_uid: str = CT_IMAGE,
    transfer_syntax: str = wire.EXPLICIT_LE,
    calling: str = "MODALITY",
) -> RawScu:
    """Open an association with one storage context and one for verification; whoever asks may break it."""
    proposals = [wire.Proposal(sop_class_uid, transfer_syntax), wire.Proposal(wire.VERIFICATION)]
    return RawScu((archive.host, archive.port), archive.ae_title, proposals, calling=calling)


class RawModality(RawScu):
    """A commitment SCU of one thread: it reads in the order of the line, and confirms a report when it is told to.

    Reports that come before an answer are put by in ``reports``: they may, at any time after the request's own answer.
    """

    def __init__(self, archive: ArchiveProcess, calling: str, *, seconds: float) -> None:
        proposals = [wire.Proposal(COMMITMENT), wire.Proposal(wire.VERIFICATION)]
        super().__init__((archive.host, archive.port), archive.ae_title, proposals, calling=calling)
        self.socket.settimeout(seconds)
        self.reports: deque[wire.Message] = deque()

    def ask(self, sop_instance_uids: Sequence[str], *, sop_class_uid: str = CT_IMAGE) -> str:
        """Request commitment and have that acknowledged, before anything is said of it; return the transaction."""
        information = Dataset()
        information.TransactionUID = generate_uid()
        information.ReferencedSOPSequence = [_reference(sop_class_uid, uid) for uid in sop_instance_uids]
        raw = encode(information, is_implicit_vr=False, is_little_endian=True)
        assert raw is not None
        self._message_id += 1
        command: dict[int, int | str] = {
            REQUESTED_SOP_CLASS: COMMITMENT,
            wire.COMMAND_FIELD: ACTION_RQ,
            wire.MESSAGE_ID: self._message_id,
            wire.DATA_SET_TYPE: 1,
            REQUESTED_SOP_INSTANCE: COMMITMENT_INSTANCE,
            ACTION_TYPE: 1,
        }
        self._send(self.context_of(COMMITMENT), command, raw)
        assert self._answer_to(self._message_id, ACTION_RSP).status == 0
        assert information.TransactionUID not in [read_report(report).TransactionUID for report in self.reports]
        return str(information.TransactionUID)

    def echo(self) -> int:
        """Send a C-ECHO; return its status, whatever comes before it."""
        return self._answer_to(self.request(wire.ECHO_RQ, wire.VERIFICATION), wire.ECHO_RSP).status

    def report(self) -> wire.Message:
        """Return the next report, put by or still to come."""
        if self.reports:
            return self.reports.popleft()
        received = self.receive()
        assert received.field == REPORT_RQ
        return received

    def confirm(self, report: wire.Message) -> None:
        """Answer a report with success (PS3.7 section 10.3.1)."""
        command: dict[int, int | str] = {
            wire.AFFECTED_SOP_CLASS: report.command[wire.AFFECTED_SOP_CLASS],
            wire.COMMAND_FIELD: REPORT_RSP,
            wire.REPLIED_MESSAGE_ID: report.command[wire.MESSAGE_ID],
            wire.DATA_SET_TYPE: 0x0101,
            wire.STATUS: 0,
            wire.AFFECTED_SOP_INSTANCE: report.command[wire.AFFECTED_SOP_INSTANCE],
            EVENT_TYPE: report.command[EVENT_TYPE],
        }
        self._send(report.context_id, command, None)

    def _answer_to(self, message_id: int, field: int) -> wire.Message:
        while (received := self.receive()).field == REPORT_RQ:
            self.reports.append(received)
        assert (received.field, received.command[wire.REPLIED_MESSAGE_ID]) == (field, message_id)
        return received


def read_report(report: wire.Message) -> Dataset:
    """Return the data set of a report (PS3.4 table J.3-2)."""
    return decode(BytesIO(report.data), is_implicit_vr=False, is_little_endian=True)


def _reference(sop_class_uid: str, sop_instance_uid: str) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class_uid, sop_instance_uid
    return item
