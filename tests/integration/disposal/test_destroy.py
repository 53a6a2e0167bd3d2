"""Destroying an approved list: what goes, what stays, and what proves it."""

from __future__ import annotations

import json
from datetime import date
from typing import Any

import pytest
from pydicom import dcmread

from archive.errors import (
    CertificateInvalid,
    ConflictingInstance,
    DestroyedInstance,
    DisposalRefused,
    NotAllowed,
    StudyDestroyed,
)
from archive.index import tombstones
from archive.index.session import Database
from archive.services.certificates import verify
from archive.services.disposal import Disposals
from archive.services.explaining import explain_study
from archive.services.holds import Holds, NewHold
from archive.services.ledger import Ledger
from archive.services.rebuild import Rebuild
from archive.services.remains import iter_remains
from tests.integration.disposal.conftest import (
    ANNE,
    DAVID,
    DIANE,
    OLGA,
    SITES,
    Office,
    account,
    nothing,
    sop_uid,
    study_uid,
)
from tests.integration.index.making import value
from tests.objects import changed, ct_dataset
from tiering.deletion import Deletion, delete


def test_a_list_is_destroyed_and_certified(office: Office) -> None:
    """Files, rows and assessments of its studies go, others stay, and the certificate names every object."""
    office.store(9, exam_on="20200101")
    list_id = office.ready(1, 2)
    before = len(office.files())
    report = office.destroy(list_id)
    assert (report.studies, report.instances, report.deleted, report.left) == (2, 4, 4, [])
    assert len(office.files()) == before - 4
    assert value(office.ledger.database, "SELECT COUNT(*) FROM study") == 1
    assert value(office.ledger.database, "SELECT COUNT(*) FROM patient") == 1
    assert value(office.ledger.database, "SELECT COUNT(*) FROM assessment") == 1
    assert office.rig.find(sop_uid(1, 9)) is not None
    assert report.certificate is not None
    body = verify(report.certificate.read_bytes(), public_key=office.destruction().signer.public_key())
    assert body["list_id"] == list_id
    named = [each["sop_instance_uid"] for study in body["studies"] for each in study["series"][0]["instances"]]
    assert sorted(named) == [sop_uid(number, study) for study in (1, 2) for number in (1, 2)]
    assert [each["reference"] for each in body["approvals"]][-1] == "AD84 2026/113"
    assert office.disposals.show(list_id).head.state == "destroyed"
    assert "PID1" not in json.dumps(body)


def test_a_destroyed_object_is_refused_and_nothing_of_it_kept(office: Office) -> None:
    """C-STORE of a destroyed UID names the list, journals it, and leaves no copy, not even in quarantine."""
    list_id = office.ready(1)
    office.destroy(list_id)
    left = office.files()
    with pytest.raises(DestroyedInstance, match=list_id):
        office.rig.send(ct_dataset(1, study=1, StudyDate="20000302", PatientBirthDate="19500714"))
    assert office.files() == left
    assert office.rig.find(sop_uid(1, 1)) is None
    assert office.rig.events()[-1] == "refused_destroyed"


def test_nothing_goes_before_its_time(office: Office) -> None:
    """A list that is not approved, or still waits, is refused and left as it is."""
    list_id = office.propose(1).head.list_id
    with pytest.raises(DisposalRefused, match="not approved by director, dim_physician, archives_officer"):
        office.destroy(list_id)
    office.approve(list_id)
    office.days(29)
    with pytest.raises(DisposalRefused, match="it waits until 2026-12-26"):
        office.destroy(list_id)
    office.days(1)
    assert office.destroy(list_id).studies == 1


def test_a_running_archive_takes_new_images_of_a_patient_whose_last_study_went(office: Office) -> None:
    """What the writer remembers of deleted patients and studies does not keep the next object out."""
    list_id = office.ready(1)
    office.destroy(list_id)
    office.rig.send(ct_dataset(7, study=1))
    assert office.rig.find(sop_uid(7, 1)) is not None
    assert office.rig.query(sop_uid(7, 1)) == ["PID1"]


def test_a_plan_changes_nothing(office: Office) -> None:
    """The dry run counts copies and tells what would be sent back."""
    list_id = office.ready(1, 2)
    office.hold(2)
    plan = office.destruction().plan(list_id)
    assert (plan.studies, plan.copies, len(plan.sent_back)) == (1, 2, 1)
    assert plan.sent_back[0][0] == study_uid(2)
    assert len(office.files()) == 4
    assert office.disposals.show(list_id).head.state == "approved"
    assert office.destruction().destroy(list_id, who=OLGA, progress=nothing).sent_back == list(plan.sent_back)


def test_every_version_kept_aside_goes_too(office: Office) -> None:
    """Other bytes under a destroyed UID, in quarantine, go with their note; another study's under that UID stay."""
    office.store(1)
    for other in ({"PatientSex": "M"}, {"StudyInstanceUID": study_uid(8)}):
        with pytest.raises(ConflictingInstance):
            office.rig.send(changed(ct_dataset(1, study=1), other))
    assert len(office.rig.quarantine()) == 2
    list_id = office.ready()
    report = office.destroy(list_id)
    assert (report.instances, report.deleted) == (2, 3)
    (kept,) = office.rig.quarantine()
    assert office.files() == [f"quarantine/{kept.key}.dcm", f"quarantine/{kept.key}.json"]


