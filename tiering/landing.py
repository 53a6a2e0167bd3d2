"""The landing area: where a received object becomes durable; must not know DICOM, the index or the network.

Objects lie in folders ``<day>/<folder>/<number>.dcm``. A folder belongs to one run of one process and takes a bounded
number of objects and bytes; a key names one object for ever. ``LandingFile`` streams one object in; its header, which
stands in front and carries the digest of all the rest, is complete last.
"""

from __future__ import annotations

import hashlib
import os
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Final

from tiering.disk import BLOCK_BYTES, Disk

CHUNK_BYTES: Final = 1024 * 1024
SLACK_BYTES: Final = 128 * 1024
"""Room for the header, and for what a fragment brings beyond a chunk."""
SUFFIX: Final = ".dcm"
PACK_SUFFIX: Final = ".zip"
NOTE_SUFFIX: Final = ".json"
"""What lies beside an object and tells why it was kept aside."""
_DAY: Final = re.compile(r"[0-9]{8}")
_OBJECT: Final = re.compile(r"[0-9]{6,}\.dcm")
_FOLDER: Final = re.compile(r"([0-9]{8})/([0-9]{6})-[0-9a-f]{8}")


class LandingFile:
    """One object on its way in, a sink for its data set; ``blank`` is the header as far as it is known, in its size.

    Bytes are received into ``chunk`` (page-aligned, ``CHUNK_BYTES + SLACK_BYTES``), behind the place of the header,
    hashed as they come, and written in whole blocks whenever ``CHUNK_BYTES`` are there; an object that fits is
    written once, header and all, by ``complete``. A disk that fails does not stop the transfer: the rest is received
    and dropped, and ``complete`` raises. ``close`` without a link leaves nothing behind.
    """

    def __init__(self, disk: Disk, handle: int, blank: bytes, chunk: memoryview) -> None:
        self._disk = disk
        self._handle: int | None = handle
        self._chunk = chunk
        self._header_size = len(blank)
        self._hash = hashlib.sha256()
        self._head: bytes | None = None
        self._written = 0
        self._position = len(blank)
        self._failure: OSError | None = None
        self.size_bytes = 0
        chunk[: len(blank)] = blank

    @property
    def handle(self) -> int:
        """Return the open handle."""
        if self._handle is None:
            raise ValueError("the landing file is closed")
        return self._handle

    @property
    def head(self) -> bytes | memoryview:
        """Return the first bytes of the data set, ``CHUNK_BYTES`` at most, however they came."""
        return self._chunk[self._header_size : self._position] if self._head is None else self._head

    def room(self) -> memoryview:
        """Return the rest of the chunk, always 64 KiB or more."""
        return self._chunk[self._position :]

    def filled(self, count: int) -> None:
        """Take the first ``count`` bytes of the room."""
        end = self._position + count
        self._hash.update(self._chunk[self._position : end])
        self.size_bytes += count
        self._position = end
        if self._head is None:
            if self.size_bytes > CHUNK_BYTES:
                self._head = bytes(self._chunk[self._header_size : self._header_size + CHUNK_BYTES])
                self._turn()
        elif end >= CHUNK_BYTES:
            self._turn()

    def _turn(self) -> None:
        """Write the whole blocks and go on with what is left at the front of the chunk."""
        whole = self._position // BLOCK_BYTES * BLOCK_BYTES
        rest = self._position - whole
        self._write(self._chunk[:whole])
        self._chunk[:rest] = self._chunk[whole : self._position]
        self._position = rest

    def _write(self, data: memoryview) -> None:
        if self._failure is None:
            try:
                self._disk.write(self.handle, data, self._written)
                self._written += len(data)
            except OSError as exc:
                self._failure = exc

    def digest(self) -> bytes:
        """Return the SHA-256 of the data set so far."""
        return self._hash.digest()

    def complete(self, header: bytes) -> None:
        """Write what is left and the header, and make the whole file durable. Raises OSError as the disk does."""
        if len(header) != self._header_size:
            raise ValueError("the header does not have the size that was left free for it")
        is_whole = not self._written
        if is_whole:
            self._chunk[: len(header)] = header
        self._write(self._chunk[: self._position])
        self._position = 0
        if self._failure is not None:
            raise self._failure
        if not is_whole:
            self._disk.write(self.handle, header, 0)
        self._disk.sync_file(self.handle)

    def link(self, path: Path) -> None:
        """Give the file its name and make the name durable. Create-only."""
        self._disk.link(self.handle, path)
        self._disk.sync_folder(path.parent)

    def close(self) -> None:
        """Let go; a file that was never linked is gone."""
        if self._handle is not None:
            self._disk.close(self._handle)
            self._handle = None


@dataclass(slots=True)
class LandingFolder:
    """A folder that still takes objects, or waits for its last ones to be indexed."""

    name: str
    path: Path
    day: date
    taken: int = 0
    size_bytes: int = 0
    pending: int = 0
    is_full: bool = False


Register = Callable[[LandingFolder, Sequence[LandingFolder]], None]


