"""Rules that changed are held against what is cold in an archive: with real codecs, on both databases."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from archive.services.lossy_copies import LossyCopier
from archive.services.tier_impact import ImpactReport, TierImpact
from tests.integration.disposal.conftest import Office, nothing, study_uid
from tests.integration.index.making import change, rows
from tests.integration.tiering.cold_side import ColdSide
from tests.objects import changed, ct_dataset
from tests.phantoms import slice_of
from tiering.lossy_rules import LossyRules, SiteRules
from tiering.lossy_tables import load_gates, load_rules
from tiering.policy import Override, TierPolicy
from tiering.prices import load_prices

DRG = load_rules("drg")


@pytest.fixture
def side(office: Office) -> ColdSide:
    """Lend an archive that makes lossy copies, with a CT of two slices that is cold."""
    side = ColdSide(office)
    for number in (1, 2):
        send_slice(office, number)
    side = replace(side, lossy=LossyCopier(office.rig.committer, side.stores, office.clock, lambda _: DRG))
    side.sealed()
    side.migrate()
    return side


def send_slice(office: Office, number: int, study: int = 1) -> None:
    """Store a slice of a body."""
    ds = changed(ct_dataset(number, study=study), {"StudyDate": "20000302", "PatientBirthDate": "19500714"})
    samples = slice_of(number, size=64)
    ds.Rows, ds.Columns = samples.shape
    ds.PixelRepresentation, ds.RescaleSlope, ds.RescaleIntercept, ds.BodyPartExamined = 1, "1", "0", "CHEST"
    ds.PixelData = samples.astype("<i2").tobytes()
    office.rig.send(ds)


def impact(
    side: ColdSide, rules: LossyRules | None = DRG, *overrides: Override, site: str | None = None
) -> ImpactReport:
    """Return what rules would decide otherwise."""
    policy = TierPolicy(lossy=rules, overrides=overrides)
    return TierImpact(side.office.rig.committer, policy, load_gates(), load_prices()).report(nothing, site=site)


def test_by_the_rules_it_was_made_by_a_lossy_pack_is_right(side: ColdSide) -> None:
    """Its evidence keeps what was known of its pixels, and passes again."""
    found = impact(side)
    assert (found.packs, found.lossy, found.forbidden, dict(found.could_be_lossy)) == (1, 1, [], {})
    ((body,),) = rows(side.office.ledger.database, "SELECT body FROM evidence")
    assert json.loads(body)["facts"]["modality"] == "CT"


def test_stricter_rules_name_it_and_the_way_back(side: ColdSide) -> None:
    """Within the grace period a rollback is proposed, after it nothing brings the original back."""
    strict = load_rules("drg", SiteRules(never_modalities=frozenset({"CT"})))
    (forbidden,) = impact(side, strict).forbidden
    assert (forbidden.study_instance_uid, forbidden.can_go_back) == (study_uid(1), True)
    assert "by the site's rules" in forbidden.reasons[0]
    side.trim()
    (forbidden,) = impact(side, strict).forbidden
    assert not forbidden.can_go_back


def test_a_rule_of_the_settings_counts_for_its_site(side: ColdSide) -> None:
    """So does lossy copies being off."""
    assert len(impact(side, DRG, Override("default", is_lossless=True)).forbidden) == 1
    assert impact(side, DRG, Override("Clinique", is_lossless=True)).forbidden == []
    assert len(impact(side, None).forbidden) == 1


def test_lossless_packs_that_could_be_lossy_are_counted(side: ColdSide) -> None:
    """One that went cold while lossy copies were off, by modality, with a forecast of the bytes."""
    send_slice(side.office, 1, study=2)
    side.sealed()
    replace(side, lossy=None).migrate(2)
    found = impact(side)
    (gain,) = found.could_be_lossy.values()
    assert list(found.could_be_lossy) == ["CT"] and gain.packs == 1
    assert 0 < gain.gain_bytes == found.gain_bytes < gain.size_bytes
    assert list(found.because.values()) == [1]
    assert impact(side, None).gain_bytes == 0


def test_a_lossy_pack_without_evidence_is_not_made_lossy_again(side: ColdSide) -> None:
    """The transfer syntax of its images says what it is."""
    change(side.office.ledger.database, "DELETE FROM evidence")
    found = impact(side)
    assert (found.packs, dict(found.could_be_lossy)) == (1, {})


def test_one_site_can_be_asked_about(side: ColdSide) -> None:
    """Packs of others are not looked at."""
    assert impact(side, site="default").packs == 1
    assert impact(side, site="Clinique").packs == 0


def test_a_report_changes_nothing(side: ColdSide) -> None:
    """Neither index nor journal: it is for a person to decide."""
    database = side.office.ledger.database
    tables = ("location", "pack", "evidence", "successor", "pack_trim", "audit")
    before = [rows(database, f"SELECT COUNT(*) FROM {table}") for table in tables]
    impact(side, None)
    assert [rows(database, f"SELECT COUNT(*) FROM {table}") for table in tables] == before
