"""An archive with real objects whose time is over, and the people who may let them go, on SQLite and on PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from archive.config import Site
from archive.index import journal
from archive.index.records import JournalRow
from archive.index.session import Database
from archive.services.assess import Assessor, rules_of
from archive.services.certificates import Signer
from archive.services.committer import Committer
from archive.services.destroy import Destroyed, Destruction
from archive.services.disposal import Disposals, ListView
from archive.services.facts import NewFact, changes
from archive.services.holds import Holds, NewHold
from archive.services.ledger import Ledger, LedgerFiles
from archive.services.people import Person
from archive.services.remains import HOT, PACK, QUARANTINE, Stores
from archive.services.sweep import Sweeps, Wanted
from tests.integration.index.conftest import (
    database,
    empty_url,
    kind,
    migrated_file,
    migrated_name,
    postgres_server,
    postgres_url,
    url,
)
from tests.objects import ROOT, changed, ct_dataset
from tests.unit.services.rig import Rig
from tests.unit.services.shelf import Clock
from tiering.disk import Disk, OsDisk
from tiering.landing import PACKS, LandingArea

__all__ = [
    "database",
    "empty_url",
    "kind",
    "migrated_file",
    "migrated_name",
    "postgres_server",
    "postgres_url",
    "url",
]

SITES = {
    "default": Site(name="default"),
    "Clinique": Site(name="Clinique", kind="private_clinic"),
    "Cabinet": Site(name="Cabinet", kind="practice", regime="private"),
}
WAITING_DAYS = 30


def account(name: str, *roles: str, sites: tuple[str, ...] = ()) -> Person:
    """Return somebody who proved who they are."""
    return Person(name, name.title(), frozenset(roles), frozenset(sites))


ANNE = account("anne", "archivist")
OLGA = account("olga", "operator")
DIANE = account("diane", "director")
DAVID = account("david", "dim_physician")
AUDE = account("aude", "archives_officer")


def study_uid(study: int) -> str:
    """Return the UID of a study of ``Office.store``."""
    return f"{ROOT}.{study}"


def sop_uid(number: int, study: int) -> str:
    """Return the UID of an instance of ``Office.store``."""
    return f"{ROOT}.{study}.1.{number}"


def nothing(_done: int, _total: int) -> None:
    """Show no progress."""


@dataclass
class Office:
    """One archive and all that eliminates in it."""

    rig: Rig
    ledger: Ledger
    clock: Clock

    @property
    def disposals(self) -> Disposals:
        """Return what makes lists."""
        return Disposals(self.ledger, self.assessor, SITES, WAITING_DAYS)

    @property
    def assessor(self) -> Assessor:
        """Return what assesses."""
        return Assessor(self.ledger.database, rules_of(SITES.values()), self.clock)

    @property
    def stores(self) -> Stores:
        """Return where copies lie."""
        return Stores(self.rig.disk, {HOT: self.rig.hot, QUARANTINE: self.rig.kept, PACK: self.rig.hot / PACKS})

    def destruction(self, *, accept_damaged: bool = False) -> Destruction:
        """Return what destroys."""
        signer = Signer(OsDisk(), self.rig.root / "keys" / "key.pem")
        folder = self.rig.root / "certificates"
        return Destruction(self.disposals, self.stores, signer, folder, "DRIMBOX", accept_damaged=accept_damaged)

    def store(self, study: int, instances: int = 2, exam_on: str = "20000302", **values: object) -> None:
        """Store a study of a patient born in 1950."""
        for number in range(1, instances + 1):
            attributes = {"StudyDate": exam_on, "PatientBirthDate": "19500714", **values}
            self.rig.send(changed(ct_dataset(number, study=study), attributes))
        self.rig.committer.barrier()

    def sweep(self) -> None:
        """Assess everything."""
        self.rig.committer.barrier()
        Sweeps(self.assessor).apply(Wanted(), "anne", nothing)

    def days(self, days: int) -> None:
        """Let days pass in an archive that is used every day."""
        from archive.audit import Entry
        from archive.services.committer import append_entries

        for _ in range(days):
            self.clock.advance(days=1)
            with self.ledger.database.write(synced=False) as connection:
                append_entries(connection, [Entry(self.clock(), "clock", "drimbox", {})])

    def propose(self, *studies: int) -> ListView:
        """List what is due; ``studies`` are stored and assessed before."""
        for study in studies:
            self.store(study)
        self.sweep()
        made = self.disposals.propose("default", who=ANNE)
        assert made.list_id is not None
        return self.disposals.show(made.list_id)

    def approve(self, list_id: str) -> ListView:
        """Have all three offices sign."""
        self.disposals.approve(list_id, "director", who=DIANE)
        self.disposals.approve(list_id, "dim_physician", who=DAVID)
        return self.disposals.approve(list_id, "archives_officer", who=AUDE, reference="AD84 2026/113")

    def ready(self, *studies: int) -> str:
        """Bring a list to the day on which it may be destroyed; return its id."""
        list_id = self.propose(*studies).head.list_id
        self.approve(list_id)
        self.days(WAITING_DAYS)
        return list_id

    def destroy(self, list_id: str, *, accept_damaged: bool = False) -> Destroyed:
        """Destroy a list."""
        return self.destruction(accept_damaged=accept_damaged).destroy(list_id, who=OLGA, progress=nothing)

    def tell(self, study: int, kind: str, from_on: str, to_on: str | None = None) -> None:
        """Tell a fact about a study's patient."""
        fact = NewFact("default", f"PID{study}", kind, "test", f"{kind} {from_on}", from_on=from_on, to_on=to_on)
        self.ledger.act("anne", lambda connection: changes(connection, [fact]))

    def hold(self, study: int) -> str:
        """Put a study on hold; return the hold's id."""
        wanted = NewHold("default", "a judge asks", "TGI", "12", studies=(study_uid(study),))
        return Holds(self.ledger).place(wanted, actor="anne", sites=None).hold_id

    def files(self) -> list[str]:
        """Return the stored objects on disk, with what lies beside them."""
        found = [*self.rig.hot.rglob("*.*"), *self.rig.kept.rglob("*.*")]
        return sorted(str(path.relative_to(self.rig.root)) for path in found if path.is_file())

    def journal(self) -> list[JournalRow]:
        """Return the journal."""
        with self.ledger.database.read() as connection:
            return list(journal.iter_entries(connection))


@pytest.fixture
def clock() -> Clock:
    """Lend a clock that stands still until it is moved."""
    return Clock(datetime(2026, 11, 26, 9, 30, tzinfo=UTC))


@pytest.fixture
def office(database: Database, clock: Clock, tmp_path: Path) -> Iterator[Office]:
    """Lend an empty archive."""
    yield from open_office(database, clock, tmp_path, OsDisk())


def open_office(database: Database, clock: Clock, root: Path, disk: Disk) -> Iterator[Office]:
    """Lend the archive of a home, on a disk."""
    for name in ("hot", "quarantine"):
        disk.make_folder(root / name)
    committer = Committer(database, linger_seconds=0)
    committer.start()
    rig = Rig(root, disk, database, committer, LandingArea(disk, root / "hot"), clock=clock)
    try:
        yield Office(rig, Ledger(LedgerFiles(disk, root / "ledger"), database, clock), clock)
    finally:
        committer.close()