def test_a_missing_copy_is_certified_as_such(office: Office) -> None:
    """A copy that was lost before does not stop the list; the certificate says in which state it was."""
    list_id = office.ready(1)
    (office.rig.root / office.files()[0]).unlink()
    report = office.destroy(list_id)
    assert (report.deleted, report.gone_before, report.left) == (1, 1, [])
    assert office.disposals.show(list_id).head.state == "destroyed"


def test_a_damaged_copy_stays_until_damage_is_accepted(office: Office) -> None:
    """No certificate while a copy whose bytes are others lies there; accepted, it goes and the certificate says so."""
    list_id = office.ready(1)
    damaged = office.rig.root / office.files()[0]
    data = bytearray(damaged.read_bytes())
    data[-1] ^= 1
    damaged.write_bytes(data)
    report = office.destroy(list_id)
    assert (report.deleted, len(report.left), report.certificate) == (1, 1, None)
    assert "not those that were stored" in report.left[0][1]
    assert office.disposals.show(list_id).head.state == "destroying"
    with pytest.raises(DisposalRefused, match="there is no certificate yet"):
        office.destruction().certificate(list_id)
    report = office.destroy(list_id, accept_damaged=True)
    assert (report.deleted, report.gone_before, report.left) == (1, 1, [])
    body = verify(office.destruction().certificate(list_id))
    assert body["damaged_copies"] == [f"hot/{damaged.relative_to(office.rig.hot).with_suffix('')}"]
    assert office.files() == []


def test_the_pacs_is_told_by_a_note_for_each_study(office: Office) -> None:
    """Rejection notes name every destroyed instance of their study, under the expired policy, and no patient's name."""
    list_id = office.ready(1, 2)
    office.destroy(list_id)
    notes = [dcmread(path) for path in sorted((office.rig.root / "certificates" / f"{list_id}-rejection").iterdir())]
    assert [ds.ConceptNameCodeSequence[0].CodeValue for ds in notes] == ["113039", "113039"]
    named = {
        ds.StudyInstanceUID: [
            each.ReferencedSOPInstanceUID
            for each in ds.CurrentRequestedProcedureEvidenceSequence[0]
            .ReferencedSeriesSequence[0]
            .ReferencedSOPSequence
        ]
        for ds in notes
    }
    assert named == {study_uid(study): [sop_uid(1, study), sop_uid(2, study)] for study in (1, 2)}
    assert not any(ds.PatientName for ds in notes)


def test_a_certificate_is_made_again_from_the_ledger(office: Office) -> None:
    """Lost, it is signed again with the same bytes, and a third destruction changes nothing."""
    list_id = office.ready(1)
    path = office.destroy(list_id).certificate
    assert path is not None
    first = path.read_bytes()
    path.unlink()
    assert office.destruction().certificate(list_id) == first
    assert path.read_bytes() == first
    path.write_bytes(first.replace(b"AD84", b"AD85"))
    with pytest.raises(CertificateInvalid):
        office.destruction().certificate(list_id)
    with pytest.raises(DisposalRefused, match="it is destroyed"):
        office.destroy(list_id)


def test_certificate_and_ledger_hang_together(office: Office) -> None:
    """The certificate names the ledger's and the journal's heads as they were when it was signed."""
    list_id = office.ready(1)
    office.destroy(list_id)
    body = verify(office.destruction().certificate(list_id))
    by_sequence = {row.sequence: row.hash.hex() for row in office.journal()}
    assert by_sequence[body["audit_head"]["sequence"]] == body["audit_head"]["hash"]
    events = list(office.ledger.files.iter_events())
    assert events[body["ledger_head"]["sequence"] - 1].kind == "studies_destroyed"


def test_one_patients_studies_on_two_lists(office: Office) -> None:
    """Destroying the first of a patient's studies does not send the second back: it is not a new fact."""
    office.store(1, PatientID="SAME", exam_on="19990101")
    office.store(2, PatientID="SAME", exam_on="20000101")
    office.sweep()
    first = str(office.disposals.propose("default", 1, who=ANNE).list_id)
    second = str(office.disposals.propose("default", 1, who=ANNE).list_id)
    office.approve(first)
    office.approve(second)
    office.days(30)
    assert office.destroy(first).studies == 1
    assert office.destroy(second).studies == 1


def test_the_registry_tells_what_became_of_a_study(office: Office) -> None:
    """By the UID of the study or of an instance, and the explanation of a destroyed study leads to the proof."""
    list_id = office.ready(1)
    office.destroy(list_id)
    with office.ledger.database.read() as connection:
        assert [each.list_id for each in tombstones.iter_of(connection, study_uid(1))] == [list_id] * 2
        assert [each.list_id for each in tombstones.iter_of(connection, sop_uid(2, 1))] == [list_id]
        assert list(tombstones.iter_of(connection, study_uid(2))) == []
    with pytest.raises(StudyDestroyed, match=list_id):
        explain_study(office.assessor, study_uid(1), as_of=date(2026, 12, 26), language="fr")


