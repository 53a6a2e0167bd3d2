"""What a compressed frame becomes: the very samples that were compressed."""

from __future__ import annotations

import struct
import threading
from dataclasses import replace
from typing import Any

import imagecodecs
import numpy as np
import pytest
from hypothesis import given, strategies as st

from tests.unit.tiering.transcode.building import (
    ENCODERS,
    HTJ2K,
    HTJ2K_LOSSY,
    J2K,
    JPEG_SV1,
    RLE,
    Samples,
    image,
    j2k,
    join_segments,
    jpeg_lossless,
    jxl,
    raw_deflate,
    rle,
)
from tiering.errors import CodecFailed, PixelMismatch, TranscodeError
from tiering.transcode import codecs
from tiering.transcode.codecs import is_available, unpack_frame, unpack_known_frame
from tiering.transcode.picture import Picture
from tiering.transcode.syntaxes import SOURCES, Codec

LOSSLESS = pytest.mark.parametrize("uid", ENCODERS)


def codec_of(uid: str) -> Codec:
    """Return the codec of a transfer syntax."""
    codec = SOURCES[uid].codec
    assert codec is not None
    return codec


def described(codec: Codec, samples: Samples, /, **changes: Any) -> Picture:
    """Return the picture that describes one frame of samples, with some changes."""
    bits = samples.dtype.itemsize * 8
    colours = samples.shape[2] if samples.ndim == 3 else 1
    picture = Picture(
        codec=codec,
        rows=samples.shape[0],
        columns=samples.shape[1],
        samples=colours,
        frames=1,
        bits_allocated=bits,
        bits_stored=bits,
        signed=samples.dtype.kind == "i",
        photometric="MONOCHROME2" if colours == 1 else "RGB",
        planar=None if colours == 1 else 0,
    )
    return replace(picture, **changes)


def unpacked(picture: Picture, frame: bytes) -> Samples:
    """Return the samples a frame unpacks to, in the shape and type the picture describes."""
    kind = f"<{'i' if picture.signed else 'u'}{picture.bits_allocated // 8}"
    shape = (picture.rows, picture.columns) + ((picture.samples,) if picture.samples > 1 else ())
    return np.frombuffer(unpack_frame(picture, frame, 0), kind).reshape(shape)


@LOSSLESS
@pytest.mark.parametrize("dtype", ["u1", "u2"])
@pytest.mark.parametrize("shape", [(37, 53), (16, 20, 3)], ids=["grey", "colour"])
def test_lossless_codecs_give_back_every_sample(uid: str, dtype: str, shape: tuple[int, ...]) -> None:
    """What was compressed without loss comes back bit for bit, odd sizes and colours too."""
    samples = image(*shape, dtype=dtype)
    assert np.array_equal(unpacked(described(codec_of(uid), samples), ENCODERS[uid](samples)), samples)


@pytest.mark.parametrize("dtype", ["i1", "i2"])
@pytest.mark.parametrize("codec", [Codec.RLE, Codec.JPEG_2000, Codec.JPEG_LS, Codec.JPEG_LOSSLESS])
def test_signed_samples_come_back_signed(codec: Codec, dtype: str) -> None:
    """Codecs without signs carry the bits; the data set's Pixel Representation gives them their meaning back."""
    samples = image(20, 30, dtype=dtype)
    unsigned = samples.view(dtype.replace("i", "u"))
    frame = {
        Codec.RLE: lambda: rle(unsigned),
        Codec.JPEG_2000: lambda: j2k(samples),
        Codec.JPEG_LS: lambda: bytes(imagecodecs.jpegls_encode(unsigned)),
        Codec.JPEG_LOSSLESS: lambda: jpeg_lossless(unsigned),
    }[codec]()
    assert np.array_equal(unpacked(described(codec, samples), frame), samples)


@pytest.mark.parametrize("bits", [10, 12, 15])
def test_signs_are_extended_from_the_encoded_precision(bits: int) -> None:
    """12 encoded bits of a signed sample fill 16 with its sign, so that no reader sees a large positive value."""
    samples = image(20, 30, dtype="i2", top=(1 << bits - 1) - 1).clip(-(1 << bits - 1))
    masked = (samples.view("u2") & ((1 << bits) - 1)).astype("u2")
    frame = jpeg_lossless(masked, bits=bits)
    assert np.array_equal(unpacked(described(Codec.JPEG_LOSSLESS, samples, bits_stored=bits), frame), samples)
    assert np.array_equal(unpacked(described(Codec.JPEG_2000, samples, bits_stored=bits), j2k(masked, bits)), samples)


