"""SeriesPack, one immutable object for one generation of a series; must not know where objects are kept.

A pack is a ZIP file whose members are stored, not compressed: the instances, ``000001.dcm`` and on, each a whole
DICOM Part 10 file, then ``manifest.json`` (``pack_manifest``), then the directory (``pack_zip`` has every byte). Any
unzip gives the instances back without this project, and any range read gives one of them without the rest.

A pack is written once from front to end. ZIP wants CRC-32 and size before the data, and going back to fill them in
would spoil the digest of the whole; so an instance larger than one chunk is read twice, first for these two. The second
reading comes from memory that the operating system keeps, and a CRC-32 costs a third of a SHA-256. What is written only
forwards may also go straight to the network, and never needs to be read again for its digest.
"""

from __future__ import annotations

import hashlib
import re
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields
from typing import BinaryIO, Final

from tiering.errors import PackMismatch, PackTooLarge
from tiering.pack_manifest import (
    Manifest,
    MemberFacts,
    PackedMember,
    SeriesFacts,
    check_series,
    encode_manifest,
    is_uid,
)
from tiering.pack_reader import read_manifest, verify_pack
from tiering.pack_zip import MANIFEST_NAME, MAX_MEMBERS, ZipEnd, ZipEntry, encode_directory, member_name

__all__ = [
    "Manifest",
    "MemberFacts",
    "PackFacts",
    "PackWriter",
    "PackedMember",
    "SeriesFacts",
    "pack_key",
    "read_manifest",
    "verify_pack",
]

Chunks = Callable[[], Iterable[bytes]]
"""Gives the same bytes from the start each time it is called."""

_FACTS: Final = [part.name for part in fields(MemberFacts)]
_PLAIN_SITE: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,63}")
_SUFFIX: Final = re.compile(r"[0-9a-z]{4,64}")


@dataclass(frozen=True, slots=True)
class PackFacts:
    """A pack that is written: what a store is asked to keep, and what it is asked for afterwards."""

    size_bytes: int
    sha256: str
    members: tuple[PackedMember, ...]


