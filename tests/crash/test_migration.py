"""The power goes at any moment of migrating and trimming: no image is lost or altered, and the work is finished."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest

from archive.errors import ArchiveError
from archive.index.instances import iter_instances
from archive.index.records import StoredLocation
from archive.services.migrate import Migrator
from archive.services.seal import Sealer
from archive.services.trim import Trimmer
from archive.services.trim_hot import ColdCleaner, HotTrimmer
from tests.crash.forgetful_disk import ForgetfulDisk, PowerCut
from tests.crash.test_destruction import opened
from tests.integration.disposal.conftest import Office, study_uid
from tests.integration.tiering.cold_side import ColdSide
from tests.unit.services.rig import empty_index
from tests.unit.services.shelf import Clock
from tiering.deletion import Deletion
from tiering.errors import TieringError
from tiering.stores.base import Availability, ObjectStore, Source, StoredObject
from tiering.stores.memory import MemoryStore
from tiering.warrant import DeleteWarrant


@dataclass
class CutStore:
    """A store whose ``cut_at``-th call is the last thing that happens before the power goes, done or not done."""

    inner: ObjectStore
    cut_at: int = 0
    is_done: bool = False
    calls: list[str] = field(default_factory=list)

    def _call(self, name: str) -> bool:
        """Count a call; raise before it is done, or tell that the power goes after it."""
        self.calls.append(name)
        is_last = len(self.calls) == self.cut_at
        if is_last and not self.is_done:
            raise PowerCut(name)
        return is_last

    def _after(self, is_last: bool) -> None:
        if is_last:
            raise PowerCut("after it was done")

    def put(self, key: str, source: Source, *, size_bytes: int, sha256: bytes) -> StoredObject:
        """Put."""
        is_last = self._call("put")
        found = self.inner.put(key, source, size_bytes=size_bytes, sha256=sha256)
        self._after(is_last)
        return found

    def read(self, key: str, *, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        """Read; the power goes in the middle."""
        is_last = self._call("read")
        for chunk in self.inner.read(key, offset=offset, length=length):
            self._after(is_last)
            yield chunk

    def read_range(self, key: str, offset: int, length: int) -> bytes:
        """Read a range."""
        self._after(self._call("read_range"))
        return self.inner.read_range(key, offset, length)

    def find(self, key: str) -> StoredObject | None:
        """Find."""
        self._after(self._call("find"))
        return self.inner.find(key)

    def iter_keys(self, prefix: str = "", *, after: str = "") -> Iterator[str]:
        """List."""
        return self.inner.iter_keys(prefix, after=after)

    def delete(self, warrant: DeleteWarrant, *, accept_damaged: bool = False) -> Deletion:
        """Delete."""
        is_last = self._call("delete")
        found = self.inner.delete(warrant, accept_damaged=accept_damaged)
        self._after(is_last)
        return found

    def availability(self, key: str) -> Availability:
        """Tell."""
        return self.inner.availability(key)

    def request_thaw(self, keys: Collection[str], days: int) -> None:
        """Ask."""
        self.inner.request_thaw(keys, days)


def prepare(root: Path, clock: Clock) -> ForgetfulDisk:
    """Make a home with a sealed study that may go cold; return its disk."""
    root.mkdir()
    (root / "index.db").write_bytes(empty_index())
    disk = ForgetfulDisk(root)
    with opened(root, clock, disk) as office:
        office.store(1, instances=2)
        office.rig.ingest.close()
        clock.advance(hours=2)
        Sealer(office.rig.committer, office.stores, clock, timedelta(hours=1)).run()
        clock.advance(hours=1)
        Trimmer(office.rig.committer, office.stores, clock, timedelta()).run()
        office.sweep()
    return disk


def work(office: Office, store: ObjectStore) -> None:
    """Migrate, trim without waiting for a grace period, and discard what stands in for nothing."""
    side = ColdSide(office, store)
    committer, clock = office.rig.committer, office.clock
    migrator: Migrator = side.migrator
    migrator.migrate(study_uid(1))
    clock.advance(seconds=1)
    HotTrimmer(committer, side.stores, store, clock, timedelta()).run()
    ColdCleaner(committer, side.stores, clock, timedelta()).run()


def held(office: Office, disk: ForgetfulDisk, store: ObjectStore) -> dict[str, bytes]:
    """Return the data sets of the study as the index finds them, hot or cold."""
    with office.rig.committer.read() as connection:
        instances = list(iter_instances(connection, study=study_uid(1)))
    found = {}
    for instance in instances:
        copies = [each for each in instance.locations if each.state == "present"]
        contents = {_content(each, disk, store) for each in copies if _is_there(each, disk)}
        assert len(contents) == 1, "copies of one instance are the same, and there is one at least"
        found[instance.sop_instance_uid] = contents.pop()
    return found


def _is_there(copy: StoredLocation, disk: ForgetfulDisk) -> bool:
    return copy.tier == "cold" or f"hot/packs/{copy.pack_key}" in disk.files()


def _content(copy: StoredLocation, disk: ForgetfulDisk, store: ObjectStore) -> bytes:
    assert copy.pack_key is not None
    start, end = copy.start + copy.header_size, copy.start + copy.size_bytes
    if copy.tier == "cold":
        return b"".join(store.read(copy.pack_key))[start:end]
    return disk.files()[f"hot/packs/{copy.pack_key}"][start:end]


def finish(root: Path, clock: Clock, disk: ForgetfulDisk, store: ObjectStore, wanted: dict[str, bytes]) -> None:
    """Start again and finish; all is there before and after, once, and nothing is left over."""
    with opened(root, clock, disk) as office:
        office.rig.adopt()
        assert held(office, disk, store) == wanted
        clock.advance(seconds=1)
        work(office, store)
        assert held(office, disk, store) == wanted
        assert len(list(store.iter_keys())) == 1
        assert [path for path in disk.files() if path.startswith("hot/packs/")] == []


@pytest.mark.parametrize("is_done", [False, True], ids=["before", "after"])
def test_a_power_cut_at_any_call_to_the_cold_store(tmp_path: Path, is_done: bool) -> None:
    """Whatever the store was asked last, done or not: started again it finishes, with the same data sets."""
    clock, store = Clock(), CutStore(MemoryStore())
    disk = prepare(tmp_path / "whole", clock)
    with opened(tmp_path / "whole", clock, disk) as office:
        wanted = held(office, disk, store)
        work(office, store)
        assert held(office, disk, store) == wanted
    count = len(store.calls) - 1
    assert {"put", "read", "find"} <= set(store.calls)
    for number in range(1, count + 1):
        root, moment, memory = tmp_path / str(number), Clock(), MemoryStore()
        disk = prepare(root, moment)
        with pytest.raises(PowerCut), opened(root, moment, disk) as office:
            work(office, CutStore(memory, number, is_done))
            raise PowerCut("after all of it")
        finish(root, moment, disk.after_power_cut(lambda: True), memory, wanted)


@pytest.mark.parametrize("survives", [True, False], ids=["all kept", "all lost"])
def test_a_power_cut_at_any_call_to_the_disk(tmp_path: Path, survives: bool) -> None:
    """The hot pack is read, and at last deleted: wherever that stops, it goes on from there."""
    clock = Clock()
    disk = prepare(tmp_path / "whole", clock)
    start = len(disk.calls)
    with opened(tmp_path / "whole", clock, disk) as office:
        wanted = held(office, disk, MemoryStore())
        work(office, MemoryStore())
    count = len(disk.calls) - start
    assert count > 5, "migrating and trimming must be walked through"
    for number in range(1, count + 1):
        root, moment, memory = tmp_path / str(number), Clock(), MemoryStore()
        disk = prepare(root, moment)
        disk.cut_at = len(disk.calls) + number
        with pytest.raises(PowerCut), opened(root, moment, disk) as office:
            work(office, memory)
            raise PowerCut("after all of it")
        finish(root, moment, disk.after_power_cut(lambda: survives), memory, wanted)


@pytest.mark.parametrize("number", range(1, 8))
def test_a_store_that_fails_once_loses_nothing(tmp_path: Path, number: int) -> None:
    """Whichever call fails, before or after its work: told, nothing lost, and the next run finishes."""
    clock, memory = Clock(), MemoryStore()
    disk = prepare(tmp_path / "home", clock)
    with opened(tmp_path / "home", clock, disk) as office:
        wanted = held(office, disk, memory)
        try:
            work(office, Failing(memory, number))
        except (TieringError, ArchiveError) as exc:
            assert str(exc)
        assert held(office, disk, memory) == wanted
    finish(tmp_path / "home", clock, disk, memory, wanted)


class Failing(CutStore):
    """A store whose one call fails as a store that is down does."""

    def _call(self, name: str) -> bool:
        from tiering.errors import StoreUnavailable

        self.calls.append(name)
        if len(self.calls) == self.cut_at:
            raise StoreUnavailable(reason="as asked")
        return False
