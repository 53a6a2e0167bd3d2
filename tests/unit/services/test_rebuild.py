"""The index made again from storage alone is the index that was, on both databases, and comes whole or not at all."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from archive.errors import IngestError
from archive.index.session import Connection, Database, IndexRefused
from archive.index.statements import Statement
from archive.services.ingest import Outcome
from archive.services.rebuild import Rebuild
from archive.services.reports import RebuildReport
from tests.objects import ROOT, ct_dataset, dataset_bytes
from tests.postgres import Server, postgres_server, postgres_url  # noqa: F401  fixtures
from tests.unit.services.rig import Rig, empty_index, open_rig
from tests.unit.services.shelf import Clock
from tiering.disk import OsDisk
from tiering.landing import path_of

ROWS = {
    "patient": "SELECT * FROM patient ORDER BY identity_key",
    "study": "SELECT study.*, patient.identity_key AS of FROM study JOIN patient ON patient.id = patient_fk "
    "ORDER BY study_instance_uid",
    "series": "SELECT series.*, study_instance_uid AS of FROM series JOIN study ON study.id = study_fk "
    "ORDER BY study_instance_uid, series_instance_uid",
    "instance": "SELECT instance.*, series_instance_uid AS of FROM instance JOIN series ON series.id = series_fk "
    "ORDER BY sop_instance_uid",
    "location": "SELECT location.*, sop_instance_uid AS of FROM location JOIN instance ON instance.id = instance_fk "
    "ORDER BY key",
    "quarantine": "SELECT * FROM quarantine ORDER BY key",
    "arrivals": "SELECT * FROM arrivals ORDER BY hour, site, modality",
    "landing_folder": "SELECT name, sealed_at IS NOT NULL AS is_sealed FROM landing_folder ORDER BY name",
}


@dataclass
class Home:
    """An archive's folder and the address of its index."""

    root: Path
    url: str
    clock: Clock = field(default_factory=Clock)
    told: list[tuple[int, int]] = field(default_factory=list)

    @contextmanager
    def open(self) -> Iterator[Rig]:
        """Run the archive."""
        with open_rig(self.root, database=Database(self.url), max_objects=4) as rig:
            yield rig

    def rebuild(self, *, whole: bool = True) -> RebuildReport:
        """Make the index again."""
        self.clock.advance(hours=1)
        rebuild = Rebuild(OsDisk(), self.root / "hot", self.root / "quarantine", self.clock, whole=whole)
        return rebuild.run(self.url, lambda done, total: self.told.append((done, total)))

    def rows(self) -> dict[str, list[dict[str, object]]]:
        """Return every table that a rebuild makes, row by row, without surrogate keys."""
        database = Database(self.url)
        try:
            with database.read() as connection:
                return {table: _rows(connection, sql) for table, sql in ROWS.items()}
        finally:
            database.close()


def _rows(connection: Connection, sql: str) -> list[dict[str, object]]:
    cursor = Statement(sql).run(connection)
    names = [column[0] for column in cursor.description]
    rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
    return [{name: value for name, value in row.items() if not _is_surrogate(name)} for row in rows]


def _is_surrogate(name: str) -> bool:
    return name == "id" or name.endswith("_fk")


@pytest.fixture(params=["sqlite", "postgresql"])
def home(request: pytest.FixtureRequest, tmp_path: Path) -> Home:
    """Lend an empty archive on each database."""
    if request.param == "sqlite":
        (tmp_path / "index.db").write_bytes(empty_index())
        return Home(tmp_path, f"sqlite:///{tmp_path / 'index.db'}")
    url = request.getfixturevalue("postgres_url")
    database = Database(url)
    database.migrate()
    database.close()
    return Home(tmp_path, url)


def fill(rig: Rig) -> None:
    """Store and refuse a bit of everything, so that the order matters."""
    for number in range(1, 7):
        rig.send(ct_dataset(number, StudyDescription=None if number < 3 else f"DESCRIPTION {number}"))
    rig.send(ct_dataset(1, study=2, PatientID="PID1", PatientSex=None))
    rig.send(ct_dataset(2, study=2, PatientID="OTHER"))
    rig.send(ct_dataset(3, study=2, PatientName="MÜLLER^ZOÉ", SpecificCharacterSet="ISO_IR 192"))
    rig.send(ct_dataset(1, study=3, PixelData=bytes(2_000_000), PatientName="BAD\xff", SpecificCharacterSet="ISO_IR 6"))
    rig.send(ct_dataset(1, StudyDescription=None))
    refused = (ct_dataset(1, PatientName="AUTRE^NOM"), ct_dataset(9, StudyInstanceUID=""))
    for ds in refused:
        with pytest.raises(IngestError):
            rig.send(ds)
    with pytest.raises(IngestError):
        rig.send(b"garbage" * 40, "2.25.7")


