"""What the index and the facts hold of many studies at once, as rows; must not weigh one against the other.

Everything is asked for a page of studies at a time, through indexes, so that a million studies are read in a minute.
A patient is a site and a PatientID, as in ``patient_facts``; a study without PatientID is a patient of its own.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator
from typing import Final, NamedTuple

from archive.index.session import Connection
from archive.index.statements import Row, Statement, rows_in


class StudyRow(NamedTuple):
    """A study as the index has it; ``patient_id`` is empty when nobody gave one."""

    study_id: int
    study_instance_uid: str
    site: str
    patient_id: str
    study_date: str
    birth_date: str


class FactRow(NamedTuple):
    """A current fact; dates as in ``PatientFact``."""

    patient_id: str
    kind: str
    from_on: str | None
    to_on: str | None
    is_trusted: int


class OtherDates(NamedTuple):
    """What else dates a study that has no usable StudyDate, best first; ``received_on`` is the latest."""

    series: tuple[str, ...]
    acquired: tuple[str, ...]
    received_on: str


_STUDY: Final = (
    "SELECT study.id, study_instance_uid, study.site, COALESCE(patient.patient_id, ''), COALESCE(study_date, ''), "
    "COALESCE(patient_birth_date, '') FROM study JOIN patient ON patient.id = study.patient_fk"
)
_PAGE: Final = Statement(f"{_STUDY} WHERE study.id > ? ORDER BY study.id LIMIT ?")
_BY_UID: Final = f"{_STUDY} WHERE study_instance_uid IN (%s)"
_OF_PATIENTS: Final = f"{_STUDY} WHERE study.site = ? AND patient.patient_id IN (%s)"
_MODALITIES: Final = "SELECT DISTINCT study_fk, modality FROM series WHERE study_fk IN (%s) AND modality <> ''"
_TOTALS: Final = (
    "SELECT study_fk, COUNT(*), SUM((SELECT SUM(size_bytes) FROM location "
    "WHERE instance_fk = instance.id AND state <> 'missing')) "
    "FROM series JOIN instance ON instance.series_fk = series.id WHERE study_fk IN (%s) GROUP BY study_fk"
)
_SERIES_DATES: Final = (
    "SELECT DISTINCT study_fk, COALESCE(series_date, ''), COALESCE(performed_procedure_step_start_date, '') "
    "FROM series WHERE study_fk IN (%s)"
)
_INSTANCE_DATES: Final = (
    "SELECT study_fk, COALESCE(acquisition_date, ''), COALESCE(content_date, ''), MAX(received_at) "
    "FROM series JOIN instance ON instance.series_fk = series.id WHERE study_fk IN (%s) GROUP BY 1, 2, 3"
)
_FACTS: Final = (
    "SELECT patient_id, kind, from_on, to_on, is_trusted FROM patient_fact "
    "WHERE site = ? AND patient_id IN (%s) AND withdrawn_at IS NULL"
)
_LINKS: Final = (
    "SELECT patient_id, merged_patient_id FROM patient_link WHERE unlinked_at IS NULL AND site = ? AND {} IN (%s)"
)
_HELD_STUDIES: Final = (
    "SELECT study_instance_uid, hold.hold_id, reason FROM hold_scope JOIN hold ON hold.hold_id = hold_scope.hold_id "
    "WHERE lifted_at IS NULL AND study_instance_uid IN (%s)"
)
_HELD_PATIENTS: Final = (
    "SELECT patient_id, hold.hold_id, reason FROM hold_scope JOIN hold ON hold.hold_id = hold_scope.hold_id "
    "WHERE lifted_at IS NULL AND study_instance_uid IS NULL AND site = ? AND patient_id IN (%s)"
)


# ---- studies -------------------------------------------------------------------------------------------------------


def page(connection: Connection, after_study_id: int, limit: int) -> list[StudyRow]:
    """Return the next studies in the order of their row ids."""
    return [StudyRow(*row) for row in _PAGE.rows(connection, (after_study_id, limit))]


def by_uid(connection: Connection, study_instance_uids: Collection[str]) -> list[StudyRow]:
    """Return the studies of these UIDs that the archive has, in the order of their row ids."""
    return sorted(StudyRow(*row) for row in rows_in(connection, _BY_UID, study_instance_uids))


def of_patients(connection: Connection, site: str, patient_ids: Collection[str]) -> Iterator[StudyRow]:
    """Yield every study that a site has of these patients."""
    return (StudyRow(*row) for row in rows_in(connection, _OF_PATIENTS, patient_ids, site))


def modalities(connection: Connection, study_ids: Collection[int]) -> dict[int, list[str]]:
    """Return the modalities of studies' series, sorted; a study that has none is left out."""
    found: dict[int, list[str]] = defaultdict(list)
    for study_id, modality in sorted(rows_in(connection, _MODALITIES, study_ids)):
        found[study_id].append(modality)
    return found


