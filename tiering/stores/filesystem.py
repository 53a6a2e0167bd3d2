"""Objects as files, on a disk or a network share; must not keep anything about an object beside its bytes.

An object is one file, byte for byte, that bears its key as its name (``/`` written ``+``), in one of 4096 folders. It
is written without a name, synced and then linked, which fails when the name is taken: whole or not there, and never
over another. A marker tells the store from the empty folder under a share that is not mounted.
"""

from __future__ import annotations

import errno
import hashlib
import mmap
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from tiering.deletion import Deletion
from tiering.disk import Disk, write_once
from tiering.errors import (
    KeyTaken,
    ObjectDiffers,
    ObjectNotFound,
    StoreError,
    StoreFull,
    StoreRefused,
    StoreUnavailable,
)
from tiering.stores.base import (
    CHUNK_BYTES,
    Availability,
    Source,
    StoredObject,
    check_key,
    check_prefix,
    checked_chunks,
    digest_of,
    exactly,
    wanted_bytes,
)
from tiering.warrant import DeleteWarrant

MARKER: Final = "drimbox-store"
_SHARD_DIGITS: Final = 3
_FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_REFUSED: Final = (errno.EACCES, errno.EPERM, errno.EROFS)


class FileStore:
    """The objects under one folder; it has no cold objects and no holds.

    An object's generation is its size: with the digest, which every deletion compares with all of the bytes, that is
    all there is to tell two files apart that come back from a backup with other times.
    """

    def __init__(self, disk: Disk, root: Path) -> None:
        self._disk = disk
        self._root = root

    @classmethod
    def create(cls, disk: Disk, root: Path) -> FileStore:
        """Make a folder a store, durably; harmless when it is one. Raises StoreError as a disk fails."""
        with _told(root.name):
            write_once(disk, root / MARKER, b"Objects of a drimbox archive, one a file.\n")
        return cls(disk, root)

    def put(self, key: str, source: Source, *, size_bytes: int, sha256: bytes) -> StoredObject:
        """Create a file; the source is read once, and not at all when the key is taken."""
        path, stored = self._path(key), StoredObject(key, size_bytes, str(size_bytes), sha256)
        self._check_presence()
        if self._size_bytes(path) is None:
            with _told(key):
                self._disk.make_folder(path.parent)
            chunks = checked_chunks(key, source, size_bytes=size_bytes, sha256=sha256)
            is_taken = not self._write(key, path, chunks)
        else:
            is_taken = True
        if is_taken and digest_of(self.read(key)) != (size_bytes, sha256):
            raise KeyTaken(key=key)
        with _told(key):  # for a name found too: whoever gave it may have been killed before this
            self._disk.sync_folder(path.parent)
        return stored

    def _write(self, key: str, path: Path, chunks: Iterator[bytes]) -> bool:
        """Write a file and name it; False when the name was taken meanwhile."""
        with _told(key):
            handle = self._disk.create(path.parent)
        try:
            self._fill(key, handle, chunks)
            with _told(key), suppress(FileExistsError):
                self._disk.sync_file(handle)
                self._disk.link(handle, path)
                return True
            return False
        finally:
            self._disk.close(handle)

    def _fill(self, key: str, handle: int, chunks: Iterator[bytes]) -> None:
        offset, page = 0, memoryview(mmap.mmap(-1, CHUNK_BYTES))  # aligned, as direct writes want it
        for chunk in chunks:
            page[: len(chunk)] = chunk
            with _told(key):
                self._disk.write(handle, page[: len(chunk)], offset)
            offset += len(chunk)

    def read(self, key: str, *, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        """Read in chunks of 1 MiB."""
        wanted = wanted_bytes(self._get(key), offset=offset, length=length)
        chunks = self._disk.read(self._path(key), chunk_bytes=min(max(wanted, 1), CHUNK_BYTES), offset=offset)
        yield from exactly(key, _told_each(key, chunks), wanted)

    def read_range(self, key: str, offset: int, length: int) -> bytes:
        """Read only the range."""
        return b"".join(self.read(key, offset=offset, length=length))

    def find(self, key: str) -> StoredObject | None:
        """Ask for the file's size; the digest is not known without reading."""
        size_bytes = self._size_bytes(self._path(key))
        if size_bytes is None:
            self._check_presence()
            return None
        return StoredObject(key, size_bytes, str(size_bytes), None)

    def iter_keys(self, prefix: str = "", *, after: str = "") -> Iterator[str]:
        """Go through the folders, whatever the prefix, and through each by name."""
        behind = self._path(after).parts[-2:] if after else ("", "")
        start = check_prefix(prefix).replace("/", "+")
        self._check_presence()
        with _told(prefix):
            shards = [name for name in self._disk.names(self._root) if name != MARKER and name >= behind[0]]
        for shard in shards:
            with _told(prefix):
                names = self._disk.names(self._root / shard)
            names = [name for name in names if name.startswith(start) and (shard, name) > behind]
            yield from (name.replace("+", "/") for name in names)

    def delete(self, warrant: DeleteWarrant, *, accept_damaged: bool = False) -> Deletion:
        """Read all of the file and compare, take its name away, sync the folder."""
        path = self._path(warrant.key)
        outcome = self._compare(warrant)
        if outcome is Deletion.DELETED_DAMAGED and not accept_damaged:
            raise ObjectDiffers(key=warrant.key, reason="its bytes are not those of the warrant")
        with _told(warrant.key):
            self._disk.unlink(path)
            with suppress(FileNotFoundError):  # the folder may never have been made
                self._disk.sync_folder(path.parent)
        return outcome

    def _compare(self, warrant: DeleteWarrant) -> Deletion:
        try:
            size_bytes, sha256 = digest_of(self.read(warrant.key))
        except ObjectNotFound:
            return Deletion.GONE
        except StoreUnavailable as exc:
            if not isinstance(exc.__cause__, OSError) or exc.__cause__.errno != errno.EIO:
                raise
            return Deletion.DELETED_DAMAGED  # the disk cannot read it any more
        is_same = (str(size_bytes), sha256) == (warrant.generation, warrant.sha256)
        return Deletion.DELETED if is_same else Deletion.DELETED_DAMAGED

    def availability(self, key: str) -> Availability:
        """Say that a file can be read at once."""
        self._get(key)
        return Availability.ONLINE

    def request_thaw(self, keys: Collection[str], days: int) -> None:
        """Do nothing: no file is cold."""
        for key in keys:
            self._get(key)

    def _get(self, key: str) -> StoredObject:
        found = self.find(key)
        if found is None:
            raise ObjectNotFound(key=key)
        return found

    def _size_bytes(self, path: Path) -> int | None:
        with _told(path.name):
            try:
                return self._disk.size_bytes(path)
            except FileNotFoundError:
                return None

    def _check_presence(self) -> None:
        """Refuse to take a folder for a store that is no store: a share that is not mounted looks empty."""
        if self._size_bytes(self._root / MARKER) is None:
            raise StoreUnavailable(reason=f"the folder {self._root.name} is no store, or its disk is not mounted")

    def _path(self, key: str) -> Path:
        name = check_key(key).replace("/", "+")
        return self._root / hashlib.sha256(name.encode("ascii")).hexdigest()[:_SHARD_DIGITS] / name


@contextmanager
def _told(key: str) -> Iterator[None]:
    """Give what a disk raises the name it has in the contract: the one place where that is done."""
    try:
        yield
    except OSError as exc:
        raise _named(key, exc) from exc


def _told_each(key: str, chunks: Iterator[bytes]) -> Iterator[bytes]:
    while True:
        with _told(key):
            chunk = next(chunks, b"")
        if not chunk:
            return
        yield chunk


def _named(key: str, exc: OSError) -> StoreError:
    if exc.errno == errno.ENOENT:
        return ObjectNotFound(key=key)
    reason = exc.strerror or type(exc).__name__
    if exc.errno in _FULL:
        return StoreFull(reason=reason)
    return StoreRefused(reason=reason) if exc.errno in _REFUSED else StoreUnavailable(reason=reason)
