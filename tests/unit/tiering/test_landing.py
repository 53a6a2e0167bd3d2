"""Keys, folders and files of the landing area, on a disk in memory that notes every call."""

from __future__ import annotations

import errno
import hashlib
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.crash.forgetful_disk import ForgetfulDisk
from tiering.disk import BLOCK_BYTES
from tiering.landing import (
    CHUNK_BYTES,
    SLACK_BYTES,
    LandingArea,
    LandingFile,
    LandingFolder,
    iter_folders,
    iter_keys,
    opened_at,
    path_of,
)

BASE = Path("/archive")
NOON = datetime(2026, 11, 23, 12, 0, 5, tzinfo=UTC)


@dataclass
class Registered:
    """Notes what a landing area registers, and refuses when told."""

    opened: list[str] = field(default_factory=list)
    done: list[str] = field(default_factory=list)
    is_away: bool = False

    def __call__(self, folder: LandingFolder, done: Sequence[LandingFolder]) -> None:
        if self.is_away:
            raise RuntimeError("away")
        self.opened.append(folder.name)
        self.done += [old.name for old in done]


@pytest.fixture
def disk() -> ForgetfulDisk:
    """Lend a disk with a hot folder."""
    disk = ForgetfulDisk(BASE)
    disk.make_folder(BASE / "hot")
    disk.calls.clear()
    return disk


def a_chunk() -> memoryview:
    """Return what a pool lends, with another object's bytes in it."""
    return memoryview(bytearray(b"?" * (CHUNK_BYTES + SLACK_BYTES)))


def landing_file(disk: ForgetfulDisk, blank: bytes = b"blank..8") -> LandingFile:
    """Return a new file in the hot folder."""
    return LandingArea(disk, BASE / "hot").new_file(blank, a_chunk())


def pour(file: LandingFile, data: bytes, step: int = 1 << 30) -> None:
    """Let bytes come, ``step`` at a time at most."""
    start = 0
    while start < len(data):
        room = file.room()
        assert len(room) >= 64 * 1024
        part = data[start : start + min(step, len(room))]
        room[: len(part)] = part
        file.filled(len(part))
        start += len(part)


def test_a_small_object_is_written_once(disk: ForgetfulDisk) -> None:
    """Nothing is written before the header is complete; then all of it at once, and nothing else that was in memory."""
    file = landing_file(disk)
    pour(file, b"abc")
    pour(file, b"defg")
    assert disk.calls == ["create"]
    assert (file.size_bytes, file.digest()) == (7, hashlib.sha256(b"abcdefg").digest())
    assert bytes(file.head) == b"abcdefg"
    file.complete(b"HEADER78")
    file.link(BASE / "hot" / "a.dcm")
    file.close()
    assert disk.files() == {"hot/a.dcm": b"HEADER78abcdefg"}
    assert disk.calls == ["create", "write", "sync_file", "link", "sync_folder"]


@pytest.mark.parametrize("step", [1 << 30, 65_537, 1000])
@pytest.mark.parametrize("extra", [-1, 0, 1, 4095, 4096, 100_000, 2 * CHUNK_BYTES + 5])
def test_a_large_object_is_written_in_whole_blocks(disk: ForgetfulDisk, extra: int, step: int) -> None:
    """Whatever its size and the steps it came in: the same bytes, the same head; all but the last write are blocks."""
    data = hashlib.shake_128(b"seed").digest(CHUNK_BYTES + extra)
    writes: list[tuple[int, int]] = []
    write = disk.write

    def noting(handle: int, data: bytes | memoryview, offset: int) -> None:
        writes.append((offset, len(data)))
        write(handle, data, offset)

    disk.write = noting  # type: ignore[method-assign]
    file = landing_file(disk)
    pour(file, data, step)
    assert bytes(file.head) == data[:CHUNK_BYTES]
    assert (file.size_bytes, file.digest()) == (len(data), hashlib.sha256(data).digest())
    file.complete(b"HEADER78")
    file.link(BASE / "hot" / "a.dcm")
    assert disk.files() == {"hot/a.dcm": b"HEADER78" + data}
    blocks = [at for at in writes if at != (0, 8)][:-1]
    assert all(offset % BLOCK_BYTES == 0 and size % BLOCK_BYTES == 0 for offset, size in blocks)
    assert len(blocks) == 0 if extra <= 0 else len(blocks) > 0


def test_a_header_of_another_size_is_our_mistake(disk: ForgetfulDisk) -> None:
    """A header that would leave a gap or run into the data is refused before it is written."""
    file = landing_file(disk)
    pour(file, b"abc")
    with pytest.raises(ValueError, match="size that was left free"):
        file.complete(b"HEADER")
    file.close()
    assert disk.calls == ["create"]


