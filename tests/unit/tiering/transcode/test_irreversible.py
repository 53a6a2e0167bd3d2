"""What lossy codestreams the archive makes, HTJ2K and JPEG 2000, and that three decoders read the same from them."""

from __future__ import annotations

import io
import threading
from dataclasses import replace
from types import ModuleType
from typing import Any

import imagecodecs
import numpy as np
import pytest
from hypothesis import given, strategies as st
from openjpeg.utils import decode as openjpeg_decode, get_parameters

from tests.unit.tiering.transcode.building import Samples
from tiering.errors import CodecFailed, PixelMismatch
from tiering.transcode import irreversible, jpeg2000
from tiering.transcode.codecs import unpack_frame
from tiering.transcode.codestream import read_codestream
from tiering.transcode.irreversible import SampleFormat, decode, encode
from tiering.transcode.picture import Picture
from tiering.transcode.syntaxes import Codec

BITS = (2, 5, 7, 8, 10, 11, 12, 13, 15, 16)


def layout_of(bits: int, *, is_signed: bool = False) -> SampleFormat:
    """Return a format of so many bits stored, in the container DICOM has for them."""
    return SampleFormat(8 if bits <= 8 else 16, bits, is_signed)


def image(layout: SampleFormat, rows: int = 61, columns: int = 83) -> Samples:
    """Return a smooth picture with noise that reaches both ends of what the format holds."""
    low, high = layout.limits
    y, x = np.mgrid[:rows, :columns]
    wave = (np.sin(x / 9) * np.cos(y / 7) * 1.1 + 1) / 2 * (high - low) + low
    noise = np.random.default_rng(5).normal(0, (high - low) / 60, wave.shape)
    found: Samples = (wave + noise).round().clip(low, high).astype(layout.dtype)
    return found


FORMATS = pytest.mark.parametrize("is_signed", [False, True], ids=["unsigned", "signed"])
DEPTHS = pytest.mark.parametrize("bits", BITS)
CODECS = pytest.mark.parametrize("codec", [irreversible, jpeg2000], ids=["HTJ2K", "JPEG 2000"])


@CODECS
@FORMATS
@DEPTHS
def test_without_loss_every_sample_comes_back(codec: ModuleType, bits: int, is_signed: bool) -> None:
    """At every depth, signed or not, a frame without loss is the frame."""
    layout = layout_of(bits, is_signed=is_signed)
    samples = image(layout)
    found = codec.decode(codec.encode(samples, None, layout), layout)
    assert found.dtype == samples.dtype
    assert np.array_equal(found, samples)


@CODECS
@FORMATS
@DEPTHS
def test_the_codestream_has_the_precision_of_bits_stored(codec: ModuleType, bits: int, is_signed: bool) -> None:
    """PS3.5 8.2.4: a codestream says Bits Stored and the sign, not the width samples happen to lie in."""
    layout = layout_of(bits, is_signed=is_signed)
    for step in (None, 4.0):
        frame = codec.encode(image(layout), step, layout)
        assert read_codestream(Codec.JPEG_2000, frame).precision == bits
        said = get_parameters(io.BytesIO(frame))
        assert (said["precision"], said["is_signed"]) == (bits, is_signed)


@FORMATS
@DEPTHS
@pytest.mark.parametrize("part", [0.002, 0.02])
def test_three_decoders_agree(bits: int, is_signed: bool, part: float) -> None:
    """OpenJPEG of two packages and OpenJPH read the same picture, to a rounding, and it is near the original.

    The picture stays off the ends of the range: imagecodecs does not clamp what OpenJPH decodes.
    """
    layout = layout_of(bits, is_signed=is_signed)
    margin = (layout.limits[1] - layout.limits[0]) // 5
    samples = image(layout).clip(layout.limits[0] + margin, layout.limits[1] - margin)
    step = max(part * (layout.limits[1] - layout.limits[0]), 0.5)
    frame = encode(samples, step, layout)
    found = decode(frame, layout)
    assert np.abs(found.astype("i4") - samples).max() <= 4 * step + 1
    assert np.array_equal(openjpeg_decode(io.BytesIO(frame)), found)
    other = imagecodecs.htj2k_decode(frame).astype("i4").clip(*layout.limits)
    assert np.abs(other - found).max() <= max(1.0, step / 32)


@pytest.mark.parametrize("bits", [10, 12, 15])
def test_the_rewritten_header_changes_no_sample(bits: int) -> None:
    """A codestream that says Bits Stored decodes to what the one OpenJPH wrote, of 16 bits, decodes to."""
    layout, wide = layout_of(bits), layout_of(16)
    samples = image(layout).clip(100, layout.limits[1] - 100)
    shift = (1 << 15) - (1 << bits - 1)
    expected = decode(encode(samples + np.uint16(shift), 6.0, wide), wide) - np.uint16(shift)
    assert np.array_equal(decode(encode(samples, 6.0, layout), layout), expected)


