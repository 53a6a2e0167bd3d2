"""A disk in memory that forgets what was not synced, at any call, and an index that does; must not sync by itself.

The model: a file keeps its bytes as of the last ``sync_file`` and any subset of the pages written since; a folder
keeps its names as of the last ``sync_folder`` and any subset of those made since. The index keeps every synced commit
and any number of the commits after it, from the first (its log is read up to the first record that is not whole).
"""

from __future__ import annotations

import errno
import itertools
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from archive.index.session import Connection, Database

PAGE_BYTES = 4096
Keep = Callable[[], bool]
"""Asked once for each unsynced page or name: does it survive?"""


class PowerCut(BaseException):
    """The power is gone: nothing after this call happens."""


@dataclass
class _File:
    synced: bytes = b""
    data: bytearray = field(default_factory=bytearray)
    unsynced: list[tuple[int, bytes]] = field(default_factory=list)

    def write(self, data: bytes, offset: int) -> None:
        _lay(self.data, data, offset)
        start = 0
        while start < len(data):
            end = (offset + start) // PAGE_BYTES * PAGE_BYTES + PAGE_BYTES - offset
            self.unsynced.append((offset + start, data[start:end]))
            start = end

    def sync(self) -> None:
        self.synced, self.unsynced = bytes(self.data), []

    def survive(self, keep: Keep) -> _File:
        data = bytearray(self.synced)
        for offset, page in self.unsynced:
            if keep():
                _lay(data, page, offset)
        return _File(synced=bytes(data), data=data)


def _lay(target: bytearray, data: bytes, offset: int) -> None:
    if len(target) < offset:
        target.extend(bytes(offset - len(target)))
    target[offset : offset + len(data)] = data


@dataclass
class _Folder:
    names: dict[str, _File | _Folder] = field(default_factory=dict)
    synced: set[str] = field(default_factory=set)
    unlinked: dict[str, _File] = field(default_factory=dict)
    """Names taken away since the last sync: each may be there again."""

    def survive(self, keep: Keep, known: dict[int, _File]) -> _Folder:
        """Return what is left; ``known`` keeps a file with two names one file."""
        left = _Folder()
        back = {name: node for name, node in self.unlinked.items() if name not in self.names and keep()}
        for name, node in (self.names | back).items():
            if name in self.synced or keep():
                if isinstance(node, _Folder):
                    left.names[name] = node.survive(keep, known)
                else:
                    left.names[name] = known.setdefault(id(node), node.survive(keep))
        left.synced = set(left.names)
        return left


