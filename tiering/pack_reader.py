"""Reads series packs back and proves them; must not write anything, nor believe a byte it has not compared."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final

from tiering.errors import MalformedPack, PackMismatch
from tiering.pack_manifest import Manifest, PackedMember, manifest_limit, parse_manifest
from tiering.pack_zip import MANIFEST_NAME, TAIL_BYTES, ZipEntry, encode_directory, parse_directory, parse_end

ReadRange = Callable[[int, int], bytes]
"""Gives the bytes from an offset on, a length of them; fewer only where the object ends."""

_CHUNK_BYTES: Final = 1 << 20
_TAIL_READ_BYTES: Final = 64 * 1024
"""The first read: end, directory and manifest of a series of some 70 instances, the directory of one of 1100."""


def read_manifest(read_range: ReadRange, size_bytes: int) -> Manifest:
    """Return the manifest of a pack of ``size_bytes`` after two range reads, three beyond 1100 instances.

    End records, directory and manifest have been compared with each other: members lie where it says, and nothing lies
    between them. Memory: the size of the manifest, some 900 bytes an instance. Raises MalformedPack, UnknownPackVersion
    or PackMismatch; whatever ``read_range`` raises.
    """
    return _read_contents(read_range, size_bytes)[0]


def _read_contents(read_range: ReadRange, size_bytes: int) -> tuple[Manifest, list[ZipEntry], bytes]:
    """Return the manifest, every entry, and all bytes from the manifest's local header to the end of the pack."""
    read = _TailReader(read_range, size_bytes)
    end = parse_end(read(max(0, size_bytes - TAIL_BYTES), size_bytes), size_bytes)
    entries = parse_directory(read(end.offset, end.offset + end.size_bytes), end)
    last = entries[-1]
    if last.size_bytes > manifest_limit(end.count):
        raise MalformedPack(reason=f"its manifest has {last.size_bytes} bytes")
    raw = read(last.header_offset, end.offset)
    data = raw[last.offset - last.header_offset :]
    if raw[: -len(data)] != last.local_header():
        raise MalformedPack(reason="the header of its manifest is not what the directory says")
    if hashlib.sha256(data).hexdigest() != end.manifest_sha256 or zlib.crc32(data) != last.crc32:
        raise PackMismatch(part=MANIFEST_NAME, reason="has another digest")
    manifest = parse_manifest(data)
    _compare(manifest, entries)
    return manifest, entries, raw + encode_directory(entries) + end.encoded()


def _compare(manifest: Manifest, entries: list[ZipEntry]) -> None:
    said = [(member.name, member.offset, member.length, member.crc32) for member in manifest.members]
    if said != [(entry.name, entry.offset, entry.size_bytes, entry.crc32) for entry in entries[:-1]]:
        raise MalformedPack(reason="its manifest and its directory name different members")


class _TailReader:
    """Reads from the end of a pack: the last bytes once, the rest as asked."""

    def __init__(self, read_range: ReadRange, size_bytes: int) -> None:
        self._read_range = read_range
        self._start = max(0, size_bytes - _TAIL_READ_BYTES)
        self._tail = self._read(self._start, size_bytes)

    def __call__(self, start: int, stop: int) -> bytes:
        if start >= self._start:
            return self._tail[start - self._start : stop - self._start]
        return self._read(start, stop)

    def _read(self, start: int, stop: int) -> bytes:
        data = self._read_range(start, stop - start) if stop > start else b""
        if len(data) != stop - start:
            raise MalformedPack(reason=f"{len(data)} bytes came instead of {stop - start} at {start}")
        return data


def verify_pack(file: BinaryIO, *, sha256: str | None = None) -> Manifest:
    """Read all of a pack, which fills a seekable ``file``, and return its manifest once every byte is proven.

    Each member's header, CRC-32, SHA-256 and that of its data set, every byte between and behind them, and the digest
    of the whole when ``sha256`` (hexadecimal) is given. Memory: the manifest and chunks of 1 MiB. Raises MalformedPack,
    UnknownPackVersion or PackMismatch; OSError as the file does.
    """
    manifest, entries, rest = _read_contents(lambda start, count: _read_at(file, start, count), file.seek(0, 2))
    file.seek(0)
    whole = None if sha256 is None else hashlib.sha256()
    for member, entry in zip(manifest.members, entries, strict=False):  # the last entry is the manifest's
        _verify_member(member, entry, _Pieces(file, whole))
    if file.read(len(rest) + 1) != rest:
        raise PackMismatch(part=MANIFEST_NAME, reason="changed while it was read")
    if whole is not None:
        whole.update(rest)
        if whole.hexdigest() != sha256:
            raise PackMismatch(part="pack", reason="has another digest than it should")
    return manifest


def _read_at(file: BinaryIO, offset: int, count: int) -> bytes:
    file.seek(offset)
    return file.read(count)


@dataclass(frozen=True, slots=True)
class _Pieces:
    """What is read from a pack, front to end, on its way into the digest of the whole when there is one."""

    file: BinaryIO
    whole: hashlib._Hash | None

    def __call__(self, count: int) -> Iterator[bytes]:
        """Yield the next ``count`` bytes."""
        while count:
            data = self.file.read(min(count, _CHUNK_BYTES))
            if not data:
                raise MalformedPack(reason="it ended while it was read")
            if self.whole is not None:
                self.whole.update(data)
            count -= len(data)
            yield data


def _verify_member(member: PackedMember, entry: ZipEntry, pieces: _Pieces) -> None:
    if b"".join(pieces(entry.offset - entry.header_offset)) != entry.local_header():
        raise MalformedPack(reason=f"the header of {member.name} is not what the directory says")
    digest, dataset, crc32 = hashlib.sha256(), hashlib.sha256(), 0
    for data in pieces(member.header_size):
        digest.update(data)
        crc32 = zlib.crc32(data, crc32)
    for data in pieces(member.length - member.header_size):
        digest.update(data)
        dataset.update(data)
        crc32 = zlib.crc32(data, crc32)
    if (digest.hexdigest(), crc32) != (member.sha256, member.crc32):
        raise PackMismatch(part=member.name, reason="has another digest")
    if dataset.hexdigest() != member.dataset_sha256:
        raise PackMismatch(part=member.name, reason="has a data set with another digest")
