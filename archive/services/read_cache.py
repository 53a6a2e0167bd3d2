"""Parts of cold packs that were read lately, on the local disk, within a limit; must not know where they come from.

An entry is a whole Part 10 file. Whoever holds one open keeps it, also when its place is needed: its name goes, its
bytes stay until it is closed. What is here may be deleted at any time: nothing is synced, and every entry is proven
each time it is opened. A disk that is full, or no disk at all, costs speed and nothing else.
"""

from __future__ import annotations

import errno
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO, Final, cast

from archive import logs

_log = logs.get(__name__)
_SMALL_BYTES: Final = 32 << 20
_MEMORY_BYTES: Final = 512 << 20
_INCOMING: Final = ".incoming-"
FLOOR_BYTES: Final = 256 << 20
"""The least that is used: what is fetched ahead of a reader has to lie somewhere."""

Check = Callable[[BinaryIO], bool]
"""Reads an entry to its end and tells whether it is what was wanted."""


@dataclass(slots=True)
class ReadCache:
    """Entries in a folder, ``limit_bytes`` of them at most; the one used longest ago goes first.

    It gives way so that ``min_free_bytes`` of its file system stay free for others. One process at a time.
    """

    folder: Path
    limit_bytes: int
    min_free_bytes: int = 0
    _entries: OrderedDict[str, int] = field(default_factory=OrderedDict)
    _size_bytes: int = 0
    _is_told: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.limit_bytes = max(self.limit_bytes, FLOOR_BYTES)
        with suppress(OSError):
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            found = [(entry.stat(), entry.name) for entry in os.scandir(self.folder) if entry.is_file()]
            for status, name in sorted(found, key=lambda each: each[0].st_mtime_ns):
                if name.startswith(_INCOMING):
                    os.unlink(self.folder / name)
                    continue
                self._entries[name] = status.st_size
                self._size_bytes += status.st_size
        self.give_way()

    @property
    def size_bytes(self) -> int:
        """Return how much lies in it."""
        return self._size_bytes

    # ---- entries -----------------------------------------------------------------------------------------------------

    def has(self, key: str) -> bool:
        """Tell whether there is an entry, which may turn out to be none when it is opened."""
        return _name(key) in self._entries

    def find(self, key: str, check: Check) -> BinaryIO | None:
        """Return an entry, open and checked, or None; one that is not what it should be is thrown away."""
        name = _name(key)
        with self._lock:
            if name not in self._entries:
                return None
            self._entries.move_to_end(name)
        try:
            file = cast(BinaryIO, open(self.folder / name, "rb", buffering=0))  # noqa: SIM115  the caller closes it
        except OSError:
            self._forget(name)
            return None
        if check(file):
            with suppress(OSError):
                os.utime(file.fileno())  # so that the next run knows, too, which was used last
            return file
        file.close()
        _log.warning("read_cache_entry_damaged", entry=name)
        self._forget(name)
        return None

    # ---- new ones ----------------------------------------------------------------------------------------------------

    def can_keep(self, size_bytes: int) -> bool:
        """Tell whether an entry of this size would be kept; what was used longest ago makes room for it."""
        if size_bytes > self.limit_bytes // 2:
            return False
        self._make_room(self.limit_bytes - size_bytes, self.min_free_bytes + size_bytes)
        return self._free_bytes() >= self.min_free_bytes + size_bytes

    def new_file(self, size_bytes: int) -> BinaryIO:
        """Return a file for a new entry, which is no entry yet; in memory, or without a name, when it cannot be kept.

        Give it to ``keep`` or to ``drop``. Raises OSError when neither disk nor memory takes it.
        """
        if self.can_keep(size_bytes):
            with suppress(OSError):
                return self._on_disk(size_bytes)
        if not self._is_told:
            self._is_told = True
            _log.warning("read_cache_full", folder=str(self.folder))
        if size_bytes > _SMALL_BYTES:
            with suppress(OSError):
                file = self._on_disk(size_bytes)
                self.drop(file)
                return file
        if size_bytes > _MEMORY_BYTES:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return cast(BinaryIO, os.fdopen(os.memfd_create("drimbox-cold"), "w+b", buffering=0))

    def _on_disk(self, size_bytes: int) -> BinaryIO:
        """Return a file with all of its room: a disk that fills up fails here, not in the middle."""
        path = self.folder / f"{_INCOMING}{os.urandom(8).hex()}"
        file = cast(BinaryIO, open(path, "x+b", buffering=0, opener=_for_us_alone))  # noqa: SIM115  the caller closes it
        try:
            os.posix_fallocate(file.fileno(), 0, max(size_bytes, 1))
        except OSError:
            self.drop(file)
            file.close()
            raise
        return file

    def keep(self, key: str, file: BinaryIO, size_bytes: int) -> None:
        """Make a whole, proven file an entry; it does not matter if that fails."""
        name = _name(key)
        if not isinstance(file.name, str | Path):
            return
        try:
            os.replace(file.name, self.folder / name)
        except OSError:
            self.drop(file)
            return
        with self._lock:
            self._is_told = False
            self._size_bytes += size_bytes - self._entries.pop(name, 0)
            self._entries[name] = size_bytes
        self._make_room(self.limit_bytes, 0)

    def drop(self, file: BinaryIO) -> None:
        """Take a file's name away; who holds it open keeps its bytes."""
        if isinstance(file.name, str | Path):
            with suppress(OSError):
                os.unlink(file.name)

    # ---- room --------------------------------------------------------------------------------------------------------

    def give_way(self) -> None:
        """Let entries go that are beyond the limit, or in the way of others on a disk that has filled up."""
        self._make_room(self.limit_bytes, self.min_free_bytes)

    def keep_only(self, pack_keys: Iterable[str]) -> int:
        """Let the entries of all other packs go; return how many: the index has forgotten them, or never knew."""
        known = {_group(key) for key in pack_keys}
        with self._lock:
            unknown = [name for name in self._entries if name.partition("-")[0] not in known]
        for name in unknown:
            self._forget(name)
        return len(unknown)

    def _make_room(self, limit_bytes: int, free_bytes: int) -> None:
        while True:
            with self._lock:
                if not self._entries or (self._size_bytes <= limit_bytes and self._free_bytes() >= free_bytes):
                    return
                name = next(iter(self._entries))
            self._forget(name)

    def _free_bytes(self) -> int:
        try:
            status = os.statvfs(f"{self.folder}/.")  # an error when it is no folder
        except OSError:
            return 0
        return status.f_bavail * status.f_frsize

    def _forget(self, name: str) -> None:
        with self._lock:
            self._size_bytes -= self._entries.pop(name, 0)
        with suppress(OSError):
            os.unlink(self.folder / name)


def forget_pack(folder: Path, pack_key: str) -> None:
    """Take the entries of a pack away, durably, also from beside the process that uses the cache.

    What is destroyed leaves no copy here. Raises OSError when one may still be there.
    """
    if not folder.is_dir():
        return
    names = [path for path in folder.glob(f"{_group(pack_key)}-*")]
    for path in names:
        path.unlink(missing_ok=True)
    if names:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _for_us_alone(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _name(key: str) -> str:
    """Return the name of an entry, which tells which pack it is from: a member's key is its pack's and its own name."""
    return f"{_group(key.rpartition('/')[0])}-{sha256(key.encode()).hexdigest()[:40]}"


def _group(pack_key: str) -> str:
    return sha256(pack_key.encode()).hexdigest()[:20]