@dataclass(slots=True)
class LandingArea:
    """Hands out keys; a key is ``<day>/<folder>/<number>`` and is used once.

    ``root``: the hot folder. ``max_objects`` and ``max_bytes`` bound what start-up has to read again.
    """

    disk: Disk
    root: Path
    max_objects: int = 4096
    max_bytes: int = 4 * 1024**3
    max_spare: int = 16
    _is_closed: bool = False
    _spare: list[int] = field(default_factory=list)
    _current: LandingFolder | None = None
    _retired: list[LandingFolder] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _counting: threading.Lock = field(default_factory=threading.Lock)
    """Guards ``pending`` alone: ``settled`` is called by the thread that ``register`` waits for under ``_lock``."""

    def new_file(self, blank: bytes, chunk: memoryview) -> LandingFile:
        """Open a file that has no name yet; one that ``prepare`` made when there is one."""
        try:
            handle = self._spare.pop()
        except IndexError:
            handle = self.disk.create(self.root)
        return LandingFile(self.disk, handle, blank, chunk)

    @property
    def is_low(self) -> bool:
        """Tell whether ``prepare`` has something to do."""
        return len(self._spare) < self.max_spare // 2

    def prepare(self) -> None:
        """Open files ahead of need. Raises OSError."""
        while len(self._spare) < self.max_spare and self._keep_spare(self.disk.create(self.root)):
            pass

    def _keep_spare(self, handle: int) -> bool:
        """Keep a file for later, unless the end came in the meantime; tell which."""
        with self._lock:
            if not self._is_closed:
                self._spare.append(handle)
                return True
        self.disk.close(handle)
        return False

    def reserve(self, size_bytes: int, now: datetime, register: Register) -> tuple[str, LandingFolder]:
        """Return a fresh key and its folder.

        A new folder is given to ``register``, with the folders that are full and wholly indexed, before anything
        may land in it: what is not registered would not be looked at after a crash. When it raises, nothing changed.
        """
        with self._lock:
            folder = self._current
            if folder is None or folder.is_full or folder.day < now.date():
                folder = self._open(now, register)
            folder.taken += 1
            folder.size_bytes += size_bytes
            with self._counting:
                folder.pending += 1
            folder.is_full = folder.taken >= self.max_objects or folder.size_bytes >= self.max_bytes
            return f"{folder.name}/{folder.taken:06d}", folder

    def _open(self, now: datetime, register: Register) -> LandingFolder:
        name = f"{now:%Y%m%d}/{now:%H%M%S}-{os.urandom(4).hex()}"
        path = self.root / name
        self.disk.make_folder(path)
        folder = LandingFolder(name=name, path=path, day=now.date())
        retired = [*self._retired, self._current] if self._current is not None else self._retired
        done = [old for old in retired if old.pending == 0]
        register(folder, done)
        self._retired = [old for old in retired if old not in done]
        self._current = folder
        return folder

    def settled(self, folder: LandingFolder) -> None:
        """Say that one object of the folder is indexed, or was refused for good."""
        with self._counting:
            folder.pending -= 1

    def close(self) -> list[LandingFolder]:
        """Return the folders that are wholly indexed, at the end of a run; nothing may be reserved afterwards."""
        with self._lock:
            self._is_closed = True
            while self._spare:
                self.disk.close(self._spare.pop())
            opened = [*self._retired, self._current] if self._current is not None else list(self._retired)
            self._current, self._retired = None, []
            return [folder for folder in opened if folder.pending == 0]

    def path_in(self, folder: LandingFolder, key: str) -> Path:
        """Return where the object of a key ``reserve`` gave lies."""
        return folder.path / f"{key.rpartition('/')[2]}{SUFFIX}"

    def has_room(self, floor_bytes: int) -> bool:
        """Tell whether more than ``floor_bytes`` are free."""
        return self.disk.free_bytes(self.root) > floor_bytes


def path_of(root: Path, key: str) -> Path:
    """Return the file of ``key`` under ``root``; ValueError for a key that would lead elsewhere.

    The key of a pack is the name of its file, that of a received object lacks the suffix.
    """
    parts = key.split("/")
    if not parts or any(part in ("", ".", "..") or "\0" in part for part in parts):
        raise ValueError(f"not an object key: {key!r}")
    suffix = "" if parts[-1].endswith(PACK_SUFFIX) else SUFFIX
    return root / f"{key}{suffix}"


PACKS: Final = "packs"
"""The folder beside the landing folders in which packs lie, each under its key."""
_PACK_DEPTH: Final = 3  # site, study, series


def pack_path(root: Path, key: str) -> Path:
    """Return the file of the pack ``key`` under ``root``; ValueError for a key that would lead elsewhere."""
    return path_of(root / PACKS, key)


def iter_folders(disk: Disk, root: Path) -> Iterator[str]:
    """Yield the names of the landing folders under ``root``, oldest first; what is not one is passed over."""
    for day in disk.names(root):
        if _DAY.fullmatch(day):
            for name in disk.names(root / day):
                if _FOLDER.fullmatch(f"{day}/{name}"):
                    yield f"{day}/{name}"


def iter_packs(disk: Disk, root: Path) -> Iterator[str]:
    """Yield the keys of the packs under ``root``, in their order; strangers are passed over."""
    found = [""]
    for _ in range(_PACK_DEPTH):
        found = [f"{folder}{name}/" for folder in found for name in disk.names(root / PACKS / folder)]
    for folder in found:
        for name in disk.names(root / PACKS / folder):
            if name.endswith(PACK_SUFFIX):
                yield folder + name


def opened_at(folder: str) -> datetime:
    """Return when a landing folder was opened, to the second, from its name; ValueError when it is not one."""
    found = _FOLDER.fullmatch(folder)
    if found is None:
        raise ValueError(f"not a landing folder: {folder!r}")
    return datetime.strptime(found[1] + found[2], "%Y%m%d%H%M%S").replace(tzinfo=UTC)


def iter_keys(disk: Disk, root: Path, folder: str) -> Iterator[str]:
    """Yield the keys of the objects in a folder, in the order in which they landed; strangers are passed over."""
    for name in disk.names(root / folder):
        if _OBJECT.fullmatch(name):
            yield f"{folder}/{name.removesuffix(SUFFIX)}"
