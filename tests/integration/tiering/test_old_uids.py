"""A study says the same, and is destroyed as a whole, when lossy copies took the place of its instances."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

import pytest
from pydicom import dcmread

from archive.errors import ConflictingInstance, DestroyedInstance
from archive.index import assessments, disposal, successors, sweeps, tombstones
from archive.index.assessments import AssessmentRow
from archive.index.records import Event
from archive.index.session import Database
from archive.index.tombstones import Tombstone
from archive.services.adopt import AdoptReport
from archive.services.explaining import explain_study
from archive.services.holds import Holds
from archive.services.remains import iter_remains
from tests.integration.disposal.conftest import ANNE, OLGA, WAITING_DAYS, Office, nothing, sop_uid, study_uid
from tests.integration.index.making import change, rows, value
from tests.integration.tiering.cold_side import ColdSide
from tests.integration.tiering.plain_lossy import PlainLossy, successor_uid
from tests.integration.tiering.test_cold_destruction import destroy, ready
from tests.integration.tiering.test_cold_rebuild import rebuild
from tests.integration.tiering.test_migrate_lossy import instances
from tests.objects import changed, ct_dataset

Restored = tuple[ColdSide, dict[str, bytes]]

OLD, NEW = sop_uid(1, 1), successor_uid(sop_uid(1, 1))
EXAM = {"StudyDate": "20000302", "PatientBirthDate": "19500714"}


@pytest.fixture(params=[False, True], ids=["new UIDs", "kept UIDs"])
def side(office: Office, request: pytest.FixtureRequest) -> ColdSide:
    """Lend an archive with a sealed study of two instances, whose cold copies are lossy."""
    return lossy(office, keeps_uids=request.param)


@pytest.fixture
def renaming(office: Office) -> ColdSide:
    """Lend one whose copies have UIDs of their own."""
    return lossy(office, keeps_uids=False)


def lossy(office: Office, *, keeps_uids: bool) -> ColdSide:
    """Return an archive with a sealed study of two instances, whose cold copies are lossy."""
    side = ColdSide(office)
    side = replace(side, lossy=PlainLossy(side.stores, keeps_uids=keeps_uids))
    side.sealed(1, instances=2)
    return side


# ---- retention -----------------------------------------------------------------------------------------------------


def assessed(office: Office) -> AssessmentRow:
    """Assess again whatever has changed, then everything; return what was concluded, without sizes and moments."""
    office.assessor.settle()
    office.sweep()
    with office.rig.committer.read() as connection:
        row = assessments.by_uid(connection, [study_uid(1)])[study_uid(1)]
    return row._replace(size_bytes=0, assessed_at="")


def explained(office: Office) -> object:
    """Return the reasons of a study."""
    return explain_study(office.assessor, study_uid(1), as_of=date(2026, 12, 26), language="fr")


def test_retention_says_the_same_before_and_after(side: ColdSide) -> None:
    """Assessment, explanation, holds by query and the place among the instances: on the way there, and back."""
    office = side.office
    before, why = assessed(office), explained(office)
    side.migrate()
    assert assessed(office) == before
    assert explained(office) == why
    side.roll_back()
    assert assessed(office) == before
    assert explained(office) == why


def test_the_place_among_the_instances_is_kept(side: ColdSide) -> None:
    """The last instance that assessments know of goes cold: arrivals after it are assessed without a whole sweep."""
    office = side.office
    side.migrate()
    with office.rig.committer.read() as connection:
        assert sweeps.seen(connection) is not None
    office.store(2, exam_on="20010101")
    office.assessor.settle()
    with office.rig.committer.read() as connection:
        assert list(assessments.by_uid(connection, [study_uid(2)])) == [study_uid(2)]


def test_the_place_is_kept_on_the_way_back(side: ColdSide) -> None:
    """Noted while the last instance was a copy, known when it is the original again."""
    office = side.office
    side.migrate()
    with office.ledger.database.write(synced=False) as connection:
        last = sweeps.newest(connection)
        assert last is not None
        sweeps.see(connection, last)
        assert sweeps.seen(connection) is not None
    side.roll_back()
    with office.rig.committer.read() as connection:
        assert sweeps.seen(connection) is not None


def test_an_id_that_is_used_again_is_another_place(renaming: ColdSide) -> None:
    """The row is another instance's by now: that it has a history does not make it the one that was seen."""
    renaming.migrate()
    change(renaming.office.ledger.database, "UPDATE instance SET received_at = '2030-01-01T00:00:00.000000Z'")
    with renaming.office.rig.committer.read() as connection:
        assert sweeps.seen(connection) is None


