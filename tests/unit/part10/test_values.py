"""Normalised values of indexed attributes; must not look for elements in bytes."""

from __future__ import annotations

import struct

import pytest

from archive.part10.attributes import INSTANCE, PATIENT, SERIES, STUDY
from archive.part10.values import LONGEST_TEXT, Element, prepare, read_values

ATTRIBUTES = {attribute.keyword: attribute for attribute in (*PATIENT, *STUDY, *SERIES, *INSTANCE)}


def found(keyword: str, raw: bytes, vr: str = "") -> Element:
    """Return an element as the loops find it, by default with the VR it should have."""
    attribute = ATTRIBUTES[keyword]
    return prepare(attribute), (vr or attribute.vr).encode(), raw


def read(*elements: Element, little_endian: bool = True) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return values and flags of ``elements``."""
    header = read_values(elements, little_endian=little_endian, flags=set())
    return dict(header.values), header.flags


@pytest.mark.parametrize(
    ("keyword", "raw", "text"),
    [
        ("PatientID", b"AB12  ", "AB12"),
        ("PatientID", b"  AB12", "AB12"),
        ("PatientID", b"AB  12", "AB  12"),
        ("PatientID", b"AB\0 12\0", "AB  12"),
        ("SOPInstanceUID", b"1.2.3\0", "1.2.3"),
        ("SOPInstanceUID", b"1.2.3 ", "1.2.3"),
        ("ImageType", b"ORIGINAL\\PRIMARY\\AXIAL ", "ORIGINAL\\PRIMARY\\AXIAL"),
        ("ImageType", b"ORIGINAL \\ PRIMARY", "ORIGINAL\\PRIMARY"),
        ("ImageType", b"A\\\\B ", "A\\\\B"),
        ("OtherPatientIDs", b"1\0\\2\0", "1\\2"),
        ("InstanceNumber", b" 7", "7"),
        ("PatientWeight", b"70.50 ", "70.50"),
        ("PatientAge", b"041Y", "041Y"),
        ("StudyDate", b"20260331", "20260331"),
        ("StudyDate", b"1990.02.14", "19900214"),
        ("StudyDate", b"1990-02-14", "19900214"),
        ("StudyDate", b"199002", "199002"),
        ("StudyDate", b"19900214 ", "19900214"),
        ("StudyTime", b"101500", "101500"),
        ("StudyTime", b"10:15:00", "101500"),
        ("StudyTime", b"10:15:00.25 ", "101500.25"),
        ("StudyTime", b"101500.123456 ", "101500.123456"),
        ("PatientName", b"MOREAU^JEAN^^^", "MOREAU^JEAN^^^"),
        ("PatientName", b"MOREAU^JEAN==", "MOREAU^JEAN"),
        ("PatientName", b"A^B=\\C^D", "A^B=\\C^D"),
    ],
)
def test_texts_are_normalised(keyword: str, raw: bytes, text: str) -> None:
    """Padding goes, legacy dates and times take today's form, the rest stays as sent."""
    assert read(found(keyword, raw + b" " * (len(raw) % 2))) == ({keyword: text}, ())


@pytest.mark.parametrize(
    ("keyword", "raw"),
    [
        ("PatientID", b""),
        ("PatientID", b"    "),
        ("PatientID", b"\0\0"),
        ("PatientID", b"\\\\"),
        ("PatientName", b"^^^^"),
        ("PatientName", b"^=^ "),
        ("Rows", b""),
        ("StudyDate", b"        "),
    ],
)
def test_empty_is_absent(keyword: str, raw: bytes) -> None:
    """An element with nothing in it is as good as none."""
    assert read(found(keyword, raw))[0] == {}


@pytest.mark.parametrize(
    ("vr", "code", "number", "text"),
    [
        ("SS", "h", -5, "-5"),
        ("UL", "I", 70000, "70000"),
        ("SL", "i", -70000, "-70000"),
        ("UV", "Q", 2**40, "1099511627776"),
        ("SV", "q", -(2**40), "-1099511627776"),
        ("FL", "f", 0.5, "0.5"),
        ("FD", "d", 1.25, "1.25"),
        ("IS", "", 512, "512"),
        ("UN", "H", 512, "512"),
    ],
)
@pytest.mark.parametrize("little_endian", [True, False])
def test_number_in_another_vr(vr: str, code: str, number: float, text: str, little_endian: bool) -> None:
    """A number sent in another numeric VR than the dictionary's is read as that VR says, and flagged."""
    mark = "<" if little_endian else ">"
    raw = struct.pack(mark + code, number) if code else f"{number} ".encode()
    values, flags = read(found("Columns", raw, vr), little_endian=little_endian)
    assert values == {"Columns": text}
    assert flags == ("vr",)


