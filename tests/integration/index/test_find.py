"""Queries: which rows, which keys in them, at which level; what is derived; how many."""

from __future__ import annotations

from itertools import islice
from typing import Any

import pytest

from archive.errors import InvalidIdentifier
from archive.index.find import SUPPORTED, Query, run_query
from archive.index.keys import KEYS
from archive.index.session import Database
from tests.integration.index.making import CT_CLASS, add, change, find, new_instance, sop_uid, studies_found
from tests.integration.index.test_retrieving import copy_to_cold

MR_CLASS = "1.2.840.10008.5.1.4.1.1.4"


@pytest.fixture
def stocked(database: Database) -> Database:
    """Lend an index with patient A (studies 1 CT+SR, 2 MR) and patient B (study 3 CT)."""
    ct_and_sr: dict[str, str | None] = {"PatientID": "A", "StudyDate": "20240115", "AccessionNumber": "ACC1"}
    mr: dict[str, str | None] = {"PatientID": "A", "StudyDate": "20240220", "Modality": "MR", "SOPClassUID": MR_CLASS}
    other: dict[str, str | None] = {"PatientID": "B", "PatientName": "NOËL^Zoé", "StudyDate": None, "Modality": None}
    add(
        database,
        new_instance(1, 1, 1, ct_and_sr),
        new_instance(2, 1, 1, ct_and_sr),
        new_instance(3, 1, 1, ct_and_sr),
        new_instance(1, 2, 1, {**ct_and_sr, "Modality": "SR", "SOPClassUID": "1.2.840.10008.5.1.4.1.1.88.11"}),
        new_instance(1, 1, 2, mr),
        new_instance(1, 2, 2, mr),
        new_instance(1, 1, 3, other),
    )
    return database


