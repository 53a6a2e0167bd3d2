"""A pack on a Disk as the files that its writer and reader take."""

from __future__ import annotations

import io
import os
from pathlib import Path

from hypothesis import given, strategies as st

from archive.services.pack_file import ReadBack, WriteOnce
from tests.crash.forgetful_disk import ForgetfulDisk

BASE = Path("/archive")


def written(*parts: bytes) -> ForgetfulDisk:
    """Return a disk with a file that was written in parts."""
    disk = ForgetfulDisk(BASE)
    disk.make_folder(BASE / "packs")
    handle = disk.create(BASE / "packs")
    sink = WriteOnce(disk, handle)
    assert sink.writable()
    for part in parts:
        assert sink.write(part) == len(part)
    disk.sync_file(handle)
    disk.link(handle, BASE / "packs" / "file")
    disk.sync_folder(BASE / "packs")
    disk.close(handle)
    return disk


@given(st.lists(st.binary(max_size=50), max_size=10))
def test_what_is_written_in_parts_is_one_file(parts: list[bytes]) -> None:
    """Each part lies behind the one before."""
    assert written(*parts).files() == {"packs/file": b"".join(parts)}


@given(st.binary(min_size=1, max_size=300), st.integers(0, 310), st.integers(0, 310))
def test_it_is_read_back_from_any_position(data: bytes, at: int, count: int) -> None:
    """Seeking and reading give what was written there, and nothing beyond the end."""
    disk = written(data)
    with io.BufferedReader(ReadBack(disk, BASE / "packs" / "file", len(data)), 16) as file:
        assert file.seekable() and file.readable()
        assert file.seek(0, os.SEEK_END) == len(data)
        file.seek(at)
        assert file.read(count) == data[at : at + count]
        file.seek(0)
        assert file.read() == data
