"""C-FIND on the wire: what a peer reads for each kind of query, cancellation, limits and failures."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, cast

import pytest
from pydicom.dataset import Dataset
from structlog.testing import capture_logs

from archive.dimse import command as dimse, contexts
from archive.dimse.association import Association, Context, Released
from archive.dimse.find import FindHandler
from archive.dimse.identifier import decode_identifier, encode_identifier
from archive.errors import IndexUnavailable, PduError, TooManyMatches
from archive.index.find import Query
from archive.services.committer import Committer
from archive.services.find import Find, Question, Root
from tests.objects import ROOT, ct_dataset, dataset_bytes
from tests.unit.dimse.wire import CT, association_pair, p_data, pdv, read_pdu
from tests.unit.services.shelf import Shelf, open_shelf

STUDY = Context(1, contexts.STUDY_ROOT_FIND, contexts.EXPLICIT_LITTLE, False, True)
PATIENT = Context(3, contexts.PATIENT_ROOT_FIND, contexts.IMPLICIT_LITTLE, False, True)
RELEASE = b"\x05\x00\x00\x00\x00\x04\x00\x00\x00\x00"


@dataclass(frozen=True, slots=True)
class Stub(Find):
    """Answers as often as it is told to, then ends as it is told to."""

    count: int = 0
    end: Exception | None = None
    before: dict[int, Callable[[], None]] = field(default_factory=dict)

    def question(self, root: Root, identifier: Mapping[str, str]) -> Question:
        return Question(Query(root, "STUDY", {}), frozenset())

    def answers(self, question: Question) -> Generator[Mapping[str, str], None, None]:
        for number in range(self.count):
            self.before.get(number, lambda: None)()
            yield {"StudyInstanceUID": f"1.2.{number}"}
        if self.end is not None:
            raise self.end


def stub(count: int, end: Exception | None = None) -> Stub:
    """Return a Find that needs no index."""
    return Stub(cast(Committer, None), 100, count, end)


class Response(NamedTuple):
    """One response as the peer reads it."""

    status: int
    command: dimse.Command
    values: Mapping[str, str]


@pytest.fixture
def pair() -> Iterator[tuple[Association, socket.socket]]:
    """Both ends of an association for queries."""
    with association_pair() as (association, peer):
        association.contexts = {1: STUDY, 3: PATIENT}
        yield association, peer


def request(context: Context, raw: bytes | None, *, message_id: int = 7) -> bytes:
    """Return the bytes of a C-FIND request."""
    command: dimse.Command = {
        dimse.AFFECTED_SOP_CLASS_UID: context.abstract_syntax,
        dimse.COMMAND_FIELD: dimse.C_FIND_RQ,
        dimse.MESSAGE_ID: message_id,
        dimse.PRIORITY: 0,
        dimse.DATASET_TYPE: dimse.NO_DATASET if raw is None else dimse.HAS_DATASET,
    }
    data = p_data(pdv(dimse.encode(command), context_id=context.context_id, command=True))
    return data if raw is None else data + p_data(pdv(raw, context_id=context.context_id))


def cancel(message_id: int = 7) -> bytes:
    """Return the bytes of a C-CANCEL request."""
    command: dimse.Command = {
        dimse.COMMAND_FIELD: dimse.C_CANCEL_RQ,
        dimse.MESSAGE_ID_RESPONDED_TO: message_id,
        dimse.DATASET_TYPE: dimse.NO_DATASET,
    }
    return p_data(pdv(dimse.encode(command), command=True))


def read_response(peer: socket.socket, syntax: str) -> Response:
    """Read one response and, when it has one, its identifier."""
    command = dimse.decode(read_pdu(peer)[1][6:])
    values: Mapping[str, str] = {}
    if command[dimse.DATASET_TYPE] != dimse.NO_DATASET:
        values = decode_identifier(read_pdu(peer)[1][6:], syntax)
    return Response(dimse.number(command, dimse.STATUS), command, values)


def exchange(
    find: Find, pair: tuple[Association, socket.socket], identifier: Mapping[str, str], context: Context = STUDY
) -> list[Response]:
    """Send one query, let the handler answer it, and return every response."""
    association, peer = pair
    peer.sendall(request(context, encode_identifier(identifier, context.transfer_syntax)))
    FindHandler(find).handle(association, association.read_message())
    responses = [read_response(peer, context.transfer_syntax)]
    while responses[-1].status in (0xFF00, 0xFF01):
        responses.append(read_response(peer, context.transfer_syntax))
    assert not association.has_message_waiting()
    return responses


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Shelf]:
    """Two studies."""
    with open_shelf(tmp_path) as opened:
        opened.put(ct_dataset(1, study=1))
        opened.put(ct_dataset(1, study=2))
        yield opened


def test_each_match_is_pending_and_success_comes_last(shelf: Shelf, pair: tuple[Association, socket.socket]) -> None:
    """Every answer has the asked keys, the level and where to retrieve from; the last response has no identifier."""
    identifier = {"QueryRetrieveLevel": "STUDY", "PatientName": "moreau^helene", "StudyInstanceUID": ""}
    *answers, last = exchange(Find(shelf.committer, 10), pair, identifier)
    assert [answer.status for answer in answers] == [0xFF00, 0xFF00]
    assert {answer.values["StudyInstanceUID"] for answer in answers} == {f"{ROOT}.1", f"{ROOT}.2"}
    expected = {"QueryRetrieveLevel": "STUDY", "PatientName": "MOREAU^Hélène", "RetrieveAETitle": "DRIMBOX"}
    assert expected.items() <= answers[0].values.items()
    assert (last.status, last.values) == (0x0000, {})
    assert last.command[dimse.MESSAGE_ID_RESPONDED_TO] == 7
    assert last.command[dimse.AFFECTED_SOP_CLASS_UID] == contexts.STUDY_ROOT_FIND
    assert pair[0].tally.found == 2


def test_patient_root_is_answered_on_its_own_context(shelf: Shelf, pair: tuple[Association, socket.socket]) -> None:
    """The context says which model is meant and how answers are encoded."""
    answer, last = exchange(
        Find(shelf.committer, 10), pair, {"QueryRetrieveLevel": "PATIENT", "PatientID": "PID2"}, PATIENT
    )
    assert answer.values["PatientID"] == "PID2"
    assert answer.command[dimse.AFFECTED_SOP_CLASS_UID] == contexts.PATIENT_ROOT_FIND
    assert last.status == 0x0000


def test_no_match_is_success_at_once(shelf: Shelf, pair: tuple[Association, socket.socket]) -> None:
    """Finding nothing is no error."""
    (last,) = exchange(Find(shelf.committer, 10), pair, {"QueryRetrieveLevel": "STUDY", "PatientID": "NOBODY"})
    assert (last.status, last.values) == (0x0000, {})


def test_unsupported_keys_come_back_empty_with_a_warning(shelf: Shelf, pair: tuple[Association, socket.socket]) -> None:
    """A key the archive does not know is told by status FF01 and an empty element, on every answer."""
    identifier = {"QueryRetrieveLevel": "STUDY", "ProcedureCodeSequence": "", "ProtocolName": "x"}
    *answers, last = exchange(Find(shelf.committer, 10), pair, identifier)
    assert [answer.status for answer in answers] == [0xFF01, 0xFF01]
    assert all(answer.values["ProcedureCodeSequence"] == "" == answer.values["ProtocolName"] for answer in answers)
    assert last.status == 0x0000


@pytest.mark.parametrize(
    ("identifier", "comment"),
    [
        ({"PatientID": "1"}, "QueryRetrieveLevel is missing"),
        ({"QueryRetrieveLevel": "PATIENT"}, "there is no such level in the study root model"),
    ],
)
def test_an_identifier_that_does_not_fit_is_refused_with_the_reason(
    pair: tuple[Association, socket.socket], shelf: Shelf, identifier: dict[str, str], comment: str
) -> None:
    """Status A900, and an Error Comment that says what to correct, whole."""
    (last,) = exchange(Find(shelf.committer, 10), pair, identifier)
    assert (last.status, last.command[dimse.ERROR_COMMENT]) == (0xA900, comment)


@pytest.mark.parametrize("raw", [b"\x08\x00\x52\x00CS\xff\x00STUDY ", b"garbage!" * 4])
def test_an_identifier_that_cannot_be_read_is_refused(
    pair: tuple[Association, socket.socket], shelf: Shelf, raw: bytes
) -> None:
    """Bytes that are no data set are the peer's mistake: A900, and the association goes on."""
    association, peer = pair
    handler = FindHandler(Find(shelf.committer, 10))
    peer.sendall(request(STUDY, raw))
    handler.handle(association, association.read_message())
    assert read_response(peer, STUDY.transfer_syntax).status == 0xA900
    identifier = encode_identifier({"QueryRetrieveLevel": "STUDY", "PatientID": "PID1"}, STUDY.transfer_syntax)
    peer.sendall(request(STUDY, identifier))
    handler.handle(association, association.read_message())
    assert [read_response(peer, STUDY.transfer_syntax).status for _ in range(2)] == [0xFF00, 0x0000]


