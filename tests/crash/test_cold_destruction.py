"""The power goes at any moment of destroying a study that lies in both tiers: it is finished, and then certified."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from archive.services.certificates import verify
from archive.services.destroy import Destroyed
from tests.crash.forgetful_disk import ForgetfulDisk, PowerCut
from tests.crash.test_destruction import opened
from tests.crash.test_migration import CutStore, prepare
from tests.integration.disposal.conftest import ANNE, OLGA, WAITING_DAYS, Office, nothing, study_uid
from tests.integration.tiering.cold_side import ColdSide
from tests.unit.services.shelf import Clock
from tiering.stores.base import ObjectStore
from tiering.stores.memory import MemoryStore


def ready(root: Path, clock: Clock) -> tuple[ForgetfulDisk, MemoryStore, str]:
    """Make a home with a study in both tiers that is on an approved list; return its disk, store and list."""
    disk, store = prepare(root, clock), MemoryStore()
    with opened(root, clock, disk) as office:
        ColdSide(office, store).migrator.migrate(study_uid(1))
        office.sweep()
        made = office.disposals.propose("default", who=ANNE)
        assert made.list_id is not None
        office.approve(made.list_id)
        office.days(WAITING_DAYS)
        return disk, store, made.list_id


def destroy(office: Office, store: ObjectStore, list_id: str) -> Destroyed:
    """Destroy a list."""
    destruction = replace(office.destruction(), stores=replace(office.stores, cold=store))
    return destruction.destroy(list_id, who=OLGA, progress=nothing)


def finish(root: Path, clock: Clock, disk: ForgetfulDisk, store: MemoryStore, list_id: str) -> None:
    """Start again and destroy again: no copy is left anywhere, and one certificate says so."""
    with opened(root, clock, disk) as office:
        office.rig.adopt()
        if office.disposals.show(list_id).head.state != "destroyed":
            assert destroy(office, store, list_id).left == []
        named = verify(office.destruction().certificate(list_id))["studies"][0]
        assert sorted(copy["store"] for copy in named["packs"]) == ["cold", "pack"]
    assert list(store.iter_keys()) == []
    assert [path for path in disk.files() if path.startswith("hot/")] == []


@pytest.mark.parametrize("is_done", [False, True], ids=["before", "after"])
def test_a_power_cut_at_any_call_to_the_cold_store(tmp_path: Path, is_done: bool) -> None:
    """Deleted or not when the power went: the same copies are gone at the end."""
    clock = Clock()
    disk, store, list_id = ready(tmp_path / "whole", clock)
    counted = CutStore(store)
    with opened(tmp_path / "whole", clock, disk) as office:
        assert destroy(office, counted, list_id).left == []
    assert counted.calls == ["delete"]
    root, moment = tmp_path / "cut", Clock()
    disk, store, list_id = ready(root, moment)
    with pytest.raises(PowerCut), opened(root, moment, disk) as office:
        destroy(office, CutStore(store, 1, is_done), list_id)
    finish(root, moment, disk.after_power_cut(lambda: True), store, list_id)


@pytest.mark.parametrize("survives", [True, False], ids=["all kept", "all lost"])
def test_a_power_cut_at_any_call_to_the_disk(tmp_path: Path, survives: bool) -> None:
    """Ledger, hot pack, certificate: wherever it stops, destroying again ends it."""
    clock = Clock()
    disk, store, list_id = ready(tmp_path / "whole", clock)
    start = len(disk.calls)
    with opened(tmp_path / "whole", clock, disk) as office:
        destroy(office, store, list_id)
    for number in range(1, len(disk.calls) - start + 1):
        root, moment = tmp_path / str(number), Clock()
        disk, store, list_id = ready(root, moment)
        disk.cut_at = len(disk.calls) + number
        with pytest.raises(PowerCut), opened(root, moment, disk) as office:
            destroy(office, store, list_id)
            raise PowerCut("after all of it")
        finish(root, moment, disk.after_power_cut(lambda: survives), store, list_id)
