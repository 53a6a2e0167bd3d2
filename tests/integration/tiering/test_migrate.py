"""Migration: a study goes cold losslessly, is read back before anything stands in, and comes back while it may."""

from __future__ import annotations

from hashlib import sha256

import pytest

from archive.errors import ColdCopyDiffers, MigrationRefused
from archive.index import cold
from archive.services.ingest import Outcome
from tests.integration.disposal.conftest import Office, study_uid
from tests.integration.index.making import change, value
from tests.integration.tiering.cold_side import ColdSide
from tests.integration.tiering.test_seal import given
from tests.objects import changed, ct_dataset
from tiering.errors import StoreFull, StoreUnavailable
from tiering.stores.base import Source, StoredObject
from tiering.stores.memory import MemoryStore


def cold_copies(office: Office) -> int:
    """Return how many copies the index has in the cold tier."""
    count = value(office.ledger.database, "SELECT COUNT(*) FROM location WHERE tier = 'cold' AND state = 'present'")
    assert isinstance(count, int)
    return count


def upload_rows(office: Office) -> int:
    """Return how many cold objects stand in for nothing."""
    count = value(office.ledger.database, "SELECT COUNT(*) FROM upload")
    assert isinstance(count, int)
    return count


def availability(office: Office) -> list[str]:
    """Return what C-FIND would say of each study."""
    from archive.index.find import Query, run_query

    with office.rig.committer.read() as connection:
        keys = {"StudyInstanceUID": "", "InstanceAvailability": ""}
        rows = run_query(connection, Query(root="study", level="STUDY", keys=keys))
        return [row["InstanceAvailability"] for row in rows]


def test_a_study_goes_cold_and_stays_readable_until_its_hot_pack_goes(side: ColdSide) -> None:
    """The cold pack is the hot one, byte for byte; the hot one stays for the grace period, and goes after it."""
    side.sealed(1)
    before = given(side.office, 1)
    (hot,) = side.hot_packs()
    content = (side.office.rig.root / hot).read_bytes()
    assert side.migrate() == 1
    (key,) = side.cold_keys()
    assert b"".join(side.cold.read(key)) == content
    assert (cold_copies(side.office), upload_rows(side.office)) == (3, 0)
    assert given(side.office, 1) == before
    assert availability(side.office) == ["ONLINE"]
    assert side.trim(days=29).trimmed == 0
    assert side.trim(days=2).trimmed == 1
    assert side.hot_packs() == []
    assert availability(side.office) == ["NEARLINE"]
    assert [row.event for row in side.office.journal()][-1] == "hot_pack_trimmed"


def test_what_is_cold_is_not_migrated_again(side: ColdSide) -> None:
    """A second migration finds nothing to do, before the trim and after it."""
    side.sealed(1)
    assert side.migrate() == 1
    assert side.migrate() == 0
    side.trim()
    side.office.sweep()
    assert side.migrator.series_of(study_uid(1)) == []


def test_the_cold_key_is_made_of_the_content(side: ColdSide) -> None:
    """The same bytes have the same key however often they are put, so that a crash leaves one object."""
    side.sealed(1)
    migrator, uid = side.migrator, study_uid(1)
    (series,) = migrator.series_of(uid)
    first = migrator.prepare(uid, series)
    side.office.clock.advance(minutes=5)
    second = migrator.prepare(uid, series)
    assert len(side.cold_keys()) == 1
    assert migrator.switch(uid, [first])["packs"] == 1
    assert migrator.switch(uid, [second])["packs"] == 0
    assert cold_copies(side.office) == 3


@pytest.mark.parametrize("why", ["hold", "appeal", "young", "not assessed", "loose", "untrimmed"])
def test_what_has_to_stay_stays(side: ColdSide, why: str) -> None:
    """A hold, an appeal, an exam of the last three years, no assessment, received files: each keeps a study hot."""
    office = side.office
    if why == "young":
        office.store(1, exam_on="20250301")
    side.sealed(*([] if why == "young" else [1]))
    if why == "hold":
        office.hold(1)
    if why == "appeal":
        office.tell(1, "appeal", "2026-01-01")
    if why in ("hold", "appeal"):
        office.sweep()
    if why == "not assessed":
        change(office.ledger.database, "UPDATE assessment SET is_stale = 1")
    if why in ("loose", "untrimmed"):
        office.store(1, instances=4)
        office.sweep()
    with pytest.raises(MigrationRefused):
        side.migrate()
    assert side.cold_keys() == []


