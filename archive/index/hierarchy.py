"""Finds or makes the patient, study and series rows of arriving instances; must not touch instances or their copies.

First wins: a row keeps the values of the first instance that had any, later ones fill only what is still empty.
What it learns is remembered for the next instance, but only once the transaction is committed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Generic, TypeVar

from archive.index.names import name_key
from archive.index.records import NewInstance, to_text
from archive.index.session import Connection
from archive.index.statements import Statement, insert_into
from archive.part10.attributes import (
    ISSUER_UNIVERSAL_ID,
    PATIENT,
    SERIES,
    STUDY,
    Attribute,
    snake_case,
)

Values = Mapping[str, str]

PATIENT_DIFFERS: Final = "patient_differs"
"""Flag of an instance whose study is stored under another patient; the study keeps its first patient."""
STUDY_DIFFERS: Final = "study_differs"
"""Flag of an instance whose series UID is stored under another study too; the two series stay apart."""

_LONGEST_IDENTITY: Final = 1024


@dataclass(frozen=True, slots=True)
class Known:
    """A row as remembered: ``empty`` are the keywords of its columns that hold nothing yet."""

    row_id: int
    empty: frozenset[str]
    identity_key: str = ""
    is_elsewhere: bool = False


KeyT = TypeVar("KeyT")


class Memory(Generic[KeyT]):
    """The last ``size`` rows of one table; what a transaction learns counts for others once it is committed."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._lasting: dict[KeyT, Known] = {}
        self._passing: dict[KeyT, Known] = {}

    def get(self, key: KeyT) -> Known | None:
        """Return what is known of ``key``, this transaction's knowledge first."""
        known = self._passing.get(key) if self._passing else None
        if known is None and (known := self._lasting.pop(key, None)) is not None:
            self._lasting[key] = known  # the most recently used is last
        return known

    def learn(self, key: KeyT, known: Known) -> None:
        """Remember for this transaction, and after it if it is committed."""
        self._passing[key] = known

    def keep(self) -> None:
        """Make what was learnt last: the transaction is committed."""
        if self._passing:
            for key, known in self._passing.items():
                self._lasting.pop(key, None)
                self._lasting[key] = known
            self._passing = {}
            while len(self._lasting) > self._size:
                del self._lasting[next(iter(self._lasting))]

    def drop(self) -> None:
        """Forget what was learnt: the transaction is rolled back."""
        self._passing = {}

    def clear(self) -> None:
        """Forget everything."""
        self._lasting, self._passing = {}, {}


class Level:
    """One table of the hierarchy: its attribute columns and how they are inserted and filled."""

    def __init__(self, table: str, attributes: Sequence[Attribute], own: Sequence[str], unique: Sequence[str]) -> None:
        extra = [(ISSUER_UNIVERSAL_ID, "LO")] if table == "patient" else []
        self._fields = [*((attribute.keyword, attribute.vr) for attribute in attributes), *extra]
        self.keywords = [keyword for keyword, _ in self._fields]
        self.columns = [snake_case(keyword) for keyword in self.keywords]
        self._names = [keyword for keyword, vr in self._fields if vr == "PN"]
        filled = [*self.columns, *(f"{snake_case(keyword)}_key" for keyword in self._names)]
        self._insert = insert_into(table, [*own, *filled], f" ON CONFLICT ({', '.join(unique)}) DO NOTHING")
        self._fill = Statement(
            f"UPDATE {table} SET {', '.join(f'{c} = COALESCE({c}, ?)' for c in filled)} WHERE id = ?"
        )

    def insert(self, connection: Connection, own: Sequence[Any], values: Values) -> None:
        """Insert a row unless another process just did."""
        self._insert.run(connection, (*own, *self._filled(values)))

    def fill(self, connection: Connection, known: Known, values: Values) -> Known:
        """Give the row's empty columns the values this instance has; return what is known of it then."""
        new = {keyword: values[keyword] for keyword in known.empty if keyword in values}
        self._fill.run(connection, (*self._filled(new), known.row_id))
        return replace(known, empty=known.empty - new.keys())

    def empty_of(self, values: Sequence[str | None]) -> frozenset[str]:
        """Return the keywords without a value among a row's attribute columns."""
        return frozenset(keyword for keyword, value in zip(self.keywords, values, strict=True) if value is None)

    def _filled(self, values: Values) -> tuple[str | None, ...]:
        keys = (name_key(values[keyword]) if keyword in values else None for keyword in self._names)
        return (*map(values.get, self.keywords), *keys)


_PATIENT: Final = Level("patient", PATIENT, ["identity_key", "site"], ["identity_key"])
_STUDY: Final = Level("study", STUDY, ["patient_fk", "site", "created_at"], ["study_instance_uid"])
_SERIES: Final = Level("series", SERIES, ["study_fk"], ["study_fk", "series_instance_uid"])

