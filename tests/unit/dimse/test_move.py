"""C-MOVE to a storage SCP on a real port: what is proposed, what arrives, what the requester hears."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import pytest

from archive.dimse import command as dimse
from archive.dimse.association import Association, Context, Limits
from archive.dimse.contexts import PATIENT_ROOT_MOVE, STUDY_ROOT_MOVE
from archive.dimse.move import MoveHandler, plan
from archive.dimse.requestor import MAX_PROPOSALS, Destination, Proposal, request_association
from archive.errors import FixityError, PduError, PeerClosed
from archive.index.records import StoredInstance
from archive.services.retrieve import ObjectBytes
from tests.objects import CT_IMAGE, ct_dataset, dataset_bytes
from tests.unit.dimse.retrieving import (
    BIG,
    EXPLICIT,
    IMPLICIT,
    MESSAGE_ID,
    STUDY,
    Asked,
    Serving,
    Store,
    connected,
    counts_of,
    fill,
    open_store,
    open_warehouse,
    uid,
)

MOVE = Context(1, STUDY_ROOT_MOVE, EXPLICIT, False, True)
JPEG_LS = "1.2.840.10008.1.2.4.80"

connect = partial(
    request_association,
    calling_ae_title="DRIMBOX",
    limits=Limits(idle_seconds=5, max_pdu_bytes=1 << 20),
    connect_seconds=5,
    io_seconds=5,
)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """An empty archive."""
    with open_store(tmp_path / "home") as store:
        yield store


def handler(store: Store, *destinations: Destination) -> MoveHandler:
    """Return the handler under test, with the destinations it knows."""
    return MoveHandler(store.retrieve, {known.ae_title: known for known in destinations}, connect)


def move(store: Store, *destinations: Destination, to: str = "WAREHOUSE", keys: dict[str, str] = STUDY) -> Asked:
    """Run one C-MOVE to its end and return what the requester saw."""
    with connected((MOVE,)) as (association, client):
        serving = Serving(association, handler(store, *destinations).handle)
        client.ask(dimse.C_MOVE_RQ, keys, destination=to)
        asked = client.converse()
        assert serving.join() is None
        return asked


def test_a_study_arrives_byte_for_byte(store: Store) -> None:
    """Every object arrives as it was received, on one association that is released, and the end is success."""
    stored = fill(store, 8)
    with open_warehouse() as warehouse:
        asked = move(store, warehouse.destination)
    assert warehouse.objects == stored
    assert [(visit.released, visit.calling_ae_title) for visit in warehouse.visits] == [(True, "DRIMBOX")]
    assert (asked.final[dimse.STATUS], asked.counts) == (0x0000, (None, 8, 0, 0))
    assert (asked.identifier, asked.stores) == (None, [])


def test_the_destination_hears_who_asked(store: Store) -> None:
    """Each C-STORE request names the C-MOVE's requester, its message ID and its priority."""
    fill(store, 2)
    with open_warehouse() as warehouse, connected((MOVE,)) as (association, client):
        serving = Serving(association, handler(store, warehouse.destination).handle)
        client.ask(dimse.C_MOVE_RQ, STUDY, destination="WAREHOUSE", priority=2)
        client.converse()
        assert serving.join() is None
    for number, (command, _) in enumerate(warehouse.visits[0].stores, 1):
        assert command[dimse.MOVE_ORIGINATOR_AE_TITLE] == "WORKSTATION"
        assert command[dimse.MOVE_ORIGINATOR_MESSAGE_ID] == MESSAGE_ID
        assert command[dimse.PRIORITY] == 2
        assert command[dimse.MESSAGE_ID] == number


def test_every_sub_operation_is_counted_at_once(store: Store) -> None:
    """After each object the requester gets a pending response whose counts add up, then the failed list."""
    fill(store, 4)
    statuses = iter((0xA700, 0x0000, 0xB006, 0x0122))
    with open_warehouse(lambda _request: next(statuses)) as warehouse:
        asked = move(store, warehouse.destination)
    assert [counts_of(response) for response in asked.pending] == [
        (3, 0, 1, 0),
        (2, 1, 1, 0),
        (1, 1, 1, 1),
        (0, 1, 2, 1),
    ]
    assert (asked.final[dimse.STATUS], asked.counts) == (0xB000, (None, 1, 2, 1))
    assert asked.failed_uids == [uid(1), uid(4)]