def test_a_hold_keeps_a_study_whatever_its_uids(side: ColdSide) -> None:
    """Placed before, it holds after; a query for studies finds it as before."""
    office = side.office
    assert found_by_query(office) == [study_uid(1)]
    side.migrate()
    office.sweep()
    assert found_by_query(office) == [study_uid(1)]
    list_id = ready(side)
    office.hold(1)
    assert destroy(side, list_id).sent_back[0][0] == study_uid(1)


def found_by_query(office: Office) -> Sequence[str]:
    """Return the studies that a hold by query would cover."""
    return Holds(office.ledger).matching(None, {"PatientID": "PID1", "ModalitiesInStudy": "CT"})


# ---- lists ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("there_and_back", [False, True])
def test_a_list_does_not_mind_that_its_study_goes_cold(side: ColdSide, there_and_back: bool) -> None:
    """Listed, then migrated before it is approved, or rolled back afterwards: the same study, and it goes."""
    made = side.office.disposals.propose("default", who=ANNE)
    assert made.list_id is not None
    side.migrate()
    side.office.approve(made.list_id)
    if there_and_back:
        side.roll_back()
    side.office.days(WAITING_DAYS)
    report = destroy(side, made.list_id)
    assert (report.sent_back, report.instances, report.left) == ([], 2, [])


def test_a_list_minds_a_new_object_as_before(side: ColdSide) -> None:
    """What came since is not what was approved."""
    made = side.office.disposals.propose("default", who=ANNE)
    assert made.list_id is not None
    side.migrate()
    side.office.approve(made.list_id)
    side.office.rig.send(changed(ct_dataset(3, study=1), EXAM))
    side.office.rig.committer.barrier()
    side.office.days(WAITING_DAYS)
    assert destroy(side, made.list_id).sent_back == [(study_uid(1), "objects came or went since it was listed")]


# ---- destruction ---------------------------------------------------------------------------------------------------


def test_what_was_kept_aside_under_either_uid_goes(side: ColdSide) -> None:
    """Other bytes under the old UID, from before and after the migration, and under the copy's: all of them go."""
    office = side.office
    uids = dict.fromkeys((OLD, side.lossy.uid(OLD) if isinstance(side.lossy, PlainLossy) else ""))
    for number, uid in enumerate((OLD, *uids)):
        with pytest.raises(ConflictingInstance):
            office.rig.send(changed(ct_dataset(1, study=1), {"SOPInstanceUID": uid, "PatientAge": f"05{number}Y"}))
        if number == 0:
            side.migrate()
    office.sweep()
    assert len(office.rig.quarantine()) == 1 + len(uids)
    report = destroy(side, ready(side))
    assert report.left == []
    assert office.rig.quarantine() == []
    assert office.files() == []


def test_the_papers_name_both_uids(renaming: ColdSide) -> None:
    """Certificate and rejection note: the PACS knows the instance under the one it sent, or under the copy's."""
    office = renaming.office
    renaming.migrate()
    office.sweep()
    list_id = ready(renaming)
    report = destroy(renaming, list_id)
    assert report.certificate is not None
    (note,) = (office.rig.root / "certificates" / f"{list_id}-rejection").iterdir()
    evidence = dcmread(note).CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[0]
    named = {each.ReferencedSOPInstanceUID for each in evidence.ReferencedSOPSequence}
    assert named == {uid for number in (1, 2) for uid in (sop_uid(number, 1), successor_uid(sop_uid(number, 1)))}
    said = report.certificate.read_text()
    assert all(uid in said for uid in named)


