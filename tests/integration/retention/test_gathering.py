"""Gathering: what the index and the facts say of a study, in the form the engine reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from archive.index.records import NewInstance, to_text
from archive.index.session import Database
from archive.index.statements import insert_into
from archive.services import gathering
from archive.services.facts import NewFact, NewLink, changes, link, unlink
from archive.services.gathering import ASSUMPTIONS, GatheredFacts, gather, iter_gathered
from archive.services.ledger import Ledger
from tests.integration.index.making import NOW, add, change, new_instance

HOLD = insert_into("hold", ("hold_id", "reason", "authority", "reference", "placed_at", "placed_by", "lifted_at"))
SCOPE = insert_into("hold_scope", ("hold_id", "study_instance_uid", "site", "patient_id"))


def fact(kind: str, from_on: str | None, to_on: str | None = None, patient_id: str = "P1", **other: Any) -> NewFact:
    """Return a fact of a patient under a reference of its own."""
    reference = other.pop("reference", f"{kind} {patient_id} {from_on}")
    return NewFact("CHU", patient_id, kind, "test", reference, from_on=from_on, to_on=to_on, **other)


def tell(ledger: Ledger, *facts: NewFact) -> None:
    """Tell facts."""
    ledger.act("anne", lambda connection: changes(connection, facts))


def study(number: int, patient_id: str | None = "P1", *, site: str = "CHU", **values: str | None) -> NewInstance:
    """Return the only instance of a study."""
    return new_instance(study=number, attributes={"PatientID": patient_id, **values}, site=site)


def get(database: Database, number: int = 1) -> GatheredFacts:
    """Return what is known of one study."""
    with database.read() as connection:
        (facts,) = gather(connection, [f"2.25.{number}"])
    return facts


def place_hold(database: Database, hold_id: str, scope: Sequence[str | None], lifted_at: str | None = None) -> None:
    """Write a hold as the ledger's projection has it."""
    with database.write(synced=False) as connection:
        told = ("CHU", "a judge", "n° 12", to_text(NOW), "anne")
        HOLD.run(connection, (hold_id, f"reason {hold_id}", *told[1:], lifted_at))
        SCOPE.run(connection, (hold_id, *scope))


def test_a_study_of_which_little_is_known(database: Database) -> None:
    """The contract's object with what DICOM says; nothing is invented, and instances and bytes are counted."""
    add(
        database,
        new_instance(1, PatientBirthDate="19500714"),
        new_instance(2),
        new_instance(3, series=2, Modality="SR"),
    )
    found = get(database)
    assert (found.site, found.patient_id, found.instances, found.size_bytes) == ("CHU", "PID1", 3, 3 * 1700)
    assert found.mapping == {
        "exam_on": "2024-01-15",
        "last_visit_on": "2024-01-15",
        "first_seen_on": "2024-01-15",
        "birth_on": "1950-07-14",
        "death_on": None,
        "deceased": False,
        "facts_trusted": True,
        "appeals": [],
        "holds": [],
        "modalities": ["CT", "SR"],
    }
    assert found.assumptions == ()


def test_visits_and_other_exams_date_the_last_visit(ledger: Ledger) -> None:
    """The latest end of a visit or exam of the patient at that site is the last, the earliest the first."""
    add(ledger.database, study(1, StudyDate="20100302"), study(2, StudyDate="20120101"), study(3, site="Clinique"))
    tell(ledger, fact("visit", "2011-01-01", "2012-05-01"), fact("visit", "2009-02-01"))
    first, second = get(ledger.database, 1).mapping, get(ledger.database, 2).mapping
    assert (first["exam_on"], first["last_visit_on"], first["first_seen_on"]) == (
        "2010-03-02",
        "2012-05-01",
        "2009-02-01",
    )
    assert (second["exam_on"], second["last_visit_on"]) == ("2012-01-01", "2012-05-01")
    assert get(ledger.database, 3).mapping["last_visit_on"] == "2024-01-15"


def test_a_partial_visit_counts_as_its_latest_day(ledger: Ledger) -> None:
    """A visit "in 2024" may have been after the exam of January: it is the last, and stays as partial as it was."""
    add(ledger.database, study(1))
    tell(ledger, fact("visit", "2024"), fact("visit", "2023-12"))
    mapping = get(ledger.database).mapping
    assert (mapping["last_visit_on"], mapping["first_seen_on"]) == ("2024", "2023-12")


def test_an_unsure_visit_lengthens_and_never_shortens(ledger: Ledger) -> None:
    """An untrusted visit may be the last one, which keeps longer, but not the first, by which a birth is supposed."""
    add(ledger.database, study(1))
    tell(ledger, fact("visit", "2030-01-01", is_trusted=False), fact("visit", "1999-01-01", is_trusted=False))
    mapping = get(ledger.database).mapping
    assert (mapping["last_visit_on"], mapping["first_seen_on"]) == ("2030-01-01", "2024-01-15")


