"""Facts about patients as an establishment knows them, and which records are one patient; must not judge them.

A fact is never changed: it is recorded, and withdrawn when its source takes it back. Patients are named by site and
PatientID, not by a row's id: facts come before studies do, and outlive a rebuild of the index.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple

from archive.index.records import Event, from_text, to_text
from archive.index.session import Connection
from archive.index.statements import Row, Statement, insert_into

KINDS: Final = ("visit", "birth", "death", "deceased", "appeal")


@dataclass(frozen=True, slots=True)
class PatientFact:
    """One fact; dates as the source gave them, ``YYYY``, ``YYYY-MM`` or ``YYYY-MM-DD``.

    visit: ``from_on`` to ``to_on`` (None: the same day, or not ended). birth, death: ``from_on``. deceased: no date.
    appeal: ``from_on`` to ``to_on`` exclusive (None: open). ``reference`` names the fact within its ``source``:
    the same one recorded again is the same fact.
    """

    fact_id: int
    site: str
    patient_id: str
    kind: str
    from_on: str | None
    to_on: str | None
    is_trusted: bool
    source: str
    reference: str
    recorded_at: datetime
    recorded_by: str
    withdrawn_at: datetime | None
    withdrawn_by: str | None


class FactKey(NamedTuple):
    """What makes two facts the same one, told again: at most one of a key is current."""

    site: str
    source: str
    reference: str
    kind: str


_RECORDED: Final = ("site", "patient_id", "kind", "from_on", "to_on", "is_trusted", "source", "reference")
_INSERT: Final = insert_into("patient_fact", (*_RECORDED, "recorded_at", "recorded_by"))
_SELECT: Final = (
    f"SELECT id, {', '.join(_RECORDED)}, recorded_at, recorded_by, withdrawn_at, withdrawn_by FROM patient_fact"
)
_HISTORY: Final = Statement(f"{_SELECT} WHERE site = ? AND patient_id = ? ORDER BY id")
_OF_KEY: Final = Statement(
    f"{_SELECT} WHERE site = ? AND source = ? AND reference = ? AND kind = ? AND withdrawn_at IS NULL"
)
_CURRENT: Final = Statement(
    f"{_SELECT} WHERE site = ? AND source = ? AND reference = ? AND withdrawn_at IS NULL ORDER BY id"
)
_FIND: Final = Statement(f"{_SELECT} WHERE id = ?")
_WITHDRAW: Final = Statement(
    "UPDATE patient_fact SET withdrawn_at = ?, withdrawn_by = ? "
    "WHERE site = ? AND source = ? AND reference = ? AND kind = ? AND withdrawn_at IS NULL RETURNING patient_id"
)
_LINK: Final = insert_into(
    "patient_link", ("site", "patient_id", "merged_patient_id", "source", "reference", "linked_at")
)
_UNLINK: Final = Statement(
    "UPDATE patient_link SET unlinked_at = ? "
    "WHERE site = ? AND patient_id = ? AND merged_patient_id = ? AND unlinked_at IS NULL"
)
_NEIGHBOURS: Final = Statement(
    "SELECT merged_patient_id FROM patient_link WHERE site = ? AND patient_id = ? AND unlinked_at IS NULL "
    "UNION SELECT patient_id FROM patient_link WHERE site = ? AND merged_patient_id = ? AND unlinked_at IS NULL"
)
_SURVIVES: Final = Statement(
    "SELECT patient_id FROM patient_link WHERE site = ? AND merged_patient_id = ? AND unlinked_at IS NULL"
)
_STALE: Final = Statement(
    "UPDATE assessment SET is_stale = 1 WHERE study_instance_uid IN (SELECT study_instance_uid FROM study "
    "JOIN patient ON patient.id = study.patient_fk WHERE study.site = ? AND patient.patient_id = ?)"
)


# ---- what events do ------------------------------------------------------------------------------------------------


def apply_recorded(connection: Connection, event: Event) -> None:
    """Keep a fact; one that is current under the same source, reference and kind is withdrawn by it.

    That one may have been another patient's, whose studies are assessed again too.
    """
    data = event.data
    at = to_text(event.at)
    former = _withdraw(connection, event)
    values: list[Any] = [data[name] for name in _RECORDED if name != "is_trusted"]
    values.insert(_RECORDED.index("is_trusted"), int(data["is_trusted"]))
    _INSERT.run(connection, (*values, at, event.actor))
    mark_stale(connection, data["site"], former | {data["patient_id"]})


def apply_withdrawn(connection: Connection, event: Event) -> None:
    """Withdraw what is current under a source, reference and kind."""
    former = _withdraw(connection, event)
    mark_stale(connection, event.data["site"], former | {event.data["patient_id"]})


def _withdraw(connection: Connection, event: Event) -> set[str]:
    """Withdraw what is current under an event's source, reference and kind; return whose facts that were."""
    key = [event.data[name] for name in ("site", "source", "reference", "kind")]
    return {patient_id for (patient_id,) in _WITHDRAW.rows(connection, (to_text(event.at), event.actor, *key))}


