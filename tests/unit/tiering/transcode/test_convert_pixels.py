"""Compressed data sets made native: the same samples, and a description that fits them."""

from __future__ import annotations

import io
import threading
import tracemalloc
import zlib
from collections.abc import Sequence

import imagecodecs
import numpy as np
import pytest

from tests.unit.tiering.transcode.building import (
    BIG,
    DEFLATED,
    DEFLATED_FRAMES,
    ENCODERS,
    EXPLICIT,
    IDENTITY,
    IMPLICIT,
    J2K,
    J2K_LOSSY,
    JPEG,
    JPEG_LS,
    JPEG_SV1,
    JXL,
    JXL_JPEG,
    NATIVE,
    RLE,
    UNCOMPRESSED,
    Module,
    Samples,
    compressed,
    converted,
    element,
    fragments,
    image,
    j2k,
    join_segments,
    jpeg_lossless,
    pixels,
    raw_deflate,
    read,
    sequence,
    shipped,
    us,
)
from tiering.transcode import convert

GREY = image(3, 33, 21, top=4095)
COLOUR = image(15, 13, 3, dtype="u1")
LOSSLESS = pytest.mark.parametrize("uid", ENCODERS)


def encoded(uid: str, frames: Samples) -> list[bytes]:
    """Return each frame compressed."""
    return [ENCODERS[uid](frame) for frame in frames]


def cut(frame: bytes, size: int) -> list[bytes]:
    """Cut a frame, made even, into pieces of even size."""
    even = frame + bytes(len(frame) % 2)
    return [even[at : at + size] for at in range(0, len(even), size)]


@LOSSLESS
@pytest.mark.parametrize("target", NATIVE)
def test_every_frame_comes_back(uid: str, target: str) -> None:
    """Multi-frame grey images of each codec have the same samples in each native syntax."""
    data = compressed(Module(GREY, frames=3, bits_stored=12), encoded(uid, GREY))
    assert np.array_equal(pixels(converted(data, uid, target), target), GREY)


@LOSSLESS
@pytest.mark.parametrize("target", [EXPLICIT, BIG])
def test_colours_come_back(uid: str, target: str) -> None:
    """Colour images of an odd number of bytes come back by pixel and padded."""
    data = compressed(Module(COLOUR), encoded(uid, COLOUR[None]))
    found = read(converted(data, uid, target), target)
    assert np.array_equal(found.pixel_array, COLOUR)
    assert found.PlanarConfiguration == 0
    assert found.PhotometricInterpretation == "RGB"
    assert len(found.PixelData) == 15 * 13 * 3 + 1
    assert found.PixelData[-1] == 0


@LOSSLESS
def test_the_rest_of_the_data_set_stays(uid: str) -> None:
    """Everything but the pixel data is byte for byte what it was."""
    module = Module(GREY[0], bits_stored=12, extra={0x00282110: element(0x00282110, "CS", b"01")})
    data = compressed(module, encoded(uid, GREY[:1]))
    expected = IDENTITY + module.encode() + element(0x7FE00010, "OW", GREY[0].tobytes())
    assert converted(data, uid) == expected


@pytest.mark.parametrize("size", [64, 100, 1000])
@pytest.mark.parametrize("with_table", [True, False])
def test_fragments_are_put_together(size: int, with_table: bool) -> None:
    """Frames over several fragments come back with a Basic Offset Table and without."""
    frames = [cut(frame, size) for frame in encoded(JPEG_SV1, GREY)]
    lengths = [sum(8 + len(piece) for piece in frame) for frame in frames]
    offsets = [sum(lengths[:at]) for at in range(3)] if with_table else []
    data = compressed(Module(GREY, frames=3), [piece for frame in frames for piece in frame], offsets=offsets)
    assert np.array_equal(pixels(converted(data, JPEG_SV1)), GREY)