def test_a_query_without_an_identifier_is_refused(pair: tuple[Association, socket.socket]) -> None:
    """A C-FIND request has to carry a data set."""
    association, peer = pair
    peer.sendall(request(STUDY, None))
    FindHandler(stub(0)).handle(association, association.read_message())
    assert read_response(peer, STUDY.transfer_syntax).status == 0xA900


def test_a_query_on_another_service_s_context_breaks_the_association(pair: tuple[Association, socket.socket]) -> None:
    """On a storage context there is no C-FIND: the peer broke the protocol."""
    association, peer = pair
    storage = Context(1, CT, contexts.EXPLICIT_LITTLE, False, True)
    association.contexts = {1: storage}
    peer.sendall(request(storage, b""))
    with pytest.raises(PduError, match="not for queries"):
        FindHandler(stub(0)).handle(association, association.read_message())


def test_answers_are_in_the_query_s_character_set(shelf: Shelf, pair: tuple[Association, socket.socket]) -> None:
    """A query in UTF-8 gets UTF-8, though a narrower set would hold the answer."""
    association, peer = pair
    identifier = Dataset()
    identifier.SpecificCharacterSet, identifier.QueryRetrieveLevel = "ISO_IR 192", "STUDY"
    identifier.PatientName = "*Hélène"
    peer.sendall(request(STUDY, dataset_bytes(identifier)))
    FindHandler(Find(shelf.committer, 10)).handle(association, association.read_message())
    read_pdu(peer)
    answer = read_pdu(peer)[1]
    assert b"ISO_IR 192" in answer
    assert "MOREAU^Hélène".encode() in answer


