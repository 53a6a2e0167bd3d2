"""What is never compressed: each picture left alone says why."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.unit.tiering.transcode.building import (
    BIG,
    DEFLATED,
    EXPLICIT,
    HTJ2K_LOSSY,
    IDENTITY,
    IMPLICIT,
    J2K_LOSSY,
    JPEG,
    JPEG_LS_NEAR,
    JXL_JPEG,
    RLE,
    Module,
    Samples,
    converted,
    element,
    fragments,
    image,
    rle,
    us,
)
from tests.unit.tiering.transcode.compressing import J2K, JPEG_LS, RPCL, compressed, native, smooth
from tiering.errors import CannotCompress, MalformedDataset, PixelMismatch, UnsupportedConversion
from tiering.transcode import CompressPolicy, PictureFacts, cannot_compress, read_picture_facts
from tiering.transcode.picture import Picture
from tiering.transcode.syntaxes import Codec

GREY = smooth(64, 65)
COLOUR = smooth(40, 41, 3, dtype="u1", bits=8)
PICTURE = Picture(
    Codec.UNCOMPRESSED,
    rows=4,
    columns=4,
    samples=1,
    frames=1,
    bits_allocated=16,
    bits_stored=12,
    signed=False,
    photometric="MONOCHROME2",
    planar=None,
)
FACTS = PictureFacts(EXPLICIT, PICTURE, stored_bytes=32, high_bit=11)


def overlay(group: int, bits: int, *, data: bytes = b"") -> dict[int, bytes]:
    """Return the elements of an overlay, with its own data when there are any."""
    tag = group << 16
    elements = {tag | 0x0100: us(tag | 0x0100, bits), tag | 0x0102: us(tag | 0x0102, bits - 1)}
    return elements | ({tag | 0x3000: element(tag | 0x3000, "OW", data)} if data else {})


def reason(dataset: bytes, **options: Any) -> str:
    """Return why a data set is left as it is."""
    with pytest.raises(CannotCompress) as caught:
        compressed(dataset, **options)
    return str(caught.value.fields["reason"])


@pytest.mark.parametrize("uid", [RPCL, JPEG_LS, J2K])
def test_a_plain_picture_may_be_compressed(uid: str) -> None:
    """Nothing speaks against an unsigned 12-bit picture."""
    assert cannot_compress(FACTS, target_uid=uid) is None


@pytest.mark.parametrize(
    ("uid", "bits", "fits"),
    [(RPCL, 16, True), (RPCL, 7, True), (J2K, 9, False), (J2K, 7, True), (JPEG_LS, 9, False), (JPEG_LS, 7, False)],
)
def test_colours_the_second_decoder_cannot_read_are_refused(uid: str, bits: int, fits: bool) -> None:
    """FFmpeg gives colours in 8 bits, and those of JPEG-LS right at 8 alone: others stay, before a frame is encoded."""
    colours = replace(PICTURE, samples=3, photometric="RGB", bits_stored=bits)
    found = cannot_compress(replace(FACTS, picture=colours, high_bit=None), target_uid=uid)
    assert found == (None if fits else f"no second decoder for colours of {bits} bits")


@pytest.mark.parametrize("uid", [JPEG, JPEG_LS_NEAR, J2K_LOSSY, HTJ2K_LOSSY, JXL_JPEG, "1.2.840.10008.1.2.4.112"])
def test_lossy_transfer_syntaxes_are_left_alone(uid: str) -> None:
    """What is lossy, or may be, is not touched."""
    assert cannot_compress(replace(FACTS, source_uid=uid)) == "lossy transfer syntax"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"lossy": True}, "lossy compressed before"),
        ({"floating": True}, "float or double pixel data"),
        ({"picture": None}, "no pixel data"),
        ({"stored_bytes": 0}, "no pixel data"),
        ({"overlay_in_pixels": True}, "overlay in the unused bits of the pixel data"),
        ({"high_bit": 15}, "High Bit is not Bits Stored less one"),
        ({"source_uid": RPCL}, "already in the target transfer syntax"),
    ],
)
def test_facts_that_forbid(change: dict[str, Any], expected: str) -> None:
    """Each fact alone keeps a picture as it is."""
    assert cannot_compress(replace(FACTS, **change)) == expected


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"bits_allocated": 1, "bits_stored": 1}, "1 bits allocated"),
        ({"bits_allocated": 32, "bits_stored": 32}, "32 bits allocated"),
        ({"bits_allocated": 64, "bits_stored": 64}, "64 bits allocated"),
        ({"photometric": "PALETTE COLOR"}, "the target does not take its Photometric Interpretation"),
        ({"photometric": ""}, "the target does not take its Photometric Interpretation"),
        ({"photometric": "YBR_RCT"}, "the target does not take its Photometric Interpretation"),
        ({"photometric": "HSV", "samples": 3}, "the target does not take its Photometric Interpretation"),
        ({"photometric": "CMYK", "samples": 4}, "the target does not take its Photometric Interpretation"),
        ({"photometric": "YBR_FULL_422", "samples": 3}, "subsampled colours"),
        ({"photometric": "RGB"}, "1 samples per pixel do not fit its Photometric Interpretation"),
        ({"samples": 3}, "3 samples per pixel do not fit its Photometric Interpretation"),
        ({"photometric": "RGB", "samples": 3, "signed": True}, "signed colours"),
    ],
)
def test_pictures_that_do_not_fit(change: dict[str, Any], expected: str) -> None:
    """What PS3.5 8.2 does not list, and what the codec cannot prove, stays."""
    facts = replace(FACTS, picture=replace(PICTURE, **change), high_bit=None)
    assert cannot_compress(facts) == expected


@pytest.mark.parametrize(
    ("change", "uid", "expected"),
    [
        ({"photometric": "PALETTE COLOR"}, J2K, None),
        ({"photometric": "PALETTE COLOR"}, JPEG_LS, None),
        ({"photometric": "PALETTE COLOR", "signed": True}, J2K, "signed colours"),
        ({"bits_stored": 1}, JPEG_LS, "1 bits stored"),
        ({"bits_stored": 1}, RPCL, None),
        (
            {"photometric": "YBR_FULL", "samples": 3},
            JPEG_LS,
            "the target does not take its Photometric Interpretation",
        ),
        ({"photometric": "YBR_FULL", "samples": 3}, RPCL, None),
    ],
)
def test_targets_differ(change: dict[str, Any], uid: str, expected: str | None) -> None:
    """Each transfer syntax has its own table in PS3.5 8.2."""
    facts = replace(FACTS, picture=replace(PICTURE, **change), high_bit=None)
    assert cannot_compress(facts, target_uid=uid) == expected


def test_a_target_that_is_none_is_refused() -> None:
    """Only the three lossless targets are; `compress` takes no others, and no source it cannot read."""
    assert cannot_compress(FACTS, target_uid=EXPLICIT) == "no lossless encoder for the target"
    for source_uid, target_uid in ((EXPLICIT, RLE), ("1.2.3", RPCL)):
        with pytest.raises(UnsupportedConversion):
            compressed(native(Module(GREY)), source_uid=source_uid, uid=target_uid)


@pytest.mark.parametrize(
    ("extra", "expected"),
    [
        ({0x00282110: element(0x00282110, "CS", b"01")}, "lossy compressed before"),
        ({0x00280102: us(0x00280102, 15)}, "High Bit is not Bits Stored less one"),
        (overlay(0x6000, 16), "overlay in the unused bits of the pixel data"),
        (overlay(0x6000, 1, data=bytes(2)) | overlay(0x6002, 16), "overlay in the unused bits of the pixel data"),
    ],
    ids=["lossy", "high bit", "overlay", "second overlay"],
)
@pytest.mark.parametrize("source_uid", [EXPLICIT, IMPLICIT, BIG, DEFLATED])
def test_attributes_that_forbid(extra: dict[int, bytes], expected: str, source_uid: str) -> None:
    """The data set's own statements are read in every encoding."""
    dataset = converted(native(Module(GREY, bits_stored=12, extra=extra)), EXPLICIT, source_uid)
    assert reason(dataset, source_uid=source_uid) == expected


