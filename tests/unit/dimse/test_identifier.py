"""Identifiers to text and back, against pydicom as the independent writer and reader, and against garbage."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO

import pytest
from hypothesis import given, settings, strategies as st
from pydicom import Dataset, dcmread
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.sequence import Sequence
from pydicom.uid import UID

from archive.dimse.identifier import decode_identifier, encode_identifier
from archive.errors import InvalidIdentifier

IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
DEFLATED = "1.2.840.10008.1.2.1.99"
BIG = "1.2.840.10008.1.2.2"
SYNTAXES = (IMPLICIT, EXPLICIT, DEFLATED, BIG)

VALUES = {
    "QueryRetrieveLevel": "STUDY",
    "PatientName": "MOREAU^Hélène",
    "PatientID": "PID1",
    "StudyInstanceUID": "1.2.3\\4.5.67",
    "StudyDate": "20240101-20240131",
    "Rows": "512\\256",
    "PatientSize": "1.75",
    "NumberOfStudyRelatedInstances": "600",
    "AccessionNumber": "",
    "RequestAttributesSequence": "",
}


def written_by_pydicom(ds: Dataset, syntax: str) -> bytes:
    """Return a data set as pydicom writes it."""
    uid = UID(syntax)
    buffer = DicomBytesIO()
    buffer.is_implicit_VR, buffer.is_little_endian = uid.is_implicit_VR, uid.is_little_endian
    write_dataset(buffer, ds)
    raw = bytes(buffer.getvalue())
    if syntax == DEFLATED:
        packer = zlib.compressobj(wbits=-15)
        raw = packer.compress(raw) + packer.flush()
    return raw


def read_by_pydicom(raw: bytes, syntax: str) -> Dataset:
    """Return what pydicom reads in a data set."""
    group = (
        struct.pack("<HH2sH", 2, 0x10, b"UI", len(syntax) + len(syntax) % 2)
        + syntax.encode()
        + b"\0" * (len(syntax) % 2)
    )
    head = bytes(128) + b"DICM" + struct.pack("<HH2sHI", 2, 0, b"UL", 4, len(group)) + group
    return dcmread(BytesIO(head + raw))


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_what_is_written_is_read_back(syntax: str) -> None:
    """Text, numbers, lists, empty keys and sequences survive the way out and in, in every transfer syntax."""
    assert decode_identifier(encode_identifier(VALUES, syntax), syntax) == VALUES


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_pydicom_reads_what_is_written(syntax: str) -> None:
    """An independent reader sees the same values, in ascending order, and the character set they are in."""
    ds = read_by_pydicom(encode_identifier(VALUES, syntax), syntax)
    assert ds.SpecificCharacterSet == "ISO_IR 100"
    assert ds.PatientName == "MOREAU^Hélène"
    assert ds.StudyInstanceUID == ["1.2.3", "4.5.67"]
    assert ds.Rows == [512, 256]
    assert ds.PatientSize == 1.75
    assert ds.NumberOfStudyRelatedInstances == 600
    assert ds.AccessionNumber == ""
    assert list(ds.RequestAttributesSequence) == []
    assert len(ds) == len(VALUES) + 1


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_elements_are_written_in_ascending_order(syntax: str) -> None:
    """However the values are given, elements follow their tags, the character set first."""
    raw = encode_identifier(VALUES, syntax)
    assert encode_identifier(dict(reversed(VALUES.items())), syntax) == raw
    plain = zlib.decompress(raw, -15) if syntax == DEFLATED else raw
    assert plain[:4] == (b"\x00\x08\x00\x05" if syntax == BIG else b"\x08\x00\x05\x00")


def test_elements_below_the_data_set_are_left_out() -> None:
    """Command and file meta elements have no place in an identifier and are no keys."""
    stray = _element(0x0000, 0x0002, b"UI", b"1.2.") + _element(0x0002, 0x0010, b"UI", b"1.2.")
    assert decode_identifier(stray + _element(0x0020, 0x0010, b"SH", b"7 "), EXPLICIT) == {"StudyID": "7"}


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_what_pydicom_writes_is_read(syntax: str) -> None:
    """An independent writer's identifier gives its keys; group lengths, private and unknown elements are left out."""
    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.QueryRetrieveLevel = "SERIES"
    ds.PatientName = "MÜLLER^Zoé"
    ds.StudyInstanceUID = ["1.2.3", "1.2.4"]
    ds.ModalitiesInStudy = ""
    ds.NumberOfSeriesRelatedInstances = None
    ds.SeriesNumber = 7
    ds.add_new(0x00080000, "UL", 10)
    ds.add_new(0x00090010, "LO", "ACME")
    ds.add_new(0x00091001, "LO", "secret")
    ds.add_new(0x00081195, "UI", "1.2.9")
    ds.add_new(0x0008FFF0, "LO", "not in the dictionary")
    assert decode_identifier(written_by_pydicom(ds, syntax), syntax) == {
        "QueryRetrieveLevel": "SERIES",
        "ModalitiesInStudy": "",
        "TransactionUID": "1.2.9",
        "PatientName": "MÜLLER^Zoé",
        "StudyInstanceUID": "1.2.3\\1.2.4",
        "SeriesNumber": "7",
        "NumberOfSeriesRelatedInstances": "",
    }


