"""The benchmarks' DICOM client: its PDUs, commands and identifiers against pynetdicom's; must not measure time."""

from __future__ import annotations

from io import BytesIO

import pytest
from pydicom.dataset import Dataset
from pynetdicom.dimse_messages import C_FIND_RQ, DIMSEMessage
from pynetdicom.dimse_primitives import C_FIND, C_STORE
from pynetdicom.dsutils import decode, encode
from pynetdicom.pdu import A_ASSOCIATE_RQ, P_DATA_TF
from pynetdicom.pdu_primitives import SCP_SCU_RoleSelectionNegotiation

from benchmarks import wire
from benchmarks.wire import Association, Proposal, WireError
from tests.unit.benchmarks.scripted import RELEASED, accept, fragment, pdu_of, scripted

_PROPOSALS = (Proposal(wire.STUDY_ROOT_GET), Proposal(wire.CT_IMAGE_STORAGE, as_scp=True))


def test_association_request_is_read_by_pynetdicom() -> None:
    """Another implementation reads titles, contexts, roles and the PDU length out of our A-ASSOCIATE-RQ."""
    pdu = A_ASSOCIATE_RQ()
    pdu.decode(wire.encode_associate("DRIMBOX", "BENCHMARK", _PROPOSALS, max_pdu=131072))
    primitive = pdu.to_primitive()
    assert (primitive.called_ae_title, primitive.calling_ae_title) == ("DRIMBOX", "BENCHMARK")
    contexts = primitive.presentation_context_definition_list
    assert [(context.context_id, context.abstract_syntax) for context in contexts] == [
        (1, wire.STUDY_ROOT_GET),
        (3, wire.CT_IMAGE_STORAGE),
    ]
    assert primitive.maximum_length_received == 131072
    (role,) = [item for item in primitive.user_information if isinstance(item, SCP_SCU_RoleSelectionNegotiation)]
    assert (role.sop_class_uid, role.scu_role, role.scp_role) == (wire.CT_IMAGE_STORAGE, False, True)


def test_association_acceptance_is_read() -> None:
    """Accepted contexts are told from refused ones, and the peer's maximum PDU length is kept."""
    accepted, limit = wire.accepted_contexts(accept({1: 0, 3: 3, 5: 0}, max_pdu=32768)[6:])
    assert accepted == {1, 5}
    assert limit == 32768


def test_command_is_what_pynetdicom_sends() -> None:
    """Our C-FIND-RQ command set is byte for byte the one pynetdicom encodes."""
    request = C_FIND()
    request.AffectedSOPClassUID, request.MessageID, request.Priority = wire.STUDY_ROOT_FIND, 7, 0
    request.Identifier = BytesIO(b"12")
    message = C_FIND_RQ()
    message.primitive_to_message(request)
    theirs = encode(message.command_set, True, True)
    ours = wire.encode_command(
        {
            wire.AFFECTED_SOP_CLASS: wire.STUDY_ROOT_FIND,
            wire.COMMAND_FIELD: wire.FIND_RQ,
            wire.MESSAGE_ID: 7,
            wire.PRIORITY: 0,
            wire.DATA_SET_TYPE: 1,
        }
    )
    assert ours == theirs


def test_command_comes_back() -> None:
    """A command decodes to what was encoded: numbers as numbers, UIDs without their padding."""
    command: dict[int, int | str] = {wire.COMMAND_FIELD: 0x8001, wire.STATUS: 0xFF00, wire.AFFECTED_SOP_CLASS: "1.2.3"}
    decoded = wire.decode_command(wire.encode_command(command))
    assert {element: decoded[element] for element in command} == command


def test_identifier_is_read_by_pydicom() -> None:
    """Another implementation reads our identifier, tags in order and values padded."""
    raw = wire.encode_identifier(
        {0x0020000D: ("UI", "1.2.3"), 0x00100010: ("PN", "Lefèvre*"), 0x00080052: ("CS", "STUDY")}
    )
    ds = decode(BytesIO(raw), False, True)
    assert [element.keyword for element in ds] == ["QueryRetrieveLevel", "PatientName", "StudyInstanceUID"]
    assert (ds.QueryRetrieveLevel, ds.StudyInstanceUID) == ("STUDY", "1.2.3")
    assert len(raw) % 2 == 0


def test_answer_of_pydicom_is_read() -> None:
    """We read the values of an answer that another implementation encoded."""
    ds = Dataset()
    ds.PatientID, ds.ModalitiesInStudy, ds.NumberOfStudyRelatedInstances = "IPP1", ["CT", "SR"], 600
    raw = encode(ds, False, True)
    assert raw is not None
    assert wire.decode_identifier(raw) == {0x00080061: "CT\\SR", 0x00100020: "IPP1", 0x00201208: "600"}


