"""Storage commitment (PS3.4 annex J): keeps requests, checks what they name, sees to the reports; must not know DIMSE.

A request is durable before it is acknowledged and waits in the index until the peer has confirmed its report, whatever
happens to associations and processes in between. ``CommitmentReporter`` delivers what no association delivered.
"""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Final, NamedTuple, Protocol

from archive import logs
from archive.audit import Entry
from archive.clock import Clock
from archive.errors import ArchiveError, RetrieveError
from archive.index import commitments as table
from archive.index.instances import iter_instances
from archive.index.records import Commitment, StoredInstance
from archive.index.session import Connection
from archive.index.successors import resolve
from archive.services.committer import Committer
from archive.services.retrieve import Retrieve, StoredObject

NO_SUCH_INSTANCE: Final = 0x0112
CLASS_CONFLICT: Final = 0x0119
PROCESSING_FAILURE: Final = 0x0110
"""Failure Reasons (0008,1197) of PS3.3 section C.14.1.1."""

GRACE: Final = timedelta(seconds=30)
"""How long the association a request came on may take to report it before the reporter does."""

_FIRST_RETRY: Final = timedelta(seconds=30)
_LONGEST_RETRY: Final = timedelta(hours=1)
_GIVE_UP: Final = timedelta(days=7)
_NEVER: Final = datetime(9999, 12, 31, tzinfo=UTC)
_SWEEP_SECONDS: Final = 2.0
_STOP_SECONDS: Final = 15.0
_LOOKED_UP_AT_ONCE: Final = 250
_DUE_AT_ONCE: Final = 2
_REMEMBERED: Final = 16
_CHUNK_BYTES: Final = 1024 * 1024
_log = logs.get(__name__)

IsInterrupted = Callable[[], bool]


class Interrupted(Exception):
    """Checking stopped because something else came up; nothing is lost."""


class Reference(NamedTuple):
    """One object a peer wants to be sure of."""

    sop_class_uid: str
    sop_instance_uid: str


@dataclass(frozen=True, slots=True)
class CommitmentRequest:
    """What a peer asked; ``called_ae_title`` is the name it knows the archive by."""

    transaction_uid: str
    ae_title: str
    called_ae_title: str
    references: tuple[Reference, ...]

    def to_json(self) -> str:
        """Return all but transaction and title, which the index keeps in columns."""
        return json.dumps({"called": self.called_ae_title, "references": self.references}, separators=(",", ":"))

    @classmethod
    def of(cls, row: Commitment) -> CommitmentRequest:
        """Return the request an index row keeps."""
        body = json.loads(row.body)
        references = tuple(Reference(*pair) for pair in body["references"])
        return cls(row.transaction_uid, row.ae_title, body["called"], references)


@dataclass(frozen=True, slots=True)
class CommitmentReport:
    """What came of a request: objects whose bytes are proven, and those that are not with the Failure Reason."""

    transaction_uid: str
    retrieve_ae_title: str
    committed: tuple[Reference, ...]
    failed: tuple[tuple[Reference, int], ...]


class Courier(Protocol):
    """Takes reports to peers on associations of its own."""

    def knows(self, ae_title: str) -> bool:
        """Tell whether there is an address for this peer."""

    def deliver(self, ae_title: str, report: CommitmentReport) -> None:
        """Return when the peer has confirmed the report; raise ArchiveError otherwise."""

    def interrupt(self) -> None:
        """Make a delivery that goes on in another thread fail soon."""


