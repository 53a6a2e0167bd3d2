"""Frames and pictures over the transfer syntaxes: decoded as pydicom decodes them, drawn as DCMTK draws them."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from email import message_from_bytes
from pathlib import Path
from typing import Any

import httpx
import imagecodecs
import numpy as np
import pytest
from dicomweb_client.api import DICOMwebClient
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
    shelf.reader.problem(f"{place(ds)}/rendered?window=1", "image/png", 400)


PNGS = 'multipart/related; type="image/png"'
WINDOW = (1500.0, 2500.0)


def album(answer: httpx.Response, media_type: str = "image/png") -> list[tuple[str, bytes]]:
    """Return Content-Location and bytes of each picture, as Python's own reader of messages finds them."""
    assert answer.headers["content-type"].startswith(f'multipart/related; type="{media_type}"; boundary=')
    message = message_from_bytes(f"Content-Type: {answer.headers['content-type']}\r\n\r\n".encode() + answer.content)
    assert message.is_multipart() and not message.defects
    found = []
    for part in list(message.walk())[1:]:
        data = part.get_payload(decode=True)
        assert isinstance(data, bytes) and part.get_content_type() == media_type
        found.append((str(part["Content-Location"]), data))
    return found


def gray(data: bytes) -> NDArray[Any]:
    """Return the values of a picture."""
    return np.asarray(Image.open(io.BytesIO(data))).astype(int)


def through(ds: Dataset, centre: float, width: float) -> NDArray[Any]:
    """Return an image of pydicom's through a linear window (PS3.3 C.11.2.1.2.1), in fractions of a step."""
    values = ds.pixel_array.astype(float) * float(ds.RescaleSlope) + float(ds.RescaleIntercept)
    return np.clip(((values - (centre - 0.5)) / (width - 1) + 0.5) * 255, 0, 255)


def test_a_series_is_drawn_whole(shelf: Shelf) -> None:
    """An image after the other by number, the same as each by itself under the address that its part has."""
    sent = [shelf.of(name) for name in GREYS]
    query = "?viewport=60,60&window=1000,3000,linear"
    for level in ("series", "study"):
        pictures = album(shelf.reader.get(f"{place(sent[0], level=level)}/rendered{query}", PNGS))
        assert [where for where, _ in pictures] == [
            f"{shelf.reader.url}{place(ds)}/frames/1/rendered" for ds in sorted(sent, key=lambda ds: ds.InstanceNumber)
        ]
        for where, data in pictures:
            assert data == shelf.reader.get(where + query, "image/png").content
            assert gray(data).shape == (42, 60)


def test_every_frame_of_every_syntax_is_in_a_drawn_study(shelf: Shelf) -> None:
    """All frames of all instances, whatever they are compressed in; lossless ones are all the same pictures."""
    ds = shelf.of(EXPLICIT)
    pictures = dict(album(shelf.reader.get(f"{place(ds, level='study')}/rendered", PNGS)))
    expected = {f"{place(shelf.of(name))}/frames/{frame}/rendered" for name in SYNTAXES for frame in (1, 2)}
    assert {where.removeprefix(shelf.reader.url) for where in pictures} == {
        *expected,
        f"{place(shelf.of(JPEG))}/frames/1/rendered",
    }
    for frame in (1, 2):
        of_all = [pictures[f"{shelf.reader.url}{place(shelf.of(name))}/frames/{frame}/rendered"] for name in SYNTAXES]
        assert of_all == [of_all[0]] * len(SYNTAXES)


def test_frames_of_one_instance_are_drawn_together(shelf: Shelf) -> None:
    """Those that are named, in that order, or all as multipart; by itself an instance is its first frame."""
    path = place(shelf.of(EXPLICIT))
    one, two = (shelf.reader.get(f"{path}/frames/{number}/rendered", "image/png").content for number in (1, 2))
    assert [data for _, data in album(shelf.reader.get(f"{path}/rendered", PNGS))] == [one, two]
    assert [data for _, data in album(shelf.reader.get(f"{path}/frames/2,1/rendered", PNGS))] == [two, one]
    assert [data for _, data in album(shelf.reader.get(f"{path}/frames/2,1/rendered", "image/png"))] == [two, one]
    assert [data for _, data in album(shelf.reader.get(f"{path}/frames/2/rendered", PNGS))] == [two]
    assert shelf.reader.get(f"{path}/rendered", "image/png").content == one
    assert "has 2" in shelf.reader.problem(f"{path}/frames/1,3/rendered", PNGS, 404)
    shelf.reader.problem(f"{path}/frames/1,,2/rendered", PNGS, 400)


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        ("*/*", "image/jpeg"),
        ("image/jpeg", "image/jpeg"),
        ("image/png", "image/png"),
        ("multipart/*", "image/jpeg"),
        ('multipart/related; type="image/jpeg"', "image/jpeg"),
        ("multipart/related; type=image/gif, multipart/related; type=image/png; q=0.4", "image/png"),
    ],
)
def test_a_drawn_series_takes_the_form_that_is_accepted(shelf: Shelf, accept: str, media_type: str) -> None:
    """The form of its pictures, with or without a multipart around it: there is always one around several."""
    path = f"{place(shelf.of('plain'), level='series')}/rendered"
    assert len(album(shelf.reader.get(path, accept), media_type)) == len(GREYS)


@pytest.mark.parametrize("accept", ["image/gif", "video/mp4", DICOM, "application/dicom+json", "multipart/mixed"])
def test_a_drawn_series_has_no_other_form(shelf: Shelf, accept: str) -> None:
    """Whoever asks is told in which forms there are pictures."""
    for level in ("series", "study"):
        path = f"{place(shelf.of('plain'), level=level)}/rendered"
        assert "image/jpeg, image/png" in shelf.reader.problem(path, accept, 406)