# ---- levels ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("root", "level", "expected"),
    [
        ("patient", "PATIENT", 2),
        ("patient", "STUDY", 3),
        ("patient", "SERIES", 5),
        ("patient", "IMAGE", 7),
        ("study", "STUDY", 3),
        ("study", "SERIES", 5),
        ("study", "IMAGE", 7),
    ],
)
def test_each_level_answers_its_entities(stocked: Database, root: str, level: str, expected: int) -> None:
    """Without any key, a relational query answers every entity of its level once, with the unique keys down to it."""
    answers = find(stocked, level, {}, root=root)
    unique = ["PatientID", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"]
    depth = ["PATIENT", "STUDY", "SERIES", "IMAGE"].index(level)
    assert {tuple(answer) for answer in answers} == {tuple(unique[root == "study" : depth + 1])}
    assert len({tuple(answer.values()) for answer in answers}) == len(answers) == expected


@pytest.mark.parametrize(
    ("root", "level"), [("study", "PATIENT"), ("patient", "FRAME"), ("study", ""), ("study", "study")]
)
def test_a_level_the_model_does_not_have_is_refused(stocked: Database, root: str, level: str) -> None:
    """Study Root has no patient level, and nothing has a level of another name."""
    with pytest.raises(InvalidIdentifier, match=f"{root} root"):
        find(stocked, level, {}, root=root)


@pytest.mark.parametrize(
    ("root", "level", "keys", "missing"),
    [
        ("patient", "STUDY", {}, "PatientID"),
        ("patient", "IMAGE", {"PatientID": "A", "SeriesInstanceUID": "2.25.1.1"}, "StudyInstanceUID"),
        ("study", "SERIES", {"StudyInstanceUID": ""}, "StudyInstanceUID"),
        ("study", "SERIES", {"StudyInstanceUID": "*"}, "StudyInstanceUID"),
        ("study", "IMAGE", {"StudyInstanceUID": "2.25.1"}, "SeriesInstanceUID"),
    ],
)
def test_a_hierarchical_query_needs_the_keys_above(
    stocked: Database, root: str, level: str, keys: dict[str, str], missing: str
) -> None:
    """Without relational queries the unique keys of the levels above must be there (PS3.4 C.4.1.3.1.1)."""
    with pytest.raises(InvalidIdentifier, match=f"{missing} is required"):
        find(stocked, level, keys, root=root, relational=False)


def test_a_hierarchical_query_with_the_keys_above_is_answered(stocked: Database) -> None:
    """Each level down to the instances of one series."""
    keys = {"PatientID": "A", "StudyInstanceUID": "2.25.1", "SeriesInstanceUID": "2.25.1.1"}
    for root in ("patient", "study"):
        assert len(find(stocked, "IMAGE", keys, root=root, relational=False)) == 3


def test_a_relational_query_needs_no_key_above(stocked: Database) -> None:
    """An instance is found by its UID alone, with the UIDs of its study and series."""
    assert find(stocked, "IMAGE", {"SOPInstanceUID": sop_uid(2, 1, 1)}) == [
        {"StudyInstanceUID": "2.25.1", "SeriesInstanceUID": "2.25.1.1", "SOPInstanceUID": sop_uid(2, 1, 1)}
    ]


def test_keys_of_the_levels_above_are_matched_and_answered(stocked: Database) -> None:
    """The study's and the patient's attributes narrow a query for series, and are given back when asked for."""
    answers = find(stocked, "SERIES", {"PatientName": "moreau", "StudyDate": "20240220", "Modality": ""})
    assert [row["PatientName"] for row in answers] == ["MOREAU^Hélène"] * 2
    assert {row["StudyDate"] for row in answers} == {"20240220"}


@pytest.mark.parametrize("keyword", ["SeriesDescription", "SOPInstanceUID", "NotAKeyword", "PixelData", "Query Level"])
def test_keys_of_lower_levels_and_unknown_ones_are_left_aside(stocked: Database, keyword: str) -> None:
    """They neither narrow the answer nor appear in it."""
    answers = find(stocked, "STUDY", {keyword: "nothing matches this", "StudyDate": ""})
    assert len(answers) == 3
    assert all(keyword not in answer for answer in answers)


# ---- rows -----------------------------------------------------------------------------------------------------------


def test_a_row_holds_what_was_asked_and_the_unique_keys(stocked: Database) -> None:
    """Texts as stored; an attribute the entity does not have is empty, not missing."""
    keys = {"StudyInstanceUID": "2.25.3", "PatientName": "", "PatientID": "", "StudyDate": "", "AccessionNumber": ""}
    assert find(stocked, "STUDY", keys) == [
        {
            "StudyInstanceUID": "2.25.3",
            "PatientName": "NOËL^Zoé",
            "PatientID": "B",
            "StudyDate": "",
            "AccessionNumber": "",
        }
    ]


def test_every_indexed_attribute_can_be_asked_for(stocked: Database) -> None:
    """Each keyword the index says it supports comes back from an instance query of Patient Root."""
    (answer,) = find(stocked, "IMAGE", dict.fromkeys(SUPPORTED, "") | {"SOPInstanceUID": sop_uid()}, root="patient")
    assert answer.keys() == SUPPORTED
    assert {type(text) for text in answer.values()} == {str}


def test_every_indexed_attribute_can_be_matched(database: Database) -> None:
    """Each keyword finds the instance that has its value and not the one that has another."""
    typical = {"DA": "20240115", "TM": "101500", "IS": "7", "US": "512", "UI": "2.25.77"}
    values = {keyword: typical.get(vr_of(keyword), "VALUE") for keyword in KEYS if keyword != "SOPInstanceUID"}
    values |= {"StudyInstanceUID": "2.25.1", "SeriesInstanceUID": "2.25.1.1"}
    other = {"DA": "20230115", "TM": "111500", "IS": "8", "US": "513", "UI": "2.25.78"}
    others = {keyword: other.get(vr_of(keyword), "OTHER") for keyword in values}
    others |= {"StudyInstanceUID": "2.25.2", "SeriesInstanceUID": "2.25.2.1"}
    add(database, new_instance(1, 1, 1, values), new_instance(1, 1, 2, others))
    for keyword, wanted in values.items():
        found = find(database, "IMAGE", {keyword: wanted}, root="patient")
        assert [row["SOPInstanceUID"] for row in found] == [sop_uid(1, 1, 1)], keyword


def vr_of(keyword: str) -> str:
    """Return the VR of an indexed attribute."""
    from archive.part10.attributes import INSTANCE, PATIENT, SERIES, STUDY

    return next(a.vr for a in (*PATIENT, *STUDY, *SERIES, *INSTANCE) if a.keyword == keyword)


def test_keys_narrow_together(stocked: Database) -> None:
    """All of them must match."""
    assert studies_found(stocked, PatientID="A") == [1, 2]
    assert studies_found(stocked, PatientID="A", StudyDate="20240101-20240131") == [1]
    assert studies_found(stocked, PatientID="B", StudyDate="20240101-20240131") == []
    assert studies_found(stocked, PatientID="", PatientName="*", StudyDate="", AccessionNumber="*") == [1, 2, 3]


def test_a_date_range_does_not_find_what_has_no_date(stocked: Database) -> None:
    """An open range is a range all the same."""
    assert studies_found(stocked, StudyDate="20240101-") == [1, 2]
    assert studies_found(stocked, StudyDate="-20991231") == [1, 2]


def test_date_and_time_are_compared_each_by_itself(database: Database) -> None:
    """A range of days and a range of hours: those hours on each of those days."""
    for number, (day, time) in enumerate([("20240115", "0900"), ("20240115", "1100"), ("20240116", "0900")]):
        add(database, new_instance(1, 1, number, StudyDate=day, StudyTime=time))
    assert studies_found(database, StudyDate="20240115-20240116", StudyTime="0800-1000") == [0, 2]


def test_a_patient_query_answers_patients_once(stocked: Database) -> None:
    """However many studies they have."""
    answers = find(stocked, "PATIENT", {"PatientName": "", "PatientID": ""}, root="patient")
    assert sorted((row["PatientID"], row["PatientName"]) for row in answers) == [
        ("A", "MOREAU^Hélène"),
        ("B", "NOËL^Zoé"),
    ]


@pytest.mark.parametrize("limit", [1, 2, 3, 4])
def test_a_limit_is_the_number_of_answers_at_most(stocked: Database, limit: int) -> None:
    """The caller asks for one more than it will give, to know whether there is more."""
    assert len(find(stocked, "STUDY", {}, limit=limit)) == min(limit, 3)


def test_answers_come_as_they_are_found(database: Database) -> None:
    """The first answer does not wait for the last, and leaving early frees the connection."""
    add(database, *(new_instance(number) for number in range(1500)))
    for _ in range(40):
        with database.read() as connection:
            answers = run_query(connection, Query("study", "IMAGE", {}, relational=True))
            assert len(list(islice(answers, 3))) == 3
    assert len(find(database, "IMAGE", {})) == 1500


def test_a_query_sees_one_state(stocked: Database) -> None:
    """What arrives while answers are read is not mixed into them."""
    with stocked.read() as connection:
        answers = run_query(connection, Query("study", "STUDY", {}))
        first = next(answers)
        add(stocked, new_instance(1, 1, 9))
        assert len([first, *answers]) == 3
    assert len(find(stocked, "STUDY", {})) == 4


# ---- derived answers ------------------------------------------------------------------------------------------------


COUNTS = {
    "NumberOfPatientRelatedStudies": "2",
    "NumberOfPatientRelatedSeries": "4",
    "NumberOfPatientRelatedInstances": "6",
    "NumberOfStudyRelatedSeries": "2",
    "NumberOfStudyRelatedInstances": "4",
    "NumberOfSeriesRelatedInstances": "3",
}


@pytest.mark.parametrize(
    ("root", "level", "known"),
    [("patient", "PATIENT", 3), ("study", "STUDY", 5), ("patient", "SERIES", 6), ("study", "IMAGE", 6)],
)
def test_related_entities_are_counted(stocked: Database, root: str, level: str, known: int) -> None:
    """Studies, series and instances of the patient, study and series, at their level and below."""
    unique = {"PatientID": "A", "StudyInstanceUID": "2.25.1", "SeriesInstanceUID": "2.25.1.1"}
    answers = find(stocked, level, unique | dict.fromkeys(COUNTS, ""), root=root)
    expected = dict(list(COUNTS.items())[:known])
    assert answers
    for answer in answers:
        assert {keyword: text for keyword, text in answer.items() if keyword in COUNTS} == expected


def test_a_count_is_not_a_key_to_match(stocked: Database) -> None:
    """A value given for a count does not narrow the answer."""
    assert len(find(stocked, "STUDY", {"NumberOfStudyRelatedInstances": "4"})) == 3


def test_the_modalities_of_a_study_are_told_sorted(stocked: Database) -> None:
    """Each once; empty when no series says."""
    answers = find(stocked, "STUDY", {"ModalitiesInStudy": ""})
    assert {row["StudyInstanceUID"]: row["ModalitiesInStudy"] for row in answers} == {
        "2.25.1": "CT\\SR",
        "2.25.2": "MR",
        "2.25.3": "",
    }


@pytest.mark.parametrize("keyword", ["ModalitiesInStudy", "Modality"])
@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ("CT", [1]),
        ("SR", [1]),
        ("CT\\MR", [1, 2]),
        ("US", []),
        ("*R", [1, 2]),
        ("ct", []),
        ("", [1, 2, 3]),
        ("*", [1, 2, 3]),
    ],
)
def test_studies_are_found_by_their_modalities(
    stocked: Database, keyword: str, wanted: str, expected: list[int]
) -> None:
    """One series that matches is enough; Modality in a study query is taken for Modalities in Study."""
    assert studies_found(stocked, **{keyword: wanted}) == expected


