"""The power goes at every single call of the real ingest, and what was acknowledged is there when it is back."""

from __future__ import annotations

import hashlib
import itertools
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import pytest

from archive.errors import IndexUnavailable, IngestError
from archive.index.session import Database
from archive.services.adopt import AdoptReport
from archive.services.fixity import Fixity
from tests.crash.forgetful_disk import ForgetfulDatabase, ForgetfulDisk, Keep, PowerCut
from tests.objects import ct_dataset, dataset_bytes
from tests.unit.services.rig import Rig, empty_index, open_rig

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")

ROOT = Path("/archive")
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Sent:
    """One object of the story."""

    uid: str
    data: bytes


def ct(number: int, *, size: int = 512, study: int = 1) -> Sent:
    """Return a CT image whose pixels have ``size`` bytes."""
    pixels = bytes((number * 7 + i) % 251 for i in range(size))
    ds = ct_dataset(number, study=study, PixelData=pixels)
    return Sent(ds.SOPInstanceUID, dataset_bytes(ds))


STORY = (
    ct(1),
    ct(2, size=1_300_000),
    ct(1),
    ct(1, size=514),
    Sent("2.25.7", b"not a data set at all" * 20),
    ct(3, size=300_000, study=2),
    ct(4, study=3),
)


@dataclass
class Told:
    """What senders were told before the power went."""

    acknowledged: list[Sent] = field(default_factory=list)
    kept: list[Sent] = field(default_factory=list)

    def send(self, rig: Rig, sent: Sent) -> None:
        """Send one object and note the answer."""
        try:
            rig.send(sent.data, sent.uid)
        except IngestError:
            self.kept.append(sent)
        else:
            self.acknowledged.append(sent)


class NeverSynced(ForgetfulDatabase):
    """An index whose syncs do nothing: a power cut may take it back to its beginning."""

    is_synced = False


def play(
    root: Path, disk: ForgetfulDisk, told: Told, *, database: type[ForgetfulDatabase] = ForgetfulDatabase
) -> list[bytes]:
    """Run the story until it ends or the power goes; return the states in which the index may be found."""
    index = database(root / f"{next(_numbers)}.db", empty_index(), disk)
    try:
        with open_rig(ROOT, disk=disk, database=index, max_objects=2) as rig:
            for sent in STORY:
                told.send(rig, sent)
                rig.committer.barrier()
            rig.ingest.close()
    except (PowerCut, IndexUnavailable):
        assert disk.is_off
    return index.survivors


@contextmanager
def found(root: Path, disk: ForgetfulDisk, index: bytes) -> Iterator[Rig]:
    """Lend the archive as it is found when the power is back, before it has looked around."""
    path = root / f"{next(_numbers)}.db"
    path.write_bytes(index)
    with open_rig(ROOT, disk=disk, database=Database(f"sqlite:///{path}")) as rig:
        yield rig


def check(rig: Rig, disk: ForgetfulDisk, told: Told) -> None:
    """Start, and hold the archive to everything it said."""
    report = rig.adopt()
    assert (report.missing, report.unreadable) == (0, 0)
    for sent in told.acknowledged:
        assert rig.find(sent.uid) is not None, f"{sent.uid} was acknowledged and is gone"
        assert rig.dataset(sent.uid) == sent.data
        assert len(rig.query(sent.uid)) == 1
    quarantined = {row.sha256: row for row in rig.quarantine()}
    files = disk.files()
    for sent in told.kept:
        digest = sha256(sent.data)
        assert files[f"quarantine/{quarantined[digest].key}.dcm"].endswith(sent.data)
    assert Fixity(rig.committer, disk, rig.hot, rig.clock).verify(lambda done, total: None).holds
    landed = {name[4:-4] for name in files if name.startswith("hot/") and name.endswith(".dcm")}
    assert landed == set(rig.stored_keys()), "a file without a row, or a row without a file"
    assert rig.unsealed() == []
    assert rig.adopt() == AdoptReport()


def sha256(data: bytes) -> bytes:
    """Return the digest the archive keeps."""
    return hashlib.sha256(data).digest()


def keeps(seed: int) -> Sequence[Keep]:
    """Return what may survive: nothing that was not synced, everything, some of it."""
    random = Random(seed)
    return (lambda: False, lambda: True, lambda: random.random() < 0.5)


def calls_of_the_story(root: Path) -> list[str]:
    """Return the calls that reach disk and index when the power stays."""
    disk = ForgetfulDisk(ROOT)
    told = Told()
    play(root, disk, told)
    assert (len(told.acknowledged), len(told.kept)) == (5, 2)
    return disk.calls