def test_a_hold_that_comes_while_it_is_prepared_stops_the_switch(side: ColdSide) -> None:
    """The transaction asks once more: the study stays hot, and what was put is discarded later."""
    side.sealed(1)
    migrator, uid = side.migrator, study_uid(1)
    prepared = [migrator.prepare(uid, series) for series in migrator.series_of(uid)]
    side.office.hold(1)
    with pytest.raises(MigrationRefused, match="on hold"):
        migrator.switch(uid, prepared)
    assert (cold_copies(side.office), upload_rows(side.office)) == (0, 1)
    assert side.clean(days=1).discarded == 0
    assert side.clean(days=2).discarded == 1
    assert side.cold_keys() == []
    assert upload_rows(side.office) == 0


def test_a_list_that_is_approved_while_it_is_prepared_stops_the_switch(side: ColdSide) -> None:
    """What is about to be destroyed stays where it is, and nobody begins to move it."""
    side.sealed(1)
    migrator, uid = side.migrator, study_uid(1)
    prepared = [migrator.prepare(uid, series) for series in migrator.series_of(uid)]
    list_id = side.office.propose().head.list_id
    side.office.approve(list_id)
    with pytest.raises(MigrationRefused, match=list_id):
        migrator.switch(uid, prepared)
    with pytest.raises(MigrationRefused, match=list_id):
        migrator.series_of(uid)


def test_wrong_bytes_read_back_never_stand_in(side: ColdSide) -> None:
    """The put was acknowledged; what is read back differs by a bit: it is let go of, told, and the next try works."""
    side.sealed(1)
    store = side.cold
    assert isinstance(store, MemoryStore)
    side.cold = Damaging(store)
    with pytest.raises(ColdCopyDiffers):
        side.migrate()
    assert side.cold_keys() == []
    assert [row.event for row in side.office.journal()][-1] == "cold_copy_differs"
    side.cold = store
    assert side.migrate() == 1


class Damaging(MemoryStore):
    """A store that keeps other bytes than it was given."""

    def __init__(self, inner: MemoryStore) -> None:
        super().__init__()
        self._objects = inner._objects

    def put(self, key: str, source: Source, *, size_bytes: int, sha256: bytes) -> StoredObject:
        """Put, and let bytes change."""
        stored = super().put(key, source, size_bytes=size_bytes, sha256=sha256)
        self.damage(key, b"other bytes")
        return stored


@pytest.mark.parametrize("error", [StoreUnavailable(reason="down"), StoreFull(reason="full")])
def test_a_store_that_fails_changes_nothing(side: ColdSide, error: Exception) -> None:
    """The study is as it was, hot and whole; once the store is back it goes."""
    side.sealed(1)
    assert isinstance(side.cold, MemoryStore)
    side.cold.faults.before.append(error)  # type: ignore[arg-type]
    with pytest.raises(type(error)):
        side.migrate()
    assert (cold_copies(side.office), len(given(side.office, 1))) == (0, 3)
    assert side.migrate() == 1


def test_a_lost_acknowledgement_is_no_second_object(side: ColdSide) -> None:
    """The store did the work and its answer was lost: the next try finds the object and goes on."""
    side.sealed(1)
    assert isinstance(side.cold, MemoryStore)
    side.cold.faults.lose_acknowledgements()
    with pytest.raises(StoreUnavailable):
        side.migrate()
    assert side.migrate() == 1
    assert len(side.cold_keys()) == 1


def test_a_hot_pack_stays_when_its_cold_copy_is_damaged_or_gone(side: ColdSide) -> None:
    """The trim reads the cold pack to its end first; without it the hot one stays, and the operator is told."""
    side.sealed(1, 2)
    side.migrate(1)
    side.migrate(2)
    first, second = side.cold_keys()
    assert isinstance(side.cold, MemoryStore)
    side.cold.damage(first, b"other bytes")
    side.cold._objects.pop(second)
    report = side.trim()
    assert (report.trimmed, len(report.left), len(side.hot_packs())) == (0, 2, 2)
    assert len(given(side.office, 1)) == 3