@pytest.mark.parametrize("charset", ["ISO_IR 100", "ISO_IR 192"])
def test_names_are_read_in_both_character_sets(charset: str) -> None:
    """A name comes out right whether the answer is Latin-1 or UTF-8."""
    ds = Dataset()
    ds.SpecificCharacterSet, ds.PatientName = charset, "LEFÈVRE^ZOÉ"
    raw = encode(ds, False, True)
    assert raw is not None
    assert wire.decode_identifier(raw)[0x00100010] == "LEFÈVRE^ZOÉ"


def test_refused_association_is_an_error() -> None:
    """An A-ASSOCIATE-RJ is an error, not a hang."""
    with (
        scripted(pdu_of(3, b"\x00\x01\x01\x07")) as (address, _),
        pytest.raises(WireError, match="PDU type 3, 00010107"),
    ):
        Association(address, "DRIMBOX", _PROPOSALS)


def test_unaccepted_context_is_an_error() -> None:
    """Asking for a service that the peer refused says which."""
    with scripted(accept({1: 3, 3: 0}), RELEASED) as (address, _), Association(address, "DRIMBOX", _PROPOSALS) as peer:
        with pytest.raises(WireError, match=wire.STUDY_ROOT_GET):
            peer.context_of(wire.STUDY_ROOT_GET)
        assert peer.context_of(wire.CT_IMAGE_STORAGE) == 3


def test_closed_connection_is_an_error() -> None:
    """A peer that closes where data was due is an error."""
    with scripted(accept({1: 0})) as (address, _):
        peer = Association(address, "DRIMBOX", _PROPOSALS)
        with pytest.raises(WireError, match="closed"):
            peer.receive()


def test_message_over_many_pdus_is_put_together() -> None:
    """Fragments shared out over PDUs in any way come back as one message, its data in a sink piece by piece."""
    store: dict[int, int | str] = {
        wire.AFFECTED_SOP_CLASS: wire.CT_IMAGE_STORAGE,
        wire.COMMAND_FIELD: wire.STORE_RQ,
        wire.MESSAGE_ID: 9,
        wire.DATA_SET_TYPE: 1,
        wire.AFFECTED_SOP_INSTANCE: "1.2.3.4",
    }
    command = wire.encode_command(store)
    sent = b"".join(
        (
            accept({1: 0, 3: 0}),
            pdu_of(4, fragment(3, 1, command[:30])),
            pdu_of(4, fragment(3, 3, command[30:]) + fragment(3, 0, b"ab")),
            pdu_of(4, fragment(3, 0, b"cd") + fragment(3, 2, b"e")),
            pdu_of(
                4,
                fragment(
                    3, 3, wire.encode_command({wire.COMMAND_FIELD: 0x8010, wire.STATUS: 0, wire.DATA_SET_TYPE: 0x0101})
                ),
            ),
        )
    )
    pieces: list[bytes] = []
    with scripted(sent, b"", RELEASED) as (address, received), Association(address, "DRIMBOX", _PROPOSALS) as peer:
        message = peer.receive(lambda piece: pieces.append(bytes(piece)))
        peer.answer_store(message)
        final = peer.receive()
    assert (message.field, message.context_id, message.data_size, message.data) == (wire.STORE_RQ, 3, 5, b"")
    assert pieces == [b"ab", b"cd", b"e"]
    assert (final.field, final.status, final.data_size) == (wire.GET_RSP, 0, 0)
    _assert_store_response(received[1])


def _assert_store_response(pdu: bytes) -> None:
    """Assert that ``pdu`` is a C-STORE-RSP of status 0 that pynetdicom reads."""
    data = P_DATA_TF()
    data.decode(pdu)
    message = DIMSEMessage()
    assert message.decode_msg(data.to_primitive())
    answer = message.message_to_primitive()
    assert isinstance(answer, C_STORE)
    assert (answer.Status, answer.MessageIDBeingRespondedTo, answer.AffectedSOPInstanceUID) == (0, 9, "1.2.3.4")


def test_request_respects_the_peers_maximum() -> None:
    """An identifier longer than the peer's PDU is sent in fragments that fit, the last one marked."""
    replies = (accept({1: 0}, max_pdu=4096), b"", b"", b"", b"", RELEASED)
    with scripted(*replies) as (address, received), Association(address, "DRIMBOX", _PROPOSALS) as peer:
        peer.request(wire.GET_RQ, wire.STUDY_ROOT_GET, bytes(10000))
    data = received[2:5]
    assert all(len(pdu) <= 4096 + 6 for pdu in received[1:])
    assert [pdu[11] for pdu in data] == [0, 0, 2]
    assert sum(len(pdu) - 12 for pdu in data) == 10000


def test_release_is_answered() -> None:
    """Leaving releases the association; another answer than A-RELEASE-RP is an error."""
    with scripted(accept({1: 0}), RELEASED) as (address, received):
        Association(address, "DRIMBOX", _PROPOSALS).release()
    assert received[1] == pdu_of(5, bytes(4))
    with scripted(accept({1: 0}), pdu_of(7, bytes(4))) as (address, _), pytest.raises(WireError, match="PDU type 7"):
        Association(address, "DRIMBOX", _PROPOSALS).release()