def test_the_answer_tells_all_modalities_not_only_the_one_matched(stocked: Database) -> None:
    """Matching CT does not hide the SR beside it."""
    (answer,) = find(stocked, "STUDY", {"ModalitiesInStudy": "CT"})
    assert answer["ModalitiesInStudy"] == "CT\\SR"


def test_modality_in_a_series_query_is_the_series_own(stocked: Database) -> None:
    """A study with CT and SR has one SR series."""
    answers = find(stocked, "SERIES", {"StudyInstanceUID": "2.25.1", "Modality": "SR", "ModalitiesInStudy": "CT"})
    assert [(row["Modality"], row["ModalitiesInStudy"]) for row in answers] == [("SR", "CT\\SR")]


def test_studies_are_found_by_their_sop_classes(stocked: Database) -> None:
    """SOP Classes in Study is matched and told like the modalities."""
    (answer,) = find(stocked, "STUDY", {"SOPClassesInStudy": MR_CLASS})
    assert (answer["StudyInstanceUID"], answer["SOPClassesInStudy"]) == ("2.25.2", MR_CLASS)
    (mixed,) = find(stocked, "STUDY", {"StudyInstanceUID": "2.25.1", "SOPClassesInStudy": ""})
    assert mixed["SOPClassesInStudy"] == f"{CT_CLASS}\\1.2.840.10008.5.1.4.1.1.88.11"


