"""Looks for the archive's patients among INSEE's deaths and has a person decide; must not take a match for a death.

A match of name, first name, sex and birth date is a candidate: it shortens nothing. The death becomes a fact, trusted,
when somebody confirms it.
"""

from __future__ import annotations

import json
from array import array
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from archive.errors import NoSuchFact
from archive.index import death_candidates as table
from archive.index.death_candidates import CandidateKey, DeathCandidate, TraitsRow
from archive.index.session import Connection
from archive.services.fact_checks import contradictions, lives
from archive.services.fact_dates import iso_date, may_be_one_day
from archive.services.facts import NewFact, changes
from archive.services.insee import BadLine, Death, family_key, first_name_key, iter_deaths
from archive.services.ledger import Draft, Ledger
from archive.services.reports import Progress

SOURCE: Final = "insee"
LISTED: Final = 1000
AT_ONCE: Final = 500
_LINES_A_STEP: Final = 100_000

Match = tuple[Death, TraitsRow]
Decision = Callable[[Connection, DeathCandidate], list[Draft]]


@dataclass(slots=True)
class SearchReport:
    """What was found; ``known`` deaths are trusted facts already, ``found_before`` candidates already."""

    is_applied: bool = False
    lines: int = 0
    bad: int = 0
    bad_lines: list[BadLine] = field(default_factory=list)
    undated: int = 0
    found: int = 0
    found_before: int = 0
    known: int = 0
    candidates: set[CandidateKey] = field(default_factory=set)


class Crowd:
    """The patients of an archive by name, first name and year of birth: 16 bytes each."""

    def __init__(self, patients: Iterable[TraitsRow]) -> None:
        keys, rows = array("q"), array("q")
        for patient in patients:
            family, _, given = patient.name_key.partition("=")[0].partition("^")
            keys.append(_key(family, given.partition("^")[0], patient.birth_date[:4]))
            rows.append(patient.row_id)
        order = sorted(range(len(keys)), key=keys.__getitem__)
        self._keys = array("q", (keys[place] for place in order))
        self._rows = array("q", (rows[place] for place in order))

    def find(self, death: Death) -> Iterator[int]:
        """Yield the row ids of patients that may be the dead, to be compared."""
        assert death.born_on is not None
        key = _key(death.name, death.first_names, death.born_on[:4])
        place = bisect_left(self._keys, key)
        while place < len(self._keys) and self._keys[place] == key:
            yield self._rows[place]
            place += 1


def _key(family: str, given: str, year: str) -> int:
    return hash((family_key(family), first_name_key(given), year))


def is_match(death: Death, patient: TraitsRow) -> bool:
    """Tell whether all traits that both sides have agree: names, sex, and birth dates as far as both are known."""
    family, _, given = patient.name_key.partition("=")[0].partition("^")
    born_on = iso_date(patient.birth_date)
    if born_on is None or death.born_on is None:
        return False
    is_one_sex = patient.sex not in ("M", "F") or patient.sex == death.sex
    names = (family_key(family), first_name_key(given.partition("^")[0]))
    return (
        may_be_one_day(born_on, death.born_on)
        and is_one_sex
        and names == (family_key(death.name), first_name_key(death.first_names))
    )