@pytest.mark.parametrize(
    ("charset", "raw", "text"),
    [
        ("ISO_IR 100", b"H\xc9L\xc8NE", "HÉLÈNE"),
        ("ISO_IR 192", "Ωmega".encode(), "Ωmega"),
        ("ISO_IR 144", "Иванов".encode("iso8859_5"), "Иванов"),
        ("\\ISO 2022 IR 87", b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B", "Yamada^Tarou=山田^太郎"),
        ("GB18030", "王^小东".encode("gb18030"), "王^小东"),
        ("", b"H\xc3\xa9l\xc3\xa8ne", "Hélène"),
    ],
)
def test_names_are_read_in_the_querys_character_set(charset: str, raw: bytes, text: str) -> None:
    """A name key is decoded as Specific Character Set says, and guessed well when it says nothing."""
    data = _element(0x0008, 0x0005, b"CS", charset.encode()) + _element(0x0010, 0x0010, b"PN", raw)
    assert decode_identifier(data, EXPLICIT) == {"PatientName": text}


@pytest.mark.parametrize(
    ("name", "charset"),
    [("DUPONT^JEAN", None), ("Dupré", "ISO_IR 100"), ("Dvořák", "ISO_IR 101"), ("Ωmega^Ж", "ISO_IR 192")],
)
def test_an_answer_is_in_the_narrowest_character_set(name: str, charset: str | None) -> None:
    """Plain text says nothing of its character set; other text is in the smallest one that holds it."""
    ds = read_by_pydicom(encode_identifier({"PatientName": name}, EXPLICIT), EXPLICIT)
    assert ds.get("SpecificCharacterSet") == charset
    assert ds.PatientName == name


def test_a_character_set_among_the_values_does_not_count() -> None:
    """The character set of an answer follows from its text, whatever the values say."""
    raw = encode_identifier({"SpecificCharacterSet": "ISO_IR 192", "PatientName": "Zoé"}, EXPLICIT)
    assert read_by_pydicom(raw, EXPLICIT).SpecificCharacterSet == "ISO_IR 100"


def test_padding_does_not_count() -> None:
    """Spaces and NULs around each value go; those inside stay."""
    data = _element(0x0008, 0x0060, b"CS", b" CT \\MR\0 ") + _element(0x0008, 0x1030, b"LO", b" a  b ")
    assert decode_identifier(data, EXPLICIT) == {"Modality": "CT\\MR", "StudyDescription": "a  b"}


def test_a_list_of_nothing_is_universal() -> None:
    """A value of separators and blanks alone matches everything, as an empty one does."""
    assert decode_identifier(_element(0x0008, 0x0060, b"CS", b" \\ "), EXPLICIT) == {"Modality": ""}


@pytest.mark.parametrize("defined", [True, False])
@pytest.mark.parametrize("syntax", SYNTAXES)
def test_a_sequence_is_a_universal_key(syntax: str, defined: bool) -> None:
    """A sequence asks for itself, whatever its items say and however its length is written."""
    item = Dataset()
    item.ScheduledProcedureStepID = "SPS1"
    ds = Dataset()
    ds.RequestAttributesSequence = Sequence([item])
    ds["RequestAttributesSequence"].is_undefined_length = not defined
    item.is_undefined_length_sequence_item = not defined
    ds.StudyID = "7"
    assert decode_identifier(written_by_pydicom(ds, syntax), syntax) == {
        "RequestAttributesSequence": "",
        "StudyID": "7",
    }


def test_unknown_and_repeating_keywords_are_not_written() -> None:
    """What the dictionary has no single tag for is left out of an answer."""
    assert encode_identifier({"NoSuchKeyword": "1", "OverlayRows": "2", "": "3"}, EXPLICIT) == b""


def test_vr_of_the_dictionary_stands_in_for_unknown() -> None:
    """A key that comes as UN is read as what the dictionary says it is."""
    data = struct.pack("<HH2sHI", 0x0020, 0x000D, b"UN", 0, 6) + b"1.2.3\0"
    assert decode_identifier(data, EXPLICIT) == {"StudyInstanceUID": "1.2.3"}


def test_binary_numbers_are_read_in_their_byte_order() -> None:
    """US and FL values become decimal text from either byte order."""
    little = struct.pack("<HH2sHH", 0x0028, 0x0010, b"US", 2, 512)
    big = struct.pack(">HH2sHH", 0x0028, 0x0010, b"US", 2, 512)
    assert decode_identifier(little, EXPLICIT) == decode_identifier(big, BIG) == {"Rows": "512"}
    floats = struct.pack("<HH2sHff", 0x0018, 0x9073, b"FD", 8, 0, 0)
    assert decode_identifier(floats, EXPLICIT) == {"AcquisitionDuration": "0"}


@pytest.mark.parametrize("text", ["abc", "70000", "-1", "1\\x"])
def test_a_number_that_is_none_is_written_empty(text: str) -> None:
    """The index holds what odd objects said; an answer in which it cannot be said has an empty element."""
    assert encode_identifier({"Rows": text}, EXPLICIT) == struct.pack("<HH2sH", 0x0028, 0x0010, b"US", 0)


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_a_list_too_long_for_its_vr_is_still_written(syntax: str) -> None:
    """Two thousand failed UIDs exceed a 16-bit length: they go out as UN in explicit syntaxes (PS3.5 6.2.2)."""
    uids = "\\".join(f"2.25.329800735698586629295641978511506172918.{number}" for number in range(2000))
    raw = encode_identifier({"FailedSOPInstanceUIDList": uids}, syntax)
    assert decode_identifier(raw, syntax) == {"FailedSOPInstanceUIDList": uids}
    plain = zlib.decompress(raw, -15) if syntax == DEFLATED else raw
    assert (plain[4:6] == b"UN") == (syntax != IMPLICIT)


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("text", ["A", "AB"])
def test_everything_written_has_even_length(text: str, syntax: str) -> None:
    """Values and deflated streams are padded to even length."""
    assert len(encode_identifier({"StudyID": text, "StudyInstanceUID": "1.2"}, syntax)) % 2 == 0


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, BIG])
def test_an_identifier_cut_short_is_invalid(syntax: str) -> None:
    """An element that ends before its length says so raises, rather than half a key."""
    raw = encode_identifier({"StudyInstanceUID": "1.2.3.4.5.6"}, syntax)
    with pytest.raises(InvalidIdentifier, match="cut short"):
        decode_identifier(raw[:-4], syntax)