def test_many_answers_arrive_whole_and_in_order(pair: tuple[Association, socket.socket]) -> None:
    """Answers sent many at a time are the same messages as answers sent one by one."""
    *answers, last = exchange(stub(1000), pair, {"QueryRetrieveLevel": "STUDY"})
    assert [answer.values["StudyInstanceUID"] for answer in answers] == [f"1.2.{number}" for number in range(1000)]
    assert last.status == 0x0000


def test_too_many_answers_end_with_out_of_resources(pair: tuple[Association, socket.socket]) -> None:
    """The answers up to the limit are sent, then A700 says to narrow the query."""
    *answers, last = exchange(stub(40, TooManyMatches(limit=40)), pair, {"QueryRetrieveLevel": "STUDY"})
    assert len(answers) == 40
    assert (last.status, last.command[dimse.ERROR_COMMENT]) == (0xA700, "More than 40 answers; narrow the query.")


@pytest.mark.parametrize(
    ("error", "status"), [(IndexUnavailable(reason="stopped"), 0xA700), (RuntimeError("MOREAU"), 0x0110)]
)
def test_a_query_that_fails_midway_sends_no_half_answer(
    pair: tuple[Association, socket.socket], error: Exception, status: int
) -> None:
    """An index that goes away, or a mistake of ours, is one failure response; nothing of an unknown error leaks."""
    (last,) = exchange(stub(40, error), pair, {"QueryRetrieveLevel": "STUDY"})
    assert last.status == status
    assert "MOREAU" not in str(last.command[dimse.ERROR_COMMENT])
    assert pair[0].tally.found == 0


