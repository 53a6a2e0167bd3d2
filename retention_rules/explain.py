"""Tells people, in French or English, how an assessment was reached; must not add anything to it.

Rules are told in the words of their schedule, followed by where they are written.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from typing import Literal

from retention_rules.assessment import Assessment, Basis, Candidate, iter_assumptions
from retention_rules.facts import StudyFacts
from retention_rules.periods import Day, as_date
from retention_rules.schedule import Rule
from retention_rules.words import MONTHS, WORDS

Language = Literal["fr", "en"]

_DATES = ("exam_on", "last_visit_on", "first_seen_on", "birth_on", "death_on")


def explain(assessment: Assessment, language: Language) -> list[str]:
    """Return sentences for a person: the conclusion, the rules with their citations, the facts, what was assumed and
    what blocks. They hold the patient's dates: for those who may see them, never for a log."""
    return list(_Teller(assessment, language).sentences())


def explain_contradictions(assessment: Assessment, language: Language) -> list[str]:
    """Return a sentence for each contradiction among the facts."""
    return list(_Teller(assessment, language).contradictions())


class _Teller:
    """Puts one assessment into the words of one language."""

    def __init__(self, assessment: Assessment, language: Language) -> None:
        self.assessment, self.language = assessment, language
        self.basis: Basis = assessment.basis
        self.words = WORDS[language]

    def sentences(self) -> Iterator[str]:
        """Yield every sentence, the conclusion first."""
        yield self._say(self._conclusion(), eligible_on=self._day(self.assessment.eligible_on))
        for number, candidate in enumerate(self.basis.candidates):
            yield from self._rule("considered" if number else "decides", candidate)
        for candidate in self.basis.set_aside:
            yield from self._rule("set_aside", candidate)
        yield from self.contradictions()
        yield from self._blockers()
        yield from self._facts()
        for code, value in iter_assumptions(self.basis):
            yield self.words[f"assume.{code}"].format(self._readable(value))
        access = self.basis.schedule.in_force(self.basis.today).immediate_access
        until = self._day(self.assessment.lossless_until)
        yield self._say("lossless", lossless_until=until, citation=access.citation)
        yield self._say(
            "schedule",
            version=self.assessment.schedule_version,
            reading=self.words[f"reading.{self.basis.reading}"],
            today=self._day(self.basis.today),
        )

    def _say(self, key: str, **values: object) -> str:
        return self.words[key].format(**values)

    def _conclusion(self) -> str:
        assessment = self.assessment
        if assessment.due:
            return "due"
        if assessment.rule is None:
            return "contradicted"
        if assessment.eligible_on is None:
            return "no_end"
        return "not_due" if assessment.eligible_on > self.basis.today else "blocked_end"

    def _rule(self, key: str, candidate: Candidate) -> Iterator[str]:
        rule, end = candidate.rule, self._ordinal(candidate.end)
        words = self._in_words(rule, candidate)
        yield self._say(key, name=rule.name, rule=words, end=end, citation=rule.citation)
        if candidate.is_open:
            yield self.words["open"]
        elif candidate.reached != candidate.end:
            days, reached = candidate.reached - candidate.end, self._ordinal(candidate.reached)
            yield self._say("suspended", days=days, reached=reached)

    def _in_words(self, rule: Rule, candidate: Candidate) -> str:
        return rule.explanations[self.language].format(
            years=candidate.years,
            counted_from=self._day(candidate.counted_from),
            modalities=", ".join(sorted(rule.modalities)),
        )

    def contradictions(self) -> Iterator[str]:
        """Yield what cannot be true together."""
        dates = {name: self._day(getattr(self.basis.facts, name)) for name in _DATES}
        for code in self.basis.contradictions:
            yield self._say(f"contradiction.{code}", today=self._day(self.basis.today), **dates)

    def _blockers(self) -> Iterator[str]:
        for hold in sorted(self.basis.facts.holds):
            yield self.words["block.hold"].format(hold.id, f" ({hold.reason})" if hold.reason else "")
        for blocker in ("appeal", "facts"):
            if blocker in self.assessment.blocked_by:
                yield self.words[f"block.{blocker}"].format(self._day(self.basis.today))

    def _facts(self) -> Iterator[str]:
        facts: StudyFacts = self.basis.facts
        for name in _DATES:
            if getattr(facts, name) is not None:
                yield self.words[f"fact.{name}"].format(self._day(getattr(facts, name)))
        if facts.years is not None:
            yield self.words["fact.years"].format(facts.years)
        if facts.modalities:
            yield self.words["fact.modalities"].format(", ".join(sorted(set(facts.modalities))))
        for appeal in sorted(facts.appeals, key=lambda appeal: (appeal.from_on, appeal.to_on or date.max)):
            key = "appeal" if appeal.to_on else "appeal_open"
            yield self.words[key].format(self._day(appeal.from_on), self._day(appeal.to_on))

    def _readable(self, value: str) -> str:
        """Return a date or the name of a fact in words; modalities as they are."""
        name = self.words.get(f"name.{value}")
        if name is not None or not value[:1].isdigit():
            return name or value
        return self._day(date.fromisoformat(value))

    def _ordinal(self, day: Day) -> str:
        found = as_date(day)
        return self.words["beyond"] if found is None else self._day(found)

    def _day(self, day: date | None) -> str:
        if day is None:
            return ""
        month = MONTHS[self.language][day.month - 1]
        return self._say("first_day" if day.day == 1 else "day", day=day.day, month=month, year=day.year)
