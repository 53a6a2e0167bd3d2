"""Takes one object in, durably, and indexes it; must not know DIMSE, HTTP or sockets.

Order is everything here: bytes, digest, header, sync, name, sync of the folder, index, answer (docs/architecture.md).
"""

from __future__ import annotations

import enum
import errno
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Final, NoReturn

from archive.audit import Entry
from archive.clock import Clock
from archive.errors import (
    ConflictingInstance,
    DestroyedInstance,
    IngestError,
    InvalidUid,
    StorageFailed,
    StorageFull,
    UnreadableDataset,
)
from archive.index import folders
from archive.index.instances import find_digests
from archive.index.session import Connection, Database
from archive.part10.attributes import InstanceHeader
from archive.part10.meta import Provenance, build_header, complete_header
from archive.part10.scan import scan_header
from archive.services.arrival import CHUNK_BYTES, Arrival, ChunkPool, check_identity, new_instance, stored_entry
from archive.services.committer import Committer
from archive.services.quarantine import Quarantine
from archive.services.tracing import NO_TRACES, Traces
from tiering.landing import LandingArea, LandingFolder

StudyCheck = Callable[[str], None]

_FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_MIB: Final = 1024 * 1024


class Outcome(enum.Enum):
    """How an object was taken in; both are success for the sender."""

    STORED = "stored"
    ALREADY_STORED = "already stored"


