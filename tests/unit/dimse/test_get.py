"""C-GET over a real connection, on a real index and real files: what comes, what is counted, what goes wrong."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from archive.dimse import command as dimse
from archive.dimse.association import Context, Released
from archive.dimse.contexts import PATIENT_ROOT_GET, STUDY_ROOT_GET
from archive.dimse.get import GetHandler
from archive.dimse.suboperations import WINDOW_BYTES
from archive.errors import FixityError, IndexUnavailable, PduError, PeerAborted, PeerClosed, PeerTimeout
from archive.services.retrieve import ObjectBytes, Retrieve, Selection
from tests.objects import CT_IMAGE, ROOT, ct_dataset
from tests.unit.dimse.retrieving import (
    CT,
    GET,
    IMPLICIT,
    MESSAGE_ID,
    STUDY,
    Asked,
    Client,
    Serving,
    Store,
    connected,
    counts_of,
    fill,
    get,
    open_store,
    received,
    uid,
)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """An empty archive."""
    with open_store(tmp_path / "home") as store:
        yield store


def test_a_study_comes_byte_for_byte_in_order(store: Store) -> None:
    """Every object of the study arrives exactly as it was received, by instance number, and the end is success."""
    stored = fill(store, 12)
    store.put(ct_dataset(1, study=2))
    asked = get(store)
    assert asked.objects == stored
    assert list(asked.objects) == list(stored)
    assert asked.final[dimse.STATUS] == 0x0000
    assert asked.counts == (None, 12, 0, 0)
    assert asked.identifier is None


def test_each_object_is_announced_as_what_it_is(store: Store) -> None:
    """A C-STORE request names class and instance, has the retrieve's priority and a message ID of its own."""
    fill(store, 3)
    with connected((GET, CT)) as (association, client):
        serving = Serving(association, GetHandler(store.retrieve).handle)
        client.ask(dimse.C_GET_RQ, STUDY, priority=1)
        commands = [command for command, _ in client.converse().stores]
        assert serving.join() is None
    assert [command[dimse.MESSAGE_ID] for command in commands] == [1, 2, 3]
    for number, command in enumerate(commands, 1):
        assert command[dimse.AFFECTED_SOP_CLASS_UID] == CT_IMAGE
        assert command[dimse.AFFECTED_SOP_INSTANCE_UID] == uid(number)
        assert command[dimse.PRIORITY] == 1
        assert dimse.MOVE_ORIGINATOR_AE_TITLE not in command


def test_every_sub_operation_is_counted_at_once(store: Store) -> None:
    """After each object comes a pending response, and its four counts always add up to all."""
    fill(store, 5)
    statuses = iter((0x0000, 0xA700, 0xB000, 0x0000, 0xC123))
    asked = get(store, answer=lambda _client, _request: next(statuses))
    assert [counts_of(response) for response in asked.pending] == [
        (4, 1, 0, 0),
        (3, 1, 1, 0),
        (2, 1, 1, 1),
        (1, 2, 1, 1),
        (0, 2, 2, 1),
    ]
    assert {response[dimse.MESSAGE_ID_RESPONDED_TO] for response in asked.pending} == {MESSAGE_ID}
    assert asked.final[dimse.STATUS] == 0xB000
    assert asked.counts == (None, 2, 2, 1)
    assert asked.failed_uids == [uid(2), uid(5)]


def test_a_warning_alone_is_a_warning_in_the_end(store: Store) -> None:
    """Objects taken with a warning are counted as such; the end is B000 without a failed list."""
    fill(store, 2)
    asked = get(store, answer=lambda _client, _request: 0xB007)
    assert asked.final[dimse.STATUS] == 0xB000
    assert asked.counts == (None, 0, 0, 2)
    assert asked.identifier is None


def test_nothing_that_matches_is_success(store: Store) -> None:
    """A study nobody knows gives success with zero counts and no object."""
    fill(store, 1)
    asked = get(store, keys={**STUDY, "StudyInstanceUID": "1.2.3"})
    assert (asked.final[dimse.STATUS], asked.counts, asked.stores, asked.pending) == (0, (None, 0, 0, 0), [], [])


def test_a_missing_file_is_one_failed_sub_operation(store: Store) -> None:
    """An object whose file is gone fails alone and is named; the others arrive."""
    stored = fill(store, 4)
    store.path(uid(2)).unlink()
    asked = get(store)
    assert asked.objects == {key: raw for key, raw in stored.items() if key != uid(2)}
    assert (asked.final[dimse.STATUS], asked.counts) == (0xB000, (None, 3, 1, 0))
    assert asked.failed_uids == [uid(2)]
    assert asked.final[dimse.ERROR_COMMENT] == "stored bytes lost or damaged: No such file or directory"
    assert len(asked.pending) == 4