def test_a_file_closed_without_a_name_is_gone(disk: ForgetfulDisk) -> None:
    """Closing twice is harmless, writing afterwards is our mistake."""
    file = landing_file(disk)
    pour(file, b"abc")
    file.close()
    file.close()
    assert disk.files() == {}
    assert disk.open_handles == 0
    with pytest.raises(ValueError, match="closed"):
        file.complete(b"HEADER78")


def test_a_disk_that_fails_is_heard_at_the_end(disk: ForgetfulDisk) -> None:
    """What comes after a failed write is taken and dropped; completing raises what the disk said, and syncs nothing."""
    disk.capacity_bytes = CHUNK_BYTES // 2
    file = landing_file(disk)
    pour(file, bytes(3 * CHUNK_BYTES))
    assert disk.calls == ["create", "write"]
    with pytest.raises(OSError, match="No space"):
        file.complete(b"HEADER78")
    assert disk.calls == ["create", "write"]


def test_files_made_ahead_are_used_first(disk: ForgetfulDisk) -> None:
    """What was prepared is taken; what is left is closed at the end, and nothing is made after it."""
    area = LandingArea(disk, BASE / "hot", max_spare=4)
    low = [area.is_low]
    area.prepare()
    low.append(area.is_low)
    assert disk.calls == ["create"] * 4
    files = [area.new_file(b"blank..8", a_chunk()) for _ in range(3)]
    assert [*low, area.is_low] == [True, False, True]
    assert disk.calls == ["create"] * 4
    area.close()
    area.prepare()
    assert disk.open_handles == 3, "those in use"
    for file in files:
        file.close()
    assert disk.open_handles == 0


def test_a_file_made_while_the_area_closes_is_closed_too(disk: ForgetfulDisk, monkeypatch: pytest.MonkeyPatch) -> None:
    """No handle is left behind when the end comes in the middle of preparing."""
    area, create = LandingArea(disk, BASE / "hot"), disk.create

    def closing(folder: Path) -> int:
        handle = create(folder)
        area.close()
        return handle

    monkeypatch.setattr(disk, "create", closing)
    area.prepare()
    assert disk.open_handles == 0


def test_keys_are_numbered_within_a_folder_of_the_day(disk: ForgetfulDisk) -> None:
    """A key is day, folder and number; the folder exists, durably, and is registered before the first key is given."""
    area, register = LandingArea(disk, BASE / "hot"), Registered()
    first, folder = area.reserve(10, NOON, register)
    second, same = area.reserve(10, NOON, register)
    assert register.opened == [folder.name]
    assert same is folder
    assert (first, second) == (f"{folder.name}/000001", f"{folder.name}/000002")
    assert folder.name.startswith("20261123/120005-")
    assert area.path_in(folder, first) == BASE / "hot" / folder.name / "000001.dcm"
    assert disk.after_power_cut(lambda: False).names(BASE / "hot" / "20261123") == [folder.name[9:]]


@pytest.mark.parametrize(
    ("limits", "per_folder"), [({"max_objects": 3}, 3), ({"max_bytes": 25}, 3), ({"max_bytes": 20}, 2)]
)
def test_a_folder_takes_a_bounded_number_of_objects_and_bytes(
    disk: ForgetfulDisk, limits: dict[str, int], per_folder: int
) -> None:
    """What start-up may have to read again stays small."""
    area, register = LandingArea(disk, BASE / "hot", **limits), Registered()  # type: ignore[arg-type]
    names = [area.reserve(10, NOON, register)[1].name for _ in range(7)]
    assert [names.count(name) for name in dict.fromkeys(names)][:2] == [per_folder, per_folder]
    assert register.opened == list(dict.fromkeys(names))


def test_a_new_day_is_a_new_folder(disk: ForgetfulDisk) -> None:
    """Objects received after midnight are not put into yesterday's folder."""
    area, register = LandingArea(disk, BASE / "hot"), Registered()
    area.reserve(1, NOON, register)
    _, folder = area.reserve(1, NOON + timedelta(hours=12), register)
    assert folder.name.startswith("20261124/000005-")
    _, late = area.reserve(1, NOON, register)
    assert late is folder, "one that was announced before midnight opens no folder of its own"


def test_only_a_folder_that_is_wholly_indexed_is_handed_over(disk: ForgetfulDisk) -> None:
    """A full folder whose last object waits for the index is handed over later, once, and the last ones at the end."""
    area, register = LandingArea(disk, BASE / "hot", max_objects=2), Registered()
    taken = [area.reserve(1, NOON, register)[1] for _ in range(4)]
    first, second = taken[0], taken[2]
    area.settled(first)
    area.settled(second)
    area.settled(second)
    area.reserve(1, NOON, register)
    assert register.done == [second.name]
    area.settled(first)
    assert area.close() == [first]
    assert area.close() == []