def test_what_is_derived_from_a_level_below_is_not_told_above(stocked: Database) -> None:
    """A patient has no modalities in study."""
    (answer, _) = find(
        stocked, "PATIENT", {"ModalitiesInStudy": "CT", "NumberOfStudyRelatedSeries": ""}, root="patient"
    )
    assert answer.keys() == {"PatientID"}


def availabilities(database: Database, level: str) -> list[str]:
    """Return the availability of each entity of study 1, by UID."""
    unique = {"STUDY": "StudyInstanceUID", "SERIES": "SeriesInstanceUID", "IMAGE": "SOPInstanceUID"}[level]
    answers = find(database, level, {"StudyInstanceUID": "2.25.1", "InstanceAvailability": ""})
    return [row["InstanceAvailability"] for row in sorted(answers, key=lambda row: row[unique])]


def test_what_is_hot_is_online(stocked: Database) -> None:
    """A present hot copy of each instance."""
    assert availabilities(stocked, "STUDY") == ["ONLINE"]
    assert availabilities(stocked, "SERIES") == ["ONLINE", "ONLINE"]
    assert availabilities(stocked, "IMAGE") == ["ONLINE"] * 4
    assert "InstanceAvailability" not in find(stocked, "PATIENT", {"InstanceAvailability": ""}, root="patient")[0]


@pytest.mark.parametrize(
    ("hot", "cold", "expected"),
    [
        ("present", None, "ONLINE"),
        ("present", "missing", "ONLINE"),
        ("damaged", "present", "NEARLINE"),
        ("missing", "present", "NEARLINE"),
        ("missing", None, "OFFLINE"),
        ("missing", "damaged", "OFFLINE"),
        ("damaged", None, "UNAVAILABLE"),
        ("damaged", "damaged", "UNAVAILABLE"),
        (None, None, "UNAVAILABLE"),
    ],
)
def test_an_entity_is_as_available_as_its_least_available_instance(
    stocked: Database, hot: str | None, cold: str | None, expected: str
) -> None:
    """One instance's copies change: the instance, its series and its study follow; the other series does not."""
    uid = sop_uid(2, 1, 1)
    if cold is not None:
        copy_to_cold(stocked, uid, "pack/1", cold)
    if hot is None:
        change(stocked, "DELETE FROM location WHERE key LIKE ?", (f"%{uid}",))
    else:
        change(stocked, "UPDATE location SET state = ? WHERE key LIKE ?", (hot, f"%{uid}"))
    assert availabilities(stocked, "IMAGE") == ["ONLINE", expected, "ONLINE", "ONLINE"]
    assert availabilities(stocked, "SERIES") == [expected, "ONLINE"]
    assert availabilities(stocked, "STUDY") == [expected]


def test_a_study_without_an_instance_is_unavailable(stocked: Database) -> None:
    """There is nothing to give."""
    change(stocked, "DELETE FROM location")
    change(stocked, "DELETE FROM instance")
    assert availabilities(stocked, "STUDY") == ["UNAVAILABLE"]
    (answer,) = find(stocked, "STUDY", {"StudyInstanceUID": "2.25.1", "NumberOfStudyRelatedInstances": ""})
    assert answer["NumberOfStudyRelatedInstances"] == "0"


