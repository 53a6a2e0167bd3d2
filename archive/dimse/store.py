"""C-STORE SCP (PS3.4 annex B, PS3.7 section 9.1.1): the wire side of ingest; must not touch files or the index."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from archive import logs
from archive.dimse import command as dimse
from archive.dimse.association import Association, MemorySink, Message, Sink
from archive.dimse.contexts import is_storage
from archive.dimse.status import SUCCESS, status_of
from archive.errors import ArchiveError, PduError, ProtocolError, SopClassMismatch
from archive.services.arrival import Arrival
from archive.services.ingest import Ingest, Reception

_log = logs.get(__name__)


@dataclass(frozen=True, slots=True)
class StoreHandler:
    """Receives one object into the ingest; ``site_of`` names the establishment a calling AE belongs to."""

    ingest: Ingest
    site_of: Callable[[str], str]
    accept_private: bool

    def handle(self, association: Association, message: Message) -> None:
        """Receive, commit, answer. Protocol errors leave; everything else is a status for the peer."""
        if not message.has_dataset:
            raise PduError(reason="a C-STORE request without a data set")
        if not is_storage(message.context.abstract_syntax, accept_private=self.accept_private):
            raise PduError(reason="a C-STORE request on a context that is not storage")
        try:
            self._receive(association, message)
        except ProtocolError:
            raise
        except Exception as exc:
            self._refuse(association, message, exc)
        else:
            association.tally.stored += 1
            association.send_message(message.context, dimse.response_to(message.command, SUCCESS))

    def _receive(self, association: Association, message: Message) -> None:
        reception = self._begin(association, message)
        try:
            association.receive_dataset(message.context, reception)
            announced = dimse.text(message.command, dimse.AFFECTED_SOP_CLASS_UID)
            if announced != message.context.abstract_syntax:
                reception.refuse(SopClassMismatch(reason="SOP Class UID differs from the presentation context's"))
            reception.commit()
        finally:
            reception.abandon()

    def _begin(self, association: Association, message: Message) -> Reception:
        """Open a reception; when that fails, take the data set off the wire first: the peer is owed an answer."""
        try:
            return self.ingest.begin(self._arrival(association, message))
        except ArchiveError:
            drain(association, message)
            raise

    def _arrival(self, association: Association, message: Message) -> Arrival:
        peer = association.peer
        return Arrival(
            sop_class_uid=message.context.abstract_syntax,
            sop_instance_uid=dimse.text(message.command, dimse.AFFECTED_SOP_INSTANCE_UID),
            transfer_syntax_uid=message.context.transfer_syntax,
            calling_ae_title=peer.calling_ae_title,
            called_ae_title=peer.called_ae_title,
            peer_address=peer.address,
            site=self.site_of(peer.calling_ae_title),
        )

    def _refuse(self, association: Association, message: Message, error: Exception) -> None:
        status, comment = status_of(error)
        association.tally.refused += 1
        level = _log.warning if isinstance(error, ArchiveError) else _log.error
        level("object_refused", status=f"{status:04X}", reason=type(error).__name__, exc_info=error)
        response = dimse.with_comment(dimse.response_to(message.command, status), comment)
        association.send_message(message.context, response)


def drain(association: Association, message: Message) -> None:
    """Receive the data set of ``message`` and forget it."""
    sink: Sink = MemorySink(0).dropping()
    association.receive_dataset(message.context, sink)
