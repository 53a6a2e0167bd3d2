"""An old UID leads to the copy that took its place, in query, retrieve, commitment and at the way in."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from archive.errors import ConflictingInstance
from archive.index.find import Query, run_query
from archive.index.instances import iter_instances
from archive.services.cold_reader import ColdReader
from archive.services.commitment import (
    CLASS_CONFLICT,
    NO_SUCH_INSTANCE,
    PROCESSING_FAILURE,
    CommitmentReport,
    CommitmentRequest,
    Commitments,
    Reference,
)
from archive.services.ingest import Outcome
from archive.services.read_cache import ReadCache
from archive.services.retrieve import Retrieve, Selection
from tests.integration.disposal.conftest import Office, sop_uid, study_uid
from tests.integration.tiering.cold_side import ColdSide
from tests.integration.tiering.plain_lossy import PlainLossy, successor_uid
from tests.integration.tiering.proving import flip
from tests.objects import CT_IMAGE, changed, ct_dataset
from tiering.stores.memory import MemoryStore


@pytest.fixture
def side(office: Office) -> ColdSide:
    """Lend an archive with a study whose two instances are lossy copies."""
    side = ColdSide(office)
    side = replace(side, lossy=PlainLossy(side.stores))
    side.sealed(1, instances=2)
    side.migrate()
    return side


def found(office: Office, sop: str, level: str = "IMAGE") -> list[str]:
    """Return the SOP Instance UIDs that a query for one answers."""
    keys = {"SOPInstanceUID": sop}
    with office.rig.committer.read() as connection:
        query = Query(root="study", level=level, keys=keys, relational=True)
        return [row["SOPInstanceUID"] for row in run_query(connection, query)]


def test_a_query_for_the_old_uid_finds_the_copy(side: ColdSide) -> None:
    """One UID, a list of them, old and new ones mixed: the answers name the copies."""
    old, new = sop_uid(1, 1), successor_uid(sop_uid(1, 1))
    assert found(side.office, old) == [new]
    assert found(side.office, new) == [new]
    assert found(side.office, f"{old}\\{successor_uid(sop_uid(2, 1))}") == [new, successor_uid(sop_uid(2, 1))]
    assert len(found(side.office, "")) == 2
    assert found(side.office, f"{old}.5") == []


def test_a_retrieve_of_the_old_uid_gives_the_copy(side: ColdSide) -> None:
    """Once, also when both UIDs are asked for."""
    retrieve = Retrieve(side.office.rig.committer, side.office.clock, side.office.rig.hot, side.office.rig.hot)
    old, new = sop_uid(1, 1), successor_uid(sop_uid(1, 1))
    for asked in ((old,), (new,), (old, new)):
        selection = Selection("IMAGE", studies=(study_uid(1),), instances=asked)
        assert [each.sop_instance_uid for each in retrieve.find(selection)] == [new]


def commit(side: ColdSide, folder: Path, *references: Reference) -> CommitmentReport:
    """Have an archive commit to objects; nothing that was read before is in the cache."""
    office = side.office
    with closing(ColdReader(side.cold, ReadCache(folder / f"cache{len(list(folder.iterdir()))}", 1))) as reader:
        retrieve = Retrieve(office.rig.committer, office.clock, office.rig.hot, office.rig.hot, reader)
        request = CommitmentRequest("2.25.1", "CT1", "DRIMBOX", references)
        return Commitments(retrieve, office.rig.committer, office.clock).verify(request, is_interrupted=lambda: False)


def test_the_old_uid_is_committed_by_its_copy(side: ColdSide, tmp_path: Path) -> None:
    """The copy is read and proven; the report names the UID that was asked for, as often as it was."""
    old, new = Reference(CT_IMAGE, sop_uid(1, 1)), Reference(CT_IMAGE, successor_uid(sop_uid(2, 1)))
    report = commit(side, tmp_path, old, new, old)
    assert report.committed == (old, new, old)
    assert report.failed == ()


def test_an_old_uid_of_another_class_is_not_committed(side: ColdSide, tmp_path: Path) -> None:
    """Class and instance belong together, as before."""
    asked = Reference(CT_IMAGE + ".9", sop_uid(1, 1))
    assert commit(side, tmp_path, asked).failed == ((asked, CLASS_CONFLICT),)


def test_an_old_uid_is_not_committed_without_a_proven_copy(side: ColdSide, tmp_path: Path) -> None:
    """A byte of the copy is another, then the object is gone: the other image of the pack is committed all the same."""
    old, other = Reference(CT_IMAGE, sop_uid(1, 1)), Reference(CT_IMAGE, sop_uid(2, 1))
    (key,) = side.cold_keys()
    with side.office.rig.committer.read() as connection:
        (copy,) = next(iter_instances(connection, sops=[sop_uid(1, 1)])).locations
    flip(side, key, copy.start + copy.size_bytes - 1)
    report = commit(side, tmp_path, old, other)
    assert (report.committed, report.failed) == ((other,), ((old, PROCESSING_FAILURE),))
    assert isinstance(side.cold, MemoryStore)
    side.cold._objects.clear()
    assert [reason for _, reason in commit(side, tmp_path, old, other).failed] == [PROCESSING_FAILURE] * 2


def test_an_old_uid_is_committed_by_its_original_again_after_a_rollback(side: ColdSide, tmp_path: Path) -> None:
    """There and back: the UID is the instance's own, and the copy's is nobody's."""
    side.roll_back()
    old, new = Reference(CT_IMAGE, sop_uid(1, 1)), Reference(CT_IMAGE, successor_uid(sop_uid(1, 1)))
    report = commit(side, tmp_path, old, new)
    assert (report.committed, report.failed) == ((old,), ((new, NO_SUCH_INSTANCE),))


@pytest.mark.parametrize("keeps_uids", [False, True])
def test_what_was_received_is_known_when_it_comes_again(office: Office, keeps_uids: bool) -> None:
    """The same bytes under the old UID are stored already; others are a conflict."""
    side = ColdSide(office)
    side = replace(side, lossy=PlainLossy(side.stores, keeps_uids=keeps_uids))
    side.sealed(1, instances=1)
    side.migrate()
    original = changed(ct_dataset(1, study=1), {"StudyDate": "20000302", "PatientBirthDate": "19500714"})
    assert office.rig.send(original) is Outcome.ALREADY_STORED
    with pytest.raises(ConflictingInstance):
        office.rig.send(changed(original, {"StudyDate": "20000303"}))