@dataclass(frozen=True, slots=True)
class Commitments:
    """The requests and the proof; safe to call from any thread. Everything raises IndexUnavailable."""

    retrieve: Retrieve
    committer: Committer
    clock: Clock
    _held: set[int] = field(default_factory=set)

    def accept(self, request: CommitmentRequest, *, reporting_here: bool) -> int:
        """Keep a request, durably, and everything stored before it; return its id.

        ``reporting_here``: the association it came on reports it; the reporter waits for GRACE before it does.
        """
        now, ids = self.clock(), []

        def work(connection: Connection) -> None:
            commitment_id = table.add(
                connection,
                transaction_uid=request.transaction_uid,
                ae_title=request.ae_title,
                requested_at=now,
                body=request.to_json(),
            )
            if reporting_here:
                table.postpone(connection, commitment_id, next_attempt_at=now + GRACE)
            ids.append(commitment_id)

        self.committer.record_synced(work=work)
        return ids[-1]

    def verify(self, request: CommitmentRequest, *, is_interrupted: IsInterrupted) -> CommitmentReport:
        """Return which objects are stored with the class named and the bytes received, every byte read again.

        ``is_interrupted`` is asked before each mebibyte; raises Interrupted when it says yes.
        """
        committed: list[Reference] = []
        failed: list[tuple[Reference, int]] = []
        for reference, stored in self._look_up(request.references):
            reason = self._failure(reference, stored, is_interrupted)
            if reason is None:
                committed.append(reference)
            else:
                failed.append((reference, reason))
        return CommitmentReport(request.transaction_uid, request.called_ae_title, tuple(committed), tuple(failed))

    def _look_up(self, references: Sequence[Reference]) -> Iterator[tuple[Reference, StoredInstance | None]]:
        """Pair references with what the index has; no connection is held while files are read."""
        for start in range(0, len(references), _LOOKED_UP_AT_ONCE):
            part = references[start : start + _LOOKED_UP_AT_ONCE]
            wanted = [reference.sop_instance_uid for reference in part]
            with self.committer.read() as connection:
                now = resolve(connection, wanted)
                found = {stored.sop_instance_uid: stored for stored in iter_instances(connection, sops=wanted)}
            for reference in part:
                uid = reference.sop_instance_uid
                yield reference, found.get(now.get(uid, uid))

    def _failure(
        self, reference: Reference, stored: StoredInstance | None, is_interrupted: IsInterrupted
    ) -> int | None:
        """Return the Failure Reason of one object, or None when it is as it should be."""
        if is_interrupted():
            raise Interrupted
        if stored is None:
            return NO_SUCH_INSTANCE
        if stored.sop_class_uid != reference.sop_class_uid:
            return CLASS_CONFLICT
        try:
            copy = self.retrieve.open(stored)
            is_whole = self._digest(copy, is_interrupted) == copy.dataset_sha256
        except RetrieveError as exc:
            _log.error("object_not_committed", sop_instance_uid=stored.sop_instance_uid, exc_info=exc)
            return PROCESSING_FAILURE
        if not is_whole:
            _log.error("object_not_committed", sop_instance_uid=stored.sop_instance_uid, reason="damaged")
        return None if is_whole else PROCESSING_FAILURE

    def _digest(self, stored: StoredObject, is_interrupted: IsInterrupted) -> bytes:
        """Return the SHA-256 of the data set as it lies in storage now; raise RetrieveError."""
        digest = sha256()
        source = self.retrieve.read(stored)
        try:
            chunk = memoryview(bytearray(min(_CHUNK_BYTES, source.size_bytes)))
            for position in range(0, source.size_bytes, _CHUNK_BYTES):
                if position and is_interrupted():
                    raise Interrupted
                view = chunk[: min(_CHUNK_BYTES, source.size_bytes - position)]
                source.read_into(view, position)
                digest.update(view)
        finally:
            source.close()
        return digest.digest()

    @contextmanager
    def held(self, commitment_id: int) -> Iterator[None]:
        """Keep the reporter from a request for the time an association works on it."""
        self._held.add(commitment_id)
        try:
            yield
        finally:
            self._held.discard(commitment_id)

    def due(self) -> list[Commitment]:
        """Return requests whose report is overdue and that nobody works on."""
        with self.committer.read() as connection:
            rows = table.due(connection, now=self.clock(), limit=_DUE_AT_ONCE + len(self._held))
        return [row for row in rows if row.commitment_id not in self._held][:_DUE_AT_ONCE]

    def postpone(self, commitment_id: int, until: datetime, *entries: Entry) -> None:
        """Say when the reporter should look at a request (again)."""
        self.committer.record(
            *entries, work=lambda connection: table.postpone(connection, commitment_id, next_attempt_at=until)
        )

    def delivered(self, commitment_id: int, ae_title: str, report: CommitmentReport) -> None:
        """Close a request whose report the peer has confirmed, and journal it."""
        now = self.clock()
        entry = Entry(
            at=now,
            event="committed",
            actor=ae_title,
            body={
                "transaction_uid": report.transaction_uid,
                "committed": len(report.committed),
                "failed": len(report.failed),
                "report": "delivered",
            },
        )
        self.committer.record(entry, work=lambda connection: table.reported(connection, commitment_id, at=now))
        _log.info("commitment_reported", committed=len(report.committed), failed=len(report.failed))


