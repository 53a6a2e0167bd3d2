"""Which fragments make which frame of encapsulated pixel data (PS3.5 A.4); must not decode a frame."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from tiering.errors import PixelMismatch
from tiering.transcode.codestream import START_BYTES, has_start_marker, starts_frame
from tiering.transcode.source import Source
from tiering.transcode.syntaxes import Codec

ITEM_HEADER_BYTES: Final = 8


@dataclass(frozen=True, slots=True)
class Fragments:
    """Where the fragments of one element are: `positions` of their bytes and their `lengths`, empty ones left out.

    `offsets` is the Basic Offset Table: where each frame's first item starts, counted from the first item.
    """

    positions: array[int]
    lengths: array[int]
    offsets: array[int]


def read_fragments(source: Source, found: array[int]) -> Fragments:
    """Return the fragments of `found` (position and length in turn, the offset table's item first)."""
    if not found:
        raise PixelMismatch(reason="the encapsulated pixel data have no offset table item")
    source.seek(found[0])
    table = source.read(found[1] - found[1] % 4)
    offsets = array("Q", (int.from_bytes(table[at : at + 4], "little") for at in range(0, len(table), 4)))
    positions, lengths = found[2::2], found[3::2]
    full = [number for number, length in enumerate(lengths) if length]
    return Fragments(array("Q", (positions[n] for n in full)), array("Q", (lengths[n] for n in full)), offsets)


def group_frames(source: Source, fragments: Fragments, codec: Codec, frames: int) -> list[range]:
    """Return, frame by frame, the numbers of its fragments; raise PixelMismatch when that cannot be told.

    One fragment a frame needs no table, and neither does a single frame; an Extended Offset Table goes only with
    the former (PS3.3 C.7.6.3.1.8). Otherwise the Basic Offset Table tells, or else how the fragments begin.
    """
    count = len(fragments.positions)
    starts = _starts_by_marker(source, fragments, codec) if has_start_marker(codec) else []
    if len(starts) > frames or count < frames:
        raise PixelMismatch(reason=f"{frames} frames described, {max(len(starts), count)} found")
    if count == frames:
        starts = list(range(count))
    elif frames == 1:
        starts = [0]
    else:
        starts = _starts_by_table(fragments, frames) or starts
    if len(starts) != frames or starts[0] != 0:
        raise PixelMismatch(reason=f"{count} fragments cannot be shared out among {frames} frames")
    return [range(start, end) for start, end in zip(starts, [*starts[1:], count], strict=True)]


def read_frame(source: Source, fragments: Fragments, numbers: range) -> bytes:
    """Return one compressed frame."""
    return b"".join(_read_fragments(source, fragments, numbers))


def _read_fragments(source: Source, fragments: Fragments, numbers: range) -> Iterator[bytes]:
    for number in numbers:
        source.seek(fragments.positions[number])
        yield source.read(fragments.lengths[number])


def _starts_by_marker(source: Source, fragments: Fragments, codec: Codec) -> list[int]:
    starts = []
    for number, position in enumerate(fragments.positions):
        source.seek(position)
        if starts_frame(codec, source.peek(START_BYTES)):
            starts.append(number)
    return starts


def _starts_by_table(fragments: Fragments, frames: int) -> list[int]:
    """Return the fragments the Basic Offset Table points at; none when it does not fit the fragments."""
    if len(fragments.offsets) != frames:
        return []
    first = fragments.positions[0]
    starts = []
    for offset in fragments.offsets:
        number = bisect_left(fragments.positions, first + offset)
        if number == len(fragments.positions) or fragments.positions[number] != first + offset:
            return []
        starts.append(number)
    return starts if starts == sorted(set(starts)) else []
