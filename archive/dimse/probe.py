"""A C-GET requestor that drops what it gets and notes when it came (PS3.4 C.4.3); must not keep a byte."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from archive.clock import monotonic
from archive.dimse import command as dimse
from archive.dimse.association import Association, MemorySink, Message, Released
from archive.dimse.command import Command
from archive.dimse.contexts import EXPLICIT_LITTLE, IMPLICIT_LITTLE, STUDY_ROOT_GET
from archive.dimse.identifier import encode_identifier
from archive.dimse.requestor import MAX_PROPOSALS, Connect, Destination, Proposal
from archive.dimse.status import PENDING, SUCCESS
from archive.errors import DestinationUnreachable, PduError, ProtocolError
from archive.index.records import StoredInstance
from archive.services.probe import Fetched

_PLAIN: Final = (EXPLICIT_LITTLE, IMPLICIT_LITTLE)
_REQUEST: Final = 1


@dataclass(frozen=True, slots=True)
class ProbeRequestor:
    """Asks ``destination``, which is ourselves, for whole series: as they lie, where the archive can give them so."""

    connect: Connect
    destination: Destination

    def fetch(self, instances: Sequence[StoredInstance]) -> Fetched:
        """Ask for the series of the instances; what goes wrong is in the answer."""
        catcher = _Catcher(monotonic())
        try:
            association = self.connect(self.destination, _proposals(instances))
        except DestinationUnreachable as exc:
            return catcher.result(str(exc.fields["reason"]))
        try:
            problem = catcher.run(association, instances[0])
            association.release()
        except (ProtocolError, Released) as exc:
            association.abort()
            return catcher.result(type(exc).__name__)
        if not problem and catcher.instances < len(instances):
            problem = f"{catcher.instances} of {len(instances)} came"
        return catcher.result(problem)


class _Catcher:
    """What comes of one request."""

    def __init__(self, started: float) -> None:
        self._started = started
        self._first: float | None = None
        self._sink = MemorySink(0).dropping()
        self.instances = 0
        self._size_bytes = 0

    def run(self, association: Association, of: StoredInstance) -> str:
        """Ask, and take objects until the final response; return its problem, or ""."""
        context = next((each for each in association.contexts.values() if each.abstract_syntax == STUDY_ROOT_GET), None)
        if context is None:
            return "C-GET was not accepted"
        uids = {"StudyInstanceUID": of.study_instance_uid, "SeriesInstanceUID": of.series_instance_uid}
        identifier = encode_identifier({"QueryRetrieveLevel": "SERIES", **uids}, context.transfer_syntax)
        association.send_message(context, _get_request(), identifier)
        while True:
            message = association.read_message()
            field = dimse.number(message.command, dimse.COMMAND_FIELD)
            if field == dimse.C_STORE_RQ:
                self._take(association, message)
            elif field != dimse.C_GET_RSP:
                raise PduError(reason="neither an object nor a response")
            else:
                if message.has_dataset:
                    association.receive_dataset(message.context, self._sink)
                status = dimse.number(message.command, dimse.STATUS)
                if status != PENDING:
                    return "" if status == SUCCESS else f"status {status:04X}"

    def _take(self, association: Association, message: Message) -> None:
        self._size_bytes += association.receive_dataset(message.context, self._sink)
        self.instances += 1
        self._first = self._first or monotonic()
        association.send_message(message.context, dimse.response_to(message.command, SUCCESS))

    def result(self, problem: str) -> Fetched:
        """Return what it came to until now."""
        now = monotonic()
        first = (self._first or now) - self._started
        return Fetched(first, now - self._started, self.instances, self._size_bytes, problem)


def _get_request() -> Command:
    return {
        dimse.AFFECTED_SOP_CLASS_UID: STUDY_ROOT_GET,
        dimse.COMMAND_FIELD: dimse.C_GET_RQ,
        dimse.MESSAGE_ID: _REQUEST,
        dimse.PRIORITY: 0,
        dimse.DATASET_TYPE: dimse.HAS_DATASET,
    }


def _proposals(instances: Sequence[StoredInstance]) -> list[Proposal]:
    """Return C-GET, and each SOP class in the syntaxes its instances are given in and in the plain ones."""
    given: dict[str, dict[str, None]] = {}
    for each in instances:
        given.setdefault(each.sop_class_uid, {})[each.given_syntax_uid] = None
    proposals = [Proposal(STUDY_ROOT_GET, _PLAIN)]
    for sop_class, syntaxes in given.items():
        wanted = dict.fromkeys([*syntaxes, *_PLAIN])
        proposals += [Proposal(sop_class, (syntax,), as_scp=True) for syntax in wanted]
    return proposals[:MAX_PROPOSALS]
