"""The read cache keeps to its limits, takes nothing from who holds it, and believes nothing unchecked."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import BinaryIO

import pytest

from archive.services import read_cache
from archive.services.read_cache import ReadCache, forget_pack


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let limits be as small as a test wants them."""
    monkeypatch.setattr(read_cache, "FLOOR_BYTES", 0)


def put(cache: ReadCache, key: str, data: bytes) -> None:
    """Make an entry."""
    file = cache.new_file(len(data))
    file.write(data)
    file.truncate(len(data))
    cache.keep(key, file, len(data))
    file.close()


def believe(_file: BinaryIO) -> bool:
    """Find everything right."""
    return True


def content(cache: ReadCache, key: str) -> bytes | None:
    """Return an entry's bytes."""
    file = cache.find(key, believe)
    if file is None:
        return None
    with file:
        return file.read()


def kept(cache: ReadCache, keys: str) -> str:
    """Return which of these are entries."""
    return "".join(key for key in keys if cache.has(key))


def test_an_entry_is_found_again(tmp_path: Path) -> None:
    """What was kept is there under its key alone, also for the next run."""
    cache = ReadCache(tmp_path, 1000)
    put(cache, "a/b", b"123")
    assert content(cache, "a/b") == b"123"
    assert content(cache, "a") is None
    assert content(ReadCache(tmp_path, 1000), "a/b") == b"123"


def test_the_entry_used_longest_ago_goes_first(tmp_path: Path) -> None:
    """The limit holds; using an entry keeps it."""
    cache = ReadCache(tmp_path, 300)
    for key in "abc":
        put(cache, key, bytes(100))
    assert content(cache, "a") is not None
    put(cache, "d", bytes(100))
    assert kept(cache, "abcd") == "acd"
    assert cache.size_bytes == 300
    assert len(list(tmp_path.iterdir())) == 3


def test_the_next_run_knows_what_was_used_last(tmp_path: Path) -> None:
    """The order of use survives a start."""
    cache = ReadCache(tmp_path, 300)
    for moment, key in enumerate("abc"):
        put(cache, key, bytes(100))
        os.utime(tmp_path / read_cache._name(key), (moment, moment))
    assert content(cache, "a") is not None
    assert kept(ReadCache(tmp_path, 200), "abc") == "ac"


def test_who_holds_an_entry_keeps_it(tmp_path: Path) -> None:
    """Its place is needed: its bytes can be read to the end all the same."""
    cache = ReadCache(tmp_path, 250)
    put(cache, "a", b"x" * 100)
    file = cache.find("a", believe)
    assert file is not None
    put(cache, "b", bytes(100))
    put(cache, "c", bytes(100))
    assert content(cache, "a") is None
    with file:
        assert file.read() == b"x" * 100


def test_one_that_would_fill_it_is_not_kept(tmp_path: Path) -> None:
    """More than half of the limit passes through without a name, and lets nobody go."""
    cache = ReadCache(tmp_path, 100)
    put(cache, "a", bytes(40))
    assert not cache.can_keep(60)
    put(cache, "b", bytes(60))
    assert kept(cache, "ab") == "a"
    assert len(list(tmp_path.iterdir())) == 1


def test_an_entry_is_checked_each_time(tmp_path: Path) -> None:
    """Whatever happened to it meanwhile is noticed; a wrong one goes."""
    cache = ReadCache(tmp_path, 1000)
    put(cache, "a", b"123")
    answers = [True, True, False]
    for answer in answers:
        file = cache.find("a", lambda _file, answer=answer: answer)  # type: ignore[misc]
        assert (file is not None) is answer
        if file is not None:
            file.close()
    assert list(tmp_path.iterdir()) == []
    assert (cache.size_bytes, cache.has("a")) == (0, False)


def test_what_a_kill_left_half_is_swept_away(tmp_path: Path) -> None:
    """Files that were never kept are removed by the next start."""
    cache = ReadCache(tmp_path, 1000)
    file = cache.new_file(10)
    file.write(b"half")
    file.close()
    assert len(list(tmp_path.iterdir())) == 1
    assert ReadCache(tmp_path, 1000).size_bytes == 0
    assert list(tmp_path.iterdir()) == []


def test_what_is_dropped_is_gone_and_can_be_read(tmp_path: Path) -> None:
    """A file that was not kept has no name, and its bytes until it is closed."""
    cache = ReadCache(tmp_path, 1000)
    file = cache.new_file(4)
    file.write(b"1234")
    cache.drop(file)
    assert list(tmp_path.iterdir()) == []
    file.seek(0)
    assert file.read() == b"1234"
    file.close()


