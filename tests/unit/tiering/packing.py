"""Makes series packs for tests, right ones and forged ones; must not write a file."""

from __future__ import annotations

import hashlib
import io
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from tiering.pack import MemberFacts, PackedMember, PackFacts, PackWriter, SeriesFacts
from tiering.pack_manifest import encode_manifest
from tiering.pack_zip import MANIFEST_NAME, ZipEnd, ZipEntry, encode_directory

CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
NOON = datetime(2026, 11, 23, 12, 0, 5, tzinfo=UTC)
SERIES = SeriesFacts(
    site="main",
    study_instance_uid="2.25.7",
    series_instance_uid="2.25.7.1",
    generation=1,
    created_at=NOON,
    metadata={"modality": "CT", "number": 3, "description": "Thorax é"},
)


def hexdigest(data: bytes) -> str:
    """Return a SHA-256."""
    return hashlib.sha256(data).hexdigest()


def facts(number: int, data: bytes, *, header_size: int = 0, **overrides: Any) -> MemberFacts:
    """Return what is known of the ``number``-th instance, whose Part 10 file is ``data``."""
    digest = hexdigest(data[header_size:])
    known = MemberFacts(
        sop_instance_uid=f"2.25.7.1.{number}",
        sop_class_uid=CT_IMAGE,
        transfer_syntax_uid=EXPLICIT,
        header_size=header_size,
        dataset_sha256=digest,
        received_sha256=digest,
        received_transfer_syntax_uid=EXPLICIT,
        instance_number=number,
    )
    return replace(known, **overrides)


def pieces(data: bytes, size: int = 100) -> Callable[[], list[bytes]]:
    """Return what gives ``data`` in pieces, as often as it is asked."""
    return lambda: [data[start : start + size] for start in range(0, len(data), size)]


def pack(*files: bytes, series: SeriesFacts = SERIES) -> tuple[bytes, PackFacts]:
    """Return a pack of some files, and its facts."""
    file = io.BytesIO()
    writer = PackWriter(file, series=series)
    for number, data in enumerate(files, start=1):
        writer.add(facts(number, data, header_size=min(2, len(data))), pieces(data))
    written = writer.finish()
    return file.getvalue(), written


@dataclass
class Ranges:
    """Gives ranges of some bytes and notes which."""

    data: bytes
    asked: list[tuple[int, int]]

    def __init__(self, data: bytes) -> None:
        self.data, self.asked = data, []

    def __call__(self, offset: int, length: int) -> bytes:
        self.asked.append((offset, length))
        return self.data[offset : offset + length]


@dataclass(frozen=True)
class Forgery:
    """The parts of a pack, put together as told and not as they should be."""

    body: bytes
    entries: tuple[ZipEntry, ...]
    end: ZipEnd

    @classmethod
    def of(cls, *files: bytes, manifest: bytes | None = None, **overrides: Any) -> Forgery:
        """Return a right pack of some files; with another manifest, or ``overrides`` for its first member."""
        _, written = pack(*files)
        members = list(written.members)
        members[0] = replace(members[0], **overrides)
        return cls.containing(files, encode_manifest(SERIES, members) if manifest is None else manifest)

    @classmethod
    def containing(cls, files: Sequence[bytes], manifest: bytes) -> Forgery:
        """Return a pack of files and any manifest."""
        body, entries = b"", []
        for number, data in enumerate([*files, manifest], start=1):
            name = MANIFEST_NAME if number > len(files) else f"{number:06d}.dcm"
            entries.append(ZipEntry(name, header_offset=len(body), size_bytes=len(data), crc32=zlib.crc32(data)))
            body += entries[-1].local_header() + data
        end = ZipEnd(len(entries), len(body), len(encode_directory(entries)), hexdigest(manifest))
        return cls(body, tuple(entries), end)

    def with_entry(self, place: int, **changes: Any) -> Forgery:
        """Return this pack with another directory entry, whose local header is changed too when it keeps its size."""
        entries = list(self.entries)
        old, new = entries[place], replace(entries[place], **changes)
        entries[place] = new
        body = bytearray(self.body)
        header = new.local_header()
        if new.header_offset + len(header) <= len(body):
            body[new.header_offset : new.header_offset + min(len(header), len(old.local_header()))] = header
        end = replace(self.end, size_bytes=len(encode_directory(entries)))
        return replace(self, body=bytes(body[: len(self.body)]), entries=tuple(entries), end=end)

    def with_end(self, **changes: Any) -> Forgery:
        """Return this pack with other end records."""
        return replace(self, end=replace(self.end, **changes))

    @property
    def data(self) -> bytes:
        """Return the bytes."""
        return self.body + encode_directory(self.entries) + self.end.encoded()


def taken_out(data: bytes, member: PackedMember) -> bytes:
    """Return the bytes at a member's place."""
    return data[member.offset : member.offset + member.length]
