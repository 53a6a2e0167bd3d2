"""The engine against a slow reading of the contract, and what must hold whatever the facts are."""

from __future__ import annotations

import copy
import random
from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from retention_rules.assessment import Assessment, Reading
from retention_rules.engine import assess
from retention_rules.facts import StudyFacts, parse_facts
from retention_rules.loader import load_schedule
from tests.unit.retention_rules import reference
from tests.unit.retention_rules.strategies import TODAY, Facts, appeals, days, facts

NEVER = date.max
READINGS = st.sampled_from(["prudent", "statute"])
RULES = {
    *("hospital.base", "hospital.minor", "hospital.death", "private.base", "private.minor", "private.death"),
    *("private.floor", "common.immediate_access"),
}
few = settings(max_examples=120, deadline=None)


def assessed(mapping: Facts, reading: Reading = "prudent", today: date = TODAY) -> Assessment:
    """Assess facts in the machine contract's form."""
    study = parse_facts(mapping)
    return assess(study, load_schedule(study.regime), today, reading=reading)


def kept_until(mapping: Facts, reading: Reading = "prudent") -> date:
    """Return the day a study may be proposed on, the last of the calendar when there is none."""
    return assessed(mapping, reading).eligible_on or NEVER


def without(mapping: Facts, *names: str) -> Facts:
    """Return facts without some of them."""
    return {name: value for name, value in mapping.items() if name not in names}


class TestReference:
    """The engine gives what the contract, counted a day at a time, gives."""

    @few
    @given(facts(), READINGS)
    def test_dates_are_those_counted_day_by_day(self, mapping: Facts, reading: Reading) -> None:
        """For facts that do not contradict each other the date is the one reached by counting every single day."""
        found = assessed(mapping, reading)
        expected = reference.eligible_on(mapping, reading)
        assert found.eligible_on == expected
        assert found.blocked_by == tuple(reference.blocked_by(mapping, TODAY))
        assert found.due == (expected is not None and expected <= TODAY and not found.blocked_by)

    @few
    @given(facts(may_be_open=False), READINGS)
    def test_the_rule_is_the_first_of_the_list_that_reaches_the_date(self, mapping: Facts, reading: Reading) -> None:
        """The rule named is the one that keeps longest, the first of the contract's list when several do."""
        named = assessed(mapping, reading).rule
        assert named is not None and named in RULES
        assert named.rpartition(".")[2] == reference.deciding(mapping, reading)

    @few
    @given(facts(coherent=False), READINGS, st.dates(date(1999, 1, 1), date(2060, 1, 1)))
    def test_contradictions_are_those_of_the_contract(self, mapping: Facts, reading: Reading, today: date) -> None:
        """Facts that contradict each other, and only those, have neither date nor rule and are for a person."""
        found = assessed(mapping, reading, today)
        wrong = reference.contradicts(mapping, today)
        assert ("facts" in found.blocked_by) == wrong == (found.rule is None)
        assert found.blocked_by == tuple(reference.blocked_by(mapping, today))
        assert not wrong or (found.eligible_on is None and not found.due)


