"""Which fragments make which frame."""

from __future__ import annotations

import io
import struct
from array import array
from collections.abc import Sequence

import pytest

from tests.unit.tiering.transcode.building import fragments, image, jpeg_lossless
from tiering.errors import PixelMismatch
from tiering.transcode.frames import Fragments, group_frames, read_fragments, read_frame
from tiering.transcode.source import Source
from tiering.transcode.syntaxes import EXPLICIT_LITTLE, Codec
from tiering.transcode.tokens import Tokens

JPEG_FRAMES = [jpeg_lossless(image(16, 16, seed=seed)) for seed in range(3)]


def opened(pieces: Sequence[bytes], offsets: Sequence[int] = ()) -> tuple[Source, Fragments]:
    """Return encapsulated pieces as a source and the fragments found in it."""
    source = Source(io.BytesIO(fragments(pieces, offsets=offsets)))
    (token,) = Tokens(source, EXPLICIT_LITTLE)
    assert token.fragments is not None
    return source, read_fragments(source, token.fragments)


def regrouped(pieces: Sequence[bytes], offsets: Sequence[int], codec: Codec, frames: int) -> list[bytes]:
    """Return the frames that some pieces are put together to."""
    source, found = opened(pieces, offsets)
    return [read_frame(source, found, numbers) for numbers in group_frames(source, found, codec, frames)]


def cut(frame: bytes, size: int = 100) -> list[bytes]:
    """Cut a frame into pieces of even size."""
    even = frame + bytes(len(frame) % 2)
    return [even[at : at + size] for at in range(0, len(even), size)]


def offsets_of(frames: Sequence[Sequence[bytes]]) -> list[int]:
    """Return the Basic Offset Table of frames given as their pieces."""
    lengths = [sum(8 + len(piece) for piece in pieces) for pieces in frames]
    return [sum(lengths[:at]) for at in range(len(lengths))]


@pytest.mark.parametrize("codec", [Codec.RLE, Codec.JPEG_2000])
def test_one_fragment_a_frame_needs_no_table(codec: Codec) -> None:
    """As many fragments as frames are the frames."""
    assert regrouped([b"ab", b"cdef", b"gh"], (), codec, 3) == [b"ab", b"cdef", b"gh"]


def test_a_wrong_table_does_no_harm_then() -> None:
    """A table nobody needs is not believed."""
    assert regrouped([b"ab", b"cdef"], [0, 7], Codec.RLE, 2) == [b"ab", b"cdef"]


def test_a_single_frame_takes_all_fragments() -> None:
    """One frame over several fragments is put together in their order."""
    assert regrouped([b"ab", b"cdef", b"gh"], (), Codec.RLE, 1) == [b"abcdefgh"]


def test_empty_fragments_are_left_out() -> None:
    """Fragments without bytes are neither frames nor parts of one."""
    assert regrouped([b"ab", b"", b"cd", b""], (), Codec.RLE, 2) == [b"ab", b"cd"]


@pytest.mark.parametrize("codec", [Codec.RLE, Codec.JPEG_LOSSLESS])
def test_the_offset_table_shares_out_fragments(codec: Codec) -> None:
    """Several fragments a frame are put together as the Basic Offset Table says, in any codec."""
    frames = [cut(frame) for frame in JPEG_FRAMES]
    pieces = [piece for frame in frames for piece in frame]
    assert regrouped(pieces, offsets_of(frames), codec, 3) == [b"".join(frame) for frame in frames]


def test_markers_share_out_fragments_without_table() -> None:
    """Without a table a fragment that starts an image starts a frame."""
    frames = [cut(frame) for frame in JPEG_FRAMES]
    pieces = [piece for frame in frames for piece in frame]
    assert regrouped(pieces, (), Codec.JPEG_LOSSLESS, 3) == [b"".join(frame) for frame in frames]


@pytest.mark.parametrize("offsets", [[0], [0, 90, 180], [0, 0, 0], [0, 1 << 31, 4], [108, 0, 216]])
def test_a_table_that_does_not_fit_is_not_believed(offsets: list[int]) -> None:
    """A table too short, between fragments, not ascending or beyond the end leaves it to the markers."""
    frames = [cut(frame) for frame in JPEG_FRAMES]
    pieces = [piece for frame in frames for piece in frame]
    assert regrouped(pieces, offsets, Codec.JPEG_LOSSLESS, 3) == [b"".join(frame) for frame in frames]
    with pytest.raises(PixelMismatch, match="shared out"):
        regrouped(pieces, offsets, Codec.RLE, 3)


def test_a_frame_too_few_is_an_error() -> None:
    """Fewer fragments than frames: something is missing."""
    with pytest.raises(PixelMismatch, match="3 frames described, 2 found"):
        regrouped([b"ab", b"cd"], (), Codec.RLE, 3)
    with pytest.raises(PixelMismatch):
        regrouped([], (), Codec.RLE, 1)


def test_a_frame_too_many_is_an_error() -> None:
    """More images than Number of Frames says: none is dropped in silence."""
    with pytest.raises(PixelMismatch, match="1 frames described, 2 found"):
        regrouped(JPEG_FRAMES[:2], (), Codec.JPEG_LOSSLESS, 1)


def test_a_first_fragment_that_starts_nothing_is_an_error() -> None:
    """Fragments before the first image belong to no frame."""
    first, second = cut(JPEG_FRAMES[0]), cut(JPEG_FRAMES[1])
    with pytest.raises(PixelMismatch):
        regrouped([b"junk", *first, *second], (), Codec.JPEG_LOSSLESS, 2)


def test_pixel_data_without_a_table_item_are_refused() -> None:
    """The first item is the offset table's, empty or not; without it there is nothing to count from."""
    source = Source(io.BytesIO(fragments([])))
    (token,) = Tokens(source, EXPLICIT_LITTLE)
    assert token.fragments is not None
    with pytest.raises(PixelMismatch, match="table"):
        read_fragments(source, token.fragments[:0])


def test_the_table_is_read_in_whole_entries() -> None:
    """Bytes behind the last whole entry of a table are not one."""
    source = Source(io.BytesIO(struct.pack("<II", 0, 10) + b"\7\7" + b"frames"))
    found = read_fragments(source, array("Q", (0, 10, 10, 6)))
    assert found.offsets.tolist() == [0, 10]
    assert read_frame(source, found, range(1)) == b"frames"
