"""Frames and pictures over the transfer syntaxes: decoded as pydicom decodes them, drawn as DCMTK draws them."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from pydicom import Dataset, dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels.utils import pixel_array
from pydicom.uid import UID

from archive.dicomweb.wado_frames import MEDIA_TYPES
from tests.archive_process import running_archive
from tests.conformance.test_elimination import Desk
from tests.dcmtk import run
from tests.objects import ROOT, changed, ct_dataset
from tests.unit.tiering.transcode.building import (
    BIG,
    DEFLATED,
    DEFLATED_FRAMES,
    ENCODERS,
    EXPLICIT,
    IMPLICIT,
    JPEG,
    SHIPPED,
)
from tests.web_reader import AS_STORED, DICOM, HTTP, OCTETS, Reader, place

STORED = 'multipart/related; type="application/octet-stream"; transfer-syntax=*'
SHIPPED_NAMES = (
    "MR_small_RLE.dcm",
    "JPEG2000.dcm",
    "SC_rgb_gdcm_KY.dcm",
    "SC_rgb_small_odd.dcm",
    "SC_rgb_dcmtk_+eb+cr.dcm",
    "examples_palette.dcm",
    "SC_rgb_rle_2frame.dcm",
    "liver_1frame.dcm",
    "SC_rgb_jpeg_dcmtk.dcm",
    "examples_ybr_color.dcm",
)
COMPRESSED = tuple(uid for uid in ENCODERS if uid != DEFLATED_FRAMES and UID(uid).is_transfer_syntax)
"""Those that pydicom writes; some libraries teach it deflated frames, which have no media type of their own."""
SYNTAXES = (EXPLICIT, IMPLICIT, BIG, DEFLATED, *COMPRESSED)


def picture() -> NDArray[Any]:
    """Return two frames of 33 x 47 in twelve bits."""
    rows, columns = np.mgrid[0:33, 0:47]
    return np.stack([(40 * rows + 20 * columns + 500 * frame) % 4096 for frame in (0, 1)]).astype("u2")


def encoded(number: int, syntax: str) -> Dataset:
    """Return an image of two frames in a transfer syntax."""
    ds = changed(ct_dataset(number, study=7), {"NumberOfFrames": 2, "Rows": 33, "Columns": 47})
    ds.WindowCenter, ds.WindowWidth = "2048", "4096"
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = UID(syntax)
    samples = picture()
    if syntax == BIG:
        samples = samples.byteswap()
    if syntax in ENCODERS:
        ds.add_new("PixelData", "OB", encapsulate([ENCODERS[syntax](frame) for frame in samples]))
        ds["PixelData"].is_undefined_length = True
    else:
        ds.add_new("PixelData", "OW", samples.tobytes())
    return ds


def lossy(number: int) -> Dataset:
    """Return an image in lossy JPEG."""
    ds = changed(ct_dataset(number, study=7), {"Rows": 33, "Columns": 47})
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.LossyImageCompression = 8, 8, 7, "01"
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = UID(JPEG)
    ds.add_new("PixelData", "OB", encapsulate([bytes(imagecodecs.jpeg8_encode((picture()[0] >> 4).astype("u1")))]))
    ds["PixelData"].is_undefined_length = True
    return ds


def grey(number: int, **overrides: object) -> Dataset:
    """Return a native image of one frame with a window."""
    ds = changed(ct_dataset(number, study=8), {"Rows": 33, "Columns": 47, "RescaleSlope": "1", "RescaleIntercept": "0"})
    ds.WindowCenter, ds.WindowWidth = "1500", "2500"
    ds.add_new("PixelData", "OW", picture()[0].tobytes() + bytes(33 * 47 * 2 % 2))
    return changed(ds, overrides)


GREYS = {
    "plain": grey(1),
    "inverted": grey(2, PhotometricInterpretation="MONOCHROME1"),
    "rescaled": grey(3, RescaleSlope="2", RescaleIntercept="-1024"),
    "signed": grey(4, PixelRepresentation=1, BitsStored=16, HighBit=15, WindowCenter="0"),
    "two windows": grey(5, WindowCenter=["300", "900"], WindowWidth=["200", "4000"]),
}


@dataclass
class Shelf:
    """A running archive with objects in many transfer syntaxes; ``sent`` by SOP Instance UID."""

    reader: Reader
    sent: dict[str, Dataset] = field(default_factory=dict)
    files: dict[str, Path] = field(default_factory=dict)

    def of(self, name: str) -> Dataset:
        """Return what was sent under a transfer syntax or a name."""
        return dcmread(self.files[name])


def write(folder: Path) -> dict[str, Path]:
    """Write all objects as files; return them by name."""
    objects = {uid: encoded(number, uid) for number, uid in enumerate(SYNTAXES, 1)}
    objects |= {JPEG: lossy(90), **GREYS}
    found = {name: SHIPPED / name for name in SHIPPED_NAMES}
    for number, (name, ds) in enumerate(objects.items()):
        if not hasattr(ds, "file_meta"):
            ds.file_meta = FileMetaDataset()
            ds.file_meta.TransferSyntaxUID = UID(EXPLICIT)
        found[name] = folder / f"{number:02}.dcm"
        syntax = ds.file_meta.TransferSyntaxUID
        little = syntax != BIG
        ds.save_as(found[name], enforce_file_format=True, implicit_vr=syntax == IMPLICIT, little_endian=little)
    return found


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shelf]:
    """Lend a running archive that imported everything."""
    root = tmp_path_factory.mktemp("pixels")
    (root / "sent").mkdir()
    files = write(root / "sent")
    with running_archive(root / "home", config=HTTP) as archive:
        Desk(archive).drimbox("import", *map(str, files.values()))
        yield Shelf(Reader(archive), files=files)


NAMES = (*SYNTAXES, JPEG, *SHIPPED_NAMES)


def frames_of(ds: Dataset) -> int:
    """Return how many frames an object has."""
    return int(ds.get("NumberOfFrames", 1) or 1)


@pytest.mark.parametrize("name", NAMES)
def test_decoded_frames_are_what_pydicom_decodes(shelf: Shelf, name: str) -> None:
    """Every frame, little endian, colours by pixel; colours of lossy JPEG as RGB."""
    ds = shelf.of(name)
    numbers = ",".join(str(number) for number in range(1, min(frames_of(ds), 4) + 1))
    parts = shelf.reader.parts(f"{place(ds)}/frames/{numbers}", OCTETS)
    assert {kind for kind, _ in parts} == {f"application/octet-stream; transfer-syntax={EXPLICIT}"}
    for index, (_, body) in enumerate(parts):
        expected = reference(shelf, name, index)
        width = expected.dtype.itemsize
        got = np.frombuffer(body[: len(body) - len(body) % width], expected.dtype.newbyteorder("<"))
        if ds.get("PlanarConfiguration") == 1 and not ds.file_meta.TransferSyntaxUID.is_encapsulated:
            got = np.moveaxis(got[: expected.size].reshape(3, *expected.shape[:2]), 0, -1)
        difference = np.abs(got[: expected.size].reshape(expected.shape).astype(int) - expected.astype(int))
        assert difference.max() <= (2 if name in LOSSY_COLOURS else 0)


LOSSY_COLOURS = ("SC_rgb_dcmtk_+eb+cr.dcm", "SC_rgb_jpeg_dcmtk.dcm", "examples_ybr_color.dcm")
"""Decoders of lossy JPEG round colours each in its own way."""


def reference(shelf: Shelf, name: str, index: int) -> NDArray[Any]:
    """Return a frame as pydicom, or for what it cannot decode as we made it."""
    if name in ENCODERS or name in (BIG, DEFLATED):
        made: NDArray[Any] = picture()[index]
        return made
    ds = shelf.of(name)
    is_raw = not (name in LOSSY_COLOURS and ds.SamplesPerPixel == 3 and ds.file_meta.TransferSyntaxUID.is_encapsulated)
    found: NDArray[Any] = pixel_array(shelf.files[name], index=index, raw=is_raw)
    if ds.BitsAllocated == 1:
        packed: NDArray[Any] = np.packbits(found.ravel(), bitorder="little")
        return packed
    return found


@pytest.mark.parametrize("name", [*COMPRESSED, JPEG])
def test_stored_frames_are_what_was_sent(shelf: Shelf, name: str) -> None:
    """To the byte, under the media type of their transfer syntax where it has one."""
    ds = shelf.of(name)
    expected = lossy_frame(ds) if name == JPEG else ENCODERS[name](picture()[0])
    (_, plain), *_ = shelf.reader.parts(f"{place(ds)}/frames/1", STORED)
    assert plain.rstrip(b"\0") == expected.rstrip(b"\0")
    if name in MEDIA_TYPES:
        answer = shelf.reader.get(f"{place(ds)}/frames/1", MEDIA_TYPES[name])
        assert answer.headers["content-type"] == f"{MEDIA_TYPES[name]}; transfer-syntax={name}"
        assert answer.content == plain


def lossy_frame(ds: Dataset) -> bytes:
    """Return the only fragment of an image."""
    start = ds.PixelData.index(b"\xff\xd8")
    return bytes(ds.PixelData[start : ds.PixelData.rindex(b"\xff\xd9") + 2])


@pytest.mark.parametrize("name", [*SYNTAXES, JPEG])
def test_whole_objects_in_every_syntax(shelf: Shelf, name: str) -> None:
    """Explicit little endian by default with every sample; as stored with *; what is lossy stays as it came."""
    ds = shelf.of(name)
    (default,) = shelf.reader.objects(place(ds)).values()
    (stored,) = shelf.reader.objects(place(ds), AS_STORED).values()
    (asked,) = shelf.reader.objects(place(ds), f"{DICOM}; transfer-syntax={EXPLICIT}").values()
    assert default.file_meta.TransferSyntaxUID == (JPEG if name == JPEG else EXPLICIT)
    assert stored.file_meta.TransferSyntaxUID == (EXPLICIT if name in (IMPLICIT, BIG) else name)
    assert asked.file_meta.TransferSyntaxUID == EXPLICIT
    if name == JPEG:
        assert stored.PixelData == default.PixelData == ds.PixelData
    else:
        assert asked.PixelData == default.PixelData
        assert default.PixelData.rstrip(b"\0") == picture().tobytes().rstrip(b"\0")
    assert default.PatientName == ds.PatientName


@pytest.mark.parametrize(
    "name", [*GREYS, "MR_small_RLE.dcm", "SC_rgb_gdcm_KY.dcm", "examples_palette.dcm", "SC_rgb_small_odd.dcm"]
)
def test_pictures_are_as_dcmtk_draws_them(shelf: Shelf, name: str, tmp_path: Path) -> None:
    """Window, rescale, sign, inversion, palette and colours: no pixel is further than two of 255 steps away."""
    ds, path = shelf.of(name), shelf.files[name]
    drawn = tmp_path / "drawn.pnm"
    plain = path
    if ds.file_meta.TransferSyntaxUID.is_encapsulated:
        ds.decompress(generate_instance_uid=False)
        plain = tmp_path / "plain.dcm"
        ds.save_as(plain)
    options = ["+Wi", "1"] if "WindowCenter" in ds else []
    done = run("dcm2pnm", *options, plain, drawn)
    assert done.returncode == 0, done.stderr
    answer = shelf.reader.get(f"{place(ds)}/rendered", "image/png")
    ours, theirs = (np.asarray(Image.open(file)).astype(int) for file in (io.BytesIO(answer.content), drawn))
    if ours.shape != theirs.shape and theirs.ndim == 3 and ours.ndim == 2:
        theirs = theirs[:, :, 0]
    assert ours.shape == theirs.shape
    if options or ds.SamplesPerPixel == 3 or name == "examples_palette.dcm":
        assert np.abs(ours - theirs).max() <= 2


def test_a_picture_is_drawn_as_it_is_asked_for(shelf: Shelf) -> None:
    """Another window, a viewport, a frame of several, a thumbnail of a study, less quality for fewer bytes."""
    ds = shelf.of(EXPLICIT)

    def shown(path: str) -> Image.Image:
        return Image.open(io.BytesIO(shelf.reader.get(f"{place(ds)}{path}", "image/png").content))

    assert shown("/rendered").size == (47, 33)
    assert np.asarray(shown("/rendered?window=0,1,linear")).min() in (0, 255)
    assert shown("/rendered?viewport=20,100").size == (20, 14)
    frames = [np.asarray(shown(f"/frames/{number}/rendered")) for number in (1, 2)]
    assert np.array_equal(frames[0], np.asarray(shown("/rendered")))
    assert not np.array_equal(frames[0], frames[1])
    assert max(Image.open(io.BytesIO(shelf.reader.get(f"{place(ds, level='study')}/thumbnail").content)).size) == 128
    best, least = (
        len(shelf.reader.get(f"{place(ds)}/rendered?quality={each}", "image/jpeg").content) for each in (100, 10)
    )
    assert least < best
    for path in ("/frames/3/rendered", "/frames/9/thumbnail"):
        shelf.reader.problem(f"{place(ds)}{path}", "image/png", 404)
    shelf.reader.problem(f"{place(ds)}/frames/1,2/rendered", "image/png", 400)
    shelf.reader.problem(f"{place(ds)}/rendered?window=1", "image/png", 400)


def test_metadata_of_every_syntax_is_alike(shelf: Shelf) -> None:
    """However a data set is encoded, its attributes are told the same, but for what is its own."""
    own = {"00080018", "00200013", "7FE00010", "00083002"}
    told = []
    for name in SYNTAXES:
        (each,) = shelf.reader.metadata(place(shelf.of(name)))
        assert each["00083002"]["Value"] == [name]
        told.append({tag: value for tag, value in each.items() if tag not in own})
    assert told == [told[0]] * len(told)
    (each,) = shelf.reader.metadata(place(shelf.of(JPEG)))
    assert each["00282110"] == {"vr": "CS", "Value": ["01"]}


def test_bulk_data_of_compressed_pixels_are_all_frames(shelf: Shelf) -> None:
    """The BulkDataURI of pixel data leads to every frame, decoded or as stored."""
    ds = shelf.of("SC_rgb_rle_2frame.dcm")
    (told,) = shelf.reader.metadata(place(ds))
    assert f"{ROOT}" not in told["7FE00010"]["BulkDataURI"]
    parts = shelf.reader.parts(told["7FE00010"]["BulkDataURI"], OCTETS)
    assert b"".join(body for _, body in parts) == pixel_array(shelf.files["SC_rgb_rle_2frame.dcm"]).tobytes()
    assert len(shelf.reader.parts(told["7FE00010"]["BulkDataURI"], "multipart/related; type=image/dicom-rle")) == 2
