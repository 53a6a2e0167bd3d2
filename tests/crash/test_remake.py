"""The power goes at any moment of re-making a cold study: no image is lost or silently altered, and it is finished."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from archive.errors import ArchiveError, ColdCopyDiffers
from archive.services.trim_hot import ColdCleaner, HotTrimmer
from tests.crash.forgetful_disk import PowerCut
from tests.crash.test_destruction import opened
from tests.crash.test_migration import CutStore, Failing
from tests.integration.disposal.conftest import Office, study_uid
from tests.integration.tiering.cold_side import ColdSide
from tests.integration.tiering.proving import count
from tests.integration.tiering.remaking import contents, go_cold, remaker, send_ct
from tests.integration.tiering.test_cold_rebuild import rebuild
from tests.unit.services.rig import empty_index
from tests.unit.services.shelf import Clock
from tiering.disk import Disk, OsDisk
from tiering.errors import TieringError
from tiering.stores.base import ObjectStore, Source, StoredObject
from tiering.stores.memory import MemoryStore


@dataclass
class CutDisk:
    """A disk whose ``cut_at``-th call is the one at which the power goes, before it does anything."""

    cut_at: int = 0
    calls: list[str] = field(default_factory=list)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            self.calls.append(name)
            if len(self.calls) == self.cut_at:
                raise PowerCut(name)
            return getattr(OsDisk(), name)(*arguments, **named)

        return call


@dataclass
class Home:
    """A home with a study that is cold without loss; ``lossless`` and ``lossy``: its data sets by UID."""

    root: Path
    clock: Clock
    store: MemoryStore
    lossless: dict[str, bytes] = field(default_factory=dict)
    lossy: dict[str, bytes] = field(default_factory=dict)

    def another(self, name: str) -> Home:
        """Return one like it."""
        shutil.copytree(self.root, self.root.parent / name)
        store = MemoryStore()
        store._objects = {key: copy.copy(each) for key, each in self.store._objects.items()}
        return Home(self.root.parent / name, Clock(self.clock()), store, self.lossless, self.lossy)

    @contextmanager
    def opened(self, disk: Disk | None = None) -> Iterator[Office]:
        """Open it as a start does."""
        with opened(self.root, self.clock, disk or OsDisk()) as office:
            office.rig.adopt()
            yield office


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """Make a home once; what a whole run comes to is known."""
    home = Home(tmp_path_factory.mktemp("remake") / "first", Clock(), MemoryStore())
    home.root.mkdir()
    (home.root / "index.db").write_bytes(empty_index())
    with home.opened() as office:
        side = ColdSide(office, home.store)
        send_ct(side)
        go_cold(side)
        home.lossless = contents(side, home.store)
        office.rig.ingest.close()
    whole = home.another("whole")
    with whole.opened() as office:
        work(office, whole.store)
        home.lossy = contents(ColdSide(office, whole.store), whole.store)
    assert home.lossy.keys().isdisjoint(home.lossless)
    return home


def work(office: Office, store: ObjectStore) -> None:
    """Re-make what is due, trim without waiting for a grace period, and discard what stands in for nothing."""
    side = ColdSide(office, store)
    committer, clock = office.rig.committer, office.clock
    for study in list(remaker(side).due()):
        remaker(side).remake(study)
    clock.advance(seconds=1)
    HotTrimmer(committer, side.stores, store, clock, timedelta()).run()
    ColdCleaner(committer, side.stores, clock, timedelta()).run()


def finish(home: Home, *, is_rebuilt: bool = False) -> None:
    """Start again, with the index or with one made again from storage, and finish: every image is there throughout."""
    with home.opened() as office:
        side = ColdSide(office, home.store)
        if is_rebuilt:
            assert rebuild(side).problems == ()
            office.sweep()
        assert contents(side, home.store) in (home.lossless, home.lossy)
        home.clock.advance(seconds=1)
        work(office, home.store)
        assert contents(side, home.store) == home.lossy
        assert len(side.cold_keys()) == 1
        assert [count(side, table) for table in ("retired", "pack_trim", "upload")] == [0, 0, 0]
        assert list((home.root / "scratch").iterdir()) == []


@pytest.mark.parametrize("is_rebuilt", [False, True], ids=["index kept", "index lost"])
@pytest.mark.parametrize("is_done", [False, True], ids=["before", "after"])
def test_a_power_cut_at_any_call_to_the_cold_store(home: Home, is_done: bool, is_rebuilt: bool) -> None:
    """Whatever the store was asked last, done or not: started again it finishes, also from storage alone."""
    name, number = f"{is_done}-{is_rebuilt}", 0
    while True:
        number += 1
        cut = home.another(f"store-{name}-{number}")
        store = CutStore(cut.store, number, is_done)
        try:
            with cut.opened() as office:
                work(office, store)
        except PowerCut:
            finish(cut, is_rebuilt=is_rebuilt)
        else:
            break
    assert {"read", "put", "find", "read_range", "delete"} <= set(store.calls)
    assert number >= 8, "all of it must be walked through"


def test_a_power_cut_at_any_call_to_the_disk(home: Home) -> None:
    """What lies on the local disk meanwhile counts for nothing: it is made again."""
    number, start = 0, 0
    while True:
        number += 1
        cut = home.another(f"disk-{number}")
        disk = CutDisk()
        try:
            with cut.opened(cast(Disk, disk)) as office:
                start = len(disk.calls)
                disk.cut_at = start + number
                work(office, cut.store)
                disk.cut_at = 0
        except PowerCut:
            finish(cut)
        else:
            break
    assert {"make_folder", "free_bytes", "read"} <= set(disk.calls[start:])


@pytest.mark.parametrize("number", range(1, 8))
def test_a_store_that_fails_once_loses_nothing(home: Home, number: int) -> None:
    """Whichever call fails: told, nothing lost, and the next run finishes."""
    cut = home.another(f"failing-{number}")
    with cut.opened() as office:
        side = ColdSide(office, cut.store)
        try:
            work(office, Failing(cut.store, number))
        except (TieringError, ArchiveError) as exc:
            assert str(exc)
        assert contents(side, cut.store) in (cut.lossless, cut.lossy)
    finish(cut)


class Lying(MemoryStore):
    """A store that acknowledges a put and keeps other bytes."""

    def put(self, key: str, source: Source, *, size_bytes: int, sha256: bytes) -> StoredObject:
        """Keep it with a wrong byte."""
        found = super().put(key, source, size_bytes=size_bytes, sha256=sha256)
        data = bytearray(b"".join(self.read(key)))
        data[2500] ^= 1
        self.damage(key, bytes(data))
        return found


def test_a_put_that_is_read_back_otherwise_does_not_stand_in(home: Home) -> None:
    """It is let go of and told; the lossless pack is all there is, and the next try finishes."""
    cut, lying = home.another("lying"), Lying()
    lying._objects = cut.store._objects
    with cut.opened() as office:
        side = ColdSide(office, lying)
        with pytest.raises(ColdCopyDiffers):
            work(office, lying)
        assert contents(side, lying) == cut.lossless
        assert len(side.cold_keys()) == 1
    finish(cut)


def test_a_rollback_that_the_power_cuts_off_is_whole_or_not_at_all(home: Home) -> None:
    """Both packs are read and nothing deleted: whatever the moment, one of them is given, and the rollback goes."""
    number = 0
    while True:
        number += 1
        cut = home.another(f"rollback-{number}")
        with cut.opened() as office:
            remaker(ColdSide(office, cut.store)).remake(study_uid(1))
        try:
            with cut.opened() as office:
                ColdSide(office, CutStore(cut.store, number)).roll_back()
        except PowerCut:
            with cut.opened() as office:
                side = ColdSide(office, cut.store)
                assert contents(side, cut.store) == cut.lossy
                assert side.roll_back() == 1
                assert contents(side, cut.store) == cut.lossless
        else:
            break
    assert number > 1
