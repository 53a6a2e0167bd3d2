"""What OsDisk promises of single calls; that synced bytes survive a power cut is shown in tests/crash."""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tiering.disk import BLOCK_BYTES, OsDisk

UNNAMED = pytest.mark.parametrize("unnamed", [True, False], ids=["O_TMPFILE", "hidden name"])


@contextmanager
def a_disk(monkeypatch: pytest.MonkeyPatch, *, unnamed: bool) -> Iterator[OsDisk]:
    """Lend a disk whose file system has unnamed files, or has none."""
    if not unnamed:
        really_open = os.open

        def open_without(path: str | Path, flags: int, mode: int = 0o777) -> int:
            if flags & os.O_TMPFILE == os.O_TMPFILE:
                raise OSError(errno.EOPNOTSUPP, "no unnamed files here")
            return really_open(path, flags, mode)

        monkeypatch.setattr(os, "open", open_without)
    yield OsDisk()


class SyncsRecorded(OsDisk):
    """Remembers which folders were synced."""

    def __init__(self) -> None:
        super().__init__()
        self.synced: list[Path] = []

    def sync_folder(self, path: Path) -> None:
        super().sync_folder(path)
        self.synced.append(path)


@UNNAMED
def test_a_file_has_no_name_until_it_is_linked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unnamed: bool) -> None:
    """Bytes written before the link are under no name; the link gives them theirs, whole."""
    with a_disk(monkeypatch, unnamed=unnamed) as disk:
        handle = disk.create(tmp_path)
        disk.write(handle, b"second", 5)
        disk.write(handle, b"first", 0)
        assert disk.names(tmp_path) == []
        disk.sync_file(handle)
        disk.link(handle, tmp_path / "a.dcm")
        disk.close(handle)
        assert disk.names(tmp_path) == ["a.dcm"]
        assert (tmp_path / "a.dcm").read_bytes() == b"firstsecond"
        assert [path.name for path in tmp_path.iterdir()] == ["a.dcm"]


@UNNAMED
def test_a_file_never_linked_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unnamed: bool) -> None:
    """Closing a file without a name gives its bytes back to the file system."""
    with a_disk(monkeypatch, unnamed=unnamed) as disk:
        handle = disk.create(tmp_path)
        disk.write(handle, b"x" * 100, 0)
        disk.close(handle)
        assert list(tmp_path.iterdir()) == []


@UNNAMED
def test_a_link_never_overwrites(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unnamed: bool) -> None:
    """A name that is taken raises FileExistsError and its file keeps its bytes."""
    with a_disk(monkeypatch, unnamed=unnamed) as disk:
        (tmp_path / "a.dcm").write_bytes(b"here before")
        handle = disk.create(tmp_path)
        disk.write(handle, b"newcomer", 0)
        with pytest.raises(FileExistsError):
            disk.link(handle, tmp_path / "a.dcm")
        disk.close(handle)
        assert (tmp_path / "a.dcm").read_bytes() == b"here before"


def test_a_missing_folder_is_an_error_and_not_a_missing_feature(tmp_path: Path) -> None:
    """Creating in a folder that does not exist raises, rather than falling back to a hidden name."""
    with pytest.raises(FileNotFoundError):
        OsDisk().create(tmp_path / "nowhere")


def test_a_short_write_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A system that writes fewer bytes than asked is asked again until all are written, at the right offsets."""
    disk, pwrite, calls = OsDisk(), os.pwrite, []

    def reluctant(handle: int, data: bytes | memoryview, offset: int) -> int:
        calls.append(offset)
        return pwrite(handle, memoryview(data)[:7], offset)

    monkeypatch.setattr(os, "pwrite", reluctant)
    handle = disk.create(tmp_path)
    disk.write(handle, b"0123456789abcdefghij", 3)
    disk.link(handle, tmp_path / "a.dcm")
    disk.close(handle)
    assert (tmp_path / "a.dcm").read_bytes() == b"\0\0\x000123456789abcdefghij"
    assert calls == [3, 10, 17]


def test_a_full_disk_is_heard_after_a_short_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ENOSPC in the middle of a write reaches the caller."""
    answers = iter([4])

    def nearly_full(_handle: int, _data: object, _offset: int) -> int:
        for count in answers:
            return count
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", nearly_full)
    disk = OsDisk()
    handle = disk.create(tmp_path)
    with pytest.raises(OSError) as caught:
        disk.write(handle, b"0123456789", 0)
    disk.close(handle)
    assert caught.value.errno == errno.ENOSPC


