"""The plan of migration reads the index as it is: what is sealed, held, cold, set aside; on both databases."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date
from typing import Any

import pytest

from archive.index import set_aside
from archive.services.assess import rules_of
from archive.services.holds import Holds
from archive.services.migration_queue import MigrationQueue
from archive.services.tier_plan import PlanReport, TierPlan
from tests.integration.disposal.conftest import ANNE, SITES, Office, nothing, study_uid
from tests.integration.index.making import change
from tests.integration.tiering.cold_side import ColdSide
from tests.integration.tiering.plain_lossy import PlainLossy
from tests.objects import changed, ct_dataset
from tiering.lossy_tables import load_rules
from tiering.policy import Action, Decision, TierPolicy
from tiering.prices import FOLDER, load_prices

DAY = date(2026, 11, 28)


def planner(office: Office, **values: Any) -> TierPlan:
    """Return what plans, by a policy."""
    bases = {site: rules.basis for site, rules in rules_of(SITES.values()).items()}
    return TierPlan(office.rig.committer, TierPolicy(**values), bases, load_prices(), FOLDER)


def report(office: Office, *, site: str | None = None, on: date = DAY, listed: int = 9, **values: Any) -> PlanReport:
    """Return what a plan comes to."""
    return planner(office, **values).report(on, nothing, site=site, listed=listed)


def explained(office: Office, study: int = 1, *, on: date = DAY, **values: Any) -> Decision:
    """Return what becomes of one study."""
    found = planner(office, **values).explain(study_uid(study), on)
    assert found is not None
    return found


def codes(office: Office, study: int = 1, **values: Any) -> list[str]:
    """Return the codes of the reasons."""
    return [each.code for each in explained(office, study, **values).reasons]


def test_a_sealed_study_of_long_ago_goes(side: ColdSide) -> None:
    """It is counted with its images and the bytes of its packs, by site and modality, and what that saves."""
    side.sealed(1, instances=3)
    found = report(side.office)
    (totals,) = found.actions.values()
    size = sum((side.office.rig.root / path).stat().st_size for path in side.hot_packs())
    assert (totals.studies, totals.instances, totals.hot_bytes, totals.cold_bytes) == (1, 3, size, size)
    assert list(found.sites) == ["default"] and list(found.modalities) == ["CT"]
    assert found.stay == {} and found.studies_going == 1
    assert found.savings.hot_bytes == size
    assert [each.study.study_instance_uid for each in found.going] == [study_uid(1)]


def test_a_young_study_stays_until_its_day(side: ColdSide) -> None:
    """Three years from the exam, though it arrived today."""
    side.sealed()
    side.office.store(1, exam_on="20240305")
    side.sealed()
    assert codes(side.office) == ["young"]
    first = explained(side.office).study.lossless_until
    assert first == date(2027, 3, 6)
    assert codes(side.office, on=date(2027, 3, 5)) == ["young"]
    assert codes(side.office, on=first) == ["age"]


def test_what_is_not_sealed_or_trimmed_stays(side: ColdSide) -> None:
    """Received files, files beside packs, and an image that came after the sealing each keep the study hot."""
    office = side.office
    office.store(1)
    office.sweep()
    assert codes(office) == ["unsealed"]
    assert report(office).stay["unsealed"].size_bytes > 0
    side.sealed()
    assert codes(office) == ["age"]
    office.rig.send(changed(ct_dataset(9, study=1), {"StudyDate": "20000302", "PatientBirthDate": "19500714"}))
    office.sweep()
    decision = explained(office)
    assert [each.code for each in decision.reasons] == ["unsealed"]
    assert "1 of its instances" in decision.reasons[0].text


def test_files_that_wait_to_be_trimmed_keep_their_study(side: ColdSide) -> None:
    """Sealed a moment ago, not trimmed: asked for one study and for all of them."""
    side.sealed(1, instances=2)
    uid = "SELECT sop_instance_uid FROM instance LIMIT 1"
    sql = (
        "INSERT INTO trim (key, sop_instance_uid, dataset_sha256, generation, size_bytes, since) "
        f"SELECT 'k', ({uid}), dataset_sha256, 'g', 1, '' FROM instance LIMIT 1"
    )
    change(side.office.ledger.database, sql)
    assert codes(side.office) == ["unsealed"]
    assert report(side.office).stay["unsealed"].studies == 1


def test_a_study_on_an_approved_list_stays_until_it_is_destroyed(side: ColdSide) -> None:
    """Not from the proposal on, which may be long about; cancelled, the list keeps nothing."""
    side.sealed(1)
    list_id = side.office.propose().head.list_id
    assert codes(side.office) == ["age"]
    side.office.approve(list_id)
    assert codes(side.office) == ["disposal"]
    assert list_id in explained(side.office).reasons[0].text
    assert report(side.office).stay["disposal"].studies == 1
    side.office.disposals.cancel(list_id, "not yet", who=ANNE)
    assert codes(side.office) == ["age"]


def test_a_hold_keeps_a_study_at_once(side: ColdSide) -> None:
    """Before the next assessment as a doubt, after it by its name; the settings may let it go without loss."""
    side.sealed(1)
    hold = side.office.hold(1)
    assert codes(side.office) == ["stale"]
    side.office.sweep()
    decision = explained(side.office)
    assert decision.code == "hold" and hold in decision.reasons[0].text
    assert report(side.office).stay["hold"].studies == 1
    assert explained(side.office, held="cold_lossless").action is Action.COLD_LOSSLESS


def test_an_appeal_keeps_a_study(side: ColdSide) -> None:
    """One that begins later is waited for: its assessment is to be made again then."""
    side.sealed(1)
    side.office.tell(1, "appeal", "2027-06-01", "2028-06-01")
    side.office.sweep()
    assert codes(side.office) == ["age"]
    assert codes(side.office, on=date(2027, 6, 1)) == ["stale"]
    side.office.tell(1, "appeal", "2026-06-01")
    side.office.sweep()
    assert codes(side.office) == ["appeal"]


def test_an_exam_in_the_future_is_a_contradiction(side: ColdSide) -> None:
    """Whatever day is asked about before it, and all that keeps it is told."""
    side.office.store(1, exam_on="20310302")
    side.sealed()
    assert codes(side.office) == ["future", "facts", "young"]


def test_never_assessed_studies_stay(side: ColdSide) -> None:
    """So do those assessed by rules that the settings do not have any more, and of a site that they do not have."""
    side.sealed(1)
    change(side.office.ledger.database, "UPDATE assessment SET schedule_version = 'an older law'")
    assert codes(side.office) == ["stale"]
    change(side.office.ledger.database, "DELETE FROM assessment")
    assert codes(side.office) == ["not_assessed"]


def test_a_study_set_aside_stays(side: ColdSide) -> None:
    """After as many attempts as the settings allow."""
    side.sealed(1)
    for _ in range(2):
        with side.office.ledger.database.write(synced=False) as connection:
            set_aside.record_failure(connection, study_uid(1), "the store said no", side.office.clock())
    assert codes(side.office, attempts=3) == ["age"]
    assert codes(side.office, attempts=2) == ["set_aside"]


def test_what_is_cold_is_told_as_such(side: ColdSide) -> None:
    """From the switch on, before and after its hot packs are trimmed; hot bytes are not counted twice."""
    side.sealed(1, 2)
    side.migrate(1)
    for _ in range(2):
        found = report(side.office, on=date(2027, 6, 1))
        assert {code: (kept.studies, kept.size_bytes) for code, kept in found.stay.items()} == {"cold": (1, 0)}
        assert [each.study.study_instance_uid for each in found.going] == [study_uid(2)]
        side.trim()
    assert codes(side.office, 1, on=date(2027, 6, 1))[0] == "cold"


def test_images_that_came_after_a_migration_go_by_themselves(side: ColdSide) -> None:
    """Only their pack is hot: only its bytes and images are planned, whether copies of the rest are lossy or not."""
    for lossy in (None, PlainLossy(side.stores)):
        side = replace(side, lossy=lossy)
        study = 1 if lossy is None else 2
        side.sealed(study, instances=3)
        side.migrate(study)
        late = changed(ct_dataset(9, study=study), {"StudyDate": "20000302", "PatientBirthDate": "19500714"})
        side.office.rig.send(late)
        side.sealed()
        (series,) = explained(side.office, study).series
        assert series.holding.instances == 1


def test_lossy_is_forecast_from_what_the_index_has(side: ColdSide) -> None:
    """Bits, photometric interpretation and SOP class are those that came; what came lossy stays as it is."""
    side.office.store(2, LossyImageCompression="01")
    side.sealed(1)
    lossy, came_lossy = (explained(side.office, study, lossy=load_rules("drg")) for study in (1, 2))
    (facts,) = (each.holding.facts for each in lossy.series)
    assert facts.photometrics == frozenset({"MONOCHROME2"})
    assert (facts.bits_allocated, facts.bits_stored) == (16, 12)
    assert lossy.action is Action.COLD_LOSSY
    assert "already lossy" in came_lossy.series[0].reason.text
    found = report(side.office, lossy=load_rules("drg"))
    assert {name: each.studies for name, each in found.actions.items()} == {"cold_lossy": 1, "cold_lossless": 1}
    assert found.savings.cold_bytes < found.savings.hot_bytes


def test_a_site_can_be_asked_about(side: ColdSide) -> None:
    """Others are not counted, and a study that is not there is None."""
    side.sealed(1, 2)
    change(
        side.office.ledger.database, f"UPDATE study SET site = 'Clinique' WHERE study_instance_uid = '{study_uid(2)}'"
    )
    assert report(side.office, site="default").studies_going == 1
    assert report(side.office).studies_going == 2
    assert planner(side.office).explain("1.2.3", DAY) is None


def test_only_some_are_listed(side: ColdSide) -> None:
    """As many as asked for of each kind; of those that stay not the ones that are merely young."""
    side.office.store(4, exam_on="20250101")
    side.sealed(1, 2, 3)
    side.office.hold(3)
    found = report(side.office, listed=1)
    assert (len(found.going), len(found.staying)) == (1, 1)
    assert found.staying[0].study.study_instance_uid == study_uid(3)


# ---- what migrates next --------------------------------------------------------------------------------------------


@dataclass
class Ticks:
    """A clock of seconds; each look at it takes one."""

    now: float = 0.0
    step: float = 1.0

    def __call__(self) -> float:
        self.now += self.step
        return self.now


def queue(office: Office, ticks: Ticks | None = None, **values: Any) -> MigrationQueue:
    """Return what hands out studies."""
    return MigrationQueue(planner(office, **values), ticks or Ticks())


def test_the_exam_longest_ago_comes_first(side: ColdSide) -> None:
    """By the day on which the immediate access ended, whatever came first; no more than asked for."""
    for study, day in ((1, "20100101"), (2, "20030101"), (3, "20070101"), (4, "20250101")):
        side.office.store(study, exam_on=day)
    side.sealed()
    assert queue(side.office).due(DAY, 9) == [study_uid(2), study_uid(3), study_uid(1)]
    assert queue(side.office).due(DAY, 2) == [study_uid(2), study_uid(3)]


def test_what_went_or_stays_is_not_handed_out(side: ColdSide) -> None:
    """Cold, held, set aside and unsealed studies are passed over, whoever comes behind them is found."""
    side.sealed(1, 2, 3)
    side.office.store(4)
    side.migrate(1)
    side.office.hold(2)
    side.office.sweep()
    assert queue(side.office).due(DAY, 9) == [study_uid(3)]
    with side.office.ledger.database.write(synced=False) as connection:
        set_aside.leave_alone(connection, study_uid(3), "rolled back", side.office.clock())
    assert queue(side.office).due(DAY, 9) == []


def test_it_goes_on_where_it_was(side: ColdSide) -> None:
    """Asked again it hands out the same studies until they went, then the next."""
    side.sealed(1, 2, 3)
    handing = queue(side.office)
    first = handing.due(DAY, 2)
    assert handing.due(DAY, 2) == first
    side.migrate(1)
    assert handing.due(DAY, 2) == [study_uid(2), study_uid(3)]


def test_a_new_walk_begins_after_a_rest(side: ColdSide) -> None:
    """A study from long ago that could not go is found again once the walk begins anew, and not before."""
    side.sealed(1, 2)
    hold = side.office.hold(1)
    side.office.sweep()
    ticks = Ticks(step=0.001)
    handing = queue(side.office, ticks)
    assert handing.due(DAY, 9) == [study_uid(2)]
    Holds(side.office.ledger).lift(hold, reason="the judge is done", actor="anne", sites=None)
    side.office.sweep()
    assert handing.due(DAY, 9) == [study_uid(2)]
    ticks.now += 10
    assert handing.due(DAY, 9) == [study_uid(1), study_uid(2)]


def test_what_goes_is_handed_out_until_it_went(side: ColdSide) -> None:
    """Also when something behind it stays, and the end of the walk was reached."""
    side.sealed(1, 2, 3)
    side.office.hold(2)
    side.office.sweep()
    handing = queue(side.office)
    assert handing.due(DAY, 9) == handing.due(DAY, 9) == [study_uid(1), study_uid(3)]


def test_what_stayed_is_looked_at_again_on_another_day(side: ColdSide) -> None:
    """However long the walk rests: a hold that was lifted is noticed on the next day at the latest."""
    side.sealed(1, 2)
    hold = side.office.hold(1)
    side.office.sweep()
    handing = queue(side.office, Ticks(step=1000))
    assert handing.due(DAY, 9) == [study_uid(2)]
    Holds(side.office.ledger).lift(hold, reason="the judge is done", actor="anne", sites=None)
    side.office.sweep()
    assert handing.due(DAY, 9) == [study_uid(2)]
    assert handing.due(date(2026, 11, 29), 9) == [study_uid(1), study_uid(2)]


def test_another_day_begins_a_new_walk(side: ColdSide) -> None:
    """What becomes old enough over night is found, though the walk was over."""
    side.office.store(1, exam_on="20231127")
    side.sealed()
    handing = queue(side.office, Ticks(step=1000))
    assert handing.due(date(2026, 11, 27), 9) == []
    assert handing.due(date(2026, 11, 28), 9) == [study_uid(1)]


def test_many_pages(side: ColdSide, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page boundary loses nobody and hands nobody out twice."""
    from archive.services import tier_plan

    monkeypatch.setattr(tier_plan, "_PAGE", 2)
    monkeypatch.setattr(tier_plan, "_DUE_PAGE", 2)
    side.sealed(*range(1, 6), instances=1)
    assert report(side.office).studies_going == 5
    assert list(queue(side.office).due(DAY, 9)) == sorted(study_uid(study) for study in range(1, 6))
