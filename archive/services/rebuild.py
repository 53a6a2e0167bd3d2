"""Makes the index again from storage alone; must not move, change or remove an object.

Objects are taken in the order in which they landed, so that what came first is first again; those with a note beside
them come last. Nobody else may work on the home meanwhile: see ``lock``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Final

from archive import logs
from archive.audit import Entry
from archive.clock import Clock
from archive.errors import ArchiveError, FixityError, IndexUnavailable, IngestError, InvalidUid, RebuildRefused
from archive.index import arrivals, folders, packs, quarantine, reset
from archive.index.instances import AddOutcome, InstanceWriter
from archive.index.records import NewInstance
from archive.index.session import Connection, Database, IndexRefused
from archive.services import aside
from archive.services.adopt import CONFLICT, DESTROYED
from archive.services.cold_adopt import ColdAdopt, Index
from archive.services.committer import IMPORT, append_entries, bare
from archive.services.landed import read_landed
from archive.services.ledger import LedgerFiles
from archive.services.packed import attach_pack, read_pack
from archive.services.quarantine import reason_of
from archive.services.reports import Progress, RebuildReport
from tiering.disk import Disk
from tiering.errors import StoreError, TieringError
from tiering.landing import PACKS, iter_folders, iter_keys, iter_packs, opened_at, pack_path, path_of
from tiering.stores.base import ObjectStore

_SQLITE: Final = "sqlite:///"
_PAGE: Final = 256
_WORKERS: Final = 2
_ARRIVALS_KEPT: Final = timedelta(weeks=14)
_log = logs.get(__name__)

Transaction = Callable[[], AbstractContextManager[Connection]]


@dataclass(frozen=True, slots=True)
class _Problem:
    """An object that cannot be indexed; ``is_passing`` when another attempt may go better."""

    key: str
    reason: str
    is_passing: bool = False


@dataclass(frozen=True, slots=True)
class Rebuild:
    """One rebuild. ``whole``: read every object to its end and check its digest, not its size alone.

    What the ledger tells comes first, so that objects are judged by it. Packs of the ``cold`` store are indexed by
    what they say of themselves: ``verify`` reads them.
    """

    disk: Disk
    hot_root: Path
    quarantine_root: Path
    clock: Clock
    whole: bool = True
    ledger: LedgerFiles | None = None
    cold: ObjectStore | None = None

    def run(self, database_url: str, progress: Progress) -> RebuildReport:
        """Make the index at ``database_url`` again; it changes all at once or, when this raises, not at all.

        SQLite: a new file takes the old one's place, which stays as ``<name>.<moment>.bak`` with its journal.
        PostgreSQL: one transaction; the journal goes on. Raises IndexUnavailable, RebuildRefused when the cold store
        does not answer, OSError.
        """
        if self.cold is not None:
            with _cold_needed():  # before hours of work
                next(iter(self.cold.iter_keys()), None)
        if database_url.startswith(_SQLITE):
            return self._beside(Path(database_url.removeprefix(_SQLITE).partition("?")[0]), progress)
        database = Database(database_url)
        try:
            database.migrate()
            with database.write(synced=True) as connection:
                reset.clear(connection)
                return self._fill(lambda: nullcontext(connection), progress)
        finally:
            database.close()

    def _beside(self, path: Path, progress: Progress) -> RebuildReport:
        fresh = path.with_name(f"{path.name}.rebuilding")
        for left in _with_log(fresh):
            left.unlink(missing_ok=True)
        database = Database(f"{_SQLITE}{fresh}")
        try:
            database.migrate()
            report = self._fill(lambda: database.write(synced=False), progress)
        finally:
            database.close()
        self._swap(path, fresh)
        return report

    def _fill(self, transaction: Transaction, progress: Progress) -> RebuildReport:
        if self.ledger is not None:
            with transaction() as connection:
                self.ledger.replay(connection)
        work = _Filling(self, transaction, progress)
        for key in iter_packs(self.disk, self.hot_root):
            work.pack(key)
        work.objects()
        work.cold()  # after all that is hot, so that what is lossless comes first
        work.kept()
        return work.finish()

    def read(self, key: str) -> NewInstance | _Problem:
        """Return what the index holds of a stored object, or why it cannot."""
        try:
            landed = read_landed(self.disk, path_of(self.hot_root, key), key=key, whole=self.whole)
            return landed.instance(key)
        except (IngestError, InvalidUid, FixityError) as exc:
            return _Problem(key, reason_of(exc))
        except OSError as exc:
            return _Problem(key, exc.strerror or type(exc).__name__, is_passing=True)

    def _swap(self, path: Path, fresh: Path) -> None:
        """Put the new file in the old one's place; at no moment is there none, or one with another's log beside it."""
        if _with_log(fresh)[1].exists():
            raise IndexUnavailable(reason="the new index could not be completed; the old one is as it was")
        _sync(fresh)
        if path.exists():
            _fold_in_log(path)
            old = path.with_name(f"{path.name}.{self.clock():%Y%m%dT%H%M%S%fZ}.bak")
            os.link(path, old)
            for source, target in zip(_with_log(path)[1:], _with_log(old)[1:], strict=True):
                with suppress(FileNotFoundError):
                    source.rename(target)
            self.disk.sync_folder(path.parent)
        fresh.rename(path)
        self.disk.sync_folder(path.parent)


@dataclass(slots=True)
class _Filling:
    """The state of one rebuild while the tables fill."""

    rebuild: Rebuild
    transaction: Transaction
    progress: Progress
    writer: InstanceWriter = field(default_factory=InstanceWriter)
    unsealed: set[str] = field(default_factory=set)
    problems: list[str] = field(default_factory=list)
    instances: int = 0
    quarantined: int = 0
    done: int = 0
    total: int = 0

    def objects(self) -> None:
        """Index every object of the hot folder, those with a note last, and register the folders."""
        disk, root = self.rebuild.disk, self.rebuild.hot_root
        names = sorted(iter_folders(disk, root), key=self._opening)
        noted = {name: aside.noted_keys(disk, root, name) for name in names}
        self.total = sum(1 for name in names for _ in iter_keys(disk, root, name))
        with ThreadPoolExecutor(_WORKERS) as pool:
            for late in (False, True):
                keys = (key for name in names for key in iter_keys(disk, root, name) if (key in noted[name]) is late)
                for page in _pages(keys):
                    self._index(list(pool.map(self.rebuild.read, page)))
                    self.done += len(page)
                    self.progress(self.done, self.total)
        self._register(names)

    def pack(self, key: str) -> None:
        """Index a pack and the copies in it; one that cannot be read is told and stays."""
        try:
            found = read_pack(self.rebuild.disk, pack_path(self.rebuild.hot_root, key), key, whole=self.rebuild.whole)
        except (TieringError, IngestError, InvalidUid, FixityError, OSError) as exc:
            self.problems.append(f"{PACKS}/{key}: {reason_of(exc)}")
            _log.error("object_not_indexed", key=key, reason=reason_of(exc))
            return
        with self.transaction() as connection:
            attach_pack(connection, found, self._add(connection, list(found.instances)), self.rebuild.clock())

    def cold(self) -> None:
        """Index the cold packs. Raises RebuildRefused when the cold store does not answer: half an index is none."""
        if self.rebuild.cold is None:
            return
        index = Index(self.transaction, self._write)
        with _cold_needed():
            found = ColdAdopt(self.rebuild.cold, index, self.rebuild.clock).run(self.progress)
        self.instances += found.instances
        self.problems += [f"cold/{key}: {reason}" for key, reason in found.problems]

    def _write(self, work: Callable[[Connection], None], _entry: Entry) -> None:
        """Write without an entry of its own: that of the rebuild tells."""
        with self.transaction() as connection:
            work(connection)

    def _opening(self, folder: str) -> tuple[datetime, str]:
        """Return what orders folders: when the first object of it came (the name knows the second only)."""
        at = opened_at(folder)
        with suppress(StopIteration, OSError, IngestError, FixityError):
            key = next(iter_keys(self.rebuild.disk, self.rebuild.hot_root, folder))
            path = path_of(self.rebuild.hot_root, key)
            stored = read_landed(self.rebuild.disk, path, key=key, whole=False).stored
            at = max(at, stored.provenance.received_at)
        return at, folder

    def _index(self, found: Iterable[NewInstance | _Problem]) -> None:
        with self.transaction() as connection:
            batch = []
            for item in found:
                if isinstance(item, _Problem):
                    self._problem(connection, item)
                else:
                    batch.append(item)
            outcomes = self._add(connection, batch)
            for item in batch:
                if outcomes.get(item.header.values["SOPInstanceUID"]) is AddOutcome.SAME:
                    packs.supersede(connection, item, self.rebuild.clock())

    def _add(self, connection: Connection, batch: list[NewInstance]) -> dict[str, AddOutcome]:
        """Index a page; when the database refuses it, each object alone, and at last by its identifiers alone.

        Returns what it came to, by SOP Instance UID.
        """
        try:
            with reset.attempt(connection):
                outcomes = self.writer.add(connection, batch)
        except IndexRefused as exc:
            self.writer.rolled_back()
            if len(batch) > 1:
                return {uid: outcome for item in batch for uid, outcome in self._add(connection, [item]).items()}
            if "refused" not in batch[0].flags:
                return self._add(connection, [bare(batch[0])])
            self._problem(connection, _Problem(batch[0].location.key, exc.message))
            return {}
        self.writer.committed()
        self.instances += outcomes.count(AddOutcome.ADDED)
        for item, outcome in zip(batch, outcomes, strict=True):
            if outcome is AddOutcome.CONFLICT:
                self._problem(connection, _Problem(item.location.key, CONFLICT))
            elif outcome is AddOutcome.DESTROYED:
                self.problems.append(f"{item.location.key}: {DESTROYED}")
        return {item.header.values["SOPInstanceUID"]: each for item, each in zip(batch, outcomes, strict=True)}

    def _problem(self, connection: Connection, problem: _Problem) -> None:
        """Tell, and index among what is kept aside; what another attempt may read keeps its folder unsealed."""
        self.problems.append(f"{problem.key}: {problem.reason}")
        _log.error("object_not_indexed", key=problem.key, reason=problem.reason)
        if problem.is_passing:
            self.unsealed.add(problem.key.rpartition("/")[0])
        else:
            path = path_of(self.rebuild.hot_root, problem.key)
            self._keep(connection, aside.HOT_PREFIX + problem.key, path, problem.reason)

    def _keep(self, connection: Connection, key: str, path: Path, reason: str) -> None:
        rebuild = self.rebuild
        row = aside.row_from_storage(rebuild.disk, path, key, now=rebuild.clock(), reason=reason)
        quarantine.add(connection, row)
        self.quarantined += 1

    def _register(self, names: Iterable[str]) -> None:
        now = self.rebuild.clock()
        with self.transaction() as connection:
            for name in names:
                folders.open_folder(connection, name, opened_at(name))
                if name not in self.unsealed:
                    folders.seal_folder(connection, name, now)

    def kept(self) -> None:
        """Index the quarantine folder."""
        with self.transaction() as connection:
            for key, path in aside.iter_kept(self.rebuild.disk, self.rebuild.quarantine_root):
                try:
                    self._keep(connection, key, path, "")
                except OSError as exc:
                    self.problems.append(f"quarantine/{key}: {exc.strerror or type(exc).__name__}")

    def finish(self) -> RebuildReport:
        """Journal the rebuild and return what came of it."""
        body = {"instances": self.instances, "quarantined": self.quarantined, "problems": len(self.problems)}
        now = self.rebuild.clock()
        with self.transaction() as connection:
            arrivals.recount(connection, now - _ARRIVALS_KEPT, IMPORT)
            append_entries(connection, [Entry(at=now, event="rebuilt", actor="drimbox", body=body)])
        return RebuildReport(self.instances, self.quarantined, tuple(self.problems))


@contextmanager
def _cold_needed() -> Iterator[None]:
    try:
        yield
    except StoreError as exc:
        reason = f"{exc.message}. Without its packs studies would be missing: wait for it, or give --hot-only"
        raise RebuildRefused(reason=reason) from exc


def _pages(keys: Iterator[str]) -> Iterator[list[str]]:
    while page := list(islice(keys, _PAGE)):
        yield page


def _with_log(path: Path) -> tuple[Path, Path, Path]:
    """Return a SQLite file and the two that may lie beside it."""
    return path, path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm")


def _fold_in_log(path: Path) -> None:
    """Have SQLite take its log into the file, if it still can."""
    database = Database(f"{_SQLITE}{path}")
    try:
        database.ping()
    except ArchiveError as exc:
        _log.warning("old_index_unreadable", exc_info=exc)
    finally:
        database.close()


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