def test_the_index_made_again_is_the_index_that_was(home: Home) -> None:
    """Every table, row by row, but for surrogate keys and the journal."""
    with home.open() as rig:
        fill(rig)
        rig.ingest.close()
    before = home.rows()
    assert [len(before[table]) for table in ("study", "instance", "quarantine")] == [3, 10, 3]
    assert home.rebuild() == RebuildReport(instances=10, quarantined=3, problems=())
    after = home.rows()
    for table in ROWS:
        assert after[table] == before[table], table
    assert home.told[-1] == (10, 10)


def test_the_archive_goes_on_with_the_new_index(home: Home) -> None:
    """What was stored is found, what is new is stored, duplicates are known, the chain holds."""
    with home.open() as rig:
        fill(rig)
    home.rebuild()
    with home.open() as rig:
        assert rig.adopt().adopted == 0
        assert rig.query(f"{ROOT}.1.1.3") == ["PID1"]
        assert rig.send(ct_dataset(3, StudyDescription="DESCRIPTION 3")) is Outcome.ALREADY_STORED
        rig.send(ct_dataset(8))
        assert rig.query(f"{ROOT}.1.1.8") == ["PID1"]
        assert rig.events()[-1] == "stored"


def test_the_journal_tells_of_the_rebuild(home: Home) -> None:
    """SQLite: a new journal whose first entry tells it; PostgreSQL: the journal goes on."""
    with home.open() as rig:
        fill(rig)
        old = rig.events()
    home.rebuild()
    with home.open() as rig:
        kept = old if home.url.startswith("postgresql") else []
        assert rig.events() == [*kept, "rebuilt"]
        assert json.loads(rig.entries()[-1].body) == {"instances": 10, "quarantined": 3, "problems": 0}


def test_a_rebuild_can_be_repeated(home: Home) -> None:
    """The second comes to the same."""
    with home.open() as rig:
        fill(rig)
    home.rebuild()
    once = home.rows()
    home.rebuild()
    assert home.rows() == once


def test_a_broken_object_is_told_and_kept_aside(home: Home) -> None:
    """One byte changed, one file emptied: both are problems and in quarantine, where they lie; the rest is indexed."""
    with home.open() as rig:
        fill(rig)
        keys = rig.stored_keys()
    for key, data in ((keys[0], b""), (keys[4], path_of(home.root / "hot", keys[4]).read_bytes()[:-1] + b"\xff")):
        path_of(home.root / "hot", key).write_bytes(data)
    report = home.rebuild()
    assert (report.instances, report.quarantined) == (8, 5)
    assert [problem.partition(":")[0] for problem in report.problems] == [keys[0], keys[4]]
    rows = {row["key"] for row in home.rows()["quarantine"]}
    assert {f"hot/{keys[0]}", f"hot/{keys[4]}"} <= rows
    assert path_of(home.root / "hot", keys[0]).read_bytes() == b""


def test_without_digests_a_rebuild_looks_at_sizes_only(home: Home) -> None:
    """The fast way finds what is cut short, and leaves changed bytes to the fixity check."""
    with home.open() as rig:
        fill(rig)
        keys = rig.stored_keys()
    before = home.rows()
    changed, cut = path_of(home.root / "hot", keys[4]), path_of(home.root / "hot", keys[0])
    changed.write_bytes(changed.read_bytes()[:-1] + b"\xff")
    cut.write_bytes(cut.read_bytes()[:-1])
    report = home.rebuild(whole=False)
    assert (report.instances, len(report.problems)) == (9, 1)
    after = home.rows()
    assert [row for row in after["instance"] if row["of"] != ""] == [
        row for row in before["instance"] if row["sop_instance_uid"] != f"{ROOT}.1.1.1"
    ]