def test_a_file_of_another_size_is_not_sent(store: Store) -> None:
    """A file that grew or shrank is no longer what was received: it fails instead of leaving."""
    fill(store, 2)
    for number in (1, 2):
        path = store.path(uid(number))
        path.write_bytes(path.read_bytes()[:-2] if number == 1 else path.read_bytes() + b"\0\0")
    asked = get(store)
    assert asked.stores == []
    assert (asked.final[dimse.STATUS], asked.counts) == (0xA702, (None, 0, 2, 0))
    assert asked.failed_uids == [uid(1), uid(2)]


def test_the_requester_hears_the_first_reason(store: Store) -> None:
    """The final response says in its Error Comment why the first object failed."""
    fill(store, 2)
    asked = get(store, answer=lambda _client, _request: 0xA900)
    assert asked.final[dimse.STATUS] == 0xA702
    assert asked.final[dimse.ERROR_COMMENT] == "the peer refused it with status A900"


def test_a_cancel_stops_it_with_what_remains(store: Store) -> None:
    """A C-CANCEL sent before an answer ends the retrieve after that object: FE00, the counts as they were."""
    fill(store, 9)

    def answer(client: Client, request: dimse.Command) -> int:
        if request[dimse.MESSAGE_ID] == 3:
            client.cancel()
        return 0x0000

    asked = get(store, answer=answer)
    assert asked.final[dimse.STATUS] == 0xFE00
    assert asked.counts == (6, 3, 0, 0)
    assert len(asked.stores) == 3
    assert '"remaining":6' in store.bodies("retrieved")[0]


def test_a_cancel_of_another_request_changes_nothing(store: Store) -> None:
    """A C-CANCEL that names another message is passed over."""
    fill(store, 3)

    def answer(client: Client, _request: dimse.Command) -> int:
        client.cancel(MESSAGE_ID + 1)
        return 0x0000

    assert get(store, answer=answer).counts == (None, 3, 0, 0)


def test_a_cancel_with_the_last_object_comes_too_late(store: Store) -> None:
    """When nothing remains there is nothing to cancel: the end is success."""
    fill(store, 1)

    def answer(client: Client, _request: dimse.Command) -> int:
        client.cancel()
        return 0x0000

    assert get(store, answer=answer).final[dimse.STATUS] == 0x0000


@pytest.mark.parametrize(
    ("context", "comment"),
    [
        (CT._replace(as_scu=False), "no SCP role proposed for SOP class 1.2.840.10008.5.1.4.1.1.2"),
        (CT._replace(abstract_syntax="1.2.3"), "the peer does not take SOP class 1.2.840.10008.5.1.4.1.1.2"),
    ],
)
def test_without_a_context_in_its_role_nothing_is_sent(store: Store, context: Context, comment: str) -> None:
    """An object whose class the peer did not offer to take, or not as SCP, is a failed sub-operation with a reason."""
    fill(store, 1)
    asked = get(store, (GET, context))
    assert (asked.final[dimse.STATUS], asked.stores) == (0xA702, [])
    assert asked.final[dimse.ERROR_COMMENT] == comment


def test_the_journal_says_what_was_given(store: Store) -> None:
    """One entry a retrieve: who, studies, counts, destination; UIDs but nothing of the patient."""
    fill(store, 3)
    get(store)
    (body,) = store.bodies("retrieved")
    assert json.loads(body) == {
        "service": "C-GET",
        "destination": "WORKSTATION",
        "study_instance_uids": [f"{ROOT}.1"],
        "instances": 3,
        "completed": 3,
        "failed": 0,
        "warning": 0,
        "remaining": 0,
    }
    assert store.rig.entries()[-1].actor == "WORKSTATION"


def test_the_association_counts_what_left(store: Store) -> None:
    """The association's tally has the objects taken and their bytes, and not those that failed."""
    stored = fill(store, 3)
    statuses = iter((0x0000, 0xA700, 0xB000))
    with connected((GET, CT)) as (association, client):
        serving = Serving(association, GetHandler(store.retrieve).handle)
        client.ask(dimse.C_GET_RQ, STUDY)
        client.converse(lambda _client, _request: next(statuses))
        assert serving.join() is None
        assert association.tally.retrieved == 2
        assert association.tally.bytes_out == len(stored[uid(1)]) + len(stored[uid(3)])


