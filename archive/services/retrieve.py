"""Gives stored objects back: which a request means, their bytes, the journal entry; must not know DIMSE or HTTP."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO, Final, Literal

from archive import uids
from archive.audit import Entry
from archive.clock import Clock
from archive.errors import FixityError, InstanceNotFound, InvalidIdentifier, InvalidUid, RetrieveError
from archive.index.find import Query, run_query
from archive.index.instances import iter_instances
from archive.index.records import StoredInstance, StoredLocation
from archive.index.session import Connection
from archive.services.committer import Committer
from archive.services.copies import file_of
from tiering.errors import TieringError
from tiering.transcode import can_convert, convert
from tiering.window import open_window

Root = Literal["patient", "study"]
LEVELS: Final = ("PATIENT", "STUDY", "SERIES", "IMAGE")


@dataclass(frozen=True, slots=True)
class Selection:
    """What is asked for, by unique keys; a key that is not given ("" or ()) does not narrow the selection.

    ``patient_id`` and its issuer are compared as they are: a star in one is a star.
    """

    level: str
    patient_id: str = ""
    issuer_of_patient_id: str = ""
    studies: tuple[str, ...] = ()
    series: tuple[str, ...] = ()
    instances: tuple[str, ...] = ()


def selection_of(identifier: Mapping[str, str], *, root: Root) -> Selection:
    """Return what the identifier of a retrieve selects (PS3.4 C.4.2.1.4, C.4.3.1.3); raise InvalidIdentifier.

    Lists of UIDs are taken at every level, and the keys of the levels above may
    be missing (relational retrieve); keys below the level, and of Study Root the patient's, are not looked at.
    """
    level = identifier.get("QueryRetrieveLevel", "").upper()
    if level not in LEVELS or (level == "PATIENT" and root == "study"):
        raise InvalidIdentifier(reason=f"there is no such level in the {root} root model")
    depth = LEVELS.index(level)
    of_patient = identifier if root == "patient" else {}
    selection = Selection(
        level=level,
        patient_id=of_patient.get("PatientID", ""),
        issuer_of_patient_id=of_patient.get("IssuerOfPatientID", ""),
        studies=_uids(identifier, "StudyInstanceUID") if depth >= 1 else (),
        series=_uids(identifier, "SeriesInstanceUID") if depth >= 2 else (),
        instances=_uids(identifier, "SOPInstanceUID") if depth >= 3 else (),
    )
    unique = (selection.patient_id, selection.studies, selection.series, selection.instances)[depth]
    if not unique:
        raise InvalidIdentifier(reason=f"the unique key of the {level} level is missing")
    return selection


def _uids(identifier: Mapping[str, str], keyword: str) -> tuple[str, ...]:
    values = [value for value in identifier.get(keyword, "").split("\\") if value]
    try:
        return tuple(dict.fromkeys(uids.parse_uid(value, keyword=keyword) for value in values))
    except InvalidUid as exc:
        raise InvalidIdentifier(reason=f"{keyword} is not a list of UIDs") from exc


@dataclass(frozen=True, slots=True)
class StoredObject:
    """Where the data set of an instance lies: ``dataset_size`` bytes of the file at ``path``, from an offset on."""

    instance: StoredInstance
    path: Path
    key: str
    dataset_offset: int
    dataset_size: int
    transfer_syntax_uid: str


class ObjectBytes:
    """The bytes of one data set, open for reading at any position; close it."""

    def __init__(self, file: IO[bytes], *, key: str, offset: int, size_bytes: int) -> None:
        self._file = file
        self._key = key
        self._offset = offset
        self.size_bytes = size_bytes

    def read_into(self, view: memoryview, position: int) -> None:
        """Fill ``view`` with the bytes from ``position``; raise FixityError when they are not all there."""
        got = 0
        try:
            while got < len(view):
                count = os.preadv(self._file.fileno(), [view[got:]], self._offset + position + got)
                if count == 0:
                    raise FixityError(key=self._key, reason="the file is shorter than what was stored")
                got += count
        except OSError as exc:
            raise FixityError(key=self._key, reason=_words(exc)) from exc

    def close(self) -> None:
        """Close the file."""
        self._file.close()


@dataclass(frozen=True, slots=True)
class Retrieved:
    """What one retrieve came to, for the journal; ``remaining``: neither sent nor tried."""

    service: str
    requested_by: str
    destination: str
    instances: Sequence[StoredInstance]
    completed: int
    failed: int
    warning: int
    remaining: int


@dataclass(frozen=True, slots=True)
class Retrieve:
    """The way out, shared by C-GET, C-MOVE and whatever comes later.

    ``scratch`` is the folder in which converted objects lie, without a name, while they are given.
    """

    committer: Committer
    clock: Clock
    hot_root: Path
    scratch: Path

    def find(self, selection: Selection) -> list[StoredInstance]:
        """Return the instances selected, by series and instance number; raise IndexUnavailable."""
        with self.committer.read() as connection:
            return list(_iter_selected(connection, selection))

    def open(self, instance: StoredInstance) -> StoredObject:
        """Return where an instance's bytes are; raise InstanceNotFound without a copy, FixityError for a wrong file."""
        location = _readable(instance)
        try:
            path = file_of(self.hot_root, location)
            size = os.stat(path).st_size
        except (OSError, ValueError) as exc:
            raise FixityError(key=location.key, reason=_words(exc)) from exc
        end = location.start + location.size_bytes
        if size < end or (location.pack_key is None and size != end):
            raise FixityError(key=location.key, reason=f"the file has {size} bytes")
        return StoredObject(
            instance=instance,
            path=path,
            key=location.key,
            dataset_offset=location.start + location.header_size,
            dataset_size=location.dataset_size,
            transfer_syntax_uid=instance.given_syntax_uid,
        )

    def read(self, stored: StoredObject) -> ObjectBytes:
        """Return the data set exactly as it was received; raise FixityError."""
        try:
            file = open(stored.path, "rb", buffering=0)  # noqa: SIM115  the caller closes it
        except OSError as exc:
            raise FixityError(key=stored.key, reason=_words(exc)) from exc
        return ObjectBytes(file, key=stored.key, offset=stored.dataset_offset, size_bytes=stored.dataset_size)

    def convert(self, stored: StoredObject, transfer_syntax_uid: str) -> ObjectBytes:
        """Return the data set in another transfer syntax, from a file without a name; raise RetrieveError."""
        with _conversion_errors():
            target = tempfile.TemporaryFile(dir=self.scratch)  # noqa: SIM115  the caller closes it
            try:
                size = _convert(stored, transfer_syntax_uid, target)
            except BaseException:
                target.close()
                raise
        return ObjectBytes(target, key=stored.key, offset=0, size_bytes=size)

    def record(self, retrieved: Retrieved) -> None:
        """Journal one retrieve: studies, counts, destination. Raises IndexUnavailable."""
        studies = dict.fromkeys(instance.study_instance_uid for instance in retrieved.instances)
        self.committer.record(
            Entry(
                at=self.clock(),
                event="retrieved",
                actor=retrieved.requested_by,
                body={
                    "service": retrieved.service,
                    "destination": retrieved.destination,
                    "study_instance_uids": list(studies),
                    "instances": len(retrieved.instances),
                    "completed": retrieved.completed,
                    "failed": retrieved.failed,
                    "warning": retrieved.warning,
                    "remaining": retrieved.remaining,
                },
            )
        )


