"""The fast encoder of answers against pydicom, a reader that shares no line with it."""

from __future__ import annotations

import zlib
from io import BytesIO

import pytest
from hypothesis import given, strategies as st
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset

from archive.dimse.answers import AnswerEncoder, query_charset
from archive.dimse.contexts import DEFLATED, EXPLICIT_BIG, EXPLICIT_LITTLE, IMPLICIT_LITTLE
from archive.dimse.identifier import decode_identifier

SYNTAXES = (EXPLICIT_LITTLE, IMPLICIT_LITTLE, EXPLICIT_BIG, DEFLATED)
VALUES = {
    "QueryRetrieveLevel": "STUDY",
    "PatientName": "MOREAU^Hélène",
    "StudyInstanceUID": "1.2.3",
    "ModalitiesInStudy": "CT\\SR",
    "NumberOfStudyRelatedInstances": "300",
    "Rows": "512",
}


def read(raw: bytes, syntax: str) -> Dataset:
    """Return the data set as pydicom reads it."""
    if syntax == DEFLATED:
        raw = zlib.decompress(raw, -zlib.MAX_WBITS)
    ds = read_dataset(BytesIO(raw), syntax == IMPLICIT_LITTLE, syntax != EXPLICIT_BIG)
    ds.decode()
    return ds


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_an_answer_reads_back_in_every_transfer_syntax(syntax: str) -> None:
    """Texts, several values, numbers and UIDs are what pydicom reads, elements ascend, lengths are even."""
    raw = AnswerEncoder(VALUES, syntax).encode(VALUES)
    ds = read(raw, syntax)
    assert len(raw) % 2 == 0
    assert [element.tag for element in ds] == sorted(element.tag for element in ds)
    assert (ds.PatientName, ds.StudyInstanceUID, ds.Rows) == ("MOREAU^Hélène", "1.2.3", 512)
    assert list(ds.ModalitiesInStudy) == ["CT", "SR"]
    assert ds.NumberOfStudyRelatedInstances == 300


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_what_has_no_value_is_there_and_empty(syntax: str) -> None:
    """Unsupported keys and sequences come back empty, whatever value is given for a sequence."""
    encoder = AnswerEncoder(["PatientName", "ProcedureCodeSequence", "Rows", "StudyInstanceUID"], syntax)
    ds = read(encoder.encode({"ProcedureCodeSequence": "x", "StudyInstanceUID": "1.2"}), syntax)
    assert list(ds.ProcedureCodeSequence) == []
    assert ds["PatientName"].is_empty and ds["Rows"].is_empty
    assert len(ds) == 4


def test_values_of_odd_length_are_padded_as_their_vr_asks() -> None:
    """UIDs with NUL, texts with a space (PS3.5 section 6.2)."""
    values = {"StudyInstanceUID": "1.2.3", "PatientID": "PID", "Modality": "MR"}
    raw = AnswerEncoder(values, IMPLICIT_LITTLE).encode(values)
    assert b"\x06\0\0\x001.2.3\0" in raw
    assert b"\x04\0\0\0PID " in raw
    assert b"\x02\0\0\0MR" in raw


def test_unknown_keywords_are_left_out() -> None:
    """What the dictionary does not have has no tag to be written under."""
    ds = read(
        AnswerEncoder(["PatientID", "NoSuchKeyword"], EXPLICIT_LITTLE).encode({"NoSuchKeyword": "x"}), EXPLICIT_LITTLE
    )
    assert [element.keyword for element in ds] == ["PatientID"]


def test_plain_ascii_states_no_character_set() -> None:
    """Specific Character Set is not to be sent when it is not needed (PS3.4 C.4.1.1.3)."""
    encoder = AnswerEncoder(["PatientName", "SpecificCharacterSet"], EXPLICIT_LITTLE, charset="ISO_IR 192")
    raw = encoder.encode({"PatientName": "MOREAU^HELENE", "SpecificCharacterSet": "ISO_IR 100"})
    assert "SpecificCharacterSet" not in read(raw, EXPLICIT_LITTLE)