def cut_everywhere(
    root: Path, *, disk: type[ForgetfulDisk] = ForgetfulDisk, database: type[ForgetfulDatabase] = ForgetfulDatabase
) -> int:
    """Cut the power at every call of the story and check every state it may leave; return how many there were."""
    states = 0
    for cut in range(1, len(calls_of_the_story(root)) + 1):
        broken, told = disk(ROOT, cut_at=cut), Told()
        survivors = play(root, broken, told, database=database)
        assert broken.is_off
        for index, keep in itertools.product(survivors, keeps(cut)):
            left = broken.after_power_cut(keep)
            with found(root, left, index) as rig:
                check(rig, left, told)
            states += 1
    return states


def test_what_was_acknowledged_survives_a_cut_at_every_call(memory_path: Path) -> None:
    """Whatever unsynced pages, names and commits are lost, every acknowledged object is stored, indexed and found."""
    assert cut_everywhere(memory_path) > 300


def test_even_an_index_that_lost_everything_is_made_whole(memory_path: Path) -> None:
    """Should the index be taken back to its empty beginning, the start finds every object in storage."""
    disk, told = ForgetfulDisk(ROOT), Told()
    survivors = play(memory_path, disk, told, database=NeverSynced)
    assert survivors[0] == empty_index()
    for index in survivors:
        left = disk.after_power_cut(lambda: False)
        with found(memory_path, left, index) as rig:
            check(rig, left, told)


def test_a_cut_while_starting_after_a_cut_is_survived(memory_path: Path) -> None:
    """Adoption itself may be interrupted at every call; the next start goes on."""
    disk, told = ForgetfulDisk(ROOT), Told()
    index = play(memory_path, disk, told, database=NeverSynced)[0]
    for cut in itertools.count(5):
        second = disk.after_power_cut(lambda: True)
        second.cut_at = cut
        database = ForgetfulDatabase(memory_path / f"{next(_numbers)}.db", index, second)
        try:
            with open_rig(ROOT, disk=second, database=database) as rig:
                rig.adopt()
        except (PowerCut, IndexUnavailable):
            assert second.is_off
        for survivor, keep in itertools.product(database.survivors[:: max(1, len(database.survivors) - 1)], keeps(cut)):
            third = second.after_power_cut(keep)
            with found(memory_path, third, survivor) as rig:
                check(rig, third, told)
        if not second.is_off:
            assert cut > 40
            return


@pytest.mark.parametrize("seed", range(6))
def test_several_senders_and_a_cut_at_any_moment(memory_path: Path, seed: int) -> None:
    """Objects in flight on other threads do not weaken what was said to one sender."""
    random = Random(seed)
    disk, told = ForgetfulDisk(ROOT, cut_at=random.randrange(10, 140)), Told()
    index = ForgetfulDatabase(memory_path / "index.db", empty_index(), disk)

    def sender(thread: int) -> None:
        for number in range(8):
            try:
                told.send(rig, ct(number, size=512 + 40_000 * thread, study=10 + thread))
            except (PowerCut, IndexUnavailable):
                return

    with open_quietly(disk, index) as rig:
        threads = [threading.Thread(target=sender, args=(thread,)) for thread in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert told.kept == []
    for survivor, keep in itertools.product(index.survivors, keeps(seed)):
        left = disk.after_power_cut(keep)
        with found(memory_path, left, survivor) as again:
            check(again, left, told)


@contextmanager
def open_quietly(disk: ForgetfulDisk, index: ForgetfulDatabase) -> Iterator[Rig]:
    """Lend an archive whose power may go while it is lent."""
    with open_rig(ROOT, disk=disk, database=index, max_objects=4) as rig:
        yield rig


class NoFileSync(ForgetfulDisk):
    """A disk whose fdatasync does nothing."""

    def sync_file(self, handle: int) -> None:
        self.call("sync_file")


class NoFolderSync(ForgetfulDisk):
    """A disk whose fsync of a folder does nothing."""

    def sync_folder(self, path: Path) -> None:
        self.call("sync_folder")


class NameBeforeBytes(ForgetfulDisk):
    """An archive that gives a file its name before it syncs it."""

    def sync_file(self, handle: int) -> None:
        self.late = handle
        self.call("sync_file")

    def link(self, handle: int, path: Path) -> None:
        super().link(handle, path)
        super().sync_file(handle)


@pytest.mark.parametrize("disk", [NoFileSync, NoFolderSync, NameBeforeBytes])
def test_the_model_notices_a_sync_that_is_missing(memory_path: Path, disk: type[ForgetfulDisk]) -> None:
    """With one promise of the disk taken away the same check fails: it would notice code that forgot to ask."""
    with pytest.raises((AssertionError, KeyError)):
        cut_everywhere(memory_path, disk=disk)
