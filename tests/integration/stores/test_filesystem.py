"""What only a folder has: power cuts, full disks, shares that are not mounted, bytes that rot."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.crash.forgetful_disk import ForgetfulDisk, PowerCut
from tests.integration.stores.making import KEY, LARGE, SMALL, get, keys, put, warrant
from tiering.deletion import Deletion
from tiering.disk import OsDisk
from tiering.errors import ObjectDiffers, StoreError, StoreFull, StoreRefused, StoreUnavailable
from tiering.stores.filesystem import MARKER, FileStore


@pytest.fixture
def store(tmp_path: Path) -> FileStore:
    """Lend a store in a folder."""
    return FileStore.create(OsDisk(), tmp_path)


def file_of(root: Path) -> Path:
    """Return the one file of a store."""
    (path,) = [path for path in root.glob("*/*") if path.is_file()]
    return path


def test_an_object_is_a_file_with_its_bytes_and_its_name(store: FileStore, tmp_path: Path) -> None:
    """Whoever has the folder has the objects: one file each, byte for byte, the key for a name."""
    put(store, LARGE)
    assert file_of(tmp_path).name == KEY.replace("/", "+")
    assert file_of(tmp_path).read_bytes() == LARGE


def test_a_store_is_made_once(store: FileStore, tmp_path: Path) -> None:
    """Making a store where one is changes nothing."""
    put(store)
    assert get(FileStore.create(OsDisk(), tmp_path)) == SMALL


def test_a_folder_that_is_not_mounted_is_not_empty(store: FileStore, tmp_path: Path) -> None:
    """Without the marker nothing is stored and nothing called gone: a destruction that never was would be certified."""
    order = warrant(put(store))
    (tmp_path / MARKER).rename(tmp_path / "away")
    file_of(tmp_path).unlink()
    for call in (
        lambda: store.delete(order),
        lambda: store.find(KEY),
        lambda: put(store),
        lambda: keys(store),
        lambda: get(store),
    ):
        with pytest.raises(StoreUnavailable, match="not mounted"):
            call()
    assert [path.name for path in tmp_path.glob("*/*")] == []


@pytest.mark.parametrize("at", [0, len(LARGE) // 2, len(LARGE) - 1])
def test_a_rotten_byte_keeps_the_object(store: FileStore, tmp_path: Path, at: int) -> None:
    """A deletion reads all bytes; one that is otherwise keeps the object, unless damage is accepted."""
    order = warrant(put(store, LARGE), LARGE)
    data = bytearray(LARGE)
    data[at] ^= 1
    file_of(tmp_path).write_bytes(data)
    with pytest.raises(ObjectDiffers, match=KEY):
        store.delete(order)
    assert get(store) == bytes(data)
    assert store.delete(order, accept_damaged=True) is Deletion.DELETED_DAMAGED
    assert store.find(KEY) is None


def test_a_full_disk_says_so(tmp_path: Path) -> None:
    """Without room the put fails, and its key is free, and what was there stays."""
    disk = ForgetfulDisk(tmp_path, capacity_bytes=len(LARGE) + 5000)
    store = FileStore.create(disk, tmp_path)
    put(store, key="first")
    with pytest.raises(StoreFull, match="space"):
        put(store, LARGE + LARGE)
    assert keys(store) == ["first"]
    put(store, LARGE)
    assert disk.open_handles == 0


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (errno.EDQUOT, StoreFull),
        (errno.EACCES, StoreRefused),
        (errno.EROFS, StoreRefused),
        (errno.EIO, StoreUnavailable),
        (errno.ESTALE, StoreUnavailable),
    ],
)
@pytest.mark.parametrize("name", ["write", "sync_file", "sync_folder", "create", "make_folder"])
def test_every_error_of_a_disk_has_its_name(tmp_path: Path, number: int, expected: type[StoreError], name: str) -> None:
    """Whatever call of the disk fails, the caller hears it in the words of the contract, and may try again."""
    disk = OsDisk()
    store = FileStore.create(disk, tmp_path)

    def fail(*_arguments: object) -> None:
        raise OSError(number, "as asked")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(disk, name, fail)
        with pytest.raises(expected, match="as asked") as caught:
            put(store)
    assert isinstance(caught.value.__cause__, OSError)
    put(store)
    assert get(store) == SMALL


def test_a_disk_that_cannot_read_keeps_the_object(store: FileStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unreadable object is damaged; one that a share cannot give now is asked for again, and stays."""
    order = warrant(put(store))
    number = errno.EIO

    def fail(*_arguments: object, **_named: object) -> Iterator[bytes]:
        if number:
            raise OSError(number, "as asked")
        yield b""

    monkeypatch.setattr(OsDisk, "read", fail)
    with pytest.raises(ObjectDiffers):
        store.delete(order)
    number = errno.ESTALE
    for accept_damaged in (False, True):
        with pytest.raises(StoreUnavailable):
            store.delete(order, accept_damaged=accept_damaged)
    number = errno.EIO
    assert store.delete(order, accept_damaged=True) is Deletion.DELETED_DAMAGED


def cuts(root: Path) -> Iterator[tuple[ForgetfulDisk, bool]]:
    """Yield a disk for each of its calls, at which the power goes, and whether unsynced things survive that."""
    for cut_at in range(1, 40):
        for survives in (False, True):
            yield ForgetfulDisk(root, cut_at=cut_at), survives


def test_a_power_cut_leaves_all_or_nothing(tmp_path: Path) -> None:
    """Whenever the power goes, an object is whole or not there, is there once put returned, and can be put again."""
    acknowledged = 0
    for disk, survives in cuts(tmp_path):
        is_put = False
        try:
            put(FileStore.create(disk, tmp_path), LARGE)
            is_put = True
        except PowerCut:
            pass
        store = FileStore.create(disk.after_power_cut(partial(bool, survives)), tmp_path)
        found = store.find(KEY)
        assert found is not None or not is_put
        assert found is None or get(store) == LARGE
        assert put(store, LARGE).size_bytes == len(LARGE)
        assert get(store) == LARGE
        acknowledged += is_put
    assert 0 < acknowledged < 70


def test_a_repeated_put_makes_the_name_last(tmp_path: Path) -> None:
    """A name that was found, but never synced by whoever gave it, is made to last before the object is acknowledged."""
    for cut_at in range(1, 40):
        disk = ForgetfulDisk(tmp_path, cut_at=cut_at)
        try:
            put(FileStore.create(disk, tmp_path))
        except PowerCut:
            survivor = disk.after_power_cut(lambda: True)
            put(FileStore.create(survivor, tmp_path))
            assert get(FileStore(survivor.after_power_cut(lambda: False), tmp_path)) == SMALL


def test_what_was_deleted_stays_away(tmp_path: Path) -> None:
    """Once a deletion has returned, no power cut brings the object back; before, it is whole or gone."""
    done = 0
    for cut_at in range(1, 40):
        disk = ForgetfulDisk(tmp_path, cut_at=cut_at)
        is_deleted = False
        try:
            store = FileStore.create(disk, tmp_path)
            order = warrant(put(store))
            store.delete(order)
            is_deleted = True
        except PowerCut:
            pass
        left = FileStore.create(disk.after_power_cut(lambda: True), tmp_path)
        assert left.find(KEY) is None or not is_deleted
        assert left.find(KEY) is None or get(left) == SMALL
        done += is_deleted
    assert 0 < done < 39
