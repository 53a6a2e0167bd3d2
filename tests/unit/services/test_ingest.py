"""Taking objects in: what is stored, what is refused, and that refusing or failing leaves nothing half done."""

from __future__ import annotations

import errno
import hashlib
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from archive.errors import (
    ConflictingInstance,
    IndexUnavailable,
    IngestError,
    InvalidUid,
    MissingIdentifier,
    SopClassMismatch,
    SopInstanceMismatch,
    StorageFailed,
    StorageFull,
    UnreadableDataset,
)
from archive.part10.meta import parse_header
from archive.services.arrival import CHUNK_BYTES, ChunkPool
from archive.services.ingest import Outcome
from tests.crash.forgetful_disk import ForgetfulDisk
from tests.objects import CT_IMAGE, ROOT, ct_dataset, dataset_bytes
from tests.unit.services.rig import Rig, open_rig
from tests.unit.services.shelf import NOON
from tiering.landing import path_of

MIB = 1024 * 1024
UID = f"{ROOT}.1.1.1"


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    """Lend an empty archive on the real disk."""
    with open_rig(tmp_path) as lent:
        yield lent


@pytest.fixture
def model(tmp_path: Path) -> Iterator[tuple[Rig, ForgetfulDisk]]:
    """Lend an empty archive on a disk in memory that fails when told."""
    disk = ForgetfulDisk(tmp_path)
    with open_rig(tmp_path, disk=disk) as lent:
        yield lent, disk


def test_the_bytes_are_kept_as_they_came(rig: Rig) -> None:
    """The file is our header and then the data set, byte for byte; the header tells whence it came and its digest."""
    data = dataset_bytes(ct_dataset(1))
    assert rig.send(data, UID) is Outcome.STORED
    stored = rig.find(UID)
    assert stored is not None
    at = stored.locations[0]
    content = path_of(rig.hot, at.key).read_bytes()
    header = parse_header(content)
    assert content[header.header_size :] == data
    assert header.dataset_sha256 == hashlib.sha256(data).digest() == stored.dataset_sha256
    assert (header.dataset_size, at.size_bytes) == (len(data), len(content))
    assert (at.header_size, at.sha256) == (
        header.header_size,
        hashlib.sha256(content[: header.header_size]).digest(),
    )
    announced = rig.begin(UID)
    assert replace(header.provenance, received_at=NOON) == replace(announced._provenance, received_at=NOON)
    announced.abandon()


