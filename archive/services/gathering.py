"""Everything known of a study, as the machine contract's mapping; must not conclude anything from it.

Where sources disagree or are silent, what keeps a study longer is taken, and an assumption says so. ``regime`` and
``years`` are the site's settings: the caller adds them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

from archive.index import gathering as index
from archive.index.gathering import FactRow, OtherDates, StudyRow
from archive.index.session import Connection
from archive.services.fact_dates import first_day, iso_date, last_day

PAGE: Final = 1000
ASSUMPTIONS: Final[Mapping[str, Mapping[str, str]]] = {
    "exam_from_series": {
        "en": "StudyDate is missing or no date: the exam was on the latest date of its series",
        "fr": "StudyDate absente ou illisible : examen à la date la plus récente de ses séries",
    },
    "exam_from_acquisition": {
        "en": "StudyDate is missing or no date: the exam was on the latest date of acquisition",
        "fr": "StudyDate absente ou illisible : examen à la date d'acquisition la plus récente",
    },
    "exam_from_reception": {
        "en": "the objects have no date: the exam was on the day they were last received",
        "fr": "aucune date dans les objets : examen le jour de leur dernière réception",
    },
    "birth_placeholder": {
        "en": "PatientBirthDate stands for an unknown date and is left out",
        "fr": "PatientBirthDate tient lieu de date inconnue et n'est pas retenue",
    },
    "births_differ": {
        "en": "sources give different birth dates: the latest is taken",
        "fr": "les sources donnent des dates de naissance différentes : la plus tardive est retenue",
    },
    "deaths_differ": {
        "en": "sources give different death dates: the latest is taken, and it shortens nothing",
        "fr": "les sources donnent des dates de décès différentes : la plus tardive est retenue, sans rien raccourcir",
    },
}
"""What may have been supposed while gathering, in English and in French."""

_FIRST_EXAM: Final = "1895"
_PLACEHOLDERS: Final = frozenset({"1900-01-01", "1111-11-11", "9999-12-31"})
_FIRST_BIRTH: Final = "1850"
_CROWD: Final = 200
_DEATH_YEARS: Final = 10  # R.1112-7: a death within ten years of the last visit replaces the other periods


@dataclass(frozen=True, slots=True)
class GatheredFacts:
    """What is known of a study: ``mapping`` is the contract's object without ``regime`` and ``years``.

    ``assumptions`` are keys of ASSUMPTIONS; ``size_bytes`` counts every copy.
    """

    study_id: int
    study_instance_uid: str
    site: str
    patient_id: str
    mapping: dict[str, Any]
    assumptions: tuple[str, ...]
    instances: int
    size_bytes: int


def gather(connection: Connection, study_instance_uids: Collection[str]) -> list[GatheredFacts]:
    """Return what is known of those of these studies that the archive has, in the order they came in."""
    reader, rows = _Reader(connection), index.by_uid(connection, study_instance_uids)
    return [facts for start in range(0, len(rows), PAGE) for facts in reader.gather(rows[start : start + PAGE])]


def iter_gathered(connection: Connection, after_study_id: int = 0, limit: int | None = None) -> Iterator[GatheredFacts]:
    """Yield what is known of the studies that follow a row id, a page at a time; of all, or of the next ``limit``."""
    reader, left = _Reader(connection), limit
    while left is None or left > 0:
        rows = index.page(connection, after_study_id, PAGE if left is None else min(PAGE, left))
        if not rows:
            return
        yield from reader.gather(rows)
        after_study_id = rows[-1].study_id
        left = None if left is None else left - len(rows)


@dataclass(slots=True)
class _Patient:
    """What is known of one patient at one site; worked out once for all of the page's studies of theirs."""

    studies: int = 0
    exams: set[str] = field(default_factory=set)
    births: set[str] = field(default_factory=set)
    facts: list[FactRow] = field(default_factory=list)
    holds: dict[str, str] = field(default_factory=dict)
    mapping: dict[str, Any] = field(default_factory=dict)
    assumptions: list[str] = field(default_factory=list)

    def conclude(self) -> None:
        """Bring it into the form of the contract."""
        visits = [fact for fact in self.facts if fact.kind == "visit" and fact.from_on]
        self.mapping = {
            "last_visit_on": max(
                [*self.exams, *(fact.to_on or fact.from_on or "" for fact in visits)], key=last_day, default=None
            ),
            "first_seen_on": min(
                [*self.exams, *(fact.from_on or "" for fact in visits if fact.is_trusted)], key=last_day, default=None
            ),
            "birth_on": self._birth_on(),
            "appeals": _appeals(self.facts),
        }
        self._conclude_death()

    def _birth_on(self) -> str | None:
        told = {fact.from_on for fact in self.facts if fact.kind == "birth" and fact.is_trusted and fact.from_on}
        births = told or {day for day in self.births if day > _FIRST_BIRTH and day not in _PLACEHOLDERS}
        if not told and len(births) < len(self.births):
            self.assumptions.append("birth_placeholder")
        if not _agree(births):
            self.assumptions.append("births_differ")
        return _latest(births)

    def _conclude_death(self) -> None:
        deaths = [fact for fact in self.facts if fact.kind == "death" and fact.from_on]
        trusted = {fact.from_on or "" for fact in deaths if fact.is_trusted}
        death_on = _latest(trusted or {fact.from_on or "" for fact in deaths})
        is_trusted = bool(trusted) or not deaths
        if not _agree(trusted):
            self.assumptions.append("deaths_differ")
            # Within ten years a death shortens: then it must be sure. Later it lengthens, and counts.
            is_trusted = last_day(death_on or "") >= _years_after(self.mapping["last_visit_on"], _DEATH_YEARS)
        self.mapping["death_on"] = death_on
        self.mapping["deceased"] = bool(deaths) or any(fact.kind == "deceased" for fact in self.facts)
        self.mapping["facts_trusted"] = is_trusted


