"""The start: storage is the truth, and the index agrees with it before the port opens."""

from __future__ import annotations

import errno
import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from archive.index.instances import AddOutcome
from archive.index.records import NewInstance
from archive.index.session import Connection, IndexRefused
from archive.part10.meta import parse_header
from archive.services.adopt import AdoptReport
from tests.crash.forgetful_disk import ForgetfulDisk
from tests.objects import ROOT, ct_dataset, dataset_bytes
from tests.unit.services.rig import Rig, empty_index, open_rig
from tiering.landing import path_of

UID = f"{ROOT}.1.1.1"


@pytest.fixture
def disk(tmp_path: Path) -> ForgetfulDisk:
    """Lend a disk in memory on which three objects landed and nothing was sealed; its index is in ``index.db``."""
    disk = ForgetfulDisk(tmp_path)
    with open_rig(tmp_path, disk=disk) as rig:
        for number in (1, 2, 3):
            rig.send(ct_dataset(number))
    return disk


@pytest.fixture
def rig(tmp_path: Path, disk: ForgetfulDisk) -> Iterator[Rig]:
    """Lend the same home with an index that has never heard of it."""
    (tmp_path / "index.db").unlink()
    with open_rig(tmp_path, disk=disk) as lent:
        lent.clock.advance(hours=1)
        yield lent


def key_of(disk: ForgetfulDisk, number: int) -> str:
    """Return the key of an object by its number."""
    [name] = [name for name in disk.files() if name.endswith(f"/{number:06d}.dcm")]
    return name.removeprefix("hot/").removesuffix(".dcm")


def change(disk: ForgetfulDisk, number: int, data: bytes) -> str:
    """Put other bytes in an object's place and return its key."""
    key = key_of(disk, number)
    disk.damage(path_of(disk.base / "hot", key), data)
    return key


def content(disk: ForgetfulDisk, number: int) -> bytes:
    """Return the file of an object."""
    return disk.files()[f"hot/{key_of(disk, number)}.dcm"]


def test_a_file_without_a_row_is_taken_in(rig: Rig, disk: ForgetfulDisk) -> None:
    """It is indexed as it would have been, with the moment it was received, and journalled as adopted."""
    assert rig.adopt() == AdoptReport(folders=1, adopted=3)
    assert rig.dataset(UID) == dataset_bytes(ct_dataset(1))
    assert rig.query(UID) == ["PID1"]
    assert rig.events() == ["adopted"] * 3
    received = parse_header(content(disk, 1)).provenance.received_at
    assert rig.received_at(UID) == received
    body = json.loads(rig.entries()[0].body)
    assert (body["sop_instance_uid"], body["key"], body["site"]) == (UID, key_of(disk, 1), "default")
    assert rig.entries()[0].at > received


def test_an_adopted_row_is_the_row_that_was_lost(tmp_path: Path, disk: ForgetfulDisk) -> None:
    """Every column but the surrogate keys is what the first index had."""
    with open_rig(tmp_path, disk=disk) as before:
        wanted = before.find(UID)
    (tmp_path / "index.db").write_bytes(empty_index())
    with open_rig(tmp_path, disk=disk) as after:
        after.adopt()
        assert after.find(UID) == wanted


def test_what_is_indexed_is_left_alone(tmp_path: Path, disk: ForgetfulDisk) -> None:
    """After a kill all rows are there as a rule: the folder is sealed, nothing is read."""
    disk.calls.clear()
    with open_rig(tmp_path, disk=disk) as rig:
        assert rig.adopt() == AdoptReport(folders=1)
        assert "read" not in disk.calls
        assert rig.unsealed() == []
        assert rig.adopt() == AdoptReport()
        assert rig.events() == ["stored"] * 3


def test_a_sealed_folder_is_not_looked_at(tmp_path: Path, disk: ForgetfulDisk) -> None:
    """What an orderly end has sealed costs the next start nothing but a listing."""
    with open_rig(tmp_path, disk=disk) as rig:
        rig.adopt()
    disk.damage(path_of(tmp_path / "hot", key_of(disk, 2)), None)
    with open_rig(tmp_path, disk=disk) as rig:
        assert rig.adopt() == AdoptReport()