_FIND_PATIENT: Final = Statement(f"SELECT id, {', '.join(_PATIENT.columns)} FROM patient WHERE identity_key = ?")
_FIND_STUDY: Final = Statement(
    f"SELECT study.id, identity_key, {', '.join(f'study.{column}' for column in _STUDY.columns)} "
    "FROM study JOIN patient ON patient.id = study.patient_fk WHERE study_instance_uid = ?"
)
_FIND_SERIES: Final = Statement(
    "SELECT id, EXISTS (SELECT 1 FROM series AS other WHERE other.series_instance_uid = series.series_instance_uid "
    f"AND other.study_fk <> series.study_fk), {', '.join(_SERIES.columns)} "
    "FROM series WHERE study_fk = ? AND series_instance_uid = ?"
)


class Hierarchy:
    """Resolves instances to series rows, within the caller's transaction; used by one thread at a time."""

    def __init__(self, *, studies_remembered: int = 4096) -> None:
        self._patients: Memory[str] = Memory(studies_remembered)
        self._studies: Memory[str] = Memory(studies_remembered)
        self._series: Memory[tuple[str, str]] = Memory(4 * studies_remembered)

    def resolve(self, connection: Connection, item: NewInstance) -> tuple[int, tuple[str, ...]]:
        """Return the id of the instance's series row, made where needed, and the flags this adds to the instance."""
        values = item.header.values
        identity = identity_key(values, item.site)
        study_uid = values["StudyInstanceUID"]
        study = self._studies.get(study_uid) or self._find_study(connection, item, identity)
        flags: tuple[str, ...] = ()
        if study.identity_key == identity:
            self._fill_patient(connection, identity, values)
        elif "PatientID" in values:
            flags = (PATIENT_DIFFERS,)
        if not values.keys().isdisjoint(study.empty):
            self._studies.learn(study_uid, _STUDY.fill(connection, study, values))
        series = self._resolve_series(connection, study, values)
        return series.row_id, (*flags, STUDY_DIFFERS) if series.is_elsewhere else flags

    def keep(self) -> None:
        """Remember what was learnt: the transaction is committed."""
        self._patients.keep()
        self._studies.keep()
        self._series.keep()

    def drop(self) -> None:
        """Forget what was learnt: the transaction is rolled back."""
        self._patients.drop()
        self._studies.drop()
        self._series.drop()

    def clear(self) -> None:
        """Forget every row: some were deleted."""
        self._patients.clear()
        self._studies.clear()
        self._series.clear()

    def _find_study(self, connection: Connection, item: NewInstance, identity: str) -> Known:
        values = item.header.values
        uid = values["StudyInstanceUID"]
        row = _FIND_STUDY.one(connection, (uid,))
        if row is None:
            patient = self._find_patient(connection, item, identity)
            _STUDY.insert(connection, (patient.row_id, item.site, to_text(item.received_at)), values)
            row = _FIND_STUDY.one(connection, (uid,))
            assert row is not None
        study = Known(row[0], _STUDY.empty_of(row[2:]), identity_key=row[1])
        self._studies.learn(uid, study)
        return study

    def _find_patient(self, connection: Connection, item: NewInstance, identity: str) -> Known:
        known = self._patients.get(identity) or self._load_patient(connection, identity)
        if known is None:
            _PATIENT.insert(connection, (identity, item.site), item.header.values)
            known = self._load_patient(connection, identity)
            assert known is not None
        return known

    def _load_patient(self, connection: Connection, identity: str) -> Known | None:
        row = _FIND_PATIENT.one(connection, (identity,))
        if row is None:
            return None
        patient = Known(row[0], _PATIENT.empty_of(row[1:]))
        self._patients.learn(identity, patient)
        return patient

    def _fill_patient(self, connection: Connection, identity: str, values: Values) -> None:
        patient = self._patients.get(identity) or self._load_patient(connection, identity)
        if patient is not None and not values.keys().isdisjoint(patient.empty):
            self._patients.learn(identity, _PATIENT.fill(connection, patient, values))

    def _resolve_series(self, connection: Connection, study: Known, values: Values) -> Known:
        key = (values["StudyInstanceUID"], values["SeriesInstanceUID"])
        series = self._series.get(key)
        if series is None:
            row = _FIND_SERIES.one(connection, (study.row_id, key[1]))
            if row is None:
                _SERIES.insert(connection, (study.row_id,), values)
                row = _FIND_SERIES.one(connection, (study.row_id, key[1]))
                assert row is not None
            series = Known(row[0], _SERIES.empty_of(row[2:]), is_elsewhere=bool(row[1]))
            self._series.learn(key, series)
        if not values.keys().isdisjoint(series.empty):
            self._series.learn(key, _SERIES.fill(connection, series, values))
        return series


def identity_key(values: Values, site: str) -> str:
    """Return what tells patients apart: issuer (the site when there is none) and PatientID; the study without one."""
    patient_id = values.get("PatientID")
    if patient_id is None:
        return f"study:{values['StudyInstanceUID']}"
    key = f"{values.get('IssuerOfPatientID') or f'site:{site}'}\x1f{patient_id}"
    if len(key) > _LONGEST_IDENTITY // 4 and len(key.encode()) > _LONGEST_IDENTITY:
        return f"sha256:{hashlib.sha256(key.encode()).hexdigest()}"  # an index entry has a limit
    return key
