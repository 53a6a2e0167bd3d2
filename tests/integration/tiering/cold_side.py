"""An archive with a cold store beside it, for the tests of migration; must not decide what goes cold."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import timedelta

from archive.services.migrate import LossyCopies, Migrator
from archive.services.remains import Stores
from archive.services.rollback import Rollback
from archive.services.seal import Sealer
from archive.services.trim import Trimmer, TrimReport
from archive.services.trim_hot import ColdCleaner, DiscardReport, HotTrimmer
from tests.integration.disposal.conftest import Office, study_uid
from tiering.stores.base import ObjectStore
from tiering.stores.memory import MemoryStore

GRACE = timedelta(days=30)


@dataclass
class ColdSide:
    """What moves the studies of an archive to a cold store and back."""

    office: Office
    cold: ObjectStore = field(default_factory=MemoryStore)
    lossy: LossyCopies | None = None

    @property
    def stores(self) -> Stores:
        """Return where copies lie, the cold ones too."""
        return replace(self.office.stores, cold=self.cold)

    @property
    def migrator(self) -> Migrator:
        """Return what moves studies."""
        office = self.office
        return Migrator(
            office.rig.committer, self.stores, self.cold, office.clock, office.rig.root / "scratch", self.lossy
        )

    def sealed(self, *studies: int, instances: int = 3) -> None:
        """Store, assess and seal studies of the year 2000, and let go of the files that were received."""
        office = self.office
        for study in studies:
            office.store(study, instances)
        office.clock.advance(hours=2)
        Sealer(office.rig.committer, office.stores, office.clock, timedelta(hours=1)).run()
        office.clock.advance(hours=23)
        Trimmer(office.rig.committer, office.stores, office.clock, timedelta(hours=22)).run()
        office.sweep()

    def migrate(self, study: int = 1) -> int:
        """Migrate a study; return how many packs went."""
        packs = self.migrator.migrate(study_uid(study))["packs"]
        assert isinstance(packs, int)
        return packs

    def trim(self, *, days: int = 31) -> TrimReport:
        """Trim hot packs after some days."""
        self.office.days(days)
        office = self.office
        return HotTrimmer(office.rig.committer, self.stores, self.cold, office.clock, GRACE).run()

    def roll_back(self, study: int = 1) -> int:
        """Roll a study back."""
        return Rollback(self.office.rig.committer, self.stores, self.office.clock, "olga").roll_back(study_uid(study))

    def clean(self, *, days: int = 3) -> DiscardReport:
        """Discard what stands in for nothing after some days."""
        self.office.days(days)
        return ColdCleaner(self.office.rig.committer, self.stores, self.office.clock).run()

    def hot_packs(self) -> list[str]:
        """Return the hot packs on disk."""
        return [path for path in self.office.files() if path.startswith("hot/packs/")]

    def cold_keys(self) -> list[str]:
        """Return what lies in the cold store."""
        return sorted(self.cold.iter_keys())