@CODECS
def test_a_larger_step_makes_a_smaller_frame(codec: ModuleType) -> None:
    """The step is in stored values: the error follows it, the size falls."""
    layout = layout_of(12, is_signed=True)
    samples = image(layout, 200, 200)
    sizes, errors = [], []
    for step in (2.0, 8.0, 32.0, 128.0):
        frame = codec.encode(samples, step, layout)
        sizes.append(len(frame))
        errors.append(int(np.abs(codec.decode(frame, layout).astype("i4") - samples).max()))
    assert sizes == sorted(sizes, reverse=True)
    assert errors == sorted(errors)
    assert all(error <= 3 * step for error, step in zip(errors, (2, 8, 32, 128), strict=True))


@CODECS
def test_samples_do_not_wrap_at_the_ends(codec: ModuleType) -> None:
    """Where loss overshoots the range, white stays white and black black."""
    layout = layout_of(12)
    samples = np.tile(np.array([[0, 4095] * 16], "u2"), (32, 1)).repeat(3, axis=1)
    found = codec.decode(codec.encode(samples, 300.0, layout), layout)
    assert found.max() <= 4095
    assert np.abs(found.astype("i4") - samples).max() < 2000


@CODECS
@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (40, 1), (3, 5), (1, 1, 3), (1, 7, 3), (7, 1, 3)])
@pytest.mark.parametrize("step", [None, 1.0])
def test_any_shape_comes_back(codec: ModuleType, shape: tuple[int, ...], step: float | None) -> None:
    """Frames of one row, one column or one pixel keep their shape, in colour too."""
    samples = (np.arange(np.prod(shape)) % 200).astype("u1").reshape(shape)
    layout = SampleFormat(8, 8, samples=3, photometric="RGB") if len(shape) == 3 else layout_of(8)
    found = codec.decode(codec.encode(samples, step, layout), layout)
    assert found.shape == shape
    assert np.abs(found.astype("i4") - samples).max() <= (4 if step else 0)


@CODECS
@pytest.mark.parametrize(("photometric", "becomes"), [("RGB", "YBR_ICT"), ("YBR_FULL", "YBR_FULL")])
def test_colours_say_what_they_become(codec: ModuleType, photometric: str, becomes: str) -> None:
    """RGB is decorrelated by the codec; samples that are YBR already are left as they are (PS3.5 8.2.4)."""
    rng = np.random.default_rng(8)
    samples = np.clip(np.cumsum(rng.normal(0, 3, (64, 64, 3)), 0) + 128, 0, 255).astype("u1")
    layout = SampleFormat(8, 8, samples=3, photometric=photometric)
    frame = codec.encode(samples, 2.0, layout)
    assert layout.compressed_photometric == becomes
    # The byte of COD that says whether components are transformed (ISO 15444-1 A.6.1).
    assert frame[frame.index(b"\xff\x52") + 8] == (photometric == "RGB")
    assert np.abs(codec.decode(frame, layout).astype("i4") - samples).max() <= 10


def test_the_archives_own_reader_takes_it() -> None:
    """What is written is what the conversion for peers reads: the same samples, byte for byte."""
    layout = layout_of(12, is_signed=True)
    samples = image(layout)
    frame = encode(samples, 3.0, layout)
    picture = Picture(
        codec=Codec.JPEG_2000,
        rows=samples.shape[0],
        columns=samples.shape[1],
        samples=1,
        frames=1,
        bits_allocated=16,
        bits_stored=12,
        signed=True,
        photometric="MONOCHROME2",
        planar=None,
    )
    assert unpack_frame(picture, frame, 0) == decode(frame, layout).tobytes()


@FORMATS
def test_nine_bits_cannot_be_written(is_signed: bool) -> None:
    """9 bits in 16 would need eight guard bits: refused, not written with another precision."""
    layout = layout_of(9, is_signed=is_signed)
    with pytest.raises(CodecFailed, match="7 bits less"):
        encode(image(layout), 2.0, layout)


def test_a_step_too_large_for_the_precision_is_refused() -> None:
    """Exponents that would fall below zero are no exponents."""
    frame = bytearray.fromhex("ff5c00054000004f")
    with pytest.raises(ValueError, match="too large"):
        irreversible._lower_exponents(frame, 0, 4)


LAYOUT = layout_of(12)