def test_a_row_without_a_file_is_marked_and_told(tmp_path: Path, disk: ForgetfulDisk) -> None:
    """It cannot happen without a failing disk or a human: the row stays, its copy is missing, the journal says so."""
    key = key_of(disk, 2)
    disk.damage(path_of(tmp_path / "hot", key), None)
    with open_rig(tmp_path, disk=disk) as rig:
        assert rig.adopt() == AdoptReport(folders=1, missing=1)
        found = rig.find(f"{ROOT}.1.1.2")
        assert found is not None
        assert [at.state for at in found.locations] == ["missing"]
        assert rig.events()[-1] == "missing"
        assert json.loads(rig.entries()[-1].body) == {"key": key}
        assert rig.find(UID) is not None


DAMAGES = [
    pytest.param(lambda data: data[:-1], id="cut short"),
    pytest.param(lambda data: data + b"\0", id="too long"),
    pytest.param(lambda data: data[:-1] + bytes([data[-1] ^ 1]), id="one bit"),
    pytest.param(lambda data: data.replace(b'"v":1', b'"v":2'), id="another version of the header"),
    pytest.param(lambda data: data.replace(b'sha256":"', b'sha256":"0', 1), id="another digest in the header"),
    pytest.param(lambda data: data.replace(b"1.1.2\0", b"1.1.3\0", 1), id="another UID in the header"),
    pytest.param(lambda data: b"", id="empty"),
    pytest.param(lambda data: data[:300], id="header cut"),
    pytest.param(lambda data: b"\0" * len(data), id="zeroes"),
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_never_indexed(rig: Rig, disk: ForgetfulDisk, damage: object) -> None:
    """It stays where it is, a note beside it, and the quarantine shows it; the others are adopted."""
    broken = damage(content(disk, 2))  # type: ignore[operator]
    key = change(disk, 2, broken)
    assert rig.adopt() == AdoptReport(folders=1, adopted=2, set_aside=1)
    assert rig.find(f"{ROOT}.1.1.2") is None
    [row] = rig.quarantine()
    assert row.key == f"hot/{key}"
    assert disk.files()[f"hot/{key}.dcm"] == broken
    note = json.loads(disk.files()[f"hot/{key}.json"])
    assert note["reason"] == row.reason
    assert rig.events().count("quarantined") == 1
    assert rig.unsealed() == []


def test_other_bytes_under_a_stored_uid_are_set_aside(rig: Rig, disk: ForgetfulDisk) -> None:
    """Of two files with one UID the one that landed first is stored; the other stays, and is told."""
    with open_rig(rig.root / "elsewhere", disk=ForgetfulDisk(rig.root / "elsewhere")) as other:
        other.send(ct_dataset(1, PatientName="AUTRE^NOM"))
        stranger = next(iter(other.disk.files().values()))  # type: ignore[attr-defined]
    key = change(disk, 3, stranger)
    assert rig.adopt() == AdoptReport(folders=1, adopted=2, set_aside=1)
    assert rig.dataset(UID) == dataset_bytes(ct_dataset(1))
    [row] = rig.quarantine()
    assert (row.key, row.sop_instance_uid) == (f"hot/{key}", UID)
    assert row.reason == "other bytes under a SOP Instance UID already stored"
    assert disk.files()[f"hot/{key}.dcm"] == stranger


def test_the_same_bytes_twice_need_nothing(rig: Rig, disk: ForgetfulDisk) -> None:
    """A second file of an object that is stored is neither indexed nor told."""
    change(disk, 3, content(disk, 1))
    assert rig.adopt() == AdoptReport(folders=1, adopted=2, already_stored=1)
    assert rig.quarantine() == []


def test_what_was_set_aside_is_told_once(tmp_path: Path, rig: Rig, disk: ForgetfulDisk) -> None:
    """A start that was interrupted before it sealed the folder finds the note and the row, and adds neither again."""
    change(disk, 2, b"")
    rig.adopt()
    rig.unseal()
    assert rig.adopt() == AdoptReport(folders=1)
    assert len(rig.quarantine()) == 1
    assert rig.events().count("quarantined") == 1


def test_a_file_that_cannot_be_read_now_is_tried_again(
    rig: Rig, disk: ForgetfulDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An input error is not the object's fault: nothing is said of it, its folder stays open for the next start."""
    bad, read = path_of(rig.hot, key_of(disk, 2)), disk.read

    def failing(path: Path, *, chunk_bytes: int) -> Iterator[bytes]:
        if path == bad:
            raise OSError(errno.EIO, "Input/output error")
        return read(path, chunk_bytes=chunk_bytes)

    with monkeypatch.context() as patch:
        patch.setattr(disk, "read", failing)
        assert rig.adopt() == AdoptReport(folders=1, adopted=2, unreadable=1)
    assert len(rig.unsealed()) == 1
    assert rig.adopt() == AdoptReport(folders=1, adopted=1)
    assert rig.unsealed() == []


def test_a_note_that_cannot_be_written_does_not_keep_the_archive_from_starting(
    rig: Rig, disk: ForgetfulDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a full disk a damaged file is told in the log only, and set aside at the next start."""
    change(disk, 2, b"")
    with monkeypatch.context() as patch:
        patch.setattr(disk, "capacity_bytes", 0)
        assert rig.adopt() == AdoptReport(folders=1, adopted=2, unreadable=1)
    assert len(rig.unsealed()) == 1
    assert rig.adopt() == AdoptReport(folders=1, set_aside=1)


def test_folders_the_index_has_never_heard_of_are_found(tmp_path: Path, disk: ForgetfulDisk) -> None:
    """With yesterday's copy of the index restored, today's objects are taken in."""
    yesterday = (tmp_path / "index.db").read_bytes()
    with open_rig(tmp_path, disk=disk) as rig:
        rig.adopt()
        rig.send(ct_dataset(4))
        rig.ingest.close()
    for suffix in ("-wal", "-shm"):
        (tmp_path / f"index.db{suffix}").unlink(missing_ok=True)
    (tmp_path / "index.db").write_bytes(yesterday)
    with open_rig(tmp_path, disk=disk) as rig:
        assert rig.adopt() == AdoptReport(folders=2, adopted=1)
        assert rig.query(f"{ROOT}.1.1.4") == ["PID1"]


def refuse(rig: Rig, monkeypatch: pytest.MonkeyPatch, keyword: str) -> None:
    """Let the index refuse instances that have an attribute."""
    add = rig.committer._writer.add

    def refusing(connection: Connection, batch: Sequence[NewInstance]) -> list[AddOutcome]:
        if any(keyword in item.header.values for item in batch):
            raise IndexRefused(reason="value")
        return add(connection, batch)

    monkeypatch.setattr(rig.committer._writer, "add", refusing)


def test_values_the_index_refuses_cost_the_attributes_only(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """An object is adopted by its identifiers when the database will not have the rest."""
    refuse(rig, monkeypatch, "PatientName")
    assert rig.adopt() == AdoptReport(folders=1, adopted=3)
    assert rig.flags(UID) == "refused"
    assert rig.query(UID) == [""]


def test_an_object_the_index_never_takes_is_set_aside(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """The start goes on, and the operator is told."""
    refuse(rig, monkeypatch, "SOPInstanceUID")
    assert rig.adopt() == AdoptReport(folders=1, set_aside=3)
    assert len(rig.quarantine()) == 3
    assert rig.unsealed() == []


def test_what_a_killed_process_left_unnamed_is_swept(tmp_path: Path) -> None:
    """On a file system without unnamed files the hidden names of a killed process go at the start."""
    with open_rig(tmp_path) as rig:
        (rig.hot / ".incoming-00").write_bytes(b"half an object")
        rig.adopt()
        assert list(rig.hot.iterdir()) == []


def test_a_large_object_is_proven_in_pieces(tmp_path: Path) -> None:
    """An object of several chunks is adopted by its whole digest, and indexed from its first bytes."""
    with open_rig(tmp_path) as rig:
        ds = ct_dataset(1, PixelData=bytes(3_000_000))
        rig.send(ds)
        wanted = rig.find(UID)
    (tmp_path / "index.db").write_bytes(empty_index())
    with open_rig(tmp_path) as rig:
        assert rig.adopt().adopted == 1
        assert rig.find(UID) == wanted
        assert hashlib.sha256(rig.dataset(UID)).digest() == hashlib.sha256(dataset_bytes(ds)).digest()
