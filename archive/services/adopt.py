"""Makes the index agree with the landing area before the port opens; must not move, change or remove a file.

What is compared: the folders not sealed, and those the index has never heard of (it was restored from an old copy, or
lost). A file without a row was durable, so it is taken in; a row without a file is a failing disk or a human.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from archive import logs
from archive.audit import Body, Entry
from archive.clock import Clock
from archive.errors import FixityError, IngestError, InvalidUid
from archive.index import cold_packs, folders, packs
from archive.index.instances import AddOutcome, InstanceWriter, set_location_state
from archive.index.session import Connection, Database, IndexRefused
from archive.services import aside
from archive.services.arrival import stored_entry
from archive.services.committer import Committer, bare
from archive.services.landed import read_landed
from archive.services.packed import attach_pack, read_pack
from archive.services.quarantine import reason_of
from tiering.disk import Disk
from tiering.errors import TieringError
from tiering.landing import iter_folders, iter_keys, iter_packs, opened_at, pack_path, path_of

CONFLICT: Final = "other bytes under a SOP Instance UID already stored"
DESTROYED: Final = "it was destroyed and is here all the same; drimbox disposal remains takes it away"
_log = logs.get(__name__)


@dataclass(slots=True)
class AdoptReport:
    """What was found, in files; ``unreadable`` ones are looked at again at the next start.

    ``destroyed`` ones were eliminated and are here all the same: ``disposal remains`` takes them away.
    """

    folders: int = 0
    adopted: int = 0
    already_stored: int = 0
    set_aside: int = 0
    missing: int = 0
    unreadable: int = 0
    destroyed: int = 0
    packs: int = 0


@dataclass(slots=True)
class Adopt:
    """One comparison of storage and index; nobody else may write meanwhile."""

    database: Database
    disk: Disk
    hot_root: Path
    quarantine_root: Path
    committer: Committer
    clock: Clock

    def run(self) -> AdoptReport:
        """Compare, adopt, seal. Raises IndexUnavailable; a file that cannot be read does not stop it."""
        report = AdoptReport()
        self.disk.sweep(self.hot_root)
        self._register_found()
        self._take_packs(report)  # first: what lies in one is not missing elsewhere
        with self.database.read() as connection:
            unsealed = folders.unsealed_folders(connection)
        for folder in unsealed:
            self._compare(folder.name, report)
        self._recall_kept(report)
        return report

    def _register_found(self) -> None:
        """Make every folder on disk known; those the index knows stay as they are, sealed or not."""
        found = list(iter_folders(self.disk, self.hot_root))

        def work(connection: Connection) -> None:
            for name in found:
                folders.open_folder(connection, name, opened_at(name))

        self.committer.record(work=work)

    def _compare(self, folder: str, report: AdoptReport) -> None:
        on_disk = list(iter_keys(self.disk, self.hot_root, folder))
        with self.committer.read() as connection:
            indexed = folders.keys_in_folder(connection, folder)
        unreadable = report.unreadable
        for key in on_disk:
            if key not in indexed:
                self._take(key, report)
        for key in sorted(indexed.difference(on_disk)):
            self._miss(key, report)
        if report.unreadable == unreadable:
            now = self.clock()
            self.committer.record_synced(work=lambda connection: folders.seal_folder(connection, folder, now))
        report.folders += 1

    def _take(self, key: str, report: AdoptReport) -> None:
        """Deal with a file without a row."""
        with _told(key, report):
            try:
                outcome = self._adopt(key)
            except (IngestError, InvalidUid, FixityError, IndexRefused) as exc:
                self._set_aside(key, reason_of(exc), report)
                return
            if outcome is AddOutcome.CONFLICT:
                self._set_aside(key, CONFLICT, report)
            if outcome is AddOutcome.DESTROYED:
                report.destroyed += 1
                _log.error("destroyed_object_found", key=key)
            report.adopted += outcome is AddOutcome.ADDED
            report.already_stored += outcome is AddOutcome.SAME

    def _adopt(self, key: str) -> AddOutcome:
        landed = read_landed(self.disk, path_of(self.hot_root, key), key=key)
        instance = landed.instance(key)
        entry = replace(stored_entry("adopted", landed.stored.provenance, instance), at=self.clock())
        try:
            return self.committer.add(instance, entry)
        except IndexRefused:
            return self.committer.add(bare(instance), entry)

    def _set_aside(self, key: str, reason: str, report: AdoptReport) -> None:
        path, kept_key = path_of(self.hot_root, key), aside.HOT_PREFIX + key
        if aside.is_known(self.database, kept_key):
            return
        row = aside.row_from_storage(self.disk, path, kept_key, now=self.clock(), reason=reason)
        aside.set_aside(self.disk, self.committer, row, path)
        report.set_aside += 1
        _log.error("landed_file_set_aside", key=key, reason=row.reason)

    def _miss(self, key: str, report: AdoptReport) -> None:
        """Mark the row of a file that is gone: every row was written after its file was durable."""

        def work(connection: Connection) -> None:
            set_location_state(connection, key, "missing")

        self.committer.record(Entry(at=self.clock(), event="missing", actor="drimbox", body={"key": key}), work=work)
        report.missing += 1
        _log.error("landed_file_missing", key=key)

    def _take_packs(self, report: AdoptReport) -> None:
        """Index the packs that the index does not know: written just before a crash, or lost with an old index."""
        keys = list(iter_packs(self.disk, self.hot_root))
        with self.committer.read() as connection:
            known = packs.known(connection, keys)
        for key in keys:
            if key not in known:
                with _told(key, report):
                    self._take_pack(key, report)

    def _take_pack(self, key: str, report: AdoptReport) -> None:
        try:
            found = read_pack(self.disk, pack_path(self.hot_root, key), key, whole=True)
        except (TieringError, IngestError, InvalidUid, FixityError) as exc:
            report.unreadable += 1
            _log.error("pack_not_indexed", key=key, reason=str(exc))
            return

        def work(connection: Connection) -> None:
            uids = [each.header.values["SOPInstanceUID"] for each in found.instances]
            outcomes = InstanceWriter().add(connection, found.instances)
            attach_pack(connection, found, dict(zip(uids, outcomes, strict=True)), self.clock())
            cold_packs.stand_in_again(connection, found.row, found.copies, self.clock())

        body: Body = {"key": key, "sha256": found.row.sha256.hex(), "instances": len(found.instances)}
        self.committer.record_synced(Entry(self.clock(), "pack_adopted", "drimbox", body), work=work)
        report.packs += 1

    def _recall_kept(self, report: AdoptReport) -> None:
        """Index what is in the quarantine folder and not in its table: it was kept while the index was down."""
        for key, path in aside.iter_kept(self.disk, self.quarantine_root):
            if aside.is_known(self.database, key):
                continue
            with _told(key, report):
                row = aside.row_from_storage(self.disk, path, key, now=self.clock())
                aside.set_aside(self.disk, self.committer, row, path)
                report.set_aside += 1


@contextmanager
def _told(key: str, report: AdoptReport) -> Iterator[None]:
    """Count and log a file that the disk cannot read, or a note that it cannot write: the start goes on."""
    try:
        yield
    except OSError as exc:
        report.unreadable += 1
        _log.error("stored_file_unreadable", key=key, reason=exc.strerror)
