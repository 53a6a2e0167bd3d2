"""Fills an empty index with a made-up hospital, fast, through plain SQL; must not be taken for the way objects enter.

Same arguments, same rows: what a benchmark measured can be measured again.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import islice
from typing import Any, Final

from archive.index.names import name_key
from archive.index.records import to_text
from archive.index.session import Connection, Database
from archive.index.statements import Statement, insert_into

_ROWS_AT_ONCE: Final = 5000
_ROOT: Final = "2.25.987654321"
_RECEIVED: Final = to_text(datetime(2026, 11, 23, 6, 0, tzinfo=UTC))
_FIRST_DAY: Final = date(2016, 1, 1)
_DAYS: Final = 3900
_SYLLABLES: Final = (
    "MAR",
    "TIN",
    "DU",
    "BOIS",
    "MOR",
    "EAU",
    "LE",
    "FÈV",
    "RE",
    "GAR",
    "NIER",
    "ROU",
    "X",
    "ÇON",
    "BEL",
)
_GIVEN: Final = ("HÉLÈNE", "JEAN", "ZOÉ", "PAUL", "FRANÇOIS", "LÉA", "INÈS", "HUGO", "NOÉMIE", "LOUIS", "ANNE-MARIE")
_MODALITIES: Final = ("CT",) * 30 + ("MR",) * 22 + ("DX",) * 25 + ("US",) * 14 + ("MG",) * 5 + ("PT", "NM", "XA", "CR")
_SOP_CLASSES: Final = {"CT": "1.2.840.10008.5.1.4.1.1.2", "MR": "1.2.840.10008.5.1.4.1.1.4"}
_OTHER_SOP_CLASS: Final = "1.2.840.10008.5.1.4.1.1.7"
_SYNTAX: Final = "1.2.840.10008.1.2.1"

_PATIENT: Final = (
    "id",
    "identity_key",
    "site",
    "patient_id",
    "patient_name",
    "patient_name_key",
    "patient_birth_date",
    "patient_sex",
)
_STUDY: Final = (
    "id",
    "patient_fk",
    "site",
    "created_at",
    "study_instance_uid",
    "study_date",
    "study_time",
    "accession_number",
    "study_id",
    "study_description",
    "referring_physician_name",
    "referring_physician_name_key",
)
_SERIES: Final = (
    "id",
    "study_fk",
    "series_instance_uid",
    "modality",
    "series_number",
    "series_description",
    "series_date",
    "body_part_examined",
    "institution_name",
    "manufacturer",
)
_INSTANCE: Final = (
    "id",
    "series_fk",
    "sop_instance_uid",
    "sop_class_uid",
    "instance_number",
    "image_type",
    "rows",
    "columns",
    "content_date",
    "content_time",
    "transfer_syntax_uid",
    "dataset_sha256",
    "dataset_size",
    "flags",
    "received_at",
    "calling_ae_title",
)
_LOCATION: Final = ("id", "instance_fk", "tier", "key", "sha256", "header_size", "size_bytes", "state")
_COLUMNS: Final = {
    "patient": _PATIENT,
    "study": _STUDY,
    "series": _SERIES,
    "instance": _INSTANCE,
    "location": _LOCATION,
}

Rows = dict[str, list[tuple[Any, ...]]]


@dataclass(frozen=True, slots=True)
class Hospital:
    """What was filled in, to make queries that find something."""

    patient_ids: Sequence[str]
    patient_names: Sequence[str]
    study_dates: Sequence[str]
    study_instance_uids: Sequence[str]
    accession_numbers: Sequence[str]
    sop_instance_uids: Sequence[str]
    """One instance of each study."""


def fill_index(database: Database, studies: int, instances_per_study: int, seed: int) -> Hospital:
    """Fill an empty, migrated index: about 0.6 patients and 2.5 series a study; return what to look for.

    One million instances take about half a minute on SQLite.
    """
    chance = random.Random(seed)
    made = _made(chance, studies, instances_per_study)
    found: dict[str, list[str]] = {name: [] for name in Hospital.__dataclass_fields__}
    with database.write(synced=False) as connection:
        while chunk := list(islice(made, max(1, _ROWS_AT_ONCE // instances_per_study))):
            for table in _COLUMNS:
                _insert(connection, table, [row for rows in chunk for row in rows[table]])
            for rows in chunk:
                _remember(found, rows)
        _advance_identities(connection)
    return Hospital(**{name: tuple(values) for name, values in found.items()})


def _insert(connection: Connection, table: str, rows: Sequence[tuple[Any, ...]]) -> None:
    if rows:
        insert_into(table, _COLUMNS[table]).run_many(connection, rows)


def _remember(found: dict[str, list[str]], rows: Rows) -> None:
    for patient in rows["patient"]:
        found["patient_ids"].append(patient[3])
        found["patient_names"].append(patient[4])
    (study,) = rows["study"]
    found["study_instance_uids"].append(study[4])
    found["study_dates"].append(study[5])
    found["accession_numbers"].append(study[7])
    found["sop_instance_uids"].append(rows["instance"][0][2])


def _advance_identities(connection: Connection) -> None:
    """Let PostgreSQL hand out ids after those used here; SQLite does so by itself."""
    if connection.dialect.name == "postgresql":
        for table in _COLUMNS:
            name = f"pg_get_serial_sequence('{table}', 'id')"
            Statement(f"SELECT setval({name}, (SELECT MAX(id) FROM {table}))").run(connection).fetchone()


def _made(chance: random.Random, studies: int, instances_per_study: int) -> Iterator[Rows]:
    """Yield the rows of one study after the other, with its patient when that one is new."""
    patients = series_id = 0
    for study_id in range(1, studies + 1):
        rows: Rows = {table: [] for table in _COLUMNS}
        if patients == 0 or chance.random() < 0.6:
            patients += 1
            rows["patient"].append(_patient(chance, patients))
        day = (_FIRST_DAY + timedelta(days=int(_DAYS * chance.random() ** 0.7))).strftime("%Y%m%d")
        rows["study"].append(_study(chance, study_id, max(1, patients - int(chance.expovariate(0.01))), day))
        modality = chance.choice(_MODALITIES)
        first = (study_id - 1) * instances_per_study
        numbers = list(range(instances_per_study))
        parts = min(chance.randint(1, 4), instances_per_study)
        for number in range(parts):
            series_id += 1
            rows["series"].append(_series(chance, (series_id, study_id, number), modality, day))
            for instance in numbers[number::parts]:
                at = (first + instance + 1, series_id, study_id)
                rows["instance"].append(_instance(at, instance, modality, day))
                rows["location"].append(_location(at, day))
        yield rows


def _patient(chance: random.Random, patient_id: int) -> tuple[Any, ...]:
    name = f"{''.join(chance.choices(_SYLLABLES, k=chance.randint(2, 3)))}^{chance.choice(_GIVEN)}"
    number = f"{1000000 + patient_id * 7}"
    birth = f"{chance.randint(1925, 2025)}{chance.randint(1, 12):02d}{chance.randint(1, 28):02d}"
    sex = chance.choice("FM")
    return (patient_id, f"site:CHU\x1f{number}", "CHU", number, name, name_key(name), birth, sex)


def _study(chance: random.Random, study_id: int, patient_id: int, day: str) -> tuple[Any, ...]:
    time = f"{chance.randint(7, 19):02d}{chance.randint(0, 59):02d}{chance.randint(0, 59):02d}"
    doctor = f"{''.join(chance.choices(_SYLLABLES, k=2))}^{chance.choice(_GIVEN)}"
    numbers = (f"{_ROOT}.{study_id}", day, time, f"A{2000000 + study_id}", f"{study_id}")
    return (study_id, patient_id, "CHU", _RECEIVED, *numbers, "EXAMEN DE CONTRÔLE", doctor, name_key(doctor))


def _series(chance: random.Random, at: tuple[int, int, int], modality: str, day: str) -> tuple[Any, ...]:
    series_id, study_id, number = at
    kind = modality if number < 3 else chance.choice((modality, "SR", "PR"))
    uid = f"{_ROOT}.{study_id}.{number + 1}"
    return (series_id, study_id, uid, kind, str(number + 1), "SÉRIE", day, "CHEST", "CHU", "ACME")


def _instance(at: tuple[int, int, int], number: int, modality: str, day: str) -> tuple[Any, ...]:
    instance_id, series_id, study_id = at
    uid = f"{_ROOT}.{study_id}.0.{number + 1}"
    digest = hashlib.sha256(uid.encode()).digest()
    pixels = ("ORIGINAL\\PRIMARY\\AXIAL", "512", "512", day, "101530.25")
    sop_class = _SOP_CLASSES.get(modality, _OTHER_SOP_CLASS)
    stored = (_SYNTAX, digest, 526000, "", _RECEIVED, "MODALITY1")
    return (instance_id, series_id, uid, sop_class, str(number + 1), *pixels, *stored)


def _location(at: tuple[int, int, int], day: str) -> tuple[Any, ...]:
    instance_id, _, study_id = at
    key = f"{day}/{study_id:08x}/{instance_id:08d}"
    return (instance_id, instance_id, "hot", key, hashlib.sha256(key.encode()).digest(), 1000, 527000, "present")
