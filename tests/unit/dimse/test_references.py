"""The data sets of storage commitment against pydicom, a reader and writer that shares no line with ours."""

from __future__ import annotations

import zlib
from io import BytesIO
from typing import Any

import pytest
from hypothesis import given, strategies as st
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_dataset
from pydicom.uid import UID

from archive.dimse.contexts import DEFLATED, EXPLICIT_BIG, EXPLICIT_LITTLE, IMPLICIT_LITTLE
from archive.dimse.references import decode_request, encode_report
from archive.errors import InvalidIdentifier
from archive.services.commitment import CommitmentReport, Reference

SYNTAXES = (EXPLICIT_LITTLE, IMPLICIT_LITTLE, EXPLICIT_BIG, DEFLATED)
CT = "1.2.840.10008.5.1.4.1.1.2"
REFERENCES = tuple(Reference(CT, f"1.2.3.{number}") for number in range(1, 4))


def request(references: tuple[Reference, ...] = REFERENCES, *, undefined: bool = False) -> Dataset:
    """Return the Action Information that names ``references``, beside what else a modality may send."""
    ds = Dataset()
    ds.TransactionUID = "1.2.3"
    ds.ReferencedPerformedProcedureStepSequence = [_item(Reference("1.2.840.10008.3.1.2.3.3", "1.9"))]
    ds.ReferencedSOPSequence = [_item(reference) for reference in references]
    for element in (ds["ReferencedSOPSequence"], ds["ReferencedPerformedProcedureStepSequence"]):
        element.is_undefined_length = undefined
        for item in element.value:
            item.is_undefined_length_sequence_item = undefined
    return ds


def _item(reference: Reference) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = reference
    item.StorageMediaFileSetID = "DISK"
    return item


def encoded(ds: Dataset, syntax: str) -> bytes:
    """Return the data set as pydicom writes it."""
    buffer, uid = DicomBytesIO(), UID(syntax)
    buffer.is_implicit_VR, buffer.is_little_endian = uid.is_implicit_VR, uid.is_little_endian
    write_dataset(buffer, ds)
    if syntax != DEFLATED:
        return buffer.getvalue()
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(buffer.getvalue()) + packer.flush()


def decoded(raw: bytes, syntax: str) -> Dataset:
    """Return the data set as pydicom reads it."""
    raw = zlib.decompress(raw, -zlib.MAX_WBITS) if syntax == DEFLATED else raw
    return read_dataset(BytesIO(raw), syntax == IMPLICIT_LITTLE, syntax != EXPLICIT_BIG)


@pytest.mark.parametrize("undefined", [False, True])
@pytest.mark.parametrize("syntax", SYNTAXES)
def test_a_request_is_read_in_every_form(syntax: str, undefined: bool) -> None:
    """Every transfer syntax, lengths defined or not, other elements between: the same transaction and objects."""
    assert decode_request(encoded(request(undefined=undefined), syntax), syntax) == ("1.2.3", REFERENCES)


def test_a_request_may_name_tens_of_thousands_of_objects() -> None:
    """Forty thousand objects are read in order, none lost."""
    references = tuple(Reference(CT, f"1.2.{number}") for number in range(40_000))
    raw = encode_report(CommitmentReport("1.2", "DRIMBOX", references, ()), EXPLICIT_LITTLE)
    assert decode_request(raw, EXPLICIT_LITTLE) == ("1.2", references)


def _without(keyword: str) -> Dataset:
    ds = request()
    del ds[keyword]
    return ds


def _broken(**values: Any) -> Dataset:
    ds = request()
    for keyword, value in values.items():
        setattr(ds.ReferencedSOPSequence[1], keyword, value)
    return ds


@pytest.mark.parametrize(
    ("ds", "reason"),
    [
        (_without("TransactionUID"), "TransactionUID is missing"),
        (_without("ReferencedSOPSequence"), "ReferencedSOPSequence is empty"),
        (request(()), "ReferencedSOPSequence is empty"),
        (_broken(ReferencedSOPInstanceUID=""), "ReferencedSOPInstanceUID is missing"),
        (_broken(ReferencedSOPClassUID=""), "ReferencedSOPClassUID is missing"),
    ],
)
def test_a_request_without_what_it_needs_is_refused_with_the_reason(ds: Dataset, reason: str) -> None:
    """A transaction, at least one object, and both UIDs of each."""
    with pytest.raises(InvalidIdentifier, match=reason):
        decode_request(encoded(ds, EXPLICIT_LITTLE), EXPLICIT_LITTLE)


