"""Every stored byte is read again, and what is not as it was received is marked, told once, and unmarked when good."""

from __future__ import annotations

import errno
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from archive.errors import StorageFailed
from archive.index.marks import VERIFIED_HOT, all_marks
from archive.services.fixity import Fixity
from archive.services.reports import VerifyReport
from tests.crash.forgetful_disk import ForgetfulDisk
from tests.objects import ROOT, ct_dataset
from tests.unit.services.rig import Rig, open_rig
from tiering.landing import path_of

UIDS = [f"{ROOT}.1.1.{number}" for number in (1, 2, 3)]


@pytest.fixture
def disk(tmp_path: Path) -> ForgetfulDisk:
    """Lend a disk in memory."""
    return ForgetfulDisk(tmp_path)


@pytest.fixture
def rig(tmp_path: Path, disk: ForgetfulDisk) -> Iterator[Rig]:
    """Lend an archive with three objects, one of them of several chunks."""
    with open_rig(tmp_path, disk=disk) as lent:
        for number in (1, 2, 3):
            lent.send(ct_dataset(number, PixelData=bytes(2_500_000) if number == 3 else bytes(512)))
        yield lent


def verify(rig: Rig) -> VerifyReport:
    """Check everything."""
    return Fixity(rig.committer, rig.disk, rig.hot, rig.clock).verify(lambda done, total: None)


def place(rig: Rig, number: int) -> Path:
    """Return the file of an object."""
    found = rig.find(UIDS[number - 1])
    assert found is not None
    return path_of(rig.hot, found.locations[0].key)


def content(disk: ForgetfulDisk, path: Path) -> bytes:
    """Return the bytes of a file."""
    return disk.files()[path.relative_to(disk.base).as_posix()]


def states(rig: Rig) -> list[str]:
    """Return what the index says of the copies."""
    return [at.state for uid in UIDS for found in [rig.find(uid)] if found for at in found.locations]


def test_what_is_whole_holds(rig: Rig) -> None:
    """All is read, nothing is found, the journal has one summary, the copies carry the moment."""
    assert verify(rig) == VerifyReport(checked=3, damaged=(), missing=())
    assert verify(rig).holds
    assert states(rig) == ["present"] * 3
    row = rig.entries()[-1]
    assert (row.event, json.loads(row.body)) == ("verified", {"checked": 3, "damaged": 0, "missing": 0})
    assert rig.events().count("verified") == 2
    with rig.committer.read() as connection:
        assert all_marks(connection) == {VERIFIED_HOT: row.at}


DAMAGES = {
    "one bit of the header": lambda data: data[:200] + bytes([data[200] ^ 1]) + data[201:],
    "one bit of the data": lambda data: data[:-9] + bytes([data[-9] ^ 128]) + data[-8:],
    "cut short": lambda data: data[:-2],
    "too long": lambda data: data + b"\0",
    "empty": lambda data: b"",
    "shorter than its header": lambda data: data[:100],
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
@pytest.mark.parametrize("number", [1, 3])
def test_a_changed_byte_is_found(rig: Rig, disk: ForgetfulDisk, damage: object, number: int) -> None:
    """Whatever byte it is, in small files and in large ones; the others hold."""
    path = place(rig, number)
    disk.damage(path, damage(content(disk, path)))  # type: ignore[operator]
    found = rig.find(UIDS[number - 1])
    assert found is not None
    report = verify(rig)
    assert report == VerifyReport(checked=3, damaged=(found.locations[0].key,), missing=())
    assert not report.holds
    assert states(rig) == ["damaged" if n == number else "present" for n in (1, 2, 3)]


def test_a_fault_is_journalled_once_and_its_end_too(rig: Rig, disk: ForgetfulDisk) -> None:
    """A damaged and a missing copy are told when found, not in every run; a good one is told when it is good again."""
    damaged, missing = place(rig, 1), place(rig, 2)
    before = {path: content(disk, path) for path in (damaged, missing)}
    disk.damage(damaged, b"x")
    disk.damage(missing, None)
    first, second = verify(rig), verify(rig)
    assert first == second
    assert (len(first.damaged), len(first.missing)) == (1, 1)
    assert rig.events()[3:] == ["damaged", "missing", "verified", "verified"]
    bodies = [json.loads(row.body) for row in rig.entries()[3:5]]
    assert [body["sop_instance_uid"] for body in bodies] == UIDS[:2]
    for path, data in before.items():
        disk.damage(path, data)
    assert verify(rig).holds
    assert states(rig) == ["present"] * 3
    assert rig.events()[7:] == ["recovered", "recovered", "verified"]


@pytest.mark.parametrize(
    ("code", "state"), [(errno.EIO, "damaged"), (errno.EUCLEAN, "damaged"), (errno.ENOENT, "missing")]
)
def test_a_bad_sector_is_damage(rig: Rig, monkeypatch: pytest.MonkeyPatch, code: int, state: str) -> None:
    """A file that the disk cannot read is damaged; one that is not there is missing."""
    bad, read = place(rig, 2), rig.disk.read

    def failing(path: Path, *, chunk_bytes: int) -> Iterator[bytes]:
        if path == bad:
            raise OSError(code, "bad")
        return read(path, chunk_bytes=chunk_bytes)

    monkeypatch.setattr(rig.disk, "read", failing)
    report = verify(rig)
    assert {"damaged": len(report.damaged), "missing": len(report.missing)}[state] == 1
    assert states(rig) == ["present", state, "present"]


@pytest.mark.parametrize("code", [errno.EACCES, errno.EMFILE, errno.ESTALE])
def test_storage_that_cannot_be_read_is_not_damage(rig: Rig, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    """No right to read, no handle left, a stale mount: the run ends, and nothing is said of the objects."""

    def failing(_path: Path, *, chunk_bytes: int) -> Iterator[bytes]:
        raise OSError(code, "not now")

    monkeypatch.setattr(rig.disk, "read", failing)
    with pytest.raises(StorageFailed, match="not now"):
        verify(rig)
    assert states(rig) == ["present"] * 3
    assert "verified" not in rig.events()


def test_a_folder_that_is_not_mounted_is_not_a_million_missing_files(rig: Rig, disk: ForgetfulDisk) -> None:
    """With an empty hot folder the run ends before it marks anything."""
    for path in [path_of(rig.hot, key).parents[1] for key in rig.stored_keys()]:
        disk.remove(path)
    with pytest.raises(StorageFailed):
        verify(rig)
    assert states(rig) == ["present"] * 3


def test_progress_is_told(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """It begins at nothing and ends at all, page by page."""
    monkeypatch.setattr("archive.services.fixity._PAGE", 2)
    told: list[tuple[int, int]] = []
    Fixity(rig.committer, rig.disk, rig.hot, rig.clock).verify(lambda done, total: told.append((done, total)))
    assert told == [(0, 3), (2, 3), (3, 3)]


def test_an_empty_archive_holds(tmp_path: Path) -> None:
    """There is nothing to prove, and that is told too."""
    with open_rig(tmp_path) as rig:
        assert verify(rig) == VerifyReport(checked=0, damaged=(), missing=())
        assert rig.events() == ["verified"]


def test_what_is_stored_meanwhile_is_checked_or_left_for_the_next_run(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Objects that arrive during a run do not disturb it."""
    monkeypatch.setattr("archive.services.fixity._PAGE", 1)

    def arrive(done: int, total: int) -> None:
        if done < 5:
            rig.send(ct_dataset(10 + done))

    report = Fixity(rig.committer, rig.disk, rig.hot, rig.clock).verify(arrive)
    assert report.holds
    assert report.checked >= 3