@pytest.mark.parametrize(
    ("values", "exam_on", "assumption"),
    [
        ({"StudyDate": "2010.03.02"}, "2010-03-02", None),
        ({"SeriesDate": "20100301", "AcquisitionDate": "20100401"}, "2010-03-01", "exam_from_series"),
        ({"PerformedProcedureStepStartDate": "20100302"}, "2010-03-02", "exam_from_series"),
        ({"AcquisitionDate": "20100303", "SeriesDate": "unknown"}, "2010-03-03", "exam_from_acquisition"),
        ({"ContentDate": "20100304", "StudyDate": "00000000"}, "2010-03-04", "exam_from_acquisition"),
        ({"StudyDate": "19000101", "SeriesDate": "19000101"}, "2026-11-23", "exam_from_reception"),
        ({}, "2026-11-23", "exam_from_reception"),
        ({"StudyDate": "18000101"}, "1800-01-01", None),
    ],
)
def test_an_exam_without_a_usable_study_date(
    database: Database, values: dict[str, str], exam_on: str, assumption: str | None
) -> None:
    """The series, then the acquisition, then the reception date it, and it is said; 1800 is left for a person."""
    add(database, new_instance(attributes={"StudyDate": None, **values}))
    found = get(database)
    assert (found.mapping["exam_on"], found.assumptions) == (exam_on, (assumption,) if assumption else ())


def test_the_latest_of_several_dates_is_taken(database: Database) -> None:
    """Two series of different days, received on different days: the latest of the best kind keeps longest."""
    one = new_instance(1, series=1, StudyDate=None, SeriesDate="20100101")
    add(database, one, new_instance(1, series=2, StudyDate=None, SeriesDate="20100105"))
    late = replace(new_instance(1, study=2, StudyDate=None), received_at=NOW + timedelta(days=40))
    add(database, new_instance(2, study=2, StudyDate=None), late)
    assert get(database, 1).mapping["exam_on"] == "2010-01-05"
    assert get(database, 2).mapping["exam_on"] == "2027-01-02"


def test_an_incredible_exam_does_not_date_the_others(database: Database) -> None:
    """A study of the year 1800 is the engine's to refuse; it does not make the patient first seen then."""
    add(database, study(1), study(2, StudyDate="18000101"))
    assert get(database, 1).mapping["first_seen_on"] == "2024-01-15"


@pytest.mark.parametrize(
    ("dicom", "told", "birth_on", "assumptions"),
    [
        ("", (), None, ()),
        ("19500714", (), "1950-07-14", ()),
        ("19500714", ("1951-01-01",), "1951-01-01", ()),
        ("19500714", ("1950", "1950-07-14"), "1950-07-14", ()),
        ("", ("1950-07-14", "1951"), "1951", ("births_differ",)),
        ("19000101", (), None, ("birth_placeholder",)),
        ("00010101", (), None, ("birth_placeholder",)),
        ("junk", (), None, ()),
    ],
)
def test_birth(
    ledger: Ledger, dicom: str, told: tuple[str, ...], birth_on: str | None, assumptions: tuple[str, ...]
) -> None:
    """A fact goes before DICOM; of dates that differ the latest keeps longest; a placeholder is no date."""
    add(ledger.database, study(1, PatientBirthDate=dicom))
    tell(ledger, *(fact("birth", each) for each in told), fact("birth", "1990-01-01", is_trusted=False, reference="?"))
    found = get(ledger.database)
    assert (found.mapping["birth_on"], found.assumptions) == (birth_on, assumptions)


@pytest.mark.parametrize(
    ("told", "death_on", "is_trusted", "assumptions"),
    [
        ([fact("death", "2025-06-30")], "2025-06-30", True, ()),
        ([fact("death", "2025-06"), fact("death", "2025-06-30")], "2025-06-30", True, ()),
        ([fact("death", "2025-06-30", is_trusted=False)], "2025-06-30", False, ()),
        ([fact("death", "2025-06-30"), fact("death", "2024-12-01", is_trusted=False)], "2025-06-30", True, ()),
        ([fact("death", "2025-06-30"), fact("death", "2025-07-30")], "2025-07-30", False, ("deaths_differ",)),
        ([fact("death", "2025-06-30"), fact("death", "2036-07-30")], "2036-07-30", True, ("deaths_differ",)),
        ([fact("deceased", None)], None, True, ()),
    ],
)
def test_death(
    ledger: Ledger, told: list[NewFact], death_on: str | None, is_trusted: bool, assumptions: tuple[str, ...]
) -> None:
    """A death counts when it is trusted; dates that differ count as far as they lengthen."""
    add(ledger.database, study(1))
    tell(ledger, *told)
    found = get(ledger.database)
    assert (found.mapping["death_on"], found.mapping["facts_trusted"]) == (death_on, is_trusted)
    assert (found.mapping["deceased"], found.assumptions) == (True, assumptions)