@dataclass(slots=True)
class _Reader:
    """Reads pages within one transaction; patients with very many studies (phantoms, "UNKNOWN") are read once."""

    connection: Connection
    crowded: dict[tuple[str, str], _Patient] = field(default_factory=dict)

    def gather(self, rows: Sequence[StudyRow]) -> list[GatheredFacts]:
        """Gather a page: a few statements for each site, then everything in memory."""
        ids = [row.study_id for row in rows]
        totals, modalities = index.totals(self.connection, ids), index.modalities(self.connection, ids)
        held = self._held([row.study_instance_uid for row in rows])
        exams = dict(_exams(self.connection, rows))
        patients: dict[str, dict[str, _Patient]] = {
            site: self._patients(site, [row for row in rows if row.site == site], exams)
            for site in {row.site for row in rows}
        }
        return [
            _facts(
                row,
                patients[row.site][_name(row)],
                exams[row.study_id],
                held.get(row.study_instance_uid),
                (modalities.get(row.study_id), *totals.get(row.study_id, (0, 0))),
            )
            for row in rows
        ]

    def _held(self, study_instance_uids: Sequence[str]) -> dict[str, dict[str, str]]:
        held: dict[str, dict[str, str]] = defaultdict(dict)
        for uid, hold_id, reason in index.holds_of_studies(self.connection, study_instance_uids):
            held[uid][hold_id] = reason
        return held

    def _patients(self, site: str, rows: Sequence[StudyRow], exams: Mapping[int, _Exam]) -> dict[str, _Patient]:
        """Return who the patients of a site's studies are, by every name they have."""
        known = {
            row.patient_id: self.crowded[site, row.patient_id] for row in rows if (site, row.patient_id) in self.crowded
        }
        wanted = {row.patient_id for row in rows if row.patient_id} - known.keys()
        leaders = index.linked(self.connection, site, wanted)
        studies = [*index.of_patients(self.connection, site, leaders), *(row for row in rows if not row.patient_id)]
        found = self._with_studies(studies, leaders, exams)
        for fact in index.facts(self.connection, site, leaders):
            found[leaders[fact.patient_id]].facts.append(fact)
        for patient_id, hold_id, reason in index.holds_of_patients(self.connection, site, leaders):
            found[leaders[patient_id]].holds[hold_id] = reason
        for patient in found.values():
            patient.conclude()
        found |= {each: found[leader] for each, leader in leaders.items()}
        self.crowded.update(((site, each), patient) for each, patient in found.items() if patient.studies > _CROWD)
        return found | known

    def _with_studies(
        self, studies: Sequence[StudyRow], leaders: Mapping[str, str], exams: Mapping[int, _Exam]
    ) -> dict[str, _Patient]:
        found: dict[str, _Patient] = defaultdict(_Patient)
        others = dict(_exams(self.connection, [study for study in studies if study.study_id not in exams]))
        for study in studies:
            patient = found[leaders.get(study.patient_id) or _name(study)]
            patient.studies += 1
            exam_on, _ = exams.get(study.study_id) or others[study.study_id]
            if _is_credible(exam_on):
                patient.exams.add(exam_on)
            if birth := _day(study.birth_date):
                patient.births.add(birth)
        return found


