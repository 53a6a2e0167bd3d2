"""Studies under a hold or an appeal: hot unless the settings let them go, and never with loss."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from archive.errors import MigrationRefused
from archive.services.keeping_hot import keeps_hot, keeps_lossless
from archive.services.migrate import Migrator
from archive.services.trim_hot import HotTrimmer
from tests.integration.disposal.conftest import Office, study_uid
from tests.integration.tiering.cold_side import GRACE, ColdSide
from tests.integration.tiering.plain_lossy import PlainLossy


@dataclass
class HeldSide(ColdSide):
    """An archive whose settings let held studies go."""

    @property
    def migrator(self) -> Migrator:
        """Return what moves studies, held ones too."""
        return replace(super().migrator, held="cold_lossless")


@pytest.fixture
def side(office: Office) -> HeldSide:
    """Lend an archive that makes lossy copies."""
    side = HeldSide(office)
    side.lossy = PlainLossy(side.stores)
    return side


def hold(side: ColdSide, kind: str) -> None:
    """Put the study under a hold or an appeal, and have it assessed."""
    if kind == "hold":
        side.office.hold(1)
    else:
        side.office.tell(1, "appeal", "2026-01-01")
    side.office.sweep()


@pytest.mark.parametrize("kind", ["hold", "appeal"])
def test_by_default_they_stay(side: HeldSide, kind: str) -> None:
    """Whoever asks: the study is refused with the reason."""
    side.sealed(1)
    hold(side, kind)
    with pytest.raises(MigrationRefused, match=kind):
        replace(side.migrator, held="stay").migrate(study_uid(1))


@pytest.mark.parametrize("kind", ["hold", "appeal"])
def test_let_go_they_go_without_loss(side: HeldSide, kind: str) -> None:
    """The copies are the originals, byte for byte, though lossy copies are made of others."""
    side.sealed(1, 2)
    hold(side, kind)
    assert side.migrator.migrate(study_uid(1)) == {"packs": 1, "lossy": 0}
    assert side.migrator.migrate(study_uid(2)) == {"packs": 1, "lossy": 1}


def test_a_hold_that_comes_meanwhile_stops_the_lossy_switch(side: HeldSide) -> None:
    """Prepared with loss, then held: nothing stands in, and the next try goes without loss."""
    side.sealed(1)
    migrator = side.migrator
    prepared = [migrator.prepare(study_uid(1), series) for series in migrator.series_of(study_uid(1))]
    hold(side, "hold")
    with pytest.raises(MigrationRefused, match="on hold"):
        migrator.switch(study_uid(1), prepared)
    assert migrator.migrate(study_uid(1)) == {"packs": 1, "lossy": 0}


def test_a_stale_assessment_keeps_even_then(side: HeldSide) -> None:
    """The hold is known, what else it changes is not: the study is assessed first."""
    side.sealed(1)
    side.office.hold(1)
    with pytest.raises(MigrationRefused, match="not assessed"):
        side.migrator.migrate(study_uid(1))


def test_its_hot_pack_goes_after_the_grace(side: HeldSide) -> None:
    """Nothing is lost: the cold pack is the lossless one."""
    side.sealed(1)
    hold(side, "hold")
    side.migrate()
    side.office.days(31)
    office = side.office
    report = HotTrimmer(office.rig.committer, side.stores, side.cold, office.clock, GRACE).run()
    assert (report.trimmed, report.left) == (1, [])


def test_what_time_may_change_is_assessed_first(side: HeldSide) -> None:
    """On the day an appeal begins the stored assessment does not hold any more, though nobody told anything new."""
    side.sealed(1)
    side.office.tell(1, "appeal", "2026-12-01", "2027-12-01")
    side.office.sweep()

    def asked() -> str:
        with side.office.rig.committer.read() as connection:
            return keeps_hot(connection, study_uid(1), side.office.clock())

    assert asked() == ""
    side.office.days(5)
    assert "not assessed" in asked()
    side.office.sweep()
    assert "appeal" in asked()


def test_what_is_not_assessed_may_not_be_lossy(side: HeldSide) -> None:
    """Asked on its own, a study nobody assessed keeps its pixels."""
    with side.office.rig.committer.read() as connection:
        assert "not known" in keeps_lossless(connection, "1.2.3")