def test_an_unknown_destination_is_refused(store: Store) -> None:
    """A destination the configuration does not know gets A801, and no entry claims a retrieve."""
    fill(store, 1)
    with open_warehouse() as warehouse:
        asked = move(store, warehouse.destination, to="ELSEWHERE")
    assert asked.final[dimse.STATUS] == 0xA801
    assert "ELSEWHERE" in str(asked.final[dimse.ERROR_COMMENT])
    assert warehouse.visits == []
    assert store.bodies("retrieved") == []


@pytest.mark.parametrize(
    "keys", [{"QueryRetrieveLevel": "STUDY"}, {"QueryRetrieveLevel": "PATIENT", "PatientID": "PID1"}]
)
def test_an_identifier_that_makes_no_sense_is_refused(store: Store, keys: dict[str, str]) -> None:
    """A missing unique key, or a level the root does not have, gets A900."""
    with open_warehouse() as warehouse:
        assert move(store, warehouse.destination, keys=keys).final[dimse.STATUS] == 0xA900


def test_nothing_that_matches_opens_no_association(store: Store) -> None:
    """A study nobody knows is success with zero counts, and the destination is left in peace."""
    with open_warehouse() as warehouse:
        asked = move(store, warehouse.destination)
    assert (asked.final[dimse.STATUS], asked.counts, warehouse.visits) == (0x0000, (None, 0, 0, 0), [])


def test_a_destination_that_does_not_answer_fails_all(store: Store) -> None:
    """When no association can be opened every sub-operation has failed: A702, all of them listed."""
    fill(store, 3)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    asked = move(store, Destination("WAREHOUSE", "127.0.0.1", port))
    assert (asked.final[dimse.STATUS], asked.counts) == (0xA702, (None, 0, 3, 0))
    assert asked.failed_uids == [uid(1), uid(2), uid(3)]
    assert asked.final[dimse.ERROR_COMMENT] == "WAREHOUSE could not be reached: Connection refused."


def test_a_missing_file_is_one_failed_sub_operation(store: Store) -> None:
    """An object whose file is gone fails alone and is named; the others arrive."""
    stored = fill(store, 3)
    store.path(uid(2)).unlink()
    with open_warehouse() as warehouse:
        asked = move(store, warehouse.destination)
    assert list(warehouse.objects) == [key for key in stored if key != uid(2)]
    assert (asked.final[dimse.STATUS], asked.failed_uids) == (0xB000, [uid(2)])


def test_an_object_the_destination_aborts_at_fails_alone(store: Store) -> None:
    """A peer that cuts the association at one object gets the others on a new one."""
    stored = fill(store, 6)
    cuts = {uid(2), uid(5)}
    with open_warehouse(lambda request: None if request[dimse.AFFECTED_SOP_INSTANCE_UID] in cuts else 0) as warehouse:
        asked = move(store, warehouse.destination)
    assert warehouse.objects == {key: raw for key, raw in stored.items() if key not in cuts}
    assert [len(visit.stores) for visit in warehouse.visits] == [1, 2, 1]
    assert (asked.final[dimse.STATUS], asked.counts, asked.failed_uids) == (0xB000, (None, 4, 2, 0), sorted(cuts))


def test_a_destination_lost_again_and_again_fails_the_rest(store: Store) -> None:
    """After three associations lost in a row without one object taken, the rest fails without another try."""
    fill(store, 9)
    answers = iter([0x0000])
    with open_warehouse(lambda _request: next(answers, None)) as warehouse:
        asked = move(store, warehouse.destination)
    assert len(warehouse.visits) == 3
    assert (asked.final[dimse.STATUS], asked.counts) == (0xB000, (None, 1, 8, 0))
    assert asked.failed_uids == [uid(number) for number in range(2, 10)]