def test_appeals_and_what_was_withdrawn(ledger: Ledger) -> None:
    """Every appeal that stands is given once, in order, an open one without end; one taken back is not."""
    add(ledger.database, study(1))
    appeals = [fact("appeal", "2025-02-01"), fact("appeal", "2024-02-01", "2024-03-01"), fact("appeal", "2023-01-01")]
    tell(ledger, *appeals, replace(appeals[0], reference="again"))
    tell(ledger, replace(appeals[2], patient_id="P9"))
    assert get(ledger.database).mapping["appeals"] == [
        {"from": "2024-02-01", "to": "2024-03-01"},
        {"from": "2025-02-01", "to": None},
    ]


def test_linked_records_share_exams_facts_and_holds(ledger: Ledger) -> None:
    """After a merge each study is kept by what is known of either record; after the unmerge by its own again."""
    add(ledger.database, study(1, "P1"), study(2, "P2", StudyDate="20250101"), study(3, "P3", StudyDate="20260101"))
    tell(ledger, fact("visit", "2026-05-01", patient_id="P4"), fact("birth", "1950", patient_id="P3"))
    place_hold(ledger.database, "H1", (None, "CHU", "P2"))
    alone = [get(ledger.database, number) for number in (1, 2, 3)]
    links = [NewLink("CHU", *pair, "hand", "m") for pair in (("P1", "P2"), ("P2", "P4"), ("P3", "P4"))]
    for each in links:
        ledger.act("anne", lambda connection, each=each: link(connection, each))  # type: ignore[misc]
    for number in (1, 2, 3):
        mapping = get(ledger.database, number).mapping
        assert (mapping["last_visit_on"], mapping["first_seen_on"]) == ("2026-05-01", "2024-01-15")
        assert (mapping["birth_on"], mapping["holds"]) == ("1950", [{"id": "H1", "reason": "reason H1"}])
    for each in links:
        ledger.act("anne", lambda connection, each=each: unlink(connection, each))  # type: ignore[misc]
    assert [get(ledger.database, number) for number in (1, 2, 3)] == alone


def test_holds_of_study_and_patient_until_they_are_lifted(database: Database) -> None:
    """A hold on the study, one on the patient: both are given; a lifted one and another site's are not."""
    add(database, study(1), study(2))
    place_hold(database, "H2", (None, "CHU", "P1"))
    place_hold(database, "H1", ("2.25.1", None, None))
    place_hold(database, "H3", ("2.25.1", None, None), lifted_at=to_text(NOW))
    place_hold(database, "H4", (None, "Clinique", "P1"))
    assert [hold["id"] for hold in get(database, 1).mapping["holds"]] == ["H1", "H2"]
    assert [hold["id"] for hold in get(database, 2).mapping["holds"]] == ["H2"]


def test_studies_without_patient_id_are_strangers(ledger: Ledger) -> None:
    """What has no PatientID shares nothing with others that have none, nor with facts."""
    add(ledger.database, study(1, None), study(2, None, StudyDate="20260101"), study(3, "", StudyDate="20200101"))
    dates = [get(ledger.database, number).mapping["last_visit_on"] for number in (1, 2, 3)]
    assert dates == ["2024-01-15", "2026-01-01", "2020-01-01"]


def test_copies_that_are_missing_have_no_bytes(database: Database) -> None:
    """Bytes are those of every copy there is; an instance whose copy is lost is still an instance."""
    add(database, new_instance(1), new_instance(2))
    change(database, "UPDATE location SET state = 'missing' WHERE id = 1")
    assert (get(database).instances, get(database).size_bytes) == (2, 1700)


def test_pages_give_every_study_once(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the page's size, a walk meets each study once, as asking for it alone does; crowds too."""
    monkeypatch.setattr(gathering, "PAGE", 3)
    monkeypatch.setattr(gathering, "_CROWD", 2)
    add(database, *(study(number, f"P{number % 3}", StudyDate=f"2020{number:02}01") for number in range(1, 11)))
    with database.read() as connection:
        walked = list(iter_gathered(connection))
        assert [each.study_instance_uid for each in walked] == [f"2.25.{number}" for number in range(1, 11)]
        assert walked == gather(connection, [f"2.25.{number}" for number in range(10, 0, -1)])
        first = list(iter_gathered(connection, limit=4))
        assert first + list(iter_gathered(connection, first[-1].study_id)) == walked
        assert gather(connection, ["2.25.99"]) == list(iter_gathered(connection, walked[-1].study_id)) == []
    assert all(each == get(database, number) for number, each in enumerate(walked, start=1))


def test_more_studies_than_a_statement_takes(database: Database) -> None:
    """A patient with thousands of studies is gathered whole."""
    add(database, *(study(number, StudyDate=f"{1990 + number % 30}0101") for number in range(1, 2101)))
    with database.read() as connection:
        mapping = [each.mapping for each in iter_gathered(connection)]
    assert len(mapping) == 2100
    assert {(each["first_seen_on"], each["last_visit_on"]) for each in mapping} == {("1990-01-01", "2019-01-01")}


def test_assumptions_are_told_in_both_languages() -> None:
    """Whoever explains a study finds words for every assumption."""
    assert all(texts.keys() == {"en", "fr"} and all(texts.values()) for texts in ASSUMPTIONS.values())