def test_a_new_folder_and_its_parents_are_synced_into_their_parents(tmp_path: Path) -> None:
    """Every name that make_folder makes is made to last, from the top down, and only once."""
    disk = SyncsRecorded()
    wanted = tmp_path / "hot" / "20260101" / "a"
    disk.make_folder(wanted)
    assert wanted.is_dir()
    assert disk.synced[-3:] == [tmp_path, tmp_path / "hot", tmp_path / "hot" / "20260101"]
    disk.synced.clear()
    disk.make_folder(wanted)
    assert disk.synced == []


def test_a_folder_found_there_is_synced_too(tmp_path: Path) -> None:
    """A folder whose maker was killed before it synced the name does not stay at the power's mercy."""
    (tmp_path / "20260101").mkdir()
    disk = SyncsRecorded()
    disk.make_folder(tmp_path / "20260101")
    assert disk.synced == [tmp_path]


def test_a_folder_whose_sync_failed_is_not_taken_for_durable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the sync of a new name fails, the next call syncs it again."""
    disk = SyncsRecorded()
    disk.make_folder(tmp_path)
    disk.synced.clear()
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", lambda _handle: (_ for _ in ()).throw(OSError(errno.EIO, "Input/output error")))
        with pytest.raises(OSError, match="Input/output"):
            disk.make_folder(tmp_path / "20260101")
    disk.make_folder(tmp_path / "20260101")
    assert disk.synced == [tmp_path]


def test_a_mount_point_in_a_closed_folder_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder made by somebody else in a place we may not open is used as it is; making one there still fails."""
    (tmp_path / "mount").mkdir()
    disk, really_open = OsDisk(), os.open

    def closed(path: str | Path, flags: int, mode: int = 0o777) -> int:
        if Path(path) == tmp_path:
            raise PermissionError(errno.EACCES, "Permission denied")
        return really_open(path, flags, mode)

    monkeypatch.setattr(os, "open", closed)
    disk.make_folder(tmp_path / "mount")
    with pytest.raises(PermissionError):
        disk.make_folder(tmp_path / "other")


def test_names_are_sorted_and_hidden_ones_left_out(tmp_path: Path) -> None:
    """Listing shows what has a real name; a folder that is not there has no names."""
    for name in ("b.dcm", ".incoming-77", "a.dcm"):
        (tmp_path / name).touch()
    assert OsDisk().names(tmp_path) == ["a.dcm", "b.dcm"]
    assert OsDisk().names(tmp_path / "nowhere") == []


def test_reading_streams_in_chunks(tmp_path: Path) -> None:
    """A file comes in chunks of the size asked for, the last one shorter; size_bytes is their sum."""
    (tmp_path / "a.dcm").write_bytes(b"0123456789")
    assert list(OsDisk().read(tmp_path / "a.dcm", chunk_bytes=4)) == [b"0123", b"4567", b"89"]
    assert OsDisk().size_bytes(tmp_path / "a.dcm") == 10
    with pytest.raises(FileNotFoundError):
        OsDisk().size_bytes(tmp_path / "b.dcm")
    with pytest.raises(FileNotFoundError):
        next(OsDisk().read(tmp_path / "b.dcm", chunk_bytes=4))


