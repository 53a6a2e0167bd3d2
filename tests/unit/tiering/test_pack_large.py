"""Packs that need zip64: beyond 4 GiB and beyond 65535 members, opened by ours and by others."""

from __future__ import annotations

import hashlib
import io
import struct
import subprocess
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.unit.tiering.packing import SERIES, Ranges, facts, pieces
from tiering.pack import PackWriter, read_manifest, verify_pack
from tiering.pack_zip import (
    MANIFEST_NAME,
    TAIL_BYTES,
    ZipEnd,
    ZipEntry,
    encode_directory,
    member_name,
    parse_directory,
    parse_end,
)

LIMIT = 0xFFFFFFFF
ZEROS = bytes(1 << 20)


class CountingDigest:
    """Stands for SHA-256, which would take most of the time of a test of 4 GiB: the digest of the length."""

    def __init__(self, data: bytes = b"") -> None:
        self.length = len(data)

    def update(self, data: bytes) -> None:
        """Take bytes."""
        self.length += len(data)

    def hexdigest(self) -> str:
        """Return 64 digits."""
        return f"{self.length:064x}"


class SparseFile(io.FileIO):
    """A file on disk that leaves chunks of zeros out and knows where they are: 4 GiB of them take no room or time."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, "w+")
        self.holes: set[int] = set()

    def write(self, data: Any) -> int:
        """Skip a chunk of zeros; the end of the pack never is one."""
        if data is not ZEROS:
            return super().write(data)
        self.holes.add(self.tell())
        self.seek(len(ZEROS), io.SEEK_CUR)
        return len(ZEROS)

    def read(self, size: int | None = -1) -> Any:
        """Give a chunk that was left out without asking the disk."""
        if size != len(ZEROS) or self.tell() not in self.holes:
            return super().read(size)
        self.seek(size, io.SEEK_CUR)
        return ZEROS


def zeros(size_bytes: int) -> Iterator[bytes]:
    """Yield so many zeros."""
    for _ in range(size_bytes // len(ZEROS)):
        yield ZEROS
    yield bytes(size_bytes % len(ZEROS))


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let digests count bytes."""
    for module in ("pack", "pack_reader"):
        monkeypatch.setattr(f"tiering.{module}.hashlib.sha256", CountingDigest)


@pytest.mark.usefixtures("counted")
def test_an_object_beyond_4_gib(tmp_path: Path) -> None:
    """An object that 32 bits cannot measure, and one behind it, are written, proven and found by us and by Info-ZIP."""
    size_bytes = LIMIT + 3
    path = tmp_path / "pack.zip"
    with SparseFile(path) as file:
        writer = PackWriter(file, series=SERIES)
        writer.add(facts(1, b"", dataset_sha256=f"{size_bytes:064x}"), lambda: zeros(size_bytes))
        writer.add(facts(2, b"last", dataset_sha256=f"{4:064x}"), pieces(b"last"))
        written = writer.finish()
        manifest = verify_pack(file, sha256=written.sha256)
    assert path.stat().st_size == written.size_bytes
    assert [member.length for member in manifest.members] == [size_bytes, 4]
    assert manifest.members[1].offset > size_bytes
    assert zipfile.ZipFile(path).read("000002.dcm") == b"last"
    found = subprocess.run(["unzip", "-p", path, "000002.dcm"], check=True, capture_output=True)
    assert (found.stdout, found.stderr) == (b"last", b"")


def crc32_of_zeros(size_bytes: int) -> int:
    """Return the CRC-32 of a few zeros; nobody here looks at that of many."""
    return zlib.crc32(bytes(size_bytes)) if size_bytes < 100 else 0


def lay_out(file: io.BytesIO | io.FileIO, sizes: Sequence[int]) -> list[ZipEntry]:
    """Write a ZIP of zeros of some sizes by its headers alone, holes between them; the last one is the manifest."""
    entries: list[ZipEntry] = []
    for number, size_bytes in enumerate(sizes, start=1):
        name = member_name(number) if number < len(sizes) else MANIFEST_NAME
        entries.append(ZipEntry(name, entries[-1].end if entries else 0, size_bytes, crc32_of_zeros(size_bytes)))
        file.seek(entries[-1].header_offset)
        assert file.write(entries[-1].local_header()) == entries[-1].offset - entries[-1].header_offset
    directory = encode_directory(entries)
    file.seek(entries[-1].end)
    file.write(directory + ZipEnd(len(entries), entries[-1].end, len(directory), "0" * 64).encoded())
    return entries