@pytest.mark.parametrize("uid", [b"../etc/passwd", b"1.2.3\\4.5.6", b"PATIENT^NAME"])
def test_a_uid_that_is_none_is_refused(uid: bytes) -> None:
    """What is no UID never reaches the index, nor an error message."""
    raw = encoded(request(undefined=True), EXPLICIT_LITTLE)
    value = uid + b"\0" * (len(uid) % 2)
    odd = raw.replace(b"UI\x08\x001.2.3.2\0", b"UI" + bytes((len(value), 0)) + value)
    assert odd != raw
    with pytest.raises(InvalidIdentifier, match="ReferencedSOPInstanceUID") as caught:
        decode_request(odd, EXPLICIT_LITTLE)
    assert uid.decode() not in str(caught.value)


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_a_request_cut_short_anywhere_is_refused(syntax: str) -> None:
    """No prefix of a request passes for a request."""
    raw = encoded(request(undefined=True), syntax)
    for size in range(len(raw)):
        with pytest.raises(InvalidIdentifier):
            decode_request(raw[:size], syntax)


@given(st.binary(max_size=300), st.sampled_from(SYNTAXES), st.integers(0, 400))
def test_any_bytes_are_a_request_or_refused(raw: bytes, syntax: str, at: int) -> None:
    """Garbage, alone or in the middle of a request, raises nothing but InvalidIdentifier."""
    whole = encoded(request(undefined=True), syntax)
    for data in (raw, whole[:at] + raw + whole[at + len(raw) :]):
        try:
            transaction, references = decode_request(data, syntax)
        except InvalidIdentifier:
            continue
        assert transaction and references


def test_endless_nesting_is_refused() -> None:
    """A million sequences in each other exhaust the reader's patience, not its stack."""
    nest = b"\x08\x00\x11\x11\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff" * 100_000
    with pytest.raises(InvalidIdentifier):
        decode_request(nest, IMPLICIT_LITTLE)


def test_a_deflate_bomb_is_refused() -> None:
    """A few kilobytes that inflate to a hundred megabytes are not inflated."""
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    bomb = packer.compress(bytes(100 * 1024 * 1024)) + packer.flush()
    with pytest.raises(InvalidIdentifier, match="too large"):
        decode_request(bomb, DEFLATED)


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_a_report_reads_back_in_every_transfer_syntax(syntax: str) -> None:
    """Transaction, AE title, both lists and the reasons are what pydicom reads."""
    report = CommitmentReport("1.2.3", "DRIMBOX", REFERENCES[:2], ((REFERENCES[2], 0x0112),))
    raw = encode_report(report, syntax)
    ds = decoded(raw, syntax)
    assert len(raw) % 2 == 0
    assert (ds.TransactionUID, ds.RetrieveAETitle) == ("1.2.3", "DRIMBOX")
    pairs = [(item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID) for item in ds.ReferencedSOPSequence]
    assert pairs == list(REFERENCES[:2])
    (failed,) = ds.FailedSOPSequence
    assert (failed.ReferencedSOPInstanceUID, failed.FailureReason) == ("1.2.3.3", 0x0112)


@pytest.mark.parametrize(
    ("committed", "failed", "absent"),
    [(REFERENCES, (), "FailedSOPSequence"), ((), ((REFERENCES[0], 0x0110),), "ReferencedSOPSequence")],
)
def test_a_list_without_objects_is_left_out(
    committed: tuple[Reference, ...], failed: tuple[tuple[Reference, int], ...], absent: str
) -> None:
    """All good: no failures are listed. Nothing good: nothing is listed as committed."""
    ds = decoded(
        encode_report(CommitmentReport("1.2.3", "DRIMBOX", committed, failed), EXPLICIT_LITTLE), EXPLICIT_LITTLE
    )
    assert absent not in ds
    assert len(ds) == 3
