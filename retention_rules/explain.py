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

Language = Literal["fr", "en"]

_MONTHS = {
    "fr": "janvier février mars avril mai juin juillet août septembre octobre novembre décembre".split(),
    "en": "January February March April May June July August September October November December".split(),
}
_WORDS: dict[str, dict[str, str]] = {
    "fr": {
        "due": "L'élimination peut être proposée depuis le {eligible_on}.",
        "blocked_end": "Le délai de conservation est écoulé depuis le {eligible_on}, mais l'étude doit être gardée.",
        "not_due": "L'étude doit être gardée ; l'élimination pourra être proposée à partir du {eligible_on}.",
        "no_end": "L'étude doit être gardée : il n'y a pas de date de fin.",
        "contradicted": "L'étude doit être gardée : les informations se contredisent, une personne doit les vérifier.",
        "decides": "Règle qui décide, {name} : {rule}, soit jusqu'au {end} inclus ({citation}).",
        "considered": "Règle également examinée, {name} : {rule}, soit jusqu'au {end} inclus ({citation}).",
        "suspended": "Les recours suspendent ce délai : {days} jours de plus, jusqu'au {reached} inclus.",
        "open": "Un recours sans date de fin suspend ce délai : il ne s'achève pas.",
        "lossless": "Accès immédiat sans perte d'information jusqu'à la veille du {lossless_until} ({citation}).",
        "fact.exam_on": "Date de l'examen : {}.",
        "fact.last_visit_on": "Dernier séjour ou dernière consultation : {}.",
        "fact.first_seen_on": "Premier passage connu : {}.",
        "fact.birth_on": "Date de naissance : {}.",
        "fact.death_on": "Date de décès : {}.",
        "fact.years": "Durée choisie par le cabinet : {} ans.",
        "fact.modalities": "Modalités : {}.",
        "appeal": "Recours du {} au {} exclu.",
        "appeal_open": "Recours ouvert le {}, sans date de fin.",
        "assume.birth_unknown": "Supposé : date de naissance inconnue, le patient est né au plus tard le {}.",
        "assume.death_undated": "Supposé : le patient est décédé, à une date inconnue ; c'est sans effet sur le délai.",
        "assume.death_untrusted": "Supposé : le décès du {} n'est pas validé ; il est sans effet sur le délai.",
        "assume.modalities_unknown": "Supposé : modalités inconnues, le minimum prévu pour {} est appliqué.",
        "assume.partial": "Supposé : {} est incomplète, c'est le dernier jour possible qui est retenu.",
        "block.hold": "Bloqué par la mesure de conservation {}{}.",
        "block.appeal": "Bloqué par un recours en cours le {}.",
        "block.facts": "Bloqué tant que les informations se contredisent.",
        "contradiction.exam_in_the_future": "Contradiction : l'examen ({exam_on}) est postérieur au {today}.",
        "contradiction.exam_before_1895": "Contradiction : l'examen ({exam_on}) est antérieur à 1895.",
        "contradiction.birth_after_exam": "Contradiction : naissance ({birth_on}) après l'examen ({exam_on}).",
        "contradiction.death_before_birth": "Contradiction : décès ({death_on}) avant la naissance ({birth_on}).",
        "contradiction.death_before_last_visit": "Contradiction : décès ({death_on}) avant le dernier passage.",
        "contradiction.appeal_ends_before_it_begins": "Contradiction : un recours s'achève avant d'avoir commencé.",
        "schedule": "Barème {version}, lecture {reading}, au {today}.",
        "reading.prudent": "prudente (la conservation la plus longue quand deux sources diffèrent)",
        "reading.statute": "littérale (l'article R.1112-7 seul)",
        "beyond": "une date postérieure à l'an 9999",
        "day": "{day} {month} {year}",
        "first_day": "1er {month} {year}",
    },
    "en": {
        "due": "Elimination may be proposed since {eligible_on}.",
        "blocked_end": "The retention period has been over since {eligible_on}, but the study must be kept.",
        "not_due": "The study must be kept; elimination may be proposed from {eligible_on} on.",
        "no_end": "The study must be kept: there is no end date.",
        "contradicted": "The study must be kept: the facts contradict each other, a person must check them.",
        "decides": "Deciding rule, {name}: {rule}, that is up to and including {end} ({citation}).",
        "considered": "Also considered, {name}: {rule}, that is up to and including {end} ({citation}).",
        "suspended": "Appeals suspend this period: {days} more days, up to and including {reached}.",
        "open": "An appeal without an end suspends this period: it does not run out.",
        "lossless": "Immediate lossless access until the day before {lossless_until} ({citation}).",
        "fact.exam_on": "Examination: {}.",
        "fact.last_visit_on": "Last stay or consultation: {}.",
        "fact.first_seen_on": "First known visit: {}.",
        "fact.birth_on": "Birth: {}.",
        "fact.death_on": "Death: {}.",
        "fact.years": "Number of years chosen by the practice: {}.",
        "fact.modalities": "Modalities: {}.",
        "appeal": "Appeal from {} to {}, the end excluded.",
        "appeal_open": "Appeal begun on {}, without an end.",
        "assume.birth_unknown": "Assumed: birth date unknown, the patient was born on {} at the latest.",
        "assume.death_undated": "Assumed: the patient died on an unknown day; it has no effect on the period.",
        "assume.death_untrusted": "Assumed: the death on {} is not validated; it has no effect on the period.",
        "assume.modalities_unknown": "Assumed: modalities unknown, the minimum for {} is applied.",
        "assume.partial": "Assumed: {} is incomplete, the last possible day is taken.",
        "block.hold": "Blocked by the hold {}{}.",
        "block.appeal": "Blocked by an appeal that is running on {}.",
        "block.facts": "Blocked as long as the facts contradict each other.",
        "contradiction.exam_in_the_future": "Contradiction: the examination ({exam_on}) is later than {today}.",
        "contradiction.exam_before_1895": "Contradiction: the examination ({exam_on}) is earlier than 1895.",
        "contradiction.birth_after_exam": "Contradiction: birth ({birth_on}) after the examination ({exam_on}).",
        "contradiction.death_before_birth": "Contradiction: death ({death_on}) before birth ({birth_on}).",
        "contradiction.death_before_last_visit": "Contradiction: death ({death_on}) before the last visit.",
        "contradiction.appeal_ends_before_it_begins": "Contradiction: an appeal ends before it begins.",
        "schedule": "Schedule {version}, {reading} reading, as of {today}.",
        "reading.prudent": "prudent (the longer keeping where two sources differ)",
        "reading.statute": "statute (article R.1112-7 alone)",
        "beyond": "a date after the year 9999",
        "day": "{day} {month} {year}",
        "first_day": "1 {month} {year}",
    },
}
_DATES = ("exam_on", "last_visit_on", "first_seen_on", "birth_on", "death_on")


