"""A pack on a Disk as the files that its writer and reader take; must not know what a pack is."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import cast

from tiering.disk import Disk


class WriteOnce(io.RawIOBase):
    """An open handle of a Disk as a file that takes bytes in order."""

    def __init__(self, disk: Disk, handle: int) -> None:
        self._disk, self._handle, self._position = disk, handle, 0

    def writable(self) -> bool:
        """Tell that it takes bytes."""
        return True

    def write(self, data: object) -> int:
        """Write all of ``data`` behind what came before."""
        view = memoryview(cast(bytes, data))
        self._disk.write(self._handle, view, self._position)
        self._position += len(view)
        return len(view)


class ReadBack(io.RawIOBase):
    """A file read back through a Disk, from any position."""

    def __init__(self, disk: Disk, path: Path, size_bytes: int) -> None:
        self._disk, self._path, self._size, self._position = disk, path, size_bytes, 0

    def readable(self) -> bool:
        """Tell that it can be read."""
        return True

    def seekable(self) -> bool:
        """Tell that it can be read from any position."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a position; return it."""
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        self._position = max(start + offset, 0)
        return self._position

    def tell(self) -> int:
        """Return the position."""
        return self._position

    def readinto(self, buffer: object) -> int:
        """Fill a buffer as far as the file goes; return how many bytes."""
        view = memoryview(cast(bytearray, buffer)).cast("B")
        chunks = self._disk.read(self._path, chunk_bytes=len(view), offset=self._position, length=len(view))
        chunk = next(chunks, b"")
        view[: len(chunk)] = chunk
        self._position += len(chunk)
        return len(chunk)