def test_the_package_dicomweb_client_reads_drawn_series(shelf: Shelf) -> None:
    """It asks for pictures of a series and of frames by their form alone, and takes the body as it comes."""
    client, ds = DICOMwebClient(shelf.reader.url), shelf.of(EXPLICIT)
    plain = shelf.of("plain")
    body = client.retrieve_series_rendered(plain.StudyInstanceUID, plain.SeriesInstanceUID, ("image/png",))
    assert body.count(b"\x89PNG") == len(GREYS)
    uids = (ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.SOPInstanceUID)
    assert client.retrieve_instance_frames_rendered(*uids, [2, 1], ("image/png",)).count(b"\x89PNG") == 2
    asked = {"viewport": "10,10,5,6,10,10"}
    part = client.retrieve_instance_frames_rendered(*uids, [2], ("image/png",), asked)
    whole = client.retrieve_instance_frames_rendered(*uids, [2], ("image/png",))
    assert np.array_equal(gray(part), gray(whole)[6:16, 5:15])


@pytest.mark.parametrize(
    ("region", "rows", "columns"),
    [
        ("20,10,5,7,20,10", slice(7, 17), slice(5, 25)),
        ("20,10,5,7,-20,10", slice(7, 17), slice(24, 4, -1)),
        ("20,10,5,7,20,-10", slice(16, 6, -1), slice(5, 25)),
        ("20,10,5,7,-20,-10", slice(16, 6, -1), slice(24, 4, -1)),
        ("20,10,,,20,10", slice(0, 10), slice(0, 20)),
        ("42,26,5,7", slice(7, 33), slice(5, 47)),
        ("47,26,,7", slice(7, 33), slice(0, 47)),
        ("47,33,,,-47", slice(0, 33), slice(None, None, -1)),
        ("20,10,5.4,6.6,19.9,10", slice(7, 17), slice(5, 25)),
        ("20,10,27,23,20,10", slice(23, 33), slice(27, 47)),
    ],
)
@pytest.mark.parametrize("window", [None, (1100.0, 2200.0)])
def test_a_part_of_an_image_is_its_pixels(
    shelf: Shelf, region: str, rows: slice, columns: slice, window: tuple[float, float] | None
) -> None:
    """Those of pydicom's image through the window, cut and mirrored with numpy: a viewport of its size scales nothing.

    The window of the object, or the one that is asked for.
    """
    ds = shelf.of("plain")
    query = f"viewport={region}" + ("" if window is None else f"&window={window[0]},{window[1]},linear")
    drawn = gray(shelf.reader.get(f"{place(ds)}/rendered?{query}", "image/png").content)
    expected = through(ds, *(window or WINDOW))[rows, columns]
    assert drawn.shape == expected.shape
    assert np.abs(drawn - expected).max() <= 0.51
    assert expected.max() - expected.min() > 20


def test_a_part_of_an_image_is_scaled_to_its_viewport(shelf: Shelf) -> None:
    """As large as fits, its own proportions kept; smaller ones are means of its pixels; in colours and JPEG too."""
    ds = shelf.of("plain")

    def part(viewport: str, ds: Dataset = ds, accept: str = "image/png") -> NDArray[Any]:
        return gray(shelf.reader.get(f"{place(ds)}/rendered?viewport={viewport}", accept).content)

    assert part("80,200,5,7,20,10").shape == (40, 80)
    assert part("200,40,5,7,-20,10").shape == (40, 80)
    halves = through(ds, *WINDOW)[7:17, 5:25].reshape(5, 2, 10, 2).mean(axis=(1, 3))
    assert np.abs(part("10,10,5,7,20,10") - halves).max() <= 1.01
    assert np.abs(part("20,10,5,7,20,10", accept="image/jpeg") - through(ds, *WINDOW)[7:17, 5:25]).max() <= 12
    colours = shelf.of("SC_rgb_gdcm_KY.dcm")
    whole = gray(shelf.reader.get(f"{place(colours)}/rendered", "image/png").content)
    assert np.array_equal(part("30,20,10,15,-30,20", colours), whole[15:35, 39:9:-1])
    thumbnail = shelf.reader.get(f"{place(ds)}/thumbnail?viewport=20,10,5,7,20,10", "image/png").content
    assert np.array_equal(gray(thumbnail), part("20,10,5,7,20,10"))


@pytest.mark.parametrize(
    ("viewport", "words"),
    [
        ("20", "width,height"),
        (",,5,7,20,10", "width,height"),
        ("20,10,a,7,20,10", "x,y,width,height"),
        ("20,10,5,7,20,10,1", "x,y,width,height"),
        ("20,10,-5,7,20,10", "from 0 on"),
        ("20,10,5,7,0,10", "negative"),
        ("20,10,28,23,20,10", "47 columns and 33 rows"),
        ("20,10,0,0,20,34", "47 columns and 33 rows"),
        ("20,10,47", "47 columns and 33 rows"),
        ("0,10", "sides from 1"),
    ],
)
def test_a_viewport_that_makes_no_sense_is_told(shelf: Shelf, viewport: str, words: str) -> None:
    """What is wrong with it, for an image, a frame, a thumbnail and where no image of a series has such a part."""
    ds = shelf.of("plain")
    for path in ("/rendered", "/frames/1/rendered", "/thumbnail"):
        assert words in shelf.reader.problem(f"{place(ds)}{path}?viewport={viewport}", "image/png", 400)
    assert words in shelf.reader.problem(f"{place(ds, level='series')}/rendered?viewport={viewport}", PNGS, 400)


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
