"""Cold packs that the index does not know are taken in beside a running archive, and nothing is lost by it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from archive.index.statements import Statement
from archive.services.cold_adopt import ColdAdopt, Index
from archive.services.remains import COLD, iter_remains
from archive.services.reports import AddColdReport
from tests.integration.disposal.conftest import ANNE, OLGA, WAITING_DAYS, nothing, sop_uid, study_uid
from tests.integration.index.making import change
from tests.integration.tiering.cold_side import ColdSide
from tests.integration.tiering.plain_lossy import PlainLossy, successor_uid
from tests.integration.tiering.proving import count, events, flip, verify_cold
from tests.integration.tiering.test_cold_rebuild import facts, instances, rebuild
from tiering.errors import StoreUnavailable
from tiering.stores.base import Availability, StoredObject
from tiering.stores.memory import MemoryStore


@pytest.fixture
def lossy(side: ColdSide) -> ColdSide:
    """Lend one whose cold copies are lossy."""
    return replace(side, lossy=PlainLossy(side.stores))


def take(side: ColdSide, *, readable: bool = True) -> AddColdReport:
    """Take in what the index does not know."""
    committer = side.office.rig.committer
    index = Index(committer.read, lambda work, entry: committer.record_synced(entry, work=work))
    return ColdAdopt(side.cold, index, side.office.clock, lambda _uids: readable).run(nothing)


def without_cold(side: ColdSide) -> None:
    """Make the index again without the cold store."""
    assert rebuild(replace(side, cold=None)).problems == ()  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["lossless", "lossy"])
def test_what_a_rebuild_left_out_is_taken_in_later(side: ColdSide, kind: str) -> None:
    """The store was down; once it is back the same rows as before are there, and a second time there is nothing."""
    side = replace(side, lossy=PlainLossy(side.stores)) if kind == "lossy" else side
    side.sealed(1, 2)
    for study in (1, 2):
        side.migrate(study)
    side.trim()
    before = facts(instances(side.office, 1))
    without_cold(side)
    assert instances(side.office, 1) == []
    report = take(side)
    assert (report.packs, report.instances, report.problems) == (2, 6, [])
    assert facts(instances(side.office, 1)) == before
    assert events(side).count("pack_adopted") == 2
    assert take(side) == AddColdReport()
    assert verify_cold(side).damaged == []


def test_a_twin_of_a_hot_pack_is_not_read(side: ColdSide) -> None:
    """Its digest says that it is the hot pack: one more copy, no byte read, and the grace starts."""
    side.sealed(1)
    side.migrate()
    without_cold(side)
    side.cold = Unreadable(side.cold)
    report = take(side)
    assert (report.packs, report.instances, report.problems) == (1, 0, [])
    assert count(side, "location", "tier = 'cold' AND state = 'present'") == 3
    assert count(side, "pack_trim") == 1


class Unreadable(MemoryStore):
    """A store from which nothing may be read."""

    def __init__(self, inner: object) -> None:
        super().__init__()
        assert isinstance(inner, MemoryStore)
        self._objects = inner._objects

    def read(self, key: str, *, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        """Refuse."""
        raise AssertionError("nothing is read")


def test_where_the_store_knows_no_digest_all_is_read(side: ColdSide) -> None:
    """As on a file system: the digest is taken, and has to be the one of the key."""
    side.sealed(1, 2)
    for study in (1, 2):
        side.migrate(study)
    side.trim()
    without_cold(side)
    flip(side, side.cold_keys()[0], 2500)
    assert isinstance(side.cold, MemoryStore)
    side.cold = Silent(side.cold)
    report = take(side)
    assert (report.packs, len(report.problems)) == (1, 1)
    assert "its name" in report.problems[0][1]


class Silent(MemoryStore):
    """A store that does not know its objects' digests."""

    def __init__(self, inner: MemoryStore) -> None:
        super().__init__()
        self._objects = inner._objects

    def find(self, key: str) -> StoredObject | None:
        """Leave the digest out."""
        found = super().find(key)
        return None if found is None else replace(found, sha256=None)