@pytest.mark.parametrize(
    "size",
    [16, 256 * 1024, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, CHUNK_BYTES + 60_000, 3 * MIB + 17],
)
@pytest.mark.parametrize("step", [1_000_000_000, 65_535])
def test_objects_of_every_size_are_kept(rig: Rig, size: int, step: int) -> None:
    """Around the sizes at which chunks are written and turned, nothing is lost, doubled or shifted."""
    pixels = (b"0123456789abcdef" * (size // 16 + 1))[: size + size % 2]
    ds = ct_dataset(1, PixelData=pixels)
    rig.step = step
    assert rig.send(ds) is Outcome.STORED
    assert rig.dataset(UID) == dataset_bytes(ds)


def test_what_is_indexed_does_not_depend_on_how_the_bytes_came(tmp_path: Path) -> None:
    """The same object in large and in small PDUs gives the same row, flags too."""
    data = dataset_bytes(ct_dataset(1, PixelData=None, TextValue="x" * CHUNK_BYTES, ContentLabel="LATE"))
    rows = []
    for step in (1_000_000_000, 1_000, 700_000):
        with open_rig(tmp_path / str(step)) as rig:
            rig.step = step
            rig.send(data, UID)
            found = rig.find(UID)
            assert found is not None
            rows.append((found.dataset_sha256, found.dataset_size, rig.flags(UID)))
    assert rows[0] == rows[1] == rows[2]


def test_an_acknowledged_object_is_found_at_once(rig: Rig) -> None:
    """The first query after the answer finds it, although its row is written behind the answer."""
    for number in range(1, 30):
        rig.send(ct_dataset(number))
        assert rig.query(f"{ROOT}.1.1.{number}") == ["PID1"]


def test_the_same_object_again_is_stored_once(rig: Rig) -> None:
    """Same UID, same bytes: success, one file, one row, one journal entry."""
    assert rig.send(ct_dataset(1)) is Outcome.STORED
    assert rig.send(ct_dataset(1)) is Outcome.ALREADY_STORED
    rig.committer.barrier()
    assert rig.send(ct_dataset(1)) is Outcome.ALREADY_STORED
    assert len(list(rig.hot.rglob("*.dcm"))) == 1
    assert rig.events() == ["stored"]


@pytest.mark.parametrize("is_indexed", [False, True])
def test_other_bytes_under_a_known_uid_go_to_quarantine(rig: Rig, is_indexed: bool) -> None:
    """The first object stays as it is, the second is kept aside and the sender told, indexed or not yet indexed."""
    rig.send(ct_dataset(1))
    if is_indexed:
        rig.committer.barrier()
    other = dataset_bytes(ct_dataset(1, PatientName="AUTRE^NOM"))
    with pytest.raises(ConflictingInstance):
        rig.send(other, UID)
    assert rig.dataset(UID) == dataset_bytes(ct_dataset(1))
    [kept] = rig.quarantine()
    assert (kept.sop_instance_uid, kept.sha256) == (UID, hashlib.sha256(other).digest())
    assert path_of(rig.kept, kept.key).read_bytes().endswith(other)
    assert rig.events() == ["stored", "quarantined"]


REFUSALS = [
    pytest.param(b"not a data set" * 50, UID, CT_IMAGE, UnreadableDataset, id="garbage"),
    pytest.param(b"", UID, CT_IMAGE, UnreadableDataset, id="empty"),
    pytest.param(dataset_bytes(ct_dataset(1, StudyInstanceUID=None)), UID, CT_IMAGE, MissingIdentifier, id="no study"),
    pytest.param(
        dataset_bytes(ct_dataset(1, SeriesInstanceUID="")), UID, CT_IMAGE, MissingIdentifier, id="empty series"
    ),
    pytest.param(dataset_bytes(ct_dataset(1, SOPInstanceUID=None)), UID, CT_IMAGE, MissingIdentifier, id="no instance"),
    pytest.param(
        dataset_bytes(ct_dataset(1)).replace(b"2.25.1234567890.1\0", b"2.25/../../../etc\0"),
        UID,
        CT_IMAGE,
        InvalidUid,
        id="path in a UID",
    ),
    pytest.param(dataset_bytes(ct_dataset(1)), f"{ROOT}.9", CT_IMAGE, SopInstanceMismatch, id="other instance"),
    pytest.param(dataset_bytes(ct_dataset(1)), UID, "1.2.840.10008.5.1.4.1.1.4", SopClassMismatch, id="other class"),
]


@pytest.mark.parametrize(("data", "uid", "sop_class", "error"), REFUSALS)
def test_what_cannot_be_indexed_is_kept_aside(
    rig: Rig, data: bytes, uid: str, sop_class: str, error: type[Exception]
) -> None:
    """The sender hears why, the operator finds the bytes, the archive has no row and no landed file."""
    with pytest.raises(error):
        rig.send(data, uid, sop_class=sop_class)
    [kept] = rig.quarantine()
    assert path_of(rig.kept, kept.key).read_bytes().endswith(data)
    assert kept.size_bytes == len(data)
    assert rig.find(UID) is None
    assert list(rig.hot.rglob("*.dcm")) == []
    assert rig.events() == ["quarantined"]


def test_a_caller_may_refuse_for_its_own_reason(rig: Rig) -> None:
    """What the wire side finds wrong is kept aside the same way, with its reason."""
    reception = rig.begin(UID)
    rig.pour(dataset_bytes(ct_dataset(1)), reception)
    with pytest.raises(SopClassMismatch, match="one announced"):
        reception.refuse(SopClassMismatch(reason="differs from the presentation context's"))
    reception.abandon()
    [kept] = rig.quarantine()
    assert "SOP Class UID" in kept.reason


def test_a_transfer_that_stops_leaves_no_trace(rig: Rig) -> None:
    """Abandoned in the middle: no file, no row, no journal entry, and the memory is back in the pool."""
    reception = rig.begin(UID)
    rig.pour(dataset_bytes(ct_dataset(1, PixelData=bytes(2 * MIB)))[: MIB + 500_000], reception)
    reception.abandon()
    reception.abandon()
    assert [path for path in rig.root.rglob("*") if path.is_file() and "index.db" not in path.name] == []
    assert rig.events() == []
    assert len(rig.ingest.pool._free) == 1


def test_a_large_object_is_known_to_come_in_from_its_first_byte(rig: Rig) -> None:
    """What migrates gives way while two gigabytes come in, not only once they are all there."""
    seen = [rig.committer.is_receiving]
    reception = rig.begin(UID)
    seen.append(rig.committer.is_receiving)
    reception.abandon()
    assert [*seen, rig.committer.is_receiving] == [False, True, False]


def test_many_senders_of_one_object_store_it_once(rig: Rig) -> None:
    """Eight threads with the same object at the same time: one file, one row, everybody hears success."""
    outcomes: list[Outcome] = []
    data = dataset_bytes(ct_dataset(1))

    def send() -> None:
        outcomes.append(rig.send(data, UID))

    threads = [threading.Thread(target=send) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcome.name for outcome in outcomes) == ["ALREADY_STORED"] * 7 + ["STORED"]
    assert len(list(rig.hot.rglob("*.dcm"))) == 1
    assert rig.events() == ["stored"]


def test_many_senders_of_different_bytes_under_one_uid_keep_them_all(rig: Rig) -> None:
    """One of them is stored, the others are in quarantine: no byte is lost, none is overwritten."""
    variants = [dataset_bytes(ct_dataset(1, PatientName=f"NOM^{number}")) for number in range(6)]
    refused: list[ConflictingInstance] = []

    def send(data: bytes) -> None:
        try:
            rig.send(data, UID)
        except ConflictingInstance as exc:
            refused.append(exc)

    threads = [threading.Thread(target=send, args=(data,)) for data in variants]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(refused) == 5
    kept = {row.sha256 for row in rig.quarantine()} | {hashlib.sha256(rig.dataset(UID)).digest()}
    assert kept == {hashlib.sha256(data).digest() for data in variants}


def test_a_full_disk_refuses_before_the_first_byte(tmp_path: Path) -> None:
    """Below the floor nothing is begun; with room again it goes on by itself."""
    disk = ForgetfulDisk(tmp_path, capacity_bytes=10 * MIB)
    with open_rig(tmp_path, disk=disk, min_free_bytes=8 * MIB) as rig:
        rig.send(ct_dataset(1))
        disk.capacity_bytes = 5 * MIB
        with pytest.raises(StorageFull, match="8 MiB"):
            rig.begin(f"{ROOT}.1.1.2")
        disk.capacity_bytes = 10 * MIB
        assert rig.send(ct_dataset(2)) is Outcome.STORED
        assert disk.open_handles == 0


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS])
def test_a_disk_that_fails_at_any_call_is_told_and_forgotten(model: tuple[Rig, ForgetfulDisk], code: int) -> None:
    """At every call of a first object: the right error, nothing half done, no handle left; the next try is stored."""
    rig, disk = model
    ds = ct_dataset(1, PixelData=bytes(1_400_000))
    rig.step = 250_000
    expected = StorageFull if code in (errno.ENOSPC, errno.EDQUOT) else StorageFailed
    failures = 0
    while True:
        disk.fail_at = {len(disk.calls) + failures + 1: code}
        try:
            rig.send(ds)
        except (StorageFull, StorageFailed) as exc:
            assert type(exc) is expected
            assert rig.find(UID) is None
            assert disk.open_handles == 0
            assert not rig.committer.arriving
            failures += 1
        else:
            break
    assert failures >= 9, "create, writes, syncs, folders, link"
    assert rig.dataset(UID) == dataset_bytes(ds)
    assert rig.events() == ["stored"]


