"""The scan against pydicom's own reading of every file pydicom ships; must not download anything."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from archive.errors import UnreadableDataset
from archive.part10.attributes import INSTANCE, ISSUER_UNIVERSAL_ID, PATIENT, SERIES, STUDY, Attribute
from archive.part10.meta import parse_foreign
from archive.part10.scan import scan_header
from archive.part10.text import fold
from tests.unit.part10.wire import PYDICOM_DATA

ATTRIBUTES = (*PATIENT, *STUDY, *SERIES, *INSTANCE)
FILES = sorted((PYDICOM_DATA / "test_files").glob("*.dcm")) + sorted((PYDICOM_DATA / "charset_files").glob("*.dcm"))

NO_IDENTITY = {
    "empty_charset_LEI.dcm",
    "meta_missing_tsyntax.dcm",
    "nested_priv_SQ.dcm",
    "no_meta.dcm",
}
"""Fragments of a few elements without any SOP Instance UID, and a data set behind a stray byte."""

NOTHING_INDEXED = {"UN_sequence.dcm", "priv_SQ.dcm"}
"""Files whose data set has private elements only."""

FLAGS = {
    "SC_rgb_jpeg.dcm": ("fallback", "vr"),
    "rtdose_rle.dcm": ("vr",),
    "rtdose_rle_1frame.dcm": ("vr",),
}
"""What is odd about the files that are: implicit VR in a JPEG syntax, all elements UN."""


def as_scanned(attribute: Attribute, ds: Dataset) -> str:
    """Return what pydicom reads for ``attribute``, written the way the scan writes it."""
    value: Any = ds[attribute.tag].value if attribute.tag in ds else None
    values = list(value) if isinstance(value, (list, MultiValue)) else [] if value is None else [value]
    if attribute.vr != "PN":
        values = [getattr(value, "original_string", value) for value in values]
    texts = [str(value).strip("\0 ") for value in values]
    if attribute.vr == "DA":
        texts = [text.replace(".", "") for text in texts]
    if attribute.vr == "TM":
        texts = [text.replace(":", "") for text in texts]
    joined = "\\".join(texts) if any(texts) else ""
    return "" if attribute.vr == "PN" and not joined.strip("^=") else joined


def scan_file(path: Path, *, head_bytes: int = 1 << 20) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return what the scan reads in a file."""
    found = parse_foreign(path)
    dataset = path.read_bytes()[found.dataset_offset :]
    header = scan_header(dataset[:head_bytes], found.transfer_syntax_uid, complete=len(dataset) <= head_bytes)
    return dict(header.values), header.flags


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_scan_reads_what_pydicom_reads(path: Path) -> None:
    """Every indexed attribute of every shipped file has the value pydicom gives it, and no other is invented."""
    if path.name in NO_IDENTITY:
        with pytest.raises(UnreadableDataset):
            parse_foreign(path)
        return
    if path.name in NOTHING_INDEXED:
        with pytest.raises(UnreadableDataset):
            scan_file(path)
        return
    values, flags = scan_file(path)
    values.pop(ISSUER_UNIVERSAL_ID, None)
    ds = pydicom.dcmread(path, force=True, stop_before_pixels=True)
    expected = {attribute.keyword: as_scanned(attribute, ds) for attribute in ATTRIBUTES}
    assert values == {keyword: text for keyword, text in expected.items() if text}
    assert flags == FLAGS.get(path.name, ())


def test_there_is_something_to_compare() -> None:
    """The comparison is not empty: pydicom ships well over a hundred files in all layouts."""
    assert len(FILES) > 80
    syntaxes = {parse_foreign(path).transfer_syntax_uid for path in FILES if path.name not in NO_IDENTITY}
    assert len(syntaxes) >= 8


@pytest.mark.parametrize("name", ["CT_small.dcm", "MR_small_implicit.dcm", "MR_small_bigendian.dcm", "image_dfl.dcm"])
def test_half_the_file_is_enough(name: str) -> None:
    """The header of an image is read from its first kilobytes, the pixels are not needed."""
    path = PYDICOM_DATA / "test_files" / name
    assert scan_file(path, head_bytes=10_000) == scan_file(path)


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("chrFren.dcm", "buc^jerome"),
        ("chrFrenMulti.dcm", "buc^jerome"),
        ("chrGerm.dcm", "aneas^rudiger"),
        ("chrH31.dcm", "yamada^tarou=山田^太郎=やまた^たろう"),
        ("chrI2.dcm", "hong^gildong=洪^吉洞=홍^길동"),
        ("chrX2.dcm", "wang^xiaodong=王^小东"),
    ],
)
def test_names_of_the_world_have_a_key(name: str, key: str) -> None:
    """Names in the character set examples of the standard get the key a user would type."""
    values, _ = scan_file(PYDICOM_DATA / "charset_files" / name)
    assert fold(values["PatientName"]) == key
