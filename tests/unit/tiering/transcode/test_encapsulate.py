"""Encapsulated pixel data as written: items, padding and the two kinds of offset table."""

from __future__ import annotations

import io
import struct

import pytest

from tests.unit.tiering.transcode.building import element, fragments
from tiering.transcode.encapsulate import BASIC_TABLE_LIMIT, Encapsulation

PIECES = [b"one", b"", b"three3", b"seventeen bytes.."]
OFFSETS = [0, 12, 20, 34]


def written(*, limit: int, before: bytes = b"") -> bytes:
    """Return the element of PIECES behind `before`."""
    target = io.BytesIO()
    target.write(before)
    pixels = Encapsulation(target, len(PIECES), limit=limit)
    sizes = [pixels.add(piece) for piece in PIECES]
    assert sizes == [12, 20, 34, 60]
    pixels.finish()
    assert target.tell() == len(target.getvalue())
    return target.getvalue()


def test_frames_are_items_of_even_length_behind_a_basic_table() -> None:
    """PS3.5 A.4: the table's offsets count from the first item, headers and padding too."""
    assert written(limit=BASIC_TABLE_LIMIT) == fragments(PIECES, offsets=OFFSETS)


def test_what_lies_before_stays() -> None:
    """Filling in the table touches nothing but the table."""
    assert written(limit=10, before=b"abc") == b"abc" + fragments(PIECES, offsets=OFFSETS)


def test_beyond_the_limit_the_table_is_an_extended_one() -> None:
    """PS3.3 C.7.6.3.1.8: 64-bit offsets and lengths before the pixel data, and an empty Basic Offset Table."""
    tables = [struct.pack("<4Q", *OFFSETS), struct.pack("<4Q", 4, 0, 6, 18)]
    expected = element(0x7FE00001, "OV", tables[0]) + element(0x7FE00002, "OV", tables[1]) + fragments(PIECES)
    assert written(limit=BASIC_TABLE_LIMIT + 1) == expected


def test_the_limit_is_what_32_bits_count() -> None:
    """Offsets of a Basic Offset Table are unsigned 32-bit numbers."""
    with pytest.raises(struct.error):
        struct.pack("<L", BASIC_TABLE_LIMIT + 1)
    struct.pack("<L", BASIC_TABLE_LIMIT)
