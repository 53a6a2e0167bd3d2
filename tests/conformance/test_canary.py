"""No patient identity in logs or in the journal, whatever happens; proven with a canary."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from tests.archive_process import running_archive
from tests.dcmtk import run
from tests.objects import ROOT, changed, ct_dataset, dataset_bytes, part10_bytes
from tests.raw_scu import open_scu
from tests.web import client_at, stow, web_archive

IDENTITY = {
    "PatientName": "CANARI^Zoé",
    "PatientID": "CANARI-4711",
    "PatientBirthDate": "19010203",
    "AccessionNumber": "CANARI-ACC",
    "StudyDescription": "CANARI DESCRIPTION",
}
TRACES = (b"CANARI", b"4711", b"19010203", "Zoé".encode(), "Zoé".encode("latin-1"))


def test_a_patient_on_the_web_is_in_no_log_and_no_journal(tmp_path: Path) -> None:
    """Stored, found, refused and mistyped over HTTP at the most talkative level, a patient leaves no trace either."""
    home = tmp_path / "home"
    whole = changed(ct_dataset(1), IDENTITY)
    with web_archive(home, log="debug") as archive:
        with client_at(archive) as client:
            assert stow(client, whole).status_code == 200
            assert stow(client, whole, changed(ct_dataset(1), {**IDENTITY, "StudyID": "9"})).status_code == 202
            homeless = changed(ct_dataset(2), {**IDENTITY, "StudyInstanceUID": None})
            assert stow(client, b"CANARI" * 100, homeless).status_code == 409
            assert stow(client, whole, study="CANARI").status_code == 400
            assert "CANARI" in client.get("/studies?PatientName=canari*").text
            assert "CANARI" in client.get("/instances?fuzzymatching=true&PatientName=canari&includefield=all").text
            assert client.get("/studies?CANARI=1&PatientID=CANARI-4711").status_code == 400
            assert client.get("/studies?StudyDate=CANARI").status_code == 400
            assert client.get("/studies/CANARI/series").status_code == 400
            assert client.get("/CANARI").status_code == 404
            assert client.get(f"/studies/{ROOT}.1/metadata").status_code == 200
            assert client.get(f"/studies/{ROOT}.1").status_code == 200
            assert client.post("/studies", content=b"CANARI", headers={"Content-Type": "CANARI"}).status_code == 400
        assert archive.stop() == 0
    said = archive.log().encode()
    with sqlite3.connect(home / "index.db") as connection:
        journal = repr(connection.execute("SELECT event, actor, body FROM audit").fetchall()).encode()
    assert b"request_answered" in said and b"request_refused" in said and b"object_refused" in said
    assert b"queried" in journal and b"sent" in journal
    for trace in TRACES:
        assert trace not in said, trace
        assert trace not in journal, trace


def test_a_patient_is_in_no_log_and_no_journal(tmp_path: Path) -> None:
    """Store, duplicate, conflict, refuse, find, retrieve and import a patient at the most talkative level: no trace."""
    home = tmp_path / "home"
    whole = changed(ct_dataset(1), IDENTITY)
    file = tmp_path / "object.dcm"
    file.write_bytes(part10_bytes(changed(ct_dataset(2), IDENTITY)))
    with running_archive(home, config='[log]\nlevel = "debug"\n') as archive:
        with open_scu(archive) as scu:
            assert scu.store(f"{ROOT}.1.1.1", dataset_bytes(whole))[0] == 0
            assert scu.store(f"{ROOT}.1.1.1", dataset_bytes(whole))[0] == 0
            assert scu.store(f"{ROOT}.1.1.1", dataset_bytes(changed(whole, {"StudyID": "9"})))[0] == 0x0111
            assert scu.store(IDENTITY["PatientName"], dataset_bytes(whole))[0] == 0xA900
            assert scu.store(f"{ROOT}.1.1.9", dataset_bytes(changed(whole, {"StudyInstanceUID": None})))[0] == 0xC000
        where = ("-aec", archive.ae_title, archive.host, str(archive.port))
        assert run("storescu", *where, file).returncode == 0
        found = run("findscu", "-P", "-k", "QueryRetrieveLevel=PATIENT", "-k", "PatientName=canari*", *where)
        assert "CANARI" in found.stdout + found.stderr
        patient = ("-P", "-k", "QueryRetrieveLevel=PATIENT", "-k", f"PatientID={IDENTITY['PatientID']}")
        assert run("getscu", *patient, "-od", tmp_path, *where).returncode == 0
        assert run("findscu", "-P", "-k", "QueryRetrieveLevel=CANARI", *where) is not None
        assert archive.stop() == 0
    said = archive.log().encode()
    with sqlite3.connect(home / "index.db") as connection:
        journal = repr(connection.execute("SELECT event, actor, body FROM audit").fetchall()).encode()
        assert connection.execute("SELECT COUNT(*) FROM patient WHERE patient_name LIKE 'CANARI%'").fetchone() == (1,)
    assert b"association_released" in said and b"object_refused" in said
    assert b"retrieved" in journal and b"quarantined" in journal
    for trace in TRACES:
        assert trace not in said, trace
        assert trace not in journal, trace