def test_lossy_copies_of_what_is_here_are_not_needed(lossy: ColdSide) -> None:
    """Their originals are in hot packs: the study stays as it is, and the pack is discarded after some days."""
    lossy.sealed(1)
    before = facts(instances(lossy.office))
    lossy.migrate()
    without_cold(lossy)
    report = take(lossy)
    assert (report.packs, report.not_needed, report.problems) == (0, 1, [])
    assert facts(instances(lossy.office)) == before
    assert lossy.clean().discarded == 1


def test_an_old_index_never_costs_the_only_copy(lossy: ColdSide) -> None:
    """The index has the originals, the disk does not any more: the lossy pack stays, and a rebuild is asked for."""
    lossy.sealed(1)
    lossy.migrate()
    lossy.trim()
    without_cold(lossy)
    database = lossy.office.ledger.database
    lossy.office.store(1)
    report = take(lossy, readable=False)
    assert report.packs == report.not_needed == 0
    assert "rebuild" in report.problems[0][1]
    assert count(lossy, "upload") == 0
    change(database, "DELETE FROM location")
    assert lossy.clean().discarded == 0
    assert len(lossy.cold_keys()) == 1


def test_what_is_to_be_put_is_left_to_who_puts_it(side: ColdSide) -> None:
    """An object of a migration under way is not taken in."""
    side.sealed(1)
    migrator = side.migrator
    (series,) = migrator.series_of(study_uid(1))
    migrator.prepare(study_uid(1), series)
    assert take(side) == AddColdReport()
    assert count(side, "location", "tier = 'cold'") == 0


@pytest.mark.parametrize("is_switched", [True, False])
def test_what_was_destroyed_does_not_come_back(lossy: ColdSide, is_switched: bool) -> None:
    """Restored from a copy of the bucket, whether it stood in or was only put: not indexed, and gone as remains."""
    lossy.sealed(1)
    if is_switched:
        lossy.migrate()
        lossy.office.sweep()
    else:
        migrator = lossy.migrator
        (series,) = migrator.series_of(study_uid(1))
        migrator.prepare(study_uid(1), series)
    assert isinstance(lossy.cold, MemoryStore)
    kept = dict(lossy.cold._objects)
    made = lossy.office.disposals.propose("default", who=ANNE)
    assert made.list_id is not None
    lossy.office.approve(made.list_id)
    lossy.office.days(WAITING_DAYS)
    destruction = replace(lossy.office.destruction(), stores=lossy.stores)
    assert destruction.destroy(made.list_id, who=OLGA, progress=nothing).left == []
    lossy.clean()
    lossy.cold._objects.update(kept)
    report = take(lossy)
    assert (report.packs, report.destroyed) == (0, 1)
    assert "remains" in report.problems[0][1]
    assert (count(lossy, "instance"), count(lossy, "pack")) == (0, 0)
    with lossy.office.rig.committer.read() as connection:
        found = list(iter_remains(lossy.stores, connection))
    assert [each.store for each in found] == [COLD]
    assert destruction.destroy_remains(found, who=OLGA, progress=nothing).deleted == 1
    assert lossy.cold_keys() == []


def test_some_originals_are_here_and_some_are_not(lossy: ColdSide) -> None:
    """Each image is there once: its original where that is, its copy where it is not; no object is to be discarded."""
    lossy.sealed(1, instances=3)
    lossy.migrate()
    lossy.trim()
    without_cold(lossy)
    lossy.office.store(1, instances=1)
    report = take(lossy)
    assert (report.packs, report.instances) == (1, 2)
    assert sorted(each.sop_instance_uid for each in instances(lossy.office)) == sorted(
        [sop_uid(1, 1), successor_uid(sop_uid(2, 1)), successor_uid(sop_uid(3, 1))]
    )
    assert count(lossy, "upload") == 0


def test_a_lossless_pack_whose_lossy_copies_stand_in_waits_behind_them(side: ColdSide) -> None:
    """Left from before: it brings no image in twice; one can go back to it, and else it is trimmed."""
    side.sealed(1)
    side.migrate()
    assert isinstance(side.cold, MemoryStore)
    first = dict(side.cold._objects)
    side.roll_back()
    side.clean()
    lossy = replace(side, lossy=PlainLossy(side.stores))
    lossy.office.sweep()
    change(side.office.ledger.database, "DELETE FROM set_aside")
    lossy.migrate()
    lossy.trim()
    side.cold._objects.update(first)
    report = take(side)
    assert (report.packs, report.not_needed, report.problems) == (0, 1, [])
    assert len(instances(side.office)) == 3
    assert (len(side.cold_keys()), count(side, "retired"), count(side, "pack_trim")) == (2, 3, 1)
    side.office.days(31)
    side.office.sweep()
    assert side.trim(days=0).trimmed == 1
    assert len(side.cold_keys()) == 1