def test_offset_tables_do_not_outlive_the_fragments() -> None:
    """Extended Offset Table, its lengths and the total length are left out of native data sets."""
    tables = (
        element(0x7FE00001, "OV", bytes(24))
        + element(0x7FE00002, "OV", bytes(24))
        + element(0x7FE00003, "UV", bytes(8))
    )
    data = Module(GREY, frames=3).encode() + tables + fragments(encoded(RLE, GREY))
    found = read(converted(data, RLE))
    assert np.array_equal(found.pixel_array, GREY)
    assert not [elem for elem in found if 0x7FE00000 <= elem.tag < 0x7FE00010]


@pytest.mark.parametrize(
    ("photometric", "mct", "uid"), [("YBR_RCT", True, J2K), ("YBR_ICT", True, J2K_LOSSY), ("RGB", False, J2K)]
)
def test_jpeg_2000_colours_become_rgb(photometric: str, mct: bool, uid: str) -> None:
    """The codec undoes its colour transform, and the data set says so."""
    frame = bytes(imagecodecs.jpeg2k_encode(COLOUR, level=0, codecformat="j2k", reversible=True, mct=mct))
    found = read(converted(compressed(Module(COLOUR, photometric=photometric), [frame]), uid))
    assert found.PhotometricInterpretation == "RGB"
    assert np.array_equal(found.pixel_array, COLOUR)


@pytest.mark.parametrize("photometric", ["YBR_FULL", "YBR_FULL_422"])
def test_lossy_jpeg_becomes_rgb(photometric: str) -> None:
    """Lossy JPEG colours are RGB afterwards, in values and in name."""
    flat = np.full((16, 16, 3), (200, 30, 90), "u1")
    frame = bytes(imagecodecs.jpeg8_encode(flat, level=95, subsampling="422"))
    found = read(converted(compressed(Module(flat, photometric=photometric), [frame]), JPEG))
    assert found.PhotometricInterpretation == "RGB"
    assert np.abs(np.frombuffer(found.PixelData, "u1").reshape(flat.shape).astype(int) - flat).max() < 4


@pytest.mark.parametrize(("photometric", "after"), [("YBR_FULL", "YBR_FULL"), ("YBR_FULL_422", "YBR_FULL")])
@pytest.mark.parametrize("uid", [RLE, JPEG_SV1, JPEG_LS, J2K])
def test_lossless_ybr_stays_ybr(uid: str, photometric: str, after: str) -> None:
    """YBR samples kept without loss are given back as they are, never subsampled."""
    found = read(converted(compressed(Module(COLOUR, photometric=photometric), encoded(uid, COLOUR[None])), uid))
    assert found.PhotometricInterpretation == after
    assert found.PixelData[:-1] == COLOUR.tobytes()


def test_planar_configuration_is_put_in_its_place() -> None:
    """A colour data set that lacks Planar Configuration gets it between its neighbours."""
    data = compressed(Module(COLOUR, planar=None), encoded(RLE, COLOUR[None]))
    found = read(converted(data, RLE))
    assert found.PlanarConfiguration == 0
    tags = [int(elem.tag) for elem in found]
    assert tags == sorted(tags)
    assert np.array_equal(found.pixel_array, COLOUR)


def test_planar_configuration_of_planes_is_corrected() -> None:
    """RLE data sets that say colour-by-plane are colour-by-pixel afterwards."""
    found = read(converted(compressed(Module(COLOUR, planar=1), encoded(RLE, COLOUR[None])), RLE))
    assert found.PlanarConfiguration == 0
    assert np.array_equal(found.pixel_array, COLOUR)


@pytest.mark.parametrize("uid", [UNCOMPRESSED, DEFLATED_FRAMES])
def test_native_frames_keep_their_planes(uid: str) -> None:
    """Frames that only were wrapped or deflated stay in planes when they are."""
    planes = np.ascontiguousarray(np.moveaxis(COLOUR, -1, 0))
    pack = raw_deflate if uid == DEFLATED_FRAMES else bytes
    found = read(converted(compressed(Module(COLOUR, planar=1), [pack(planes.tobytes())]), uid))
    assert found.PlanarConfiguration == 1
    assert np.array_equal(found.pixel_array, COLOUR)


