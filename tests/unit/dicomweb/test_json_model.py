"""Rows of the index in the DICOM JSON Model."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydicom.dataset import Dataset

from archive.dicomweb.json_model import array, row_json


def told(**row: str) -> dict[str, Any]:
    """Return a row as JSON values."""
    values: dict[str, Any] = json.loads(row_json(row))
    return values


def test_values_by_vr() -> None:
    """Numbers are numbers, names are groups, several values are several (table F.2.3-1), in the order of the tags."""
    model = told(
        PatientName="MOREAU^Hélène=モロー^エレーヌ",
        StudyDate="20240115",
        NumberOfStudyRelatedInstances="12",
        PatientSize="1.75",
        ModalitiesInStudy="CT\\SR",
    )
    assert list(model) == sorted(model)
    assert model["00100010"] == {
        "vr": "PN",
        "Value": [{"Alphabetic": "MOREAU^Hélène", "Ideographic": "モロー^エレーヌ"}],
    }
    assert model["00080020"] == {"vr": "DA", "Value": ["20240115"]}
    assert model["00201208"] == {"vr": "IS", "Value": [12]}
    assert model["00101020"] == {"vr": "DS", "Value": [1.75]}
    assert model["00080061"] == {"vr": "CS", "Value": ["CT", "SR"]}


def test_what_is_empty_is_there_without_value() -> None:
    """An attribute without value keeps its VR; an empty value among others is null (annex F.2.5)."""
    model = told(AccessionNumber="", ImageType="ORIGINAL\\\\AXIAL")
    assert model["00080050"] == {"vr": "SH"}
    assert model["00080008"]["Value"] == ["ORIGINAL", None, "AXIAL"]


@pytest.mark.parametrize(("text", "value"), [("1.5", "1.5"), ("x", "x"), ("+3 ", 3), ("inf", "inf"), ("1_0", "1_0")])
def test_a_number_that_is_none_stays_text(text: str, value: object) -> None:
    """Odd devices write odd numbers: they are told as they are, and the JSON stays JSON."""
    assert told(SeriesNumber=text)["00200011"]["Value"] == [value]


def test_infinity_is_no_number_in_json() -> None:
    """JSON has neither infinity nor NaN: such decimals are told as text."""
    assert told(PatientWeight="nan\\inf\\70")["00101030"]["Value"] == ["nan", "inf", 70.0]


def test_unknown_keywords_are_left_out() -> None:
    """What is no attribute of the standard's dictionary is no element."""
    assert told(QueryRetrieveLevelX="STUDY", PatientID="1") == {"00100020": {"vr": "LO", "Value": ["1"]}}


def test_pydicom_reads_it() -> None:
    """Another reader of the JSON model finds the same values."""
    row = {"PatientName": "A^B=C", "SeriesNumber": "3", "PatientSize": "1.5", "StudyInstanceUID": "1.2"}
    ds = Dataset.from_json(row_json(row).decode())
    assert (str(ds.PatientName), ds.SeriesNumber, float(ds.PatientSize), ds.StudyInstanceUID) == (
        "A^B=C",
        3,
        1.5,
        "1.2",
    )


def test_an_array_of_answers() -> None:
    """Answers that are written already are joined, not parsed again."""
    assert array([b'{"a":1}', b"{}"]) == b'[{"a":1},{}]'
    assert array([]) == b"[]"