@dataclass(frozen=True, slots=True)
class DeathSearch:
    """Finds candidates and takes a person's decision on each."""

    ledger: Ledger

    def run(self, path: Path, *, sites: frozenset[str], actor: str | None, progress: Progress) -> SearchReport:
        """Compare a file with the patients of these sites; with an ``actor`` keep the candidates."""
        report = SearchReport(is_applied=actor is not None)
        with self.ledger.database.read() as connection:
            crowd = Crowd(table.iter_traits(connection))
        waiting: list[tuple[Death, int]] = []
        for death in self._deaths(path, report, progress):
            waiting.extend((death, row_id) for row_id in crowd.find(death))
            if len(waiting) >= AT_ONCE:
                self._keep(waiting, sites, actor, report)
                waiting = []
        self._keep(waiting, sites, actor, report)
        return report

    def _deaths(self, path: Path, report: SearchReport, progress: Progress) -> Iterator[Death]:
        for _, each in iter_deaths(path):
            report.lines += 1
            if report.lines % _LINES_A_STEP == 0:
                progress(report.lines, 0)
            if isinstance(each, BadLine):
                report.bad += 1
                if len(report.bad_lines) < LISTED:
                    report.bad_lines.append(each)
            elif each.died_on is None or each.born_on is None:
                report.undated += 1
            else:
                yield each

    def _keep(
        self, some: Sequence[tuple[Death, int]], sites: frozenset[str], actor: str | None, report: SearchReport
    ) -> None:
        def decide(connection: Connection) -> list[Draft]:
            matches = [
                (death, patient)
                for death, row_id in some
                for patient in table.traits_of(connection, row_id)
                if is_match(death, patient) and patient.site in sites
            ]
            return _drafts(connection, matches, report)

        if actor is not None:
            self.ledger.act(actor, decide)
            return
        with self.ledger.database.read() as connection:
            decide(connection)

    # ---- a person's decision ---------------------------------------------------------------------------------------

    def list(self, state: str = "waiting") -> list[DeathCandidate]:
        """Return the candidates of a state: waiting, confirmed or rejected."""
        with self.ledger.database.read() as connection:
            return list(table.iter_in_state(connection, state))

    def waiting(self, sites: Collection[str], after: int, limit: int) -> Sequence[DeathCandidate]:
        """Return the next candidates of these sites that wait for a person, in the order they were found."""
        with self.ledger.database.read() as connection:
            return table.waiting(connection, sites, after, limit)

    def confirm(self, number: int, *, actor: str, sites: frozenset[str]) -> DeathCandidate:
        """Make a candidate a trusted death of its patient; also one that was rejected. Raises NoSuchFact."""

        def drafts(connection: Connection, candidate: DeathCandidate) -> list[Draft]:
            if candidate.state == "confirmed":
                raise NoSuchFact(reason=f"{number} is confirmed already")
            # Two records of one person are two patients until they are linked: each has the death under its own name.
            reference = f"{candidate.patient_id} {candidate.reference}"
            death = NewFact(
                candidate.site, candidate.patient_id, "death", candidate.source, reference, candidate.died_on
            )
            return [_decision("candidate_confirmed", candidate), *changes(connection, [death])]

        return self._decide(number, actor, sites, drafts)

    def reject(self, number: int, *, actor: str, sites: frozenset[str]) -> DeathCandidate:
        """Say that a candidate is somebody else; the same death found again waits no more. Raises NoSuchFact."""

        def drafts(_: Connection, candidate: DeathCandidate) -> list[Draft]:
            if candidate.state != "waiting":
                reason = f"{number} is {candidate.state} already; a confirmed death is taken back with facts withdraw"
                raise NoSuchFact(reason=reason)
            return [_decision("candidate_rejected", candidate)]

        return self._decide(number, actor, sites, drafts)

    def _decide(self, number: int, actor: str, sites: frozenset[str], drafts: Decision) -> DeathCandidate:
        found: list[DeathCandidate] = []

        def decide(connection: Connection) -> list[Draft]:
            candidate = table.find(connection, number)
            if candidate is None or candidate.site not in sites:
                raise NoSuchFact(reason=f"{number} is not the number of a candidate; facts candidates list prints them")
            found.append(candidate)
            return drafts(connection, candidate)

        self.ledger.act(actor, decide)
        return found[0]


def _decision(kind: str, candidate: DeathCandidate) -> Draft:
    return Draft(kind, candidate.key._asdict(), {"source": candidate.source})


def _drafts(connection: Connection, matches: Sequence[Match], report: SearchReport) -> list[Draft]:
    """Return the drafts of those matches that are news, one for each patient and death."""
    facts = {_key_of(match): _fact(match) for match in matches}
    known, before = lives(connection, facts.values()), table.known(connection, facts.keys())
    drafts = {}
    for match in matches:
        key = _key_of(match)
        life, fact = known[key.site, key.patient_id], facts[key]
        assert fact.from_on is not None
        if any(may_be_one_day(fact.from_on, day) for day in life.sure_deaths):
            report.known += 1
        elif key in before or key in drafts or key in report.candidates:
            report.found_before += 1
        else:
            doubts = list(contradictions(fact, life, "9999-12-31"))
            drafts[key] = Draft("candidate_found", _data(match, doubts), {"source": SOURCE})
    report.found += len(drafts)
    report.candidates.update(drafts)
    return list(drafts.values())


def _key_of(match: Match) -> CandidateKey:
    death, patient = match
    return CandidateKey(patient.site, patient.patient_id, death.reference)


def _fact(match: Match) -> NewFact:
    death, patient = match
    return NewFact(patient.site, patient.patient_id, "death", SOURCE, death.reference, death.died_on)


def _data(match: Match, doubts: Sequence[str]) -> dict[str, str | None]:
    death, patient = match
    traits = {
        "insee": {
            "name": death.name,
            "first_names": death.first_names,
            "sex": death.sex,
            "born_on": death.born_on,
            "birth_place": death.birth_place,
            "birth_town": death.birth_town,
        },
        "archive": {"name": patient.name_key, "sex": patient.sex, "born_on": iso_date(patient.birth_date)},
        "doubts": list(doubts),
    }
    told = {"died_on": death.died_on, "source": SOURCE, "traits": json.dumps(traits, ensure_ascii=False)}
    return {**_key_of(match)._asdict(), **told}
