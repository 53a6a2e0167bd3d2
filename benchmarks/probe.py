"""What the precise client asks: queries and retrievals timed to the last byte; must not start or stop a server."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from archive.clock import monotonic
from benchmarks import wire
from benchmarks.peers import Endpoint
from benchmarks.wire import Association, Message, Proposal

SPECIFIC_CHARACTER_SET = 0x00080005
QUERY_LEVEL, STUDY_UID, SERIES_UID = 0x00080052, 0x0020000D, 0x0020000E
PATIENT_NAME, PATIENT_ID, STUDY_DATE, STUDY_TIME = 0x00100010, 0x00100020, 0x00080020, 0x00080030
ACCESSION_NUMBER, STUDY_DESCRIPTION, MODALITIES = 0x00080050, 0x00081030, 0x00080061
STUDY_INSTANCES = 0x00201208
_STORAGE = (wire.CT_IMAGE_STORAGE, wire.MULTI_FRAME_WORD_STORAGE)
_WORKLIST_COLUMNS: Mapping[int, tuple[str, str]] = {
    SPECIFIC_CHARACTER_SET: ("CS", "ISO_IR 100"),
    STUDY_DATE: ("DA", ""), STUDY_TIME: ("TM", ""), ACCESSION_NUMBER: ("SH", ""), MODALITIES: ("CS", ""),
    STUDY_DESCRIPTION: ("LO", ""), PATIENT_NAME: ("PN", ""), PATIENT_ID: ("LO", ""), STUDY_UID: ("UI", ""),
    QUERY_LEVEL: ("CS", "STUDY"),
}  # fmt: skip


class ProbeError(RuntimeError):
    """The server answered, but not with what was to be measured."""


def open_echo(server: Endpoint) -> Association:
    """Return an association that can C-ECHO, and has."""
    association = Association(server.address, server.ae_title, [Proposal(wire.VERIFICATION)], max_pdu=16384)
    association.request(wire.ECHO_RQ, wire.VERIFICATION)
    if association.receive().status != 0:
        raise ProbeError("C-ECHO failed")
    return association


def open_find(server: Endpoint) -> Association:
    """Return an association for Study Root C-FIND."""
    return Association(server.address, server.ae_title, [Proposal(wire.STUDY_ROOT_FIND)])


def open_get(server: Endpoint, *, max_pdu: int = 131072) -> Association:
    """Return an association for Study Root C-GET of CT images and multi-frame objects."""
    storage = [Proposal(uid, as_scp=True) for uid in _STORAGE]
    return Association(server.address, server.ae_title, [Proposal(wire.STUDY_ROOT_GET), *storage], max_pdu=max_pdu)


def find_studies(association: Association, keys: Mapping[int, tuple[str, str]]) -> tuple[float, list[dict[int, str]]]:
    """Return the seconds from the request to the final response of a study query, and the answers."""
    identifier = wire.encode_identifier({**_WORKLIST_COLUMNS, **keys})
    answers: list[Message] = []
    started = monotonic()
    association.request(wire.FIND_RQ, wire.STUDY_ROOT_FIND, identifier)
    while (message := association.receive()).status in wire.PENDING:
        answers.append(message)
    seconds = monotonic() - started
    if message.status != 0:
        raise ProbeError(f"C-FIND ended with {message.status:#06x}")
    return seconds, [wire.decode_identifier(answer.data) for answer in answers]


def count_instances(server: Endpoint, study_instance_uid: str) -> int:
    """Return how many instances of the study the server says it has (Number of Study Related Instances)."""
    keys = {STUDY_UID: ("UI", study_instance_uid), STUDY_INSTANCES: ("IS", "")}
    with open_find(server) as association:
        _, answers = find_studies(association, keys)
    return sum(int(answer.get(STUDY_INSTANCES) or 0) for answer in answers)


def _request_study(association: Association, study_instance_uid: str) -> int:
    keys = {QUERY_LEVEL: ("CS", "STUDY"), STUDY_UID: ("UI", study_instance_uid)}
    return association.request(wire.GET_RQ, wire.STUDY_ROOT_GET, wire.encode_identifier(keys))


def first_image_seconds(server: Endpoint, study_instance_uid: str) -> float:
    """Return the seconds from a C-GET of the study to the last byte of its first image; the rest is cancelled."""
    with open_get(server) as association:
        started = monotonic()
        message_id = _request_study(association, study_instance_uid)
        message = association.receive(lambda piece: None)
        seconds = monotonic() - started
        if message.field != wire.STORE_RQ or message.data_size < 1000:
            raise ProbeError(f"no image came but {message.command}")
        association.cancel(message_id, wire.STUDY_ROOT_GET)
        _drain(association, message)
    return seconds


def _drain(association: Association, message: Message) -> Message:
    """Answer every sub-operation from ``message`` on and return the C-GET's final response."""
    while message.field == wire.STORE_RQ or message.status in wire.PENDING:
        if message.field == wire.STORE_RQ:
            association.answer_store(message)
        message = association.receive(lambda piece: None)
    return message


@dataclass(frozen=True, slots=True)
class Retrieved:
    """A whole C-GET: how long, how many objects, how many bytes, the last data set's digest."""

    seconds: float
    objects: int
    size_bytes: int
    sha256: str


def get_study(server: Endpoint, study_instance_uid: str, *, digest: bool = False, max_pdu: int = 131072) -> Retrieved:
    """C-GET the study, keep nothing; with ``digest`` the last object's data set is hashed as it arrives."""
    objects = size_bytes = 0
    seen = hashlib.sha256()
    with open_get(server, max_pdu=max_pdu) as association:
        started = monotonic()
        _request_study(association, study_instance_uid)
        while True:
            current = hashlib.sha256()
            message = association.receive(current.update if digest else lambda piece: None)
            if message.field == wire.STORE_RQ:
                objects, size_bytes, seen = objects + 1, size_bytes + message.data_size, current
                association.answer_store(message)
            elif message.status not in wire.PENDING:
                break
        seconds = monotonic() - started
    if message.status != 0:
        raise ProbeError(f"C-GET ended with {message.status:#06x} after {objects} objects")
    return Retrieved(seconds, objects, size_bytes, seen.hexdigest())
