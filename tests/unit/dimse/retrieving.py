"""Both ends of a retrieve for tests: an archive with objects, who asks for them, who takes them in."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from pydicom.dataset import Dataset
from pydicom.uid import UID

from archive.config import DicomSettings
from archive.dimse import acceptor, command as dimse
from archive.dimse.association import Association, Context, Limits, MemorySink, Message, Peer, Released
from archive.dimse.command import Command
from archive.dimse.contexts import STUDY_ROOT_GET
from archive.dimse.get import GetHandler
from archive.dimse.identifier import decode_identifier, encode_identifier
from archive.dimse.requestor import Destination
from archive.dimse.server import Handler
from archive.dimse.transport import PlainTransport
from archive.errors import ProtocolError
from archive.services.retrieve import Retrieve
from tests.objects import CT_IMAGE, ROOT, ct_dataset, dataset_bytes
from tests.unit.dimse.wire import tcp_pair
from tests.unit.services.rig import Rig, open_rig

EXPLICIT = "1.2.840.10008.1.2.1"
IMPLICIT = "1.2.840.10008.1.2"
BIG = "1.2.840.10008.1.2.2"
MESSAGE_ID = 7
_LIMIT = 1 << 20
_NO_STORAGE = "1.2.840.10008.1.20.1.1"

GET = Context(1, STUDY_ROOT_GET, EXPLICIT, False, True)
CT = Context(3, CT_IMAGE, EXPLICIT, True, False)
STUDY = {"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": f"{ROOT}.1"}


@dataclass
class Store:
    """An archive's storage and index, filled through the real ingest."""

    rig: Rig

    @property
    def retrieve(self) -> Retrieve:
        """Return the service under test."""
        return Retrieve(self.rig.committer, self.rig.clock, self.rig.hot, self.rig.hot)

    def put(self, ds: Dataset | bytes, *, uid: str = "", sop_class: str = CT_IMAGE, syntax: str = EXPLICIT) -> bytes:
        """Take one object in and return its bytes."""
        raw = ds if isinstance(ds, bytes) else dataset_bytes(ds, syntax)
        reception = self.rig.begin(
            uid or str(ds.SOPInstanceUID),  # type: ignore[union-attr]
            sop_class=sop_class if isinstance(ds, bytes) else str(ds.SOPClassUID),
            syntax=syntax,
        )
        self.rig.pour(raw, reception)
        reception.commit()
        return raw

    def path(self, uid: str) -> Path:
        """Return the file of an instance."""
        found = self.rig.find(uid)
        assert found is not None
        return self.rig.hot / f"{found.locations[0].key}.dcm"

    def bodies(self, event: str) -> list[str]:
        """Return the bodies of the journal's entries of one kind."""
        return [entry.body for entry in self.rig.entries() if entry.event == event]


@contextmanager
def open_store(root: Path) -> Iterator[Store]:
    """Lend an empty archive."""
    root.mkdir(parents=True, exist_ok=True)
    with open_rig(root) as rig:
        yield Store(rig)


@dataclass
class Asked:
    """What a requester saw: pending responses, the final one and its identifier, the objects that came."""

    pending: list[Command] = field(default_factory=list)
    final: Command = field(default_factory=dict)
    identifier: Mapping[str, str] | None = None
    stores: list[tuple[Command, bytes]] = field(default_factory=list)

    @property
    def objects(self) -> dict[str, bytes]:
        """Return the data sets that came, by SOP Instance UID, in order."""
        return {str(command[dimse.AFFECTED_SOP_INSTANCE_UID]): data for command, data in self.stores}

    @property
    def counts(self) -> tuple[object, object, object, object]:
        """Return remaining, completed, failed and warning of the final response."""
        return counts_of(self.final)

    @property
    def failed_uids(self) -> list[str]:
        """Return the failed SOP Instance UID list."""
        return [] if self.identifier is None else self.identifier["FailedSOPInstanceUIDList"].split("\\")


