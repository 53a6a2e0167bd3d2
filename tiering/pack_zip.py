"""The bytes of a ZIP file with stored members, as a series pack uses them; must not know what a member holds.

APPNOTE.TXT 6.3.10 (PKWARE), of which this is the plainest part: method 0, no encryption, no data descriptors, no gaps,
one disk. Zip64 records stand where a number needs them and nowhere else. Members begin at multiples of ``ALIGNMENT``:
the local header's extra field 0xD935, which Android's apksig introduced, is the alignment (16 bits) and zeros.

The file ends with a comment: the name and version of the format, and the SHA-256 of the last member, the manifest.
There is exactly one way to write a directory; reading one is writing it again and comparing.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from tiering.errors import MalformedPack, UnknownPackVersion

FORMAT: Final = "drimbox-series-pack/1"
MANIFEST_NAME: Final = "manifest.json"
ALIGNMENT: Final = 64
MAX_MEMBERS: Final = 1 << 18
"""Instances in a pack; 25 times the largest series in common use. Bounds what a damaged pack can make us allocate."""
COMMENT_BYTES: Final = len(FORMAT) + 1 + 64
TAIL_BYTES: Final = 22 + COMMENT_BYTES + 20 + 56
"""What stands behind the directory, at most."""

_LOCAL: Final = struct.Struct("<4s5H3I2H")
_CENTRAL: Final = struct.Struct("<4s6H3I5H2I")
_END: Final = struct.Struct("<4s4H2IH")
_END64: Final = struct.Struct("<4sQ2H2I4Q")
_LOCATOR: Final = struct.Struct("<4sIQI")
_LIMIT: Final = 0xFFFFFFFF
_COUNT_LIMIT: Final = 0xFFFF
_DATE: Final = 0x0021  # 1 January 1980: the manifest has the real time, and equal packs are equal bytes
_UNIX_FILE: Final = 0o100444 << 16
_COMMENT: Final = re.compile(rb"(drimbox-series-pack/[0-9]{1,9}) ([0-9a-f]{64})\Z")


@dataclass(frozen=True, slots=True)
class ZipEntry:
    """One member: its local header at ``header_offset``, ``size_bytes`` of data behind it, their CRC-32."""

    name: str
    header_offset: int
    size_bytes: int
    crc32: int

    @property
    def _least(self) -> int:
        """Return the size of the local header before alignment."""
        return _LOCAL.size + len(self.name) + (20 if self.size_bytes >= _LIMIT else 0) + 6

    @property
    def offset(self) -> int:
        """Return where the data begin."""
        return -(-(self.header_offset + self._least) // ALIGNMENT) * ALIGNMENT

    @property
    def end(self) -> int:
        """Return where the data end, and whatever comes next begins."""
        return self.offset + self.size_bytes

    def local_header(self) -> bytes:
        """Return what stands before the data (APPNOTE 4.3.7), ``offset - header_offset`` bytes."""
        large = self.size_bytes >= _LIMIT
        padding = self.offset - self.header_offset - self._least
        extra = struct.pack("<2H2Q", 1, 16, self.size_bytes, self.size_bytes) if large else b""
        extra += struct.pack("<3H", 0xD935, 2 + padding, ALIGNMENT) + bytes(padding)
        size = min(self.size_bytes, _LIMIT)
        version, name = 45 if large else 20, self.name.encode("ascii")
        fixed = (b"PK\3\4", version, 0, 0, 0, _DATE, self.crc32, size, size, len(name), len(extra))
        return _LOCAL.pack(*fixed) + name + extra

    def central_header(self) -> bytes:
        """Return this member's entry in the directory (APPNOTE 4.3.12)."""
        wide = [self.size_bytes, self.size_bytes] if self.size_bytes >= _LIMIT else []
        wide += [self.header_offset] if self.header_offset >= _LIMIT else []
        extra = struct.pack(f"<2H{len(wide)}Q", 1, 8 * len(wide), *wide) if wide else b""
        size, version, name = min(self.size_bytes, _LIMIT), 45 if wide else 20, self.name.encode("ascii")
        sizes = (self.crc32, size, size, len(name), len(extra))
        fixed = (b"PK\1\2", 3 << 8 | 45, version, 0, 0, 0, _DATE, *sizes, 0, 0, 0, _UNIX_FILE)
        return _CENTRAL.pack(*fixed, min(self.header_offset, _LIMIT)) + name + extra