def test_a_wrong_sign_in_the_codestream_is_overruled() -> None:
    """JPEG 2000 that says signed in a data set that says unsigned is read as unsigned, of its precision."""
    encoded = image(20, 30, dtype="i2", top=2047).clip(-2048)
    picture = described(Codec.JPEG_2000, encoded, bits_stored=12, signed=False)
    assert np.array_equal(unpacked(picture, j2k(encoded, 12)), encoded.view("u2") & 0x0FFF)


@pytest.mark.parametrize("codec", [Codec.JPEG_LOSSLESS, Codec.JPEG_LS, Codec.JPEG_2000, Codec.JPEG_XL])
def test_narrow_samples_fill_a_wide_container(codec: Codec) -> None:
    """8 encoded bits in 16 allocated keep their values."""
    samples = image(20, 30, dtype="u1")
    uid = next(uid for uid in ENCODERS if codec_of(uid) is codec)
    picture = described(codec, samples, bits_allocated=16)
    assert np.array_equal(unpacked(picture, ENCODERS[uid](samples)), samples)


def test_12_bit_jpeg_xl_is_not_scaled() -> None:
    """The decoder gives the encoded values, not values stretched to 16 bits."""
    samples = image(20, 30, top=4095)
    assert np.array_equal(unpacked(described(Codec.JPEG_XL, samples, bits_stored=12), jxl(samples, 12)), samples)


def test_32_bit_samples_come_back() -> None:
    """RLE keeps dose grids of 32 bits whole."""
    samples = image(9, 11, dtype="u4")
    assert np.array_equal(unpacked(described(Codec.RLE, samples), rle(samples)), samples)


def test_extended_jpeg_has_12_bits() -> None:
    """JPEG of 12 bits, which most decoders refuse, decodes close to what was encoded."""
    samples = image(64, 64, top=4095)
    frame = bytes(imagecodecs.jpeg8_encode(samples, level=98, bitspersample=12))
    found = unpacked(described(Codec.JPEG, samples, bits_stored=12), frame)
    assert np.abs(found.astype(int) - samples).max() < 40


@pytest.mark.parametrize("subsampling", ["444", "422", "420"])
@pytest.mark.parametrize("photometric", ["YBR_FULL_422", "YBR_FULL", "RGB"])
def test_lossy_jpeg_colours_become_rgb(subsampling: str, photometric: str) -> None:
    """YBR codestreams decode to RGB, also in data sets that wrongly say RGB: the codestream tells."""
    samples = np.zeros((32, 32, 3), "u1")
    samples[..., 0], samples[:16, :, 2] = 255, 200
    frame = bytes(imagecodecs.jpeg8_encode(samples, level=99, subsampling=subsampling))
    found = unpacked(described(Codec.JPEG, samples, photometric=photometric), frame)
    assert np.abs(found.astype(int) - samples).mean() < 3


def test_rgb_jpeg_stays_rgb() -> None:
    """A JPEG whose components are RGB is not taken for YBR, whatever the data set says."""
    samples = image(32, 32, 3, dtype="u1")
    frame = bytes(imagecodecs.jpeg8_encode(samples, level=99, colorspace="RGB", outcolorspace="RGB"))
    for photometric in ("RGB", "YBR_FULL_422"):
        found = unpacked(described(Codec.JPEG, samples, photometric=photometric), frame)
        assert np.abs(found.astype(int) - samples).mean() < 2


def test_lossless_ybr_is_not_converted() -> None:
    """YBR samples compressed without loss stay the YBR samples they are."""
    samples = image(16, 20, 3, dtype="u1")
    picture = described(Codec.JPEG_LOSSLESS, samples, photometric="YBR_FULL")
    assert np.array_equal(unpacked(picture, jpeg_lossless(samples)), samples)


def test_lossy_htj2k_does_not_wrap() -> None:
    """Samples at both ends of the range stay there: white never turns black."""
    samples = np.repeat(np.array([[0, 255] * 16] * 32, "u1"), 3, axis=1)
    frame = bytes(imagecodecs.htj2k_encode(samples, level=20, reversible=False))
    found = unpacked(described(codec_of(HTJ2K_LOSSY), samples), frame)
    assert np.abs(found.astype(int) - samples).max() < 128


def test_rle_in_planes_becomes_colour_by_pixel() -> None:
    """RLE keeps colours apart; native frames have them side by side."""
    samples = np.arange(24, dtype="u1").reshape(2, 4, 3)
    assert unpack_frame(described(Codec.RLE, samples, planar=1), rle(samples), 0) == bytes(range(24))