def test_a_smaller_limit_is_kept_to_from_the_start(tmp_path: Path) -> None:
    """The settings were lowered: the start makes room."""
    cache = ReadCache(tmp_path, 1000)
    for key in "abc":
        put(cache, key, bytes(100))
    assert ReadCache(tmp_path, 200).size_bytes == 200


def test_an_entry_made_twice_counts_once(tmp_path: Path) -> None:
    """Two who fetched the same keep one entry."""
    cache = ReadCache(tmp_path, 1000)
    put(cache, "a", bytes(100))
    put(cache, "a", bytes(100))
    assert cache.size_bytes == 100


def test_nobody_else_may_read_it(tmp_path: Path) -> None:
    """Entries are patients' images: for the user of the archive alone."""
    cache = ReadCache(tmp_path / "cache", 1000)
    put(cache, "a", b"123")
    (path,) = (tmp_path / "cache").iterdir()
    assert [found.stat().st_mode & 0o077 for found in (path, path.parent)] == [0, 0]


# ---- disks that are full, or not there -----------------------------------------------------------------------------


def test_without_a_disk_it_lies_in_memory(tmp_path: Path) -> None:
    """The folder cannot be made: files come all the same, and are not kept."""
    (tmp_path / "taken").write_bytes(b"")
    cache = ReadCache(tmp_path / "taken" / "cache", 1000)
    file = cache.new_file(3)
    file.write(b"123")
    cache.keep("a", file, 3)
    file.seek(0)
    assert file.read() == b"123"
    file.close()
    assert content(cache, "a") is None


def test_it_gives_way_on_a_disk_that_fills_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What others need of the disk is let go of, what was used longest ago first; nothing new is kept."""
    cache = ReadCache(tmp_path, 1000, min_free_bytes=500)
    for key in "abc":
        put(cache, key, bytes(100))
    monkeypatch.setattr(ReadCache, "_free_bytes", lambda self: 700 - self.size_bytes)
    cache.give_way()
    assert kept(cache, "abc") == "bc"
    assert cache.can_keep(100)
    assert kept(cache, "abc") == "c"
    assert not cache.can_keep(300)
    file = cache.new_file(300)
    assert not isinstance(file.name, str | Path)
    file.close()


def test_a_large_object_passes_through_the_reserve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is too large for memory lies on the disk without a name, also where no entry may be kept."""
    monkeypatch.setattr(read_cache, "_SMALL_BYTES", 10)
    cache = ReadCache(tmp_path, 1000, min_free_bytes=1 << 60)
    file = cache.new_file(100)
    assert os.fstat(file.fileno()).st_nlink == 0
    assert str(file.name).startswith(str(tmp_path))
    file.close()


def test_a_disk_that_refuses_the_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The room is taken before a byte comes; refused, memory takes it, and what not even that takes is an error."""
    cache = ReadCache(tmp_path, 10_000)

    def refuse(*_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    file = cache.new_file(100)
    assert not isinstance(file.name, str | Path)
    file.close()
    monkeypatch.setattr(read_cache, "_SMALL_BYTES", 10)
    monkeypatch.setattr(read_cache, "_MEMORY_BYTES", 50)
    with pytest.raises(OSError, match="No space left"):
        cache.new_file(100)
    assert list(tmp_path.iterdir()) == []


# ---- what is destroyed ---------------------------------------------------------------------------------------------


def test_a_pack_is_forgotten_from_outside(tmp_path: Path) -> None:
    """A command that destroys a study takes its entries away while the archive runs, which then finds none."""
    cache = ReadCache(tmp_path, 1000)
    for key in ("a/1", "a/2", "b/1"):
        put(cache, key, bytes(100))
    forget_pack(tmp_path, "a")
    forget_pack(tmp_path, "never there")
    assert len(list(tmp_path.iterdir())) == 1
    assert [content(cache, key) is not None for key in ("a/1", "a/2", "b/1")] == [False, False, True]
    assert cache.size_bytes == 100


def test_forgetting_needs_no_cache(tmp_path: Path) -> None:
    """An archive that never read anything cold has no folder, and nothing to forget."""
    forget_pack(tmp_path / "none", "a")
    assert not (tmp_path / "none").exists()


def test_packs_that_are_not_known_any_more_leave_it(tmp_path: Path) -> None:
    """Whatever came in after a pack was forgotten goes with the next sweep, also what has a name of somebody else's."""
    cache = ReadCache(tmp_path, 1000)
    for key in ("a/1", "b/1", "b/2"):
        put(cache, key, bytes(100))
    (tmp_path / "stray").write_bytes(b"x")
    cache = ReadCache(tmp_path, 1000)
    assert cache.keep_only(["a", "c"]) == 3
    assert [cache.has(key) for key in ("a/1", "b/1", "b/2")] == [True, False, False]
    assert (cache.size_bytes, len(list(tmp_path.iterdir()))) == (100, 1)
