"""Other people's files: Part 10, nearly Part 10, raw data sets and no DICOM at all; must not import them."""

from __future__ import annotations

import io
import zlib
from pathlib import Path

import pydicom
import pytest
from hypothesis import given, settings, strategies as st

from archive.errors import UnreadableDataset
from archive.part10.meta import ForeignFile, parse_foreign
from tests.unit.part10.wire import (
    BIG_ENDIAN,
    CT_IMAGE,
    DEFLATED,
    EXPLICIT,
    HEAD,
    IMPLICIT,
    PIXELS,
    PYDICOM_DATA,
    TAIL,
    element,
    implicit,
)

DATASET = HEAD + TAIL + PIXELS
IMPLICIT_DATASET = (
    implicit(0x00080005, "ISO_IR 100")
    + implicit(0x00080016, CT_IMAGE + "\0")
    + implicit(0x00080018, "1.2.3.4\0")
    + implicit(0x0020000D, "1.2.3\0")
)
BIG_DATASET = element(0x00080005, "CS", "ISO_IR 100", order=">") + element(0x00080018, "UI", "1.2.3.4", order=">")
PREFIX = bytes(128) + b"DICM"


def meta(transfer_syntax_uid: str | None = EXPLICIT, *, group_length: int | None = None) -> bytes:
    """Return a file meta group; without transfer syntax or with a group length of one's choice when asked."""
    group = element(0x00020001, "OB", b"\x00\x01") + element(0x00020002, "UI", "1.2.840.10008.1.3.10")
    group += element(0x00020003, "UI", "9.9.9")
    if transfer_syntax_uid is not None:
        group += element(0x00020010, "UI", transfer_syntax_uid)
    length = len(group) if group_length is None else group_length
    return element(0x00020000, "UL", length.to_bytes(4, "little")) + group


def implicit_meta(transfer_syntax_uid: str) -> bytes:
    """Return a file meta group written without VRs, as some programs do."""
    return implicit(0x00020003, "9.9.9\0") + implicit(0x00020010, transfer_syntax_uid)


def parse(content: bytes) -> ForeignFile:
    """Return what is found in a file of these bytes."""
    return parse_foreign(io.BytesIO(content))


@pytest.mark.parametrize(
    ("before", "dataset", "transfer_syntax_uid"),
    [
        (PREFIX + meta(), DATASET, EXPLICIT),
        (b"II*\0".ljust(128, b"x") + b"DICM" + meta(), DATASET, EXPLICIT),
        (PREFIX + meta(group_length=0), DATASET, EXPLICIT),
        (PREFIX + meta(group_length=1 << 31), DATASET, EXPLICIT),
        (PREFIX + meta()[12:], DATASET, EXPLICIT),
        (PREFIX + meta(None), DATASET, EXPLICIT),
        (PREFIX + meta(None), IMPLICIT_DATASET, IMPLICIT),
        (PREFIX + meta(""), BIG_DATASET, BIG_ENDIAN),
        (PREFIX + implicit_meta(EXPLICIT), DATASET, EXPLICIT),
        (PREFIX, DATASET, EXPLICIT),
        (b"DICM" + meta(), DATASET, EXPLICIT),
        (meta(), DATASET, EXPLICIT),
        (bytes(128) + meta(), DATASET, EXPLICIT),
        (b"", DATASET, EXPLICIT),
        (b"", IMPLICIT_DATASET, IMPLICIT),
        (b"", BIG_DATASET, BIG_ENDIAN),
        (PREFIX + meta(BIG_ENDIAN), BIG_DATASET, BIG_ENDIAN),
        (PREFIX + meta("1.2.840.10008.1.2.4.90"), DATASET, "1.2.840.10008.1.2.4.90"),
        (PREFIX + meta("1.3.9999"), DATASET, "1.3.9999"),
        (PREFIX + meta(EXPLICIT), IMPLICIT_DATASET, IMPLICIT),
        (PREFIX + meta(IMPLICIT), DATASET, EXPLICIT),
        (PREFIX + meta(BIG_ENDIAN), DATASET, EXPLICIT),
    ],
    ids=range(22),
)
def test_data_set_is_found(before: bytes, dataset: bytes, transfer_syntax_uid: str) -> None:
    """Whatever stands before it, the data set's place, layout and identity are found."""
    found = parse(before + dataset)
    assert found.dataset_offset == len(before)
    assert found.transfer_syntax_uid == transfer_syntax_uid
    assert found.sop_instance_uid == "1.2.3.4"