def counts_of(response: Command) -> tuple[object, object, object, object]:
    """Return remaining, completed, failed and warning, None where a response does not say."""
    return (
        response.get(dimse.REMAINING),
        response.get(dimse.COMPLETED),
        response.get(dimse.FAILED),
        response.get(dimse.WARNING),
    )


Answer = Callable[["Client", Command], int]


def take(_client: Client, _request: Command) -> int:
    """Take every object."""
    return 0x0000


@dataclass
class Client:
    """The requester's end of an association."""

    association: Association
    context: Context
    asked: Asked = field(default_factory=Asked)

    def ask(self, command_field: int, keys: Mapping[str, str], **more: int | str) -> None:
        """Send a C-GET or C-MOVE request; ``destination`` and ``priority`` may be given."""
        request: Command = {
            dimse.AFFECTED_SOP_CLASS_UID: self.context.abstract_syntax,
            dimse.COMMAND_FIELD: command_field,
            dimse.MESSAGE_ID: MESSAGE_ID,
            dimse.PRIORITY: more.get("priority", 0),
            dimse.DATASET_TYPE: dimse.HAS_DATASET,
        }
        if "destination" in more:
            request[dimse.MOVE_DESTINATION] = more["destination"]
        self.association.send_message(self.context, request, encode_identifier(keys, self.context.transfer_syntax))

    def cancel(self, message_id: int = MESSAGE_ID) -> None:
        """Send a C-CANCEL."""
        request: Command = {
            dimse.COMMAND_FIELD: dimse.C_CANCEL_RQ,
            dimse.MESSAGE_ID_RESPONDED_TO: message_id,
            dimse.DATASET_TYPE: dimse.NO_DATASET,
        }
        self.association.send_message(self.context, request)

    def converse(self, answer: Answer = take) -> Asked:
        """Take objects and responses until the final response came."""
        while not self.asked.final:
            message = self.association.read_message()
            if message.command[dimse.COMMAND_FIELD] == dimse.C_STORE_RQ:
                self._take(message, answer)
            elif message.command[dimse.STATUS] == 0xFF00:
                assert not message.has_dataset
                self.asked.pending.append(message.command)
            else:
                self.asked.final = message.command
                if message.has_dataset:
                    raw = self.association.read_dataset(message, limit_bytes=_LIMIT)
                    self.asked.identifier = decode_identifier(raw, message.context.transfer_syntax)
        return self.asked

    def _take(self, message: Message, answer: Answer) -> None:
        data = received(self.association, message)
        self.asked.stores.append((message.command, data))
        status = answer(self, message.command)
        self.association.send_message(message.context, dimse.response_to(message.command, status))


def received(association: Association, message: Message) -> bytes:
    """Return the data set of a message, of any size."""
    sink = MemorySink(1 << 30)
    association.receive_dataset(message.context, sink)
    return sink.value()


@contextmanager
def connected(
    contexts: Sequence[Context], *, client_max: int = 16384, seconds: float = 5.0
) -> Iterator[tuple[Association, Client]]:
    """Lend the archive's end of an association and the client's; the client asks on the first context."""
    ours, theirs = tcp_pair()
    limits = Limits(idle_seconds=seconds, max_pdu_bytes=1 << 20)
    peer = Peer("WORKSTATION", "DRIMBOX", "127.0.0.1")
    by_id = {context.context_id: context for context in contexts}
    archive = Association(PlainTransport(ours, io_seconds=seconds), peer, by_id, client_max, limits)
    client = Association(PlainTransport(theirs, io_seconds=seconds), peer, by_id, 1 << 20, limits)
    try:
        yield archive, Client(client, contexts[0])
    finally:
        archive.transport.close()
        client.transport.close()


class Serving:
    """A handler at work on one message in a thread of its own; ``error`` is what left it."""

    def __init__(self, association: Association, handler: Handler) -> None:
        self.error: Exception | None = None
        self._association = association
        self._handler = handler
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._handler(self._association, self._association.read_message())
        except Exception as exc:
            self.error = exc

    def join(self) -> Exception | None:
        """Wait for the handler's end and return what left it."""
        self._thread.join(20)
        assert not self._thread.is_alive(), "the handler does not end"
        return self.error


