"""An index made again from storage comes to the same at every point of a re-making; real codecs prove themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial

import pytest

from archive.errors import MigrationRefused
from archive.index import cold_trim
from archive.index.packs import PackRow
from archive.services.cold_adopt import ColdAdopt, Index
from archive.services.evidence import EvidenceRoom
from archive.services.lossy_copies import LossyCopier
from archive.services.migrate import LossyCopies
from archive.services.remains import Stores
from tests.integration.disposal.conftest import Office, nothing, sop_uid, study_uid
from tests.integration.tiering.cold_side import ColdSide
from tests.integration.tiering.proving import count, flip, verify_cold
from tests.integration.tiering.remaking import DRG, ON_SQLITE, contents, go_cold, instances, remaker, send_ct
from tests.integration.tiering.test_cold_rebuild import facts, rebuild
from tests.integration.tiering.test_lossy_copies import KEY_OBJECTS, key_objects
from tiering import lossy_series
from tiering.lossy import CodecPair
from tiering.lossy_series import copy_uid
from tiering.stores.base import Availability
from tiering.stores.memory import MemoryStore
from tiering.transcode.irreversible import SampleFormat


@pytest.fixture
def side(office: Office) -> ColdSide:
    """Lend an archive with a study of two images that is cold without loss."""
    side = ColdSide(office)
    send_ct(side)
    go_cold(side)
    return side


def prepare(side: ColdSide) -> None:
    """Put the lossy pack, and stop before the switch."""
    work = remaker(side)
    for series in work.series_of(study_uid(1)):
        work.prepare(study_uid(1), series)


def remake(side: ColdSide) -> None:
    """Switch to the lossy pack: the grace period begins."""
    remaker(side).remake(study_uid(1))


@pytest.mark.parametrize("point", [prepare, remake])
@pytest.mark.parametrize("is_listed_backwards", [False, True])
def test_while_both_packs_are_there_the_lossless_one_wins(
    side: ColdSide, point: Callable[[ColdSide], None], is_listed_backwards: bool
) -> None:
    """Whichever the store lists first: the study is given as it was received, and is re-made once more."""
    before, data = facts(instances(side)), contents(side, side.cold)
    point(side)
    if is_listed_backwards:
        store = Backwards()
        assert isinstance(side.cold, MemoryStore)
        store._objects = side.cold._objects
        side = replace(side, cold=store)
    assert rebuild(side).problems == ()
    assert facts(instances(side)) == before
    assert contents(side, side.cold) == data
    assert (count(side, "upload"), count(side, "successor"), count(side, "pack_trim")) == (1, 0, 0)
    assert verify_cold(side).orphans == []
    assert side.clean().discarded == 1
    side.office.sweep()
    assert remaker(side).remake(study_uid(1))["packs"] == 1


class Backwards(MemoryStore):
    """A store that lists its objects in another order."""

    def iter_keys(self, prefix: str = "", *, after: str = "") -> Iterator[str]:
        """List the last first."""
        keys = list(reversed(list(super().iter_keys(prefix))))
        yield from keys[keys.index(after) + 1 :] if after in keys else keys


def test_once_the_lossless_pack_is_gone_the_lossy_one_is_given(side: ColdSide) -> None:
    """The same rows as before, old UIDs lead to the copies, and the evidence is the one the pack carries."""
    remake(side)
    side.office.days(31)
    side.office.sweep()
    assert side.trim(days=0).trimmed == 1
    before = facts(instances(side))
    assert rebuild(side).problems == ()
    assert facts(instances(side)) == before
    assert (count(side, "successor"), count(side, "evidence")) == (2, 1)
    side.office.sweep()
    assert list(remaker(side).due()) == []


@ON_SQLITE
def test_a_lossy_pack_is_kept_while_the_lossless_one_is_not_proven(side: ColdSide) -> None:
    """The index is lost in the grace period, and the lossless pack is not whole: neither goes, and somebody hears."""
    remake(side)
    with side.office.rig.committer.read() as connection:
        (lossless,) = cold_trim.waiting_of(connection, study_uid(1))
    flip(side, lossless.key, 2500)
    (problem,) = rebuild(side).problems
    assert "not proven" in problem
    assert (count(side, "upload"), len(side.cold_keys())) == (0, 2)


def test_add_cold_takes_both_in_the_same_way(side: ColdSide) -> None:
    """Without the cold store when the index was made, and with it later: what is lossless wins."""
    before = facts(instances(side))
    remake(side)
    assert rebuild(replace(side, cold=MemoryStore())).problems == ()
    assert instances(side) == []
    committer = side.office.rig.committer
    index = Index(committer.read, lambda work, entry: committer.record_synced(entry, work=work))
    report = ColdAdopt(side.cold, index, side.office.clock).run(nothing)
    assert (report.packs, report.not_needed, report.problems) == (1, 1, [])
    assert facts(instances(side)) == before


def test_a_lossless_pack_that_thaws_later_waits_behind_the_lossy_one(side: ColdSide) -> None:
    """Frozen while the index was made again, it is no orphan: one can go back to it, or it is trimmed."""
    before, data = facts(instances(side)), contents(side, side.cold)
    remake(side)
    with side.office.rig.committer.read() as connection:
        (lossless,) = cold_trim.waiting_of(connection, study_uid(1))
    assert isinstance(side.cold, MemoryStore)
    side.cold._get(lossless.key).availability = Availability.COLD
    assert len(rebuild(side).problems) == 1
    assert count(side, "successor") == 2
    side.cold._get(lossless.key).availability = Availability.WARM
    committer = side.office.rig.committer
    index = Index(committer.read, lambda work, entry: committer.record_synced(entry, work=work))
    assert ColdAdopt(side.cold, index, side.office.clock).run(nothing).problems == []
    assert (count(side, "retired"), count(side, "pack_trim"), verify_cold(side).orphans) == (2, 1, [])
    assert side.roll_back() == 1
    assert facts(instances(side)) == before
    assert contents(side, side.cold) == data


# ---- the real codecs -------------------------------------------------------------------------------------------------


def real(side: ColdSide, stores: Stores, referring: Sequence[PackRow]) -> LossyCopies:
    """Make lossy packs as the product does."""
    copier = LossyCopier(side.office.rig.committer, stores, side.office.clock, lambda _site: DRG)
    return replace(copier, referring=referring)


@ON_SQLITE
def test_the_first_migrations_code_makes_and_proves_the_copies(office: Office) -> None:
    """Rules, gates, evidence of each frame, and who in the study names old UIDs, from packs of the cold store."""
    side = ColdSide(office)
    send_ct(side, size=64)
    office.rig.send(key_objects(sop_uid(1, 1), "2.25.999"), sop_class=KEY_OBJECTS)
    go_cold(side)
    work = remaker(side, partial(real, side))
    assert [goes for _, goes in work.next_due(office.clock().date(), ("", ""))] == [True]
    assert work.remake(study_uid(1)) == {"packs": 1, "lossy": 1, "lossless": 0}
    (evidence,) = EvidenceRoom(office.rig.committer, side.cold).of_study(study_uid(1))
    assert evidence.body["lossy"]
    assert [each["sop_instance_uid"] for each in evidence.body["referenced_by"]] == [f"{study_uid(1)}.9.1"]
    assert [each["derived_from"] for each in evidence.body["instances"]] == [sop_uid(1, 1), sop_uid(2, 1)]
    assert EvidenceRoom(office.rig.committer, side.cold).picture(evidence.pack_key) is not None
    assert verify_cold(side).damaged == []
    assert side.roll_back() == 1


@ON_SQLITE
def test_a_codec_that_lies_leaves_the_series_lossless(side: ColdSide, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it made does not decode, by the other decoder, to anything near: not put, and the evidence says why."""
    honest = lossy_series.htj2k_pair

    def lying(layout: SampleFormat) -> CodecPair:
        pair = honest(layout)
        return replace(pair, encode=lambda samples, step: pair.encode(samples[::-1].copy(), step))

    monkeypatch.setattr(lossy_series, "htj2k_pair", lying)
    before, keys = instances(side), side.cold_keys()
    work = remaker(side, partial(real, side))
    assert work.remake(study_uid(1)) == {"packs": 0, "lossy": 0, "lossless": 1}
    assert (instances(side), side.cold_keys()) == (before, keys)
    (evidence,) = EvidenceRoom(side.office.rig.committer).of_study(study_uid(1))
    assert not evidence.body["lossy"]
    assert list(work.due()) == []
    with suppress(MigrationRefused):
        work.remake(study_uid(1))
    assert side.cold_keys() == keys


@ON_SQLITE
def test_the_uid_of_a_copy_is_the_one_a_migration_would_have_given(side: ColdSide) -> None:
    """Made of the old UID and what was received, so that two ways lead to one copy."""
    was = {each.sop_instance_uid: each.dataset_sha256.hex() for each in instances(side)}
    remaker(side, partial(real, side)).remake(study_uid(1))
    assert {each.sop_instance_uid for each in instances(side)} == {copy_uid(*pair) for pair in was.items()}