def test_destroyed_objects_that_came_back_are_found_and_deleted(office: Office) -> None:
    """A folder restored from an old backup: not indexed, found by its tombstones, deleted unless on hold meanwhile."""
    office.store(3, exam_on="20200101")
    list_id = office.ready(1, 2)
    saved = {path: (office.rig.root / path).read_bytes() for path in office.files()}
    office.destroy(list_id)
    for path, data in saved.items():
        (office.rig.root / path).write_bytes(data)
    office.rig.unseal()
    report = office.rig.adopt()
    assert (report.destroyed, report.adopted) == (4, 0)
    wanted = NewHold("default", "a judge asks", "TGI", "12", studies=(study_uid(2),), is_ahead=True)
    Holds(office.ledger).place(wanted, actor="anne", sites=None)
    destruction = office.destruction()
    with office.ledger.database.read() as connection:
        found = list(iter_remains(office.stores, connection))
    assert {each.tombstone.study_instance_uid for each in found} == {study_uid(1), study_uid(2)}
    done = destruction.destroy_remains(found, who=OLGA, progress=nothing)
    assert (done.deleted, len(done.sent_back), done.left) == (2, 2, [])
    assert len(office.files()) == 4
    assert office.journal()[-1].event == "remains_destroyed"


def test_the_index_is_rebuilt_with_its_lists_and_tombstones(office: Office, url: str) -> None:
    """From storage alone: lists, signatures and tombstones are there, and a destroyed object left on disk is not."""
    office.store(3, exam_on="20200101")
    list_id = office.ready(1)
    survivor = office.rig.root / office.files()[-1]
    data = survivor.read_bytes()
    office.destroy(list_id)
    survivor.write_bytes(data)
    before = office.disposals.show(list_id)
    rig = office.rig
    rebuild = Rebuild(rig.disk, rig.hot, rig.kept, office.clock, ledger=office.ledger.files)
    report = rebuild.run(url, nothing)
    assert report.instances == 2
    assert len(report.problems) == 1 and "drimbox disposal remains" in report.problems[0]
    database = Database(url)
    ledger = Ledger(office.ledger.files, database, office.clock)
    after = Disposals(ledger, office.assessor, SITES, 30).show(list_id)
    assert after == before
    with database.read() as connection:
        assert len(list(tombstones.iter_of(connection, study_uid(1)))) == 2
    database.close()


def test_another_who_finishes_first_is_no_harm(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """While one deletes, another goes on from the ledger and certifies: there is one act and one certificate."""
    list_id = office.ready(1, 2)
    real, others = delete, []

    def overtaken(*arguments: Any, **named: Any) -> Deletion:
        monkeypatch.setattr("archive.services.remains.delete", real)
        others.append(office.destroy(list_id))
        return real(*arguments, **named)

    monkeypatch.setattr("archive.services.remains.delete", overtaken)
    report = office.destroy(list_id)
    assert (others[0].deleted, report.deleted, report.gone_before) == (4, 0, 4)
    assert office.files() == []
    kinds = [event.kind for event in office.ledger.files.iter_events()]
    assert (kinds.count("studies_destroyed"), kinds.count("disposal_certified")) == (1, 1)
    verify(office.destruction().certificate(list_id))


def test_those_who_sign_do_not_destroy(office: Office) -> None:
    """Destroying takes an archivist or an operator of the site; remains too."""
    list_id = office.ready(1)
    for who in (DIANE, account("otto", "operator", sites=("Clinique",))):
        with pytest.raises(NotAllowed):
            office.destruction().destroy(list_id, who=who, progress=nothing)
    with pytest.raises(NotAllowed):
        office.destruction().destroy_remains([], who=DIANE, progress=nothing)
    assert len(office.files()) == 2


def test_what_is_destroyed_cannot_be_undone(office: Office) -> None:
    """A destroyed list takes neither refusal, cancellation nor signature."""
    list_id = office.ready(1)
    office.destroy(list_id)
    with pytest.raises(DisposalRefused, match="it is destroyed"):
        office.disposals.refuse(list_id, [study_uid(1)], "too late", who=DAVID)
    with pytest.raises(DisposalRefused, match="it is destroyed"):
        office.disposals.cancel(list_id, "too late", who=DAVID)
    with pytest.raises(DisposalRefused, match="it is destroyed"):
        office.disposals.approve(list_id, "director", who=DIANE)


def test_the_ledger_is_replayed_over_its_own_tables(office: Office) -> None:
    """Replaying everything where it was applied already comes to the same lists and tombstones."""
    list_id = office.ready(1, 2)
    office.disposals.refuse(list_id, [study_uid(2)], "kept", who=DAVID)
    office.destroy(list_id)
    before = office.disposals.list()
    with office.ledger.database.write(synced=False) as connection:
        office.ledger.files.replay(connection)
    assert office.disposals.list() == before
