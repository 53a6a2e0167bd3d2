"""A sender that can say anything, right or wrong, for tests of bad input; must not share code with the archive."""

from __future__ import annotations

import socket

from benchmarks import wire
from tests.archive_process import ArchiveProcess
from tests.objects import CT_IMAGE

ERROR_COMMENT = 0x0902


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