@dataclass
class Visit:
    """One association a warehouse accepted."""

    calling_ae_title: str
    proposed: int
    stores: list[tuple[Command, bytes]] = field(default_factory=list)
    released: bool = False


@dataclass
class Warehouse:
    """A storage SCP on a port of its own: keeps what comes, answers as ``answer`` says (None: cut the connection)."""

    answer: Callable[[Command], int | None] = lambda _request: 0x0000
    accepts: Callable[[str, str], bool] = lambda _sop_class, _syntax: True
    visits: list[Visit] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._settings = DicomSettings(check_called_ae_title=False)
        self._threads: list[threading.Thread] = []
        self._start(self._listen)

    def _start(self, target: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    @property
    def destination(self) -> Destination:
        """Return where it is."""
        return Destination("WAREHOUSE", "127.0.0.1", self._listener.getsockname()[1])

    @property
    def objects(self) -> dict[str, bytes]:
        """Return what came in all visits, by SOP Instance UID, in order."""
        return {
            str(command[dimse.AFFECTED_SOP_INSTANCE_UID]): data
            for visit in self.visits
            for command, data in visit.stores
        }

    def close(self) -> None:
        """Close the port and wait for the associations to end."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(10)
            assert not thread.is_alive(), "an association to the warehouse was left open"

    def _listen(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._start(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        transport = PlainTransport(connection, io_seconds=10)
        try:
            self._converse(transport)
        except (ProtocolError, OSError):
            pass
        finally:
            transport.close()

    def _converse(self, transport: PlainTransport) -> None:
        request = acceptor.read_request(transport, artim_seconds=5)
        proposed = request.primitive.presentation_context_definition_list
        for context in proposed:
            if not self.accepts(str(context.abstract_syntax), str(context.transfer_syntax[0])):
                context.abstract_syntax = UID(_NO_STORAGE)
        visit = Visit(request.calling_ae_title, len(proposed))
        self.visits.append(visit)
        peer = Peer(request.calling_ae_title, request.called_ae_title, "127.0.0.1")
        association = acceptor.accept(transport, request, peer, self._settings)
        try:
            while True:
                message = association.read_message()
                visit.stores.append((message.command, received(association, message)))
                status = self.answer(message.command)
                if status is None:
                    visit.stores.pop()
                    return
                association.send_message(message.context, dimse.response_to(message.command, status))
        except Released:
            visit.released = True


@contextmanager
def open_warehouse(
    answer: Callable[[Command], int | None] = lambda _request: 0x0000,
    accepts: Callable[[str, str], bool] = lambda _sop_class, _syntax: True,
) -> Iterator[Warehouse]:
    """Lend a storage SCP."""
    warehouse = Warehouse(answer, accepts)
    try:
        yield warehouse
    finally:
        warehouse.close()


def fill(store: Store, count: int) -> dict[str, bytes]:
    """Put CT images of one series in, the last one first; return their bytes in instance order."""
    stored = {number: store.put(ct_dataset(number)) for number in range(count, 0, -1)}
    return {uid(number): stored[number] for number in sorted(stored)}


def uid(number: int) -> str:
    """Return the SOP Instance UID of an image ``fill`` makes."""
    return f"{ROOT}.1.1.{number}"


def get(
    store: Store,
    contexts: Sequence[Context] = (GET, CT),
    *,
    keys: Mapping[str, str] = STUDY,
    answer: Answer = take,
    client_max: int = 16384,
) -> Asked:
    """Run one C-GET to its end and return what the requester saw."""
    with connected(contexts, client_max=client_max) as (association, client):
        serving = Serving(association, GetHandler(store.retrieve).handle)
        client.ask(dimse.C_GET_RQ, keys)
        asked = client.converse(answer)
        assert serving.join() is None
        return asked