def test_what_landed_first_is_stored_whatever_the_names(home: Home) -> None:
    """Folders opened within one second are told apart by their first objects; the conflict is kept aside."""
    with home.open() as rig:
        rig.clock = rig.ingest.clock = Clock()
        for number in range(1, 20):
            rig.send(ct_dataset(number))
            rig.clock.advance(microseconds=50)
        rig.ingest.close()
        last = rig.stored_keys()[-1]
    double = path_of(home.root / "hot", last).with_name("000009.dcm")
    with open_rig(home.root / "elsewhere") as other:
        other.send(ct_dataset(1, PatientName="AUTRE^NOM"))
        [stranger] = other.hot.rglob("*.dcm")
        double.write_bytes(stranger.read_bytes())
    report = home.rebuild()
    assert report.instances == 19
    assert report.problems == (
        f"{last.rpartition('/')[0]}/000009: other bytes under a SOP Instance UID already stored",
    )
    with home.open() as rig:
        assert rig.dataset(f"{ROOT}.1.1.1") == dataset_bytes(ct_dataset(1))


def test_an_object_with_a_note_comes_last(home: Home) -> None:
    """What a start had set aside does not take the place of what was acknowledged, although it landed first."""
    with home.open() as rig:
        rig.send(ct_dataset(1))
        rig.send(ct_dataset(2))
        first = path_of(rig.hot, rig.stored_keys()[0])
        stored = path_of(rig.hot, rig.stored_keys()[1])
        bytes_of_second = stored.read_bytes()
    with open_rig(home.root / "elsewhere") as other:
        other.send(ct_dataset(2, PatientName="AUTRE^NOM"))
        [stranger] = other.hot.rglob("*.dcm")
        first.write_bytes(stranger.read_bytes())
    first.with_suffix(".json").write_text('{"reason": "set aside before"}')
    report = home.rebuild()
    assert report.instances == 1
    with home.open() as rig:
        assert bytes_of_second.endswith(rig.dataset(f"{ROOT}.1.1.2"))
    [row] = home.rows()["quarantine"]
    assert row["reason"] == "set aside before"