def test_a_cancel_before_the_answers_leaves_only_the_cancel_status(pair: tuple[Association, socket.socket]) -> None:
    """A C-CANCEL that waits already is honoured before anything is sent."""
    association, peer = pair
    peer.sendall(request(STUDY, b"") + cancel())
    FindHandler(stub(1000)).handle(association, association.read_message())
    assert read_response(peer, STUDY.transfer_syntax).status == 0xFE00
    assert association.tally.found == 0


def test_a_cancel_while_the_index_searches_is_honoured(pair: tuple[Association, socket.socket]) -> None:
    """A C-CANCEL that comes between two rows ends the search; what was found by then is not sent."""
    association, peer = pair
    find = Stub(cast(Committer, None), 100, 1000, None, {10: lambda: peer.sendall(cancel())})
    peer.sendall(request(STUDY, b""))
    FindHandler(find).handle(association, association.read_message())
    assert read_response(peer, STUDY.transfer_syntax).status == 0xFE00


def test_a_cancel_between_answers_stops_them(pair: tuple[Association, socket.socket]) -> None:
    """A peer that reads slowly and cancels gets some answers, then FE00, not all of them."""
    association, peer = pair
    association.transport._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)  # type: ignore[attr-defined]
    count = 50_000
    peer.sendall(request(STUDY, b""))
    message = association.read_message()
    thread = threading.Thread(target=FindHandler(stub(count)).handle, args=(association, message))
    thread.start()
    statuses = [read_response(peer, STUDY.transfer_syntax).status]
    peer.sendall(cancel())
    while statuses[-1] == 0xFF00:
        statuses.append(read_response(peer, STUDY.transfer_syntax).status)
    thread.join(10)
    assert statuses[-1] == 0xFE00
    assert association.tally.found == len(statuses) - 1 < count


def test_a_cancel_for_another_message_changes_nothing(pair: tuple[Association, socket.socket]) -> None:
    """A late C-CANCEL of an earlier query does not end this one."""
    association, peer = pair
    peer.sendall(request(STUDY, b"") + cancel(message_id=6))
    FindHandler(stub(100)).handle(association, association.read_message())
    statuses = [read_response(peer, STUDY.transfer_syntax).status for _ in range(101)]
    assert statuses == [0xFF00] * 100 + [0x0000]


def test_a_request_during_a_query_breaks_the_protocol(pair: tuple[Association, socket.socket]) -> None:
    """Without asynchronous operations a peer has one request at a time: the next one aborts."""
    association, peer = pair
    peer.sendall(request(STUDY, b"") + request(STUDY, b"", message_id=8))
    with pytest.raises(PduError, match="before the query was answered"):
        FindHandler(stub(100)).handle(association, association.read_message())


def test_a_release_during_a_query_ends_the_association(pair: tuple[Association, socket.socket]) -> None:
    """A peer that leaves early is let go, not answered with a failure."""
    association, peer = pair
    peer.sendall(request(STUDY, b"") + RELEASE)
    with pytest.raises(Released):
        FindHandler(stub(100)).handle(association, association.read_message())
    assert read_pdu(peer)[0] == 0x06


def test_the_log_tells_level_and_count_and_nothing_of_the_query(
    shelf: Shelf, pair: tuple[Association, socket.socket]
) -> None:
    """One line a query: how many answers, how it ended; no key and no value of it."""
    with capture_logs() as lines:
        exchange(Find(shelf.committer, 10), pair, {"QueryRetrieveLevel": "STUDY", "PatientName": "MOREAU*"})
    (line,) = [line for line in lines if line["event"] == "query_answered"]
    assert (line["query_level"], line["answers"], line["status"]) == ("STUDY", 2, "0000")
    assert "MOREAU" not in repr(lines)
