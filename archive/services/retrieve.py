"""Gives stored objects back: which a request means, their bytes, the journal entry; must not know DIMSE or HTTP."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import IO, BinaryIO, Final, Literal

from archive import logs, uids
from archive.audit import Body, Entry
from archive.clock import Clock
from archive.errors import (
    ArchiveError,
    ColdStoreDown,
    FixityError,
    InstanceNotFound,
    InvalidIdentifier,
    InvalidUid,
    NotReadableYet,
    RetrieveError,
)
from archive.index.find import Query, run_query
from archive.index.instances import iter_instances, set_location_state
from archive.index.records import StoredInstance, StoredLocation
from archive.index.session import Connection
from archive.services.cold_reader import ColdReader, Wanted
from archive.services.committer import Committer
from archive.services.copies import file_of
from archive.services.measuring import COLD, HOT, PROBE, Meter, Timing
from archive.services.recall import Patience, Recall
from tiering.errors import TieringError
from tiering.transcode import can_convert, convert
from tiering.window import open_window

Root = Literal["patient", "study"]
_log = logs.get(__name__)
_FIRST_READ_BYTES: Final = 16 * 1024
_LARGEST_READ_BYTES: Final = 128 * 1024
"""Linux reads ahead of small reads, in ever larger pieces of memory, which are faster to send again (ext4, Linux 6)."""
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
    """Where the data set of an instance lies: ``dataset_size`` bytes of a file, from an offset on, with their digest.

    The file at ``path``, or ``file``, which is open, for what came from the cold store: it is read or converted once,
    which closes it.
    """

    instance: StoredInstance
    path: Path
    key: str
    dataset_offset: int
    dataset_size: int
    dataset_sha256: bytes
    transfer_syntax_uid: str
    file: BinaryIO | None = None


class ObjectBytes:
    """The bytes of one data set, open for reading at any position; close it.

    ``given`` is called then, once, unless reading failed.
    """

    def __init__(
        self, file: IO[bytes], *, key: str, offset: int, size_bytes: int, given: Callable[[], None] | None = None
    ) -> None:
        self._file = file
        self._key = key
        self._offset = offset
        self._given = given
        self.size_bytes = size_bytes

    def read_into(self, view: memoryview, position: int) -> None:
        """Fill ``view`` with the bytes from ``position``; raise FixityError when they are not all there."""
        got = 0
        try:
            while got < len(view):
                count = os.preadv(self._file.fileno(), [view[got:]], self._offset + position + got)
                if count == 0:
                    self._given = None
                    raise FixityError(key=self._key, reason="the file is shorter than what was stored")
                got += count
        except OSError as exc:
            self._given = None
            raise FixityError(key=self._key, reason=_words(exc)) from exc

    def send_to(self, connection: socket.socket, position: int, count: int) -> int:
        """Have the kernel send at most ``count`` bytes from ``position``; return how many.

        Raises FixityError when there are none, BlockingIOError when the connection is full, ConnectionError.
        """
        try:
            sent = os.sendfile(connection.fileno(), self._file.fileno(), self._offset + position, count)
        except (BlockingIOError, ConnectionError):
            raise
        except OSError as exc:
            self._given = None
            raise FixityError(key=self._key, reason=_words(exc)) from exc
        if not sent:
            self._given = None
            raise FixityError(key=self._key, reason="the file is shorter than what was stored")
        return sent

    def load(self) -> bool:
        """Have the bytes in the page cache; return whether they were not there. Raises FixityError."""
        if self.is_in_memory():
            return False
        view, position = memoryview(bytearray(_LARGEST_READ_BYTES)), 0
        while position < self.size_bytes:
            count = min(max(_FIRST_READ_BYTES, position), _LARGEST_READ_BYTES, self.size_bytes - position)
            self.read_into(view[:count], position)
            position += count
        return True

    def is_in_memory(self) -> bool:
        """Tell whether the middle is in the page cache, as far as the kernel says; ends may be there from writing."""
        try:
            os.preadv(self._file.fileno(), [bytearray(1)], self._offset + self.size_bytes // 2, os.RWF_NOWAIT)
        except BlockingIOError:
            return False
        except OSError:
            return True
        return True

    def as_file(self) -> BinaryIO:
        """Return a buffered file of the bytes alone, to be closed as well. Raises OSError."""
        return open_window(self._file.fileno(), offset=self._offset, length=self.size_bytes)

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        given, self._given = self._given, None
        if given is not None:
            given()


@dataclass(frozen=True, slots=True)
class Retrieved:
    """What one retrieve came to, for the journal; ``remaining``: neither sent nor tried.

    ``visit``: what else is known of who asked and why.
    """

    service: str
    requested_by: str
    destination: str
    instances: Sequence[StoredInstance]
    completed: int
    failed: int
    warning: int
    remaining: int
    visit: Body = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Retrieve:
    """The way out, shared by C-GET, C-MOVE and whatever comes later.

    ``scratch`` is the folder in which converted objects lie, without a name, while they are given. ``cold`` reads what
    is in the cold store, ``recall`` asks for thaws, ``patience`` is that of one retrieve (``ahead``), and so is its
    ``timing`` by the ``meter``.
    """

    committer: Committer
    clock: Clock
    hot_root: Path
    scratch: Path
    cold: ColdReader | None = None
    recall: Recall | None = None
    patience: Patience | None = None
    meter: Meter | None = None
    timing: Timing | None = None

    def find(self, selection: Selection) -> list[StoredInstance]:
        """Return the instances selected, by series and instance number; raise IndexUnavailable."""
        with self.committer.read(journal=False) as connection:
            return list(_iter_selected(connection, selection))

    def open(self, instance: StoredInstance) -> StoredObject:
        """Return where an instance's bytes are: the first of its copies that opens, hot ones first.

        Raises InstanceNotFound without a copy, FixityError for a wrong file, ColdStoreDown, NotReadableYet.
        """
        return next(self.each(instance))

    def each(self, instance: StoredInstance) -> Iterator[StoredObject]:
        """Yield the copies of an instance, each as it opens, for who finds that one cannot be read after all.

        Raises at the end, unless a copy was yielded and the others are lost for good, what ``open`` raises: an error
        that may go away before one that does not.
        """
        problems: list[RetrieveError] = []
        is_opened = False
        for location in instance.copies:
            try:
                stored = (
                    self._open_hot(instance, location) if location.tier == "hot" else self._cold(instance, location)
                )
            except RetrieveError as exc:
                problems.append(exc)
                if len(instance.copies) > 1:
                    _log.warning("copy_not_opened", key=location.key, reason=type(exc).__name__)
            else:
                is_opened = True
                yield stored
        if not is_opened and self.timing is not None:
            self.timing.failed(COLD if all(location.tier == COLD for location in instance.copies) else HOT)
        problem = next((each for each in problems if each.retryable), next(iter(problems), None))
        if problem is not None and (problem.retryable or not is_opened):
            raise problem
        if not is_opened:
            raise InstanceNotFound(reason="no copy of it can be read")

    def _open_hot(self, instance: StoredInstance, location: StoredLocation) -> StoredObject:
        try:
            path = file_of(self.hot_root, location)
            size = os.stat(path).st_size
        except (OSError, ValueError) as exc:
            raise FixityError(key=location.key, reason=_words(exc)) from exc
        end = location.start + location.size_bytes
        if size < end or (location.pack_key is None and size != end):
            raise FixityError(key=location.key, reason=f"the file has {size} bytes")
        return _stored(instance, location, path, location.start, None)

    def _cold(self, instance: StoredInstance, location: StoredLocation) -> StoredObject:
        if self.cold is None:
            raise ColdStoreDown(reason="the settings name no cold store any more")
        try:
            file = self._fetched(self.cold, _wanted(instance, location))
        except FixityError as exc:
            if exc.fields.get("state") is not None:
                self._tell_damaged(instance, location)
            raise
        return _stored(instance, location, Path(), 0, file)

    def _fetched(self, cold: ColdReader, wanted: Wanted) -> BinaryIO:
        """Return a member, waiting for its pack to thaw as long as this retrieve has patience."""
        patience, pack = self.patience, wanted.location.pack_key
        assert pack is not None
        if patience is None:
            return cold.open(wanted)
        patience.check(pack)
        try:
            return cold.open(wanted)
        except NotReadableYet:
            patience.wait_for(pack)
        return cold.open(wanted)

    def _tell_damaged(self, instance: StoredInstance, location: StoredLocation) -> None:
        """Have the index say that a cold copy is damaged, as ``drimbox verify`` would; it finds out if it is not."""
        key, uid = location.key, instance.sop_instance_uid
        entry = Entry(self.clock(), "damaged", "drimbox", {"key": key, "sop_instance_uid": uid})
        _log.error("stored_copy_changed", key=key, was=location.state, now="damaged")
        try:
            self.committer.record(entry, work=lambda connection: set_location_state(connection, key, "damaged"))
        except ArchiveError as exc:
            _log.error("damage_not_journaled", key=key, exc_info=exc)

    @contextmanager
    def ahead(self, instances: Iterable[StoredInstance], *, by: str) -> Iterator[Retrieve]:
        """Lend a way out that fetches what is cold of these ahead of ``open``, in this order, in somebody's name.

        It asks for a thaw of what has to thaw, and waits for that a little. Nothing is fetched after the block. What
        it takes until the first is given and until the end of the block is measured, unless the block raises.
        """
        timing = None if self.meter is None or by == PROBE else self.meter.begin()
        if timing is None:
            with self._fetching(instances, by) as retrieve:
                yield retrieve
            return
        try:
            with replace(self, timing=timing)._fetching(instances, by) as retrieve:
                yield retrieve
        except BaseException as exc:
            timing.left(type(exc).__name__)
            raise
        timing.over()

    @contextmanager
    def _fetching(self, instances: Iterable[StoredInstance], by: str) -> Iterator[Retrieve]:
        if self.cold is None:
            yield self
            return
        first = ((each, each.readable) for each in instances)
        wanted = [_wanted(each, copy) for each, copy in first if copy is not None and copy.tier == "cold"]
        packs = dict.fromkeys(each.location.pack_key for each in wanted if each.location.pack_key is not None)
        patience = None if self.recall is None else self.recall.patience(tuple(packs), by=by)
        with self.cold.ahead(wanted):
            yield replace(self, patience=patience)

    def read(self, stored: StoredObject) -> ObjectBytes:
        """Return the data set of the copy, byte for byte; raise FixityError."""
        try:
            file: IO[bytes] = stored.file or open(stored.path, "rb", buffering=0)  # noqa: SIM115  the caller closes it
        except OSError as exc:
            raise FixityError(key=stored.key, reason=_words(exc)) from exc
        offset, size = stored.dataset_offset, stored.dataset_size
        return ObjectBytes(file, key=stored.key, offset=offset, size_bytes=size, given=self._note_of(stored))

    def convert(self, stored: StoredObject, transfer_syntax_uid: str) -> ObjectBytes:
        """Return the data set in another transfer syntax, from a file without a name; raise RetrieveError."""
        with conversion_errors():
            target = tempfile.TemporaryFile(dir=self.scratch)  # noqa: SIM115  the caller closes it
            try:
                size = _convert(stored, transfer_syntax_uid, target)
            except BaseException:
                target.close()
                raise
            finally:
                if stored.file is not None:
                    stored.file.close()
        return ObjectBytes(target, key=stored.key, offset=0, size_bytes=size, given=self._note_of(stored))

    def _note_of(self, stored: StoredObject) -> Callable[[], None] | None:
        return None if self.timing is None else partial(self.timing.given, HOT if stored.file is None else COLD)

    def record(self, retrieved: Retrieved, *, wait: bool = True) -> None:
        """Journal one retrieve: studies, counts, destination. Raises IndexUnavailable.

        Without ``wait`` it is written with what comes next: hundreds a second must not keep the committer from ingest.
        """
        studies = dict.fromkeys(instance.study_instance_uid for instance in retrieved.instances)
        write = self.committer.record if wait else self.committer.post
        write(
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
                    **retrieved.visit,
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


def _wanted(instance: StoredInstance, location: StoredLocation) -> Wanted:
    return Wanted(location, location.dataset_sha256 or instance.dataset_sha256)


def _stored(
    instance: StoredInstance, location: StoredLocation, path: Path, start: int, file: BinaryIO | None
) -> StoredObject:
    return StoredObject(
        instance=instance,
        path=path,
        key=location.key,
        dataset_offset=start + location.header_size,
        dataset_size=location.dataset_size,
        dataset_sha256=location.dataset_sha256 or instance.dataset_sha256,
        transfer_syntax_uid=location.transfer_syntax_uid or instance.transfer_syntax_uid,
        file=file,
    )


def _convert(stored: StoredObject, transfer_syntax_uid: str, target: BinaryIO) -> int:
    """Write the converted data set to ``target`` and return its size in bytes."""
    where = stored.path if stored.file is None else stored.file.fileno()
    with open_window(where, offset=stored.dataset_offset, length=stored.dataset_size) as source:
        convert(source, source_uid=stored.transfer_syntax_uid, target_uid=transfer_syntax_uid, target=target)
    target.flush()
    return target.tell()


@contextmanager
def conversion_errors() -> Iterator[None]:
    """Turn what the conversion and its files raise into what the requester hears."""
    try:
        yield
    except OSError as exc:
        raise RetrieveError(reason=_words(exc)) from exc
    except TieringError as exc:
        raise RetrieveError(reason=exc.message) from exc


def _words(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or type(error).__name__