def test_frozen_damaged_and_foreign_objects_are_told(side: ColdSide) -> None:
    """Each with its reason; those that can be read are taken in."""
    side.sealed(1, 2, 3)
    for study in (1, 2, 3):
        side.migrate(study)
    side.trim()
    without_cold(side)
    assert isinstance(side.cold, MemoryStore)
    one, two, _ = side.cold_keys()
    side.cold._objects[one].availability = Availability.COLD
    side.cold.damage(two, b"no pack at all")
    report = take(side)
    assert report.packs == 1
    assert [key for key, _ in report.problems] == [one, two]
    assert "thawed" in report.problems[0][1]


def test_a_store_that_stops_answering_ends_it(side: ColdSide) -> None:
    """What was taken in stays; the next time goes on."""
    side.sealed(1, 2)
    for study in (1, 2):
        side.migrate(study)
    side.trim()
    without_cold(side)
    assert isinstance(side.cold, MemoryStore)
    side.cold.faults.before += [StoreUnavailable(reason="no route")]
    with pytest.raises(StoreUnavailable):
        take(side)
    assert take(side).instances == 6


def test_values_that_the_database_refuses_are_left_out(side: ColdSide, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when an object is received: the identifiers are indexed, and the image is there."""
    side.sealed(1, instances=2)
    side.migrate()
    side.trim()
    without_cold(side)
    from archive.index.instances import InstanceWriter

    real, calls = InstanceWriter.add, list[int]()

    def refusing(self: InstanceWriter, connection: object, batch: object) -> object:
        if batch and not calls:
            calls.append(1)
            Statement("INSERT INTO pack (key) VALUES (NULL)").run(connection)  # type: ignore[arg-type]
        return real(self, connection, batch)  # type: ignore[arg-type]

    monkeypatch.setattr(InstanceWriter, "add", refusing)
    assert take(side).instances == 2
    assert len(instances(side.office)) == 2
    assert [side.office.rig.flags(sop_uid(number, 1)) for number in (1, 2)] == ["refused"] * 2


# ---- hot packs that come back ----------------------------------------------------------------------------------------


def hot_content(side: ColdSide) -> dict[str, bytes]:
    """Return the hot packs."""
    return {name: (side.office.rig.root / name).read_bytes() for name in side.hot_packs()}


def bring_back(side: ColdSide, content: dict[str, bytes]) -> None:
    """Put hot packs back as an old backup does, and start."""
    for name, data in content.items():
        (side.office.rig.root / name).parent.mkdir(parents=True, exist_ok=True)
        (side.office.rig.root / name).write_bytes(data)
    assert side.office.rig.adopt().packs == len(content)


def test_a_hot_pack_from_a_backup_is_trimmed_again(side: ColdSide) -> None:
    """Its cold twin stands in: one more copy of each image for the grace period, then it goes as before."""
    side.sealed(1)
    side.migrate()
    content = hot_content(side)
    side.trim()
    bring_back(side, content)
    assert (count(side, "location"), count(side, "pack_trim")) == (6, 1)
    assert side.trim(days=29).trimmed == 0
    assert side.trim(days=2).trimmed == 1
    assert count(side, "location") == 3


def test_originals_from_a_backup_can_be_rolled_back_to(lossy: ColdSide) -> None:
    """Lossy copies stand in for them: they wait beside, the study can go back to them, and else they go."""
    lossy.sealed(1)
    before = facts(instances(lossy.office))
    lossy.migrate()
    content, copies = hot_content(lossy), facts(instances(lossy.office))
    lossy.trim()
    bring_back(lossy, content)
    assert facts(instances(lossy.office)) == copies
    assert (count(lossy, "retired"), count(lossy, "pack_trim")) == (3, 1)
    lossy.office.sweep()
    assert lossy.trim().trimmed == 1
    bring_back(lossy, content)
    assert lossy.roll_back() == 1
    assert facts(instances(lossy.office)) == before