def test_a_disk_that_fails_inside_an_object_costs_that_object(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the rest of a large object cannot be read, its association is aborted and the others go on a new one."""
    store.put(ct_dataset(1, PixelData=bytes(9 << 20)))
    other = store.put(ct_dataset(2))
    read_into = ObjectBytes.read_into

    def failing(self: ObjectBytes, view: memoryview, position: int) -> None:
        if position:
            raise FixityError(key="k", reason="Input/output error")
        read_into(self, view, position)

    monkeypatch.setattr(ObjectBytes, "read_into", failing)
    with open_warehouse() as warehouse:
        asked = move(store, warehouse.destination)
    assert warehouse.objects == {uid(2): other}
    assert (asked.counts, asked.failed_uids) == ((None, 1, 1, 0), [uid(1)])


def test_a_destination_may_say_nothing_but_answers(store: Store) -> None:
    """A destination that answers something that was not asked is aborted; what it was sent then has failed."""
    fill(store, 1)

    def chatting(request: dimse.Command) -> int:
        request[dimse.COMMAND_FIELD] = dimse.C_ECHO_RQ  # what the answer is made from
        return 0x0000

    with open_warehouse(chatting) as warehouse:
        asked = move(store, warehouse.destination)
    assert (asked.final[dimse.STATUS], asked.counts) == (0xA702, (None, 0, 1, 0))


@pytest.mark.parametrize("accepted", [EXPLICIT, IMPLICIT])
def test_an_object_is_converted_when_it_must_be(store: Store, accepted: str) -> None:
    """A destination that takes only explicit, or only implicit, little endian gets a big-endian object in it."""
    ds = ct_dataset(1, PixelData=None)
    store.put(ds, syntax=BIG)
    with open_warehouse(accepts=lambda _sop_class, syntax: syntax == accepted) as warehouse:
        asked = move(store, warehouse.destination)
    assert asked.counts == (None, 1, 0, 0)
    assert warehouse.objects == {uid(1): dataset_bytes(ds, accepted)}


def test_the_stored_syntax_is_proposed_and_used(store: Store) -> None:
    """An object stored in a syntax we cannot even convert arrives untouched where it is accepted."""
    raw = store.put(dataset_bytes(ct_dataset(1)), uid=uid(1), syntax="1.2.3.4.5")
    with open_warehouse() as warehouse:
        move(store, warehouse.destination)
    assert warehouse.objects == {uid(1): raw}
    assert warehouse.visits[0].proposed == 3


def test_a_class_the_destination_refuses_fails_with_a_reason(store: Store) -> None:
    """Objects of a class for which no context was accepted fail; those of another class arrive."""
    ct = store.put(ct_dataset(1))
    private = store.put(dataset_bytes(ct_dataset(2, SOPClassUID="1.2.3.9")), uid=uid(2), sop_class="1.2.3.9")
    assert private
    with open_warehouse(accepts=lambda sop_class, _syntax: sop_class == CT_IMAGE) as warehouse:
        asked = move(store, warehouse.destination)
    assert warehouse.objects == {uid(1): ct}
    assert asked.failed_uids == [uid(2)]
    assert asked.final[dimse.ERROR_COMMENT] == "the peer does not take SOP class 1.2.3.9"


def test_a_destination_that_accepts_nothing_is_released(store: Store) -> None:
    """Without one accepted context every sub-operation fails, and the association still ends as it should."""
    fill(store, 2)
    with open_warehouse(accepts=lambda _sop_class, _syntax: False) as warehouse:
        asked = move(store, warehouse.destination)
    assert (asked.final[dimse.STATUS], asked.counts) == (0xA702, (None, 0, 2, 0))
    assert [visit.released for visit in warehouse.visits] == [True]


def test_more_classes_than_contexts_take_several_associations(store: Store) -> None:
    """Seventy SOP classes need 140 contexts: two associations one after the other, and everything arrives."""
    stored = {}
    for number in range(1, 71):
        sop_class = f"1.2.3.9.{number}"
        ds = ct_dataset(number, SOPClassUID=sop_class, PixelData=None)
        stored[uid(number)] = store.put(dataset_bytes(ds), uid=uid(number), sop_class=sop_class)
    with open_warehouse() as warehouse:
        asked = move(store, warehouse.destination)
    assert warehouse.objects == stored
    assert [visit.proposed for visit in warehouse.visits] == [128, 12]
    assert asked.counts == (None, 70, 0, 0)


def test_a_cancel_stops_it_with_what_remains(store: Store) -> None:
    """A C-CANCEL between two objects ends with FE00 and the counts; the destination is released."""
    fill(store, 9)
    with connected((MOVE,)) as (association, client):

        def answer(request: dimse.Command) -> int:
            if request[dimse.AFFECTED_SOP_INSTANCE_UID] == uid(4):
                client.cancel()
            return 0x0000

        with open_warehouse(answer) as warehouse:
            serving = Serving(association, handler(store, warehouse.destination).handle)
            client.ask(dimse.C_MOVE_RQ, STUDY, destination="WAREHOUSE")
            asked = client.converse()
            assert serving.join() is None
    assert (asked.final[dimse.STATUS], asked.counts) == (0xFE00, (5, 4, 0, 0))
    assert len(warehouse.objects) == 4
    assert warehouse.visits[0].released


def test_a_cancel_keeps_the_failures_so_far(store: Store) -> None:
    """A cancelled retrieve still lists what had failed."""
    fill(store, 3)
    with connected((MOVE,)) as (association, client):

        def answer(_request: dimse.Command) -> int:
            client.cancel()
            return 0xC000

        with open_warehouse(answer) as warehouse:
            serving = Serving(association, handler(store, warehouse.destination).handle)
            client.ask(dimse.C_MOVE_RQ, STUDY, destination="WAREHOUSE")
            asked = client.converse()
            assert serving.join() is None
    assert (asked.final[dimse.STATUS], asked.counts, asked.failed_uids) == (0xFE00, (2, 0, 1, 0), [uid(1)])


def test_a_requester_that_leaves_stops_it(store: Store) -> None:
    """When the requester's connection breaks no further object leaves; the destination is released, all journaled."""
    fill(store, 30)
    with connected((MOVE,)) as (association, client):

        def answer(request: dimse.Command) -> int:
            if request[dimse.AFFECTED_SOP_INSTANCE_UID] == uid(2):
                client.association.transport.close()
            return 0x0000

        with open_warehouse(answer) as warehouse:
            serving = Serving(association, handler(store, warehouse.destination).handle)
            client.ask(dimse.C_MOVE_RQ, STUDY, destination="WAREHOUSE")
            assert isinstance(serving.join(), PeerClosed)
        assert 2 <= len(warehouse.objects) <= 4
        assert warehouse.visits[0].released
    body = json.loads(store.bodies("retrieved")[0])
    assert body["completed"] + body["remaining"] == 30


def test_another_request_meanwhile_breaks_the_protocol(store: Store) -> None:
    """A requester that asks for something else meanwhile breaks its own association, not the destination's."""
    fill(store, 5)
    echo: dimse.Command = {dimse.COMMAND_FIELD: dimse.C_ECHO_RQ, dimse.MESSAGE_ID: 9, dimse.DATASET_TYPE: 0x0101}
    with connected((MOVE,)) as (association, client), open_warehouse() as warehouse:
        client.ask(dimse.C_MOVE_RQ, STUDY, destination="WAREHOUSE")
        client.association.send_message(MOVE, echo)
        serving = Serving(association, handler(store, warehouse.destination).handle)
        assert isinstance(serving.join(), PduError)
    assert all(visit.released for visit in warehouse.visits)


def test_the_journal_names_the_destination(store: Store) -> None:
    """One entry a retrieve, with the counts and where the objects went."""
    fill(store, 2)
    with open_warehouse() as warehouse, connected((MOVE,)) as (association, client):
        serving = Serving(association, handler(store, warehouse.destination).handle)
        client.ask(dimse.C_MOVE_RQ, STUDY, destination="WAREHOUSE")
        client.converse()
        assert serving.join() is None
        assert association.tally.retrieved == 2
    (body,) = store.bodies("retrieved")
    assert {"service": "C-MOVE", "destination": "WAREHOUSE", "completed": 2}.items() <= json.loads(body).items()


def test_patient_root_moves_by_patient(store: Store) -> None:
    """In the patient root a PatientID selects all its studies."""
    stored = fill(store, 2)
    store.put(ct_dataset(1, study=2))
    context = Context(1, PATIENT_ROOT_MOVE, IMPLICIT, False, True)
    with open_warehouse() as warehouse, connected((context,)) as (association, client):
        serving = Serving(association, handler(store, warehouse.destination).handle)
        client.ask(dimse.C_MOVE_RQ, {"QueryRetrieveLevel": "PATIENT", "PatientID": "PID1"}, destination="WAREHOUSE")
        client.converse()
        assert serving.join() is None
    assert warehouse.objects == stored


def test_a_move_on_another_context_breaks_the_protocol(store: Store) -> None:
    """A C-MOVE request on a storage context is a PduError."""
    with connected((Context(1, CT_IMAGE, EXPLICIT, False, True),)) as (association, client):
        serving = Serving(association, handler(store).handle)
        client.ask(dimse.C_MOVE_RQ, STUDY, destination="WAREHOUSE")
        assert isinstance(serving.join(), PduError)


def test_a_destination_that_does_not_release_is_left(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the destination closes instead of answering the release, the retrieve has succeeded all the same."""
    fill(store, 1)

    def failing(_self: Association) -> None:
        raise PeerClosed(what="a release response")

    monkeypatch.setattr(Association, "release", failing)
    with open_warehouse() as warehouse:
        assert move(store, warehouse.destination).final[dimse.STATUS] == 0x0000


def instance(number: int, sop_class: str = CT_IMAGE, syntax: str = EXPLICIT) -> StoredInstance:
    """Return an indexed instance without a copy."""
    return StoredInstance(number, "1.1", "1.2", f"1.3.{number}", sop_class, syntax, bytes(32), 100, ())


def proposed(instances: Sequence[StoredInstance]) -> list[list[Proposal]]:
    """Return the proposals of each association planned."""
    return [journey.proposals for journey in plan(instances)]


def test_a_plan_proposes_each_stored_syntax_and_two_native_ones() -> None:
    """One context a stored syntax, one explicit, one implicit: none twice, one syntax each."""
    instances = [instance(1, syntax=JPEG_LS), instance(2), instance(3, syntax=BIG), instance(4, syntax=JPEG_LS)]
    assert proposed(instances) == [
        [Proposal(CT_IMAGE, (syntax,)) for syntax in (JPEG_LS, BIG, EXPLICIT, IMPLICIT)],
    ]
    assert proposed([instance(1, syntax=IMPLICIT)]) == [
        [Proposal(CT_IMAGE, (EXPLICIT,)), Proposal(CT_IMAGE, (IMPLICIT,))]
    ]


def test_a_plan_keeps_order_and_loses_nothing() -> None:
    """Each object travels once, in the given order within its association, on one that proposes its class."""
    instances = [instance(number, sop_class=f"1.9.{number % 97}") for number in range(1000)]
    journeys = plan(instances)
    assert len(journeys) == 2
    travelled = [travelling for journey in journeys for travelling in journey.instances]
    assert sorted(travelled, key=lambda one: one.instance_id) == instances
    for journey in journeys:
        assert len(journey.proposals) <= MAX_PROPOSALS
        assert [one.instance_id for one in journey.instances] == sorted(one.instance_id for one in journey.instances)
        assert {one.sop_class_uid for one in journey.instances} == {one.abstract_syntax for one in journey.proposals}


def test_a_class_with_absurdly_many_syntaxes_still_fits() -> None:
    """More stored syntaxes of one class than contexts: the surplus is not proposed, the two native ones are."""
    (journey,) = plan([instance(number, syntax=f"1.2.3.{number}") for number in range(300)])
    assert len(journey.proposals) == MAX_PROPOSALS
    assert [proposal.transfer_syntaxes[0] for proposal in journey.proposals[-2:]] == [EXPLICIT, IMPLICIT]
    assert len(journey.instances) == 300


def test_nothing_to_move_needs_no_plan() -> None:
    """No instance, no association."""
    assert plan([]) == []