def test_a_copy_of_a_copy_goes_with_all_it_was(renaming: ColdSide) -> None:
    """Every UID of the chain has its tombstone."""
    office = renaming.office
    renaming.migrate()
    first = successors.Successor("2.25.77", OLD, study_uid(1), "1.2.840.10008.1.2.1", bytes(32), 10)
    with office.ledger.database.write(synced=False) as connection:
        successors.add(connection, [first])
    office.sweep()
    destroy(renaming, ready(renaming))
    assert {"2.25.77", OLD, NEW} <= stones(office)


def stones(office: Office) -> set[str]:
    """Return what of the study has a tombstone."""
    with office.rig.committer.read() as connection:
        return {each.sop_instance_uid for each in tombstones.iter_of(connection, study_uid(1))}


def test_neither_comes_back(side: ColdSide) -> None:
    """Original and copy are refused after the destruction, whoever sends them."""
    side.migrate()
    side.office.sweep()
    destroy(side, ready(side))
    for uid in (OLD, side.lossy.uid(OLD) if isinstance(side.lossy, PlainLossy) else ""):
        with pytest.raises(DestroyedInstance):
            side.office.rig.send(changed(ct_dataset(1, study=1), {**EXAM, "SOPInstanceUID": uid}))
    assert side.office.files() == []


# ---- an index from an old backup -----------------------------------------------------------------------------------


def destroyed(instances: Sequence[Mapping[str, Any]]) -> Event:
    """Return the event of the ledger that a study was destroyed."""
    series = [{"series_instance_uid": f"{study_uid(1)}.1", "instances": instances}]
    study = {"study_instance_uid": study_uid(1), "patient_id": "PID1", "series": series}
    data = {"list_id": "D-2026-0001", "studies": [study]}
    return Event(1, datetime(2026, 11, 26, tzinfo=UTC), "studies_destroyed", "olga", data)


def instance(uid: str, *predecessors: str) -> Mapping[str, Any]:
    """Return an instance of the event; with no predecessors, as events were before there were any."""
    was = [{"sop_instance_uid": old, "dataset_sha256": "11" * 32} for old in predecessors]
    more = {"predecessors": was} if was else {}
    return {"sop_instance_uid": uid, "sop_class_uid": "1.2", "dataset_sha256": "00" * 32, "copies": [], **more}


@pytest.mark.parametrize("was_cold", [False, True])
@pytest.mark.parametrize("is_cold", [False, True])
def test_an_old_index_forgets_what_the_ledger_says_is_gone(renaming: ColdSide, was_cold: bool, is_cold: bool) -> None:
    """Restored from before the migration, or from before its rollback: the event is replayed and the study is gone."""
    if is_cold:
        renaming.migrate()
    olds = [sop_uid(number, 1) for number in (1, 2)]
    event = destroyed([instance(successor_uid(uid), uid) if was_cold else instance(uid) for uid in olds])
    database = renaming.office.ledger.database
    for _ in range(2):  # a replay may come twice
        with database.write(synced=False) as connection:
            disposal.apply_destroyed(connection, event)
        assert tables(database) == {}
    assert stones(renaming.office) == {*olds, *(map(successor_uid, olds) if was_cold else ())}


def tables(database: Database) -> dict[str, int]:
    """Return what is left of a study in the index, by table; packs are named by their own copies in the event."""
    names = ("instance", "series", "study", "patient", "location", "successor", "retired", "evidence", "pack_trim")
    counts = {name: value(database, f"SELECT COUNT(*) FROM {name}") for name in names}
    return {name: count for name, count in counts.items() if count}


def test_another_study_is_not_touched(renaming: ColdSide) -> None:
    """Its instances, copies and their history stay."""
    renaming.sealed(2, instances=2)
    renaming.migrate(2)
    renaming.migrate(1)
    with renaming.office.ledger.database.write(synced=False) as connection:
        disposal.apply_destroyed(connection, destroyed([instance(successor_uid(OLD), OLD)]))
    found = rows(renaming.office.ledger.database, "SELECT sop_instance_uid FROM instance")
    assert {uid for (uid,) in found} == {
        successor_uid(sop_uid(number, study)) for number, study in ((2, 1), (1, 2), (2, 2))
    }
    assert value(renaming.office.ledger.database, "SELECT COUNT(*) FROM successor") == 2


