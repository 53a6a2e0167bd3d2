"""Command sets in bytes and back, against pynetdicom's own encoder and hostile bytes."""

from __future__ import annotations

from io import BytesIO

import pytest
from hypothesis import given, strategies as st
from pynetdicom.dimse_messages import C_STORE_RQ
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dsutils import decode as pynetdicom_decode, encode as pynetdicom_encode

from archive.dimse import command as dimse
from archive.errors import PduError

CT = "1.2.840.10008.5.1.4.1.1.2"


def _store_request() -> bytes:
    primitive = C_STORE()
    primitive.MessageID = 7
    primitive.AffectedSOPClassUID = CT
    primitive.AffectedSOPInstanceUID = "1.2.3"
    primitive.Priority = 2
    primitive.DataSet = BytesIO(b"\0\0")
    message = C_STORE_RQ()
    message.primitive_to_message(primitive)
    raw = pynetdicom_encode(message.command_set, True, True)
    assert raw is not None
    return raw


def test_a_store_request_of_another_implementation_is_read() -> None:
    """A C-STORE-RQ encoded by pynetdicom gives its elements as plain values."""
    command = dimse.decode(_store_request())
    assert command[dimse.COMMAND_FIELD] == dimse.C_STORE_RQ
    assert command[dimse.MESSAGE_ID] == 7
    assert command[dimse.AFFECTED_SOP_CLASS_UID] == CT
    assert command[dimse.AFFECTED_SOP_INSTANCE_UID] == "1.2.3"


def test_a_response_is_read_by_another_implementation() -> None:
    """What encode writes, pynetdicom reads: group length, order, padding and values."""
    response = dimse.response_to(dimse.decode(_store_request()), 0xA700)
    raw = dimse.encode(dimse.with_comment(response, "disk full, make room"))
    ds = pynetdicom_decode(BytesIO(raw), True, True)
    assert ds.CommandGroupLength == len(raw) - 12
    assert (ds.CommandField, ds.MessageIDBeingRespondedTo, ds.Status) == (0x8001, 7, 0xA700)
    assert (ds.AffectedSOPClassUID, ds.AffectedSOPInstanceUID) == (CT, "1.2.3")
    assert ds.ErrorComment == "disk full, make room"
    assert ds.CommandDataSetType == 0x0101


def test_an_error_comment_never_exceeds_its_value_representation() -> None:
    """An Error Comment is cut to 64 characters and has no backslash, which would make it two values."""
    comment = dimse.with_comment({}, "a\\b" * 60)[dimse.ERROR_COMMENT]
    assert isinstance(comment, str)
    assert len(comment) == 64
    assert "\\" not in comment


def test_a_response_announces_its_data_set() -> None:
    """A response with a data set has a data set type other than 0101H."""
    request = dimse.decode(_store_request())
    assert dimse.response_to(request, 0, has_dataset=True)[dimse.DATASET_TYPE] != dimse.NO_DATASET
    assert dimse.response_to(request, 0)[dimse.DATASET_TYPE] == dimse.NO_DATASET


def test_a_response_names_the_requested_instance_of_an_action() -> None:
    """N-ACTION carries Requested UIDs; its response answers with Affected UIDs (PS3.7 table 10.3-6)."""
    request: dimse.Command = {
        dimse.COMMAND_FIELD: dimse.N_ACTION_RQ,
        dimse.MESSAGE_ID: 3,
        dimse.REQUESTED_SOP_CLASS_UID: "1.2",
        dimse.REQUESTED_SOP_INSTANCE_UID: "1.2.1",
    }
    response = dimse.response_to(request, 0)
    assert response[dimse.AFFECTED_SOP_CLASS_UID] == "1.2"
    assert response[dimse.AFFECTED_SOP_INSTANCE_UID] == "1.2.1"
    assert response[dimse.COMMAND_FIELD] == dimse.N_ACTION_RSP


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\0" * 7,
        _store_request()[:-1],
        b"\x10\x00\x10\x00\x04\x00\x00\x00ABCD",
        b"\x00\x00\x00\x01\x04\x00\x00\x00ABCD",
        b"\x00\x00\x02\x00\x04\x00\x00\x001.2\x00",
    ],
)
def test_a_broken_command_set_is_a_protocol_error(raw: bytes) -> None:
    """Cut, foreign, wrongly sized or fieldless command sets raise PduError."""
    with pytest.raises(PduError):
        dimse.decode(raw)


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_but_a_protocol_error(raw: bytes) -> None:
    """Hostile bytes are a command set or a PduError, never another exception."""
    try:
        command = dimse.decode(raw)
    except PduError:
        return
    assert isinstance(command[dimse.COMMAND_FIELD], int)


@given(
    st.dictionaries(
        st.sampled_from([dimse.MESSAGE_ID, dimse.STATUS, dimse.REMAINING, dimse.FAILED]), st.integers(0, 0xFFFF)
    ),
    st.from_regex(r"[0-9](\.[0-9]{1,5}){0,8}", fullmatch=True),
)
def test_encode_and_decode_are_inverse(numbers: dict[int, int | str], uid: str) -> None:
    """Every command set we can write reads back as itself."""
    command: dimse.Command = {dimse.COMMAND_FIELD: dimse.C_FIND_RSP, dimse.AFFECTED_SOP_CLASS_UID: uid, **numbers}
    raw = dimse.encode(command)
    assert dimse.decode(raw) == command
    assert len(raw) % 2 == 0


def test_a_missing_number_is_a_protocol_error_and_a_missing_text_is_empty() -> None:
    """A request without its message id cannot be answered; a text that is absent is empty."""
    with pytest.raises(PduError):
        dimse.number({}, dimse.MESSAGE_ID)
    assert dimse.text({}, dimse.MOVE_DESTINATION) == ""
