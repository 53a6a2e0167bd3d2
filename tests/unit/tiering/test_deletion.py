"""The gateway: it deletes the one object that a warrant names, and nothing else."""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st

from tests.crash.forgetful_disk import ForgetfulDisk, PowerCut
from tiering.deletion import Deletion, delete
from tiering.disk import OsDisk
from tiering.errors import ObjectDiffers
from tiering.warrant import DeleteWarrant, generation_of

HEADER, DATASET = b"H" * 700, bytes(range(256)) * 5000
KEY = "20261126/093000-0a1b2c3d/000001"


def warrant(header: bytes = HEADER, dataset: bytes = DATASET) -> DeleteWarrant:
    """Return the warrant for an object of these bytes."""
    generation = generation_of(header, len(header) + len(dataset))
    return DeleteWarrant(KEY, hashlib.sha256(dataset).digest(), generation, "list D-2026-0001")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Lend a store with the object and another one."""
    folder = tmp_path / "20261126/093000-0a1b2c3d"
    folder.mkdir(parents=True)
    (folder / "000001.dcm").write_bytes(HEADER + DATASET)
    (folder / "000002.dcm").write_bytes(HEADER + DATASET)
    return tmp_path


def names(root: Path) -> list[str]:
    """Return the names of all files."""
    return sorted(path.name for path in root.rglob("*.*") if path.is_file())


def test_the_object_and_its_note_go(root: Path) -> None:
    """The file and the note beside it are gone, the next object is not touched."""
    (root / f"{KEY}.json").write_text("{}")
    assert delete(OsDisk(), root, warrant()) is Deletion.DELETED
    assert names(root) == ["000002.dcm"]


def test_what_is_gone_is_gone(root: Path) -> None:
    """The same warrant again, or for a folder that does not exist, says so and raises nothing."""
    delete(OsDisk(), root, warrant())
    assert delete(OsDisk(), root, warrant()) is Deletion.GONE
    assert delete(OsDisk(), root / "elsewhere", warrant()) is Deletion.GONE


@given(at=st.integers(0, len(HEADER) + len(DATASET) - 1), bit=st.integers(0, 7))
@settings(max_examples=40, deadline=None)
def test_one_other_bit_keeps_it(at: int, bit: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Whichever bit of header or data set is otherwise, the object stays, unless damage is accepted."""
    root = tmp_path_factory.mktemp("store")
    path = root / f"{KEY}.dcm"
    path.parent.mkdir(parents=True)
    data = bytearray(HEADER + DATASET)
    data[at] ^= 1 << bit
    path.write_bytes(data)
    with pytest.raises(ObjectDiffers, match=KEY):
        delete(OsDisk(), root, warrant())
    assert path.read_bytes() == bytes(data)
    assert delete(OsDisk(), root, warrant(), accept_damaged=True) is Deletion.DELETED_DAMAGED
    assert not path.exists()


@pytest.mark.parametrize(
    "other",
    [
        warrant(dataset=DATASET + b"\0"),
        warrant(dataset=DATASET[:-1]),
        warrant(header=HEADER[:-1] + b"h"),
        warrant(header=HEADER + b"H", dataset=DATASET),
        replace(warrant(), sha256=hashlib.sha256(b"other").digest()),
        replace(warrant(), generation="7"),
        replace(warrant(), generation=f"1.x.{'0' * 64}"),
    ],
)
def test_a_warrant_for_another_version_keeps_it(root: Path, other: DeleteWarrant) -> None:
    """Size, header, digest and generation must all be the object's; what cannot be a version is refused too."""
    with pytest.raises(ObjectDiffers):
        delete(OsDisk(), root, other)
    assert names(root) == ["000001.dcm", "000002.dcm"]


class Unreadable(OsDisk):
    """A disk that cannot read any more."""

    code = errno.EIO

    def read(self, path: Path, *, chunk_bytes: int, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        raise OSError(self.code, "Input/output error")


def test_what_the_disk_cannot_read_is_damaged(root: Path) -> None:
    """A bad sector keeps the object until damage is accepted; any other failure is the disk's own error."""
    with pytest.raises(ObjectDiffers):
        delete(Unreadable(), root, warrant())
    broken = Unreadable()
    broken.code = errno.EACCES
    with pytest.raises(PermissionError):
        delete(broken, root, warrant(), accept_damaged=True)
    assert names(root) == ["000001.dcm", "000002.dcm"]
    assert delete(Unreadable(), root, warrant(), accept_damaged=True) is Deletion.DELETED_DAMAGED


def stored(disk: ForgetfulDisk, base: Path) -> None:
    """Put the object on a disk, durably."""
    path = base / f"{KEY}.dcm"
    disk.make_folder(path.parent)
    handle = disk.create(path.parent)
    disk.write(handle, HEADER + DATASET, 0)
    disk.sync_file(handle)
    disk.link(handle, path)
    disk.sync_folder(path.parent)


def test_a_deletion_that_was_told_outlives_a_power_cut(tmp_path: Path) -> None:
    """At whichever call the power goes: once ``delete`` has returned, the object does not come back."""
    disk = ForgetfulDisk(tmp_path)
    stored(disk, tmp_path)
    first = len(disk.calls) + 1
    delete(disk, tmp_path, warrant())
    assert disk.after_power_cut(lambda: True).files() == {}
    for cut_at in range(first, len(disk.calls) + 1):
        cut = ForgetfulDisk(tmp_path, cut_at=cut_at)
        stored(cut, tmp_path)
        with pytest.raises(PowerCut):
            delete(cut, tmp_path, warrant())
        back = cut.after_power_cut(lambda: True)
        assert list(back.files().values()) == [HEADER + DATASET], "a name taken away and not synced may be back"
        assert delete(back, tmp_path, warrant()) is Deletion.DELETED
        assert back.after_power_cut(lambda: True).files() == {}


def test_a_name_taken_away_before_a_crash_is_made_to_stay_away(tmp_path: Path) -> None:
    """Also when the object is gone already its folder is synced: the crash may have come before that."""
    disk = ForgetfulDisk(tmp_path)
    stored(disk, tmp_path)
    disk.unlink(tmp_path / f"{KEY}.dcm")
    assert delete(disk, tmp_path, warrant()) is Deletion.GONE
    assert disk.after_power_cut(lambda: True).files() == {}
