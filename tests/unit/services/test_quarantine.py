"""What is kept aside explains itself, is never in the way, and is told again when the index did not hear of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from archive.errors import IndexUnavailable, StorageFull, UnreadableDataset
from archive.part10.meta import parse_header
from archive.services import aside
from archive.services.quarantine import reason_of
from tests.crash.forgetful_disk import ForgetfulDisk
from tests.objects import CT_IMAGE, ct_dataset, dataset_bytes
from tests.unit.services.rig import Rig, open_rig
from tests.unit.services.shelf import NOON
from tiering.landing import path_of

GARBAGE = b"this is no data set" * 10


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    """Lend an empty archive."""
    with open_rig(tmp_path) as lent:
        yield lent


def refuse(rig: Rig, data: bytes = GARBAGE, uid: str = "2.25.7") -> None:
    """Send something that is refused."""
    with pytest.raises(UnreadableDataset):
        rig.send(data, uid)


def test_the_folder_explains_itself_without_the_index(rig: Rig) -> None:
    """Beside each object lies a note: whence, when, why; the object itself is a Part 10 file of ours."""
    refuse(rig)
    [path] = rig.kept.rglob("*.dcm")
    note = json.loads(path.with_suffix(".json").read_text())
    assert note["reason"].startswith("The data set cannot be read")
    assert (note["calling_ae_title"], note["peer_address"]) == ("MODALITY", "192.0.2.7")
    assert (note["announced_sop_class_uid"], note["announced_sop_instance_uid"]) == (CT_IMAGE, "2.25.7")
    header = parse_header(path.read_bytes())
    assert header.dataset_sha256 == hashlib.sha256(GARBAGE).digest()
    assert header.provenance.calling_ae_title == "MODALITY"


def test_the_table_says_the_same_as_the_folder(rig: Rig) -> None:
    """A row told from storage alone is the row that was written when the object came."""
    refuse(rig)
    [row] = rig.quarantine()
    assert row.resolved_at is None
    told = aside.row_from_storage(rig.disk, path_of(rig.kept, row.key), row.key, now=NOON)
    for name in type(told).__slots__:
        assert getattr(told, name) == getattr(row, name), name


def test_an_object_refused_again_and_again_is_kept_once(rig: Rig) -> None:
    """A modality that tries the same object all night fills the journal, not the disk; the answer stays the same."""
    for _ in range(3):
        refuse(rig)
    [row] = rig.quarantine()
    assert len(list(rig.kept.rglob("*.dcm"))) == len(list(rig.kept.rglob("*.json"))) == 1
    assert rig.events() == ["quarantined"] * 3
    assert {json.loads(entry.body)["key"] for entry in rig.entries()} == {row.key}


def test_other_refused_objects_are_kept_beside_it(rig: Rig) -> None:
    """Other bytes, or another UID announced for them, are another object: nothing in quarantine is overwritten."""
    refuse(rig)
    refuse(rig, GARBAGE + b"!")
    refuse(rig, uid="2.25.8")
    assert len({row.key for row in rig.quarantine()}) == 3
    assert len(list(rig.kept.rglob("*.dcm"))) == 3


def test_an_object_taken_away_from_quarantine_is_kept_again(rig: Rig) -> None:
    """A row whose file is gone is no reason to drop the bytes."""
    refuse(rig)
    [path] = rig.kept.rglob("*.dcm")
    path.unlink()
    refuse(rig)
    [again] = rig.kept.rglob("*.dcm")
    assert again != path
    assert len(rig.quarantine()) == 2


def test_the_journal_names_no_patient(rig: Rig) -> None:
    """The entry has UIDs, digest and the kind of error; not what the object says."""
    rig.send(ct_dataset(1))
    other = ct_dataset(1, PatientName="SECRET^Nom", PatientID="SECRET")
    with pytest.raises(Exception, match="quarantine"):
        rig.send(other)
    row = rig.entries()[-1]
    assert (row.event, row.actor) == ("quarantined", "MODALITY")
    assert json.loads(row.body)["reason"] == "ConflictingInstance"
    assert "SECRET" not in row.body
    assert all("SECRET" not in kept.reason for kept in rig.quarantine())


def test_reasons_of_others_are_not_repeated() -> None:
    """Our errors speak for themselves; of any other only the class is told, because its text may quote a value."""
    assert reason_of(UnreadableDataset(reason="cut")) == "The data set cannot be read: cut."
    assert reason_of(ValueError("MOREAU^Hélène")) == "ValueError"


def test_an_index_that_is_away_does_not_change_the_answer(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bytes are kept and the sender hears of its mistake; the next start tells the index."""

    def away(*, synced: bool) -> Iterator[None]:
        raise IndexUnavailable(reason="away")

    reception = rig.begin("2.25.7")
    rig.pour(GARBAGE, reception)
    with monkeypatch.context() as patch:
        patch.setattr(rig.database, "write", away)
        with pytest.raises(UnreadableDataset):
            reception.commit()
        rig.committer._failure = None
    assert list(rig.quarantine()) == []
    assert rig.adopt().set_aside == 1
    [row] = rig.quarantine()
    assert row.sha256 == hashlib.sha256(GARBAGE).digest()
    assert row.reason.startswith("The data set cannot be read")
    assert rig.events() == ["quarantined"]
    assert rig.adopt().set_aside == 0