def totals(connection: Connection, study_ids: Collection[int]) -> dict[int, tuple[int, int]]:
    """Return how many instances studies have, and the bytes of all their copies."""
    return {study_id: (count, int(size or 0)) for study_id, count, size in rows_in(connection, _TOTALS, study_ids)}


def other_dates(connection: Connection, study_ids: Collection[int]) -> dict[int, OtherDates]:
    """Return what else dates studies, as the objects and their reception tell it."""
    series: dict[int, set[str]] = defaultdict(set)
    acquired: dict[int, set[str]] = defaultdict(set)
    received: dict[int, str] = {}
    for study_id, *dates in rows_in(connection, _SERIES_DATES, study_ids):
        series[study_id].update(dates)
    for study_id, acquisition, content, received_at in rows_in(connection, _INSTANCE_DATES, study_ids):
        acquired[study_id].update((acquisition, content))
        received[study_id] = max(received.get(study_id, ""), received_at[:10])
    return {each: OtherDates(tuple(series[each]), tuple(acquired[each]), received[each]) for each in received}


# ---- patients ------------------------------------------------------------------------------------------------------


def linked(connection: Connection, site: str, patient_ids: Collection[str]) -> dict[str, str]:
    """Return for these PatientIDs and all linked to them one that stands for the patient: the first in order."""
    neighbours: dict[str, set[str]] = {patient_id: set() for patient_id in patient_ids}
    waiting: Collection[str] = list(neighbours)
    while waiting:
        links = {
            tuple(row)
            for column in ("patient_id", "merged_patient_id")
            for row in _links(connection, site, column, waiting)
        }
        waiting = {each for pair in links for each in pair} - neighbours.keys()
        neighbours.update((each, set()) for each in waiting)
        for one, other in links:
            neighbours[one].add(other)
            neighbours[other].add(one)
    return _leaders(neighbours)


def _links(connection: Connection, site: str, column: str, patient_ids: Collection[str]) -> Iterator[Row]:
    return rows_in(connection, _LINKS.format(column), patient_ids, site)


def _leaders(neighbours: dict[str, set[str]]) -> dict[str, str]:
    leader: dict[str, str] = {}
    for start in sorted(neighbours):
        waiting = [start] if start not in leader else []
        while waiting:
            each = waiting.pop()
            if each not in leader:
                leader[each] = start
                waiting.extend(neighbours[each])
    return leader


def facts(connection: Connection, site: str, patient_ids: Collection[str]) -> Iterator[FactRow]:
    """Yield the current facts of patients."""
    return (FactRow(*row) for row in rows_in(connection, _FACTS, patient_ids, site))


def holds_of_studies(connection: Connection, study_instance_uids: Collection[str]) -> Iterator[Row]:
    """Yield (study_instance_uid, hold_id, reason) of the holds on studies themselves."""
    return rows_in(connection, _HELD_STUDIES, study_instance_uids)


def holds_of_patients(connection: Connection, site: str, patient_ids: Collection[str]) -> Iterator[Row]:
    """Yield (patient_id, hold_id, reason) of the holds on everything a site has of a patient."""
    return rows_in(connection, _HELD_PATIENTS, patient_ids, site)