@pytest.mark.parametrize("uid", [uid for uid in ENCODERS if uid != RLE])
def test_a_frame_with_more_rows_is_refused(uid: str) -> None:
    """Rows more than described are not cut off in silence."""
    with pytest.raises(TranscodeError):
        unpack_frame(described(codec_of(uid), SMALL, rows=14), ENCODERS[uid](SMALL), 3)


@pytest.mark.parametrize("padding", [b"", b"\0", b"\5", b"\x80", b"\xff", b"\x7f\x7f"])
def test_rle_padding_is_no_run(padding: bytes) -> None:
    """What makes a segment even may look like the head of a run that is not there."""
    samples = image(5, 7, dtype="u1")
    segment = bytes(imagecodecs.packbits_encode(samples.tobytes()))
    assert np.array_equal(unpacked(described(Codec.RLE, samples), join_segments([segment + padding])), samples)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 300)), max_size=6), st.integers(0, 50))
def test_run_lengths_are_read_the_same_without_the_library(runs: list[tuple[int, int]], spare: int) -> None:
    """The decoder for segments the library refuses gives what the library gives, and stops where it is told."""
    plane = b"".join(bytes([value]) * count for value, count in runs) + bytes(range(spare))
    segment = bytes(imagecodecs.packbits_encode(plane))
    assert codecs._unpack_bits_up_to(segment, len(plane)) == plane
    assert codecs._unpack_bits_up_to(segment + b"\x80\x80\5", len(plane)) == plane
    assert codecs._unpack_bits_up_to(segment, len(plane) // 2)[: len(plane) // 2] == plane[: len(plane) // 2]


def test_rle_rows_beyond_the_last_are_cut() -> None:
    """A segment longer than its plane keeps only the plane."""
    samples = image(5, 8, dtype="u1")
    frame = join_segments([bytes(imagecodecs.packbits_encode(samples.tobytes() + b"more"))])
    assert np.array_equal(unpacked(described(Codec.RLE, samples), frame), samples)


BITS = np.random.default_rng(5).integers(0, 2, (7, 9), dtype="u1")
PACKED = np.packbits(BITS.ravel(), bitorder="little").tobytes()
BIT_FRAMES = {
    Codec.UNCOMPRESSED: PACKED,
    Codec.DEFLATED_FRAME: raw_deflate(PACKED),
    Codec.RLE: join_segments([bytes(imagecodecs.packbits_encode(PACKED))]),
    Codec.JPEG_2000: j2k(BITS, 1),
    Codec.JPEG_LS: bytes(imagecodecs.jpegls_encode(BITS)),
}


@pytest.mark.parametrize("codec", BIT_FRAMES)
def test_single_bits_come_packed(codec: Codec) -> None:
    """Segmentations of one bit come eight to a byte, the first pixel lowest, from every codec that has them."""
    picture = described(codec, BITS, bits_allocated=1, bits_stored=1)
    if codec is Codec.JPEG_LS:
        with pytest.raises(PixelMismatch):
            unpack_frame(picture, BIT_FRAMES[codec], 0)
    else:
        assert unpack_frame(picture, BIT_FRAMES[codec], 0) == PACKED


SMALL = image(16, 24, dtype="u2", top=4095)


@LOSSLESS
@pytest.mark.parametrize(
    "change", [{"rows": 17}, {"columns": 25}, {"samples": 3, "photometric": "RGB"}, {"bits_allocated": 8}]
)
def test_a_frame_of_another_size_is_refused(uid: str, change: dict[str, Any]) -> None:
    """Rows, columns, samples or width other than described never come out."""
    with pytest.raises(TranscodeError):
        unpack_frame(described(codec_of(uid), SMALL, **change), ENCODERS[uid](SMALL), 3)


def test_a_huge_codestream_is_refused_before_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    """A codestream that claims other sizes than its data set never reaches the codec."""
    frame = bytearray(j2k(SMALL))
    frame[8:16] = struct.pack(">II", 1 << 20, 1 << 20)
    monkeypatch.setattr(imagecodecs, "jpeg2k_decode", lambda *_, **__: pytest.fail("decoded"))
    with pytest.raises(PixelMismatch, match="1048576x1048576 encoded"):
        unpack_frame(described(Codec.JPEG_2000, SMALL), bytes(frame), 0)


@LOSSLESS
@pytest.mark.parametrize("size", [0, 1, 20, 70])
def test_a_cut_frame_is_refused(uid: str, size: int) -> None:
    """A frame whose end is missing raises and gives no half picture."""
    frame = ENCODERS[uid](SMALL)
    with pytest.raises(TranscodeError):
        unpack_frame(described(codec_of(uid), SMALL), frame[:size], 0)


@LOSSLESS
def test_half_a_frame_is_refused(uid: str) -> None:
    """A frame cut in the middle of its data raises."""
    frame = ENCODERS[uid](SMALL)
    with pytest.raises(TranscodeError):
        unpack_frame(described(codec_of(uid), SMALL), frame[: len(frame) // 2], 0)


def test_a_failure_names_codec_and_frame() -> None:
    """What the codec said comes with which frame it was, and the cause is kept."""
    with pytest.raises(CodecFailed) as caught:
        unpack_frame(described(Codec.JPEG_LS, SMALL), b"\xff\xd8 nothing \xff\xd9", 7)
    assert caught.value.fields["codec"] == "JPEG-LS"
    assert caught.value.fields["frame"] == 7
    assert isinstance(caught.value.__cause__, ValueError)


@pytest.mark.parametrize("count", [0, 1, 3, 16, 0xFFFFFFFF])
def test_a_wrong_segment_count_is_refused(count: int) -> None:
    """RLE has one segment for each byte of each sample, fifteen at most."""
    frame = struct.pack("<I", count) + rle(SMALL)[4:]
    with pytest.raises(PixelMismatch, match="segments"):
        unpack_frame(described(Codec.RLE, SMALL), frame, 0)


def test_a_deflate_bomb_is_not_inflated() -> None:
    """A deflated frame stops a few bytes beyond what is described."""
    bomb = raw_deflate(bytes(1 << 24))
    with pytest.raises(PixelMismatch, match="decodes to 771 bytes"):
        unpack_frame(described(Codec.DEFLATED_FRAME, SMALL), bomb, 0)


def test_four_jpeg_samples_are_refused() -> None:
    """JPEG of four samples has no colours DICOM names."""
    samples = image(16, 16, 4, dtype="u1")
    frame = bytes(imagecodecs.jpeg8_encode(samples, colorspace="CMYK", outcolorspace="CMYK"))
    with pytest.raises(PixelMismatch, match="4 samples"):
        unpack_frame(described(Codec.JPEG, samples, photometric="CMYK"), frame, 0)


def test_a_float_picture_is_refused() -> None:
    """JPEG XL of real numbers has no pixel data to become."""
    frame = bytes(imagecodecs.jpegxl_encode(np.linspace(0, 1, 64, dtype="f4").reshape(8, 8), lossless=True))
    with pytest.raises(PixelMismatch, match="float32"):
        unpack_frame(described(Codec.JPEG_XL, np.zeros((8, 8), "u4")), frame, 0)


def test_a_missing_library_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A codec whose library is not in the build is not available; those without library always are."""

    class Missing:
        available = False

    monkeypatch.setitem(codecs._LIBRARIES, Codec.JPEG_XL, Missing)
    assert not is_available(Codec.JPEG_XL)
    assert is_available(Codec.DEFLATED_FRAME)


@pytest.mark.parametrize("codec", list(Codec))
def test_every_codec_is_there(codec: Codec) -> None:
    """The build the tests run with decodes everything."""
    assert is_available(codec)


@LOSSLESS
def test_threads_decode_at_once(uid: str) -> None:
    """Frames decoded by several threads at the same time are the same as one after the other."""
    pictures = [image(64, 64, seed=seed) for seed in range(4)]
    jobs = [(described(codec_of(uid), samples), ENCODERS[uid](samples), samples) for samples in pictures]
    wrong: list[int] = []

    def work(number: int) -> None:
        picture, frame, samples = jobs[number]
        for _ in range(10):
            if not np.array_equal(unpacked(picture, frame), samples):
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(len(jobs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.parametrize("uid", [HTJ2K, J2K, RLE, JPEG_SV1])
@pytest.mark.parametrize("shape", [(61, 77), (61, 77, 3)])
def test_known_frames_come_out_the_same(uid: str, shape: tuple[int, ...]) -> None:
    """By the faster decoder where there is one, by the usual one elsewhere: every sample is the same."""
    samples = image(*shape, dtype="u1")
    frame = ENCODERS[uid](samples)
    picture = described(codec_of(uid), samples)
    assert unpack_known_frame(picture, frame, 0) == unpack_frame(picture, frame, 0)


def test_a_known_frame_of_another_size_is_refused() -> None:
    """Before anything is allocated for it."""
    samples = image(61, 77)
    picture = described(Codec.JPEG_2000, samples, rows=62)
    with pytest.raises(PixelMismatch, match="77x62 described"):
        unpack_known_frame(picture, ENCODERS[HTJ2K](samples), 0)
