"""Encapsulated pixel data being written, one fragment a frame (PS3.5 A.4); must not know what a frame holds."""

from __future__ import annotations

import struct
from array import array
from typing import BinaryIO, Final

from tiering.transcode.tokens import ITEM, SEQUENCE_DELIMITER
from tiering.transcode.vr import PIXEL_DATA, UNDEFINED

BASIC_TABLE_LIMIT: Final = UNDEFINED
"""Beyond it a Basic Offset Table cannot point: the Extended Offset Table (PS3.3 C.7.6.3.1.8) does."""
_EXTENDED_OFFSETS: Final = 0x7FE00001
_EXTENDED_LENGTHS: Final = 0x7FE00002

_ELEMENT: Final = struct.Struct("<HH2s2xI")
_ITEM: Final = struct.Struct("<HHI")


class Encapsulation:
    """Writes the pixel data element of `frames` frames to a seekable file, at its position.

    `limit` is what the fragments will at most amount to, and decides which offset table there is.
    The offset table comes before the frames and is known after them: its place is kept, and filled at the end.
    """

    def __init__(self, target: BinaryIO, frames: int, *, limit: int) -> None:
        self._target = target
        self._extended = limit > BASIC_TABLE_LIMIT
        self._offsets = array("Q")
        self._lengths = array("Q")
        self._table = target.tell()
        self._size = 0
        self._write_tables(bytes(8 * frames), bytes(8 * frames), bytes(4 * frames))

    def add(self, frame: bytes) -> int:
        """Write one frame; return how long the fragments have become, their headers counted."""
        length = len(frame) + len(frame) % 2
        self._offsets.append(self._size)
        self._lengths.append(length)
        self._item(length)
        self._target.write(frame)
        self._target.write(bytes(len(frame) % 2))
        self._size += _ITEM.size + length
        return self._size

    def finish(self) -> None:
        """End the element and fill in the tables."""
        self._target.write(_ITEM.pack(SEQUENCE_DELIMITER >> 16, SEQUENCE_DELIMITER & 0xFFFF, 0))
        end = self._target.tell()
        self._target.seek(self._table)
        offsets, lengths = (struct.pack(f"<{len(table)}Q", *table) for table in (self._offsets, self._lengths))
        basic = b"" if self._extended else struct.pack(f"<{len(self._offsets)}L", *self._offsets)
        self._write_tables(offsets, lengths, basic)
        self._target.seek(end)

    def _write_tables(self, offsets: bytes, lengths: bytes, basic: bytes) -> None:
        if self._extended:
            self._element(_EXTENDED_OFFSETS, b"OV", len(offsets))
            self._target.write(offsets)
            self._element(_EXTENDED_LENGTHS, b"OV", len(lengths))
            self._target.write(lengths)
        self._element(PIXEL_DATA, b"OB", UNDEFINED)
        self._item(0 if self._extended else len(basic))
        self._target.write(b"" if self._extended else basic)

    def _element(self, tag: int, vr: bytes, length: int) -> None:
        self._target.write(_ELEMENT.pack(tag >> 16, tag & 0xFFFF, vr, length))

    def _item(self, length: int) -> None:
        self._target.write(_ITEM.pack(ITEM >> 16, ITEM & 0xFFFF, length))