class CommitmentReporter:
    """A thread that delivers the reports no association delivered, again and again, for a week.

    Requests left by an earlier run are found in the index: there is nothing to resume.
    """

    def __init__(self, commitments: Commitments, courier: Courier) -> None:
        self._commitments = commitments
        self._courier = courier
        self._verified: dict[int, CommitmentReport] = {}
        self._told: set[int] = set()
        self._hurried: deque[int] = deque()
        self._stopping = threading.Event()
        self._awake = threading.Event()
        self._thread = threading.Thread(target=self._run, name="commitment-reporter", daemon=True)

    def start(self) -> None:
        """Begin, with what an earlier run left; once."""
        self._awake.set()
        self._thread.start()

    def stop(self) -> None:
        """End; what is not reported stays for the next run."""
        self._stopping.set()
        self._awake.set()
        self._courier.interrupt()
        if self._thread.is_alive():
            self._thread.join(_STOP_SECONDS)

    def knows(self, ae_title: str) -> bool:
        """Tell whether there is a way to this peer."""
        return self._courier.knows(ae_title)

    def hurry(self, commitment_ids: Iterable[int]) -> None:
        """Take over, at the next turn, what an association left unreported.

        Takes no lock: it may be called by the garbage collector, in the middle of anything.
        """
        self._hurried.extend(commitment_ids)

    def wake(self) -> None:
        """Look at what is due now, not at the next turn."""
        self._awake.set()

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._awake.wait(_SWEEP_SECONDS)
            self._awake.clear()
            try:
                self.sweep()
            except Interrupted:
                return
            except Exception as exc:
                _log.error("commitment_sweep_failed", exc_info=exc)

    def sweep(self) -> int:
        """Try every report that is due, once; return how many were delivered. Raises Interrupted, IndexUnavailable."""
        while self._hurried:
            self._commitments.postpone(self._hurried.popleft(), self._commitments.clock())
        delivered, unreachable = 0, set[str]()
        while rows := self._commitments.due():
            for row in rows:
                if self._stopping.is_set():
                    raise Interrupted
                delivered += self._attempt(row, unreachable)
        return delivered

    def _attempt(self, row: Commitment, unreachable: set[str]) -> bool:
        """Deliver one report or say when to try again; a peer that failed once is left alone for this sweep."""
        if not self._courier.knows(row.ae_title):
            self._give_up_for_now(row)
            return False
        try:
            if row.ae_title in unreachable:
                self._retry_later(row)
                return False
            report = self._report(row)
            self._courier.deliver(row.ae_title, report)
        except Interrupted:
            raise
        except Exception as exc:
            unreachable.add(row.ae_title)
            level = _log.warning if isinstance(exc, ArchiveError) else _log.error
            level("commitment_not_delivered", ae_title=row.ae_title, attempts=row.attempts + 1, exc_info=exc)
            self._retry_later(row)
            return False
        self._commitments.delivered(row.commitment_id, row.ae_title, report)
        self._verified.pop(row.commitment_id, None)
        return True

    def _report(self, row: Commitment) -> CommitmentReport:
        """Return the proof, from an earlier attempt when there is one: it is not read again for each try."""
        report = self._verified.get(row.commitment_id)
        if report is None:
            report = self._commitments.verify(CommitmentRequest.of(row), is_interrupted=self._stopping.is_set)
            while len(self._verified) >= _REMEMBERED:
                del self._verified[next(iter(self._verified))]
            self._verified[row.commitment_id] = report
        return report

    def _retry_later(self, row: Commitment) -> None:
        now = self._commitments.clock()
        if now - row.requested_at > _GIVE_UP:
            self._verified.pop(row.commitment_id, None)
            self._commitments.postpone(row.commitment_id, _NEVER, _undeliverable(row, now))
        else:
            self._commitments.postpone(row.commitment_id, now + retry_after(row.attempts))

    def _give_up_for_now(self, row: Commitment) -> None:
        """Journal, the first time, that nobody knows where to report to; look again in an hour, for a week."""
        now = self._commitments.clock()
        # Up to two attempts were counted while the association of the request was still open.
        is_first = row.attempts <= 2 and row.commitment_id not in self._told
        if is_first:
            self._told.add(row.commitment_id)
            _log.warning("commitment_undeliverable", ae_title=row.ae_title, transaction_uid=row.transaction_uid)
        until = _NEVER if now - row.requested_at > _GIVE_UP else now + _LONGEST_RETRY
        self._commitments.postpone(row.commitment_id, until, *([_undeliverable(row, now)] if is_first else []))


def retry_after(attempts: int) -> timedelta:
    """Return how long to wait after a failed attempt: half a minute, doubled each time, an hour at most."""
    return min(_FIRST_RETRY * (1 << min(attempts, 10)), _LONGEST_RETRY)


def _undeliverable(row: Commitment, now: datetime) -> Entry:
    body = {"transaction_uid": row.transaction_uid, "report": "undeliverable"}
    return Entry(at=now, event="committed", actor=row.ae_title, body=body)
