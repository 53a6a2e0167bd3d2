"""The Part 10 header, written, patched and read back by us, pydicom and DCMTK; must not read data sets."""

from __future__ import annotations

import hashlib
import io
import shutil
import subprocess
import warnings
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pydicom
import pytest
from hypothesis import given, settings, strategies as st

from archive.errors import UnreadableDataset
from archive.part10.meta import (
    IMPLEMENTATION_CLASS_UID,
    IMPLEMENTATION_VERSION,
    Provenance,
    build_header,
    outgoing_header,
    parse_header,
)
from archive.uids import parse_uid
from tests.unit.part10.wire import CT_IMAGE, EXPLICIT, HEAD, TAIL

RECEIVED_AT = datetime(2026, 11, 23, 6, 35, 29, 123456, tzinfo=UTC)
PROVENANCE = Provenance(
    sop_class_uid=CT_IMAGE,
    sop_instance_uid="1.2.3.4",
    transfer_syntax_uid=EXPLICIT,
    calling_ae_title="SCANNER_1",
    called_ae_title="DRIMBOX",
    peer_address="192.0.2.17",
    site="hôpital nord",
    received_at=RECEIVED_AT,
)
DATASET = HEAD + TAIL
DIGEST = hashlib.sha256(DATASET).digest()
HEADER = build_header(PROVENANCE, dataset_sha256=DIGEST, dataset_size=len(DATASET))

AE_TITLES = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E, exclude_characters="\\"), max_size=16)
UIDS = st.lists(st.integers(0, 10**9).map(str), min_size=2, max_size=6).map(".".join)
PROVENANCES = st.builds(
    Provenance,
    sop_class_uid=UIDS,
    sop_instance_uid=UIDS,
    transfer_syntax_uid=UIDS,
    calling_ae_title=AE_TITLES.map(str.strip),
    called_ae_title=AE_TITLES.map(str.strip),
    peer_address=st.sampled_from(["192.0.2.1", "2001:db8::1", ""]),
    site=st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    received_at=st.datetimes(
        min_value=datetime(1000, 1, 2),
        max_value=datetime(9999, 12, 30),
        timezones=st.sampled_from([UTC, timezone(timedelta(hours=2)), timezone(timedelta(hours=-10))]),
    ),
)


@given(PROVENANCES, st.binary(min_size=32, max_size=32), st.integers(0, 10**20 - 1))
@settings(max_examples=200, deadline=None)
def test_parse_is_the_inverse_of_build(provenance: Provenance, digest: bytes, size: int) -> None:
    """Whatever is written into a header is read back from it, the moment of reception as UTC."""
    header = build_header(provenance, dataset_sha256=digest, dataset_size=size)
    stored = parse_header(header + DATASET)
    assert stored.provenance == provenance
    assert stored.provenance.received_at.tzinfo is UTC
    assert (stored.dataset_sha256, stored.dataset_size, stored.header_size) == (digest, size, len(header))


@given(PROVENANCES, st.binary(min_size=32, max_size=32), st.integers(0, 10**20 - 1))
@settings(max_examples=100, deadline=None)
def test_length_does_not_depend_on_digest_or_size(provenance: Provenance, digest: bytes, size: int) -> None:
    """The header written before the digest is known is as long as the one that overwrites it."""
    before = build_header(provenance)
    after = build_header(provenance, dataset_sha256=digest, dataset_size=size)
    assert len(before) == len(after)
    assert len(after) % 2 == 0
    assert parse_header(before).header_size == len(after)


def test_header_starts_as_part_10_wants() -> None:
    """A header is 128 zero bytes, the prefix and a group length that spans the rest (PS3.10 section 7.1)."""
    assert HEADER[:132] == bytes(128) + b"DICM"
    assert HEADER[132:140] == b"\x02\x00\x00\x00UL\x04\x00"
    assert int.from_bytes(HEADER[140:144], "little") == len(HEADER) - 144


def test_private_information_is_one_readable_line() -> None:
    """What Part 10 has no element for is one line of canonical JSON anyone can read, proof included."""
    start = HEADER.index(b"{")
    line = HEADER[start : HEADER.index(b"}") + 1].decode("ascii")
    assert line == (
        '{"address":"192.0.2.17","called":"DRIMBOX","calling":"SCANNER_1",'
        f'"dataset_sha256":"{DIGEST.hex()}","dataset_size":"{len(DATASET):020d}",'
        '"received_at":"2026-11-23T06:35:29.123456Z","site":"h\\u00f4pital nord","v":1}'
    )


def test_pydicom_reads_the_file_without_complaint() -> None:
    """pydicom reads header and data set as one file, with every element of the file meta group in its place."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ds = pydicom.dcmread(io.BytesIO(HEADER + DATASET))
    meta = ds.file_meta
    assert meta.FileMetaInformationVersion == b"\x00\x01"
    assert meta.MediaStorageSOPClassUID == CT_IMAGE
    assert meta.MediaStorageSOPInstanceUID == "1.2.3.4"
    assert meta.TransferSyntaxUID == EXPLICIT
    assert meta.ImplementationClassUID == IMPLEMENTATION_CLASS_UID
    assert meta.ImplementationVersionName == IMPLEMENTATION_VERSION
    assert meta.SourceApplicationEntityTitle == "SCANNER_1"
    assert meta.SendingApplicationEntityTitle == "SCANNER_1"
    assert meta.ReceivingApplicationEntityTitle == "DRIMBOX"
    assert DIGEST.hex().encode() in meta.PrivateInformation
    assert ds.SOPInstanceUID == "1.2.3.4"
    assert ds.Rows == 512


@pytest.mark.skipif(shutil.which("dcmdump") is None, reason="DCMTK is not installed")
@pytest.mark.parametrize("calling_ae_title", ["SCANNER_1", "A", "", "SIXTEEN_CHARS_AE"])
def test_dcmtk_reads_the_file_without_complaint(tmp_path: Path, calling_ae_title: str) -> None:
    """DCMTK dumps header and data set without a warning, whatever the AE title's length."""
    header = build_header(replace(PROVENANCE, calling_ae_title=calling_ae_title))
    path = tmp_path / "stored.dcm"
    path.write_bytes(header + DATASET)
    dump = subprocess.run(["dcmdump", str(path)], capture_output=True, text=True, check=True)
    assert dump.stderr == ""
    assert "W:" not in dump.stdout and "E:" not in dump.stdout
    assert f"(0002,0000) UL {len(header) - 144} " in dump.stdout
    assert "(0008,0018) UI [1.2.3.4]" in dump.stdout


