"""Whom a data set names is found at any depth and in any encoding."""

from __future__ import annotations

import io
import zlib
from typing import BinaryIO, cast

import pytest
from pydicom import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from tests.objects import dataset_bytes
from tiering.errors import MalformedDataset
from tiering.references import referenced_uids


def item(**values: object) -> Dataset:
    """Return a sequence item."""
    ds = Dataset()
    for keyword, value in values.items():
        setattr(ds, keyword, value)
    return ds


def reference(uid: str) -> Dataset:
    """Return a reference to an instance."""
    return item(ReferencedSOPClassUID="1.2.840.10008.5.1.4.1.1.2", ReferencedSOPInstanceUID=uid)


def report() -> Dataset:
    """Return a report that names images in its evidence, and deep in its content."""
    deep = item(ContentSequence=Sequence([item(ReferencedSOPSequence=Sequence([reference("2.25.3")]))]))
    series = item(
        SeriesInstanceUID="2.25.9", ReferencedSOPSequence=Sequence([reference("2.25.1"), reference("2.25.2")])
    )
    return item(
        SOPInstanceUID="2.25.100",
        CurrentRequestedProcedureEvidenceSequence=Sequence([item(ReferencedSeriesSequence=Sequence([series]))]),
        ContentSequence=Sequence([deep]),
    )


@pytest.mark.parametrize(
    "syntax",
    [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian],
    ids=lambda uid: uid.name,
)
def test_references_are_found_at_any_depth(syntax: str) -> None:
    """Evidence and content tree; not the report's own UID, nor that of a series."""
    data = dataset_bytes(report(), syntax)
    if syntax == DeflatedExplicitVRLittleEndian:
        deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        data = deflater.compress(dataset_bytes(report(), ExplicitVRLittleEndian)) + deflater.flush()
    assert referenced_uids(cast(BinaryIO, io.BytesIO(data)), syntax) == {"2.25.1", "2.25.2", "2.25.3"}


def test_who_names_nobody_names_nobody() -> None:
    """No reference, an empty one."""
    data = dataset_bytes(
        item(SOPInstanceUID="2.25.1", ReferencedSOPSequence=Sequence([reference("")])), ExplicitVRLittleEndian
    )
    assert referenced_uids(cast(BinaryIO, io.BytesIO(data)), ExplicitVRLittleEndian) == set()


def test_what_is_no_data_set_is_told() -> None:
    """It ends in the middle of an element."""
    data = dataset_bytes(report(), ExplicitVRLittleEndian)[:-5]
    with pytest.raises(MalformedDataset):
        referenced_uids(cast(BinaryIO, io.BytesIO(data)), ExplicitVRLittleEndian)
    with pytest.raises(KeyError):
        referenced_uids(cast(BinaryIO, io.BytesIO(data)), "1.2.3")