def test_an_unreadable_file_keeps_its_folder_open(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """An input error is told and nothing decided: the next start looks at the folder again."""
    with home.open() as rig:
        for number in range(1, 7):
            rig.send(ct_dataset(number))
        rig.ingest.close()
        keys = rig.stored_keys()
    bad, read = path_of(home.root / "hot", keys[1]), OsDisk.read

    def failing(self: OsDisk, path: Path, *, chunk_bytes: int) -> Iterator[bytes]:
        if path == bad:
            raise OSError(5, "Input/output error")
        return read(self, path, chunk_bytes=chunk_bytes)

    with monkeypatch.context() as patch:
        patch.setattr(OsDisk, "read", failing)
        report = home.rebuild()
    assert (report.instances, report.quarantined) == (5, 0)
    assert report.problems == (f"{keys[1]}: Input/output error",)
    with home.open() as rig:
        assert len(rig.unsealed()) == 1
        assert rig.adopt().adopted == 1
        assert rig.query(f"{ROOT}.1.1.2") == ["PID1"]


def test_a_kept_object_that_cannot_be_read_is_told(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """An input error in the quarantine folder is a problem of its own and stops nothing."""
    with home.open() as rig:
        fill(rig)
        bad = path_of(rig.kept, rig.quarantine()[0].key)
    read = OsDisk.read

    def failing(self: OsDisk, path: Path, *, chunk_bytes: int) -> Iterator[bytes]:
        if path == bad:
            raise OSError(5, "Input/output error")
        return read(self, path, chunk_bytes=chunk_bytes)

    monkeypatch.setattr(OsDisk, "read", failing)
    report = home.rebuild()
    assert (report.instances, report.quarantined) == (10, 2)
    [problem] = report.problems
    assert problem == f"quarantine/{bad.parent.name}/{bad.stem}: Input/output error"


@pytest.mark.parametrize("keyword", ["PatientName", "SOPInstanceUID"])
def test_values_the_index_refuses(home: Home, monkeypatch: pytest.MonkeyPatch, keyword: str) -> None:
    """One object the database does not like costs its attributes, or at worst its row, and nobody else's."""
    from archive.index.instances import InstanceWriter

    with home.open() as rig:
        for number in range(1, 5):
            rig.send(ct_dataset(number, study=number))
    add, target = InstanceWriter.add, f"{ROOT}.2.1.2"

    def refusing(self: InstanceWriter, connection: Connection, batch: list) -> list:  # type: ignore[type-arg]
        outcomes = add(self, connection, batch)
        for item in batch:
            if item.header.values["SOPInstanceUID"] == target and keyword in item.header.values:
                raise IndexRefused(reason="value")
        return outcomes

    with monkeypatch.context() as patch:
        patch.setattr(InstanceWriter, "add", refusing)
        report = home.rebuild()
    rows = {row["sop_instance_uid"]: row["flags"] for row in home.rows()["instance"]}
    if keyword == "PatientName":
        assert (report.instances, report.problems) == (4, ())
        assert rows[target] == "refused"
    else:
        assert (report.instances, report.quarantined, len(report.problems)) == (3, 1, 1)
        assert target not in rows
    assert len([uid for uid in rows if uid != target]) == 3


def test_a_rebuild_that_fails_changes_nothing(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever goes wrong in the middle, the old index is as it was, and the next attempt succeeds."""
    with home.open() as rig:
        fill(rig)
        rig.ingest.close()
        old = rig.events()
    before = home.rows()
    with monkeypatch.context() as patch:
        patch.setattr("archive.services.rebuild._Filling.finish", lambda self: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            home.rebuild()
    assert home.rows() == before
    with home.open() as rig:
        assert rig.events() == old
    assert home.rebuild().instances == 10


def test_empty_storage_gives_an_empty_index(home: Home) -> None:
    """An archive that never stored anything can be rebuilt too."""
    with home.open() as rig:
        rig.adopt()
    assert home.rebuild() == RebuildReport(instances=0, quarantined=0, problems=())
    assert home.told == []


# ---- SQLite: one file takes the other's place --------------------------------------------------------------------


@pytest.fixture
def sqlite_home(tmp_path: Path) -> Home:
    """Lend an archive on SQLite with a few objects."""
    home = Home(tmp_path, f"sqlite:///{tmp_path / 'index.db'}")
    (tmp_path / "index.db").write_bytes(empty_index())
    with home.open() as rig:
        rig.send(ct_dataset(1))
        rig.send(ct_dataset(2))
    return home


def files(home: Home) -> list[str]:
    """Return the files of the index."""
    return sorted(path.name for path in home.root.iterdir() if path.is_file())


def test_the_old_index_stays_beside_the_new_one(sqlite_home: Home) -> None:
    """With its journal, readable, under a name that tells when."""
    sqlite_home.rebuild()
    assert files(sqlite_home) == ["index.db", "index.db.20261123T130000000000Z.bak"]
    with sqlite3.connect(sqlite_home.root / "index.db.20261123T130000000000Z.bak") as old:
        assert old.execute("SELECT event FROM audit").fetchall() == [("stored",), ("stored",)]
    old.close()


def test_what_was_only_in_the_old_log_stays_with_the_old_index(sqlite_home: Home) -> None:
    """A process was killed: its last commits are in the log beside the file, and go with it."""
    path = sqlite_home.root / "index.db"
    database = Database(sqlite_home.url)
    with database.write(synced=False) as connection:
        Statement("DELETE FROM location").run(connection)
    logged = path.with_name("index.db-wal").read_bytes()
    old = path.read_bytes()
    database.close()
    path.write_bytes(old)
    path.with_name("index.db-wal").write_bytes(logged)
    sqlite_home.rebuild()
    [backup] = sqlite_home.root.glob("*.bak")
    with sqlite3.connect(backup) as connection_to_old:
        assert connection_to_old.execute("SELECT COUNT(*) FROM location").fetchall() == [(0,)]
    connection_to_old.close()
    assert len(sqlite_home.rows()["location"]) == 2


@pytest.mark.parametrize("content", [b"SQLite format 3\0 and no more", b"this is no database" * 300])
def test_an_index_that_cannot_be_read_is_replaced(sqlite_home: Home, content: bytes) -> None:
    """That is what a rebuild is for: file and log are put aside as they are."""
    path = sqlite_home.root / "index.db"
    path.write_bytes(content)
    path.with_name("index.db-wal").write_bytes(b"no log either" * 10)
    assert sqlite_home.rebuild().instances == 2
    assert len(sqlite_home.rows()["instance"]) == 2
    [backup] = sqlite_home.root.glob("*.bak")
    assert backup.read_bytes() == content
    assert not path.with_name("index.db-wal").exists()


def test_an_index_that_is_gone_is_made(sqlite_home: Home) -> None:
    """Nothing is put aside then; what a rebuild that was killed left is cleared."""
    for name in files(sqlite_home):
        (sqlite_home.root / name).unlink()
    (sqlite_home.root / "index.db.rebuilding").write_bytes(b"half")
    (sqlite_home.root / "index.db.rebuilding-wal").write_bytes(b"half")
    assert sqlite_home.rebuild().instances == 2
    assert files(sqlite_home) == ["index.db"]
