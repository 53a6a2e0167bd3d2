"""A patient's access report: every look at their studies, and at nobody else's."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from archive.audit import Body, Entry
from archive.cli import root
from archive.errors import NoSuchStudy
from archive.index.session import Database
from archive.services.access_report import AccessReports
from archive.services.committer import Committer
from tests.integration.index.making import add, new_instance
from tests.unit.services.shelf import NOON, Clock

Look = Callable[..., None]
PAUL: Body = {"full_name": "Paul Praticien", "roles": ["referring_physician"], "via": "bearer", "address": "10.0.0.7"}


def study_uid(study: int) -> str:
    """Return the Study Instance UID ``new_instance`` gives."""
    return f"2.25.{study}"


@pytest.fixture
def look(committer: Committer, clock: Clock) -> Look:
    """Journal that somebody looked."""

    def journal(event: str, who: str, body: Body) -> None:
        clock.advance(minutes=1)
        committer.record(Entry(clock(), event, who, body))

    return journal


@pytest.fixture
def reports(database: Database) -> AccessReports:
    """Lend the reports of an archive with two patients, one of them at two sites."""
    add(database, new_instance(study=1, PatientID="P1"), new_instance(study=2, PatientID="P2"))
    add(database, new_instance(study=11, PatientID="P1"))
    return AccessReports(database)


def test_it_has_each_look_with_person_role_place_and_reason(reports: AccessReports, look: Look) -> None:
    """A view on the web, a retrieve by a DICOM peer and a search for the study are told; others' are not."""
    look("viewed", "899700366240", {**PAUL, "service": "wado", "study_instance_uid": study_uid(1), "reason": "staff"})
    look("viewed", "899700366240", {**PAUL, "service": "wado", "study_instance_uid": study_uid(2)})
    look("retrieved", "VIEWER", {"service": "C-MOVE", "destination": "SCREEN", "study_instance_uids": [study_uid(1)]})
    look("queried", "899700366240", {**PAUL, "service": "qido", "study_instance_uids": [study_uid(11)]})
    look("migrated", "drimbox", {"study_instance_uid": study_uid(1)})
    first, second, third = reports.of_patient("CHU", "P1")
    assert (first.person, first.full_name, first.roles) == ("899700366240", "Paul Praticien", ("referring_physician",))
    assert (first.event, first.service, first.via, first.place, first.reason) == (
        "viewed",
        "wado",
        "bearer",
        "10.0.0.7",
        "staff",
    )
    assert (second.person, second.via, second.place) == ("VIEWER", "dicom", "SCREEN")
    assert (third.event, third.study_instance_uid) == ("queried", study_uid(11))
    assert first.at < second.at < third.at


def test_a_study_with_a_longer_uid_is_another(reports: AccessReports, look: Look) -> None:
    """UIDs that begin alike are told apart."""
    look("viewed", "paul", {"service": "wado", "study_instance_uid": study_uid(1) + ".7"})
    assert reports.of_study(study_uid(1)) == []


def test_one_study_can_be_asked_for(reports: AccessReports, look: Look) -> None:
    """Only that one is told; one of another patient is refused, one that is gone is found by its UID alone."""
    look("viewed", "paul", {"service": "wado", "study_instance_uid": study_uid(1)})
    look("viewed", "paul", {"service": "wado", "study_instance_uid": "1.2.999"})
    assert len(reports.of_patient("CHU", "P1", study=study_uid(1))) == 1
    assert reports.of_patient("CHU", "P1", study=study_uid(11)) == []
    assert [each.study_instance_uid for each in reports.of_study("1.2.999")] == ["1.2.999"]
    with pytest.raises(NoSuchStudy):
        reports.of_patient("CHU", "P1", study=study_uid(2))
    assert reports.of_patient("Clinique", "P1") == []


def test_it_does_not_read_the_whole_journal(reports: AccessReports, database: Database) -> None:
    """The entries of looking have an index of their own: the journal has one entry for each object stored."""
    with database.read() as connection:
        plan = connection.exec_driver_sql(
            f"EXPLAIN {'QUERY PLAN ' if database.dialect == 'sqlite' else ''}SELECT body FROM audit "
            "WHERE event IN ('viewed', 'retrieved', 'queried') AND body LIKE 'x' ORDER BY sequence"
        ).fetchall()
    assert "ix_audit_looking" in str(plan)


def test_the_command_prints_it(tmp_path: Path) -> None:
    """``drimbox audit access`` tells it as a table or as JSON, and asks for whom when it is not said."""
    home = tmp_path / "home"
    home.mkdir()
    database = Database(f"sqlite:///{home / 'index.db'}")
    database.migrate()
    add(database, new_instance(study=1, PatientID="P1", site="default"))
    committer = Committer(database)
    committer.start()
    body: Body = {**PAUL, "service": "wado", "study_instance_uid": study_uid(1), "reason": "staff meeting"}
    committer.record(Entry(NOON, "viewed", "899700366240", body))
    committer.close()
    database.close()
    wanted = ["audit", "access", "--home", str(home), "--patient-id", "P1"]
    told = json.loads(CliRunner().invoke(root, [*wanted, "--json"]).stdout)
    assert [(each["person"], each["reason"]) for each in told] == [("899700366240", "staff meeting")]
    table = CliRunner().invoke(root, wanted, env={"COLUMNS": "250"}).stdout
    assert "Paul Praticien" in table
    assert "staff meeting" in table
    assert CliRunner().invoke(root, ["audit", "access", "--home", str(home)]).exit_code == 2