@pytest.mark.parametrize(
    ("asked", "name", "answered"),
    [
        ("", "MOREAU^Hélène", "ISO_IR 100"),
        ("ISO_IR 192", "MOREAU^Hélène", "ISO_IR 192"),
        ("ISO_IR 100", "MOREAU^Hélène", "ISO_IR 100"),
        ("ISO 2022 IR 6\\ISO 2022 IR 100", "MOREAU^Hélène", "ISO_IR 100"),
        ("\\ISO 2022 IR 101", "Dvořák^Antonín", "ISO_IR 101"),
        ("ISO_IR 100", "Dvořák^Antonín", "ISO_IR 101"),
        ("ISO_IR 100", "山田^太郎", "ISO_IR 192"),
        ("ISO 2022 IR 6\\ISO 2022 IR 87", "山田^太郎", "ISO_IR 192"),
        ("ISO_IR 13", "山田^太郎", "ISO_IR 192"),
        ("GB18030", "王^小东", "GB18030"),
        ("ISO_IR 6", "MOREAU^Hélène", "ISO_IR 100"),
        ("NONSENSE", "MOREAU^Hélène", "ISO_IR 100"),
    ],
)
def test_an_answer_is_in_the_query_s_character_set_when_that_holds_it(asked: str, name: str, answered: str) -> None:
    """The query's own set first, without code extensions; else the narrowest that holds the answer."""
    raw = AnswerEncoder(["PatientName"], EXPLICIT_LITTLE, charset=asked).encode({"PatientName": name})
    ds = read(raw, EXPLICIT_LITTLE)
    assert ds.SpecificCharacterSet == answered
    assert ds.PatientName == name


def test_each_answer_has_a_character_set_of_its_own() -> None:
    """One odd name among many does not change how the others are written."""
    encoder = AnswerEncoder(["PatientName"], EXPLICIT_LITTLE)
    answers = [encoder.encode({"PatientName": name}) for name in ("MOREAU", "Hélène", "山田")]
    sets = [read(raw, EXPLICIT_LITTLE).get("SpecificCharacterSet", "") for raw in answers]
    assert sets == ["", "ISO_IR 100", "ISO_IR 192"]


@pytest.mark.filterwarnings("ignore:The value length")
def test_odd_values_never_break_an_answer() -> None:
    """Numbers that are none, letters where none belong and endless texts still give a data set that reads."""
    values = {"Rows": "many", "Columns": "70000", "StudyDate": "2024é", "StudyDescription": "é" * 70000}
    ds = read(AnswerEncoder(values, EXPLICIT_LITTLE).encode(values), EXPLICIT_LITTLE)
    assert ds["Rows"].is_empty and ds["Columns"].is_empty
    assert ds["StudyDate"].value == "2024?"
    assert len(ds.StudyDescription) == 65534


@given(st.dictionaries(st.sampled_from(sorted(VALUES)), st.text(max_size=20)), st.sampled_from(SYNTAXES))
def test_any_texts_give_a_data_set_of_all_its_elements(values: dict[str, str], syntax: str) -> None:
    """Whatever the index holds, each keyword is there once and the bytes parse to their end."""
    raw = AnswerEncoder(VALUES, syntax).encode(values)
    decoded = decode_identifier(raw, syntax)
    assert set(decoded) == set(VALUES)


@pytest.mark.parametrize("syntax", [EXPLICIT_LITTLE, IMPLICIT_LITTLE, EXPLICIT_BIG])
@pytest.mark.parametrize("has_group_length", [False, True])
def test_the_character_set_of_a_query_is_read(syntax: str, has_group_length: bool) -> None:
    """It stands first, or after a group length as old toolkits write it."""
    encoder = AnswerEncoder(["PatientName"], syntax, charset="ISO_IR 192")
    raw = encoder.encode({"PatientName": "Hélène"})
    lengths = {EXPLICIT_LITTLE: "08000000554c040010000000", IMPLICIT_LITTLE: "080000000400000010000000"}
    head = bytes.fromhex(lengths.get(syntax, "00080000554c000400000010")) if has_group_length else b""
    assert query_charset(head + raw, syntax) == "ISO_IR 192"


@given(st.binary(max_size=40), st.sampled_from(SYNTAXES))
def test_any_bytes_have_some_character_set_or_none(raw: bytes, syntax: str) -> None:
    """Reading the character set of garbage never raises."""
    assert isinstance(query_charset(raw, syntax), str)
    assert isinstance(query_charset(b"\x08\x00\x05\x00" + raw, syntax), str)
