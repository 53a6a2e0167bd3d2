"""A part of a file as a file of its own, for readers that read to the end; must not write."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

if TYPE_CHECKING:
    from typing_extensions import Buffer


class _Window(io.RawIOBase):
    """``length`` bytes of an open file from ``offset`` on; closing it closes the file."""

    def __init__(self, descriptor: int, offset: int, length: int) -> None:
        self._descriptor = descriptor
        self._offset = offset
        self._length = length
        self._position = 0

    def readable(self) -> bool:
        """Tell that it can be read."""
        return True

    def seekable(self) -> bool:
        """Tell that it can be read from any position."""
        return True

    def readinto(self, buffer: Buffer) -> int:
        """Fill a buffer as far as the part goes; return how many bytes."""
        view = memoryview(buffer).cast("B")[: max(self._length - self._position, 0)]
        count = os.preadv(self._descriptor, [view], self._offset + self._position) if len(view) else 0
        self._position += count
        return count

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a position within the part; return it."""
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._length}[whence]
        self._position = max(start + offset, 0)
        return self._position

    def tell(self) -> int:
        """Return the position within the part."""
        return self._position

    def close(self) -> None:
        """Close the file."""
        if not self.closed:
            os.close(self._descriptor)
        super().close()


def open_window(where: Path | int, *, offset: int, length: int) -> BinaryIO:
    """Open ``length`` bytes of a file, or of a descriptor, from ``offset`` on as a buffered file. Raises OSError."""
    descriptor = os.dup(where) if isinstance(where, int) else os.open(where, os.O_RDONLY | os.O_CLOEXEC)
    return cast(BinaryIO, io.BufferedReader(_Window(descriptor, offset, length)))