class PackWriter:
    """Writes a pack to ``file``, which need only take bytes in order; making it durable is the caller's.

    Raises what ``check_series`` does. Later an exception leaves half a pack and a writer that takes nothing more: throw
    the file away.
    """

    def __init__(self, file: BinaryIO, *, series: SeriesFacts) -> None:
        check_series(series)
        self._file = file
        self._series = series
        self._digest = hashlib.sha256()
        self._entries: list[ZipEntry] = []
        self._members: list[PackedMember] = []
        self._uids: set[str] = set()
        self._is_open = True

    def add(self, member: MemberFacts, chunks: Chunks) -> PackedMember:
        """Append an instance: ``chunks`` gives its Part 10 file, in pieces of 1 MiB at most to bound the memory.

        Raises PackMismatch when the two readings differ, PackTooLarge beyond ``MAX_MEMBERS``, ValueError for an
        instance that is packed already or a header larger than the file, OSError as the file does.
        """
        self._claim(member.sop_instance_uid)
        entry, pieces = self._measure(member_name(len(self._entries) + 1), chunks)
        packed = PackedMember(
            **{name: getattr(member, name) for name in _FACTS},
            name=entry.name,
            offset=entry.offset,
            length=entry.size_bytes,
            sha256=self._append(entry, pieces),
            crc32=entry.crc32,
        )
        self._members.append(packed)
        self._is_open = True
        return packed

    def finish(self) -> PackFacts:
        """Write manifest and directory. Raises ValueError for a pack without an instance, OSError as the file does."""
        self._claim(None)
        if not self._members:
            raise ValueError("a pack holds at least one instance")
        manifest = encode_manifest(self._series, self._members)
        manifest_sha256 = self._append(*self._measure(MANIFEST_NAME, lambda: [manifest]))
        directory = encode_directory(self._entries)
        end = ZipEnd(len(self._entries), self._place, len(directory), manifest_sha256).encoded()
        size_bytes = self._place + len(directory) + len(end)
        self._write(directory)
        self._write(end)
        return PackFacts(size_bytes=size_bytes, sha256=self._digest.hexdigest(), members=tuple(self._members))

    def _claim(self, sop_instance_uid: str | None) -> None:
        """Refuse what comes after the end, an error, the last place or the same instance; closed until it succeeds."""
        if not self._is_open:
            raise ValueError("this pack takes nothing more")
        if sop_instance_uid is not None:
            if len(self._members) == MAX_MEMBERS:
                raise PackTooLarge(reason=f"it has more than {MAX_MEMBERS} instances")
            if sop_instance_uid in self._uids:
                raise ValueError("this instance is in the pack already")
            self._uids.add(sop_instance_uid)
        self._is_open = False

    @property
    def _place(self) -> int:
        return self._entries[-1].end if self._entries else 0

    def _measure(self, name: str, chunks: Chunks) -> tuple[ZipEntry, Iterable[bytes]]:
        """Return what the directory will say of a member, and its bytes: those just read if they were one piece."""
        crc32 = size_bytes = count = 0
        chunk = b""
        for count, chunk in enumerate(chunks(), start=1):  # noqa: B007 - both are wanted afterwards
            crc32 = zlib.crc32(chunk, crc32)
            size_bytes += len(chunk)
        entry = ZipEntry(name=name, header_offset=self._place, size_bytes=size_bytes, crc32=crc32)
        return entry, _read_again(entry, chunks) if count > 1 else [chunk]

    def _append(self, entry: ZipEntry, pieces: Iterable[bytes]) -> str:
        """Write a member and return its SHA-256."""
        self._write(entry.local_header())
        digest = hashlib.sha256()
        for piece in pieces:
            self._write(piece)
            digest.update(piece)
        self._entries.append(entry)
        return digest.hexdigest()

    def _write(self, data: bytes) -> None:
        self._digest.update(data)
        written = self._file.write(data)
        while written < len(data):  # a raw file on a nearly full disk, before it says so
            written += self._file.write(memoryview(data)[written:])


def _read_again(entry: ZipEntry, chunks: Chunks) -> Iterator[bytes]:
    """Yield the bytes of a member; PackMismatch at their end when they are not those that were measured."""
    crc32 = size_bytes = 0
    for chunk in chunks():
        crc32 = zlib.crc32(chunk, crc32)
        size_bytes += len(chunk)
        yield chunk
    if (crc32, size_bytes) != (entry.crc32, entry.size_bytes):
        raise PackMismatch(part=entry.name, reason="changed while it was packed")


def pack_key(site: str, study_instance_uid: str, series_instance_uid: str, generation: int, *, suffix: str) -> str:
    """Return the name of a pack, for ever: ``<site>/<study>/<series>/<generation>-<suffix>.zip``.

    ``suffix``: 4 to 64 of ``0-9a-z``, random or a digest, so that a generation tried again after a crash has another
    name. A site whose name is more than letters, digits, ``_`` and ``-`` is told apart by a digest. Raises ValueError
    for what would make no such name. No patient's identity is in it, as far as none is in the UIDs.
    """
    if not is_uid(study_instance_uid) or not is_uid(series_instance_uid):
        raise ValueError("a pack is named by UIDs")
    if generation < 1 or not _SUFFIX.fullmatch(suffix):
        raise ValueError("a pack is named by its generation, from 1, and a suffix of 4 to 64 letters or digits")
    return f"{_site_segment(site)}/{study_instance_uid}/{series_instance_uid}/{generation:06d}-{suffix}.zip"


def _site_segment(site: str) -> str:
    if _PLAIN_SITE.fullmatch(site):
        return site
    digest = hashlib.sha256(site.encode()).hexdigest()[:12]
    plain = re.sub("[^A-Za-z0-9_-]+", "-", site)[:40].strip("-")
    return f"{plain or 'site'}.{digest}"
