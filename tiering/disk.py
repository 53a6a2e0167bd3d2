"""The few calls by which bytes reach a disk and stay there; must not decide anything.

Everything durable goes through a ``Disk``, so that a test can put a disk there that forgets what was not synced
(tests/crash). The promises: ``sync_file`` makes the bytes of a file last, ``sync_folder`` the names in a folder;
nothing else does.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, Protocol

BLOCK_BYTES: Final = 4096
"""What direct writes are aligned to: offset, size and, where the device asks for it, memory."""
_INCOMING: Final = ".incoming-"
_NO_UNNAMED_FILES: Final = (errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT, errno.EINVAL)


class Disk(Protocol):
    """The calls; every one may raise OSError. Offsets and sizes in bytes."""

    def make_folder(self, path: Path) -> None:
        """Create a folder and its parents durably; harmless when it is there, made durable when it was not."""

    def create(self, folder: Path) -> int:
        """Return a handle on a new file in ``folder`` that has no name yet and vanishes if it never gets one."""

    def write(self, handle: int, data: bytes | memoryview, offset: int) -> None:
        """Write all of ``data`` at ``offset``; cheapest in blocks of ``BLOCK_BYTES``, from page-aligned memory."""

    def sync_file(self, handle: int) -> None:
        """Return once the file's bytes and size would survive a power cut."""

    def link(self, handle: int, path: Path) -> None:
        """Give the file a name; FileExistsError when the name is taken: nothing is ever overwritten."""

    def sync_folder(self, path: Path) -> None:
        """Return once the names in the folder would survive a power cut."""

    def append(self, path: Path, data: bytes, offset: int) -> None:
        """Make ``data`` the end of a file, durably: at ``offset``, whatever lies behind it is dropped.

        A file that is not there is made, with its folder.
        """

    def unlink(self, path: Path) -> bool:
        """Take a file's name away, for good once its folder is synced; tell whether there was one."""

    def close(self, handle: int) -> None:
        """Close a handle of ``create``; a file without a name is gone then."""

    def names(self, folder: Path) -> list[str]:
        """Return the names in a folder, sorted; none when the folder does not exist."""

    def read(self, path: Path, *, chunk_bytes: int, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        """Yield a file's bytes in chunks: all of them, or up to ``length`` from ``offset``."""

    def size_bytes(self, path: Path) -> int:
        """Return a file's size; FileNotFoundError when there is none."""

    def sweep(self, folder: Path) -> int:
        """Clear what an ended process left in ``folder`` without a real name; return how many. Only at start-up."""

    def free_bytes(self, path: Path) -> int:
        """Return how many bytes an ordinary user may still write."""


def write_once(disk: Disk, path: Path, data: bytes) -> bool:
    """Put a whole file of ``data`` under a name, durably, with its folder; False when the name is taken: it stays.

    Raises OSError as the disk does.
    """
    disk.make_folder(path.parent)
    handle = disk.create(path.parent)
    try:
        disk.write(handle, data, 0)
        disk.sync_file(handle)
        try:
            disk.link(handle, path)
        except FileExistsError:
            return False
        finally:
            disk.sync_folder(path.parent)
    finally:
        disk.close(handle)
    return True


def read_range(disk: Disk, path: Path, offset: int, length: int) -> bytes:
    """Return ``length`` bytes of a file from ``offset`` on, fewer at its end. Raises OSError."""
    return b"".join(disk.read(path, chunk_bytes=max(length, 1), offset=offset, length=length)) if length else b""


class OsDisk:
    """The operating system's files (Linux; names through linkat, so that a file is whole before it has a name).

    ``direct``: whole blocks of new files go past the page cache (O_DIRECT), where the file system can. An object is
    synced before it is acknowledged anyway; this way its bytes are not copied, and what others read stays cached.
    ``is_read_soon`` is asked for each new file: one that somebody is about to read goes through the cache after all.
    """

    def __init__(self, *, direct: bool = True) -> None:
        self.is_read_soon: Callable[[], bool] = lambda: False
        self._direct_flag = os.O_DIRECT if direct else 0
        self._direct: set[int] = set()
        self._named: dict[int, Path] = {}
        self._durable: set[Path] = set()

    def make_folder(self, path: Path) -> None:
        """Create missing parents first and sync each one's own parent.

        A folder found there may be the work of another thread, or of a process killed before it synced: its name is
        synced too, once. Where the parent is not ours to open (a mount point), it was made by somebody else.
        """
        if path in self._durable:
            return
        if path.is_dir():
            with contextlib.suppress(PermissionError):
                self.sync_folder(path.parent)
        else:
            self.make_folder(path.parent)
            with contextlib.suppress(FileExistsError):
                path.mkdir(mode=0o750)
            self.sync_folder(path.parent)
        self._durable.add(path)

    def create(self, folder: Path) -> int:
        """Use O_TMPFILE; a file system without it gets a hidden name that start-up clears."""
        try:
            return self._open_unnamed(folder)
        except OSError as exc:
            if exc.errno not in _NO_UNNAMED_FILES or not folder.is_dir():
                raise
        path = folder / f"{_INCOMING}{os.urandom(8).hex()}"
        handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o640)
        self._named[handle] = path
        return handle

    def _open_unnamed(self, folder: Path) -> int:
        flags = os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC
        if self._direct_flag and not self.is_read_soon():
            with contextlib.suppress(OSError):
                handle = os.open(folder, flags | self._direct_flag, 0o640)
                self._direct.add(handle)
                return handle
        return os.open(folder, flags, 0o640)

    def write(self, handle: int, data: bytes | memoryview, offset: int) -> None:
        """Go on after a short write, which a nearly full disk gives before it says ENOSPC."""
        written = self._write_blocks(handle, data, offset) if handle in self._direct else 0
        while written < len(data):
            written += os.pwrite(handle, memoryview(data)[written:], offset + written)

    def _write_blocks(self, handle: int, data: bytes | memoryview, offset: int) -> int:
        """Write the whole blocks directly, return how many bytes; the handle buffers from the first other byte on."""
        whole = 0 if offset % BLOCK_BYTES else len(data) // BLOCK_BYTES * BLOCK_BYTES
        written = 0
        if whole:
            with contextlib.suppress(OSError):  # an error of the disk comes again from the buffered write or the sync
                written = os.pwrite(handle, memoryview(data)[:whole], offset)
        if written < len(data):
            self._direct.discard(handle)
            fcntl.fcntl(handle, fcntl.F_SETFL, fcntl.fcntl(handle, fcntl.F_GETFL) & ~os.O_DIRECT)
        return written

    def sync_file(self, handle: int) -> None:
        """Call fdatasync: the size is metadata it must write too."""
        os.fdatasync(handle)

    def link(self, handle: int, path: Path) -> None:
        """Link through /proc/self/fd, or from the hidden name where the file has one."""
        source = self._named.get(handle)
        if source is None:
            # Any src_dir_fd makes Python call linkat; the kernel ignores it, the path is absolute.
            os.link(f"/proc/self/fd/{handle}", path, src_dir_fd=handle, follow_symlinks=True)
        else:
            os.link(source, path)

    def sync_folder(self, path: Path) -> None:
        """Call fsync on the folder."""
        handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

    def append(self, path: Path, data: bytes, offset: int) -> None:
        """Cut, write, fsync; and sync the folder of a new file."""
        is_new = not path.exists()
        self.make_folder(path.parent)
        handle = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o640)
        try:
            os.ftruncate(handle, offset)
            self.write(handle, data, offset)
            os.fsync(handle)
        finally:
            os.close(handle)
        if is_new:
            self.sync_folder(path.parent)

    def unlink(self, path: Path) -> bool:
        """Call unlink; no file is not an error."""
        try:
            path.unlink()
        except FileNotFoundError:
            return False
        return True

    def close(self, handle: int) -> None:
        """Close; a hidden name goes too."""
        self._direct.discard(handle)
        path = self._named.pop(handle, None)
        if path is not None:
            with contextlib.suppress(FileNotFoundError):
                path.unlink()
        os.close(handle)

    def names(self, folder: Path) -> list[str]:
        """List, hidden names left out."""
        try:
            return sorted(name for name in os.listdir(folder) if not name.startswith("."))
        except FileNotFoundError:
            return []

    def read(self, path: Path, *, chunk_bytes: int, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        """Read sequentially."""
        with path.open("rb", buffering=0) as file:
            if offset:
                file.seek(offset)
            left = length
            while left != 0 and (chunk := file.read(chunk_bytes if left is None else min(chunk_bytes, left))):
                yield chunk
                left = None if left is None else left - len(chunk)

    def size_bytes(self, path: Path) -> int:
        """Ask stat."""
        return path.stat().st_size

    def sweep(self, folder: Path) -> int:
        """Remove the hidden names ``create`` falls back on; a file that has its real name too keeps that one."""
        left = list(folder.glob(f"{_INCOMING}*"))
        for path in left:
            path.unlink(missing_ok=True)
        return len(left)

    def free_bytes(self, path: Path) -> int:
        """Ask statvfs."""
        facts = os.statvfs(path)
        return facts.f_bavail * facts.f_frsize