@pytest.mark.parametrize(
    "extra",
    [
        {0x00282110: element(0x00282110, "CS", b"00")},
        overlay(0x6000, 1, data=bytes(2)),
        overlay(0x6000, 16, data=bytes(2)),
        overlay(0x6000, 1),
        overlay(0x6101, 16),
    ],
    ids=["lossless", "own data", "own data, wrong bits", "one bit", "no overlay group"],
)
@pytest.mark.parametrize("source_uid", [EXPLICIT, BIG])
def test_attributes_that_do_not_forbid(extra: dict[int, bytes], source_uid: str) -> None:
    """Lossless history and overlays with data of their own are no reason."""
    dataset = native(Module(GREY, bits_stored=12, extra=extra))
    assert compressed(converted(dataset, EXPLICIT, source_uid), source_uid=source_uid).native == dataset


@pytest.mark.parametrize(
    ("samples", "signed"),
    [
        (np.where(GREY[3, 3] == GREY, GREY | 0x1000, GREY), False),
        (np.where(GREY[3, 3] == GREY, 0x8000, GREY).astype("u2"), False),
        (GREY.astype("i2"), True),
        ((smooth(64, 65, dtype="i2") - 5).astype("i2"), True),
    ],
    ids=["one above", "an overlay bit", "not sign-extended", "below the lowest"],
)
@pytest.mark.parametrize("uid", [RPCL, JPEG_LS, J2K])
def test_used_high_bits_cannot_be_carried(samples: Samples, signed: bool, uid: str) -> None:
    """Bits above Bits Stored that are neither zero nor the sign keep a picture as it is."""
    frames = np.stack([smooth(64, 65, dtype=samples.dtype.str), samples])
    dataset = native(Module(frames, frames=2, bits_stored=12, signed=signed))
    assert reason(dataset, uid=uid) == "frame 1 uses bits above Bits Stored"


