"""C-MOVE SCP (PS3.4 annex C.4.2, PS3.7 section 9.1.4): objects to a destination; must not send to an unknown one."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from archive.dimse import command as dimse
from archive.dimse.association import Association, Message
from archive.dimse.command import Command
from archive.dimse.contexts import EXPLICIT_LITTLE, IMPLICIT_LITTLE, MOVE_CLASSES, PATIENT_ROOT_MOVE
from archive.dimse.requestor import MAX_PROPOSALS, Connect, Destination, Proposal
from archive.dimse.suboperations import Courier, Requester, conclude, deliver, read_selection, refuse
from archive.errors import DestinationUnreachable, PduError, ProtocolError, UnknownDestination
from archive.index.records import StoredInstance
from archive.services.retrieve import Retrieve, Root

_MOST_LOSSES: Final = 3
_RELEASE_SECONDS: Final = 10.0
_ALWAYS_PROPOSED: Final = (EXPLICIT_LITTLE, IMPLICIT_LITTLE)


class Journey(NamedTuple):
    """What one association carries: the contexts to propose and the objects they are for."""

    proposals: list[Proposal]
    instances: list[StoredInstance]


def plan(instances: Sequence[StoredInstance]) -> list[Journey]:
    """Share objects out to as few associations as 128 presentation contexts each allow.

    A SOP class gets one context for each transfer syntax its objects are stored in, so that the peer's choice among
    several cannot hide one, and one for each syntax everything can be converted to. Its objects travel together.
    """
    syntaxes: dict[str, dict[str, None]] = {}
    for instance in instances:
        syntaxes.setdefault(instance.sop_class_uid, {})[instance.given_syntax_uid] = None
    journeys: list[Journey] = []
    travels_on: dict[str, Journey] = {}
    for sop_class, stored in syntaxes.items():
        proposals = _proposals(sop_class, stored)
        if not journeys or len(journeys[-1].proposals) + len(proposals) > MAX_PROPOSALS:
            journeys.append(Journey([], []))
        journeys[-1].proposals.extend(proposals)
        travels_on[sop_class] = journeys[-1]
    for instance in instances:
        travels_on[instance.sop_class_uid].instances.append(instance)
    return journeys


def _proposals(sop_class: str, stored: Mapping[str, None]) -> list[Proposal]:
    others = [syntax for syntax in stored if syntax not in _ALWAYS_PROPOSED]
    wanted = [*others[: MAX_PROPOSALS - len(_ALWAYS_PROPOSED)], *_ALWAYS_PROPOSED]
    return [Proposal(sop_class, (syntax,)) for syntax in wanted]


@dataclass(frozen=True, slots=True)
class MoveHandler:
    """Answers the C-MOVE requests of all associations; ``destinations`` are the known ones by AE title."""

    retrieve: Retrieve
    destinations: Mapping[str, Destination]
    connect: Connect

    def handle(self, association: Association, message: Message) -> None:
        """Find, send, answer. Protocol errors of the requester leave; everything else is a status for it."""
        if message.context.abstract_syntax not in MOVE_CLASSES:
            raise PduError(reason="a C-MOVE request on a context that is not for it")
        root: Root = "patient" if message.context.abstract_syntax == PATIENT_ROOT_MOVE else "study"
        try:
            selection = read_selection(association, message, root=root)
            destination = self._destination(message.command)
            instances = self.retrieve.find(selection)
        except ProtocolError:
            raise
        except Exception as exc:
            refuse(association, message, exc)
            return
        requester = Requester(association, message, instances, holds_back=False)
        try:
            self._send_all(requester, destination)
        finally:
            conclude(self.retrieve, requester, service="C-MOVE", destination=destination.ae_title)
        requester.finish()

    def _destination(self, command: Command) -> Destination:
        ae_title = dimse.text(command, dimse.MOVE_DESTINATION)
        destination = self.destinations.get(ae_title)
        if destination is None:
            raise UnknownDestination(ae_title=ae_title[:16], reason="unknown destination")
        return destination

    def _send_all(self, requester: Requester, destination: Destination) -> None:
        try:
            for journey in plan(requester.instances):
                self._travel(requester, destination, journey)
        except DestinationUnreachable as exc:
            requester.fail_rest(exc.message)

    def _travel(self, requester: Requester, destination: Destination, journey: Journey) -> None:
        """Send a journey's objects; raise DestinationUnreachable when there is no getting there.

        Some peers abort at an object they dislike. That fails this object; the others go on a new association,
        unless associations are lost again and again without one object arriving.
        """
        losses = 0
        while requester.wants_more() and (left := requester.still_open(journey.instances)):
            arrived = requester.arrived
            association = self.connect(destination, journey.proposals)
            try:
                self._send(requester, destination, association, left)
            except DestinationUnreachable:
                losses = losses + 1 if requester.arrived == arrived else 1
                if losses == _MOST_LOSSES:
                    raise

    def _send(
        self,
        requester: Requester,
        destination: Destination,
        association: Association,
        instances: Sequence[StoredInstance],
    ) -> None:
        courier = Courier(self.retrieve, association, _origin(requester), destination=destination.ae_title)
        try:
            deliver(courier, requester, instances)
        except DestinationUnreachable:
            with contextlib.suppress(ProtocolError):
                association.abort()
            raise
        except BaseException:
            _release(association)
            raise
        _release(association)


def _origin(requester: Requester) -> Command:
    """Return what every C-STORE request says of the C-MOVE request it is for (PS3.7 section 9.3.1.1)."""
    command = requester.message.command
    return {
        dimse.PRIORITY: command.get(dimse.PRIORITY, 0),
        dimse.MOVE_ORIGINATOR_AE_TITLE: requester.association.peer.calling_ae_title,
        dimse.MOVE_ORIGINATOR_MESSAGE_ID: dimse.number(command, dimse.MESSAGE_ID),
    }


def _release(association: Association) -> None:
    """Release an association whose work is done; a peer that does not answer is left after a while."""
    association.limits = replace(association.limits, idle_seconds=_RELEASE_SECONDS)
    try:
        association.release()
    except ProtocolError:
        association.transport.close()