@pytest.mark.parametrize("size_bytes", [LIMIT - 199, LIMIT - 65, LIMIT - 1, LIMIT, LIMIT + 1, 3 << 40])
def test_sizes_and_places_around_4_gib(tmp_path: Path, size_bytes: int) -> None:
    """On either side of the limit of 32 bits, for a size and for a place, all agree where everything lies."""
    path = tmp_path / "pack.zip"
    with io.FileIO(path, "w") as file:
        entries = lay_out(file, [size_bytes, 1, 64, 2])
    with zipfile.ZipFile(path) as opened:
        seen = [(info.filename, info.header_offset, info.file_size) for info in opened.infolist()]
        assert seen == [(entry.name, entry.header_offset, entry.size_bytes) for entry in entries]
        for info in opened.infolist():
            assert opened.open(info).read(1) == b"\0"
    with path.open("rb") as opened_again:
        tail_at = path.stat().st_size - TAIL_BYTES
        opened_again.seek(tail_at)
        end = parse_end(opened_again.read(), path.stat().st_size)
        opened_again.seek(end.offset)
        assert parse_directory(opened_again.read(end.size_bytes), end) == entries
    # UnZip 6.00 mistakes a size of exactly 0xFFFFFFFF for the mark that stands for a larger one. DICOM data sets have
    # an even number of bytes (PS3.5 section 7.1), and so has every place in a pack of them.
    if size_bytes % 2 == 0:
        found = subprocess.run(["unzip", "-p", path, "000003.dcm"], check=True, capture_output=True)
        assert (found.stdout, found.stderr) == (bytes(64), b"")


@pytest.mark.parametrize(("size_bytes", "sizes"), [(LIMIT - 1, None), (LIMIT, LIMIT), (LIMIT + 1, LIMIT + 1)])
def test_a_local_header_to_the_byte(size_bytes: int, sizes: int | None) -> None:
    """A member's header has the sizes in 64 bits when 32 do not take them, then the alignment, zeros to the data."""
    entry = ZipEntry("000007.dcm", 128, size_bytes, 0x01020304)
    header = entry.local_header()
    assert header[:14] == b"PK\3\4" + struct.pack("<5H", 20 if sizes is None else 45, 0, 0, 0, 0x21)
    assert struct.unpack_from("<3I2H", header, 14)[:4] == (0x01020304, *[min(size_bytes, LIMIT)] * 2, 10)
    name, extra = header[30:40], header[40:]
    assert (name, len(extra)) == (b"000007.dcm", struct.unpack_from("<H", header, 28)[0])
    if sizes is not None:
        assert struct.unpack_from("<2H2Q", extra) == (1, 16, sizes, sizes)
        extra = extra[20:]
    assert struct.unpack_from("<3H", extra) == (0xD935, len(extra) - 4, 64)
    assert extra[6:] == bytes(len(extra) - 6)
    assert (128 + len(header)) % 64 == 0
    assert len(header) < 40 + 20 + 6 + 64


@pytest.mark.parametrize("count", [65534, 65535, 65536])
def test_counts_around_65535(count: int) -> None:
    """On either side of what 16 bits count, the directory has as many members for us as for Python."""
    file = io.BytesIO()
    lay_out(file, [0] * count)
    data = file.getvalue()
    assert parse_end(data[-TAIL_BYTES:], len(data)).count == count == len(zipfile.ZipFile(file).namelist())
    assert (b"PK\6\6" in data[-TAIL_BYTES:]) == (count >= 65535)


def test_70_000_instances(tmp_path: Path) -> None:
    """A pack of more instances than 16 bits count opens everywhere, and reads in three ranges."""
    file = io.BytesIO()
    writer = PackWriter(file, series=SERIES)
    known = facts(0, b"x")
    for number in range(70_000):
        object.__setattr__(known, "sop_instance_uid", f"1.2.{number}")  # a copy for each would take half the test
        writer.add(known, lambda: [b"x"])
    written = writer.finish()
    ranges = Ranges(file.getvalue())
    manifest = read_manifest(ranges, written.size_bytes)
    assert (len(manifest.members), len(ranges.asked)) == (70_000, 3)
    assert manifest.members == written.members
    assert hashlib.sha256(file.getvalue()).hexdigest() == written.sha256
    with zipfile.ZipFile(file) as opened:
        assert len(opened.infolist()) == 70_001
        assert opened.read("070000.dcm") == b"x"
    path = tmp_path / "pack.zip"
    path.write_bytes(file.getvalue())
    tested = subprocess.run(["unzip", "-tqq", path], capture_output=True, text=True, check=False)
    assert (tested.returncode, tested.stdout) == (0, "")
