"""What goes cold on a day, how, and why the rest stays; whoever is not sure keeps."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import assume, given, strategies as st

from tests.unit.tiering.planning import (
    CT,
    DAYS,
    LOSSLESS,
    LOSSY,
    OLD,
    POLICIES,
    SR,
    STUDIES,
    TODAY,
    codes,
    decided,
    reason,
)
from tiering.lossy_rules import SiteRules
from tiering.lossy_tables import load_rules
from tiering.policy import Action, Override, StudyHolding, TierPolicy, decide, is_hold_or_appeal, plan

# ---- age -----------------------------------------------------------------------------------------------------------


def test_an_old_study_goes_with_the_deciding_day() -> None:
    """Its reason names the day on which its immediate access ended."""
    decision = decided()
    assert (decision.action, decision.goes, reason(decision).code) == (Action.COLD_LOSSLESS, True, "age")
    assert "2023-03-02" in reason(decision).text


@pytest.mark.parametrize(("days", "goes"), [(-1, False), (0, True), (1, True)])
def test_the_first_day_is_the_one_after_the_immediate_access(days: int, goes: bool) -> None:
    """``lossless_until`` is exclusive: on that day the study may go, on the day before not."""
    first = date(2023, 3, 2)
    assert decided(on=first + timedelta(days=days)).goes is goes


@pytest.mark.parametrize(("days", "code"), [(-1, "young"), (0, "extra_days"), (89, "extra_days"), (90, "age")])
def test_a_site_may_keep_longer(days: int, code: str) -> None:
    """What is kept beyond the law says that it is the settings, not the law."""
    decision = decided(TierPolicy(extra_days=90), on=date(2023, 3, 2) + timedelta(days=days))
    assert codes(decision) == [code]


def test_a_day_beyond_the_calendar_never_comes() -> None:
    """Extra days that lead past the year 9999 keep for ever, and nothing breaks."""
    decision = decided(TierPolicy(extra_days=36500), lossless_until=date.max, on=date.max)
    assert codes(decision) == ["young"] and "beyond the calendar" in reason(decision).text


# ---- doubt ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ({"is_assessed": False, "lossless_until": None}, "not_assessed"),
        ({"is_stale": True}, "stale"),
        ({"reassess_on": TODAY}, "stale"),
        ({"error": "exam_on is no date", "lossless_until": None}, "error"),
        ({"lossless_until": None}, "unknown"),
        ({"exam_on": TODAY + timedelta(days=1)}, "future"),
        ({"blocked_by": ("facts",)}, "facts"),
        ({"blocked_by": ("something new",)}, "blocked"),
        ({"unsealed": "3 of its instances are not sealed yet"}, "unsealed"),
        ({"attempts": 3}, "set_aside"),
        ({"is_cold": True}, "cold"),
    ],
)
def test_whoever_is_not_sure_keeps(values: dict[str, Any], code: str) -> None:
    """Each doubt alone keeps an old study hot, and is the only reason."""
    assert codes(decided(**values)) == [code]


def test_a_day_on_which_time_changes_the_assessment_is_waited_for() -> None:
    """An appeal that begins tomorrow keeps nothing today."""
    assert decided(reassess_on=TODAY + timedelta(days=1)).goes


def test_all_reasons_are_told_the_deciding_one_first() -> None:
    """An operator sees at once that lifting the hold alone would not do."""
    decision = decided(TierPolicy(min_study_bytes=10**9), is_stale=True, blocked_by=("hold:H-2026-0001",), attempts=9)
    assert codes(decision) == ["stale", "hold", "small", "set_aside"]


def test_what_is_about_to_be_destroyed_is_not_moved_before() -> None:
    """The reason names the list; whoever cancels it lets the study go cold instead."""
    assert reason(decided(disposal_list="D-2026-0004")).code == "disposal"
    assert "D-2026-0004" in reason(decided(disposal_list="D-2026-0004")).text


# ---- holds and appeals ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("word", "text"), [("hold:H-2026-0007", "H-2026-0007"), ("appeal", "appeal")])
def test_held_studies_stay_unless_the_settings_let_them_go(word: str, text: str) -> None:
    """By default they stay hot; let go, they go without loss and say why."""
    stays = decided(LOSSY, blocked_by=(word,))
    assert stays.action is Action.STAY and text in reason(stays).text
    goes = decided(replace(LOSSY, held="cold_lossless"), blocked_by=(word,))
    assert goes.action is Action.COLD_LOSSLESS
    assert [each.reason.code for each in goes.series] == ["held"]


def test_contradictory_facts_are_no_hold() -> None:
    """The setting for held studies lets nothing go whose facts contradict each other."""
    assert codes(decided(TierPolicy(held="cold_lossless"), blocked_by=("facts",))) == ["facts"]


@pytest.mark.parametrize(
    ("word", "is_one"), [("hold:H", True), ("hold", True), ("appeal", True), ("facts", False), ("holder", False)]
)
def test_what_a_hold_is(word: str, is_one: bool) -> None:
    """The words are those of the assessment; others that begin alike are none."""
    assert is_hold_or_appeal(word) is is_one


# ---- the settings --------------------------------------------------------------------------------------------------


def test_a_modality_keeps_its_whole_study() -> None:
    """One series of it is enough: a study is never torn apart."""
    decision = decided(TierPolicy(never_modalities=frozenset({"SR"})), series=(CT, SR))
    assert codes(decision) == ["modality"] and "SR" in reason(decision).text


@pytest.mark.parametrize(
    ("override", "code"),
    [
        (Override("CHU", stays=True), "modality"),
        (Override("", frozenset({"CT"}), stays=True), "modality"),
        (Override("CHU", frozenset({"CT"}), extra_days=9999), "extra_days"),
        (Override("Clinique", stays=True), "age"),
        (Override("CHU", frozenset({"MR"}), stays=True), "age"),
        (Override("", frozenset({"MR"}), extra_days=9999), "age"),
    ],
)
def test_a_rule_is_for_its_site_and_modalities_alone(override: Override, code: str) -> None:
    """It keeps what it names, and nothing else."""
    assert codes(decided(TierPolicy(overrides=[override]))) == [code]


def test_the_longest_of_several_rules_holds() -> None:
    """Rules add caution: none of them shortens what another one, or the settings, ask for."""
    policy = TierPolicy(extra_days=10, overrides=[Override(extra_days=5), Override("CHU", extra_days=30)])
    assert policy.extra_days_of(OLD) == 30
    assert replace(policy, extra_days=40).extra_days_of(OLD) == 40


def test_small_studies_may_stay() -> None:
    """A study below the limit of the settings stays, one of exactly that size goes."""
    assert codes(decided(TierPolicy(min_study_bytes=20_000_001))) == ["small"]
    assert decided(TierPolicy(min_study_bytes=20_000_000)).goes


# ---- with loss or without ------------------------------------------------------------------------------------------


def test_lossy_is_a_forecast_with_its_source() -> None:
    """The cap and whose it is are told, and that the pixels decide."""
    decision = decided(LOSSY)
    (series,) = decision.series
    assert (decision.action, series.action, series.cap) == (Action.COLD_LOSSY, Action.COLD_LOSSY, 8.0)
    assert "up to 8:1 by drg 2008" in series.reason.text and "pixels decide" in series.reason.text


def test_a_study_may_be_mixed() -> None:
    """Images with loss, the report beside them without."""
    decision = decided(LOSSY, series=(CT, SR))
    assert decision.action is Action.MIXED
    assert [each.action for each in decision.series] == [Action.COLD_LOSSY, Action.COLD_LOSSLESS]
    assert decision.series[1].reason == ("never", "it has no pixels")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"is_already_lossy": True}, "already lossy"),
        ({"photometrics": frozenset({"PALETTE COLOR"})}, "PALETTE COLOR"),
        ({"bits_stored": 1}, "single bits"),
        ({"sop_class_uids": frozenset({"1.2.3.4"})}, "SOP class 1.2.3.4"),
    ],
)
def test_what_may_not_go_lossy_goes_lossless(change: dict[str, Any], words: str) -> None:
    """The rules of lossy compression are asked with what the index knows; what they forbid still goes cold."""
    series = replace(CT, facts=replace(CT.facts, **change))
    decision = decided(LOSSY, series=(series,))
    assert decision.action is Action.COLD_LOSSLESS
    assert words in decision.series[0].reason.text


def test_the_modality_of_the_series_counts() -> None:
    """Mammography never goes with loss, whatever else is known."""
    decision = decided(LOSSY, series=(replace(CT, modality="MG"),))
    assert decision.series[0].reason.code == "never" and "MG" in decision.series[0].reason.text


def test_a_rule_may_forbid_loss() -> None:
    """For one site, or one modality of it; elsewhere it stays as it was."""
    for override in (Override("CHU", is_lossless=True), Override("", frozenset({"CT"}), is_lossless=True)):
        assert decided(replace(LOSSY, overrides=[override])).action is Action.COLD_LOSSLESS
    for override in (Override("Clinique", is_lossless=True), Override("", frozenset({"MR"}), is_lossless=True)):
        assert decided(replace(LOSSY, overrides=[override])).action is Action.COLD_LOSSY


def test_the_rules_of_a_site_are_those_the_migration_takes() -> None:
    """``rules_at`` adds to what the site forbids anyway, and is None where all loss is forbidden."""
    rules = load_rules("drg", SiteRules(frozenset({"US"})))
    overrides = [Override("CHU", frozenset({"CT"}), is_lossless=True), Override("Clinique", is_lossless=True)]
    policy = TierPolicy(lossy=rules, overrides=overrides)
    here = policy.rules_at("CHU")
    assert here is not None and here.site.never_modalities == {"US", "CT"}
    assert policy.rules_at("Clinique") is None
    assert policy.rules_at("Cabinet") == rules
    assert replace(policy, lossy=None).rules_at("CHU") is None


def test_a_study_without_series_goes_without_loss() -> None:
    """Nothing is known that could lose anything."""
    assert decided(LOSSY, series=()).action is Action.COLD_LOSSLESS


# ---- whatever comes ------------------------------------------------------------------------------------------------


@given(STUDIES, POLICIES, DAYS)
def test_what_is_held_or_unknown_never_goes(study: StudyHolding, policy: TierPolicy, on: date) -> None:
    """Whatever the policy: no hold, doubt or missing day lets a study go, but a hold where the settings say so."""
    decision = decide(study, policy, on=on)
    is_in_doubt = study.is_stale or study.error or not study.is_assessed or study.lossless_until is None
    if is_in_doubt or "facts" in study.blocked_by or study.unsealed or (study.exam_on and study.exam_on > on):
        assert decision.action is Action.STAY
    if study.is_held:
        assert decision.action in (Action.STAY, Action.COLD_LOSSLESS)
        assert policy.held == "cold_lossless" or not decision.goes


@given(STUDIES, POLICIES, DAYS)
def test_nothing_goes_before_the_law_lets_it(study: StudyHolding, policy: TierPolicy, on: date) -> None:
    """No setting shortens the immediate access."""
    if decide(study, policy, on=on).goes:
        assert study.lossless_until is not None and study.lossless_until <= on


@given(STUDIES, POLICIES, DAYS, st.integers(0, 20_000))
def test_time_alone_brings_nothing_back(study: StudyHolding, policy: TierPolicy, on: date, days: int) -> None:
    """What may go on a day may go on every later one, until its assessment is to be made again."""
    later = on + timedelta(days=days)
    assume(study.reassess_on is None or study.reassess_on > later)
    if decide(study, policy, on=on).goes:
        assert decide(study, policy, on=later).action is decide(study, policy, on=on).action


@given(st.lists(STUDIES, max_size=6), POLICIES, DAYS, st.randoms())
def test_a_plan_is_a_function_of_each_study(studies: list[StudyHolding], policy: TierPolicy, on: date, by: Any) -> None:
    """Asked again, in another order, in parts: the same decisions, in the order of the studies."""
    decisions = list(plan(studies, policy, on=on))
    assert [each.study for each in decisions] == studies
    order = list(range(len(studies)))
    by.shuffle(order)
    again = list(plan((studies[index] for index in order), policy, on=on))
    assert again == [decisions[index] for index in order]


@given(STUDIES, POLICIES, DAYS)
def test_caution_keeps(study: StudyHolding, policy: TierPolicy, on: date) -> None:
    """Without overrides, extra days and lossy copies at least as much goes, and nothing with loss."""
    bold = replace(policy, overrides=(), extra_days=0)
    if decide(study, policy, on=on).goes:
        assert decide(study, bold, on=on).goes
    plain = decide(study, replace(policy, lossy=None), on=on)
    assert plain.action in (Action.STAY, Action.COLD_LOSSLESS)
    assert plain.goes is decide(study, policy, on=on).goes


@given(STUDIES, POLICIES, DAYS)
def test_every_decision_has_a_reason(study: StudyHolding, policy: TierPolicy, on: date) -> None:
    """Codes are words for machines, texts are for people; what goes names each of its series."""
    decision = decide(study, policy, on=on)
    assert decision.reasons and decision.code == decision.reasons[0].code
    for each in (*decision.reasons, *(series.reason for series in decision.series)):
        assert each.code.isidentifier() and each.text
    if decision.goes:
        assert [each.holding for each in decision.series] == list(study.series)
        assert all((each.cap is not None) is (each.action is Action.COLD_LOSSY) for each in decision.series)


def test_a_plan_streams() -> None:
    """A million studies are never in memory: a decision comes before the next study is asked for."""
    asked: list[str] = []

    def studies() -> Any:
        for number in range(3):
            asked.append(str(number))
            yield replace(OLD, study_instance_uid=str(number))

    decisions = plan(studies(), LOSSLESS, on=TODAY)
    next(decisions)
    assert asked == ["0"]