class TestProperties:
    """What nobody may be surprised by."""

    @few
    @given(facts(), READINGS)
    def test_never_before_the_floors(self, mapping: Facts, reading: Reading) -> None:
        """No study is proposed before three years after its exam, nor a private CT, MR or MG before five."""
        exam = date.fromisoformat(mapping["exam_on"])
        least = exam + timedelta(days=3 * 365)
        if mapping["regime"] == "private" and {"CT", "MR", "MG"} & set(mapping["modalities"] or []):
            least = exam + timedelta(days=5 * 365)
        assert kept_until(mapping, reading) > least
        assert assessed(mapping, reading).lossless_until >= exam + timedelta(days=3 * 365)

    @few
    @given(facts(), READINGS, days())
    def test_a_visit_never_makes_it_earlier(self, mapping: Facts, reading: Reading, visit: str) -> None:
        """A later visit never brings the end nearer, where neither a death nor an appeal before the visit is known."""
        known = without(mapping, "death_on", "appeals")
        visited = known | {"last_visit_on": max(visit, known["last_visit_on"] or "")}
        assert kept_until(visited, reading) >= kept_until(known, reading)

    @few
    @given(facts(), READINGS, days())
    def test_a_visit_never_makes_it_earlier_under_appeals(self, mapping: Facts, reading: Reading, visit: str) -> None:
        """The same holds with appeals that begin on or after the visit."""
        last = max(visit, mapping["last_visit_on"] or "", mapping["exam_on"])
        later = [appeal for appeal in mapping["appeals"] if appeal["from"] >= last]
        known = without(mapping, "death_on") | {"appeals": later}
        assert kept_until(known | {"last_visit_on": last}, reading) >= kept_until(known, reading)

    @few
    @given(facts(), READINGS, appeals())
    def test_an_appeal_never_makes_it_earlier(self, mapping: Facts, reading: Reading, more: list[Any]) -> None:
        """More appeals, of any kind, never bring the end nearer."""
        added = mapping | {"appeals": mapping["appeals"] + more}
        assert kept_until(added, reading) >= kept_until(mapping, reading)
        assert assessed(mapping, reading).due or not assessed(added, reading).due

    @few
    @given(facts(), READINGS)
    def test_a_hold_blocks_and_moves_nothing(self, mapping: Facts, reading: Reading) -> None:
        """A hold leaves date and rule as they are, and the study is never due."""
        held = assessed(mapping | {"holds": [*mapping["holds"], {"id": "new"}]}, reading)
        free = assessed(mapping, reading)
        assert (held.eligible_on, held.rule) == (free.eligible_on, free.rule)
        assert not held.due and "hold:new" in held.blocked_by

    @few
    @given(facts(), READINGS, st.sampled_from(["birth_on", "first_seen_on", "modalities"]))
    def test_an_unknown_never_makes_it_earlier(self, mapping: Facts, reading: Reading, name: str) -> None:
        """Not knowing the birth, the first visit or the modalities never brings the end nearer."""
        if name == "modalities" and mapping[name] == []:
            return
        assert kept_until(without(mapping, name), reading) >= kept_until(mapping, reading)

    @few
    @given(facts(may_be_open=False), READINGS)
    def test_an_unvalidated_death_has_no_effect(self, mapping: Facts, reading: Reading) -> None:
        """A death nobody vouches for, or without a date, changes neither date nor rule, and is told."""
        doubtful = assessed(mapping | {"facts_trusted": False, "death_on": "2001-01-01"}, reading)
        undated = assessed(mapping | {"death_on": None, "deceased": True}, reading)
        unknown = assessed(mapping | {"death_on": None, "deceased": False}, reading)
        for found in (doubtful, undated):
            assert found[:5] == unknown[:5]
            assert len(found.assumptions) == len(unknown.assumptions) + 1

    @few
    @given(facts(), st.randoms(use_true_random=False))
    def test_the_order_of_inputs_is_irrelevant(self, mapping: Facts, shuffler: random.Random) -> None:
        """Lists and keys in another order give the same answer, reasons and all."""
        shuffled = copy.deepcopy(mapping)
        for name in ("appeals", "holds"):
            shuffler.shuffle(shuffled[name])
        keys = list(shuffled)
        shuffler.shuffle(keys)
        other = assessed({key: shuffled[key] for key in keys})
        found = assessed(mapping)
        assert other[:5] == found[:5]
        assert (other.reasons, other.assumptions) == (found.reasons, found.assumptions)

    @few
    @given(facts())
    def test_prudent_never_ends_before_statute(self, mapping: Facts) -> None:
        """The prudent reading keeps at least as long as the statute alone."""
        assert kept_until(mapping, "prudent") >= kept_until(mapping, "statute")

    @few
    @given(facts(coherent=False), READINGS, st.dates())
    def test_it_is_total_and_deterministic(self, mapping: Facts, reading: Reading, today: date) -> None:
        """Any facts on any day have an answer, twice the same, with a rule unless they contradict each other."""
        found = assessed(mapping, reading, today)
        assert found == assessed(copy.deepcopy(mapping), reading, today)
        assert (found.rule is None) == bool(found.basis.contradictions)
        assert found.schedule_version.startswith(f"fr_{mapping['regime']} ")


class TestEndOfTheCalendar:
    """Dates that systems use for "never" and "unknown"."""

    @pytest.mark.parametrize(
        "known",
        [
            {"exam_on": "9990-01-01"},
            {"exam_on": "9999-12-31"},
            {"exam_on": "2010-01-01", "last_visit_on": "9999-12-31"},
            {"exam_on": "2010-01-01", "death_on": "9999-12-31"},
            {"exam_on": "2010-01-01", "appeals": [{"from": "2011-01-01", "to": "9999-12-31"}]},
        ],
    )
    @pytest.mark.parametrize("regime", ["hospital", "private"])
    def test_a_period_that_leaves_the_calendar_has_no_end(self, known: Facts, regime: str) -> None:
        """A period that ends after 9999 has no date, names its rule, is never due, and can be told."""
        found = assessed({"regime": regime, "birth_on": "1950", **known}, today=date.max)
        assert found.eligible_on is None and found.rule is not None and not found.due
        assert found.lossless_until <= date.max
        assert "after 9999" in found.reasons[0]

    def test_the_last_day_of_the_calendar_can_be_reached(self) -> None:
        """A period that ends on the last day but one is still told with its date."""
        found = assessed({"regime": "hospital", "exam_on": "9979-12-30", "birth_on": "9900"}, today=date.max)
        assert found.eligible_on == date.max and found.due

    def test_a_practice_with_a_thousand_years_is_counted(self) -> None:
        """A site's own number may carry the end past the calendar."""
        mapping = {"regime": "private", "exam_on": "9100-02-28", "birth_on": "9000", "years": 1000}
        assert assessed(mapping, today=date(9200, 1, 1)).eligible_on is None


class TestSchedules:
    """Which schedule is applied."""

    def test_another_regime_s_schedule_is_our_mistake(self) -> None:
        """Applying a schedule to a study of the other regime is a bug, not an answer."""
        study = StudyFacts("hospital", date(2010, 1, 1))
        with pytest.raises(AssertionError):
            assess(study, load_schedule("private"), TODAY)

    def test_settings_lengthen(self) -> None:
        """A site's longer period moves the date, and the version tells it."""
        study = parse_facts({"regime": "hospital", "exam_on": "2010-03-02", "birth_on": "1950"})
        found = assess(study, load_schedule("hospital", {"base": 30}), TODAY)
        assert found.eligible_on == date(2040, 3, 3)
        assert found.schedule_version == load_schedule("hospital").version + " (base=30)"

    def test_a_practice_may_do_without_the_death_rule(self) -> None:
        """With the death rule switched off a death has no effect."""
        mapping = {"regime": "private", "exam_on": "2010-03-02", "birth_on": "1950", "death_on": "2012-06-30"}
        study = parse_facts(mapping)
        assert assess(study, load_schedule("private"), TODAY).rule == "private.death"
        found = assess(study, load_schedule("private", {"death": False, "minor": False}), TODAY)
        assert (found.rule, found.eligible_on) == ("private.base", date(2030, 3, 3))
