"""The way in on a real index and any disk, for tests of the services; must not know DIMSE."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from archive.audit import verify
from archive.index import folders, journal
from archive.index.find import Query, run_query
from archive.index.instances import iter_instances, iter_locations
from archive.index.records import JournalRow, Quarantined, StoredInstance, from_text
from archive.index.session import Database
from archive.index.statements import Statement
from archive.services.adopt import Adopt, AdoptReport
from archive.services.arrival import Arrival
from archive.services.committer import Committer
from archive.services.ingest import Ingest, Outcome, Reception
from archive.services.quarantine import Quarantine, iter_quarantine
from tests.crash.forgetful_disk import content_of
from tests.objects import CT_IMAGE, dataset_bytes
from tests.unit.services.shelf import Clock
from tiering.disk import Disk, OsDisk
from tiering.landing import LandingArea, path_of


@cache
def empty_index() -> bytes:
    """Return a migrated, empty SQLite index: migrating takes longer than most tests."""
    with TemporaryDirectory() as folder:
        path = Path(folder, "index.db")
        database = Database(f"sqlite:///{path}")
        database.migrate()
        content = content_of(path)
        database.close()
        return content


class Ticking(Clock):
    """A clock that goes on by a second each time it is read, so that no two moments are the same."""

    def __call__(self) -> datetime:
        self.advance(seconds=1)
        return self.now


@dataclass
class Rig:
    """One home with its services; ``step`` is how many bytes of an object come at a time."""

    root: Path
    disk: Disk
    database: Database
    committer: Committer
    landing: LandingArea
    clock: Clock = field(default_factory=Ticking)
    min_free_bytes: int = 0
    step: int = 100_000

    def __post_init__(self) -> None:
        quarantine = Quarantine(self.disk, self.kept, self.committer, self.clock)
        self.ingest = Ingest(self.database, self.committer, self.landing, quarantine, self.clock, self.min_free_bytes)

    @property
    def hot(self) -> Path:
        """Return the hot folder."""
        return self.root / "hot"

    @property
    def kept(self) -> Path:
        """Return the quarantine folder."""
        return self.root / "quarantine"

    # ---- in ------------------------------------------------------------------------------------------------------

    def begin(self, uid: str, *, sop_class: str = CT_IMAGE, syntax: str = ExplicitVRLittleEndian) -> Reception:
        """Announce an object."""
        return self.ingest.begin(
            Arrival(
                sop_class_uid=sop_class,
                sop_instance_uid=uid,
                transfer_syntax_uid=syntax,
                calling_ae_title="MODALITY",
                called_ae_title="DRIMBOX",
                peer_address="192.0.2.7",
                site="default",
            )
        )

    def send(self, data: Dataset | bytes, uid: str = "", *, sop_class: str = CT_IMAGE) -> Outcome:
        """Send an object, announced under its own UID unless another is given, and return how it was taken."""
        if isinstance(data, Dataset):
            uid, data = uid or data.SOPInstanceUID, dataset_bytes(data)
        reception = self.begin(uid, sop_class=sop_class)
        try:
            self.pour(data, reception)
            return reception.commit()
        finally:
            reception.abandon()

    def pour(self, data: bytes, reception: Reception) -> None:
        """Let the bytes come in steps, as PDUs do."""
        start = 0
        while start < len(data):
            room = reception.room()
            count = min(self.step, len(room), len(data) - start)
            room[:count] = data[start : start + count]
            reception.filled(count)
            start += count

    def adopt(self) -> AdoptReport:
        """Compare storage and index, as a start does."""
        return Adopt(self.database, self.disk, self.hot, self.kept, self.committer, self.clock).run()

    # ---- out -----------------------------------------------------------------------------------------------------

    def find(self, uid: str) -> StoredInstance | None:
        """Return what the index holds of an instance."""
        with self.committer.read() as connection:
            return next(iter_instances(connection, sops=[uid]), None)

    def query(self, uid: str) -> list[str]:
        """Return the PatientIDs a query for an instance answers with."""
        query = Query("study", "IMAGE", {"SOPInstanceUID": uid, "PatientID": ""}, relational=True)
        with self.committer.read() as connection:
            return [row["PatientID"] for row in run_query(connection, query)]

    def dataset(self, uid: str) -> bytes:
        """Return the stored bytes of an instance's data set."""
        found = self.find(uid)
        assert found is not None
        at = found.locations[0]
        return b"".join(self.disk.read(path_of(self.hot, at.key), chunk_bytes=1 << 20))[at.header_size :]

    def flags(self, uid: str) -> str:
        """Return the flags of an instance, as stored."""
        return self._column("flags", uid)

    def received_at(self, uid: str) -> datetime:
        """Return when an instance was received, as stored."""
        return from_text(self._column("received_at", uid))

    def _column(self, name: str, uid: str) -> str:
        with self.committer.read() as connection:
            row = Statement(f"SELECT {name} FROM instance WHERE sop_instance_uid = ?").one(connection, (uid,))
        assert row is not None
        return str(row[0])

    def unseal(self) -> None:
        """Make every folder one that a start looks at."""
        with self.database.write(synced=False) as connection:
            Statement("UPDATE landing_folder SET sealed_at = NULL").run(connection)

    def stored_keys(self) -> list[str]:
        """Return the keys of all hot copies of the index."""
        with self.committer.read() as connection:
            return [copy.location.key for copy in iter_locations(connection, limit=100_000)]

    def entries(self) -> list[JournalRow]:
        """Return the journal, its chain proven."""
        with self.committer.read() as connection:
            rows = list(journal.iter_entries(connection))
        verify(rows)
        return rows

    def events(self) -> list[str]:
        """Return the kinds of the journal's entries, in order."""
        return [row.event for row in self.entries()]

    def quarantine(self) -> list[Quarantined]:
        """Return what waits in quarantine."""
        self.committer.barrier()
        return list(iter_quarantine(self.database))

    def unsealed(self) -> list[str]:
        """Return the names of the landing folders still open."""
        with self.committer.read() as connection:
            return [folder.name for folder in folders.unsealed_folders(connection)]


@contextmanager
def open_rig(
    root: Path,
    *,
    disk: Disk | None = None,
    database: Database | None = None,
    min_free_bytes: int = 0,
    max_objects: int = 4096,
) -> Iterator[Rig]:
    """Lend a home; what is there already stays. Nothing is sealed at the end: call ``ingest.close`` for that."""
    disk = disk or OsDisk()
    for name in ("hot", "quarantine"):
        disk.make_folder(root / name)
    if database is None:
        database = sqlite_index(root)
    committer = Committer(database, linger_seconds=0)
    committer.start()
    landing = LandingArea(disk, root / "hot", max_objects=max_objects)
    try:
        yield Rig(root, disk, database, committer, landing, min_free_bytes=min_free_bytes)
    finally:
        committer.close()
        database.close()


def sqlite_index(root: Path) -> Database:
    """Open the SQLite index of a home, an empty one when there is none."""
    path = root / "index.db"
    if not path.exists():
        root.mkdir(parents=True, exist_ok=True)
        path.write_bytes(empty_index())
    return Database(f"sqlite:///{path}")
