"""Compressed frames on their way from the search to a pack, in a file; must not encode nor judge them."""

from __future__ import annotations

import hashlib
from typing import BinaryIO

from tiering.errors import PixelMismatch


class Spool:
    """Compressed frames in an open file, the last one of each number; what comes out is what went in."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._end = 0
        self._places: dict[int, tuple[int, int]] = {}

    def keep(self, index: int, codestream: bytes) -> None:
        """Keep a frame in the place of what it was before. Raises OSError."""
        self._file.seek(self._end)
        self._file.write(codestream)
        self._places[index] = (self._end, len(codestream))
        self._end += len(codestream)

    def length(self, index: int) -> int:
        """Return how long a frame is."""
        return self._places[index][1]

    def read(self, index: int, sha256: str) -> bytes:
        """Return a frame whose digest is known. Raises PixelMismatch when it is another by now, OSError."""
        offset, length = self._places[index]
        self._file.seek(offset)
        frame = self._file.read(length)
        if hashlib.sha256(frame).hexdigest() != sha256:
            raise PixelMismatch(reason=f"frame {index} is not the one that was measured")
        return frame
