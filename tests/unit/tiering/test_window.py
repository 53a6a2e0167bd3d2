"""A part of a file as a file of its own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from tiering.window import open_window

DATA = bytes(range(256)) * 300


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Lend a file."""
    path = tmp_path_factory.mktemp("window") / "file"
    path.write_bytes(DATA)
    return path


@given(offset=st.integers(0, len(DATA) + 10), length=st.integers(0, len(DATA) + 10), data=st.data())
def test_it_reads_as_the_part_would(path: Path, offset: int, length: int, data: st.DataObject) -> None:
    """Whatever is read, from wherever, in whichever order, is what a file of that part alone would give."""
    part = DATA[offset : offset + length]
    with open_window(path, offset=offset, length=length) as window:
        assert window.seek(0, os.SEEK_END) == length
        for _ in range(data.draw(st.integers(1, 5))):
            at = data.draw(st.integers(0, length + 5))
            count = data.draw(st.integers(0, 70_000))
            assert window.seek(at) == at
            assert window.read(count) == part[at : at + count]
            assert window.tell() == at + len(part[at : at + count])


def test_it_ends_where_the_part_ends(path: Path) -> None:
    """Reading all gives the part, not what lies behind it in the file."""
    with open_window(path, offset=100, length=50) as window:
        assert window.read() == DATA[100:150]
        assert window.read() == b""


def test_closing_closes_the_file(path: Path) -> None:
    """No descriptor is left behind, and closing twice is harmless."""
    before = len(os.listdir("/proc/self/fd"))
    window = open_window(path, offset=0, length=10)
    window.close()
    window.close()
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_missing_file_is_the_systems_error(tmp_path: Path) -> None:
    """A file that is not there raises what the system says."""
    with pytest.raises(FileNotFoundError):
        open_window(tmp_path / "none", offset=0, length=1)