def can_give(stored: str, accepted: str) -> bool:
    """Tell whether an object stored in one transfer syntax can be given in another."""
    return stored == accepted or can_convert(stored, accepted)


def _iter_selected(connection: Connection, selection: Selection) -> Iterator[StoredInstance]:
    studies = selection.studies
    if selection.issuer_of_patient_id:
        studies = _studies_of_patient(connection, selection)
        if not studies:
            return
    yield from iter_instances(
        connection,
        patient=selection.patient_id or None,
        study="\\".join(studies) or None,
        series="\\".join(selection.series) or None,
        sops=selection.instances or None,
    )


def _studies_of_patient(connection: Connection, selection: Selection) -> tuple[str, ...]:
    """Return the studies, of those selected, of the patient that this issuer knows under this PatientID."""
    wanted = {"PatientID": selection.patient_id, "IssuerOfPatientID": selection.issuer_of_patient_id}
    keys = {**wanted, "StudyInstanceUID": "\\".join(selection.studies)}
    rows = run_query(connection, Query(root="patient", level="STUDY", keys=keys, relational=True))
    # A query takes stars for wildcards, a retrieve does not.
    return tuple(row["StudyInstanceUID"] for row in rows if _is_of(row, wanted))


def _is_of(row: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
    return all(row[keyword] == value for keyword, value in wanted.items() if value)


def _readable(instance: StoredInstance) -> StoredLocation:
    location = instance.readable
    if location is None:
        raise InstanceNotFound(reason="no copy of it can be read")
    return location


def _convert(stored: StoredObject, transfer_syntax_uid: str, target: BinaryIO) -> int:
    """Write the converted data set to ``target`` and return its size in bytes."""
    with open_window(stored.path, offset=stored.dataset_offset, length=stored.dataset_size) as source:
        convert(source, source_uid=stored.transfer_syntax_uid, target_uid=transfer_syntax_uid, target=target)
    target.flush()
    return target.tell()


@contextmanager
def _conversion_errors() -> Iterator[None]:
    """Turn what the conversion and its files raise into what the requester hears."""
    try:
        yield
    except OSError as exc:
        raise RetrieveError(reason=_words(exc)) from exc
    except TieringError as exc:
        raise RetrieveError(reason=exc.message) from exc


def _words(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or type(error).__name__
