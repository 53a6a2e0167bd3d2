"""Elimination reaches the cold tier: copies, originals, what is under way; nothing is certified while one is there."""

from __future__ import annotations

from dataclasses import replace

import pytest

from archive.errors import DestroyedInstance
from archive.index import tombstones
from archive.services.destroy import Destroyed
from archive.services.remains import COLD, iter_remains
from tests.integration.disposal.conftest import ANNE, OLGA, WAITING_DAYS, Office, nothing, sop_uid, study_uid
from tests.integration.index.making import value
from tests.integration.tiering.cold_side import ColdSide
from tests.integration.tiering.plain_lossy import PlainLossy, successor_uid
from tests.objects import changed, ct_dataset
from tiering.errors import ObjectHeld, StoreUnavailable
from tiering.stores.memory import MemoryStore

TABLES = (
    "instance",
    "location",
    "pack",
    "retired",
    "successor",
    "pack_trim",
    "upload",
    "evidence",
    "set_aside",
    "thaw",
)


@pytest.fixture(params=["lossless", "lossy"])
def side(office: Office, request: pytest.FixtureRequest) -> ColdSide:
    """Lend an archive whose cold copies are one or the other."""
    side = ColdSide(office)
    return replace(side, lossy=PlainLossy(side.stores)) if request.param == "lossy" else side


def destroy(side: ColdSide, list_id: str) -> Destroyed:
    """Destroy a list."""
    destruction = replace(side.office.destruction(), stores=side.stores)
    return destruction.destroy(list_id, who=OLGA, progress=nothing)


def ready(side: ColdSide) -> str:
    """Bring the study on an approved list."""
    made = side.office.disposals.propose("default", who=ANNE)
    assert made.list_id is not None
    side.office.approve(made.list_id)
    side.office.days(WAITING_DAYS)
    return made.list_id


@pytest.mark.parametrize("is_trimmed", [False, True], ids=["in the grace period", "trimmed"])
def test_all_copies_go(side: ColdSide, is_trimmed: bool) -> None:
    """Hot packs, cold packs, rows of every table: nothing is left, and the certificate names what went."""
    side.sealed(1, instances=2)
    side.migrate()
    if is_trimmed:
        side.trim()
    side.office.sweep()
    report = destroy(side, ready(side))
    assert report.left == []
    assert report.certificate is not None
    assert side.cold_keys() == []
    assert side.hot_packs() == []
    database = side.office.ledger.database
    assert {table: value(database, f"SELECT COUNT(*) FROM {table}") for table in TABLES} == dict.fromkeys(TABLES, 0)
    assert b'"store": "cold"' in report.certificate.read_bytes() or b'"store":"cold"' in report.certificate.read_bytes()


def test_old_and_new_uids_do_not_come_back(office: Office) -> None:
    """A lossy copy was destroyed: neither it nor its original can be stored again."""
    side = ColdSide(office)
    side = replace(side, lossy=PlainLossy(side.stores))
    side.sealed(1, instances=1)
    side.migrate()
    side.office.sweep()
    destroy(side, ready(side))
    with office.rig.committer.read() as connection:
        assert {each.sop_instance_uid for each in tombstones.iter_of(connection, study_uid(1))} == {
            sop_uid(1, 1),
            successor_uid(sop_uid(1, 1)),
        }
    original = changed(ct_dataset(1, study=1), {"StudyDate": "20000302", "PatientBirthDate": "19500714"})
    with pytest.raises(DestroyedInstance):
        office.rig.send(original)


def test_what_is_under_way_goes_too(side: ColdSide) -> None:
    """A pack that was put and stands in for nothing yet is deleted, and cannot stand in afterwards."""
    side.sealed(1, instances=2)
    migrator = side.migrator
    prepared = [migrator.prepare(study_uid(1), series) for series in migrator.series_of(study_uid(1))]
    list_id = ready(side)
    report = destroy(side, list_id)
    assert report.left == []
    assert side.cold_keys() == []
    with pytest.raises(Exception, match=r"gone|any more|assessed"):
        migrator.switch(study_uid(1), prepared)


@pytest.mark.parametrize("error", [StoreUnavailable(reason="no route"), ObjectHeld(key="k", reason="a legal hold")])
def test_a_cold_copy_that_stays_keeps_the_certificate_back(side: ColdSide, error: Exception) -> None:
    """Down or held: told by copy, nothing certified; destroyed again once it can be."""
    side.sealed(1, instances=2)
    side.migrate()
    side.trim()
    side.office.sweep()
    list_id = ready(side)
    assert isinstance(side.cold, MemoryStore)
    side.cold.faults.before.append(error)  # type: ignore[arg-type]
    report = destroy(side, list_id)
    assert len(report.left) == 1
    assert report.certificate is None
    assert len(side.cold_keys()) == 1
    again = destroy(side, list_id)
    assert again.left == []
    assert again.certificate is not None


def test_without_a_cold_store_its_copies_are_told(side: ColdSide) -> None:
    """The settings name no store any more: what is there stays on the report."""
    side.sealed(1, instances=1)
    side.migrate()
    side.trim()
    side.office.sweep()
    list_id = ready(side)
    report = side.office.destroy(list_id)
    assert [reason for _, reason in report.left]
    assert report.certificate is None
    assert destroy(side, list_id).certificate is not None


def test_what_comes_back_in_the_cold_store_is_found_and_goes(side: ColdSide) -> None:
    """A bucket restored from a copy has a destroyed pack again: told, and deleted by the gateway."""
    side.sealed(1, 2, instances=2)
    side.migrate(1)
    side.migrate(2)
    side.trim()
    side.office.sweep()
    assert isinstance(side.cold, MemoryStore)
    kept = dict(side.cold._objects)
    destroy(side, ready(side))
    assert side.cold_keys() == []
    side.cold._objects.update(kept)
    with side.office.rig.committer.read() as connection:
        found = list(iter_remains(side.stores, connection))
    assert [each.store for each in found] == [COLD, COLD]
    destruction = replace(side.office.destruction(), stores=side.stores)
    report = destruction.destroy_remains(found, who=OLGA, progress=nothing)
    assert (report.deleted, report.left) == (2, [])
    assert side.cold_keys() == []