def test_implementation_identifiers_fit_the_standard() -> None:
    """The implementation class is a UID, the version name at most 16 characters (PS3.8 annex D.3.3)."""
    assert parse_uid(IMPLEMENTATION_CLASS_UID).startswith("2.25.")
    assert 1 <= len(IMPLEMENTATION_VERSION) <= 16


@pytest.mark.parametrize("size", range(0, len(HEADER), 7))
def test_header_cut_short_is_refused(size: int) -> None:
    """Less than the whole header is never taken for one."""
    with pytest.raises(UnreadableDataset):
        parse_header(HEADER[:size])


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"DICM", b"DCIM"),
        (IMPLEMENTATION_CLASS_UID.encode(), b"1.2.276.0.7230010.3.0.3.6.7".ljust(len(IMPLEMENTATION_CLASS_UID), b"\0")),
        (b'"v":1', b'"v":2'),
        (b'"v":1', b'"w":1'),
        (b'"v":1}', b'"v":1,'),
        (b'"dataset_sha256":"', b'"dataset_sha256":"z'),
        (DIGEST.hex().encode(), b"0" * 62 + b"  "),
        (b'"received_at":"2026', b'"received_at":"20x6'),
        (b'"site":"h\\u00f4pital nord"', b'"site":["h\\u00f4pital nor"]'),
        (b'"dataset_size":"0', b'"dataset_size":"-x'),
        (b"\x02\x00\x12\x00UI", b"\x08\x00\x12\x00UI"),
        (b"\x02\x00\x12\x00UI", b"\x02\x00\x13\x00UI"),
        (b"\x02\x00\x02\x01OB", b"\x02\x00\x02\x01UI"),
    ],
)
def test_damaged_header_is_refused(old: bytes, new: bytes) -> None:
    """A header that is not what this archive writes is refused, and the message says no value."""
    assert HEADER.count(old) == 1
    with pytest.raises(UnreadableDataset, match=r"Part 10 header"):
        parse_header(HEADER.replace(old, new).ljust(len(HEADER), b"\0"))


def test_foreign_part_10_is_not_ours() -> None:
    """A Part 10 file of another program is refused: it proves nothing about its data set."""
    buffer = io.BytesIO()
    ds = pydicom.dcmread(io.BytesIO(HEADER + DATASET))
    del ds.file_meta.PrivateInformationCreatorUID, ds.file_meta.PrivateInformation
    ds.save_as(buffer, enforce_file_format=True)
    with pytest.raises(UnreadableDataset):
        parse_header(buffer.getvalue())


@given(st.integers(0, len(HEADER) - 1), st.integers(0, 255))
@settings(max_examples=300, deadline=None)
def test_any_damage_is_refused_or_harmless(position: int, value: int) -> None:
    """Any byte of a header may be anything: it is parsed or refused, never another exception."""
    damaged = bytearray(HEADER)
    damaged[position] = value
    try:
        stored = parse_header(bytes(damaged))
    except UnreadableDataset:
        return
    assert len(stored.dataset_sha256) == 32
    assert stored.dataset_size >= 0
    assert stored.header_size == len(HEADER)


@pytest.mark.parametrize(("digest", "size"), [(bytes(31), 0), (bytes(32), -1), (bytes(32), 10**20)])
def test_impossible_proof_is_our_own_mistake(digest: bytes, size: int) -> None:
    """A digest of another length or an impossible size is refused before anything is written."""
    with pytest.raises(ValueError, match="32 bytes"):
        build_header(PROVENANCE, dataset_sha256=digest, dataset_size=size)


def test_what_leaves_says_nothing_of_where_it_came_from() -> None:
    """The header of an object that goes out is one that others read, with UIDs and transfer syntax alone."""
    header = outgoing_header(
        sop_class_uid=PROVENANCE.sop_class_uid,
        sop_instance_uid=PROVENANCE.sop_instance_uid,
        transfer_syntax_uid=PROVENANCE.transfer_syntax_uid,
    )
    meta = pydicom.dcmread(io.BytesIO(header + DATASET)).file_meta
    assert meta.MediaStorageSOPInstanceUID == PROVENANCE.sop_instance_uid
    assert meta.TransferSyntaxUID == PROVENANCE.transfer_syntax_uid
    assert meta.ImplementationVersionName == "DRIMBOX_0_1"
    assert {element.keyword for element in meta} == {
        "FileMetaInformationGroupLength",
        "FileMetaInformationVersion",
        "MediaStorageSOPClassUID",
        "MediaStorageSOPInstanceUID",
        "TransferSyntaxUID",
        "ImplementationClassUID",
        "ImplementationVersionName",
    }