# ---- received files that turn up again -----------------------------------------------------------------------------


@pytest.fixture
def restored(office: Office) -> Iterator[Restored]:
    """Lend a study that went cold, and the files as they were received, to be put back as a restored backup does."""
    side = ColdSide(office)
    side = replace(side, lossy=PlainLossy(side.stores))
    office.store(1, instances=2)
    files = {path: (office.rig.root / path).read_bytes() for path in office.files()}
    side.sealed()
    side.migrate()
    side.trim()
    assert office.files() == []
    yield side, files


def put_back(side: ColdSide, files: Mapping[str, bytes]) -> AdoptReport:
    """Write files where they were, and start."""
    for path, data in files.items():
        (side.office.rig.root / path).write_bytes(data)
    side.office.rig.unseal()
    return side.office.rig.adopt()


def test_a_received_file_that_lies_there_again_is_no_second_instance(restored: Restored) -> None:
    """A start recognises it, counts it and leaves it; the only lossless copy there is does not wait to be trimmed."""
    side, files = restored
    before = instances(side.office)
    report = put_back(side, files)
    assert (report.already_stored, report.adopted, report.set_aside, report.unreadable) == (2, 0, 0, 0)
    assert instances(side.office) == before
    assert value(side.office.ledger.database, "SELECT COUNT(*) FROM trim") == 0
    assert side.office.files() == sorted(files)


def test_a_file_of_an_old_uid_with_other_bytes_is_kept_aside(restored: Restored) -> None:
    """It is neither what was received nor the copy: listed in quarantine where it lies, as ever."""
    side, files = restored
    before = instances(side.office)
    other = changed(ct_dataset(1, study=1), {**EXAM, "PatientAge": "050Y"})
    with pytest.raises(ConflictingInstance):
        side.office.rig.send(other)
    (kept,) = side.office.rig.quarantine()
    found = (side.office.rig.kept / f"{kept.key}.dcm").read_bytes()
    assert put_back(side, {next(iter(files)): found}).set_aside == 1
    assert instances(side.office) == before


def test_a_rebuild_gives_the_study_without_loss_again(restored: Restored) -> None:
    """From received files that turned up again: lossless wins, and the lossy pack is discarded after some days."""
    side, files = restored
    put_back(side, files)
    assert rebuild(side).problems == ()
    assert [each.sop_instance_uid for each in instances(side.office)] == [sop_uid(1, 1), sop_uid(2, 1)]
    assert value(side.office.ledger.database, "SELECT COUNT(*) FROM successor") == 0
    assert side.clean().discarded == 1


def test_what_lies_there_again_is_remains_once_the_study_is_destroyed(restored: Restored) -> None:
    """Its old UID has a tombstone: found on the disk and deleted, though the index never named the file."""
    side, files = restored
    put_back(side, files)
    side.office.sweep()
    destroy(side, ready(side))
    assert side.office.files() == sorted(files)
    with side.office.ledger.database.read() as connection:
        found = list(iter_remains(side.stores, connection))
    report = replace(side.office.destruction(), stores=side.stores).destroy_remains(found, who=OLGA, progress=nothing)
    assert (report.deleted, report.left) == (2, [])
    assert side.office.files() == []


def test_remains_spare_what_the_index_has(office: Office) -> None:
    """A tombstone beside a stored instance: its file is no remains, whatever is asked."""
    office.store(1, 1)
    stone = Tombstone(sop_uid(1, 1), study_uid(1), "D-2026-0001", bytes(32), office.clock())
    with office.ledger.database.write(synced=False) as connection:
        tombstones.add(connection, [stone])
    with office.ledger.database.read() as connection:
        found = list(iter_remains(office.stores, connection))
    assert len(found) == 1
    report = office.destruction().destroy_remains(found, who=OLGA, progress=nothing)
    assert (report.deleted, len(office.files())) == (0, 1)
