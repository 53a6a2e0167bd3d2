"""What the engine concludes about one study, and its form in the machine contract; must not conclude anything itself.

Reasons and assumptions are put into words when they are asked for, so that a sweep does not pay for them.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from typing import Any, Literal, NamedTuple

from retention_rules.facts import StudyFacts
from retention_rules.periods import Day, day_text
from retention_rules.schedule import RetentionSchedule, Rule

Reading = Literal["prudent", "statute"]


class Candidate(NamedTuple):
    """A rule applied to the facts: counted from ``counted_from``, it ends on ``end``, or ``reached`` with appeals.

    The clock it stands for runs from ``starts_on``; ``is_open`` tells that an open appeal stops it for good.
    """

    rule: Rule
    years: int
    counted_from: date
    starts_on: date
    end: Day
    reached: Day
    is_open: bool


class Basis(NamedTuple):
    """What a conclusion was drawn from, for those who ask why; the first candidate is the one that decided.

    ``set_aside`` are the rules that the death rule replaced, or the death rule where it does not apply.
    """

    facts: StudyFacts
    schedule: RetentionSchedule
    today: date
    reading: Reading
    candidates: tuple[Candidate, ...]
    set_aside: tuple[Candidate, ...]
    contradictions: tuple[str, ...]


class Assessment(NamedTuple):
    """Until when a study is kept, and why; a decision is a person's.

    ``eligible_on`` is the first day on which elimination may be proposed; None: there is no such day. ``rule`` is
    None when the facts contradict each other. ``blocked_by`` holds ``hold:<id>``, ``appeal``, ``facts``.
    """

    eligible_on: date | None
    lossless_until: date
    rule: str | None
    due: bool
    blocked_by: tuple[str, ...]
    basis: Basis

    @property
    def schedule_version(self) -> str:
        """Return which version of which schedule was applied."""
        return self.basis.schedule.version

    @property
    def reasons(self) -> tuple[str, ...]:
        """Return in short English what each rule gave, the deciding one first, then what contradicts or blocks."""
        return tuple(_reasons(self))

    @property
    def assumptions(self) -> tuple[str, ...]:
        """Return in short English what was supposed where facts are missing, partial or not to be trusted."""
        return tuple([_ASSUMPTIONS[code].format(value) for code, value in iter_assumptions(self.basis)])


_ASSUMPTIONS = {
    "birth_unknown": "birth_on is unknown: born on {} at the latest",
    "death_undated": "deceased without a date: no effect",
    "death_untrusted": "death_on {} is not validated: no effect",
    "modalities_unknown": "modalities are unknown: the floor of {} is applied",
    "partial": "{} is partial: read as the latest day it may mean",
}


def iter_assumptions(basis: Basis) -> Iterator[tuple[str, str]]:
    """Yield what was supposed: a code (birth_unknown, death_undated, death_untrusted, modalities_unknown, partial) and
    the date, the modalities or the name of the fact it is about."""
    facts = basis.facts
    if facts.birth_on is None:
        yield "birth_unknown", born_at_the_latest(facts).isoformat()
    if facts.death_on is not None and not facts.facts_trusted:
        yield "death_untrusted", facts.death_on.isoformat()
    elif facts.deceased and facts.death_on is None:
        yield "death_undated", ""
    floor = basis.schedule.in_force(basis.today).floor
    if facts.modalities is None and floor is not None:
        yield "modalities_unknown", "/".join(sorted(floor.modalities))
    for name in facts.partial:
        yield "partial", name


def born_at_the_latest(facts: StudyFacts) -> date:
    """Return E, the earliest day on which the patient is known to have been there."""
    if facts.first_seen_on is None:
        return facts.exam_on
    return min(facts.first_seen_on, facts.exam_on)


def _reasons(assessment: Assessment) -> list[str]:
    basis = assessment.basis
    reasons = [f"considered: {_in_words(candidate)}" for candidate in basis.candidates]
    if reasons:
        reasons[0] = reasons[0].replace("considered", "decides", 1)
    reasons += [f"set aside: {_in_words(candidate)}" for candidate in basis.set_aside]
    reasons += [f"contradiction: {code}" for code in basis.contradictions]
    return reasons + [f"blocked by {blocker}" for blocker in assessment.blocked_by]


def _in_words(candidate: Candidate) -> str:
    rule, years, counted_from, _, end, reached, is_open = candidate
    words = f"{rule.label}, {counted_from.isoformat()} + {years} years = {day_text(end)}"
    if is_open:
        return f"{words}, an open appeal stops the clock"
    return words if reached == end else f"{words}, with appeals + {reached - end} days = {day_text(reached)}"


def as_json(assessment: Assessment, case: object) -> dict[str, Any]:
    """Return an assessment in the machine contract's form and order of keys; ``case`` is given back as it came."""
    eligible_on, lossless_until, rule, due, blocked_by, _ = assessment
    return {
        "case": case,
        "eligible_on": None if eligible_on is None else eligible_on.isoformat(),
        "lossless_until": lossless_until.isoformat(),
        "due": due,
        "blocked_by": blocked_by,
        "rule": rule,
        "reasons": assessment.reasons,
        "assumptions": assessment.assumptions,
    }