def apply_linked(connection: Connection, event: Event) -> None:
    """Say that ``merged_patient_id`` is the patient ``patient_id``."""
    data = event.data
    names = (data["site"], data["patient_id"], data["merged_patient_id"])
    _LINK.run(connection, (*names, data["source"], data["reference"], to_text(event.at)))
    mark_stale(connection, data["site"], [data["patient_id"], data["merged_patient_id"]])


def apply_unlinked(connection: Connection, event: Event) -> None:
    """Take a link back."""
    data = event.data
    mark_stale(connection, data["site"], [data["patient_id"], data["merged_patient_id"]])
    _UNLINK.run(connection, (to_text(event.at), data["site"], data["patient_id"], data["merged_patient_id"]))


def mark_stale(connection: Connection, site: str, patient_ids: Collection[str]) -> None:
    """Have every study of these patients, and of all that are linked to them, assessed again."""
    for patient_id in sorted(one_patient(connection, site, patient_ids)):
        _STALE.run(connection, (site, patient_id))


# ---- looking up ----------------------------------------------------------------------------------------------------


def history(connection: Connection, site: str, patient_id: str) -> list[PatientFact]:
    """Return every fact ever recorded under one PatientID, withdrawn ones too, in the order they were recorded."""
    return [_fact(row) for row in _HISTORY.rows(connection, (site, patient_id))]


def current(connection: Connection, site: str, patient_id: str) -> list[PatientFact]:
    """Return the facts that count for a patient: those not withdrawn, of every record linked to this one."""
    facts = [
        fact for each in sorted(one_patient(connection, site, [patient_id])) for fact in history(connection, site, each)
    ]
    return [fact for fact in facts if fact.withdrawn_at is None]


def find_current(connection: Connection, *, site: str, source: str, reference: str) -> list[PatientFact]:
    """Return what a source says now under one of its references: one fact of a kind at most."""
    return [_fact(row) for row in _CURRENT.rows(connection, (site, source, reference))]


def find(connection: Connection, fact_id: int) -> PatientFact | None:
    """Return one fact, withdrawn or not, or None."""
    row = _FIND.one(connection, (fact_id,))
    return None if row is None else _fact(row)


def current_by_key(connection: Connection, keys: Collection[FactKey]) -> dict[FactKey, PatientFact]:
    """Return the current facts of many keys; a key that has none is left out.

    One statement each: PostgreSQL, without statistics, reads the whole site for a list of references.
    """
    rows = ((key, _OF_KEY.one(connection, key)) for key in keys)
    return {key: _fact(row) for key, row in rows if row is not None}


def one_patient(connection: Connection, site: str, patient_ids: Collection[str]) -> set[str]:
    """Return the PatientIDs of a site that are linked to any of these, directly or by others; these included."""
    found, waiting = set(patient_ids), list(patient_ids)
    while waiting:
        each = waiting.pop()
        for (neighbour,) in _NEIGHBOURS.rows(connection, (site, each, site, each)):
            if neighbour not in found:
                found.add(neighbour)
                waiting.append(neighbour)
    return found


def survivors(connection: Connection, site: str, merged_patient_id: str) -> list[str]:
    """Return the PatientIDs that a PatientID is merged into now: one, as a rule, or none."""
    return [patient_id for (patient_id,) in _SURVIVES.rows(connection, (site, merged_patient_id))]


def _fact(row: Row) -> PatientFact:
    fact_id, site, patient_id, kind, from_on, to_on, is_trusted, source, reference, *history = row
    recorded_at, recorded_by, withdrawn_at, withdrawn_by = history
    return PatientFact(
        fact_id=fact_id,
        site=site,
        patient_id=patient_id,
        kind=kind,
        from_on=from_on,
        to_on=to_on,
        is_trusted=bool(is_trusted),
        source=source,
        reference=reference,
        recorded_at=from_text(recorded_at),
        recorded_by=recorded_by,
        withdrawn_at=None if withdrawn_at is None else from_text(withdrawn_at),
        withdrawn_by=withdrawn_by,
    )