def icon(samples: Samples, pixel_data: bytes) -> bytes:
    """Return an Icon Image Sequence."""
    return sequence(0x00880200, Module(samples).encode() + pixel_data)


def test_icons_are_decoded_too() -> None:
    """A compressed icon, of its own size and width, becomes native beside its image."""
    small = image(8, 6, dtype="u1")
    data = Module(GREY[0]).encode() + icon(small, fragments([j2k(small)])) + fragments([j2k(GREY[0])])
    found = read(converted(data, J2K))
    assert np.array_equal(found.pixel_array, GREY[0])
    assert found.IconImageSequence[0].PixelData == small.tobytes()
    assert found.IconImageSequence[0]["PixelData"].VR == "OB"


def test_a_colour_icon_of_a_grey_image_gets_its_own_description() -> None:
    """Only the data set whose pixels change is described anew."""
    data = Module(GREY[0]).encode() + sequence(
        0x00880200, Module(COLOUR, photometric="YBR_RCT", planar=None).encode() + fragments([j2k(COLOUR)])
    )
    found = read(converted(data + fragments([j2k(GREY[0])]), J2K))
    assert found.PhotometricInterpretation == "MONOCHROME2"
    assert "PlanarConfiguration" not in found
    inner = found.IconImageSequence[0]
    assert (inner.PhotometricInterpretation, inner.PlanarConfiguration) == ("RGB", 0)


def test_native_icons_are_copied() -> None:
    """An icon may be native in a compressed syntax (PS3.5 A.4); it stays what it is."""
    small = image(8, 6, dtype="u1")
    native = element(0x7FE00010, "OB", small.tobytes())
    data = Module(GREY[0]).encode() + icon(small, native) + fragments([j2k(GREY[0])])
    assert read(converted(data, J2K)).IconImageSequence[0].PixelData == small.tobytes()


def test_pixel_data_that_were_never_compressed_are_copied() -> None:
    """Native pixel data of the right length in a data set called compressed are kept."""
    data = Module(GREY[0]).encode() + element(0x7FE00010, "OW", GREY[0].tobytes())
    assert np.array_equal(pixels(converted(data, J2K)), GREY[0])


@pytest.mark.parametrize("uid", [J2K, RLE, JPEG])
def test_data_sets_without_pixels_are_converted(uid: str) -> None:
    """A report, or empty pixel data, in a compressed syntax need no codec."""
    assert converted(IDENTITY, uid) == IDENTITY
    empty = IDENTITY + element(0x7FE00010, "OW", b"")
    assert converted(empty, uid) == empty


BITS = np.random.default_rng(9).integers(0, 2, (3, 7, 9), dtype="u1")


@pytest.mark.parametrize("uid", [UNCOMPRESSED, DEFLATED_FRAMES, RLE, J2K])
@pytest.mark.parametrize("target", NATIVE)
def test_frames_of_single_bits_are_joined(uid: str, target: str) -> None:
    """Segmentations whose frames do not end on a byte run on from frame to frame in native pixel data."""
    packed = [np.packbits(frame.ravel(), bitorder="little").tobytes() for frame in BITS]
    pieces = {
        UNCOMPRESSED: packed,
        DEFLATED_FRAMES: [raw_deflate(frame) for frame in packed],
        RLE: [join_segments([bytes(imagecodecs.packbits_encode(frame))]) for frame in packed],
        J2K: [j2k(frame, 1) for frame in BITS],
    }[uid]
    data = compressed(Module(BITS, frames=3, bits_allocated=1, bits_stored=1), pieces)
    found = read(converted(data, uid, target), target)
    assert len(found.PixelData) == 24
    assert np.array_equal(found.pixel_array, BITS)