def _name(study: StudyRow) -> str:
    """Return what a study's patient is called among a site's; one without PatientID is nobody else's."""
    return study.patient_id or f"\0{study.study_id}"


def _facts(
    row: StudyRow,
    patient: _Patient,
    exam: _Exam,
    held: dict[str, str] | None,
    sizes: tuple[list[str] | None, int, int],
) -> GatheredFacts:
    exam_on, assumption = exam
    holds = patient.holds | held if held else patient.holds
    mapping = {
        "exam_on": exam_on,
        **patient.mapping,
        "holds": [{"id": hold_id, "reason": holds[hold_id]} for hold_id in sorted(holds)],
        "modalities": sizes[0],
    }
    assumptions = (*(() if assumption is None else (assumption,)), *patient.assumptions)
    return GatheredFacts(
        row.study_id, row.study_instance_uid, row.site, row.patient_id, mapping, assumptions, sizes[1], sizes[2]
    )


_Exam = tuple[str, str | None]
"""The day of an exam, and what was supposed to know it."""


def _exams(connection: Connection, studies: Iterable[StudyRow]) -> Iterator[tuple[int, _Exam]]:
    undated = []
    for study in studies:
        day = _day(study.study_date)
        if day is None or day in _PLACEHOLDERS:
            undated.append(study.study_id)
        else:
            yield study.study_id, (day, None)
    others = index.other_dates(connection, undated)
    for study_id in undated:
        yield study_id, _other_day(others.get(study_id, OtherDates((), (), "")))


def _other_day(dates: OtherDates) -> _Exam:
    for texts, assumption in ((dates.series, "exam_from_series"), (dates.acquired, "exam_from_acquisition")):
        days = [day for day in map(_day, texts) if day and _is_credible(day)]
        if days:
            return max(days), assumption
    return dates.received_on, "exam_from_reception"


@lru_cache(maxsize=1 << 16)
def _day(text: str) -> str | None:
    """Return a whole day of DICOM (DA, or the form of ACR-NEMA) as ``YYYY-MM-DD``."""
    day = iso_date(text.replace(".", "")) if text else None
    return day if day and len(day) == 10 else None


def _is_credible(day: str) -> bool:
    """Tell whether an exam may have been then; one that was not must not date what others are kept by."""
    return day >= _FIRST_EXAM and day not in _PLACEHOLDERS


def _agree(dates: Collection[str]) -> bool:
    """Tell whether dates, partial ones too, may all mean the same day."""
    return len(dates) < 2 or max(map(first_day, dates)) <= min(map(last_day, dates))


def _latest(dates: Collection[str]) -> str | None:
    """Return the date that may mean the latest day; of dates that agree, the most precise."""
    if not dates:
        return None
    return max(dates, key=len if _agree(dates) else last_day)


def _years_after(day: str | None, years: int) -> str:
    return f"{int(day[:4]) + years}{last_day(day)[4:]}" if day else ""


def _appeals(facts: Sequence[FactRow]) -> list[dict[str, str | None]]:
    intervals = {(fact.from_on or "", fact.to_on or "") for fact in facts if fact.kind == "appeal"}
    return [{"from": from_on, "to": to_on or None} for from_on, to_on in sorted(intervals)]
