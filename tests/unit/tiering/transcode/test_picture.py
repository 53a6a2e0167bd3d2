"""What pixel data are described as before, and must be described as after."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest

from tests.unit.tiering.transcode.building import Module, image
from tiering.errors import ConversionTooLarge, PixelMismatch
from tiering.transcode.level import Level
from tiering.transcode.picture import FRAME_BYTES_LIMIT, Picture, read_frames, read_picture
from tiering.transcode.source import Source
from tiering.transcode.syntaxes import EXPLICIT_LITTLE, Codec
from tiering.transcode.tokens import Tokens

GREY = Picture(
    codec=Codec.JPEG_2000,
    rows=10,
    columns=20,
    samples=1,
    frames=1,
    bits_allocated=16,
    bits_stored=12,
    signed=True,
    photometric="MONOCHROME2",
    planar=None,
)
COLOUR = replace(GREY, samples=3, bits_allocated=8, bits_stored=8, signed=False, photometric="RGB", planar=1)


def a_level(values: dict[int, bytes]) -> Level:
    """Return a data set with some encoded values."""
    return Level(0, None, EXPLICIT_LITTLE, values=values)


def level_of(module: Module) -> Level:
    """Return the level of a data set that holds an Image Pixel module."""
    tokens = Tokens(Source(io.BytesIO(module.encode())), EXPLICIT_LITTLE)
    assert list(tokens)
    return tokens.root


def test_a_picture_is_read_from_its_module() -> None:
    """Every attribute of the Image Pixel module that matters is taken over."""
    module = Module(image(5, 10, 20, top=4000), frames=5, bits_stored=12, signed=True)
    assert read_picture(Codec.JPEG_2000, level_of(module)) == replace(GREY, frames=5)
    colours = Module(image(10, 20, 3, dtype="u1"), planar=1)
    assert read_picture(Codec.JPEG_2000, level_of(colours)) == COLOUR


def test_bits_stored_default_to_all() -> None:
    """Without Bits Stored every allocated bit is meant."""
    level = level_of(Module(image(4, 4)))
    del level.values[0x00280101]
    assert read_picture(Codec.RLE, level).bits_stored == 16


@pytest.mark.parametrize("tag", [0x00280002, 0x00280010, 0x00280011, 0x00280100])
def test_what_is_needed_must_be_there(tag: int) -> None:
    """Samples, rows, columns and bits that are absent or zero are an error that names the tag."""
    level = level_of(Module(image(4, 4)))
    level.values[tag] = b"\0\0"
    with pytest.raises(PixelMismatch, match=f"{tag & 0xFFFF:04X}"):
        read_picture(Codec.RLE, level)
    del level.values[tag]
    with pytest.raises(PixelMismatch):
        read_picture(Codec.RLE, level)


@pytest.mark.parametrize(("value", "frames"), [(b"", 1), (b"1 ", 1), (b" 12", 12), (b"+3", 3), (b"007 ", 7)])
def test_frames_are_counted(value: bytes, frames: int) -> None:
    """Number of Frames is an integer string, one frame when empty."""
    assert read_frames(a_level({0x00280008: value})) == frames
    assert read_frames(a_level({})) == 1


@pytest.mark.parametrize("value", [b"0", b"-1", b"two", b"1.5", b"1\\2", b"99999999999", b"\xb2 "])
def test_a_frame_count_that_is_none_is_refused(value: bytes) -> None:
    """Zero, negative, fractional and impossible counts are an error."""
    with pytest.raises(PixelMismatch):
        read_frames(a_level({0x00280008: value}))


@pytest.mark.parametrize(
    ("codec", "photometric", "after"),
    [
        (Codec.JPEG_2000, "YBR_RCT", "RGB"),
        (Codec.JPEG_2000, "YBR_ICT", "RGB"),
        (Codec.JPEG_2000, "RGB", "RGB"),
        (Codec.JPEG_2000, "YBR_FULL", "YBR_FULL"),
        (Codec.JPEG_2000, "YBR_FULL_422", "YBR_FULL"),
        (Codec.JPEG, "YBR_FULL_422", "RGB"),
        (Codec.JPEG, "YBR_FULL", "RGB"),
        (Codec.JPEG, "RGB", "RGB"),
        (Codec.JPEG_LOSSLESS, "YBR_FULL", "YBR_FULL"),
        (Codec.JPEG_LS, "YBR_FULL", "YBR_FULL"),
        (Codec.RLE, "YBR_FULL", "YBR_FULL"),
        (Codec.RLE, "RGB", "RGB"),
        (Codec.JPEG_XL, "XYB", "RGB"),
        (Codec.JPEG_XL_RECOMPRESSED, "YBR_FULL_422", "RGB"),
        (Codec.UNCOMPRESSED, "YBR_FULL_422", "YBR_FULL_422"),
        (Codec.DEFLATED_FRAME, "YBR_FULL", "YBR_FULL"),
    ],
)
def test_colours_are_called_what_they_become(codec: Codec, photometric: str, after: str) -> None:
    """Transforms a codec undoes end in RGB; colours it does not touch keep their name; 4:2:2 ends where it ends."""
    assert replace(COLOUR, codec=codec, photometric=photometric).native_photometric == after


@pytest.mark.parametrize("codec", list(Codec))
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2", "PALETTE COLOR"])
def test_one_sample_keeps_its_meaning(codec: Codec, photometric: str) -> None:
    """Grey scales and palettes are the same before and after, with no planar configuration."""
    picture = replace(GREY, codec=codec, photometric=photometric)
    assert picture.native_photometric == photometric
    assert picture.native_planar is None


def test_colours_come_by_pixel() -> None:
    """Decoded colours are interleaved; frames that are native already keep their order."""
    assert replace(COLOUR, codec=Codec.RLE).native_planar == 0
    assert replace(COLOUR, codec=Codec.JPEG_LS, planar=None).native_planar == 0
    assert replace(COLOUR, codec=Codec.UNCOMPRESSED).native_planar == 1
    assert replace(COLOUR, codec=Codec.UNCOMPRESSED, planar=None).native_planar == 0


@pytest.mark.parametrize(("bits", "vr"), [(1, "OB"), (8, "OB"), (16, "OW"), (32, "OW")])
def test_wide_samples_are_words(bits: int, vr: str) -> None:
    """Native pixel data of more than 8 bits have VR OW (PS3.5 A.2)."""
    assert replace(GREY, bits_allocated=bits, bits_stored=1).vr == vr


def test_lengths_count_every_sample() -> None:
    """The native length is rows, columns, samples, bytes and frames multiplied."""
    assert GREY.native_bytes == 10 * 20 * 2
    assert replace(COLOUR, frames=7).native_bytes == 10 * 20 * 3 * 7


def test_single_bits_run_on_from_frame_to_frame() -> None:
    """Three frames of nine bits take four bytes, not six."""
    picture = replace(GREY, rows=3, columns=3, bits_allocated=1, bits_stored=1, frames=3)
    assert picture.frame_bits == 9
    assert picture.native_bytes == 4


def test_subsampled_native_frames_are_shorter() -> None:
    """Uncompressed YBR_FULL_422 has two samples a pixel; a codec's output never is subsampled."""
    subsampled = replace(COLOUR, codec=Codec.UNCOMPRESSED, photometric="YBR_FULL_422")
    assert subsampled.native_bytes == 10 * 20 * 2
    assert replace(subsampled, codec=Codec.RLE).native_bytes == 10 * 20 * 3