def test_a_rollback_gives_it_from_the_hot_packs_again(side: ColdSide) -> None:
    """One transaction: the cold copies are forgotten and discarded later, and the study is left alone."""
    side.sealed(1)
    before = given(side.office, 1)
    side.migrate()
    assert side.roll_back() == 1
    assert (cold_copies(side.office), upload_rows(side.office)) == (0, 1)
    assert given(side.office, 1) == before
    assert value(side.office.ledger.database, "SELECT COUNT(*) FROM set_aside") == 1
    assert side.clean().discarded == 1
    assert side.cold_keys() == []
    assert side.trim().trimmed == 0
    assert len(side.hot_packs()) == 1


def test_there_is_no_way_back_after_the_trim(side: ColdSide) -> None:
    """The hot packs are gone: the study stays cold, and says so."""
    side.sealed(1)
    side.migrate()
    side.trim()
    with pytest.raises(MigrationRefused, match="nothing to go back to"):
        side.roll_back()
    assert cold_copies(side.office) == 3


def test_a_rollback_reads_the_hot_packs_first(side: ColdSide) -> None:
    """One that was changed meanwhile is not gone back to: the cold copy is the good one."""
    side.sealed(1)
    side.migrate()
    path = side.office.rig.root / side.hot_packs()[0]
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(MigrationRefused, match="not what was packed"):
        side.roll_back()
    assert cold_copies(side.office) == 3


def test_what_came_later_goes_cold_as_a_pack_of_its_own(side: ColdSide) -> None:
    """An instance that comes for a cold study is sealed as the next generation and follows it."""
    side.sealed(1, instances=2)
    side.migrate()
    side.trim()
    assert side.office.rig.send(changed(ct_dataset(3, study=1), {"StudyDate": "20000302"})) is Outcome.STORED
    side.office.rig.committer.barrier()
    with pytest.raises(MigrationRefused, match="not sealed"):
        side.office.sweep()
        side.migrate()
    side.sealed()
    assert side.migrate() == 1
    assert (len(side.cold_keys()), cold_copies(side.office)) == (2, 3)


def test_another_worker_may_have_done_it(side: ColdSide) -> None:
    """Two that prepared the same study: the second to switch finds it done, and nothing is there twice."""
    side.sealed(1)
    uid = study_uid(1)
    one, two = side.migrator, side.migrator
    prepared = [[each.prepare(uid, series) for series in each.series_of(uid)] for each in (one, two)]
    assert one.switch(uid, prepared[0])["packs"] == 1
    assert two.switch(uid, prepared[1])["packs"] == 0
    assert cold_copies(side.office) == 3


def test_what_was_discarded_cannot_stand_in(side: ColdSide) -> None:
    """A switch that comes after the object was given up is refused, whatever the index said before."""
    side.sealed(1)
    migrator, uid = side.migrator, study_uid(1)
    prepared = [migrator.prepare(uid, series) for series in migrator.series_of(uid)]
    assert side.clean().discarded == 1
    with pytest.raises(ColdCopyDiffers):
        migrator.switch(uid, prepared)
    assert side.migrate() == 1


def test_an_object_that_is_being_discarded_takes_no_put(side: ColdSide) -> None:
    """A crash between condemning and deleting leaves it condemned: a new try waits until it is gone."""
    side.sealed(1)
    migrator, uid = side.migrator, study_uid(1)
    (series,) = migrator.series_of(uid)
    prepared = [migrator.prepare(uid, series)]
    (key,) = side.cold_keys()
    office = side.office
    office.days(3)
    with office.ledger.database.write(synced=True) as connection:
        assert cold.condemn_upload(connection, key, office.clock())
    with pytest.raises(MigrationRefused, match="being discarded"):
        migrator.prepare(uid, series)
    with pytest.raises(MigrationRefused, match="being discarded"):
        migrator.switch(uid, prepared)
    assert side.clean(days=0).discarded == 1
    assert side.migrate() == 1


def test_a_cold_key_fits_every_store() -> None:
    """It is the hot key with another suffix, and no longer than stores take."""
    key = packs_key(site="s" * 64)
    found = cold.cold_key(key, sha256(b"x").digest())
    assert found.startswith(key.rpartition("/")[0])
    assert len(found) <= 240


def packs_key(site: str) -> str:
    """Return the longest key of a hot pack."""
    from tiering.pack import pack_key

    return pack_key(site, "1." + "2" * 62, "1." + "3" * 62, 1, suffix="0" * 12)