# ---- values are never SQL -------------------------------------------------------------------------------------------

HOSTILE = [
    "'",
    '"',
    "' OR 1=1 --",
    "'; DROP TABLE study; --",
    "%",
    "_",
    "%s",
    "%(x)s",
    ":x",
    "[a-z]*",
    "\ud800",
    "A\ud800*",
]


@pytest.mark.parametrize(
    "keyword", ["PatientName", "PatientID", "OtherPatientIDs", "StudyInstanceUID", "ModalitiesInStudy"]
)
def test_a_hostile_value_is_only_a_value(stocked: Database, keyword: str) -> None:
    """It finds what it equals, which is nothing here; the tables stay."""
    for wanted in HOSTILE:
        assert find(stocked, "STUDY", {keyword: wanted}) == [], wanted
    for empty in ("\0", "\\", " \\\0\\ "):
        assert len(find(stocked, "STUDY", {keyword: empty})) == 3


def test_many_stars_do_not_take_for_ever(database: Database) -> None:
    """A pattern made to be slow is answered like any other."""
    add(database, new_instance(StudyDescription="a" * 500, PatientName="a" * 500))
    for keyword in ("StudyDescription", "PatientName"):
        assert find(database, "STUDY", {keyword: "*a" * 30 + "*b"}) == []
        assert len(find(database, "STUDY", {keyword: "*" * 400 + "a"})) == 1


# ---- indexes are used -----------------------------------------------------------------------------------------------


def plan(database: Database, monkeypatch: pytest.MonkeyPatch, **keys: str) -> list[str]:
    """Return SQLite's plan of a study query: its steps outside of sub-queries for derived answers."""
    from sqlalchemy import event

    seen: list[tuple[str, Any]] = []
    with database.read() as connection:
        engine = connection.engine

        def note(*arguments: Any) -> None:
            seen.append((arguments[2], arguments[3]))

        event.listen(engine, "before_cursor_execute", note)
        list(run_query(connection, Query("study", "STUDY", keys)))
        event.remove(engine, "before_cursor_execute", note)
        sql, parameters = seen[0]
        steps = connection.exec_driver_sql("EXPLAIN QUERY PLAN " + sql, parameters).fetchall()
    return [step[3] for step in steps]


@pytest.mark.parametrize(
    ("keys", "index"),
    [
        ({"PatientID": "A"}, "ix_patient_patient_id"),
        ({"PatientID": "A*"}, "ix_patient_patient_id"),
        ({"PatientName": "MOR*"}, "ix_patient_patient_name_key"),
        ({"PatientName": "MOREAU^HELENE"}, "ix_patient_patient_name_key"),
        ({"PatientName": "MOR*^H?L*"}, "ix_patient_patient_name_key"),
        ({"PatientBirthDate": "19700101"}, "ix_patient_patient_birth_date"),
        ({"StudyDate": "20240115"}, "ix_study_study_date"),
        ({"StudyDate": "20240101-20240131", "ModalitiesInStudy": "CT"}, "ix_study_study_date"),
        ({"StudyDate": "20240101-", "Modality": "CT\\MR"}, "ix_study_study_date"),
        ({"AccessionNumber": "ACC1"}, "ix_study_accession_number"),
        ({"AccessionNumber": "AC*"}, "ix_study_accession_number"),
        ({"StudyID": "7"}, "ix_study_study_id"),
        ({"ReferringPhysicianName": "NOEL*"}, "ix_study_referring_physician_name_key"),
        ({"StudyInstanceUID": "2.25.1\\2.25.2"}, "sqlite_autoindex_study_1"),
    ],
)
def test_common_queries_use_an_index(
    database: Database, monkeypatch: pytest.MonkeyPatch, keys: dict[str, str], index: str
) -> None:
    """The key that narrows most is looked up, no table is read from end to end."""
    if database.dialect == "sqlite":
        steps = plan(database, monkeypatch, **keys)
        assert any(index in step for step in steps), steps
        assert not [step for step in steps if step.startswith("SCAN") and ("study" in step or "patient" in step)], steps


def test_counts_come_from_indexes_alone(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is counted for each answer is counted in an index."""
    if database.dialect == "sqlite":
        steps = plan(database, monkeypatch, StudyDate="20240115", **dict.fromkeys(COUNTS, ""), SOPClassesInStudy="")
        touching = [step for step in steps if "instance" in step]
        assert touching
        assert all("COVERING INDEX" in step for step in touching), touching
