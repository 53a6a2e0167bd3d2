"""What a fact contradicts among what is known of its patient; must not decide who is right.

A contradiction refuses nothing: the fact is kept, the engine keeps the study, and a person is asked.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from archive.index import gathering as index
from archive.index.gathering import FactRow
from archive.index.session import Connection
from archive.services.fact_dates import first_day, iso_date, last_day, may_be_one_day
from archive.services.facts import NewFact


@dataclass(slots=True)
class Life:
    """What is known of one patient at one site: dates in the ledger's form, exams as whole days."""

    births: set[str] = field(default_factory=set)
    deaths: set[str] = field(default_factory=set)
    sure_deaths: set[str] = field(default_factory=set)
    visits: set[str] = field(default_factory=set)
    exams: set[str] = field(default_factory=set)
    is_in_archive: bool = False

    def add(self, fact: NewFact | FactRow) -> None:
        """Take a fact into account; of a visit its first day."""
        dates = {"birth": self.births, "death": self.deaths, "visit": self.visits}.get(fact.kind)
        if dates is not None and fact.from_on:
            dates.add(fact.from_on)
            if fact.kind == "death" and fact.is_trusted:
                self.sure_deaths.add(fact.from_on)


def contradictions(fact: NewFact, life: Life, today: str) -> Iterator[str]:
    """Yield what a fact contradicts, in words that name no patient; ``today`` is ``YYYY-MM-DD``."""
    day = fact.from_on
    if day is None:
        return
    if first_day(day) > today:
        yield f"the {fact.kind} lies in the future"
    if fact.kind == "death":
        yield from _death(day, life)
    elif fact.kind == "birth":
        yield from _birth(day, life)
    elif fact.kind == "visit":
        if any(first_day(day) > last_day(death) for death in life.deaths):
            yield "the visit is after the patient's death"
        if any(last_day(day) < first_day(birth) for birth in life.births):
            yield "the visit is before the patient's birth"


def _death(day: str, life: Life) -> Iterator[str]:
    if any(not may_be_one_day(day, other) for other in life.deaths):
        yield "another death date is known"
    if any(last_day(day) < first_day(birth) for birth in life.births):
        yield "the death is before the birth"
    if any(last_day(day) < first_day(visit) for visit in life.visits):
        yield "the death is before the last visit"
    if any(last_day(day) < exam for exam in life.exams):
        yield "the death is before the last exam"


def _birth(day: str, life: Life) -> Iterator[str]:
    if any(not may_be_one_day(day, other) for other in life.births):
        yield "another birth date is known"
    if any(first_day(day) > last_day(death) for death in life.deaths):
        yield "the birth is after the death"
    if any(first_day(day) > last_day(visit) for visit in life.visits):
        yield "the birth is after a visit"
    if any(first_day(day) > exam for exam in life.exams):
        yield "the birth is after an exam"


def lives(connection: Connection, facts: Iterable[NewFact]) -> dict[tuple[str, str], Life]:
    """Return what the archive knows of the patients of these facts, by site and PatientID, linked records included."""
    patients: dict[str, set[str]] = defaultdict(set)
    for fact in facts:
        patients[fact.site].add(fact.patient_id)
    return {
        (site, patient_id): life
        for site, patient_ids in patients.items()
        for patient_id, life in _lives(connection, site, sorted(patient_ids)).items()
    }


def _lives(connection: Connection, site: str, patient_ids: Sequence[str]) -> Mapping[str, Life]:
    leaders = index.linked(connection, site, patient_ids)
    found = {leader: Life() for leader in leaders.values()}
    for study in index.of_patients(connection, site, leaders):
        life = found[leaders[study.patient_id]]
        life.is_in_archive = True
        for text, dates in ((study.study_date, life.exams), (study.birth_date, life.births)):
            day = iso_date(text)
            if day and len(day) == len("2020-12-31"):
                dates.add(day)
    for fact in index.facts(connection, site, leaders):
        found[leaders[fact.patient_id]].add(fact)
    return {patient_id: found[leaders[patient_id]] for patient_id in patient_ids}