@pytest.mark.parametrize(
    ("allocated", "stored"), [(12, 12), (24, 24), (8, 12), (0x8000, 1)], ids=["12", "24", "stored > allocated", "huge"]
)
def test_widths_without_a_native_form_are_refused(allocated: int, stored: int) -> None:
    """Bits Allocated is 1 or a whole number of bytes a machine knows, and holds what is stored."""
    with pytest.raises(PixelMismatch):
        read_picture(Codec.JPEG_2000, level_of(Module(image(4, 4), bits_allocated=allocated, bits_stored=stored)))


@pytest.mark.parametrize("photometric", ["YBR_PARTIAL_422", "YBR_PARTIAL_420"])
def test_colours_without_a_native_form_are_refused(photometric: str) -> None:
    """Partial ranges only exist in video."""
    with pytest.raises(PixelMismatch, match=photometric):
        read_picture(Codec.JPEG_2000, level_of(Module(image(4, 4, 3, dtype="u1"), photometric=photometric)))


def test_colours_nobody_named_are_refused() -> None:
    """Three samples without Photometric Interpretation may be anything."""
    level = level_of(Module(image(4, 4, 3, dtype="u1")))
    del level.values[0x00280004]
    with pytest.raises(PixelMismatch):
        read_picture(Codec.JPEG_LS, level)


def test_a_frame_that_fills_the_memory_is_refused() -> None:
    """A description of more than the limit is refused before a byte is allocated."""
    module = Module(image(4, 4))
    level = level_of(module)
    level.values[0x00280010] = level.values[0x00280011] = b"\xff\xff"
    assert FRAME_BYTES_LIMIT < 65535 * 65535 * 2
    with pytest.raises(ConversionTooLarge):
        read_picture(Codec.JPEG_2000, level)


@pytest.mark.parametrize(
    ("rows", "samples", "bits", "fits"),
    [
        (32768, 1, 8, True),
        (32769, 1, 8, False),
        (16384, 1, 16, True),
        (16385, 1, 16, False),
        (10922, 3, 8, True),
        (10923, 3, 8, False),
        (32768, 1, 1, True),
        (32769, 1, 1, False),
    ],
)
def test_a_frame_may_take_a_gibibyte(rows: int, samples: int, bits: int, fits: bool) -> None:
    """The limit counts bytes in memory, where a sample takes one at least; a frame just below it passes."""
    level = level_of(Module(image(4, 4), bits_allocated=bits, bits_stored=1, photometric="RGB"))
    for tag, number in ((0x00280010, rows), (0x00280011, 32768), (0x00280002, samples)):
        level.values[tag] = number.to_bytes(2, "little")
    if fits:
        assert read_picture(Codec.JPEG_2000, level).rows == rows
    else:
        with pytest.raises(ConversionTooLarge):
            read_picture(Codec.JPEG_2000, level)


def test_pixel_data_that_fit_no_element_are_refused() -> None:
    """All frames together must fit a 32-bit length."""
    level = level_of(Module(image(2, 300, 400), frames=2))
    level.values[0x00280008] = b"17896"
    with pytest.raises(ConversionTooLarge):
        read_picture(Codec.JPEG_2000, level)
    level.values[0x00280008] = b"17895"
    assert read_picture(Codec.JPEG_2000, level).native_bytes == 17895 * 300 * 400 * 2
