"""Deaths that may be a patient's, waiting for a person, and the traits by which they are looked for; must not decide.

A candidate is a site, a PatientID and the reference of the death in its source: row ids change in a rebuild.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple

from archive.index.records import Event, from_text, to_text
from archive.index.session import Connection
from archive.index.statements import Row, Statement, insert_into, rows_in

STATES: Final = ("waiting", "confirmed", "rejected")
_PATIENTS_AT_ONCE: Final = 20_000


class CandidateKey(NamedTuple):
    """What makes two candidates the same one, found again."""

    site: str
    patient_id: str
    reference: str


@dataclass(frozen=True, slots=True)
class DeathCandidate:
    """A death that may be a patient's; ``traits`` is JSON: what both sides say, for the person who decides."""

    number: int
    site: str
    patient_id: str
    died_on: str
    source: str
    reference: str
    traits: str
    found_at: datetime
    state: str
    decided_at: datetime | None
    decided_by: str | None

    @property
    def key(self) -> CandidateKey:
        """Return what names it for good."""
        return CandidateKey(self.site, self.patient_id, self.reference)


class TraitsRow(NamedTuple):
    """The traits of a patient of whom a site has studies; names folded, dates as DICOM has them."""

    row_id: int
    site: str
    patient_id: str
    name_key: str
    birth_date: str
    sex: str


_FOUND: Final = ("site", "patient_id", "died_on", "source", "reference", "traits")
_ADD: Final = insert_into(
    "death_candidate",
    (*_FOUND, "found_at", "state"),
    " ON CONFLICT (site, patient_id, reference) DO NOTHING",
)
_DECIDE: Final = Statement(
    "UPDATE death_candidate SET state = ?, decided_at = ?, decided_by = ? "
    "WHERE site = ? AND patient_id = ? AND reference = ?"
)
_SELECT: Final = f"SELECT id, {', '.join(_FOUND)}, found_at, state, decided_at, decided_by FROM death_candidate"
_FIND: Final = Statement(f"{_SELECT} WHERE id = ?")
_IN_STATE: Final = Statement(f"{_SELECT} WHERE state = ? ORDER BY id")
_WAITING: Final = f"{_SELECT} WHERE state = 'waiting' AND id > ? AND site IN (%s) ORDER BY id LIMIT {{}}"
_KNOWN: Final = Statement("SELECT 1 FROM death_candidate WHERE site = ? AND patient_id = ? AND reference = ?")
_TRAITS: Final = (
    "SELECT DISTINCT patient.id, study.site, patient.patient_id, patient_name_key, patient_birth_date, "
    "COALESCE(patient_sex, '') FROM patient JOIN study ON study.patient_fk = patient.id "
    "WHERE patient.patient_id <> '' AND patient_name_key <> '' AND patient_birth_date <> ''"
)
_LAST: Final = Statement("SELECT COALESCE(MAX(id), 0) FROM patient")
_TRAITS_PAGE: Final = Statement(f"{_TRAITS} AND patient.id > ? AND patient.id <= ? ORDER BY patient.id")
_TRAITS_OF: Final = Statement(f"{_TRAITS} AND patient.id = ?")


# ---- what events do ------------------------------------------------------------------------------------------------


def apply_found(connection: Connection, event: Event) -> None:
    """Have a candidate wait for a person; one that was found before stays as it is."""
    _ADD.run(connection, (*(event.data[name] for name in _FOUND), to_text(event.at), "waiting"))


def apply_confirmed(connection: Connection, event: Event) -> None:
    """Note that a person confirmed it; the fact is an event of its own."""
    _decided(connection, event, "confirmed")


def apply_rejected(connection: Connection, event: Event) -> None:
    """Note that a person rejected it."""
    _decided(connection, event, "rejected")


def _decided(connection: Connection, event: Event, state: str) -> None:
    key = [event.data[name] for name in CandidateKey._fields]
    _DECIDE.run(connection, (state, to_text(event.at), event.actor, *key))


# ---- looking up ----------------------------------------------------------------------------------------------------


def find(connection: Connection, number: int) -> DeathCandidate | None:
    """Return one candidate in whatever state, or None."""
    row = _FIND.one(connection, (number,))
    return None if row is None else _candidate(row)


def iter_in_state(connection: Connection, state: str) -> Iterator[DeathCandidate]:
    """Yield the candidates of one state in the order they were found."""
    return map(_candidate, _IN_STATE.rows(connection, (state,)))


def waiting(connection: Connection, sites: Collection[str], after: int, limit: int) -> list[DeathCandidate]:
    """Return the next candidates of these sites that wait for a person, in the order they were found."""
    return [_candidate(row) for row in rows_in(connection, _WAITING.format(int(limit)), sites, after)]


def known(connection: Connection, keys: Collection[CandidateKey]) -> set[CandidateKey]:
    """Return those of these candidates that were found before."""
    return {key for key in keys if _KNOWN.one(connection, key) is not None}


def iter_traits(connection: Connection) -> Iterator[TraitsRow]:
    """Yield the traits of every patient that has a PatientID, a name and a birth date, a page at a time."""
    last = _LAST.one(connection)
    assert last is not None
    for start in range(0, last[0], _PATIENTS_AT_ONCE):
        for row in _TRAITS_PAGE.rows(connection, (start, start + _PATIENTS_AT_ONCE)):
            yield TraitsRow(*row)


def traits_of(connection: Connection, row_id: int) -> list[TraitsRow]:
    """Return the traits of one row of the patient table, once for each site that has studies of theirs."""
    return [TraitsRow(*row) for row in _TRAITS_OF.rows(connection, (row_id,))]


def _candidate(row: Row) -> DeathCandidate:
    number, site, patient_id, died_on, source, reference, traits, found_at, state, decided_at, decided_by = row
    return DeathCandidate(
        number=number,
        site=site,
        patient_id=patient_id,
        died_on=died_on,
        source=source,
        reference=reference,
        traits=traits,
        found_at=from_text(found_at),
        state=state,
        decided_at=None if decided_at is None else from_text(decided_at),
        decided_by=decided_by,
    )
