"""Repair: a damaged pack is made whole from its twin in the other tier, under a new key, only when that is proven."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.integration.disposal.conftest import Office, study_uid
from tests.integration.index.making import change
from tests.integration.tiering.cold_side import ColdSide
from tests.integration.tiering.plain_lossy import PlainLossy
from tests.integration.tiering.proving import count, events, flip, flip_file, repair, verify_cold, verify_hot
from tests.integration.tiering.test_seal import given
from tiering.errors import StoreUnavailable
from tiering.stores.base import Source, StoredObject
from tiering.stores.memory import MemoryStore


@pytest.fixture
def side(office: Office) -> ColdSide:
    """Lend an archive with a study in both tiers: its grace is not over."""
    side = ColdSide(office)
    side.sealed(1)
    side.migrate()
    return side


@pytest.mark.parametrize("how", ["damaged", "missing", "between the copies"])
def test_a_cold_pack_is_put_again_from_the_hot_one(side: ColdSide, how: str) -> None:
    """Under a new key; the old one waits to be discarded, and verify has nothing to say any more."""
    (old,) = side.cold_keys()
    assert isinstance(side.cold, MemoryStore)
    if how == "missing":
        side.cold._objects.pop(old)
    else:
        flip(side, old, -1 if how == "between the copies" else 2500)
    found = verify_cold(side)
    report = repair(side, *found.damaged)
    ((told, new),) = report.repaired
    assert (told, report.left) == (old, [])
    assert new != old
    again = verify_cold(side)
    assert (again.checked, again.damaged, again.missing, again.orphans) == (1, [], [], [])
    assert count(side, "location", "state = 'present' AND tier = 'cold'") == 3
    assert events(side).count("pack_repaired") == 1
    assert side.clean().discarded == 1
    assert side.cold_keys() == [new]
    assert side.trim().trimmed == 1


def test_a_hot_pack_is_written_again_from_the_cold_one(side: ColdSide) -> None:
    """Under a new key; the damaged file goes; the study is given as before, and its grace goes on."""
    before = given(side.office, 1)
    (old,) = side.hot_packs()
    flip_file(side, old, 2500)
    assert len(verify_hot(side).damaged) == 1
    report = repair(side)
    ((told, new),) = report.repaired
    assert (f"hot/packs/{told}", report.left) == (old, [])
    assert side.hot_packs() == [f"hot/packs/{new}"]
    assert (verify_hot(side).damaged, given(side.office, 1)) == ((), before)
    assert count(side, "pack_trim", f"key = '{new}'") == 1
    assert side.trim().trimmed == 1


def test_a_hot_pack_that_is_gone_comes_back(side: ColdSide) -> None:
    """The file was deleted behind our back."""
    (old,) = side.hot_packs()
    (side.office.rig.root / old).unlink()
    assert len(verify_hot(side).missing) == 3
    assert len(repair(side).repaired) == 1
    assert (len(side.hot_packs()), verify_hot(side).missing) == (1, ())


@pytest.mark.parametrize("tier", ["hot", "cold"])
def test_a_twin_that_is_damaged_too_is_not_believed(side: ColdSide, tier: str) -> None:
    """Both are damaged: nothing is written, nothing goes, and both are told."""
    (cold,), (hot,) = side.cold_keys(), side.hot_packs()
    flip(side, cold, 2500)
    flip_file(side, hot, 2400)
    (verify_hot if tier == "hot" else verify_cold)(side)
    report = repair(side)
    assert report.repaired == []
    assert "not whole either" in report.left[0][1]
    assert (side.cold_keys(), side.hot_packs()) == ([cold], [hot])


def test_without_a_twin_the_operator_is_told_where_to_look(side: ColdSide) -> None:
    """After the trim the cold pack is the only one."""
    side.trim()
    flip(side, side.cold_keys()[0], 2500)
    verify_cold(side)
    report = repair(side)
    assert "copy of the store" in report.left[0][1]


def test_a_lossy_pack_cannot_be_made_again_but_rolled_back(office: Office) -> None:
    """Its originals are other bytes; within the grace period they are still there, and that is what is told."""
    side = ColdSide(office)
    side = replace(side, lossy=PlainLossy(side.stores))
    side.sealed(1)
    side.migrate()
    flip(side, side.cold_keys()[0], 2500)
    verify_cold(side)
    report = repair(side)
    assert report.repaired == []
    assert f"rollback {study_uid(1)}" in report.left[0][1]
    assert side.roll_back() == 1


def test_a_store_that_is_down_leaves_all_as_it_is(side: ColdSide) -> None:
    """Told; the next repair does it, and no key is used twice."""
    (old,) = side.cold_keys()
    flip(side, old, 2500)
    verify_cold(side)
    assert isinstance(side.cold, MemoryStore)
    side.cold.faults.break_off(100)
    report = repair(side)
    assert (report.repaired, len(report.left)) == ([], 1)
    ((_, new),) = repair(side).repaired
    assert new.endswith("r2.zip"), "the first key was noted, and may have been put"
    assert verify_cold(side).damaged == []


def test_other_bytes_read_back_never_stand_in(side: ColdSide) -> None:
    """The put was acknowledged, the bytes are others: the damaged pack stays the one that is indexed, and is told."""
    (old,) = side.cold_keys()
    flip(side, old, 2500)
    verify_cold(side)
    assert isinstance(side.cold, MemoryStore)
    report = repair(replace(side, cold=Lying(side.cold)))
    assert report.repaired == []
    assert "other bytes" in report.left[0][1]
    assert count(side, "pack", f"key = '{old}'") == 1


class Lying(MemoryStore):
    """A store that gives other bytes than it was given."""

    def __init__(self, inner: MemoryStore) -> None:
        super().__init__()
        self._objects = inner._objects

    def read(self, key: str, *, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        """Change the first byte."""
        for chunk in super().read(key, offset=offset, length=length):
            yield bytes([chunk[0] ^ 1]) + chunk[1:]


def test_what_went_while_it_was_repaired_does_not_come_back(side: ColdSide) -> None:
    """Destroyed between reading and switching: the new object waits to be discarded, and no row points to it."""
    (old,) = side.cold_keys()
    flip(side, old, 2500)
    verify_cold(side)
    assert isinstance(side.cold, MemoryStore)
    database = side.office.ledger.database

    class Meanwhile(MemoryStore):
        def put(self, key: str, source: Source, *, size_bytes: int, sha256: bytes) -> StoredObject:
            stored = super().put(key, source, size_bytes=size_bytes, sha256=sha256)
            for sql in ("location WHERE tier = 'cold'", "pack WHERE tier = 'cold'"):
                change(database, f"DELETE FROM {sql}")
            return stored

    store = Meanwhile()
    store._objects = side.cold._objects
    report = repair(replace(side, cold=store))
    assert "meanwhile" in report.left[0][1]
    assert (count(side, "pack", "tier = 'cold'"), count(side, "upload")) == (0, 1)


def test_a_repair_that_a_crash_cut_off_is_finished(side: ColdSide, monkeypatch: pytest.MonkeyPatch) -> None:
    """The new hot pack was written and not switched to; the start took it in; the repair lets go of the damaged one."""
    (old,) = side.hot_packs()
    flip_file(side, old, 2500)
    verify_hot(side)
    with monkeypatch.context() as patch:
        patch.setattr("archive.services.cold_repair.Repair._switch", _crash)
        with pytest.raises(Crash):
            repair(side)
    side.office.rig.adopt()
    assert len(side.hot_packs()) == 2
    report = repair(side)
    assert (len(report.repaired), report.left) == (1, [])
    assert (len(side.hot_packs()), verify_hot(side).damaged) == (1, ())
    assert count(side, "location", "tier = 'hot'") == 3
    assert side.trim().trimmed == 1


class Crash(Exception):
    """The power went."""


def _crash(*_arguments: object) -> None:
    raise Crash


def test_what_is_held_is_held_again_before_the_old_one_is_let_go(side: ColdSide) -> None:
    """A pack under a hold that is repaired: the store keeps the new object, and the old one can be discarded."""
    from archive.services.cold_holds import HoldMirror

    store = side.cold
    assert isinstance(store, MemoryStore)
    side.office.hold(1)
    HoldMirror(side.office.rig.committer, store, side.office.clock).run()
    (old,) = side.cold_keys()
    flip(side, old, 2500)
    verify_cold(side)
    from archive.services.cold_repair import Repair

    stores = replace(side.stores, cold_holds=store)
    ((_, new),) = Repair(side.office.rig.committer, stores, side.office.clock).run().repaired
    assert store.is_held(new)
    assert not store.is_held(old)
    assert count(side, "pack", "held_at IS NOT NULL AND tier = 'cold'") == 1
    assert side.clean().discarded == 1


def test_a_store_that_does_not_answer_is_told(side: ColdSide) -> None:
    """Not even whether a key is free is known: nothing happens."""
    flip(side, side.cold_keys()[0], 2500)
    verify_cold(side)
    assert isinstance(side.cold, MemoryStore)
    side.cold.faults.fail_next(1, StoreUnavailable(reason="no route"))
    assert "no route" in repair(side).left[0][1]
    assert count(side, "upload") == 0
