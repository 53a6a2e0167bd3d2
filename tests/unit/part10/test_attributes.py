"""The list of indexed attributes against the DICOM dictionary; must not read a data set."""

from __future__ import annotations

import re

import pytest
from pydicom.datadict import dictionary_keyword, dictionary_VR

from archive.part10.attributes import INSTANCE, PATIENT, SERIES, STUDY, Attribute, InstanceHeader, snake_case

LEVELS = {"PATIENT": PATIENT, "STUDY": STUDY, "SERIES": SERIES, "INSTANCE": INSTANCE}
EVERY = [attribute for level in LEVELS.values() for attribute in level]


@pytest.mark.parametrize("attribute", EVERY, ids=lambda attribute: attribute.keyword)
def test_attribute_is_the_dictionarys(attribute: Attribute) -> None:
    """Tag, keyword and VR of every indexed attribute are those of PS3.6."""
    assert dictionary_keyword(attribute.tag) == attribute.keyword
    assert dictionary_VR(attribute.tag) == attribute.vr


@pytest.mark.parametrize("level", LEVELS)
def test_tags_ascend(level: str) -> None:
    """Each level lists its attributes by ascending tag, none twice."""
    tags = [attribute.tag for attribute in LEVELS[level]]
    assert tags == sorted(set(tags))


def test_no_attribute_belongs_to_two_levels() -> None:
    """An attribute is indexed at one level only, so that a column has one home."""
    assert len({attribute.tag for attribute in EVERY}) == len(EVERY)


@pytest.mark.parametrize(
    ("level", "key"),
    [
        ("PATIENT", "PatientID"),
        ("STUDY", "StudyInstanceUID"),
        ("SERIES", "SeriesInstanceUID"),
        ("INSTANCE", "SOPInstanceUID"),
    ],
)
def test_level_holds_its_unique_key(level: str, key: str) -> None:
    """Each level has the unique key of PS3.4 section C.6, without which nothing of it could be found."""
    assert key in {attribute.keyword for attribute in LEVELS[level]}


@pytest.mark.parametrize(
    ("keyword", "column"),
    [
        ("PatientID", "patient_id"),
        ("SOPInstanceUID", "sop_instance_uid"),
        ("SOPClassUID", "sop_class_uid"),
        ("OtherPatientIDs", "other_patient_ids"),
        ("IssuerOfPatientID", "issuer_of_patient_id"),
        ("TimezoneOffsetFromUTC", "timezone_offset_from_utc"),
        ("Rows", "rows"),
        ("PerformedProcedureStepID", "performed_procedure_step_id"),
    ],
)
def test_snake_case_keeps_acronyms_whole(keyword: str, column: str) -> None:
    """A keyword becomes a column name one would write by hand."""
    assert snake_case(keyword) == column


def test_columns_are_distinct_identifiers() -> None:
    """The columns of a level are distinct and plain SQL names."""
    for attributes in LEVELS.values():
        columns = [attribute.column for attribute in attributes]
        assert len(set(columns)) == len(columns)
        assert all(re.fullmatch(r"[a-z][a-z_]*[a-z]", column) for column in columns)


def test_attribute_cannot_be_changed() -> None:
    """Attributes are shared by every part: nobody may change one."""
    with pytest.raises(AttributeError):
        PATIENT[0].keyword = "Other"  # type: ignore[misc]


def test_header_has_no_flags_unless_told() -> None:
    """A header without remark has an empty tuple of flags."""
    assert InstanceHeader({"PatientID": "1"}).flags == ()