def test_no_pixel_data_no_compression() -> None:
    """Documents, empty pixel data and floats stay."""
    assert reason(IDENTITY) == "no pixel data"
    assert reason(IDENTITY + Module(GREY).encode() + element(0x7FE00010, "OW", b"")) == "no pixel data"
    for tag, vr in ((0x7FE00008, "OF"), (0x7FE00009, "OD")):
        assert reason(IDENTITY + element(tag, vr, bytes(16))) == "float or double pixel data"


def test_too_little_gain_is_none() -> None:
    """Noise stays; what is gained counts against the bytes as they are stored, not as they once were."""
    noise = np.random.default_rng(1).integers(0, 1 << 16, (64, 64), "u2")
    assert reason(native(Module(noise))) == "too little would be gained"
    stored = IDENTITY + Module(GREY, bits_stored=12).encode() + fragments([rle(GREY)])
    gain = 100 * (1 - compressed(native(Module(GREY, bits_stored=12))).facts.compressed_bytes / len(rle(GREY)))
    for percent, fits in ((gain - 1, True), (gain + 1, False)):
        policy = CompressPolicy(min_gain_percent=percent)
        if fits:
            assert compressed(stored, source_uid=RLE, policy=policy).facts.stored_bytes == len(rle(GREY))
        else:
            assert reason(stored, source_uid=RLE, policy=policy) == "too little would be gained"


def test_bytes_in_no_frame_cannot_be_carried() -> None:
    """Pixel data longer than their frames stay, and shorter ones are an error."""
    head = IDENTITY + Module(GREY).encode()
    assert "in no frame" in reason(head + element(0x7FE00010, "OW", GREY.tobytes() + bytes(2)))
    with pytest.raises(PixelMismatch, match="bytes of pixel data"):
        compressed(head + element(0x7FE00010, "OW", GREY.tobytes()[:-2]))


def test_contradictions_are_errors_of_the_data_set() -> None:
    """Native pixel data where they should be compressed, and the other way round, are refused."""
    assert "native pixel data" in reason(native(Module(GREY)), source_uid=RLE)
    with pytest.raises(MalformedDataset):
        compressed(IDENTITY + Module(GREY).encode() + fragments([rle(GREY)]))


def test_two_pixel_data_elements_are_too_many() -> None:
    """A data set whose pixel data come twice stays: nothing tells which they are."""
    twice = element(0x7FE00010, "OW", GREY.tobytes())
    assert reason(native(Module(GREY), behind=twice)) == "pixel data twice"
    frame = fragments([rle(GREY)])
    assert reason(IDENTITY + Module(GREY).encode() + frame + frame, source_uid=RLE) == "pixel data twice"


def test_facts_are_read_without_decoding() -> None:
    """What `cannot_compress` wants to know comes from the headers alone."""
    samples = image(2, 8, 9)
    broken = IDENTITY + Module(samples, frames=2).encode() + fragments([b"\0\0\0\0", b"\0\0\0\0\0\0"])
    facts = read_picture_facts(io.BytesIO(broken), source_uid=RLE)
    assert (facts.stored_bytes, facts.high_bit, facts.source_uid) == (10, 15, RLE)
    assert facts.picture is not None
    assert (facts.picture.frames, facts.picture.columns) == (2, 9)
    assert cannot_compress(facts) is None