@pytest.mark.parametrize("uid", [RLE, JPEG_SV1, JPEG_LS, J2K])
def test_signed_pixels_keep_their_sign(uid: str) -> None:
    """Negative values of 13 bits stored in 16 come back negative."""
    samples = image(20, 30, dtype="i2", top=4095).clip(-4096)
    masked = (samples.view("u2") & 0x1FFF).astype("u2")
    frame = {
        RLE: lambda: ENCODERS[RLE](samples.view("u2")),
        JPEG_SV1: lambda: jpeg_lossless(masked, bits=13),
        JPEG_LS: lambda: ENCODERS[JPEG_LS](samples.view("u2")),
        J2K: lambda: j2k(samples, 13),
    }[uid]()
    found = converted(compressed(Module(samples, bits_stored=13, signed=True), [frame]), uid)
    assert np.array_equal(np.frombuffer(read(found).PixelData, "<i2").reshape(20, 30), samples)


def test_wide_samples_are_swapped_as_words() -> None:
    """32-bit pixel data of VR OW are turned two bytes at a time in big endian, as PS3.5 6.2 says of OW."""
    samples = np.array([[0x04030201]], "u4")
    found = converted(compressed(Module(samples), [ENCODERS[RLE](samples)]), RLE, BIG)
    assert found.endswith(element(0x7FE00010, "OW", b"\2\1\4\3", order=">"))


def test_jpeg_xl_of_a_jpeg_becomes_rgb() -> None:
    """A JPEG recompressed as JPEG XL gives nearly what the JPEG gives."""
    flat = np.full((16, 16, 3), (200, 30, 90), "u1")
    frame = bytes(imagecodecs.jpegxl_encode_jpeg(bytes(imagecodecs.jpeg8_encode(flat, level=95)), usecontainer=True))
    found = read(converted(compressed(Module(flat, photometric="YBR_FULL_422"), [frame]), JXL_JPEG))
    assert found.PhotometricInterpretation == "RGB"
    assert np.abs(np.frombuffer(found.PixelData, "u1").reshape(flat.shape).astype(int) - flat).max() < 4


TWINS = [
    ("MR_small_RLE.dcm", "MR_small.dcm"),
    ("MR_small_jp2klossless.dcm", "MR_small.dcm"),
    ("MR_small_jpeg_ls_lossless.dcm", "MR_small.dcm"),
    ("rtdose_rle.dcm", "rtdose.dcm"),
    ("rtdose_rle_1frame.dcm", "rtdose_1frame.dcm"),
]


@pytest.mark.parametrize(("name", "twin"), TWINS)
@pytest.mark.parametrize("target", [EXPLICIT, IMPLICIT, DEFLATED])
def test_shipped_files_equal_their_native_twins(name: str, twin: str, target: str) -> None:
    """Real files other toolkits compressed have the samples of the uncompressed file they were made of."""
    data, uid = shipped(name)
    assert np.array_equal(pixels(converted(data, uid, target), target), pixels(*shipped(twin)))


@pytest.mark.parametrize(
    ("name", "red"),
    [
        ("SC_rgb_rle.dcm", (255, 0, 0)),
        ("SC_rgb_rle_2frame.dcm", (255, 0, 0)),
        ("SC_rgb_gdcm_KY.dcm", (255, 0, 0)),
        ("SC_rgb_jls_lossy_line.dcm", (255, 0, 0)),
        ("SC_rgb_jls_lossy_sample.dcm", (255, 0, 0)),
        ("SC_rgb_jpeg_gdcm.dcm", (255, 0, 0)),
        ("SC_rgb_jpeg_dcmtk.dcm", (254, 0, 0)),
        ("SC_rgb_jpeg_lossy_gdcm.dcm", (254, 0, 0)),
        ("SC_rgb_dcmtk_+eb+cr.dcm", (255, 0, 0)),
        ("SC_rgb_dcmtk_+eb+cy+n1.dcm", (254, 0, 0)),
        ("SC_rgb_dcmtk_+eb+cy+n2.dcm", (254, 0, 0)),
        ("SC_rgb_dcmtk_+eb+cy+np.dcm", (254, 0, 0)),
        ("SC_rgb_dcmtk_+eb+cy+s2.dcm", (254, 0, 0)),
        ("SC_rgb_dcmtk_+eb+cy+s4.dcm", (254, 0, 0)),
    ],
)
def test_the_red_bar_of_shipped_files_is_red(name: str, red: tuple[int, int, int]) -> None:
    """One picture in all colour forms pydicom has starts with the same red."""
    data, uid = shipped(name)
    found = read(converted(data, uid))
    assert found.PhotometricInterpretation == "RGB"
    assert tuple(found.pixel_array.reshape(-1, 3)[5]) == red


