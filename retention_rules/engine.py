"""Applies a schedule to the facts of a study: pure and total; must not read a clock nor decide anything for a person.

Code de la santé publique, article R.1112-7; decision of the UNCAM of 14 October 2025, annexe 5. Every rule is counted
and suspended on its own, and the one that keeps longest decides; when two give the same date, the first in the order
base, minor, death, floor, immediate access.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date

from retention_rules.assessment import Assessment, Basis, Candidate, Reading, born_at_the_latest
from retention_rules.facts import StudyFacts
from retention_rules.periods import Stop, anniversary, as_date, day_after, suspended_end, union
from retention_rules.schedule import Edition, RetentionSchedule, Rule

FIRST_EXAM = date(1895, 1, 1)


def assess(facts: StudyFacts, schedule: RetentionSchedule, today: date, *, reading: Reading = "prudent") -> Assessment:
    """Return until when a study is kept on what is known ``today``, and why.

    The prudent reading keeps longer where two official sources differ; the statute reading is R.1112-7 alone.
    ``schedule`` is the one of the facts' regime. Never raises: facts that contradict each other block.
    """
    assert facts.regime == schedule.regime, "the schedule is another regime's"
    edition = schedule.in_force(today)
    lossless_until = day_after(facts.exam_on, edition.immediate_access.years) or date.max
    contradictions = tuple(find_contradictions(facts, today))
    blocked_by = _blocked_by(facts, today, contradictions)
    if contradictions:
        basis = Basis(facts, schedule, today, reading, (), (), contradictions)
        return Assessment(None, lossless_until, None, False, blocked_by, basis)
    candidates, set_aside = _apply(facts, edition, reading)
    decisive = candidates[0]
    eligible_on = None if decisive.is_open else as_date(decisive.reached + 1)
    due = not blocked_by and eligible_on is not None and eligible_on <= today
    basis = Basis(facts, schedule, today, reading, candidates, set_aside, ())
    return Assessment(eligible_on, lossless_until, decisive.rule.name, due, blocked_by, basis)


def find_contradictions(facts: StudyFacts, today: date) -> Iterator[str]:
    """Yield what cannot be true together, as codes: keep, and ask a person."""
    exam_on, birth_on, death_on = facts.exam_on, facts.birth_on, trusted_death(facts)
    if exam_on > today:
        yield "exam_in_the_future"
    if exam_on < FIRST_EXAM:
        yield "exam_before_1895"
    if birth_on is not None and birth_on > exam_on:
        yield "birth_after_exam"
    if death_on is not None:
        if birth_on is not None and death_on < birth_on:
            yield "death_before_birth"
        if death_on < last_seen(facts):
            yield "death_before_last_visit"
    if facts.appeals and any(to_on is not None and to_on < from_on for from_on, to_on in facts.appeals):
        yield "appeal_ends_before_it_begins"


def last_seen(facts: StudyFacts) -> date:
    """Return L, from which the base period runs: the last stay or consultation known, the exam at the earliest."""
    visit = facts.last_visit_on
    return facts.exam_on if visit is None or visit < facts.exam_on else visit


def trusted_death(facts: StudyFacts) -> date | None:
    """Return the day of death when a person or the hospital's own system vouches for it."""
    return facts.death_on if facts.facts_trusted else None


def _blocked_by(facts: StudyFacts, today: date, contradictions: Sequence[str]) -> tuple[str, ...]:
    if not (facts.holds or facts.appeals or contradictions):
        return ()
    found = sorted({f"hold:{hold.id}" for hold in facts.holds})
    if any(to_on is None or from_on <= today < to_on for from_on, to_on in facts.appeals):
        found.append("appeal")
    if contradictions:
        found.append("facts")
    return tuple(found)


def _apply(
    facts: StudyFacts, edition: Edition, reading: Reading
) -> tuple[tuple[Candidate, ...], tuple[Candidate, ...]]:
    """Return the rules that apply, the one that decides first, and those that death sets aside."""
    stops = union(facts.appeals) if facts.appeals else ()
    last, death, rule = last_seen(facts), trusted_death(facts), edition.death
    found = _while_living(facts, edition, last, stops)
    set_aside: tuple[Candidate, ...] = ()
    if death is not None and rule is not None:
        found, set_aside = _after_death(found, _candidate(rule, rule.years, death, death, stops), last, reading)
    _add_floors(found, facts, edition, stops)
    return _ranked(found), set_aside


def _after_death(
    living: list[Candidate], death: Candidate, last: date, reading: Reading
) -> tuple[list[Candidate], tuple[Candidate, ...]]:
    """Return what applies and what is set aside: a death soon after the last visit replaces every other period."""
    if death.counted_from.toordinal() < anniversary(last, death.rule.within_years):
        return [death], tuple(living)
    return ([*living, death], ()) if reading == "prudent" else (living, (death,))


def _while_living(facts: StudyFacts, edition: Edition, last: date, stops: Sequence[Stop]) -> list[Candidate]:
    """Return the rules that the patient's death would replace: the base period and the minor's."""
    base, minor = edition.base, edition.minor
    years = base.years if facts.years is None else facts.years
    found = [_candidate(base, years, last, last, stops)]
    if minor is not None:
        born = born_at_the_latest(facts) if facts.birth_on is None else facts.birth_on
        found.append(_candidate(minor, minor.years, born, last, stops))
    return found


def _add_floors(found: list[Candidate], facts: StudyFacts, edition: Edition, stops: Sequence[Stop]) -> None:
    exam_on, floor, access = facts.exam_on, edition.floor, edition.immediate_access
    if floor is not None and (facts.modalities is None or not floor.modalities.isdisjoint(facts.modalities)):
        found.append(_candidate(floor, floor.years, exam_on, exam_on, stops))
    found.append(_candidate(access, access.years, exam_on, exam_on, stops))


def _candidate(rule: Rule, years: int, counted_from: date, starts_on: date, stops: Sequence[Stop]) -> Candidate:
    end = anniversary(counted_from, years)
    reached, is_open = suspended_end(starts_on.toordinal(), end, stops) if stops else (end, False)
    return Candidate(rule, years, counted_from, starts_on, end, reached, is_open)


def _ranked(candidates: list[Candidate]) -> tuple[Candidate, ...]:
    """Return candidates by how long they keep, in the contract's order where that is equal (the sort is stable)."""
    candidates.sort(key=_reached, reverse=True)
    return tuple(candidates)


def _reached(candidate: Candidate) -> int:
    return candidate.reached