@dataclass(frozen=True, slots=True)
class ZipEnd:
    """The end of the file: ``count`` members, a directory of ``size_bytes`` at ``offset``, the manifest's SHA-256."""

    count: int
    offset: int
    size_bytes: int
    manifest_sha256: str

    def encoded(self) -> bytes:
        """Return the bytes behind the directory (APPNOTE 4.3.14 to 4.3.16)."""
        comment = f"{FORMAT} {self.manifest_sha256}".encode("ascii")
        count, size, offset = min(self.count, _COUNT_LIMIT), min(self.size_bytes, _LIMIT), min(self.offset, _LIMIT)
        end = _END.pack(b"PK\5\6", 0, 0, count, count, size, offset, len(comment)) + comment
        return self._wide() + end if count == _COUNT_LIMIT or _LIMIT in (size, offset) else end

    def _wide(self) -> bytes:
        facts = (self.count, self.count, self.size_bytes, self.offset)
        record = _END64.pack(b"PK\6\6", _END64.size - 12, 3 << 8 | 45, 45, 0, 0, *facts)
        return record + _LOCATOR.pack(b"PK\6\7", 0, self.offset + self.size_bytes, 1)


def member_name(number: int) -> str:
    """Return the name of the ``number``-th instance, counted from 1."""
    return f"{number:06d}.dcm"


def parse_end(tail: bytes, size_bytes: int) -> ZipEnd:
    """Return what the last bytes of a pack of ``size_bytes`` say; ``tail`` has ``TAIL_BYTES`` or all there are.

    Raises UnknownPackVersion for a later format, MalformedPack for anything else that is not the end of a pack.
    """
    comment = _COMMENT.search(tail)
    if comment is None:
        raise MalformedPack(reason="it does not end as a series pack does: cut short, or another file")
    if comment[1] != FORMAT.encode():
        raise UnknownPackVersion(found=comment[1].decode(), known=FORMAT)
    end = _parse_end(tail, comment.start(), comment[2].decode())
    behind = size_bytes - end.offset - end.size_bytes
    if not 0 < behind <= TAIL_BYTES or end.encoded() != tail[-behind:]:
        raise MalformedPack(reason="its end records contradict each other or its size")
    if not 2 <= end.count <= MAX_MEMBERS + 1:
        raise MalformedPack(reason=f"it has {end.count} members")
    if end.size_bytes > end.count * (_CENTRAL.size + len(MANIFEST_NAME) + 28):
        raise MalformedPack(reason="its directory is larger than its members need")
    return end


def _parse_end(tail: bytes, position: int, sha256: str) -> ZipEnd:
    try:
        *_, count, size, offset, _length = _END.unpack_from(tail, position - _END.size)
        if count == _COUNT_LIMIT or _LIMIT in (size, offset):
            *_, count, size, offset = _END64.unpack_from(tail, position - _END.size - _LOCATOR.size - _END64.size)
    except struct.error as exc:
        raise MalformedPack(reason="its end records are cut short") from exc
    return ZipEnd(count=count, offset=offset, size_bytes=size, manifest_sha256=sha256)


def encode_directory(entries: Sequence[ZipEntry]) -> bytes:
    """Return the central directory."""
    return b"".join(entry.central_header() for entry in entries)


def parse_directory(directory: bytes, end: ZipEnd) -> list[ZipEntry]:
    """Return the members of a pack, the manifest last; ``directory`` has ``end.size_bytes`` bytes.

    Names and places follow from the order and the sizes. A directory with other ones, with gaps or overlaps, with a
    member that reaches into the directory, or with anything this project does not write is a MalformedPack.
    """
    entries = list(_iter_entries(directory, end))
    if encode_directory(entries) != directory or entries[-1].end != end.offset:
        raise MalformedPack(reason="its members do not fill it, or its directory has more in it")
    return entries


def _iter_entries(directory: bytes, end: ZipEnd) -> Iterator[ZipEntry]:
    position = place = 0
    for number in range(1, end.count + 1):
        name = member_name(number) if number < end.count else MANIFEST_NAME
        try:
            crc32, size_bytes = _sizes(directory, position, len(name))
            entry = ZipEntry(name=name, header_offset=place, size_bytes=size_bytes, crc32=crc32)
            header = entry.central_header()
        except struct.error as exc:
            raise MalformedPack(reason=f"its directory ends within entry {number}, or places it nowhere") from exc
        if directory[position : position + len(header)] != header:
            raise MalformedPack(reason=f"entry {number} of its directory is not as {FORMAT} has it")
        position += len(header)
        place = entry.end
        yield entry


def _sizes(directory: bytes, position: int, name_bytes: int) -> tuple[int, int]:
    """Return CRC-32 and size of the entry at ``position``; struct.error when it is not all there."""
    fields = _CENTRAL.unpack_from(directory, position)
    if fields[9] != _LIMIT:
        return fields[7], fields[9]
    (size_bytes,) = struct.unpack_from("<Q", directory, position + _CENTRAL.size + name_bytes + 4)
    return fields[7], size_bytes