def test_a_requester_that_leaves_is_journaled_and_told_to_the_server(store: Store) -> None:
    """When the connection breaks in the middle, the error leaves for the server and the journal has what was given."""
    fill(store, 5)
    with connected((GET, CT)) as (association, client):
        serving = Serving(association, GetHandler(store.retrieve).handle)
        client.ask(dimse.C_GET_RQ, STUDY)

        def answer(client: Client, request: dimse.Command) -> int:
            if request[dimse.MESSAGE_ID] == 3:
                client.association.transport.close()
            return 0x0000

        with pytest.raises(PeerClosed):
            client.converse(answer)
        assert isinstance(serving.join(), PeerClosed)
    body = json.loads(store.bodies("retrieved")[0])
    assert (body["completed"], body["failed"], body["remaining"]) == (2, 0, 3)


@pytest.mark.parametrize(
    ("last_words", "error"), [(b"\x07\0\0\0\0\x04\0\0\0\0", PeerAborted), (b"\x05\0\0\0\0\x04\0\0\0\0", Released)]
)
def test_abort_and_release_end_it(store: Store, last_words: bytes, error: type[Exception]) -> None:
    """A requester that aborts or releases instead of answering ends the retrieve."""
    fill(store, 3)
    with connected((GET, CT)) as (association, client):
        serving = Serving(association, GetHandler(store.retrieve).handle)
        client.ask(dimse.C_GET_RQ, STUDY)
        client.association.transport.send([last_words], what="a goodbye")
        assert isinstance(serving.join(), error)
    assert json.loads(store.bodies("retrieved")[0])["completed"] == 0


def test_a_requester_that_never_answers_runs_into_the_timer(store: Store) -> None:
    """No answer to a C-STORE request within the idle time is a PeerTimeout."""
    fill(store, 1)
    with connected((GET, CT), seconds=0.3) as (association, client):
        serving = Serving(association, GetHandler(store.retrieve).handle)
        client.ask(dimse.C_GET_RQ, STUDY)
        assert isinstance(serving.join(), PeerTimeout)


@pytest.mark.parametrize(
    "answer",
    [
        {dimse.COMMAND_FIELD: dimse.C_ECHO_RQ, dimse.MESSAGE_ID: 9, dimse.DATASET_TYPE: 0x0101},
        {
            dimse.COMMAND_FIELD: dimse.C_STORE_RSP,
            dimse.MESSAGE_ID_RESPONDED_TO: 99,
            dimse.DATASET_TYPE: 0x0101,
            dimse.STATUS: 0,
        },
        {dimse.COMMAND_FIELD: dimse.C_STORE_RSP, dimse.MESSAGE_ID_RESPONDED_TO: 1, dimse.DATASET_TYPE: 0x0101},
    ],
    ids=["another request", "another answer", "no status"],
)
def test_what_is_no_answer_breaks_the_protocol(store: Store, answer: dimse.Command) -> None:
    """Anything but the answer or a C-CANCEL where an answer is due is a PduError."""
    fill(store, 1)
    with connected((GET, CT)) as (association, client):
        serving = Serving(association, GetHandler(store.retrieve).handle)
        client.ask(dimse.C_GET_RQ, STUDY)
        received(client.association, client.association.read_message())
        client.association.send_message(CT, answer)
        assert isinstance(serving.join(), PduError)