@pytest.mark.parametrize(("little_endian", "text"), [(True, "512"), (False, "2")])
def test_unsigned_short_follows_the_byte_order(little_endian: bool, text: str) -> None:
    """US is read in the byte order of the data set."""
    assert read(found("Rows", b"\x00\x02"), little_endian=little_endian) == ({"Rows": text}, ())


def test_several_numbers_are_joined() -> None:
    """Several binary numbers are joined by a backslash like several texts."""
    assert read(found("Rows", struct.pack("<3H", 1, 2, 3))) == ({"Rows": "1\\2\\3"}, ())


def test_half_a_number_is_no_number() -> None:
    """A US of one byte says nothing, and is flagged."""
    assert read(found("Rows", b"\x01")) == ({}, ("vr",))


@pytest.mark.parametrize("vr", ["UN", "OB"])
def test_untyped_text_is_read_as_the_dictionary_says(vr: str) -> None:
    """A text that lost its VR on the way is read with the VR of the dictionary, and flagged."""
    elements = found("SpecificCharacterSet", b"ISO_IR 100"), found("PatientName", b"H\xe9l\xe8ne", vr)
    values, flags = read(*elements)
    assert values["PatientName"] == "Hélène"
    assert flags == ("vr",)


def test_binary_in_the_place_of_text_is_left_out() -> None:
    """A text attribute sent as a sequence or words is not shown as text."""
    assert read(found("PatientID", b"\x01\x02", "OW"), found("StudyID", b"", "SQ")) == ({}, ("vr",))


def test_odd_length_is_read_and_flagged() -> None:
    """A value of odd length breaks PS3.5 section 7.1.1 but is read."""
    assert read(found("PatientID", b"ABC")) == ({"PatientID": "ABC"}, ("vr",))


@pytest.mark.parametrize("letter", ["A", "é", "山"])
def test_monstrous_text_is_cut(letter: str) -> None:
    """A value far longer than its VR allows is cut so that a database index can hold it, and flagged."""
    values, flags = read(
        found("SpecificCharacterSet", b"ISO_IR 192"), found("StudyDescription", (letter * 40_000).encode())
    )
    assert values["StudyDescription"] == letter * LONGEST_TEXT
    assert "vr" in flags


def test_character_set_is_found_wherever_it_is() -> None:
    """Specific Character Set counts for all texts, also when it comes late or the name is the first of all."""
    name, charset = found("PatientName", b"H\xe9l\xe8ne"), found("SpecificCharacterSet", b"ISO_IR 100")
    assert read(name, charset) == ({"PatientName": "Hélène", "SpecificCharacterSet": "ISO_IR 100"}, ("tags",))


def test_guessed_text_is_flagged() -> None:
    """A text that is not in the declared set is kept and flagged."""
    assert read(found("PatientName", b"H\xe9l\xe8ne")) == ({"PatientName": "Hélène"}, ("charset",))


def test_escape_in_ascii_is_decoded() -> None:
    """A value all in ASCII codes is still decoded when it has an escape sequence."""
    elements = found("SpecificCharacterSet", b"\\ISO 2022 IR 87 "), found("PatientName", b"\x1b$B;3ED\x1b(B")
    assert read(*elements) == ({"SpecificCharacterSet": "\\ISO 2022 IR 87", "PatientName": "山田"}, ())


def test_last_of_repeated_elements_wins() -> None:
    """Of an element that is there twice the last value counts, and the repetition is flagged."""
    values, flags = read(found("PatientID", b"A "), found("PatientID", b"B "))
    assert values == {"PatientID": "B"}
    assert flags == ("tags",)


def test_empty_repetition_takes_nothing_away() -> None:
    """A second, empty element does not remove the first one's value."""
    assert read(found("PatientID", b"A "), found("PatientID", b""))[0] == {"PatientID": "A"}


def test_flags_of_the_caller_stay() -> None:
    """What the scan already noticed stays in the header, sorted with the rest."""
    header = read_values([found("PatientID", b"ABC")], little_endian=True, flags={"truncated", "fallback"})
    assert header.flags == ("fallback", "truncated", "vr")