class ForgetfulDisk:
    """A tiering.disk.Disk. ``cut_at`` is the number of the call at which the power goes, before it does anything.

    ``fail_at`` maps numbers of calls to the errno they fail with. ``capacity_bytes`` is what all files together hold.
    """

    def __init__(self, base: Path, *, cut_at: int | None = None, capacity_bytes: int = 1 << 40) -> None:
        self.base = base
        self.cut_at = cut_at
        self.fail_at: dict[int, int] = {}
        self.capacity_bytes = capacity_bytes
        self.calls: list[str] = []
        self.is_off = False
        self._root = _Folder()
        self._open: dict[int, _File] = {}
        self._handles = itertools.count(3)
        self._durable: set[Path] = {base}
        self._lock = threading.RLock()

    def call(self, name: str) -> None:
        """Count a call; the power goes, or the call fails, when its number has come up."""
        with self._lock:
            if not self.is_off:
                self.calls.append(name)
                self.is_off = len(self.calls) == self.cut_at
            if self.is_off:
                raise PowerCut(name)
            code = self.fail_at.get(len(self.calls))
            if code is not None:
                raise OSError(code, errno.errorcode[code])

    def after_power_cut(self, keep: Keep) -> ForgetfulDisk:
        """Return the disk as it is found when the power is back."""
        with self._lock:
            left = ForgetfulDisk(self.base)
            left._root = self._root.survive(keep, {})
            return left

    def files(self) -> dict[str, bytes]:
        """Return every file by its path below the base."""
        return dict(_walk(self._root, ""))

    def damage(self, path: Path, data: bytes | None) -> None:
        """Give a file other bytes, or none at all: what a failing disk or a human does."""
        folder = self._folder(path.parent)
        if data is None:
            del folder.names[path.name]
        else:
            folder.names[path.name] = _File(synced=data, data=bytearray(data))

    def remove(self, path: Path) -> None:
        """Take a folder away with all below it, if it is there."""
        self._folder(path.parent).names.pop(path.name, None)

    @property
    def used_bytes(self) -> int:
        """Return the size of all files, those without a name too."""
        named = {id(file): len(file.data) for file in _files(self._root)}
        return sum((named | {id(file): len(file.data) for file in self._open.values()}).values())

    # ---- tiering.disk.Disk ---------------------------------------------------------------------------------------

    def make_folder(self, path: Path) -> None:
        with self._lock:
            if path in self._durable:
                return
            self.make_folder(path.parent)
            self.call("make_folder")
            self._folder(path.parent).names.setdefault(path.name, _Folder())
            self.sync_folder(path.parent)
            self._durable.add(path)

    def create(self, folder: Path) -> int:
        with self._lock:
            self.call("create")
            self._folder(folder)
            handle = next(self._handles)
            self._open[handle] = _File()
            return handle

    def write(self, handle: int, data: bytes | memoryview, offset: int) -> None:
        with self._lock:
            self.call("write")
            file = self._open[handle]
            grows = max(offset + len(data) - len(file.data), 0)
            room = self.capacity_bytes - self.used_bytes
            file.write(bytes(data)[: len(data) - max(grows - room, 0)], offset)
            if grows > room:
                raise OSError(errno.ENOSPC, "No space left on device")

    def sync_file(self, handle: int) -> None:
        with self._lock:
            self.call("sync_file")
            self._open[handle].sync()

    def link(self, handle: int, path: Path) -> None:
        with self._lock:
            self.call("link")
            folder = self._folder(path.parent)
            if path.name in folder.names:
                raise FileExistsError(errno.EEXIST, "File exists")
            folder.names[path.name] = self._open[handle]

    def sync_folder(self, path: Path) -> None:
        with self._lock:
            self.call("sync_folder")
            folder = self._folder(path)
            folder.synced, folder.unlinked = set(folder.names), {}

    def unlink(self, path: Path) -> bool:
        with self._lock:
            self.call("unlink")
            try:
                folder = self._folder(path.parent)
            except FileNotFoundError:
                return False
            file = folder.names.pop(path.name, None)
            if isinstance(file, _File) and path.name in folder.synced:
                folder.unlinked[path.name] = file
            return file is not None

    def append(self, path: Path, data: bytes, offset: int) -> None:
        with self._lock:
            self.make_folder(path.parent)
            self.call("append")
            file = self._folder(path.parent).names.setdefault(path.name, _File())
            assert isinstance(file, _File)
            del file.data[offset:]
            file.write(data, offset)
            self.call("sync_appended")
            file.sync()
            self.sync_folder(path.parent)

    def close(self, handle: int) -> None:
        with self._lock:
            del self._open[handle]

    def names(self, folder: Path) -> list[str]:
        with self._lock:
            self.call("names")
            try:
                return sorted(self._folder(folder).names)
            except FileNotFoundError:
                return []

    def read(self, path: Path, *, chunk_bytes: int, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        data = bytes(self._file(path).data)[offset:]
        data = data if length is None else data[:length]
        for start in range(0, len(data), chunk_bytes):
            self.call("read")
            yield data[start : start + chunk_bytes]

    def size_bytes(self, path: Path) -> int:
        return len(self._file(path).data)

    def sweep(self, folder: Path) -> int:
        self.call("sweep")
        return 0

    def free_bytes(self, path: Path) -> int:
        return max(self.capacity_bytes - self.used_bytes, 0)

    # ---- inside --------------------------------------------------------------------------------------------------

    def _folder(self, path: Path) -> _Folder:
        node: _File | _Folder | None = self._root
        for part in path.relative_to(self.base).parts:
            node = node.names.get(part) if isinstance(node, _Folder) else None
        if not isinstance(node, _Folder):
            raise FileNotFoundError(errno.ENOENT, "No such folder")
        return node

    def _file(self, path: Path) -> _File:
        node = self._folder(path.parent).names.get(path.name)
        if not isinstance(node, _File):
            raise FileNotFoundError(errno.ENOENT, "No such file")
        return node

    @property
    def open_handles(self) -> int:
        """Return how many handles are open."""
        return len(self._open)


def _walk(folder: _Folder, prefix: str) -> Iterator[tuple[str, bytes]]:
    for name, node in folder.names.items():
        if isinstance(node, _Folder):
            yield from _walk(node, f"{prefix}{name}/")
        else:
            yield prefix + name, bytes(node.data)


def _files(folder: _Folder) -> Iterator[_File]:
    for node in folder.names.values():
        if isinstance(node, _Folder):
            yield from _files(node)
        else:
            yield node


class ForgetfulDatabase(Database):
    """The real index on a real SQLite file, with a copy of every state in which a power cut may leave it."""

    is_synced = True

    def __init__(self, path: Path, content: bytes, power: ForgetfulDisk) -> None:
        path.write_bytes(content)
        super().__init__(f"sqlite:///{path}", pool_size=2)
        self._path = path
        self._power = power
        self.survivors = [content]

    @contextmanager
    def write(self, *, synced: bool) -> Iterator[Connection]:
        """Commit as the real one does; the power may go before, and after, and before the sync."""
        self._power.call("index_begin")
        with super().write(synced=synced) as connection:
            yield connection
        if not self._power.is_off:
            self.survivors = [*self.survivors, content_of(self._path)]
        self._power.call("index_committed")
        if synced and self.is_synced:
            self.survivors = self.survivors[-1:]
            self._power.call("index_synced")


def content_of(path: Path) -> bytes:
    """Return the committed content of a SQLite database that may be open elsewhere."""
    connection = sqlite3.connect(path)
    try:
        return connection.serialize()
    finally:
        connection.close()
