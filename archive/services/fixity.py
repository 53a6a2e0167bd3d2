"""Reads every stored object again and proves that its bytes are the bytes received; must not repair or remove any.

Originals that lossy copies replaced are read too: until their grace is over, a rollback gives them again.
"""

from __future__ import annotations

import errno
import hashlib
import random
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Final

from archive import logs
from archive.audit import Entry
from archive.clock import Clock
from archive.errors import StorageFailed
from archive.index import marks, scrub
from archive.index.instances import iter_locations, set_location_state
from archive.index.records import LocatedCopy
from archive.index.scrub import Turn
from archive.index.session import Connection
from archive.services.arrival import CHUNK_BYTES
from archive.services.committer import Committer
from archive.services.copies import file_of
from archive.services.reports import Progress, VerifyReport
from archive.services.turns import Budget, iter_turns
from tiering.disk import Disk

PRESENT: Final = "present"
MISSING: Final = "missing"
DAMAGED: Final = "damaged"
_PAGE: Final = 256
_WORKERS: Final = 2
_GONE: Final = (errno.ENOENT, errno.ENOTDIR)
_BAD_SECTOR: Final = (errno.EIO, errno.EBADMSG, errno.EUCLEAN)
_log = logs.get(__name__)


@dataclass(frozen=True, slots=True)
class Fixity:
    """Compares the hot copies with their digests. The index says which state a copy is in; a change is journalled.

    Of originals it does not: one that is not right is journalled each time, and with a percentage they are those behind
    one that ``pick`` takes out of so many.
    """

    committer: Committer
    disk: Disk
    hot_root: Path
    clock: Clock
    budget: Budget = field(default_factory=Budget)
    pick: Callable[[int], int] = random.randrange

    def verify(self, progress: Progress) -> VerifyReport:
        """Check every copy; mark those that are missing or damaged, and unmark those that are good again.

        Raises IndexUnavailable, and StorageFailed when the storage as a whole cannot be read: then nothing is marked
        that was not checked.
        """
        run = _Run(self, progress)
        run.start()
        with ThreadPoolExecutor(_WORKERS) as pool:
            for page in run.pages():
                run.settle(page, list(pool.map(self.check, page)))
        return run.finish()

    def check(self, copy: LocatedCopy) -> str:
        """Return the state a copy is in, by reading all of it: present, missing or damaged."""
        try:
            return PRESENT if self._holds(copy) else DAMAGED
        except OSError as exc:
            if exc.errno in _BAD_SECTOR:
                return DAMAGED
            if exc.errno in _GONE and self.disk.names(self.hot_root):
                return MISSING
            raise StorageFailed(reason=exc.strerror or type(exc).__name__) from exc

    def _holds(self, copy: LocatedCopy) -> bool:
        """Tell whether header and data set have the digests and sizes of the index."""
        at = copy.location
        path = file_of(self.hot_root, at)
        if at.pack_key is None:
            chunks = self.disk.read(path, chunk_bytes=CHUNK_BYTES)
        else:
            chunks = self.disk.read(path, chunk_bytes=CHUNK_BYTES, offset=at.start, length=at.size_bytes)
        first = next(chunks, b"")
        dataset, size = hashlib.sha256(first[at.header_size :]), len(first)
        self.budget.pace(size)
        for chunk in chunks:
            self.budget.pace(len(chunk))
            dataset.update(chunk)
            size += len(chunk)
        header = hashlib.sha256(first[: at.header_size])
        found = (header.digest(), dataset.digest(), size)
        return found == (at.sha256, at.dataset_sha256 or copy.dataset_sha256, at.size_bytes)


@dataclass(slots=True)
class _Run:
    """One pass over the index."""

    fixity: Fixity
    progress: Progress
    total: int = 0
    originals: int = 0
    checked: int = 0
    last_id: int = 0
    last_original: str = ""
    is_around: bool = False
    turns: Iterator[Turn] | None = None
    damaged: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)

    def start(self) -> None:
        """Learn how much there is to do."""
        with self.fixity.committer.read() as connection:
            located, retired = scrub.count_hot(connection), scrub.count_retired(connection)
        self.originals = self.fixity.budget.quota(retired)
        if self.fixity.budget.percent < 100:
            located = self.fixity.budget.quota(located)
            read, now = self.fixity.committer.read, self.fixity.clock()
            self.turns = iter_turns(read, scrub.hot_turns, now, located)
            if retired:
                self.last_original = self._retired_key(self.fixity.pick(retired))
        self.total = located + self.originals
        self.progress(0, self.total)

    def pages(self) -> Iterator[list[LocatedCopy]]:
        """Yield all that is to be checked, page by page."""
        while page := self._next_page():
            yield page
        before = self.checked
        while page := self._next_originals(self.originals - (self.checked - before)):
            yield page
        self.originals = self.checked - before

    def _retired_key(self, number: int) -> str:
        with self.fixity.committer.read() as connection:
            return scrub.retired_key(connection, number)

    def _next_originals(self, limit: int) -> list[LocatedCopy]:
        """Return the next originals, up to so many; behind the last key come the first, once."""
        with self.fixity.committer.read() as connection:
            page = scrub.retired_copies(connection, self.last_original, min(limit, _PAGE))
            if not page and self.last_original and not self.is_around:
                self.is_around = True
                page = scrub.retired_copies(connection, "", min(limit, _PAGE))
        self.last_original = page[-1].location.key if page else ""
        return page

    def _next_page(self) -> list[LocatedCopy]:
        """Return the next hot copies; each page is read on its own, so that no read keeps the database's log long."""
        while self.turns is not None:
            turns = list(islice(self.turns, _PAGE))
            with self.fixity.committer.read() as connection:
                found = scrub.find_hot_copies(connection, turns)
            if found or not turns:
                return found
        while True:
            with self.fixity.committer.read() as connection:
                page = list(iter_locations(connection, after_id=self.last_id, limit=_PAGE))
            if not page:
                return []
            self.last_id = page[-1].location_id
            hot = [copy for copy in page if copy.location.tier == "hot"]
            if hot:
                return hot

    def settle(self, page: Sequence[LocatedCopy], states: Sequence[str]) -> None:
        """Write what was found of a page."""
        now = self.fixity.clock()
        entries = []
        for copy, state in zip(page, states, strict=True):
            key = copy.location.key
            if state == DAMAGED:
                self.damaged.append(key)
            elif state == MISSING:
                self.missing.append(key)
            if state != copy.location.state:
                event = "recovered" if state == PRESENT else state
                body = {"key": key, "sop_instance_uid": copy.sop_instance_uid}
                entries.append(Entry(at=now, event=event, actor="drimbox", body=body))
                _log.error("stored_copy_changed", key=key, was=copy.location.state, now=state)

        def work(connection: Connection) -> None:
            for copy, state in zip(page, states, strict=True):
                set_location_state(connection, copy.location.key, state, verified_at=now)

        self.fixity.committer.record(*entries, work=work)
        self.checked += len(page)
        self.progress(self.checked, max(self.total, self.checked))

    def finish(self) -> VerifyReport:
        """Journal the run."""
        report = VerifyReport(self.checked, tuple(self.damaged), tuple(self.missing), originals=self.originals)
        body = {"checked": self.checked, "damaged": len(self.damaged), "missing": len(self.missing)}
        now = self.fixity.clock()
        self.fixity.committer.record_synced(
            Entry(at=now, event="verified", actor="drimbox", body=body),
            work=lambda connection: marks.put(connection, marks.VERIFIED_HOT, now),
        )
        return report