def test_a_name_that_was_not_synced_is_looked_at_again(model: tuple[Rig, ForgetfulDisk]) -> None:
    """When the folder's sync fails after the link, the folder is not sealed: the next start decides about the file."""
    rig, disk = model
    rig.send(ct_dataset(1))
    before = len(disk.calls)
    rig.send(ct_dataset(2))
    disk.fail_at = {len(disk.calls) + len(disk.calls) - before: errno.EIO}
    with pytest.raises(StorageFailed):
        rig.send(ct_dataset(3))
    assert disk.calls[-1] == "sync_folder"
    rig.ingest.close()
    assert len(rig.unsealed()) == 1
    assert rig.adopt().adopted == 1
    assert rig.query(f"{ROOT}.1.1.3") == ["PID1"]


def test_an_index_that_is_away_refuses_before_the_first_byte(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the index fails nothing is begun; what was landed before is indexed when it is back."""

    def away(*, synced: bool) -> Iterator[None]:
        raise IndexUnavailable(reason="away")

    rig.send(ct_dataset(1))
    rig.committer.barrier()
    with monkeypatch.context() as patch:
        patch.setattr(rig.database, "write", away)
        assert rig.send(ct_dataset(2)) is Outcome.STORED, "it is durable: its row follows"
        with pytest.raises(IndexUnavailable):
            rig.committer.barrier()
        with pytest.raises(IndexUnavailable):
            rig.begin(f"{ROOT}.1.1.3")
    waiting = threading.Event()
    while rig.committer._failure is not None:
        waiting.wait(0.05)
    assert rig.query(f"{ROOT}.1.1.2") == ["PID1"]
    assert rig.send(ct_dataset(3)) is Outcome.STORED


def test_folders_are_sealed_as_they_fill(tmp_path: Path) -> None:
    """A folder that is full and indexed is sealed when the next one opens; the end of the run seals the rest."""
    with open_rig(tmp_path, max_objects=3) as rig:
        for number in range(1, 9):
            rig.send(ct_dataset(number))
            rig.committer.barrier()
        assert len({key.rpartition("/")[0] for key in rig.stored_keys()}) == 3
        assert len(rig.unsealed()) == 1
        rig.ingest.close()
        assert rig.unsealed() == []


def test_folders_change_under_load_without_a_pause(tmp_path: Path) -> None:
    """Turning to a new folder waits for the committing thread, which settles objects meanwhile: neither may block."""
    with open_rig(tmp_path, max_objects=2) as rig:

        def send(thread: int) -> None:
            for number in range(1, 16):
                rig.send(ct_dataset(number, study=thread))

        threads = [threading.Thread(target=send, args=(thread,), daemon=True) for thread in range(1, 5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert not any(thread.is_alive() for thread in threads)
        assert len(rig.stored_keys()) == 60


def test_files_are_made_ahead_of_need(model: tuple[Rig, ForgetfulDisk]) -> None:
    """Once started, a thread keeps files ready; a disk that cannot make one disturbs nobody; the end closes them."""
    rig, disk = model
    rig.ingest.start()
    disk.fail_at = {len(disk.calls) + 9: errno.ENOSPC}
    pause = threading.Event()
    number = 0
    while rig.landing.is_low:
        number += 1
        with suppress(StorageFull):
            rig.send(ct_dataset(number))
        pause.wait(0.02)
    assert number < 100
    rig.ingest.close()
    for _ in range(100):
        if disk.open_handles == 0:
            break
        pause.wait(0.02)
    assert disk.open_handles == 0


def test_chunks_are_lent_again() -> None:
    """The pool keeps a few chunks and lets the others go, and what it lends is large enough for a turn."""
    pool = ChunkPool(keep=2)
    chunks = [pool.take() for _ in range(4)]
    assert all(len(chunk) >= CHUNK_BYTES + 64 * 1024 for chunk in chunks)
    for chunk in chunks:
        pool.give_back(chunk)
    assert [id(pool.take()), id(pool.take())] == [id(chunks[1]), id(chunks[0])]
    assert id(pool.take()) not in map(id, chunks)


def test_every_refusal_is_an_ingest_error() -> None:
    """What is kept aside is told apart from what may be tried again."""
    for error in (UnreadableDataset, MissingIdentifier, SopClassMismatch, SopInstanceMismatch, ConflictingInstance):
        assert issubclass(error, IngestError)
        assert not error.retryable
    for later in (StorageFull, StorageFailed, IndexUnavailable):
        assert later.retryable
