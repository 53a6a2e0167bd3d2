"""Writing data elements in a chosen encoding, deflated or not; must not know where the values come from."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable
from typing import BinaryIO, Final

import numpy as np

from tiering.errors import ConversionTooLarge
from tiering.transcode.syntaxes import Encoding
from tiering.transcode.tokens import ITEM, ITEM_DELIMITER, SEQUENCE_DELIMITER
from tiering.transcode.vr import LONG_VRS, PIXEL_DATA, SWAPPED, TEXT_VRS, UNDEFINED

LENGTH_LIMIT: Final = UNDEFINED - 1
SHORT_LENGTH_LIMIT: Final = 0xFFFF

_IMPLICIT: Final = {order: struct.Struct(order + "HHI") for order in "<>"}
_SHORT: Final = {order: struct.Struct(order + "HH2sH") for order in "<>"}
_LONG: Final = {order: struct.Struct(order + "HH2s2xI") for order in "<>"}


class Sink:
    """Encodes elements into a file; every sequence and item gets undefined length, every value an even one."""

    def __init__(self, target: BinaryIO, encoding: Encoding) -> None:
        self._target = target
        self._encoding = encoding
        self._deflater = zlib.compressobj(zlib.Z_BEST_SPEED, wbits=-zlib.MAX_WBITS) if encoding.deflated else None
        self._deflated_bytes = 0

    def value(self, tag: int, vr: str, length: int, chunks: Iterable[bytes], *, big: bool) -> None:
        """Write an element of `length` bytes that come in `chunks`, in the byte order `big` says.

        All chunks but the last hold whole units of what is swapped. Raises ConversionTooLarge beyond 32-bit lengths.
        """
        if length > LENGTH_LIMIT:
            raise ConversionTooLarge(reason=f"an element would be {length} bytes long")
        vr = self._fitting(vr, length)
        self._header(tag, vr, length + length % 2)
        unit = SWAPPED.get(vr, 1) if big != self._encoding.big else 1
        for chunk in chunks:
            self._write(chunk if unit == 1 else swapped(chunk, unit))
        if length % 2:
            self._write(b" " if vr in TEXT_VRS else b"\0")

    def open_sequence(self, tag: int) -> None:
        """Start a sequence."""
        self._header(tag, "SQ", UNDEFINED)

    def close_sequence(self) -> None:
        """End a sequence."""
        self._delimiter(SEQUENCE_DELIMITER, 0)

    def open_item(self) -> None:
        """Start a sequence item."""
        self._delimiter(ITEM, UNDEFINED)

    def close_item(self) -> None:
        """End a sequence item."""
        self._delimiter(ITEM_DELIMITER, 0)

    def open_fragments(self, offset_table: bytes) -> None:
        """Start encapsulated pixel data with their Basic Offset Table (PS3.5 A.4); close them like a sequence."""
        self._header(PIXEL_DATA, "OB", UNDEFINED)
        self.fragment(offset_table)

    def fragment(self, data: bytes) -> None:
        """Write one fragment of encapsulated pixel data, of even length."""
        self._delimiter(ITEM, len(data) + len(data) % 2)
        self._write(data + b"\0" * (len(data) % 2))

    def finish(self) -> None:
        """Write what is left; a deflated data set of odd length is padded (PS3.5 A.5)."""
        if self._deflater is not None:
            self._emit(self._deflater.flush())
            self._emit(b"\0" * (self._deflated_bytes % 2))

    def _fitting(self, vr: str, length: int) -> str:
        """Return `vr`, or UN when its 16-bit length cannot hold `length` (PS3.5 6.2.2)."""
        too_long = length > SHORT_LENGTH_LIMIT - 1 and vr not in LONG_VRS
        return "UN" if too_long and not self._encoding.implicit else vr

    def _header(self, tag: int, vr: str, length: int) -> None:
        group, element, order = tag >> 16, tag & 0xFFFF, self._encoding.order
        if self._encoding.implicit:
            self._write(_IMPLICIT[order].pack(group, element, length))
        else:
            layout = _LONG if vr in LONG_VRS else _SHORT
            self._write(layout[order].pack(group, element, vr.encode("ascii"), length))

    def _delimiter(self, tag: int, length: int) -> None:
        self._write(_IMPLICIT[self._encoding.order].pack(tag >> 16, tag & 0xFFFF, length))

    def _write(self, data: bytes) -> None:
        if self._deflater is None:
            self._target.write(data)
        else:
            self._emit(self._deflater.compress(data))

    def _emit(self, deflated: bytes) -> None:
        self._target.write(deflated)
        self._deflated_bytes += len(deflated)


def swapped(data: bytes, unit: int) -> bytes:
    """Return `data` with the bytes of each `unit` reversed; a rest shorter than a unit stays as it is."""
    whole = len(data) - len(data) % unit
    return np.frombuffer(data, f"u{unit}", whole // unit).byteswap().tobytes() + data[whole:]
