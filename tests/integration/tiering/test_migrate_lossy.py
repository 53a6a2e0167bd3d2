"""The switch to lossy copies: an instance's row becomes that of its copy, what it was is known, and can come back."""

from __future__ import annotations

from dataclasses import replace

import pytest

from archive.errors import MigrationRefused
from archive.index.instances import iter_instances
from archive.index.records import StoredInstance
from tests.integration.disposal.conftest import Office, sop_uid, study_uid
from tests.integration.index.making import value
from tests.integration.tiering.cold_side import ColdSide
from tests.integration.tiering.plain_lossy import PlainLossy, successor_uid
from tests.integration.tiering.test_migrate import availability
from tests.integration.tiering.test_seal import given


@pytest.fixture
def side(office: Office) -> ColdSide:
    """Lend an archive whose cold copies are lossy."""
    side = ColdSide(office)
    return replace(side, lossy=PlainLossy(side.stores))


def instances(office: Office, study: int = 1) -> list[StoredInstance]:
    """Return the instances of a study as the index has them."""
    with office.rig.committer.read() as connection:
        return list(iter_instances(connection, study=study_uid(study)))


def count(office: Office, table: str) -> int:
    """Return how many rows a table has."""
    found = value(office.ledger.database, f"SELECT COUNT(*) FROM {table}")
    assert isinstance(found, int)
    return found


def test_lossy_copies_take_the_place_of_their_originals(side: ColdSide) -> None:
    """Each instance is there once, under the copy's UID and digest, NEARLINE; what it was is in the successor map."""
    side.sealed(1, instances=2)
    before = instances(side.office)
    assert side.migrator.migrate(study_uid(1)) == {"packs": 1, "lossy": 1}
    after = instances(side.office)
    assert [each.sop_instance_uid for each in after] == [successor_uid(sop_uid(number, 1)) for number in (1, 2)]
    assert [each.instance_id for each in after] == [each.instance_id for each in before]
    for was, now in zip(before, after, strict=True):
        (copy,) = now.locations
        assert (copy.tier, copy.state) == ("cold", "present")
        assert now.dataset_sha256 == copy.dataset_sha256 != was.dataset_sha256
        assert now.dataset_size == copy.dataset_size
    assert availability(side.office) == ["NEARLINE"]
    row = f"SELECT successor_uid FROM successor WHERE sop_instance_uid = '{sop_uid(1, 1)}'"
    assert value(side.office.ledger.database, row) == successor_uid(sop_uid(1, 1))
    assert (count(side.office, "retired"), count(side.office, "evidence")) == (2, 1)


def test_what_is_read_from_the_cold_store_is_what_the_index_says(side: ColdSide) -> None:
    """Header and data set of every copy, at its place in the cold pack, have the digests of its row."""
    from hashlib import sha256

    side.sealed(1, instances=3)
    side.migrate()
    for each in instances(side.office):
        (copy,) = each.locations
        assert copy.pack_key is not None
        data = side.cold.read_range(copy.pack_key, copy.start, copy.size_bytes)
        assert sha256(data[: copy.header_size]).digest() == copy.sha256
        assert sha256(data[copy.header_size :]).digest() == each.dataset_sha256


def test_a_rollback_brings_the_originals_back_to_the_byte(side: ColdSide) -> None:
    """UIDs, digests, places: all is as it was, and nothing is left of the copies but an object to discard."""
    side.sealed(1, 2, instances=2)
    before, bytes_before = instances(side.office), given(side.office, 1)
    side.migrate(1)
    side.migrate(2)
    assert side.roll_back() == 1
    assert instances(side.office) == before
    assert given(side.office, 1) == bytes_before
    assert (count(side.office, "successor"), count(side.office, "retired")) == (2, 2), "those of the other study"
    assert (count(side.office, "upload"), count(side.office, "pack_trim")) == (1, 1)
    side.clean()
    assert len(side.cold_keys()) == 1


def test_it_can_go_cold_again_after_a_rollback(side: ColdSide) -> None:
    """Rolled back, discarded, migrated once more: the same as the first time."""
    side.sealed(1, instances=2)
    side.migrate()
    first = instances(side.office)
    side.roll_back()
    side.clean()
    side.office.sweep()
    side.migrate()
    assert [each.sop_instance_uid for each in instances(side.office)] == [each.sop_instance_uid for each in first]


def test_the_originals_go_after_the_grace_period(side: ColdSide) -> None:
    """The hot pack goes through the gateway; there is no way back then, and the successor map stays."""
    side.sealed(1, instances=2)
    side.migrate()
    assert side.trim().trimmed == 1
    assert side.hot_packs() == []
    assert (count(side.office, "retired"), count(side.office, "successor")) == (0, 2)
    with pytest.raises(MigrationRefused):
        side.roll_back()


def test_a_hold_keeps_the_originals_of_lossy_copies(side: ColdSide) -> None:
    """Placed during the grace period, it keeps the lossless pack, and the operator hears how to get back."""
    side.sealed(1, instances=2)
    side.migrate()
    side.office.hold(1)
    report = side.trim()
    assert (report.trimmed, len(side.hot_packs())) == (0, 1)
    assert "rollback" in report.left[0][1]
    assert side.roll_back() == 1
    assert availability(side.office) == ["ONLINE"]


def test_uids_may_stay(side: ColdSide) -> None:
    """A site that keeps UIDs has the copy under the old one; the rollback brings back what it was."""
    side = replace(side, lossy=PlainLossy(side.stores, keeps_uids=True))
    side.sealed(1, instances=2)
    before = instances(side.office)
    side.migrate()
    after = instances(side.office)
    assert [each.sop_instance_uid for each in after] == [each.sop_instance_uid for each in before]
    assert [each.dataset_sha256 for each in after] != [each.dataset_sha256 for each in before]
    side.roll_back()
    assert instances(side.office) == before


def test_a_pack_that_is_not_of_the_hot_one_is_refused(side: ColdSide) -> None:
    """A copy of an instance that the hot pack does not have cannot take its place: the study stays hot."""
    from archive.errors import ColdCopyDiffers

    side.sealed(1, 2, instances=2)
    migrator = side.migrator
    prepared = [migrator.prepare(study_uid(1), series) for series in migrator.series_of(study_uid(1))]
    other = migrator.prepare(study_uid(2), migrator.series_of(study_uid(2))[0])
    prepared[0]["packs"][0].update(hot_key=other["packs"][0]["hot_key"])
    with pytest.raises(ColdCopyDiffers, match="no copy of"):
        migrator.switch(study_uid(1), prepared)
    assert availability(side.office) == ["ONLINE", "ONLINE"]


def test_the_scratch_folder_is_empty_afterwards(side: ColdSide) -> None:
    """Lossy packs lie on the local disk only until they are put."""
    side.sealed(1)
    side.migrate()
    assert list((side.office.rig.root / "scratch").iterdir()) == []