@CODECS
@pytest.mark.parametrize(
    "samples",
    [
        np.full((4, 4), 4096, "u2"),
        np.full((4, 4), 0xF800, "u2"),
        np.zeros((4, 4), "i2"),
        np.zeros((4, 4), "u1"),
        np.zeros((4, 4), "f4"),
        np.zeros((4, 4, 3), "u2"),
        np.zeros((2, 4, 4, 1), "u2"),
        np.zeros(16, "u2"),
        np.zeros((0, 4), "u2"),
    ],
    ids=["beyond", "overlay bits", "signed", "narrow", "float", "colours", "frames", "flat", "empty"],
)
def test_what_is_not_as_described_is_refused(codec: ModuleType, samples: Any) -> None:
    """Samples of another type or shape, or with bits beyond Bits Stored (overlays), are not compressed."""
    with pytest.raises(PixelMismatch):
        codec.encode(samples, 2.0, LAYOUT)


@CODECS
@pytest.mark.parametrize("value", [-2049, 2048])
def test_signed_values_beyond_bits_stored_are_refused(codec: ModuleType, value: int) -> None:
    """-2000 fits 12 signed bits, what lies beyond -2048 or 2047 does not."""
    samples = np.zeros((4, 4), "i2")
    samples[0, 0] = -2000
    layout = layout_of(12, is_signed=True)
    assert codec.decode(codec.encode(samples, None, layout), layout)[0, 0] == -2000
    samples[0, 0] = value
    with pytest.raises(PixelMismatch, match="beyond"):
        codec.encode(samples, None, layout)


@CODECS
@pytest.mark.parametrize("change", [{"bits_stored": 11}, {"is_signed": True}])
def test_a_frame_of_another_precision_is_not_taken(codec: ModuleType, change: dict[str, Any]) -> None:
    """A codestream whose depth or sign is not the data set's is refused after decoding."""
    frame = codec.encode(image(LAYOUT), 2.0, LAYOUT)
    with pytest.raises(PixelMismatch, match="were encoded"):
        codec.decode(frame, replace(LAYOUT, **change))


@CODECS
@pytest.mark.parametrize("frame", [b"", b"\xff\x4f\xff\x51", b"garbage that is long enough to be read", bytes(500)])
def test_garbage_is_refused(codec: ModuleType, frame: bytes) -> None:
    """What is no codestream raises an error of ours."""
    with pytest.raises(CodecFailed):
        codec.decode(frame, LAYOUT)


@given(st.integers(0, 2**32 - 1))
def test_damaged_frames_raise_nothing_else(seed: int) -> None:
    """A codestream with flipped bytes is decoded to something of the right shape, or refused with an error of ours."""
    rng = np.random.default_rng(seed)
    frame = bytearray(SMALL)
    for position in rng.integers(0, len(frame), 4):
        frame[position] = rng.integers(0, 256)
    try:
        found = decode(bytes(frame[: rng.integers(1, len(frame) + 1)]), LAYOUT)
    except (CodecFailed, PixelMismatch):
        return
    assert found.dtype == LAYOUT.dtype


SMALL = encode(image(LAYOUT, 24, 24), 2.0, LAYOUT)


@CODECS
def test_threads_work_at_once(codec: ModuleType) -> None:
    """Frames compressed by several threads at the same time are those compressed one after the other."""
    layout = layout_of(12, is_signed=True)
    pictures = [np.roll(image(layout), 7 * number, 0) for number in range(4)]
    expected = [codec.encode(picture, 3.0, layout) for picture in pictures]
    wrong: list[int] = []

    def work(number: int) -> None:
        for _ in range(10):
            frame = codec.encode(pictures[number], 3.0, layout)
            if frame != expected[number] or codec.decode(frame, layout).shape != pictures[number].shape:
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_versions_are_told() -> None:
    """Evidence names both libraries with their versions, and they are two."""
    names = [[each.split()[0] for each in codec.versions()] for codec in (irreversible, jpeg2000)]
    assert names == [["openjph", "openjpeg"], ["openjpeg", "ffmpeg"]]


@pytest.mark.parametrize("bits", [10, 12, 15, 16])
def test_a_step_of_jpeg_2000_is_the_error_of_rounding_to_it(bits: int) -> None:
    """OpenJPEG is told the PSNR that rounding to multiples of the step has, and comes near it."""
    layout = layout_of(bits)
    samples = image(layout, 120, 140)
    for step in (2.0, 8.0, 32.0):
        error = jpeg2000.decode(jpeg2000.encode(samples, step, layout), layout).astype("f8") - samples
        # rounding to whole values adds a twelfth
        assert np.sqrt((error**2).mean()) == pytest.approx(np.sqrt(step**2 / 12 + 1 / 12), rel=0.3)
    assert jpeg2000.decibels(1e9, bits) == 1.0


def test_nine_bits_can_be_jpeg_2000() -> None:
    """Unlike HTJ2K's header, OpenJPEG's says whatever precision there is."""
    layout = layout_of(9)
    samples = image(layout)
    assert np.array_equal(jpeg2000.decode(jpeg2000.encode(samples, None, layout), layout), samples)