@pytest.mark.parametrize("name", ["JPEG-lossy.dcm", "JPGExtended.dcm", "JPEG2000.dcm", "693_J2KI.dcm"])
def test_shipped_lossy_files_decode(name: str) -> None:
    """12-bit JPEG and lossy JPEG 2000 of real devices come out whole, their lossy marks kept."""
    data, uid = shipped(name)
    before, after = read(data, uid), read(converted(data, uid))
    assert after.pixel_array.shape == (before.Rows, before.Columns)
    assert after.get("LossyImageCompression") == before.get("LossyImageCompression")
    assert int(after.pixel_array.max()) > 100


def peak_of(data: io.BytesIO, uid: str) -> int:
    """Return the most memory a conversion held, in bytes."""
    with io.FileIO("/dev/null", "wb") as nowhere:
        tracemalloc.start()
        convert(data, source_uid=uid, target_uid=EXPLICIT, target=nowhere)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    return peak


@pytest.mark.parametrize("uid", [RLE, JPEG_LS])
def test_memory_does_not_grow_with_the_frames(uid: str) -> None:
    """Two hundred frames need no more memory than a few: one at a time is decoded."""
    frame = image(256, 256)
    peaks: dict[int, int] = {}
    for count in (4, 200):
        module = Module(np.broadcast_to(frame, (count, 256, 256)), frames=count)
        peaks[count] = peak_of(io.BytesIO(compressed(module, [ENCODERS[uid](frame)] * count)), uid)
    assert peaks[200] < 6 * frame.nbytes
    assert peaks[200] < peaks[4] + frame.nbytes


def test_threads_convert_at_once() -> None:
    """Conversions of different codecs at the same time do not disturb each other."""
    jobs = [(uid, compressed(Module(GREY, frames=3, bits_stored=12), encoded(uid, GREY))) for uid in ENCODERS]
    alone = [converted(data, uid) for uid, data in jobs]
    together: list[list[bytes]] = []

    def work() -> None:
        together.append([converted(data, uid) for uid, data in jobs])

    threads: Sequence[threading.Thread] = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert together == [alone] * 6


def test_a_deflated_target_holds_the_explicit_data_set() -> None:
    """Compressed pixels into a deflated data set: decoded first, then all of it deflated."""
    data = compressed(Module(GREY, frames=3), encoded(JXL, GREY))
    assert zlib.decompress(converted(data, JXL, DEFLATED), -15) == converted(data, JXL)


def test_values_of_the_image_in_other_groups_are_not_touched() -> None:
    """Photometric Interpretation in a sequence that has no pixels keeps its value."""
    inner = element(0x00280004, "CS", b"YBR_RCT ") + us(0x00280006, 1)
    data = compressed(Module(COLOUR, photometric="YBR_RCT"), [j2k(COLOUR)]).replace(
        IDENTITY, IDENTITY + sequence(0x00400555, inner)
    )
    found = read(converted(data, J2K))
    assert found.PhotometricInterpretation == "RGB"
    assert found[0x00400555].value[0].PhotometricInterpretation == "YBR_RCT"
    assert found[0x00400555].value[0].PlanarConfiguration == 1