def test_a_disk_too_full_to_keep_it_is_told(tmp_path: Path) -> None:
    """What cannot be kept aside is not refused for good: the sender may try again, and no half of it stays."""
    disk = ForgetfulDisk(tmp_path)
    with open_rig(tmp_path, disk=disk) as rig:
        reception = rig.begin("2.25.7")
        rig.pour(GARBAGE, reception)
        disk.capacity_bytes = disk.used_bytes + len(GARBAGE) + 10
        with pytest.raises(StorageFull):
            reception.commit()
        assert disk.files() == {}
        assert disk.open_handles == 0
        disk.capacity_bytes = 1 << 30
        refuse(rig)
        assert len(rig.quarantine()) == 1


@pytest.mark.parametrize(
    "note",
    [b"", b"not json", b"[1, 2]", b'{"reason": 5, "received_at": "yesterday"}', b'{"received_at": "2026-01-01"}'],
)
def test_a_note_that_cannot_be_read_is_done_without(rig: Rig, note: bytes) -> None:
    """What the note does not tell is told from the header."""
    refuse(rig)
    [row] = rig.quarantine()
    path = path_of(rig.kept, row.key)
    path.with_suffix(".json").write_bytes(note)
    told = aside.row_from_storage(rig.disk, path, row.key, now=NOON, reason="a reason")
    assert told.reason == "a reason"
    assert (told.sop_instance_uid, told.calling_ae_title, told.peer_address) == ("2.25.7", "MODALITY", "192.0.2.7")
    assert told.received_at == parse_header(path.read_bytes()).provenance.received_at
    assert (told.size_bytes, told.sha256) == (row.size_bytes, row.sha256)


def test_a_stranger_in_the_quarantine_folder_is_told_as_it_is(rig: Rig) -> None:
    """A file without our header is measured whole, and belongs to nobody."""
    path = rig.kept / "20260101" / "left-by-hand.dcm"
    path.parent.mkdir()
    path.write_bytes(dataset_bytes(ct_dataset(1)))
    assert rig.adopt().set_aside == 1
    [row] = rig.quarantine()
    assert (row.key, row.sop_instance_uid, row.calling_ae_title) == ("20260101/left-by-hand", "", "")
    assert row.sha256 == hashlib.sha256(path.read_bytes()).digest()


def test_what_is_not_an_object_is_passed_over(rig: Rig) -> None:
    """Notes alone, and folders that are not days, are none of our business."""
    (rig.kept / "20260101").mkdir()
    (rig.kept / "20260101" / "a.json").write_text("{}")
    (rig.kept / "mine").mkdir()
    (rig.kept / "mine" / "a.dcm").touch()
    assert rig.adopt().set_aside == 0


def test_a_note_is_written_once(rig: Rig) -> None:
    """A note that lies there stays, whoever comes later."""
    refuse(rig)
    [row] = rig.quarantine()
    path = path_of(rig.kept, row.key)
    before = path.with_suffix(".json").read_bytes()
    aside.write_note(rig.disk, path, aside.row_from_storage(rig.disk, path, row.key, now=NOON))
    assert path.with_suffix(".json").read_bytes() == before
