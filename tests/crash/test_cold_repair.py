"""The power goes at any moment of a repair: the whole copy stays, and the next repair finishes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from archive.services.cold_fixity import ColdFixity
from archive.services.cold_repair import Repair
from archive.services.fixity import Fixity
from tests.crash.forgetful_disk import ForgetfulDisk, PowerCut
from tests.crash.test_destruction import opened
from tests.crash.test_migration import CutStore, held, prepare
from tests.integration.disposal.conftest import Office, nothing, study_uid
from tests.integration.tiering.cold_side import ColdSide
from tests.unit.services.shelf import Clock
from tiering.stores.base import ObjectStore
from tiering.stores.memory import MemoryStore


def damaged(root: Path, clock: Clock, tier: str) -> tuple[ForgetfulDisk, MemoryStore, dict[str, bytes]]:
    """Make a home with a study in both tiers whose pack in one of them is damaged, and known to be."""
    disk, store = prepare(root, clock), MemoryStore()
    with opened(root, clock, disk) as office:
        ColdSide(office, store).migrator.migrate(study_uid(1))
        wanted = held(office, disk, store)
        (hot,) = (path for path in disk.files() if path.startswith("hot/packs/"))
        (cold,) = store.iter_keys()
        data = bytearray(disk.files()[hot])
        data[2500] ^= 1
        if tier == "hot":
            disk.damage(root / hot, bytes(data))
        else:
            store.damage(cold, bytes(data))
        verify(office, store)
    return disk, store, wanted


def verify(office: Office, store: ObjectStore) -> tuple[int, int]:
    """Read both tiers; return how many hot copies and cold packs are not right."""
    committer, disk, clock = office.rig.committer, office.rig.disk, office.clock
    clock.advance(seconds=1)
    hot = Fixity(committer, disk, office.rig.hot, clock).verify(nothing)
    cold = ColdFixity(committer, store, clock).verify(nothing)
    return len(hot.damaged) + len(hot.missing), len(cold.damaged) + len(cold.missing)


def repair(office: Office, store: ObjectStore) -> None:
    """Repair what is damaged."""
    stores = replace(office.stores, cold=store)
    Repair(office.rig.committer, stores, office.clock).run()


def finish(root: Path, clock: Clock, disk: ForgetfulDisk, store: MemoryStore, wanted: dict[str, bytes]) -> None:
    """Start again and repair again: all copies are right, no image is lost or there twice."""
    with opened(root, clock, disk) as office:
        office.rig.adopt()
        repair(office, store)
        assert verify(office, store) == (0, 0)
        assert held(office, disk, store) == wanted
        assert len(wanted) == 2


@pytest.mark.parametrize("survives", [True, False], ids=["all kept", "all lost"])
@pytest.mark.parametrize("tier", ["hot", "cold"])
def test_a_power_cut_at_any_call_to_the_disk(tmp_path: Path, tier: str, survives: bool) -> None:
    """Writing, syncing, naming, reading back, letting go of the damaged pack: wherever it stops, it goes on."""
    clock = Clock()
    disk, store, _ = damaged(tmp_path / "whole", clock, tier)
    start = len(disk.calls)
    with opened(tmp_path / "whole", clock, disk) as office:
        repair(office, store)
    count = len(disk.calls) - start
    assert count > (5 if tier == "hot" else 0)
    for number in range(1, count + 1):
        root, moment = tmp_path / str(number), Clock()
        disk, store, wanted = damaged(root, moment, tier)
        disk.cut_at = len(disk.calls) + number
        with pytest.raises(PowerCut), opened(root, moment, disk) as office:
            repair(office, store)
            raise PowerCut("after all of it")
        finish(root, moment, disk.after_power_cut(lambda: survives), store, wanted)


@pytest.mark.parametrize("is_done", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("tier", ["hot", "cold"])
def test_a_power_cut_at_any_call_to_the_cold_store(tmp_path: Path, tier: str, is_done: bool) -> None:
    """Whatever the store was asked last, done or not."""
    clock = Clock()
    disk, store, _ = damaged(tmp_path / "whole", clock, tier)
    counted = CutStore(store)
    with opened(tmp_path / "whole", clock, disk) as office:
        repair(office, counted)
    assert counted.calls
    for number in range(1, len(counted.calls) + 1):
        root, moment = tmp_path / str(number), Clock()
        disk, store, wanted = damaged(root, moment, tier)
        with pytest.raises(PowerCut), opened(root, moment, disk) as office:
            repair(office, CutStore(store, number, is_done))
            raise PowerCut("after all of it")
        finish(root, moment, disk.after_power_cut(lambda: True), store, wanted)
