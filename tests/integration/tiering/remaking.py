"""Studies that went cold without loss, and what makes them lossy later, for tests; must not be part of the archive."""

from __future__ import annotations

import pytest

from archive.index.instances import iter_instances
from archive.index.records import StoredInstance
from archive.services.migrate import LossyCopies
from archive.services.remains import Stores
from archive.services.remake import MakesLossy, Remaker
from archive.services.tier_impact import TierImpact
from tests.integration.disposal.conftest import study_uid
from tests.integration.tiering.cold_side import ColdSide
from tests.integration.tiering.plain_lossy import PlainLossy
from tests.objects import changed, ct_dataset
from tests.phantoms import slice_of
from tiering.lossy_tables import load_gates, load_rules
from tiering.policy import TierPolicy
from tiering.prices import load_prices
from tiering.stores.base import ObjectStore

DRG = load_rules("drg")
ON_SQLITE = pytest.mark.parametrize("kind", ["sqlite"], indirect=True)
"""For what asks the index nothing that another test does not ask of both databases."""
_POLICY = TierPolicy(lossy=DRG)


def plain(stores: Stores, _referring: object) -> LossyCopies:
    """Make lossy packs without a codec."""
    return PlainLossy(stores)


def remaker(
    side: ColdSide, makes: MakesLossy = plain, policy: TierPolicy = _POLICY, *, min_free_bytes: int = 0
) -> Remaker:
    """Return what re-makes the studies of an archive by the rules of today."""
    impact = TierImpact(side.office.rig.committer, policy, load_gates(), load_prices())
    return Remaker(side.migrator, impact, makes, min_free_bytes)


def send_ct(side: ColdSide, study: int = 1, instances: int = 2, *, series: int = 1, size: int = 32) -> None:
    """Store a CT of the year 2000 that the rules of today allow to be lossy."""
    for number in range(1, instances + 1):
        values = {"StudyDate": "20000302", "PatientBirthDate": "19500714"}
        ds = changed(ct_dataset(number, study=study, series=series), values)
        samples = slice_of(number, size=size)
        ds.Rows, ds.Columns = samples.shape
        ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 1
        ds.RescaleSlope, ds.RescaleIntercept, ds.BodyPartExamined = "1", "0", "CHEST"
        ds.PixelData = samples.astype("<i2").tobytes()
        side.office.rig.send(ds)
    side.office.rig.committer.barrier()


def go_cold(side: ColdSide, *studies: int) -> None:
    """Have what was stored sealed, migrated without loss and trimmed, and assessed once more."""
    side.sealed()
    for study in studies or (1,):
        side.migrator.migrate(study_uid(study))
    side.trim()
    side.office.sweep()


def instances(side: ColdSide, study: int = 1) -> list[StoredInstance]:
    """Return the instances of a study as the index has them."""
    with side.office.rig.committer.read() as connection:
        return list(iter_instances(connection, study=study_uid(study)))


def contents(side: ColdSide, store: ObjectStore, study: int = 1) -> dict[str, bytes]:
    """Return the data sets of a study by UID, from where the index says that they lie in a store."""
    found = {}
    for each in instances(side, study):
        (copy,) = (copy for copy in each.locations if copy.state == "present")
        assert copy.pack_key is not None
        data = store.read_range(copy.pack_key, copy.start, copy.size_bytes)
        found[each.sop_instance_uid] = data[copy.header_size :]
    return found
