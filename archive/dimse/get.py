"""C-GET SCP (PS3.4 annex C.4.3, PS3.7 section 9.1.3): objects on the association that asks; must not choose them."""

from __future__ import annotations

from dataclasses import dataclass

from archive.dimse import command as dimse
from archive.dimse.association import Association, Message
from archive.dimse.contexts import GET_CLASSES, PATIENT_ROOT_GET
from archive.dimse.suboperations import Courier, Requester, conclude, deliver, read_selection, refuse
from archive.errors import PduError, ProtocolError
from archive.services.retrieve import Retrieve, Root


@dataclass(frozen=True, slots=True)
class GetHandler:
    """Answers the C-GET requests of all associations."""

    retrieve: Retrieve

    def handle(self, association: Association, message: Message) -> None:
        """Find, send, answer. Protocol errors leave; everything else is a status for the peer."""
        if message.context.abstract_syntax not in GET_CLASSES:
            raise PduError(reason="a C-GET request on a context that is not for it")
        root: Root = "patient" if message.context.abstract_syntax == PATIENT_ROOT_GET else "study"
        try:
            instances = self.retrieve.find(read_selection(association, message, root=root))
        except ProtocolError:
            raise
        except Exception as exc:
            refuse(association, message, exc)
            return
        requester = Requester(association, message, instances, holds_back=True)
        priority = message.command.get(dimse.PRIORITY, 0)
        try:
            deliver(Courier(self.retrieve, association, {dimse.PRIORITY: priority}), requester, instances)
        finally:
            conclude(self.retrieve, requester, service="C-GET", destination=association.peer.name)
        requester.finish()