def test_an_unending_sequence_is_invalid() -> None:
    """A sequence without its end raises InvalidIdentifier."""
    raw = struct.pack("<HH2sHI", 0x0040, 0x0275, b"SQ", 0, 0xFFFFFFFF) + struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFF0)
    with pytest.raises(InvalidIdentifier):
        decode_identifier(raw + b"\x08\x00\x05\x00XX", EXPLICIT)


def test_a_stream_that_does_not_inflate_is_invalid() -> None:
    """Bytes that are no deflate stream raise InvalidIdentifier."""
    with pytest.raises(InvalidIdentifier, match="inflated"):
        decode_identifier(b"\xff\xff\xff\xff", DEFLATED)


def test_a_deflate_bomb_is_refused() -> None:
    """A small stream that inflates to tens of megabytes is refused before it fills the memory."""
    packer = zlib.compressobj(9, wbits=-15)
    bomb = packer.compress(bytes(64 * 1024 * 1024)) + packer.flush()
    assert len(bomb) < 100_000
    with pytest.raises(InvalidIdentifier, match="more than"):
        decode_identifier(bomb, DEFLATED)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200), st.sampled_from(SYNTAXES))
def test_any_bytes_give_keys_or_invalid_identifier(raw: bytes, syntax: str) -> None:
    """Whatever a peer sends, nothing but InvalidIdentifier is raised."""
    try:
        values = decode_identifier(raw, syntax)
    except InvalidIdentifier:
        return
    assert all(keyword and not text.startswith(" ") for keyword, text in values.items())


@pytest.mark.filterwarnings("ignore:.*(encoding|Character Set)")  # pydicom minds what we decode by ourselves
@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_damaged_identifier_gives_keys_or_invalid_identifier(data: st.DataObject) -> None:
    """A real identifier with any few bytes changed raises nothing but InvalidIdentifier."""
    syntax = data.draw(st.sampled_from(SYNTAXES))
    raw = bytearray(encode_identifier(VALUES, syntax))
    for position in data.draw(st.lists(st.integers(0, len(raw) - 1), max_size=4)):
        raw[position] = data.draw(st.integers(0, 255))
    try:
        decode_identifier(bytes(raw), syntax)
    except InvalidIdentifier as exc:
        assert exc.fields["reason"] in ("it is cut short", "it cannot be parsed", "it cannot be inflated")


@settings(max_examples=100, deadline=None)
@given(st.text(st.characters(blacklist_categories=("Cc", "Cs"), blacklist_characters="\\\x1b"), max_size=60))
def test_any_name_survives(name: str) -> None:
    """Text of any script goes out and comes back in, but for blanks around it."""
    raw = encode_identifier({"PatientName": name}, EXPLICIT)
    assert decode_identifier(raw, EXPLICIT) == {"PatientName": name.strip(" ")}


def _element(group: int, element: int, vr: bytes, value: bytes) -> bytes:
    return struct.pack("<HH2sH", group, element, vr, len(value)) + value
