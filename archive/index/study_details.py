"""One study as the index has it: whose, which series, where their copies lie; must not open an object.

What is asked of every instance is grouped in the database: a study of ten thousand instances gives a few rows.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final, NamedTuple

from archive.index.session import Connection
from archive.index.statements import Row, Statement, rows_in


class StudyRecord(NamedTuple):
    """A study with its patient; texts as the data sets had them, "" for none."""

    study_id: int
    study_instance_uid: str
    site: str
    study_date: str
    study_time: str
    accession_number: str
    study_description: str
    referring_physician_name: str
    created_at: str
    patient_id: str
    patient_name: str
    patient_birth_date: str
    patient_sex: str


class SeriesRecord(NamedTuple):
    """A series and how many instances it has; ``arrived_lossy`` of them were lossy when they were received.

    ``made_lossy`` are lossy copies that the archive made.
    """

    series_id: int
    series_instance_uid: str
    modality: str
    series_number: str
    series_description: str
    body_part_examined: str
    instances: int
    arrived_lossy: int
    made_lossy: int
    last_received_at: str


class CopyCount(NamedTuple):
    """Copies of a series' instances that lie in the same way; ``tier`` hot or cold, ``state`` as of a location."""

    series_id: int
    tier: str
    is_packed: int
    state: str
    copies: int
    size_bytes: int


_SELECT: Final = (
    "SELECT study.id, study_instance_uid, study.site, COALESCE(study_date, ''), COALESCE(study_time, ''), "
    "COALESCE(accession_number, ''), COALESCE(study_description, ''), COALESCE(referring_physician_name, ''), "
    "created_at, COALESCE(patient.patient_id, ''), COALESCE(patient_name, ''), COALESCE(patient_birth_date, ''), "
    "COALESCE(patient_sex, '') FROM study JOIN patient ON patient.id = study.patient_fk"
)
_BY_ID: Final = Statement(f"{_SELECT} WHERE study.id = ?")
_BY_UID: Final = f"{_SELECT} WHERE study_instance_uid IN (%s)"
_NEWEST: Final = "ORDER BY study_date DESC, study.id DESC LIMIT ?"
_OF_PATIENT: Final = Statement(f"{_SELECT} WHERE patient.patient_id = ? {_NEWEST}")
_OF_ACCESSION: Final = Statement(f"{_SELECT} WHERE accession_number = ? {_NEWEST}")
_SERIES: Final = Statement(
    "SELECT series.id, series_instance_uid, COALESCE(modality, ''), COALESCE(series_number, ''), "
    "COALESCE(series_description, ''), COALESCE(body_part_examined, ''), COUNT(*), "
    "SUM(CASE WHEN lossy_image_compression = '01' THEN 1 ELSE 0 END), "
    "SUM(CASE WHEN EXISTS (SELECT 1 FROM successor WHERE successor_uid = instance.sop_instance_uid) "
    "THEN 1 ELSE 0 END), "
    "MAX(received_at) FROM series JOIN instance ON series_fk = series.id WHERE study_fk = ? "
    "GROUP BY series.id, series_instance_uid, modality, series_number, series_description, body_part_examined "
    "ORDER BY series.id"
)
_COPIES: Final = Statement(
    "SELECT series.id, tier, CASE WHEN pack_fk IS NULL THEN 0 ELSE 1 END, state, COUNT(*), SUM(size_bytes) "
    "FROM series JOIN instance ON series_fk = series.id JOIN location ON instance_fk = instance.id "
    "WHERE study_fk = ? GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4"
)
_MODALITIES: Final = "SELECT DISTINCT study_fk, modality FROM series WHERE study_fk IN (%s) AND modality <> ''"


def by_id(connection: Connection, study_id: int) -> StudyRecord | None:
    """Return a study, or None."""
    row = _BY_ID.one(connection, (study_id,))
    return None if row is None else StudyRecord(*row)


def by_uid(connection: Connection, study_instance_uids: Collection[str]) -> dict[str, StudyRecord]:
    """Return those of these studies that the archive has, by UID."""
    return {row[1]: StudyRecord(*row) for row in rows_in(connection, _BY_UID, study_instance_uids)}


def of_patient(connection: Connection, patient_id: str, limit: int) -> list[StudyRecord]:
    """Return the studies under one PatientID, of every site, newest first."""
    return [StudyRecord(*row) for row in _OF_PATIENT.rows(connection, (patient_id, limit))]


def of_accession(connection: Connection, accession_number: str, limit: int) -> list[StudyRecord]:
    """Return the studies of one AccessionNumber, of every site, newest first."""
    return [StudyRecord(*row) for row in _OF_ACCESSION.rows(connection, (accession_number, limit))]


def series_of(connection: Connection, study_id: int) -> list[SeriesRecord]:
    """Return the series of a study in the order in which they came."""
    return [SeriesRecord(*_whole(row, 6, 9)) for row in _SERIES.rows(connection, (study_id,))]


def copies_of(connection: Connection, study_id: int) -> list[CopyCount]:
    """Return how the copies of a study's instances lie."""
    return [CopyCount(*_whole(row, 4, 6)) for row in _COPIES.rows(connection, (study_id,))]


def modalities_of(connection: Connection, study_ids: Collection[int]) -> dict[int, list[str]]:
    """Return the modalities of studies' series, sorted."""
    found: dict[int, list[str]] = {}
    for study_id, modality in sorted(rows_in(connection, _MODALITIES, study_ids)):
        found.setdefault(study_id, []).append(modality)
    return found


def _whole(row: Row, start: int, stop: int) -> Row:
    """Return a row with its sums as whole numbers: PostgreSQL sums to Decimal."""
    return (*row[:start], *(int(value or 0) for value in row[start:stop]), *row[stop:])
