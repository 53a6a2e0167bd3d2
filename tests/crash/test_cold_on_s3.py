"""The cold tier on Ceph's S3 gateway while it fails: whatever goes wrong, no image is lost or altered."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from archive.errors import ArchiveError
from archive.services.cold_reader import ColdReader
from archive.services.read_cache import ReadCache
from tests.ceph import Ceph, NewBucket
from tests.fault_proxy import Answer, Fault, FaultProxy, Relay, Request, change, cut, flip, new_proxy, refuse, spoil
from tests.integration.disposal.conftest import Office, open_office, study_uid
from tests.integration.tiering.cold_side import ColdSide
from tests.integration.tiering.reading import read_all
from tests.integration.tiering.remaking import contents, go_cold, remaker, send_ct
from tests.integration.tiering.test_seal import given
from tests.unit.services.rig import empty_index
from tests.unit.services.shelf import Clock
from tiering.disk import OsDisk
from tiering.errors import TieringError
from tiering.stores.base import ObjectStore
from tiering.stores.filesystem import FileStore
from tiering.stores.retrying import Backoff, RetryingStore
from tiering.stores.s3.bucket import open_bucket
from tiering.stores.s3.store import S3Store

_REQUESTS = 12
_REMAKING = 7


def lose(request: Request, relay: Relay) -> Answer | None:
    """Do it, and keep the answer back."""
    relay(request)
    return None


def drop(_request: Request, _relay: Relay) -> Answer | None:
    """End the connection at once."""
    return None


FAULTS: dict[str, Fault] = {
    "down": drop,
    "answer lost": lose,
    "internal error": refuse(500, "InternalError"),
    "slow down": refuse(503, "SlowDown"),
    "full": refuse(507, "QuotaExceeded"),
    "forbidden": refuse(403, "AccessDenied"),
    "spoilt on the way in": spoil,
    "other bytes read": change(flip),
    "cut while read": change(cut),
}


@pytest.fixture
def proxy(ceph: Ceph) -> Iterator[FaultProxy]:
    """Lend a proxy before the gateway."""
    with new_proxy(ceph.port) as proxy:
        yield proxy


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    """Lend an archive on SQLite."""
    from archive.index.session import Database

    (tmp_path / "index.db").write_bytes(empty_index())
    database = Database(f"sqlite:///{tmp_path / 'index.db'}")
    yield from open_office(database, Clock(), tmp_path, OsDisk())
    database.close()


def bucket_behind(proxy: FaultProxy, new_bucket: NewBucket, *, attempts: int = 1) -> ObjectStore:
    """Return a store in a new bucket behind the proxy; with one attempt every fault is felt."""
    settings = replace(new_bucket("plain"), endpoint_url=proxy.endpoint_url)
    backoff = Backoff(lambda _seconds: None, random.Random(1).random, attempts=attempts)
    return RetryingStore(S3Store(open_bucket(settings)), backoff)


def all_there(side: ColdSide, wanted: dict[str, bytes], folder: Path) -> None:
    """Every image of the study is given, as it was received, from wherever it is."""
    with closing(ColdReader(side.cold, ReadCache(folder, 1 << 28))) as reader:
        assert read_all(side.office, reader) == wanted


@pytest.mark.parametrize("fault", FAULTS)
def test_any_request_of_a_migration_may_fail(
    office: Office, proxy: FaultProxy, new_bucket: NewBucket, tmp_path: Path, fault: str
) -> None:
    """The n-th request fails, for each n in turn: told, nothing lost, and the work is done in the end."""
    side = ColdSide(office, bucket_behind(proxy, new_bucket))
    side.sealed(*range(1, _REQUESTS + 1), instances=2)
    for number in range(1, _REQUESTS + 1):
        _one_study(side, proxy, (number, FAULTS[fault]), tmp_path / str(number))


def _one_study(side: ColdSide, proxy: FaultProxy, when: tuple[int, Fault], cache: Path) -> None:
    number, fault = when
    wanted = given(side.office, number)
    proxy.inject(r".", *([proxy.relay_only] * (number - 1)), fault)
    try:
        side.migrate(number)
    except (ArchiveError, TieringError) as exc:
        assert str(exc)
    proxy.faults.clear()
    assert given(side.office, number) == wanted, "the hot copy is as it was"
    side.migrate(number)
    with closing(ColdReader(side.cold, ReadCache(cache, 1 << 28))) as reader:
        assert read_all_of(side, reader, number) == wanted


def read_all_of(side: ColdSide, reader: ColdReader, study: int) -> dict[str, bytes]:
    """Return the data sets of a study as its cold copies have them."""
    from archive.index.instances import iter_instances
    from archive.services.cold_fetch import Wanted

    with side.office.rig.committer.read() as connection:
        instances = list(iter_instances(connection, study=study_uid(study)))
    found = {}
    for each in instances:
        (copy,) = [copy for copy in each.copies if copy.tier == "cold"]
        with reader.open(Wanted(copy, copy.dataset_sha256 or each.dataset_sha256)) as file:
            found[each.sop_instance_uid] = file.read()[copy.header_size :]
    return found


@pytest.mark.parametrize("fault", ["down", "other bytes read", "cut while read", "internal error"])
def test_a_trim_that_cannot_read_the_cold_copy_keeps_the_hot_one(
    office: Office, proxy: FaultProxy, new_bucket: NewBucket, fault: str
) -> None:
    """The copy is read once more before the hot pack goes: what is not whole, or not there, keeps it."""
    side = ColdSide(office, bucket_behind(proxy, new_bucket))
    side.sealed(1, instances=2)
    wanted = given(office, 1)
    side.migrate()
    proxy.inject(r"^GET ", FAULTS[fault])
    report = side.trim()
    assert (report.trimmed, len(report.left)) == (0, 1)
    proxy.faults.clear()
    assert given(office, 1) == wanted
    assert side.trim(days=1).trimmed == 1


@pytest.mark.parametrize("where", ["folder", "s3"])
def test_the_whole_way_with_everything_around_it(
    office: Office, proxy: FaultProxy, new_bucket: NewBucket, tmp_path: Path, where: str
) -> None:
    """On both kinds of store: cold, read, back, cold again, trimmed, read; with a fault at every third request."""
    cold: ObjectStore
    if where == "folder":
        cold = FileStore.create(OsDisk(), tmp_path / "cold")
    else:
        cold = bucket_behind(proxy, new_bucket, attempts=4)
    side = ColdSide(office, cold)
    side.sealed(1, instances=4)
    wanted = given(office, 1)
    for _ in range(20):
        proxy.inject(r".", proxy.relay_only, proxy.relay_only, drop)
    side.migrate()
    all_there(side, wanted, tmp_path / "c1")
    side.roll_back()
    side.clean()
    office.sweep()
    side.migrate()
    assert side.trim().trimmed == 1
    assert side.hot_packs() == []
    all_there(side, wanted, tmp_path / "c2")


@pytest.mark.parametrize("fault", ["answer lost", "other bytes read", "spoilt on the way in"])
def test_any_request_of_a_remaking_may_fail(
    office: Office, proxy: FaultProxy, new_bucket: NewBucket, fault: str
) -> None:
    """The n-th request fails, for each n in turn: told, the images are there, and the work is done in the end."""
    side = ColdSide(office, bucket_behind(proxy, new_bucket))
    studies = range(1, _REMAKING + 1)
    for study in studies:
        send_ct(side, study, instances=1)
    go_cold(side, *studies)
    for number in studies:
        was = contents(side, side.cold, number)
        proxy.inject(r".", *([proxy.relay_only] * (number - 1)), FAULTS[fault])
        try:
            remaker(side).remake(study_uid(number))
        except (ArchiveError, TieringError) as exc:
            assert str(exc)
            proxy.faults.clear()
            assert contents(side, side.cold, number) == was
            remaker(side).remake(study_uid(number))
        proxy.faults.clear()
        assert contents(side, side.cold, number).keys().isdisjoint(was)
    side.office.days(31)
    side.office.sweep()
    assert side.trim(days=0).trimmed == _REMAKING
    side.clean()
    assert len(side.cold_keys()) == _REMAKING


@pytest.mark.parametrize("where", ["folder", "s3"])
def test_the_whole_way_of_a_remaking(
    office: Office, proxy: FaultProxy, new_bucket: NewBucket, tmp_path: Path, where: str
) -> None:
    """On both kinds of store: lossy, back, lossy again, trimmed; with a fault at every third request."""
    cold: ObjectStore
    if where == "folder":
        cold = FileStore.create(OsDisk(), tmp_path / "cold")
    else:
        cold = bucket_behind(proxy, new_bucket, attempts=4)
    side = ColdSide(office, cold)
    send_ct(side)
    go_cold(side)
    was = contents(side, cold)
    for _ in range(20):
        proxy.inject(r".", proxy.relay_only, proxy.relay_only, drop)
    remaker(side).remake(study_uid(1))
    assert side.roll_back() == 1
    assert contents(side, cold) == was
    side.clean()
    side.office.sweep()
    assert remaker(side).remake(study_uid(1))["packs"] == 1
    side.office.days(31)
    side.office.sweep()
    assert side.trim(days=0).trimmed == 1
    assert len(contents(side, cold)) == 2
    assert len(side.cold_keys()) == 1


def test_a_bucket_that_is_held_keeps_its_objects(office: Office, new_bucket: NewBucket) -> None:
    """With Object Lock and a legal hold on the object nothing deletes it: the elimination says so."""
    from tiering.stores.s3.holds import S3Holds

    bucket = open_bucket(new_bucket("locked"))
    side = ColdSide(office, S3Store(bucket))
    side.sealed(1, instances=1)
    side.migrate()
    (key,) = side.cold_keys()
    S3Holds(bucket).set_hold(key)
    side.roll_back()
    report = side.clean()
    assert (report.discarded, len(report.left)) == (0, 1)
    S3Holds(bucket).release_hold(key)
    assert side.clean(days=0).discarded == 1