def test_a_folder_that_could_not_be_registered_takes_nothing(disk: ForgetfulDisk) -> None:
    """When the index is away no key is given; the next attempt opens another folder and forgets nothing."""
    area, register = LandingArea(disk, BASE / "hot", max_objects=1), Registered()
    _, folder = area.reserve(1, NOON, register)
    area.settled(folder)
    register.is_away = True
    with pytest.raises(RuntimeError):
        area.reserve(1, NOON, register)
    register.is_away = False
    key, _ = area.reserve(1, NOON, register)
    assert key.endswith("/000001")
    assert register.done == [folder.name]
    assert len(register.opened) == 2


def test_a_disk_that_is_full_opens_no_folder(disk: ForgetfulDisk) -> None:
    """The error of the disk reaches the caller, and nothing was registered."""
    area, register = LandingArea(disk, BASE / "hot"), Registered()
    disk.fail_at = {1: errno.ENOSPC}
    with pytest.raises(OSError, match="ENOSPC"):
        area.reserve(1, NOON, register)
    assert register.opened == []


def test_objects_are_settled_while_a_folder_is_registered(disk: ForgetfulDisk) -> None:
    """Registering waits for the index, and the index settles objects meanwhile: the two do not block each other."""
    area = LandingArea(disk, BASE / "hot", max_objects=1)
    _, folder = area.reserve(1, NOON, Registered())
    settler = threading.Thread(target=area.settled, args=(folder,), daemon=True)

    def register(_folder: LandingFolder, _done: Sequence[LandingFolder]) -> None:
        settler.start()
        settler.join(10)
        assert not settler.is_alive()

    area.reserve(1, NOON, register)
    assert folder.pending == 0


def test_many_threads_never_get_the_same_key(disk: ForgetfulDisk) -> None:
    """Keys are given once, whoever asks."""
    area, register, keys = LandingArea(disk, BASE / "hot", max_objects=7), Registered(), list[str]()

    def reserve() -> None:
        for _ in range(50):
            keys.append(area.reserve(1, NOON, register)[0])

    threads = [threading.Thread(target=reserve) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(keys) == len(set(keys)) == 300


def test_room_is_what_lies_above_the_floor(disk: ForgetfulDisk) -> None:
    """The floor itself is not room."""
    disk.capacity_bytes = 100
    area = LandingArea(disk, BASE / "hot")
    assert area.has_room(99)
    assert not area.has_room(100)


def test_a_key_may_have_dots() -> None:
    """The suffix is added to a key, never put in place of a part of it."""
    assert path_of(BASE, "20261123/1.2.3") == BASE / "20261123" / "1.2.3.dcm"


@pytest.mark.parametrize("key", ["", "/etc/passwd", "a//b", "../a", "a/../../b", "a/./b", "a/b\0"])
def test_a_key_leads_nowhere_else(key: str) -> None:
    """What is not a key of ours is refused rather than followed."""
    with pytest.raises(ValueError, match="not an object key"):
        path_of(BASE, key)


def test_folders_and_keys_are_found_again(disk: ForgetfulDisk) -> None:
    """Folders are listed oldest first, their objects in the order they landed; strangers are passed over."""
    area, register = LandingArea(disk, BASE / "hot", max_objects=2), Registered()
    reserved = []
    for minutes in (0, 0, 5, 5, 24 * 60):
        key, taker = area.reserve(1, NOON + timedelta(minutes=minutes), register)
        file = area.new_file(b"", a_chunk())
        file.link(area.path_in(taker, key))
        file.close()
        reserved.append(key)
    for stranger in ("lost+found", "20261123/notes", "2026112/120000-00000000"):
        disk.make_folder(BASE / "hot" / stranger)
    folder = reserved[0].rpartition("/")[0]
    for stranger in ("000001.json", "copy of 000001.dcm", "000001.dcm.bak"):
        disk.damage(BASE / "hot" / folder / stranger, b"{}")
    found = list(iter_folders(disk, BASE / "hot"))
    assert found == register.opened
    assert [key for name in found for key in iter_keys(disk, BASE / "hot", name)] == reserved
    assert list(iter_folders(disk, BASE / "nowhere")) == []


def test_a_folder_tells_when_it_was_opened() -> None:
    """Its name holds day and time in UTC; another name is refused."""
    assert opened_at("20261123/120005-0a1b2c3d") == NOON
    with pytest.raises(ValueError, match="not a landing folder"):
        opened_at("20261123/notes")
