"""Studies that went cold without loss are made lossy by rules that changed, proven, and can be gone back to."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
from pydicom import Dataset

from archive.errors import ArchiveError, ClockNotTrusted, MigrationRefused
from archive.index.packs import PackRow
from archive.index.records import StoredInstance
from archive.index.statements import Statement
from archive.services.migrate import LossyCopies, LossyResult
from archive.services.recall import Recall
from archive.services.remains import Stores
from tests.integration.disposal.conftest import Office, sop_uid, study_uid
from tests.integration.index.making import change, rows
from tests.integration.tiering.cold_side import ColdSide
from tests.integration.tiering.plain_lossy import PlainLossy, successor_uid
from tests.integration.tiering.proving import count, events, flip, verify_cold
from tests.integration.tiering.remaking import ON_SQLITE, contents, go_cold, instances, remaker, send_ct
from tests.integration.tiering.test_cold_destruction import TABLES, destroy, ready
from tests.integration.tiering.test_migrate import availability
from tests.objects import changed, ct_dataset
from tiering.deletion import Deletion
from tiering.errors import StoreUnavailable
from tiering.lossy_tables import load_gates
from tiering.policy import Override, TierPolicy
from tiering.stores.base import Availability
from tiering.stores.memory import MemoryStore
from tiering.warrant import DeleteWarrant


@pytest.fixture
def side(office: Office) -> ColdSide:
    """Lend an archive with a study of two images that is cold without loss, its hot pack gone."""
    side = ColdSide(office)
    send_ct(side)
    go_cold(side)
    assert (len(side.cold_keys()), side.hot_packs()) == (1, [])
    return side


def remake(side: ColdSide, study: int = 1) -> int:
    """Re-make a study; return how many packs were made lossy."""
    packs = remaker(side).remake(study_uid(study))["packs"]
    assert isinstance(packs, int)
    return packs


def untouched(side: ColdSide, before: list[StoredInstance]) -> bool:
    """Tell whether the index gives what it did, from the lossless pack, and nothing waits to go."""
    return (instances(side) == before) and count(side, "pack_trim") == count(side, "successor") == 0


# ---- the way there, and back -----------------------------------------------------------------------------------------


def test_lossy_copies_take_the_place_of_what_was_cold_without_loss(side: ColdSide) -> None:
    """In one transaction: new UIDs and digests, the old UIDs lead there, evidence, and the lossless pack waits."""
    before, (lossless,) = instances(side), side.cold_keys()
    assert remake(side) == 1
    after = instances(side)
    assert [each.sop_instance_uid for each in after] == [successor_uid(sop_uid(number, 1)) for number in (1, 2)]
    assert [each.instance_id for each in after] == [each.instance_id for each in before]
    assert availability(side.office) == ["NEARLINE"]
    (lossy,) = set(side.cold_keys()) - {lossless}
    for each, data in zip(after, contents(side, side.cold).values(), strict=True):
        (copy,) = each.locations
        assert (copy.tier, copy.pack_key, copy.dataset_sha256) == ("cold", lossy, sha256(data).digest())
        assert copy.sha256 == sha256(side.cold.read_range(lossy, copy.start, copy.header_size)).digest()
    assert (count(side, "retired"), count(side, "pack_trim"), count(side, "upload")) == (2, 1, 0)
    assert count(side, "evidence", f"pack_key = '{lossy}'") == 1
    assert events(side)[-1] == "remade"
    assert list((side.office.rig.root / "scratch").iterdir()) == []


def test_a_rollback_within_the_grace_period_gives_the_lossless_pack_again(side: ColdSide) -> None:
    """To the byte; the lossy pack is discarded, and the study is left alone until somebody asks."""
    before, data, keys = instances(side), contents(side, side.cold), side.cold_keys()
    remake(side)
    assert side.roll_back() == 1
    assert instances(side) == before
    assert contents(side, side.cold) == data
    assert (count(side, "retired"), count(side, "pack_trim"), count(side, "evidence")) == (0, 0, 0)
    assert list(remaker(side).due()) == []
    side.clean()
    assert side.cold_keys() == keys
    with pytest.raises(MigrationRefused, match="nothing to go back to"):
        side.roll_back()


def test_the_lossless_pack_goes_after_the_grace_period(side: ColdSide) -> None:
    """Through the gateway, after the lossy one was read to its end; then there is no way back."""
    (lossless,) = side.cold_keys()
    remake(side)
    assert side.trim(days=20).trimmed == 0
    side.office.days(11)
    side.office.sweep()
    assert side.trim(days=0).trimmed == 1
    assert lossless not in side.cold_keys()
    assert (count(side, "retired"), count(side, "pack_trim"), count(side, "successor")) == (0, 0, 2)
    assert events(side)[-1] == "cold_pack_trimmed"
    with pytest.raises(MigrationRefused):
        side.roll_back()
    assert list(remaker(side).due()) == []


@ON_SQLITE
def test_a_lossy_pack_that_rots_keeps_the_lossless_one(side: ColdSide) -> None:
    """Before it goes, what stands in is proven once more; a rollback then gives the study again."""
    (lossless,) = side.cold_keys()
    remake(side)
    (lossy,) = set(side.cold_keys()) - {lossless}
    flip(side, lossy, 2500)
    side.office.days(31)
    side.office.sweep()
    report = side.trim(days=0)
    assert (report.trimmed, lossless in side.cold_keys()) == (0, True)
    assert lossy in report.left[0][1]
    assert side.roll_back() == 1


def test_a_rollback_that_comes_while_the_pack_is_deleted_is_refused(side: ColdSide) -> None:
    """A store that was away in between leaves it to the next trim; a hold that came by then lets it wait anew."""
    store = side.cold
    assert isinstance(store, MemoryStore)
    remake(side)
    side.office.days(31)
    side.office.sweep()
    away = Undeletable()
    away._objects = store._objects
    side = replace(side, cold=away)
    assert "as asked" in side.trim(days=0).left[0][1]
    with pytest.raises(MigrationRefused, match="being deleted"):
        side.roll_back()
    side.office.hold(1)
    assert "on hold" in side.trim(days=0).left[0][1]
    assert side.roll_back() == 1


class Undeletable(MemoryStore):
    """A store that is away whenever something is to be deleted."""

    def delete(self, _warrant: DeleteWarrant, *, accept_damaged: bool = False) -> Deletion:
        """Be away."""
        raise StoreUnavailable(reason=f"as asked, {accept_damaged}")


@ON_SQLITE
def test_a_lossless_pack_that_rots_cannot_be_gone_back_to(side: ColdSide) -> None:
    """It is read before: the study stays as it is given, and verify has told of it."""
    (lossless,) = side.cold_keys()
    remake(side)
    assert verify_cold(side).damaged == []
    flip(side, lossless, 2500)
    assert verify_cold(side).damaged == [lossless]
    with pytest.raises(MigrationRefused, match="is not what was packed"):
        side.roll_back()
    assert len(contents(side, side.cold)) == 2


def test_verify_reads_what_waits_with_what_took_its_place(side: ColdSide) -> None:
    """Both packs, whenever it is the turn of the lossy one; by turns a pack that waits does not keep others away."""
    send_ct(side, 2)
    go_cold(side, 2)
    remake(side, 2)
    assert verify_cold(side).checked == 3
    found = []
    for _ in range(4):
        side.office.clock.advance(seconds=1)
        found.append(verify_cold(side, 50).checked)
    assert sorted(found) == [1, 1, 2, 2]


@ON_SQLITE
def test_a_frozen_pack_is_thawed_for_a_rollback(side: ColdSide) -> None:
    """It is not given any more, so nothing else asks for it; the command does."""
    remake(side)
    store = side.cold
    assert isinstance(store, MemoryStore)
    store._turn(Availability.ONLINE, Availability.COLD)
    with pytest.raises(MigrationRefused, match="cannot be read"):
        side.roll_back()
    recall = Recall(side.office.rig.committer, store, side.office.clock)
    assert recall.status(study_uid(1)).packs == 1
    assert recall.request(study_uid(1), by="olga", for_rollback=True).packs == 2
    store.finish_thaws()
    assert side.roll_back() == 1


def test_a_switch_that_is_run_again_does_not_undo_a_rollback(side: ColdSide) -> None:
    """The worker ended before it knew that it had switched, and comes back after somebody rolled back."""
    before, work = instances(side), remaker(side)
    prepared = [work.prepare(study_uid(1), series) for series in work.series_of(study_uid(1))]
    work.switch(study_uid(1), prepared)
    side.office.clock.advance(seconds=1)
    side.roll_back()
    with pytest.raises(MigrationRefused, match="rolled back since"):
        work.switch(study_uid(1), prepared)
    assert untouched(side, before)
    side.office.clock.advance(seconds=1)
    assert remake(side) == 1, "asked for by name it is prepared anew"


# ---- whole series or none, and what is kept of it --------------------------------------------------------------------


class Refusing(PlainLossy):
    """What finds that no series passes."""

    def make(self, series: Sequence[PackRow], _folder: Path) -> LossyResult:
        """Leave it lossless, with the reason."""
        body = {"lossy": False, "allowed": True, "gates": load_gates().version, "why": "as asked"}
        return LossyResult((), {pack.key: json.dumps(body) for pack in series})


def refusing(stores: Stores, _referring: object) -> LossyCopies:
    """Leave everything lossless."""
    return Refusing(stores)


def test_a_series_that_does_not_pass_stays_and_is_not_tried_again(side: ColdSide) -> None:
    """With the reason in its evidence; neither is anything put."""
    before, keys = instances(side), side.cold_keys()
    assert remaker(side, refusing).remake(study_uid(1)) == {"packs": 0, "lossy": 0, "lossless": 1}
    assert untouched(side, before)
    assert side.cold_keys() == keys
    ((body,),) = rows(side.office.ledger.database, "SELECT body FROM evidence")
    assert json.loads(body)["why"] == "as asked"
    assert list(remaker(side).due()) == []
    with pytest.raises(MigrationRefused, match="nothing of it"):
        remake(side)


def test_the_series_of_a_study_switch_together(office: Office) -> None:
    """What was prepared of one is nothing to a reader before all of them are."""
    side = ColdSide(office)
    send_ct(side)
    send_ct(side, series=2)
    go_cold(side)
    before, work = instances(side), remaker(side)
    series = work.series_of(study_uid(1))
    prepared = [work.prepare(study_uid(1), series[0])]
    assert untouched(side, before)
    prepared = json.loads(json.dumps([*prepared, work.prepare(study_uid(1), series[1])]))
    assert work.switch(study_uid(1), prepared)["packs"] == 2
    assert work.switch(study_uid(1), prepared)["packs"] == 0, "done already is done"
    assert count(side, "pack_trim") == 2
    assert side.roll_back() == 2
    assert instances(side) == before


def test_a_series_that_stays_lossless_is_not_touched_by_a_rollback(office: Office) -> None:
    """It is given from its own pack before, meanwhile and after; the other one goes back."""
    side = ColdSide(office)
    send_ct(side)
    send_ct(side, series=2)
    go_cold(side)
    before, work = instances(side), remaker(side)
    change(office.ledger.database, f"UPDATE series SET modality = 'MG' WHERE series_instance_uid = '{study_uid(1)}.2'")
    assert work.remake(study_uid(1))["packs"] == 1
    assert [each.sop_instance_uid.endswith(".99") for each in instances(side)] == [True, True, False, False]
    assert len(contents(side, side.cold)) == 4
    assert side.roll_back() == 1
    assert instances(side) == before


# ---- what keeps a study lossless -------------------------------------------------------------------------------------


@ON_SQLITE
@pytest.mark.parametrize("when", ["before", "between"])
@pytest.mark.parametrize("what", ["hold", "appeal", "late instance", "hot copies", "rules"])
def test_what_keeps_it_leaves_everything_as_it_was(side: ColdSide, what: str, when: str) -> None:
    """Known before, or come between preparing and switching: refused with the reason, and what was put is discarded."""
    before, keys, work = instances(side), side.cold_keys(), remaker(side)
    prepared = []
    if when == "between":
        prepared = [work.prepare(study_uid(1), series) for series in work.series_of(study_uid(1))]
    words = keep(side, what)
    if what == "rules":
        work = remaker(side, policy=TierPolicy(lossy=None))
    with pytest.raises(MigrationRefused, match=words):
        work.switch(study_uid(1), prepared) if prepared else work.series_of(study_uid(1))
    assert [each for each in instances(side) if each in before] == before
    assert count(side, "successor") == 0
    if what != "hot copies":
        side.clean()
        assert side.cold_keys() == keys


def keep(side: ColdSide, what: str) -> str:
    """Have something keep the study; return the words that say it."""
    if what == "hold":
        side.office.hold(1)
        return "on hold"
    if what == "appeal":
        side.office.tell(1, "appeal", "2026-01-01")
        side.office.sweep()
        return "appeal"
    if what == "late instance":
        side.office.rig.send(late())
        side.office.sweep()
        return "are not sealed yet"
    if what == "hot copies":
        side.office.rig.send(late())
        side.sealed()
        side.migrate()
        side.office.sweep()
        return "grace period"
    return "rules of today"


def late() -> Dataset:
    """Return an instance that comes late."""
    return changed(ct_dataset(9), {"StudyDate": "20000302", "PatientBirthDate": "19500714"})


@ON_SQLITE
def test_settings_that_keep_longer_keep_it_lossless(side: ColdSide) -> None:
    """The days of a site, or of a modality there, count from the end of the immediate access."""
    policy = remaker(side).impact.policy
    long = Override(modalities=frozenset({"CT"}), extra_days=36500)
    for kept in (replace(policy, extra_days=36500), replace(policy, overrides=[long])):
        with pytest.raises(MigrationRefused, match="by the settings"):
            remaker(side, policy=kept).series_of(study_uid(1))
    lossless = replace(policy, overrides=[Override("default", is_lossless=True)])
    with pytest.raises(MigrationRefused, match="nothing of it"):
        remaker(side, policy=lossless).series_of(study_uid(1))


@ON_SQLITE
def test_a_hold_in_the_grace_period_keeps_the_lossless_pack(side: ColdSide) -> None:
    """As it keeps a hot one: the operator hears how to get back."""
    remake(side)
    side.office.hold(1)
    report = side.trim()
    assert (report.trimmed, len(side.cold_keys())) == (0, 2)
    assert "rollback" in report.left[0][1]
    assert side.roll_back() == 1


@ON_SQLITE
def test_what_is_frozen_waits_for_a_thaw(side: ColdSide) -> None:
    """Nobody pays for a thaw unasked: the command says which, by itself it is passed over."""
    store = side.cold
    assert isinstance(store, MemoryStore)
    store._turn(Availability.ONLINE, Availability.COLD)
    work = remaker(side)
    with pytest.raises(MigrationRefused, match="1 of its packs are frozen: drimbox tier recall"):
        work.series_of(study_uid(1))
    today = side.office.clock().date()
    assert [goes for _, goes in work.next_due(today, ("", ""))] == [False]
    store.request_thaw(side.cold_keys(), 7)
    store.finish_thaws()
    assert [goes for _, goes in work.next_due(today, ("", ""))] == [True]
    assert remake(side) == 1


@ON_SQLITE
def test_a_store_that_is_away_is_no_reason_to_hand_the_study_out(side: ColdSide) -> None:
    """It is passed over until the store answers."""
    assert isinstance(side.cold, MemoryStore)
    work, today = remaker(side), side.office.clock().date()
    side.cold.faults.before = [StoreUnavailable(reason="as asked")]
    assert [goes for _, goes in work.next_due(today, ("", ""))] == [False]
    assert [goes for _, goes in work.next_due(today, ("", ""))] == [True]
    side.cold.faults.before = [StoreUnavailable(reason="as asked")]
    with pytest.raises(StoreUnavailable):
        work.series_of(study_uid(1))


@ON_SQLITE
def test_a_clock_that_jumped_makes_nothing_lossy(side: ColdSide) -> None:
    """It is told to who asks, and keeps no study that migrates from being found."""
    work = remaker(side)
    side.office.clock.advance(days=400)
    assert [goes for _, goes in work.next_due(side.office.clock().date(), ("", ""))] == [False]
    with pytest.raises(ClockNotTrusted):
        remake(side)


@ON_SQLITE
@pytest.mark.parametrize("position", [2500, -200], ids=["an image", "the manifest"])
def test_a_cold_pack_that_rots_is_not_compressed(side: ColdSide, position: int) -> None:
    """It is proven as it is fetched, as a whole and member by member: nothing is put, and somebody hears what to do."""
    before, (key,) = instances(side), side.cold_keys()
    flip(side, key, position)
    with pytest.raises(MigrationRefused, match="drimbox verify"):
        remake(side)
    assert untouched(side, before)
    assert side.cold_keys() == [key]


@ON_SQLITE
def test_a_copy_that_is_not_what_the_index_says_is_not_compressed(side: ColdSide) -> None:
    """The pack as a whole may be what was put, and the index know better."""
    with side.office.ledger.database.write(synced=True) as connection:
        Statement("UPDATE location SET dataset_sha256 = ?").run(connection, (bytes(32),))
    with pytest.raises(MigrationRefused, match="drimbox verify"):
        remake(side)


@ON_SQLITE
def test_images_that_come_in_keep_their_room(side: ColdSide) -> None:
    """Packs are fetched only where the disk has room for them beside what the settings keep free."""
    with pytest.raises(OSError, match="no room"):
        remaker(side, min_free_bytes=1 << 60).remake(study_uid(1))
    assert len(side.cold_keys()) == 1


# ---- others at the same study ----------------------------------------------------------------------------------------


def test_two_workers_on_one_study(side: ColdSide) -> None:
    """The second finds the lossy pack standing in; what it put is discarded."""
    one, two = remaker(side), remaker(side, lambda stores, _: PlainLossy(stores, keeps_uids=True))
    (series,) = one.series_of(study_uid(1))
    first, second = one.prepare(study_uid(1), series), two.prepare(study_uid(1), series)
    assert len(side.cold_keys()) == 3
    one.switch(study_uid(1), [first])
    with pytest.raises(MigrationRefused, match="nothing of it"):
        two.switch(study_uid(1), [second])
    assert (count(side, "retired"), count(side, "pack_trim")) == (2, 1)
    side.clean()
    assert len(side.cold_keys()) == 2


def test_two_ct_studies_and_one_is_asked_for(office: Office) -> None:
    """The plan counts both; a site that has nothing, none; so many at most."""
    side = ColdSide(office)
    send_ct(side, 1)
    send_ct(side, 2)
    go_cold(side, 1, 2)
    work = remaker(side)
    assert (work.plan([]).studies, work.plan([], site="Clinique").studies, work.plan([], most=1).studies) == (2, 0, 1)
    side.office.hold(2)
    report = work.plan([])
    assert (report.studies, report.packs, [study for study, _ in report.left]) == (1, 1, [study_uid(2)])
    assert 0 < report.gain_bytes < report.size_bytes
    assert work.plan([study_uid(1)]).studies == 1
    assert "nothing of it" in work.plan(["2.25.404"]).left[0][1]


@ON_SQLITE
def test_a_disposal_list_does_not_mind_that_its_study_is_re_made(side: ColdSide) -> None:
    """It compares what was received: listed and signed before, destroyed after, with both packs."""
    list_id = ready(side)
    side.office.sweep()
    assert remake(side) == 1
    report = destroy(side, list_id)
    assert (report.left, report.sent_back, report.studies) == ([], [], 1)
    assert side.cold_keys() == []


@pytest.mark.parametrize("when", ["prepared", "in the grace period"])
def test_destroying_a_study_ends_both_packs(side: ColdSide, when: str) -> None:
    """What was put and stands in for nothing, and the lossless pack that waits: nothing is left."""
    work = remaker(side)
    prepared = [work.prepare(study_uid(1), series) for series in work.series_of(study_uid(1))]
    if when != "prepared":
        work.switch(study_uid(1), prepared)
    assert len(side.cold_keys()) == 2
    report = destroy(side, ready(side))
    assert report.left == []
    assert side.cold_keys() == []
    assert sum(count(side, table) for table in TABLES if table != "upload") == 0
    if when == "prepared":
        with pytest.raises(ArchiveError):
            work.switch(study_uid(1), prepared)
        assert count(side, "pack") == 0
