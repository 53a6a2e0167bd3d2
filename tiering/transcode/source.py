"""Reading a data set's bytes forward, stored as they are or deflated; must not know what the bytes mean."""

from __future__ import annotations

import os
import zlib
from typing import BinaryIO, Final

from tiering.errors import ConversionTooLarge, MalformedDataset

CHUNK_BYTES: Final = 1 << 20
INFLATED_BYTES_LIMIT: Final = 1 << 34
"""A deflated data set may not grow beyond 16 GiB: deflate shrinks zeros a thousandfold."""


class Source:
    """A data set in a seekable file, from the file's present position to its end; positions count from that start."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._base = file.tell()
        self._size = file.seek(0, os.SEEK_END) - self._base
        self.position = 0
        self._file.seek(self._base)

    def read(self, size: int) -> bytes:
        """Return exactly `size` bytes; raise MalformedDataset when the data set ends before."""
        data = self._fetch(size)
        if len(data) < size:
            raise MalformedDataset(offset=self.position, reason=f"it ends where {size} bytes were expected")
        self.position += size
        return data

    def peek(self, size: int) -> bytes:
        """Return up to `size` bytes without moving on."""
        data = self._fetch(size)
        self._file.seek(self._base + self.position)
        return data

    def find_rest(self, size: int) -> bytes | None:
        """Return what is left when that is less than `size` bytes, else None; do not move on."""
        return None if self._size - self.position >= size else self.peek(size)

    def seek(self, position: int) -> None:
        """Go to `position`; raise MalformedDataset when the data set ends before."""
        self.check_reach(position)
        self._file.seek(self._base + position)
        self.position = position

    def check_reach(self, position: int) -> None:
        """Raise MalformedDataset when the data set is known to end before `position`."""
        if position > self._size:
            raise MalformedDataset(offset=self.position, reason="an element is longer than what is left")

    def _fetch(self, size: int) -> bytes:
        return self._file.read(size)


class InflatingSource(Source):
    """A deflated data set (PS3.5 A.5), inflated in bounded memory; it can only go forward."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file)
        self._inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        self._ready = bytearray()

    def peek(self, size: int) -> bytes:
        """Return up to `size` bytes without moving on."""
        self._fill(size)
        return bytes(self._ready[:size])

    def find_rest(self, size: int) -> bytes | None:
        """Return what is left when that is less than `size` bytes, else None; do not move on."""
        rest = self.peek(size)
        return rest if len(rest) < size else None

    def seek(self, position: int) -> None:
        """Go forward to `position`; raise MalformedDataset when the data set ends before."""
        assert position >= self.position, "a deflated data set cannot be read backwards"
        while self.position < position:
            self.read(min(CHUNK_BYTES, position - self.position))

    def check_reach(self, position: int) -> None:
        """Raise ConversionTooLarge when `position` is beyond what a deflated data set may hold."""
        if position > INFLATED_BYTES_LIMIT:
            raise ConversionTooLarge(reason=f"the data set inflates to more than {INFLATED_BYTES_LIMIT} bytes")

    def _fetch(self, size: int) -> bytes:
        self._fill(size)
        data = bytes(self._ready[:size])
        del self._ready[:size]
        self.check_reach(self.position + size)
        return data

    def _fill(self, size: int) -> None:
        while len(self._ready) < size and not self._inflater.eof:
            packed = self._inflater.unconsumed_tail or self._file.read(CHUNK_BYTES)
            inflated = self._inflate(packed)
            if not packed and not inflated and not self._inflater.eof:
                raise MalformedDataset(offset=self.position, reason="the deflated bytes end too early")
            self._ready += inflated

    def _inflate(self, packed: bytes) -> bytes:
        try:
            return self._inflater.decompress(packed, CHUNK_BYTES)
        except zlib.error as exc:
            raise MalformedDataset(offset=self.position, reason="the deflated bytes are damaged") from exc
