"""The C-STORE sub-operations of C-GET and C-MOVE: sending objects, counting what became of them; must not choose them.

An object that fits one window (4 MiB) leaves in one ``sendmsg`` with its command and with the responses the requester
is still owed. While the peer works on it the next object is opened, converted where need be, and read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from archive import logs
from archive.dimse import command as dimse
from archive.dimse.association import Association, Context, Message, Released
from archive.dimse.command import Command
from archive.dimse.contexts import DEFLATED, EXPLICIT_BIG, EXPLICIT_LITTLE, IMPLICIT_LITTLE
from archive.dimse.identifier import decode_identifier, encode_identifier
from archive.dimse.status import CANCEL, PENDING, SUBOPERATIONS_FAILED, SUCCESS, UNABLE_TO_PERFORM, status_of
from archive.errors import (
    ArchiveError,
    DestinationUnreachable,
    FixityError,
    InvalidIdentifier,
    PduError,
    ProtocolError,
    RetrieveError,
    SyntaxNotAccepted,
)
from archive.index.records import StoredInstance
from archive.services.retrieve import (
    ObjectBytes,
    Retrieve,
    Retrieved,
    Root,
    Selection,
    StoredObject,
    can_give,
    selection_of,
)

WINDOW_BYTES: Final = 4 * 1024 * 1024
"""The most of an object that is in memory at a time."""

_log = logs.get(__name__)
_LARGEST_NUMBER: Final = 0xFFFF
_MOST_HELD_BACK: Final = 64
_MIB: Final = 1024 * 1024
_IDENTIFIER_LIMIT: Final = 4 * _MIB
_WARNINGS: Final = frozenset((0x0001, 0x0107, 0x0116))
_CONVERTED_TO: Final = (EXPLICIT_LITTLE, IMPLICIT_LITTLE, DEFLATED, EXPLICIT_BIG)

Buffers = list[bytes | memoryview]


@dataclass(slots=True)
class Requester:
    """Who asked for the objects: hears of every sub-operation, may cancel, gets the final response.

    ``holds_back``: pending responses wait for the next object, which goes to the same peer (C-GET).
    """

    association: Association
    message: Message
    instances: Sequence[StoredInstance]
    holds_back: bool
    completed: int = 0
    warning: int = 0
    failed_uids: list[str] = field(default_factory=list)
    size_bytes: int = 0
    is_cancelled: bool = False
    _open: dict[str, None] = field(init=False)
    _comment: str = ""
    _held_back: Buffers = field(default_factory=list)

    def __post_init__(self) -> None:
        self._open = dict.fromkeys(instance.sop_instance_uid for instance in self.instances)

    @property
    def remaining(self) -> int:
        """Return how many sub-operations have not ended."""
        return len(self._open)

    @property
    def arrived(self) -> int:
        """Return how many objects the peer has taken."""
        return self.completed + self.warning

    def wants_more(self) -> bool:
        """Tell whether to go on: look, without waiting, for a C-CANCEL. Raises when the requester is gone."""
        while not self.is_cancelled and self.association.has_message_waiting():
            self.hear(self.association.read_message())
        return not self.is_cancelled

    def hear(self, message: Message) -> None:
        """Take a message of the requester that is no answer to ours: only a C-CANCEL may come now."""
        if dimse.number(message.command, dimse.COMMAND_FIELD) != dimse.C_CANCEL_RQ:
            raise PduError(reason="another message came before the retrieve ended")
        cancelled = dimse.number(message.command, dimse.MESSAGE_ID_RESPONDED_TO)
        self.is_cancelled |= cancelled == dimse.number(self.message.command, dimse.MESSAGE_ID)

    def sent(self, instance: StoredInstance, status: int, size_bytes: int) -> None:
        """Account for an object the peer answered with ``status``."""
        if _is_failure(status):
            self.failed(instance, f"the peer refused it with status {status:04X}")
            return
        if status == SUCCESS:
            self.completed += 1
        else:
            self.warning += 1
        del self._open[instance.sop_instance_uid]
        self.size_bytes += size_bytes
        self._respond_pending()

    def failed(self, instance: StoredInstance, reason: str) -> None:
        """Account for an object that was not taken."""
        uid = instance.sop_instance_uid
        _log.warning("suboperation_failed", sop_instance_uid=uid, reason=reason)
        self._comment = self._comment or reason
        self.failed_uids.append(uid)
        del self._open[uid]
        self._respond_pending()

    def still_open(self, instances: Iterable[StoredInstance]) -> list[StoredInstance]:
        """Return those of ``instances`` whose sub-operation has not ended."""
        return [instance for instance in instances if instance.sop_instance_uid in self._open]

    def fail_rest(self, reason: str) -> None:
        """Account at once for all that can no longer be sent."""
        _log.warning("suboperations_failed", failed=self.remaining, reason=reason)
        self._comment = self._comment or reason
        self.failed_uids += self._open
        self._open.clear()

    def take_held_back(self) -> Buffers:
        """Return the responses to send in front of what goes to this peer next."""
        buffers, self._held_back = self._held_back, []
        return buffers

    def _respond_pending(self) -> None:
        response = self._counted(PENDING) | {dimse.REMAINING: _clamped(self.remaining)}
        self._held_back += self.association.fragments(
            self.message.context.context_id, dimse.encode(response), is_command=True
        )
        if not self.holds_back or len(self._held_back) >= _MOST_HELD_BACK:
            self.association.send_fragments(self.take_held_back())

    def finish(self) -> int:
        """Send the final response and return its status (PS3.4 C.4.2.1.5 to C.4.2.1.9)."""
        status = self._final_status()
        response = self._counted(status)
        if status == CANCEL:
            response[dimse.REMAINING] = _clamped(self.remaining)
        elif status != SUCCESS and self._comment:
            response = dimse.with_comment(response, self._comment)
        context = self.message.context
        identifier = self._failed_identifier() if self.failed_uids else None
        if identifier is not None:
            response[dimse.DATASET_TYPE] = dimse.HAS_DATASET
        fragments = self.association.fragments
        buffers = self.take_held_back() + fragments(context.context_id, dimse.encode(response), is_command=True)
        if identifier is not None:
            buffers += fragments(context.context_id, identifier, is_command=False)
        self.association.send_fragments(buffers)
        return status

    def _final_status(self) -> int:
        if self.is_cancelled and self.remaining:
            return CANCEL
        if self.failed_uids and not self.arrived:
            return UNABLE_TO_PERFORM
        return SUBOPERATIONS_FAILED if self.failed_uids or self.warning else SUCCESS

    def _counted(self, status: int) -> Command:
        return dimse.response_to(self.message.command, status) | {
            dimse.COMPLETED: _clamped(self.completed),
            dimse.FAILED: _clamped(len(self.failed_uids)),
            dimse.WARNING: _clamped(self.warning),
        }

    def _failed_identifier(self) -> bytes:
        values = {"FailedSOPInstanceUIDList": "\\".join(self.failed_uids)}
        return encode_identifier(values, self.message.context.transfer_syntax)


@dataclass(slots=True)
class Parcel:
    """One object ready to leave: ``head`` is its first window, read already."""

    instance: StoredInstance
    context: Context
    content: ObjectBytes
    head: memoryview


class Courier:
    """Carries objects over one association.

    ``extra`` is what every C-STORE request of it says besides the object. ``destination`` is the AE title when the
    association is one we opened: what breaks it then raises DestinationUnreachable, and nothing else.
    """

    def __init__(self, retrieve: Retrieve, association: Association, extra: Command, *, destination: str = "") -> None:
        self._retrieve = retrieve
        self._association = association
        self._extra = extra
        self._destination = destination
        self._contexts: dict[str, list[Context]] = {}
        for context in association.contexts.values():
            if context.as_scu:
                self._contexts.setdefault(context.abstract_syntax, []).append(context)
        self._buffer = bytearray()
        self._message_id = 0

    @contextmanager
    def ahead(self, instances: Iterable[StoredInstance], *, by: str) -> Iterator[None]:
        """Have cold objects fetched ahead of ``prepare``, those that this association takes, in somebody's name."""
        before = self._retrieve
        with before.ahead(filter(self._is_taken, instances), by=by) as retrieve:
            self._retrieve = retrieve
            try:
                yield
            finally:
                self._retrieve = before

    def prepare(self, instance: StoredInstance) -> Parcel:
        """Open an object and read its first window; raise RetrieveError when it cannot be given.

        A copy that opens and cannot be read or converted is passed over for the next one.
        """
        self._context_for(instance, instance.given_syntax_uid)  # before a byte is fetched for it
        problems: list[RetrieveError] = []
        for stored in self._retrieve.each(instance):
            try:
                return self._parcel(stored)
            except RetrieveError as exc:
                problems.append(exc)
        raise problems[0]

    def _parcel(self, stored: StoredObject) -> Parcel:
        context = self._context_for(stored.instance, stored.transfer_syntax_uid)
        if context.transfer_syntax == stored.transfer_syntax_uid:
            content = self._retrieve.read(stored)
        else:
            content = self._retrieve.convert(stored, context.transfer_syntax)
        try:
            head = self._space(min(_wire_bytes(content), self._window_bytes))
            _read_into(head, content, 0)
        except BaseException:
            content.close()
            raise
        return Parcel(stored.instance, context, content, head)

    def _is_taken(self, instance: StoredInstance) -> bool:
        try:
            self._context_for(instance, instance.given_syntax_uid)
        except RetrieveError:
            return False
        return True

    def _context_for(self, instance: StoredInstance, stored: str) -> Context:
        """Return the context for bytes in a transfer syntax as they are, else the best one to convert for."""
        contexts = self._contexts.get(instance.sop_class_uid, [])
        if not contexts:
            raise RetrieveError(reason=self._why_not(instance.sop_class_uid))
        usable = [context for context in contexts if can_give(stored, context.transfer_syntax)]
        if not usable:
            raise SyntaxNotAccepted(transfer_syntax_uid=stored)
        return min(usable, key=lambda context: _preference(stored, context.transfer_syntax))

    def _why_not(self, sop_class_uid: str) -> str:
        """Return why there is no context for a SOP class: many a C-GET requester forgets the role."""
        proposed = any(context.abstract_syntax == sop_class_uid for context in self._association.contexts.values())
        if proposed:
            return f"no SCP role proposed for SOP class {sop_class_uid}"
        return f"the peer does not take SOP class {sop_class_uid}"

    @property
    def _window_bytes(self) -> int:
        """Return a whole number of the peer's fragments, so that no PDU but an object's last is short."""
        fragment = self._association.fragment_bytes
        return WINDOW_BYTES // fragment * fragment or WINDOW_BYTES

    def _space(self, size: int) -> memoryview:
        """Return ``size`` bytes of the buffer, which grows to what the objects need; the one before has left it."""
        if len(self._buffer) < size:
            self._buffer = bytearray(-(-size // _MIB) * _MIB)
        return memoryview(self._buffer)[:size]

    def send(self, parcel: Parcel, before: Buffers) -> None:
        """Send the responses in ``before`` and the object; its answer is still to come. Closes the parcel."""
        self._message_id = self._message_id % _LARGEST_NUMBER + 1
        request: Command = {
            dimse.AFFECTED_SOP_CLASS_UID: parcel.instance.sop_class_uid,
            dimse.COMMAND_FIELD: dimse.C_STORE_RQ,
            dimse.MESSAGE_ID: self._message_id,
            dimse.DATASET_TYPE: dimse.HAS_DATASET,
            dimse.AFFECTED_SOP_INSTANCE_UID: parcel.instance.sop_instance_uid,
            **self._extra,
        }
        command = self._association.fragments(parcel.context.context_id, dimse.encode(request), is_command=True)
        try:
            with self._lost_association():
                self._send_windows(parcel, [*before, *command])
        finally:
            parcel.content.close()

    def _send_windows(self, parcel: Parcel, before: Buffers) -> None:
        association, window, size = self._association, parcel.head, _wire_bytes(parcel.content)
        end = len(window)
        while True:
            fragments = association.fragments(parcel.context.context_id, window, is_command=False, is_last=end == size)
            association.send_fragments(before + fragments)
            if end == size:
                return
            before, window = [], parcel.head[: size - end]
            _read_into(window, parcel.content, end)
            end += len(window)

    def wait(self, requester: Requester) -> int:
        """Return the status of the answer to the object just sent; from a C-GET's peer a C-CANCEL may come first."""
        with self._lost_association():
            while True:
                message = self._association.read_message()
                if dimse.number(message.command, dimse.COMMAND_FIELD) == dimse.C_STORE_RSP:
                    return self._status_of(message.command)
                if self._destination:
                    raise PduError(reason="no answer to a C-STORE request")
                requester.hear(message)

    def _status_of(self, answer: Command) -> int:
        if dimse.number(answer, dimse.MESSAGE_ID_RESPONDED_TO) != self._message_id:
            raise PduError(reason="an answer to another C-STORE request")
        return dimse.number(answer, dimse.STATUS)

    @contextmanager
    def _lost_association(self) -> Iterator[None]:
        """Tell an association of ours that cannot go on from the requester's, which its own server ends.

        A file that fails in the middle of its object ends the association too: what was sent cannot be taken back.
        """
        try:
            yield
        except (ProtocolError, RetrieveError, Released) as exc:
            if not self._destination:
                raise
            reason = str(exc).rstrip(".") or "the peer released the association"
            raise DestinationUnreachable(ae_title=self._destination, reason=reason) from exc


def deliver(courier: Courier, requester: Requester, instances: Sequence[StoredInstance]) -> None:
    """Send objects until they are all accounted for or the requester cancels.

    What is wrong with one object fails its sub-operation. Raises DestinationUnreachable when the association of the
    courier is lost, the object then under way accounted for; ProtocolError or Released when the requester's is.
    """
    with courier.ahead(instances, by=requester.association.peer.name):
        _deliver(courier, requester, instances)


def _deliver(courier: Courier, requester: Requester, instances: Iterable[StoredInstance]) -> None:
    parcels = _prepared(courier, requester, instances)
    parcel = next(parcels, None)
    try:
        while parcel is not None and requester.wants_more():
            sent, size_bytes = parcel.instance, parcel.content.size_bytes
            try:
                courier.send(parcel, requester.take_held_back())
                parcel = next(parcels, None)
                status = courier.wait(requester)
            except DestinationUnreachable as exc:
                requester.failed(sent, exc.message)
                raise
            requester.sent(sent, status, size_bytes)
    finally:
        if parcel is not None:
            parcel.content.close()


def _prepared(courier: Courier, requester: Requester, instances: Iterable[StoredInstance]) -> Iterator[Parcel]:
    """Yield what can be sent, account for what cannot."""
    for instance in instances:
        try:
            parcel = courier.prepare(instance)
        except ArchiveError as exc:
            requester.failed(instance, _reason(exc))
        else:
            yield parcel


def read_selection(association: Association, message: Message, *, root: Root) -> Selection:
    """Receive the identifier of a retrieve and return what it selects; raise InvalidIdentifier."""
    if not message.has_dataset:
        raise InvalidIdentifier(reason="there is none")
    raw = association.read_dataset(message, limit_bytes=_IDENTIFIER_LIMIT)
    return selection_of(decode_identifier(raw, message.context.transfer_syntax), root=root)


def refuse(association: Association, message: Message, error: Exception) -> None:
    """Answer a retrieve that comes to no sub-operation."""
    status, comment = status_of(error)
    level = _log.warning if isinstance(error, ArchiveError) else _log.error
    level("retrieve_refused", status=f"{status:04X}", reason=type(error).__name__, exc_info=error)
    response = dimse.with_comment(dimse.response_to(message.command, status), comment)
    association.send_message(message.context, response)


def conclude(retrieve: Retrieve, requester: Requester, *, service: str, destination: str) -> None:
    """Count, journal and log what a retrieve came to, however it ended; never raises for the index."""
    association = requester.association
    association.tally.retrieved += requester.arrived
    association.tally.bytes_out += requester.size_bytes
    retrieved = Retrieved(
        service=service,
        requested_by=association.peer.name,
        destination=destination,
        instances=requester.instances,
        completed=requester.completed,
        failed=len(requester.failed_uids),
        warning=requester.warning,
        remaining=requester.remaining,
    )
    _log.info(
        "objects_retrieved",
        service=service,
        destination=destination,
        retrieved=requester.arrived,
        failed=retrieved.failed,
        remaining=retrieved.remaining,
        size_bytes=requester.size_bytes,
    )
    try:
        retrieve.record(retrieved)
    except ArchiveError as exc:
        _log.error("retrieve_not_journaled", exc_info=exc)


def _reason(error: ArchiveError) -> str:
    """Return why an object cannot be given: of the general error what is special, since a comment is short."""
    if isinstance(error, FixityError):
        return f"stored bytes lost or damaged: {error.fields['reason']}"
    return str(error.fields["reason"]) if type(error) is RetrieveError else error.message


def _preference(stored: str, accepted: str) -> int:
    if stored == accepted:
        return -1
    return _CONVERTED_TO.index(accepted) if accepted in _CONVERTED_TO else len(_CONVERTED_TO)


def _wire_bytes(content: ObjectBytes) -> int:
    """Return the size an object has on the wire, where everything is of even length (PS3.8 annex E.1)."""
    return content.size_bytes + content.size_bytes % 2


def _read_into(view: memoryview, content: ObjectBytes, position: int) -> None:
    """Fill ``view`` with an object's bytes from ``position``; behind an odd one comes a zero, or peers abort."""
    if position + len(view) > content.size_bytes:
        view[-1] = 0
        view = view[:-1]
    content.read_into(view, position)


def _is_failure(status: int) -> bool:
    return status != SUCCESS and status >> 12 != 0xB and status not in _WARNINGS


def _clamped(count: int) -> int:
    """Return a count as a command element can say it: 16 bits."""
    return min(count, _LARGEST_NUMBER)
