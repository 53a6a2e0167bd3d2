"""Real files: each is compressed and proven, or refused with a reason, and no other thing ever happens.

The files pydicom ships are always there; DRIMBOX_TEST_DICOM names a folder of more.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import numpy as np
import pydicom
import pytest

from tests.unit.tiering.transcode.building import DEFLATED, EXPLICIT, SHIPPED, Samples, converted, read
from tests.unit.tiering.transcode.compressing import SEALED, Result, compressed
from tiering.errors import TranscodeError
from tiering.transcode.syntaxes import SOURCES

MORE = os.environ.get("DRIMBOX_TEST_DICOM")
FOLDERS = [SHIPPED, *([Path(MORE)] if MORE else [])]
ENDS = {"", ".dcm", ".dic", ".ima"}
FILES = sorted(file for top in FOLDERS for file in top.rglob("*") if file.is_file() and file.suffix.lower() in ENDS)


def open_file(path: Path) -> tuple[bytes, str] | None:
    """Return a file's data set and transfer syntax, None when it is no DICOM file or of no syntax known here."""
    try:
        meta = pydicom.filereader.read_file_meta_info(path)
        uid = str(meta.TransferSyntaxUID)
        start = 144 + int(meta[0x00020000].value)
    except (pydicom.errors.InvalidDicomError, AttributeError, KeyError, EOFError, TypeError, NotImplementedError):
        return None
    return (path.read_bytes()[start:], uid) if uid in SOURCES else None


def frame_bytes(dataset: bytes) -> bytes:
    """Return the native frames of a data set in Explicit VR Little Endian, colours by pixel, without padding."""
    found = read(dataset)
    size = found.Rows * found.Columns * found.SamplesPerPixel * found.BitsAllocated // 8
    value = np.frombuffer(found.PixelData, "u1")[: size * int(found.get("NumberOfFrames") or 1)]
    if found.get("PlanarConfiguration") == 1 and found.SamplesPerPixel > 1:
        width = found.BitsAllocated // 8
        planes = value.reshape(-1, found.SamplesPerPixel, found.Rows * found.Columns, width)
        value = np.moveaxis(planes, 1, 2).ravel()
    return value.tobytes()


def try_to_compress(dataset: bytes, uid: str, source_uid: str) -> Result | None:
    """Return what came of it, None when it was refused; any other exception is the test's failure."""
    try:
        return compressed(dataset, uid=uid, source_uid=source_uid)
    except TranscodeError as exc:
        assert str(exc)
        return None


def assert_same(result: Result, dataset: bytes, source_uid: str) -> None:
    """Check the frames and what else pydicom reads against the original.

    Converting it twice leaves the group lengths of its sequences out, as compressing does.
    """
    back, was = result.native, converted(converted(dataset, source_uid, DEFLATED), DEFLATED)
    assert frame_bytes(back) == frame_bytes(was)
    mine, other = read(back), read(was)
    tags = {elem.tag for found in (mine, other) for elem in found if elem.tag.element}
    for tag in tags - {0x00280006, 0x7FE00010}:
        assert mine[tag] == other[tag]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("file", FILES, ids=lambda path: "/".join(path.parts[-2:]))
def test_every_file_is_proven_or_refused(file: Path) -> None:
    """As stored, and made native first: what is compressed comes back the same, what is refused says why."""
    opened = open_file(file)
    if opened is None:
        return
    forms = [opened]
    with suppress(TranscodeError):
        forms.append((converted(*opened), EXPLICIT))
    for dataset, source_uid in forms:
        for uid in SEALED:
            result = try_to_compress(dataset, uid, source_uid)
            if result is not None:
                assert_same(result, dataset, source_uid)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "name",
    ["CT_small.dcm", "MR_small.dcm", "MR_small_bigendian.dcm", "MR_small_RLE.dcm", "examples_rgb_color.dcm"],
)
@pytest.mark.parametrize("uid", SEALED)
def test_an_independent_reader_gives_the_same_array(name: str, uid: str) -> None:
    """pydicom decodes the compressed file to the array it decodes the original to, through its own decoders."""
    file = next(found for found in FILES if found.name == name)
    opened = open_file(file)
    assert opened is not None
    result = try_to_compress(opened[0], uid, opened[1])
    assert result is not None
    original: Samples = pydicom.dcmread(file).pixel_array
    assert np.array_equal(result.found.pixel_array, original)


@pytest.mark.filterwarnings("ignore")
def test_many_shipped_files_are_compressed() -> None:
    """Refusing everything would be no compression: a good part of the shipped files is worth it."""
    opened = [found for found in map(open_file, FILES) if found is not None]
    assert sum(try_to_compress(data, SEALED[0], uid) is not None for data, uid in opened) >= 12