def test_sweeping_clears_what_a_killed_process_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hidden names go at start-up; a file that had got its real name keeps it and its bytes."""
    with a_disk(monkeypatch, unnamed=False) as killed:
        handle = killed.create(tmp_path)
        killed.write(handle, b"kept", 0)
        killed.link(handle, tmp_path / "a.dcm")
        killed.create(tmp_path)
        (tmp_path / ".other").touch()
        assert OsDisk().sweep(tmp_path) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == [".other", "a.dcm"]
    assert (tmp_path / "a.dcm").read_bytes() == b"kept"


def page_aligned(data: bytes) -> memoryview:
    """Return the data in memory that may be written directly."""
    view = memoryview(mmap.mmap(-1, len(data) + BLOCK_BYTES))
    view[: len(data)] = data
    return view[: len(data)]


def is_direct(handle: int) -> bool:
    """Tell whether writes to a handle go past the page cache now."""
    return bool(fcntl.fcntl(handle, fcntl.F_GETFL) & os.O_DIRECT)


@pytest.mark.parametrize("direct", [True, False])
@pytest.mark.parametrize("size", [1, BLOCK_BYTES, BLOCK_BYTES + 1, 3 * BLOCK_BYTES - 1])
def test_blocks_and_what_is_left_of_them_are_one_file(tmp_path: Path, size: int, direct: bool) -> None:
    """Whole blocks, the rest behind them and a header over their start end up as one run of bytes."""
    disk, data = OsDisk(direct=direct), os.urandom(2 * BLOCK_BYTES + size)
    handle = disk.create(tmp_path)
    disk.write(handle, page_aligned(data[: 2 * BLOCK_BYTES]), 0)
    was_direct = is_direct(handle)
    disk.write(handle, page_aligned(data[2 * BLOCK_BYTES :]), 2 * BLOCK_BYTES)
    disk.write(handle, b"HEADER", 0)
    disk.sync_file(handle)
    disk.link(handle, tmp_path / "a.dcm")
    disk.close(handle)
    assert (tmp_path / "a.dcm").read_bytes() == b"HEADER" + data[6:]
    assert was_direct or not direct or not can_be_direct(tmp_path)


def test_what_is_read_soon_stays_in_memory(tmp_path: Path) -> None:
    """It is asked for each file; one that somebody is about to read goes through the page cache."""
    disk, is_read_soon = OsDisk(), True
    disk.is_read_soon = lambda: is_read_soon
    kept = disk.create(tmp_path)
    is_read_soon = False
    passing = disk.create(tmp_path)
    assert (is_direct(kept), is_direct(passing)) == (False, can_be_direct(tmp_path))
    for handle in (kept, passing):
        disk.write(handle, page_aligned(bytes(BLOCK_BYTES)), 0)
        disk.close(handle)


def can_be_direct(folder: Path) -> bool:
    """Tell whether the file system has direct writes."""
    try:
        os.close(os.open(folder, os.O_TMPFILE | os.O_RDWR | os.O_DIRECT))
    except OSError:
        return False
    return True


def test_a_file_system_without_direct_writes_is_written_as_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Refused when the file is opened or when it is written: the bytes go through the page cache instead."""
    really_open, pwrite = os.open, os.pwrite

    def open_buffered(path: str | Path, flags: int, mode: int = 0o777) -> int:
        if flags & os.O_DIRECT:
            raise OSError(errno.EINVAL, "no direct files here")
        return really_open(path, flags, mode)

    def write_buffered(handle: int, data: bytes | memoryview, offset: int) -> int:
        if is_direct(handle):
            raise OSError(errno.EINVAL, "no direct writes here")
        return pwrite(handle, data, offset)

    data = os.urandom(2 * BLOCK_BYTES)
    for number, (name, fake) in enumerate((("open", open_buffered), ("pwrite", write_buffered))):
        with monkeypatch.context() as patch:
            patch.setattr(os, name, fake)
            disk = OsDisk()
            handle = disk.create(tmp_path)
            disk.write(handle, page_aligned(data), 0)
        disk.link(handle, tmp_path / f"{number}.dcm")
        disk.close(handle)
        assert (tmp_path / f"{number}.dcm").read_bytes() == data


def test_a_full_disk_is_heard_from_a_direct_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks that did not fit are tried again through the page cache, whose ENOSPC reaches the caller."""

    def full(_handle: int, _data: object, _offset: int) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    disk = OsDisk()
    handle = disk.create(tmp_path)
    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(OSError, match="No space left"):
        disk.write(handle, page_aligned(bytes(BLOCK_BYTES)), 0)
    disk.close(handle)


def test_free_bytes_are_those_of_an_ordinary_user(tmp_path: Path) -> None:
    """The figure is what statvfs calls available, not what is reserved for root."""
    facts = os.statvfs(tmp_path)
    assert OsDisk().free_bytes(tmp_path) == pytest.approx(facts.f_bavail * facts.f_frsize, rel=0.01)
