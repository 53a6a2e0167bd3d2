"""Holds, what they cover, and which of them block the disposal of studies; must not look at stored assessments.

A hold covers studies one by one, or everything that a site has, and will have, of a patient. It is never changed into
something weaker but by being lifted: a review date that has passed blocks as before.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final, NamedTuple

from archive.index import gathering, patient_facts
from archive.index.records import Event, from_text, to_text
from archive.index.session import Connection
from archive.index.statements import Row, Statement, insert_into


class Scope(NamedTuple):
    """What a hold covers: one study, or with ``study_instance_uid`` None a patient; ``site`` is whose it is."""

    site: str
    study_instance_uid: str | None = None
    patient_id: str | None = None


@dataclass(frozen=True, slots=True)
class Hold:
    """Somebody forbids disposal, whatever the clock says; ``review_on`` asks for a look, and ends nothing."""

    hold_id: str
    reason: str
    authority: str
    reference: str
    placed_at: datetime
    placed_by: str
    review_on: date | None
    reviewed_at: datetime | None
    lifted_at: datetime | None
    lifted_by: str | None
    lift_reason: str | None

    def is_overdue(self, today: date) -> bool:
        """Tell whether it still holds and its review date has passed."""
        return self.lifted_at is None and self.review_on is not None and self.review_on < today


_PLACED: Final = ("hold_id", "reason", "authority", "reference", "placed_at", "placed_by", "review_on")
_SELECT: Final = f"SELECT {', '.join(_PLACED)}, reviewed_at, lifted_at, lifted_by, lift_reason FROM hold"
_INSERT: Final = insert_into("hold", _PLACED)
_INSERT_SCOPE: Final = insert_into("hold_scope", ("hold_id", "site", "study_instance_uid", "patient_id"))
_REVIEW: Final = Statement("UPDATE hold SET review_on = ?, reviewed_at = ? WHERE hold_id = ?")
_LIFT: Final = Statement("UPDATE hold SET lifted_at = ?, lifted_by = ?, lift_reason = ? WHERE hold_id = ?")
_FIND: Final = Statement(f"{_SELECT} WHERE hold_id = ?")
_ALL: Final = Statement(f"{_SELECT} ORDER BY placed_at, hold_id")
_LAST: Final = Statement(
    "SELECT hold_id FROM hold WHERE hold_id >= ? AND hold_id < ? ORDER BY LENGTH(hold_id) DESC, hold_id DESC LIMIT 1"
)
_SCOPES: Final = Statement(
    "SELECT COALESCE(site, ''), study_instance_uid, patient_id FROM hold_scope WHERE hold_id = ? ORDER BY id"
)
_STALE: Final = Statement("UPDATE assessment SET is_stale = 1 WHERE study_instance_uid = ?")


# ---- what events do ------------------------------------------------------------------------------------------------


def apply_placed(connection: Connection, event: Event) -> None:
    """Keep a hold and what it covers."""
    data = event.data
    _INSERT.run(
        connection,
        (
            data["hold_id"],
            data["reason"],
            data["authority"],
            data["reference"],
            to_text(event.at),
            event.actor,
            data["review_on"],
        ),
    )
    found = [Scope(each["site"], each["study_instance_uid"], each["patient_id"]) for each in data["scopes"]]
    _INSERT_SCOPE.run_many(connection, [(data["hold_id"], *scope) for scope in found])
    _mark_stale(connection, found)


def apply_reviewed(connection: Connection, event: Event) -> None:
    """Say that somebody looked at a hold and left it in place, and when to look again."""
    _REVIEW.run(connection, (event.data["review_on"], to_text(event.at), event.data["hold_id"]))


def apply_lifted(connection: Connection, event: Event) -> None:
    """End a hold; it stays in the history."""
    data = event.data
    _LIFT.run(connection, (to_text(event.at), event.actor, data["reason"], data["hold_id"]))
    _mark_stale(connection, scopes(connection, data["hold_id"]))


def _mark_stale(connection: Connection, covered: Sequence[Scope]) -> None:
    """Have every study that is covered assessed again."""
    studies = [(scope.study_instance_uid,) for scope in covered if scope.study_instance_uid is not None]
    if studies:
        _STALE.run_many(connection, studies)
    patients: dict[str, set[str]] = defaultdict(set)
    for scope in covered:
        if scope.study_instance_uid is None and scope.patient_id is not None:
            patients[scope.site].add(scope.patient_id)
    for site, patient_ids in patients.items():
        patient_facts.mark_stale(connection, site, patient_ids)


# ---- looking up ----------------------------------------------------------------------------------------------------


def find(connection: Connection, hold_id: str) -> Hold | None:
    """Return a hold, lifted or not, or None."""
    row = _FIND.one(connection, (hold_id,))
    return None if row is None else _hold(row)


def all_holds(connection: Connection) -> list[Hold]:
    """Return every hold, lifted ones too, in the order they were placed."""
    return [_hold(row) for row in _ALL.rows(connection)]


def scopes(connection: Connection, hold_id: str) -> list[Scope]:
    """Return what a hold covers, in the order it was named."""
    return [Scope(*row) for row in _SCOPES.rows(connection, (hold_id,))]


def last_number(connection: Connection, year: int) -> int:
    """Return the number of the last hold that was placed in a year (7 for H-2026-0007); 0 when there is none."""
    row = _LAST.one(connection, (f"H-{year:04d}-", f"H-{year:04d}."))
    return 0 if row is None else int(row[0].rpartition("-")[2])


def blocking_holds(connection: Connection, study_instance_uids: Collection[str]) -> dict[str, list[str]]:
    """Return for those of these studies that are on hold the ids of the holds, sorted; the others are left out.

    It reads the holds themselves, at the moment it is called: for everything that is about to delete. A hold on a
    patient covers every record linked to theirs; a study that the archive does not have may be on hold too.
    """
    found: dict[str, set[str]] = defaultdict(set)
    for uid, hold_id, _ in gathering.holds_of_studies(connection, study_instance_uids):
        found[uid].add(hold_id)
    for uid, holds in _of_patients(connection, study_instance_uids).items():
        found[uid] |= holds
    return {uid: sorted(holds) for uid, holds in found.items()}


def _of_patients(connection: Connection, study_instance_uids: Collection[str]) -> Mapping[str, set[str]]:
    studies = [row for row in gathering.by_uid(connection, study_instance_uids) if row.patient_id]
    found: dict[str, set[str]] = {}
    for site in sorted({row.site for row in studies}):
        here = [row for row in studies if row.site == site]
        leaders = gathering.linked(connection, site, {row.patient_id for row in here})
        held: dict[str, set[str]] = defaultdict(set)
        for patient_id, hold_id, _ in gathering.holds_of_patients(connection, site, leaders):
            held[leaders[patient_id]].add(hold_id)
        found |= {
            row.study_instance_uid: held[leaders[row.patient_id]] for row in here if leaders[row.patient_id] in held
        }
    return found


def _hold(row: Row) -> Hold:
    hold_id, reason, authority, reference, placed_at, placed_by, review_on, reviewed_at, *lifted = row
    lifted_at, lifted_by, lift_reason = lifted
    return Hold(
        hold_id=hold_id,
        reason=reason,
        authority=authority,
        reference=reference,
        placed_at=from_text(placed_at),
        placed_by=placed_by,
        review_on=None if review_on is None else date.fromisoformat(review_on),
        reviewed_at=None if reviewed_at is None else from_text(reviewed_at),
        lifted_at=None if lifted_at is None else from_text(lifted_at),
        lifted_by=lifted_by,
        lift_reason=lift_reason,
    )