def test_a_disk_that_fails_inside_an_object_sends_no_wrong_byte(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """When a second window cannot be read the message stays unfinished and the error leaves for the server to abort."""
    store.put(ct_dataset(1, PixelData=bytes(2 * WINDOW_BYTES)))
    read_into = ObjectBytes.read_into

    def failing(self: ObjectBytes, view: memoryview, position: int) -> None:
        if position:
            raise FixityError(key="k", reason="Input/output error")
        read_into(self, view, position)

    monkeypatch.setattr(ObjectBytes, "read_into", failing)
    with connected((GET, CT), seconds=0.5) as (association, client):
        serving = Serving(association, GetHandler(store.retrieve).handle)
        client.ask(dimse.C_GET_RQ, STUDY)
        message = client.association.read_message()
        assert message.command[dimse.COMMAND_FIELD] == dimse.C_STORE_RQ
        sent = 0
        try:
            while not client.association._next_fragment(0.5).is_last:
                sent += 1
                client.association.transport.receive(memoryview(bytearray(16_378)), what="a fragment")
        except PeerTimeout:
            pass
        assert sent == WINDOW_BYTES // 16_378
        assert isinstance(serving.join(), FixityError)
    assert '"completed":0' in store.bodies("retrieved")[0]


@pytest.mark.parametrize(
    ("keys", "status"),
    [
        ({"QueryRetrieveLevel": "STUDY"}, 0xA900),
        ({"StudyInstanceUID": "1.2"}, 0xA900),
        ({"QueryRetrieveLevel": "PATIENT", "PatientID": "PID1"}, 0xA900),
        ({"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": "1.2*"}, 0xA900),
    ],
)
def test_an_identifier_that_makes_no_sense_is_refused(store: Store, keys: dict[str, str], status: int) -> None:
    """No level, no unique key, a level the root does not have, a wildcard: A900 with a comment, and no entry."""
    asked = get(store, keys=keys)
    assert asked.final[dimse.STATUS] == status
    assert asked.final[dimse.ERROR_COMMENT]
    assert store.bodies("retrieved") == []


def test_a_request_without_identifier_is_refused(store: Store) -> None:
    """A C-GET request that announces no data set gets A900."""
    with connected((GET, CT)) as (association, client):
        serving = Serving(association, GetHandler(store.retrieve).handle)
        request: dimse.Command = {
            dimse.AFFECTED_SOP_CLASS_UID: STUDY_ROOT_GET,
            dimse.COMMAND_FIELD: dimse.C_GET_RQ,
            dimse.MESSAGE_ID: MESSAGE_ID,
            dimse.DATASET_TYPE: dimse.NO_DATASET,
        }
        client.association.send_message(GET, request)
        assert client.converse().final[dimse.STATUS] == 0xA900
        assert serving.join() is None


def test_the_association_lives_on_after_a_refusal(store: Store) -> None:
    """After a refused retrieve the next one on the same association is answered."""
    stored = fill(store, 1)
    with connected((GET, CT)) as (association, client):
        for keys, status in (({"QueryRetrieveLevel": "X"}, 0xA900), (STUDY, 0)):
            serving = Serving(association, GetHandler(store.retrieve).handle)
            client.asked = Asked()
            client.ask(dimse.C_GET_RQ, keys)
            assert client.converse().final[dimse.STATUS] == status
            assert serving.join() is None
        assert client.asked.objects == stored


def test_an_index_that_does_not_answer_refuses_for_now(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the index is down a retrieve gets A700, and no object."""

    def fail(_self: Retrieve, _selection: Selection) -> None:
        raise IndexUnavailable(reason="it is down")

    monkeypatch.setattr(Retrieve, "find", fail)
    assert get(store).final[dimse.STATUS] == 0xA700


def test_a_journal_that_does_not_take_the_entry_spoils_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the index fails after the objects left, the requester still hears of them."""

    def fail(_self: Retrieve, _retrieved: object) -> None:
        raise IndexUnavailable(reason="it is down")

    fill(store, 2)
    monkeypatch.setattr(Retrieve, "record", fail)
    assert get(store).counts == (None, 2, 0, 0)


def test_a_mistake_of_ours_is_a_status_too(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error nobody expected before the first object gives the general failure, and tells nothing of itself."""

    def fail(_self: Retrieve, _selection: Selection) -> None:
        raise ZeroDivisionError("MOREAU")

    monkeypatch.setattr(Retrieve, "find", fail)
    asked = get(store)
    assert asked.final[dimse.STATUS] == 0x0110
    assert "MOREAU" not in str(asked.final)


def test_a_get_on_another_context_breaks_the_protocol(store: Store) -> None:
    """A C-GET request on a storage context is a PduError."""
    with connected((CT,)) as (association, client):
        serving = Serving(association, GetHandler(store.retrieve).handle)
        client.ask(dimse.C_GET_RQ, STUDY)
        assert isinstance(serving.join(), PduError)


def test_patient_root_gives_by_patient(store: Store) -> None:
    """In the patient root a PatientID selects all its studies."""
    fill(store, 2)
    store.put(ct_dataset(1, study=2))
    context = Context(1, PATIENT_ROOT_GET, IMPLICIT, False, True)
    keys = {"QueryRetrieveLevel": "PATIENT", "PatientID": "PID1"}
    assert list(get(store, (context, CT), keys=keys).objects) == [uid(1), uid(2)]
