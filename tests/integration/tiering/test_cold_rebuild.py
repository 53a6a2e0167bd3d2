"""The index is made again from storage alone, the cold tier included; what is lossless wins."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from archive.errors import ConflictingInstance, RebuildRefused
from archive.index.instances import iter_instances
from archive.index.records import StoredInstance
from archive.services.cold_reader import ColdReader
from archive.services.ingest import Outcome
from archive.services.read_cache import ReadCache
from archive.services.rebuild import Rebuild
from archive.services.reports import RebuildReport
from tests.integration.disposal.conftest import Office, nothing, sop_uid, study_uid
from tests.integration.index.making import value
from tests.integration.tiering.cold_side import ColdSide
from tests.integration.tiering.plain_lossy import PlainLossy, successor_uid
from tests.integration.tiering.reading import read_all
from tests.integration.tiering.test_migrate import availability
from tests.objects import changed, ct_dataset
from tiering.errors import StoreUnavailable
from tiering.stores.memory import MemoryStore


@pytest.fixture
def lossy(side: ColdSide) -> ColdSide:
    """Lend one whose cold copies are lossy."""
    return replace(side, lossy=PlainLossy(side.stores))


def rebuild(side: ColdSide) -> RebuildReport:
    """Make the index again from hot folder, quarantine and cold store."""
    rig = side.office.rig
    work = Rebuild(rig.disk, rig.hot, rig.kept, side.office.clock, ledger=side.office.ledger.files, cold=side.cold)
    side.office.rig.committer.barrier()
    url = side.office.ledger.database
    with url.write(synced=True) as connection:
        from contextlib import nullcontext

        from archive.index import reset

        reset.clear(connection)
        return work._fill(lambda: nullcontext(connection), nothing)


def instances(office: Office, study: int = 1) -> list[StoredInstance]:
    """Return what the index holds of a study."""
    with office.rig.committer.read() as connection:
        return list(iter_instances(connection, study=study_uid(study)))


def facts(found: list[StoredInstance]) -> list[tuple[object, ...]]:
    """Return all that is to be the same in another index: no row ids."""
    return [
        (each.sop_instance_uid, each.dataset_sha256, each.dataset_size, each.transfer_syntax_uid, each.locations)
        for each in found
    ]


@pytest.mark.parametrize("is_trimmed", [False, True], ids=["in the grace period", "trimmed"])
def test_lossless_cold_packs_are_indexed_again(side: ColdSide, tmp_path: Path, is_trimmed: bool) -> None:
    """The same rows as before, and the same bytes from them; the grace period starts again where hot packs are left."""
    side.sealed(1, instances=3)
    side.migrate()
    if is_trimmed:
        side.trim()
    before = facts(instances(side.office))
    report = rebuild(side)
    assert report.problems == ()
    assert facts(instances(side.office)) == before
    assert availability(side.office) == ["NEARLINE" if is_trimmed else "ONLINE"]
    with closing(ColdReader(side.cold, ReadCache(tmp_path / "cache", 1))) as reader:
        assert len(read_all(side.office, reader)) == 3
    waiting = value(side.office.ledger.database, "SELECT COUNT(*) FROM pack_trim")
    assert waiting == (0 if is_trimmed else 1)
    if not is_trimmed:
        side.office.sweep()
        assert side.trim().trimmed == 1


def test_lossy_copies_are_indexed_as_what_they_are(lossy: ColdSide, tmp_path: Path) -> None:
    """Their own UIDs and digests, the map from the old UIDs, and the evidence that the pack carries."""
    lossy.sealed(1, instances=2)
    lossy.migrate()
    lossy.trim()
    before = facts(instances(lossy.office))
    database = lossy.office.ledger.database
    report = rebuild(lossy)
    assert report.problems == ()
    assert facts(instances(lossy.office)) == before
    assert value(database, f"SELECT successor_uid FROM successor WHERE sop_instance_uid = '{sop_uid(2, 1)}'") == (
        successor_uid(sop_uid(2, 1))
    )
    assert value(database, "SELECT body FROM evidence") == '{"format":"test"}'
    with closing(ColdReader(lossy.cold, ReadCache(tmp_path / "cache", 1))) as reader:
        assert len(read_all(lossy.office, reader)) == 2


def test_what_is_lossless_wins(lossy: ColdSide) -> None:
    """Lost in the grace period: the study is given from its hot packs, and the lossy pack is discarded."""
    lossy.sealed(1, instances=2)
    before = facts(instances(lossy.office))
    lossy.migrate()
    assert rebuild(lossy).problems == ()
    assert facts(instances(lossy.office)) == before
    assert value(lossy.office.ledger.database, "SELECT COUNT(*) FROM upload") == 1
    assert lossy.clean().discarded == 1
    lossy.office.sweep()
    assert lossy.migrate() == 1


def test_a_received_file_that_comes_back_is_no_second_instance(lossy: ColdSide) -> None:
    """An old backup brings the original back: it is the same, sent again or found on the disk, and nothing changes."""
    lossy.sealed(1, instances=1)
    lossy.migrate()
    lossy.trim()
    before = facts(instances(lossy.office))
    original = changed(ct_dataset(1, study=1), {"StudyDate": "20000302", "PatientBirthDate": "19500714"})
    assert lossy.office.rig.send(original) is Outcome.ALREADY_STORED
    other = changed(original, {"PatientBirthDate": "19500715"})
    with pytest.raises(ConflictingInstance):
        lossy.office.rig.send(other)
    assert facts(instances(lossy.office)) == before


def test_a_cold_store_that_is_down_makes_no_index(side: ColdSide) -> None:
    """Half an index is none: the old one stays, and the operator is told."""
    side.sealed(1)
    side.migrate()
    side.trim()
    before = facts(instances(side.office))
    side.cold = Down()
    with pytest.raises(RebuildRefused, match="--hot-only"):
        rebuild(side)
    assert facts(instances(side.office)) == before


class Down(MemoryStore):
    """A store that does not answer."""

    def iter_keys(self, prefix: str = "", *, after: str = "") -> Iterator[str]:
        """Fail."""
        raise StoreUnavailable(reason="no route")


def test_a_damaged_cold_pack_is_told_and_the_rest_is_indexed(side: ColdSide) -> None:
    """Its manifest cannot be believed: the pack is a problem in the report, others are there."""
    side.sealed(1, 2)
    for study in (1, 2):
        side.migrate(study)
    side.trim()
    assert isinstance(side.cold, MemoryStore)
    side.cold.damage(side.cold_keys()[0], b"no pack at all")
    report = rebuild(side)
    assert len(report.problems) == 1
    assert len(instances(side.office, 1)) + len(instances(side.office, 2)) == 3
