"""Group commit, behind the acknowledgement and before every reader; must not touch files or the network.

A landed object is durable by itself, so its index row need not be waited for: one thread writes rows and journal
entries of all that waits in one transaction. What makes that invisible is the barrier: whoever reads the index goes
through ``read``, which first waits until everything handed in before is committed. Decision 0002 says why.
"""

from __future__ import annotations

import dataclasses
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from archive import logs
from archive.audit import Entry, seal
from archive.clock import monotonic
from archive.errors import ArchiveError, IndexUnavailable
from archive.index import arrivals, journal
from archive.index.instances import AddOutcome, InstanceWriter
from archive.index.records import NewInstance
from archive.index.session import Connection, Database
from archive.part10.attributes import InstanceHeader

Work = Callable[[Connection], object]

_log = logs.get(__name__)
_LINGER_SECONDS: Final = 0.05
_RETRY_SECONDS: Final = 1.0
_MAX_BATCH: Final = 128
_MAX_WAITING: Final = 512
_QUIET_SECONDS: Final = 0.25
IMPORT: Final = "IMPORT"
"""The calling AE title of files that are imported."""
_IDENTIFIERS: Final = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")


@dataclass(slots=True, eq=False)
class _Job:
    """Something to commit; ``waiter`` is set when somebody waits for it and takes its error."""

    entries: Sequence[Entry]
    instance: NewInstance | None = None
    settled: Callable[[], None] | None = None
    work: Work | None = None
    is_synced: bool = False
    waiter: threading.Event | None = None
    outcome: AddOutcome | None = None
    error: Exception | None = None
    is_retried: bool = False


