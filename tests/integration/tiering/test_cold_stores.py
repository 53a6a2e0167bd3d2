"""A study's whole life in a real cold store: held, proven, repaired, indexed again, destroyed; on files and on Ceph."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from archive.services.cold_holds import HoldMirror
from archive.services.cold_repair import Repair
from archive.services.holds import Holds
from archive.services.trim_hot import ColdCleaner
from tests.ceph import NewBucket
from tests.integration.disposal.conftest import ANNE, OLGA, WAITING_DAYS, Office, nothing
from tests.integration.stores.conftest import encrypting, retrying
from tests.integration.tiering.cold_side import ColdSide
from tests.integration.tiering.proving import count, verify_cold
from tests.integration.tiering.test_cold_adopt import take, without_cold
from tests.integration.tiering.test_cold_rebuild import facts, instances, rebuild
from tiering.disk import OsDisk
from tiering.errors import StoreUnavailable
from tiering.stores.base import ObjectHolds, ObjectStore
from tiering.stores.filesystem import FileStore
from tiering.stores.s3.bucket import open_bucket
from tiering.stores.s3.holds import S3Holds
from tiering.stores.s3.store import S3Store


@dataclass
class Place:
    """A cold store, how it holds, and how somebody takes an object away behind its back."""

    store: ObjectStore
    holds: ObjectHolds | None
    take_away: Callable[[str], Any]


@pytest.fixture(params=["files", "encrypted files", "ceph", "encrypted ceph"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """Lend each in turn, empty."""
    if request.param.endswith("files"):
        folder = tmp_path / "cold"
        store: ObjectStore = FileStore.create(OsDisk(), folder)
        holds: ObjectHolds | None = None

        def take_away(key: str) -> None:
            next(folder.rglob(key.replace("/", "+"))).unlink()
    else:
        made: NewBucket = request.getfixturevalue("new_bucket")
        bucket = open_bucket(made("locked"))
        store, holds = retrying(S3Store(bucket)), S3Holds(bucket)

        def take_away(key: str) -> None:
            bucket.client.delete_object(Bucket=bucket.name, Key=key)

    yield Place(encrypting(store) if "encrypted" in request.param else store, holds, take_away)


@pytest.fixture
def side(office: Office, place: Place) -> ColdSide:
    """Lend an archive with two studies in both tiers."""
    side = ColdSide(office, place.store)
    side.sealed(1, 2, instances=2)
    for study in (1, 2):
        side.migrate(study)
    return side


def repaired(side: ColdSide, place: Place) -> int:
    """Repair; return how many packs were."""
    stores = replace(side.stores, cold_holds=place.holds)
    return len(Repair(side.office.rig.committer, stores, side.office.clock).run().repaired)


def test_proven_repaired_indexed_again(side: ColdSide, place: Place) -> None:
    """Taken away behind our back: found missing, put again, and the index is made again from what is there."""
    assert (verify_cold(side).checked, verify_cold(side).damaged) == (2, [])
    lost = side.cold_keys()[0]
    place.take_away(lost)
    assert verify_cold(side).missing == [lost]
    assert repaired(side, place) == 1
    found = verify_cold(side)
    assert (found.checked, found.missing, found.damaged, found.orphans) == (2, [], [], [])
    assert side.trim().trimmed == 2
    before = facts(instances(side.office))
    report = rebuild(side)
    assert (report.instances, report.problems) == (4, ())
    assert facts(instances(side.office)) == before
    without_cold(side)
    assert (take(side).instances, facts(instances(side.office))) == (4, before)
    assert side.clean().left == []


def test_uploads_that_nobody_ended_are_ended_after_a_week(office: Office, new_bucket: NewBucket) -> None:
    """Their parts take room that no listing shows; one that was begun later goes on, and how many ended is told."""
    bucket = open_bucket(new_bucket("plain"))
    for key in ("a", "b"):
        bucket.client.create_multipart_upload(**bucket.at(key))
    begun = max(each["Initiated"] for each in bucket.client.list_multipart_uploads(Bucket=bucket.name)["Uploads"])
    side = ColdSide(office, S3Store(bucket))
    cleaner = ColdCleaner(office.rig.committer, side.stores, office.clock, end_uploads=S3Store(bucket).abandon_uploads)
    assert replace(cleaner, clock=lambda: begun + timedelta(days=6)).run().uploads_ended == 0
    assert replace(cleaner, clock=lambda: begun + timedelta(days=7, seconds=1)).run().uploads_ended == 2
    assert "Uploads" not in bucket.client.list_multipart_uploads(Bucket=bucket.name)


def test_uploads_of_a_bucket_that_is_away_wait(office: Office) -> None:
    """What was discarded is discarded; the report says why uploads were left."""

    def end_uploads(_before: datetime) -> int:
        raise StoreUnavailable(reason="no route")

    cleaner = ColdCleaner(office.rig.committer, office.stores, office.clock, end_uploads=end_uploads)
    report = cleaner.run()
    assert (report.uploads_ended, report.left[0][0]) == (0, "")
    assert "no route" in report.left[0][1]


def test_held_released_destroyed(side: ColdSide, place: Place) -> None:
    """A hold is mirrored where the store can; it keeps the study from being destroyed; lifted, all of it goes."""
    office = side.office
    number = office.hold(1)
    report = HoldMirror(office.rig.committer, place.holds, office.clock).run()
    assert (report.held, report.left) == (0 if place.holds is None else 1, [])
    assert count(side, "pack", "held_at IS NOT NULL") == report.held
    office.sweep()
    Holds(office.ledger).lift(number, reason="over", actor="anne", sites=None)
    office.sweep()
    made = office.disposals.propose("default", who=ANNE)
    assert made.list_id is not None
    office.approve(made.list_id)
    office.days(WAITING_DAYS)
    stores = replace(side.stores, cold_holds=place.holds)
    done = replace(office.destruction(), stores=stores).destroy(made.list_id, who=OLGA, progress=nothing)
    assert done.left == []
    assert done.certificate is not None
    assert (side.cold_keys(), side.hot_packs()) == ([], [])
