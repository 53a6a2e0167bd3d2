"""DIMSE command sets to bytes and back (PS3.7 section 6.3 and annex E); must not know any service.

A command set is Implicit VR Little Endian, group 0000 only. A dictionary of tag to value keeps reading and writing
one at a few microseconds, where a general data set costs several hundred.
"""

from __future__ import annotations

import struct
from typing import Final

from archive.errors import PduError

AFFECTED_SOP_CLASS_UID: Final = 0x0002
REQUESTED_SOP_CLASS_UID: Final = 0x0003
COMMAND_FIELD: Final = 0x0100
MESSAGE_ID: Final = 0x0110
MESSAGE_ID_RESPONDED_TO: Final = 0x0120
MOVE_DESTINATION: Final = 0x0600
PRIORITY: Final = 0x0700
DATASET_TYPE: Final = 0x0800
STATUS: Final = 0x0900
OFFENDING_ELEMENT: Final = 0x0901
ERROR_COMMENT: Final = 0x0902
ERROR_ID: Final = 0x0903
AFFECTED_SOP_INSTANCE_UID: Final = 0x1000
REQUESTED_SOP_INSTANCE_UID: Final = 0x1001
EVENT_TYPE_ID: Final = 0x1002
ACTION_TYPE_ID: Final = 0x1008
REMAINING: Final = 0x1020
COMPLETED: Final = 0x1021
FAILED: Final = 0x1022
WARNING: Final = 0x1023
MOVE_ORIGINATOR_AE_TITLE: Final = 0x1030
MOVE_ORIGINATOR_MESSAGE_ID: Final = 0x1031

C_STORE_RQ: Final = 0x0001
C_STORE_RSP: Final = 0x8001
C_GET_RQ: Final = 0x0010
C_GET_RSP: Final = 0x8010
C_FIND_RQ: Final = 0x0020
C_FIND_RSP: Final = 0x8020
C_MOVE_RQ: Final = 0x0021
C_MOVE_RSP: Final = 0x8021
C_ECHO_RQ: Final = 0x0030
C_ECHO_RSP: Final = 0x8030
C_CANCEL_RQ: Final = 0x0FFF
N_EVENT_REPORT_RQ: Final = 0x0100
N_EVENT_REPORT_RSP: Final = 0x8100
N_ACTION_RQ: Final = 0x0130
N_ACTION_RSP: Final = 0x8130

NO_DATASET: Final = 0x0101
HAS_DATASET: Final = 0x0001

_US: Final = frozenset(
    {
        COMMAND_FIELD,
        MESSAGE_ID,
        MESSAGE_ID_RESPONDED_TO,
        PRIORITY,
        DATASET_TYPE,
        STATUS,
        ERROR_ID,
        EVENT_TYPE_ID,
        ACTION_TYPE_ID,
        REMAINING,
        COMPLETED,
        FAILED,
        WARNING,
        MOVE_ORIGINATOR_MESSAGE_ID,
    }
)
_UI: Final = frozenset(
    {AFFECTED_SOP_CLASS_UID, REQUESTED_SOP_CLASS_UID, AFFECTED_SOP_INSTANCE_UID, REQUESTED_SOP_INSTANCE_UID}
)
_HEAD: Final = struct.Struct("<HHL")
_SHORT: Final = struct.Struct("<HHLH")
_US_VALUE: Final = struct.Struct("<H")

Command = dict[int, "int | str"]


def decode(raw: bytes | memoryview) -> Command:
    """Return the elements of a command set, element number -> value; raise PduError when it does not parse."""
    command: Command = {}
    position, end = 0, len(raw)
    while position < end:
        if end - position < 8:
            raise PduError(reason="a command element is cut short")
        group, element, length = _HEAD.unpack_from(raw, position)
        position += 8
        if group or length > end - position:
            raise PduError(reason="a command element lies outside group 0000 or the message")
        value = bytes(raw[position : position + length])
        position += length
        if element in _US:
            if length != 2:
                raise PduError(reason=f"command element 0000,{element:04x} has {length} bytes, 2 expected")
            command[element] = _US_VALUE.unpack(value)[0]
        elif element:
            command[element] = value.decode("latin-1").rstrip("\0 ").lstrip(" ")
    if not isinstance(command.get(COMMAND_FIELD), int):
        raise PduError(reason="a command set has no Command Field")
    return command


def encode(command: Command) -> bytes:
    """Return the command set as bytes, elements ascending, with its group length (PS3.7 annex E)."""
    parts = []
    for element in sorted(command):
        value = command[element]
        if isinstance(value, int):
            parts.append(_SHORT.pack(0, element, 2, value))
        else:
            text = value.encode("ascii", "replace")
            if len(text) % 2:
                text += b"\0" if element in _UI else b" "
            parts.append(_HEAD.pack(0, element, len(text)) + text)
    body = b"".join(parts)
    return _HEAD.pack(0, 0, 4) + struct.pack("<L", len(body)) + body


def number(command: Command, element: int) -> int:
    """Return a US element, or raise PduError when it is absent."""
    value = command.get(element)
    if not isinstance(value, int):
        raise PduError(reason=f"command element 0000,{element:04x} is missing")
    return value


def text(command: Command, element: int) -> str:
    """Return a text element, empty when it is absent."""
    value = command.get(element, "")
    return value if isinstance(value, str) else ""


def response_to(request: Command, status: int, *, has_dataset: bool = False) -> Command:
    """Return the response that belongs to ``request`` (PS3.7 section 9.3 and 10.3)."""
    response: Command = {
        COMMAND_FIELD: number(request, COMMAND_FIELD) | 0x8000,
        MESSAGE_ID_RESPONDED_TO: number(request, MESSAGE_ID),
        DATASET_TYPE: HAS_DATASET if has_dataset else NO_DATASET,
        STATUS: status,
    }
    sop_class = request.get(AFFECTED_SOP_CLASS_UID, request.get(REQUESTED_SOP_CLASS_UID))
    sop_instance = request.get(AFFECTED_SOP_INSTANCE_UID, request.get(REQUESTED_SOP_INSTANCE_UID))
    if sop_class is not None:
        response[AFFECTED_SOP_CLASS_UID] = sop_class
    if sop_instance is not None:
        response[AFFECTED_SOP_INSTANCE_UID] = sop_instance
    return response


def with_comment(response: Command, comment: str) -> Command:
    """Add an Error Comment (LO: 64 characters at most, PS3.7 annex C)."""
    return response | {ERROR_COMMENT: comment.replace("\\", "/")[:64]}