@dataclass(slots=True)
class Ingest:
    """The way in, shared by C-STORE, import and whatever comes later."""

    database: Database
    committer: Committer
    landing: LandingArea
    quarantine: Quarantine
    clock: Clock
    min_free_bytes: int
    pool: ChunkPool = field(default_factory=ChunkPool)
    traces: Traces = NO_TRACES
    _low: threading.Event = field(default_factory=threading.Event)
    _is_closed: bool = False
    _busy: set[str] = field(default_factory=set)
    _busy_changed: threading.Condition = field(default_factory=threading.Condition)

    def begin(self, arrival: Arrival, *, check: StudyCheck | None = None) -> Reception:
        """Open a reception; raise StorageFull, StorageFailed or IndexUnavailable before a byte is taken.

        ``check`` is given the Study Instance UID once it is read, and may raise: then nothing is stored.
        """
        self.committer.check()
        provenance = arrival.provenance(self.clock())
        with disk_errors(self.min_free_bytes):
            if not self.landing.has_room(self.min_free_bytes):
                raise StorageFull(floor_mib=self.min_free_bytes // _MIB)
            reception = Reception(self, provenance, check)
        if self.landing.is_low:
            self._low.set()
        return reception

    def start(self) -> None:
        """Start the thread that opens files ahead of need: making an inode takes time a sender would wait for."""
        threading.Thread(target=self._keep_ready, name="landing", daemon=True).start()

    def _keep_ready(self) -> None:
        while self._low.wait() and not self._is_closed:
            self._low.clear()
            with suppress(OSError):  # a disk that fails is told to whoever needs the file
                self.landing.prepare()

    @contextmanager
    def alone_with(self, sop_instance_uid: str) -> Iterator[None]:
        """Let one thread at a time decide about a SOP Instance UID; never held while a peer is waited for."""
        with self._busy_changed:
            while sop_instance_uid in self._busy:
                self._busy_changed.wait()
            self._busy.add(sop_instance_uid)
        try:
            yield
        finally:
            with self._busy_changed:
                self._busy.discard(sop_instance_uid)
                self._busy_changed.notify_all()

    def known_digests(self, sop_instance_uid: str) -> Sequence[bytes]:
        """Return the digests under which an instance is stored, was, or is about to be. Raises DestroyedInstance."""
        waiting = self.committer.find_waiting_digest(sop_instance_uid)
        if waiting is not None:
            return [waiting]
        with self.database.glance() as connection:
            found = find_digests(connection, sop_instance_uid)
        if isinstance(found, str):
            raise DestroyedInstance(list_id=found, reason=f"it was destroyed on list {found}")
        return found

    def register(self, folder: LandingFolder, done: Sequence[LandingFolder]) -> None:
        """Make a new landing folder known, durably, and seal those that are wholly indexed."""
        now = self.clock()

        def work(connection: Connection) -> None:
            folders.open_folder(connection, folder.name, now)
            for old in done:
                folders.seal_folder(connection, old.name, now)

        self.committer.record_synced(work=work)

    def close(self) -> None:
        """Seal what this run landed; call when no reception is open any more."""
        self._is_closed = True
        self._low.set()
        now = self.clock()
        done = self.landing.close()

        def work(connection: Connection) -> None:
            for folder in done:
                folders.seal_folder(connection, folder.name, now)

        self.committer.record_synced(work=work)


class Reception:
    """One object being received: a Sink for its data set, then ``commit`` or ``abandon``.

    Memory: one chunk of 1 MiB whatever the object's size. A disk that fails in the middle does not stop the
    transfer (the peer is owed an answer, not an abort): the rest is received and dropped, ``commit`` raises.
    """

    def __init__(self, ingest: Ingest, provenance: Provenance, check: StudyCheck | None = None) -> None:
        self._ingest = ingest
        self._check = check
        self._provenance = provenance
        self._blank = build_header(provenance)
        self._chunk: memoryview | None = ingest.pool.take()
        ingest.committer.arriving.add(self)
        try:
            self._file = ingest.landing.new_file(self._blank, self._chunk)
        except BaseException:
            ingest.committer.arriving.discard(self)
            raise
        self.room = self._file.room
        self.filled = self._file.filled
        sop_class, syntax = provenance.sop_class_uid, provenance.transfer_syntax_uid
        self._span = ingest.traces.begin("ingest", sop_class=sop_class, transfer_syntax=syntax, site=provenance.site)
        self.study_instance_uid = self.series_instance_uid = ""

    def commit(self) -> Outcome:
        """Make the object durable, index it, and say how; raise what the sender must hear.

        Raises UnreadableDataset, MissingIdentifier, InvalidUid, SopClassMismatch, SopInstanceMismatch,
        ConflictingInstance (all: the bytes are in quarantine), StorageFull, StorageFailed, IndexUnavailable.
        """
        try:
            with disk_errors(self._ingest.min_free_bytes):
                outcome = self._decide()
        except BaseException as exc:
            self._span.end(type(exc).__name__)
            raise
        else:
            self._span.note("outcome", outcome.value)
            self._span.note("size_bytes", self._file.size_bytes)
            self._span.end()
            return outcome
        finally:
            self.abandon()

    def _decide(self) -> Outcome:
        try:
            header = self._read_header()
            uid = header.values["SOPInstanceUID"]
            with self._ingest.alone_with(uid):
                return self._store(header, uid)
        except DestroyedInstance as exc:
            self._tell_destroyed(exc)  # and keep nothing: what the law lets go must not come back as a copy
            raise
        except (IngestError, InvalidUid) as exc:
            self._keep_aside(exc)
            raise

    def _read_header(self) -> InstanceHeader:
        # The same head and the same "complete" whatever the PDUs' sizes: adoption and rebuild must read the same.
        size = self._file.size_bytes
        syntax = self._provenance.transfer_syntax_uid
        header = scan_header(self._file.head, syntax, complete=size <= CHUNK_BYTES, size_bytes=size)
        if "cut" in header.flags:
            raise UnreadableDataset(reason="it ends before its pixel data do")
        check_identity(header, self._provenance)
        if self._check is not None:
            self._check(header.values["StudyInstanceUID"])
        self.study_instance_uid = header.values["StudyInstanceUID"]
        self.series_instance_uid = header.values["SeriesInstanceUID"]
        return header

    def _store(self, header: InstanceHeader, uid: str) -> Outcome:
        digest = self._file.digest()
        known = self._ingest.known_digests(uid)
        if not known:
            self._index(header, *self._land(digest))
            return Outcome.STORED
        if digest not in known:
            raise ConflictingInstance(reason="other bytes under a SOP Instance UID already stored")
        return Outcome.ALREADY_STORED

    def _land(self, digest: bytes) -> tuple[str, LandingFolder, bytes]:
        """Make the object durable under its key; return the key, its folder and the header written."""
        ingest, file = self._ingest, self._file
        header = complete_header(self._blank, dataset_sha256=digest, dataset_size=file.size_bytes)
        file.complete(header)
        key, folder = ingest.landing.reserve(file.size_bytes, self._provenance.received_at, ingest.register)
        # A link that failed may have left its name: the folder is then never settled and start-up looks at it.
        file.link(ingest.landing.path_in(folder, key))
        return key, folder, header

    def _index(self, header: InstanceHeader, key: str, folder: LandingFolder, head: bytes) -> None:
        ingest = self._ingest
        instance = new_instance(self._provenance, header, key, head, (self._file.digest(), self._file.size_bytes))
        entry = stored_entry("stored", self._provenance, instance)
        ingest.committer.store(instance, entry, lambda: ingest.landing.settled(folder))

    def refuse(self, error: IngestError) -> NoReturn:
        """Keep the bytes in quarantine for a reason the caller found, and raise it."""
        with disk_errors(self._ingest.min_free_bytes):
            self._keep_aside(error)
        raise error

    def _keep_aside(self, error: Exception) -> None:
        """Keep the bytes of a refused object for the operator."""
        digest = self._file.digest()
        header = complete_header(self._blank, dataset_sha256=digest, dataset_size=self._file.size_bytes)
        self._ingest.quarantine.keep(self._file, header, self._provenance, error)

    def _tell_destroyed(self, error: DestroyedInstance) -> None:
        """Journal that somebody still sends a destroyed object."""
        origin = self._provenance
        body = {"sop_instance_uid": origin.sop_instance_uid, "list": error.fields["list_id"], "site": origin.site}
        self._ingest.committer.post(Entry(self._ingest.clock(), "refused_destroyed", origin.calling_ae_title, body))

    def abandon(self) -> None:
        """Let go of everything; what was not committed leaves no trace."""
        self._ingest.committer.arriving.discard(self)
        if self._chunk is not None:
            self._file.close()
            self._ingest.pool.give_back(self._chunk)
            self._chunk = None
            self._span.end("abandoned")


@contextmanager
def disk_errors(floor_bytes: int) -> Iterator[None]:
    """Turn what the disk raises into what the sender hears."""
    try:
        yield
    except OSError as exc:
        if exc.errno in _FULL:
            raise StorageFull(floor_mib=floor_bytes // _MIB) from exc
        raise StorageFailed(reason=exc.strerror or type(exc).__name__) from exc
