"""Frames of a stored data set, one by one: as stored, decoded, as samples."""

from __future__ import annotations

import io

import numpy as np
import pytest

from tests.unit.tiering.transcode.building import (
    BIG,
    DEFLATED,
    ENCODERS,
    EXPLICIT,
    IDENTITY,
    IMPLICIT,
    J2K,
    JPEG_LS,
    RLE,
    Module,
    Samples,
    compressed,
    converted,
    element,
    image,
    sequence,
)
from tiering.errors import MalformedDataset, PixelMismatch, UnsupportedConversion
from tiering.transcode.pixels import Frames, find_frames

GREY = image(3, 6, 7, top=4000)


def native(module: Module, vr: str = "OW") -> bytes:
    """Return a data set with native pixel data."""
    data = module.samples.tobytes()
    return IDENTITY + module.encode() + element(0x7FE00010, vr, data + bytes(len(data) % 2))


def frames_of(dataset: bytes, uid: str = EXPLICIT) -> Frames:
    """Open the frames of a data set."""
    found = find_frames(io.BytesIO(dataset), source_uid=uid)
    assert found is not None
    return found


@pytest.mark.parametrize("uid", [EXPLICIT, IMPLICIT, BIG])
def test_native_frames_are_little_endian_whatever_they_are_stored_in(uid: str) -> None:
    """Each frame of native pixel data comes by itself, in any order."""
    dataset = native(Module(GREY, frames=3, bits_stored=12))
    frames = frames_of(converted(dataset, EXPLICIT, uid) if uid != EXPLICIT else dataset, uid)
    for index in (2, 0, 1):
        assert frames.stored(index) == frames.native(index) == GREY[index].tobytes()
        assert np.array_equal(frames.samples(index), GREY[index])


@pytest.mark.parametrize("uid", list(ENCODERS))
def test_compressed_frames_come_as_stored_and_decoded(uid: str) -> None:
    """A compressed frame is given as its very bytes, and decodes to the samples it was made from."""
    pieces = [ENCODERS[uid](frame) for frame in GREY]
    frames = frames_of(compressed(Module(GREY, frames=3), pieces), uid)
    assert frames.can_decode
    assert frames.stored(1).rstrip(b"\0") == pieces[1].rstrip(b"\0")
    assert frames.native(2) == GREY[2].tobytes()
    assert np.array_equal(frames.samples(0), GREY[0])


def test_colours_by_plane_become_colours_by_pixel_in_samples() -> None:
    """Native planes stay planes as bytes; as samples they are rows, columns, colours."""
    colours = image(5, 6, 3, dtype="u1")
    planes = np.moveaxis(colours, -1, 0).copy()
    module = Module(colours, planar=1)
    dataset = IDENTITY + module.encode() + element(0x7FE00010, "OB", planes.tobytes())
    frames = frames_of(dataset)
    assert frames.native(0) == planes.tobytes()
    assert np.array_equal(frames.samples(0), colours)


def test_shared_chroma_is_given_to_each_pixel() -> None:
    """YBR_FULL_422 has two luminances for a pair of chroma samples: each pixel gets both."""
    luminance, chroma = image(4, 6, dtype="u1"), image(4, 3, 2, dtype="u1", seed=2)
    pairs = np.concatenate([luminance.reshape(4, 3, 2), chroma], axis=2)
    module = Module(np.zeros((4, 6, 3), "u1"), photometric="YBR_FULL_422")
    samples = frames_of(IDENTITY + module.encode() + element(0x7FE00010, "OB", pairs.tobytes())).samples(0)
    assert np.array_equal(samples[:, :, 0], luminance)
    assert np.array_equal(samples[:, ::2, 1:], chroma)
    assert np.array_equal(samples[:, 1::2, 1:], chroma)


def bits(count: int, rows: int, columns: int) -> Samples:
    """Return frames of ones and zeros."""
    return np.random.default_rng(3).integers(0, 2, (count, rows, columns)).astype("u1")


def test_single_bits_start_anywhere() -> None:
    """A frame of single bits that begins within a byte comes in bytes of its own."""
    picture = bits(5, 3, 5)
    data = np.packbits(picture.ravel(), bitorder="little").tobytes()
    module = Module(picture, frames=5, bits_allocated=1)
    frames = frames_of(IDENTITY + module.encode() + element(0x7FE00010, "OB", data + bytes(len(data) % 2)))
    for index in range(5):
        assert np.array_equal(frames.samples(index), picture[index])
        assert frames.native(index) == np.packbits(picture[index].ravel(), bitorder="little").tobytes()


def test_the_pictures_of_sequences_are_not_the_picture() -> None:
    """An icon in a sequence comes before the pixel data and is passed over."""
    icon = Module(image(2, 2, dtype="u1")).encode() + element(0x7FE00010, "OB", b"\1\2\3\4")
    dataset = IDENTITY + Module(GREY, frames=3).encode() + sequence(0x00880200, icon)
    dataset += element(0x7FE00010, "OW", GREY.tobytes())
    assert frames_of(dataset).native(0) == GREY[0].tobytes()


def test_long_pixel_data_stay_in_the_file() -> None:
    """Native frames that are too long to come with their token are read where they lie."""
    picture = image(4, 200, 200)
    frames = frames_of(native(Module(picture, frames=4)))
    assert frames.native(3) == picture[3].tobytes()


@pytest.mark.parametrize("index", [-1, 3])
def test_a_frame_that_is_not_there_is_refused(index: int) -> None:
    """Frames count from 0 to one less than there are."""
    with pytest.raises(PixelMismatch):
        frames_of(native(Module(GREY, frames=3))).stored(index)


def test_what_cannot_be_is_refused() -> None:
    """No pixel data, too few of them, a syntax nobody knows or that cannot be gone back in."""
    assert find_frames(io.BytesIO(IDENTITY), source_uid=EXPLICIT) is None
    with pytest.raises(PixelMismatch, match="bytes of pixel data"):
        frames_of(IDENTITY + Module(GREY, frames=3).encode() + element(0x7FE00010, "OW", bytes(10)))
    for uid in (DEFLATED, "1.2.840.10008.1.2.4.102"):
        with pytest.raises(UnsupportedConversion):
            frames_of(IDENTITY, uid)
    with pytest.raises(MalformedDataset):
        frames_of(compressed(Module(GREY, frames=3), [b"ab"]))


def test_native_pixel_data_in_a_compressed_syntax_are_native() -> None:
    """Some writers change the transfer syntax and not the pixel data."""
    assert frames_of(native(Module(GREY, frames=3)), JPEG_LS).native(1) == GREY[1].tobytes()
    assert frames_of(native(Module(GREY, frames=3)), J2K).stored(1) == GREY[1].tobytes()


def test_fragments_that_fit_no_frame_are_refused() -> None:
    """Two fragments for three frames of RLE cannot be shared out."""
    with pytest.raises(PixelMismatch):
        frames_of(compressed(Module(GREY, frames=3), [b"ab", b"cd"]), RLE)