class Committer:
    """The only writer of the index in a process; safe to call from any thread. ``start`` it, ``close`` it."""

    def __init__(self, database: Database, *, linger_seconds: float = _LINGER_SECONDS) -> None:
        self.database = database
        self.arriving: set[object] = set()
        """What is coming in: who receives an object is in here meanwhile (adding and discarding are atomic)."""
        self._writer = InstanceWriter()
        self._linger_seconds = linger_seconds
        self._queue: deque[_Job] = deque()
        self._changed = threading.Condition()
        self._digests: dict[str, bytes] = {}
        self._handed_in = 0
        self._handed_in_contents = 0
        self._done = 0
        self._is_urgent = False
        self._is_closing = False
        self._is_over = False
        self._is_dirty = False
        self._failure: IndexUnavailable | None = None
        self._stored_at = float("-inf")
        self._thread: threading.Thread | None = None
        self._arrived: dict[tuple[str, str], tuple[int, int]] = {}

    # ---- handing in ----------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the thread that commits."""
        self._thread = threading.Thread(target=self._run, name="committer", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Commit what waits, synced, and end the thread; what cannot be committed is adopted at the next start."""
        try:
            self.record_synced()
        except ArchiveError as exc:
            _log.error("index_not_synced_at_close", exc_info=exc)
        with self._changed:
            self._is_closing = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()

    def check(self) -> None:
        """Raise IndexUnavailable while the index does not take what it is given, or is too far behind."""
        failure = self._failure
        if failure is not None:
            raise IndexUnavailable(reason=failure.fields["reason"])

    @property
    def is_receiving(self) -> bool:
        """Tell whether objects are coming in, or came a moment ago."""
        return bool(self.arriving) or monotonic() - self._stored_at < _QUIET_SECONDS

    @property
    def waiting(self) -> int:
        """Return how many jobs wait to be committed."""
        return len(self._queue)

    def arrived(self) -> Mapping[tuple[str, str], tuple[int, int]]:
        """Return instances and bytes by site and modality that came since the start; files that are imported do not."""
        return dict(self._arrived)

    def store(self, instance: NewInstance, entry: Entry, settled: Callable[[], None]) -> None:
        """Hand in a durable object and return; ``settled`` is called once its row is committed.

        The row follows by itself, tried again for as long as the index fails; readers do not get ahead of it.
        """
        job = _Job((entry,), instance=instance, settled=settled)
        self._stored_at = monotonic()
        with self._changed:
            self._changed.wait_for(lambda: len(self._queue) < _MAX_WAITING or self._failure is not None)
            self._digests[instance.header.values["SOPInstanceUID"]] = instance.dataset_sha256
            self._hand_in(job, is_urgent=False)

    def add(self, instance: NewInstance, entry: Entry) -> AddOutcome:
        """Index an object that nobody waits to be acknowledged for; return what it came to. Raises IndexUnavailable.

        The entry is written only when the instance is added.
        """
        job = _Job((entry,), instance=instance, waiter=threading.Event())
        self._wait(job)
        assert job.outcome is not None
        return job.outcome

    def find_waiting_digest(self, sop_instance_uid: str) -> bytes | None:
        """Return the digest of an object that is handed in and not committed yet."""
        return self._digests.get(sop_instance_uid)

    def post(self, *entries: Entry, work: Work | None = None) -> None:
        """Hand in entries and work without waiting; they are dropped, with a log line, if the index refuses them."""
        with self._changed:
            self._hand_in(_Job(entries, work=work), is_urgent=False)

    def record(self, *entries: Entry, work: Work | None = None) -> None:
        """Journal entries and do ``work`` in one transaction, committed on return. Raises IndexUnavailable."""
        self._wait(_Job(entries, work=work, waiter=threading.Event()))

    def record_synced(self, *entries: Entry, work: Work | None = None) -> None:
        """Like ``record``; on return it, and everything handed in before, is on disk."""
        self._wait(_Job(entries, work=work, is_synced=True, waiter=threading.Event()))

    def sync(self) -> None:
        """Make all that was committed last; does nothing when nothing was."""
        if self._is_dirty:
            self.record_synced()

    @contextmanager
    def read(self, *, journal: bool = True) -> Iterator[Connection]:
        """Lend a connection that sees everything handed in before. Raises IndexUnavailable.

        Whoever does not look at the ``journal`` waits for no entry that goes with nothing else.
        """
        self.barrier(journal=journal)
        with self.database.read() as connection:
            yield connection

    def barrier(self, *, journal: bool = True) -> None:
        """Wait until everything handed in before is committed; raise IndexUnavailable when the index fails."""
        with self._changed:
            target = self._handed_in if journal else self._handed_in_contents
            if self._done < target:
                self._is_urgent = True
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._done >= target or self._failure is not None)
            if self._done < target:
                self.check()

    def _wait(self, job: _Job) -> None:
        assert job.waiter is not None
        with self._changed:
            self._hand_in(job, is_urgent=True)
        job.waiter.wait()
        if job.error is not None:
            raise job.error

    def _hand_in(self, job: _Job, *, is_urgent: bool) -> None:
        assert not self._is_closing, "the committer is closed"
        if self._is_over:
            self.check()
        self._queue.append(job)
        self._handed_in += 1
        if job.instance is not None or job.work is not None:
            self._handed_in_contents = self._handed_in
        if is_urgent or len(self._queue) == 1:
            self._is_urgent = self._is_urgent or is_urgent
            self._changed.notify_all()

    # ---- committing ----------------------------------------------------------------------------------------------

    def _run(self) -> None:
        batch: list[_Job] = []
        try:
            while batch := self._take():
                self._commit(batch)
        except BaseException as exc:
            self._give_up(batch, exc)
            raise

    def _give_up(self, batch: Sequence[_Job], error: BaseException) -> None:
        """The thread ends by our mistake: nobody may wait for it, and nothing more may be acknowledged."""
        _log.critical("committer_ended", exc_info=error)
        with self._changed:
            self._failure = IndexUnavailable(reason="the committing thread ended, restart the archive")
            self._is_over = True
            for job in (*batch, *self._queue):
                if job.waiter is not None and not job.waiter.is_set():
                    job.error = self._failure
                    job.waiter.set()
            self._changed.notify_all()

    def _take(self) -> list[_Job]:
        """Wait for work, a moment longer for company, and take it; empty means the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._is_closing)
            self._changed.wait_for(lambda: self._is_urgent or self._is_closing, self._linger_seconds)
            batch = [self._queue.popleft() for _ in range(min(len(self._queue), _MAX_BATCH))]
            self._is_urgent = self._is_urgent and bool(self._queue)
            return batch

    def _commit(self, batch: Sequence[_Job]) -> None:
        """Commit a batch; when the database refuses it, each job alone, so that one bad job fails alone."""
        try:
            counts = self._transact(batch)
        except IndexUnavailable as exc:
            self._writer.rolled_back()
            self._wait_for_index(batch, exc)
        except Exception as exc:
            self._writer.rolled_back()
            self._writer.forget()  # another process may have eliminated what it remembers
            if len(batch) > 1:
                for job in batch:
                    self._commit([job])
            elif not batch[0].is_retried:
                batch[0].is_retried = True
                self._commit(batch)
            else:
                self._refused(batch[0], exc)
        else:
            self._writer.committed()
            for (_, *stream), (number, size) in counts.items():
                before = self._arrived.get((stream[0], stream[1]), (0, 0))
                self._arrived[stream[0], stream[1]] = before[0] + number, before[1] + size
            self._is_dirty = not any(job.is_synced for job in batch)
            self._finish(batch)

    def _transact(self, batch: Sequence[_Job]) -> arrivals.Counts:
        # What SQLite committed unsynced outlives every process. PostgreSQL loses it when a process of its own dies,
        # while we go on and seal the folder: there every commit is synced, which nobody waits for.
        synced = self.database.dialect == "postgresql" or any(job.is_synced for job in batch)
        with self.database.write(synced=synced) as connection:
            arrived = [job for job in batch if job.instance is not None]
            outcomes = self._writer.add(connection, [job.instance for job in arrived if job.instance is not None])
            for job, outcome in zip(arrived, outcomes, strict=True):
                job.outcome = outcome
            counts = arrivals.counted(_sent_now(arrived))
            arrivals.add(connection, counts)
            for job in batch:
                if job.work is not None:
                    job.work(connection)
            append_entries(connection, [entry for job in batch for entry in _news(job)])
        return counts

    def _wait_for_index(self, batch: Sequence[_Job], error: IndexUnavailable) -> None:
        """Fail all who wait, put the rest back at the head of the queue, and pause."""
        _log.error("index_failed", waiting=len(batch), exc_info=error)
        with self._changed:
            jobs = (*batch, *self._queue)
            self._queue = deque(job for job in jobs if job.waiter is None)
            waited_for = [job for job in jobs if job.waiter is not None]
            for job in waited_for:
                job.error = IndexUnavailable(reason=error.fields["reason"])
            if not self._queue and not self._is_closing:
                self._hand_in(_Job(()), is_urgent=False)  # an empty transaction tells when the index is back
            self._failure = error
            self._changed.notify_all()
        self._count(waited_for)
        with self._changed:
            if self._is_closing:
                self._queue.clear()
            else:
                self._changed.wait_for(lambda: self._is_closing, _RETRY_SECONDS)

    def _refused(self, job: _Job, error: Exception) -> None:
        """The database refuses a value: a durable object is indexed by its identifiers alone, the rest is told."""
        if job.waiter is not None:
            job.error = error
            self._finish([job])
        elif job.instance is not None and "refused" not in job.instance.flags:
            _log.error("values_refused_by_index", key=job.instance.location.key, exc_info=error)
            job.instance = bare(job.instance)
            self._commit([job])
        else:
            # Not settled: its landing folder stays unsealed and the object is looked at again at the next start.
            _log.error("not_indexed", key=job.instance.location.key if job.instance else None, exc_info=error)
            job.settled = None
            self._finish([job])

    def _finish(self, batch: Sequence[_Job]) -> None:
        self._failure = None
        for job in batch:
            if job.instance is not None:
                self._digests.pop(job.instance.header.values["SOPInstanceUID"], None)
            if job.outcome in (AddOutcome.CONFLICT, AddOutcome.DESTROYED) and job.waiter is None:
                # Another process was faster with this UID. Not settled: the next start looks at the file.
                _log.error("index_conflict", key=job.instance.location.key if job.instance else None)
            elif job.settled is not None:
                job.settled()
        self._count(batch)

    def _count(self, batch: Sequence[_Job]) -> None:
        with self._changed:
            self._done += len(batch)
            self._changed.notify_all()
        for job in batch:
            if job.waiter is not None:
                job.waiter.set()


def _news(job: _Job) -> Sequence[Entry]:
    return job.entries if job.instance is None or job.outcome is AddOutcome.ADDED else ()


def _sent_now(jobs: Sequence[_Job]) -> Iterator[NewInstance]:
    """Yield what a modality has just sent: files that somebody imports say nothing about a day."""
    for job in jobs:
        if job.instance is not None and job.outcome is AddOutcome.ADDED and job.instance.calling_ae_title != IMPORT:
            yield job.instance


def bare(instance: NewInstance) -> NewInstance:
    """Return the instance with nothing but its identifiers to index."""
    values = {keyword: instance.header.values[keyword] for keyword in _IDENTIFIERS}
    header = InstanceHeader(values=values, flags=instance.header.flags)
    return dataclasses.replace(instance, header=header, flags=(*instance.flags, "refused"))


def append_entries(connection: Connection, entries: Sequence[Entry]) -> None:
    """Chain ``entries`` to the journal's head within the caller's transaction."""
    if not entries:
        return
    sequence, previous = journal.head(connection)
    journal.append(connection, seal(entries, sequence=sequence + 1, previous_hash=previous))