def explain(assessment: Assessment, language: Language) -> list[str]:
    """Return sentences for a person: the conclusion, the rules with their citations, the facts, what was assumed and
    what blocks. They hold the patient's dates: for those who may see them, never for a log."""
    return list(_Teller(assessment, language).sentences())


class _Teller:
    """Puts one assessment into the words of one language."""

    def __init__(self, assessment: Assessment, language: Language) -> None:
        self.assessment, self.language = assessment, language
        self.basis: Basis = assessment.basis
        self.words = _WORDS[language]

    def sentences(self) -> Iterator[str]:
        """Yield every sentence, the conclusion first."""
        yield self._say(self._conclusion(), eligible_on=self._day(self.assessment.eligible_on))
        for number, candidate in enumerate(self.basis.candidates):
            yield from self._rule("considered" if number else "decides", candidate)
        yield from self._contradictions()
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

    def _contradictions(self) -> Iterator[str]:
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
        """Return a date in words; the name of a fact, or modalities, as they are."""
        try:
            return self._day(date.fromisoformat(value))
        except ValueError:
            return value

    def _ordinal(self, day: Day) -> str:
        found = as_date(day)
        return self.words["beyond"] if found is None else self._day(found)

    def _day(self, day: date | None) -> str:
        if day is None:
            return ""
        month = _MONTHS[self.language][day.month - 1]
        return self._say("first_day" if day.day == 1 else "day", day=day.day, month=month, year=day.year)