def test_deflated_data_set() -> None:
    """In a deflated file the identity comes from what the data set inflates to."""
    compressor = zlib.compressobj(wbits=-15)
    before = PREFIX + meta(DEFLATED)
    found = parse(before + compressor.compress(DATASET) + compressor.flush())
    assert found == ForeignFile(DEFLATED, CT_IMAGE, "1.2.3.4", len(before))


def test_data_set_knows_better_than_the_meta_group() -> None:
    """When file meta group and data set disagree on who they are, the data set is believed."""
    found = parse(PREFIX + meta() + DATASET)
    assert (found.sop_class_uid, found.sop_instance_uid) == (CT_IMAGE, "1.2.3.4")


def test_meta_group_stands_in_for_a_silent_data_set() -> None:
    """A file whose data set says nothing of itself, like a DICOMDIR, is what its file meta group says."""
    found = parse(PREFIX + meta() + element(0x00041130, "CS", "FILESET"))
    assert (found.sop_class_uid, found.sop_instance_uid) == ("1.2.840.10008.1.3.10", "9.9.9")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x02\x00",
        bytes(200),
        PREFIX,
        PREFIX + meta(None),
        b"\xff\xd8\xff\xe0\x00\x10JFIF" + bytes(500),
        b"%PDF-1.7\n" + b"text " * 100,
        b"PK\x03\x04" + bytes(500),
        "# Notes\n\nSome text with accents: éèà.\n".encode() * 20,
        b"\x00\x00\x01\x00\x01\x00\x10\x10" + bytes(500),
        element(0x00080005, "CS", "ISO_IR 100") + element(0x00080060, "CS", "CT"),
    ],
    ids=range(11),
)
def test_what_is_not_dicom_is_refused(content: bytes) -> None:
    """Other files, empty files and data sets without identity are refused."""
    with pytest.raises(UnreadableDataset, match="not a DICOM file"):
        parse(content)


def test_path_and_open_file_give_the_same(tmp_path: Path) -> None:
    """A path, its text and an open file read half-way already are all the same file."""
    path = tmp_path / "object.dcm"
    path.write_bytes(PREFIX + meta() + DATASET)
    found = parse_foreign(path)
    assert parse_foreign(str(path)) == found
    with path.open("rb") as file:
        file.read(50)
        assert parse_foreign(file) == found
        assert not file.closed


def test_missing_file_is_an_os_error(tmp_path: Path) -> None:
    """A file that cannot be opened is the disk's or the operator's error, not the data set's."""
    with pytest.raises(FileNotFoundError):
        parse_foreign(tmp_path / "absent.dcm")


@pytest.mark.parametrize(
    ("name", "transfer_syntax_uid"),
    [("ExplVR_LitEndNoMeta.dcm", EXPLICIT), ("ExplVR_BigEndNoMeta.dcm", BIG_ENDIAN), ("rtstruct.dcm", IMPLICIT)],
)
def test_shipped_raw_data_sets(name: str, transfer_syntax_uid: str) -> None:
    """Raw data sets among the files pydicom ships are found at their first byte, in their true layout."""
    path = PYDICOM_DATA / "test_files" / name
    found = parse_foreign(path)
    ds = pydicom.dcmread(path, force=True, stop_before_pixels=True)
    assert found == ForeignFile(transfer_syntax_uid, ds.SOPClassUID, ds.SOPInstanceUID, 0)


@given(st.binary(max_size=300), st.sampled_from([b"", PREFIX, PREFIX + meta(), meta(None), PREFIX + meta(DEFLATED)]))
@settings(max_examples=300, deadline=None)
def test_any_file_is_parsed_or_refused(content: bytes, before: bytes) -> None:
    """Any bytes are a file with an identity, or refused, never another exception."""
    try:
        found = parse(before + content)
    except UnreadableDataset:
        return
    assert found.sop_instance_uid
    assert found.dataset_offset >= 0
