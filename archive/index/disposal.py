"""Disposal lists, their lines and approvals, and what a destruction does to the index; must not delete an object.

A list is ``listed`` until every office has approved, then ``approved`` while it waits; ``destroying`` from the act that
destroys until every copy is gone, then ``destroyed``; or ``cancelled``. A line that was refused or sent back stays on
its list, with the reason, and its study stays in the archive.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final, NamedTuple

from archive.index import cold, packs, successors, tombstones
from archive.index.records import Event, from_text, to_text
from archive.index.session import Connection
from archive.index.statements import Row, Statement, insert_into, rows_in, run_in
from archive.index.tombstones import Tombstone

OPEN: Final = ("listed", "approved", "destroying")
"""States of a list that is not over."""


@dataclass(frozen=True, slots=True)
class DisposalList:
    """One bordereau; ``waiting_until`` is the first day on which it may be destroyed, once it is approved.

    ``proposed_by_full_name`` is what they were called then; None on a list of before it was kept.
    """

    list_id: str
    site: str
    site_kind: str
    state: str
    as_of: date
    proposed_at: datetime
    proposed_by: str
    proposed_by_full_name: str | None
    waiting_until: date | None
    ended_at: datetime | None
    ended_by: str | None
    end_reason: str | None


@dataclass(frozen=True, slots=True)
class DisposalItem:
    """One line of a list; ``line`` is what was read when it was listed, and is compared with before anything goes."""

    study_instance_uid: str
    number: int
    line: Mapping[str, Any]
    state: str
    decided_at: datetime | None
    decided_by: str | None
    reason: str | None


class Approval(NamedTuple):
    """An office's signature; ``reference`` is the number of an archives visa."""

    office: str
    account: str
    full_name: str
    approved_at: datetime
    reference: str | None


_LIST: Final = ("list_id", "site", "site_kind", "state", "as_of", "proposed_at", "proposed_by", "proposed_by_full_name")
_SELECT: Final = f"SELECT {', '.join(_LIST)}, waiting_until, ended_at, ended_by, end_reason FROM disposal_list"
_INSERT: Final = insert_into("disposal_list", _LIST)
_FIND: Final = Statement(f"{_SELECT} WHERE list_id = ?")
_ALL: Final = Statement(f"{_SELECT} ORDER BY proposed_at, list_id")
_LAST: Final = Statement(
    "SELECT list_id FROM disposal_list WHERE list_id >= ? AND list_id < ? "
    "ORDER BY LENGTH(list_id) DESC, list_id DESC LIMIT 1"
)
_INSERT_ITEM: Final = insert_into("disposal_item", ("list_id", "study_instance_uid", "number", "line", "state"))
_ITEMS: Final = Statement(
    "SELECT study_instance_uid, number, line, state, decided_at, decided_by, reason FROM disposal_item "
    "WHERE list_id = ? ORDER BY number"
)
_OPEN_ITEMS: Final = (
    "SELECT study_instance_uid, disposal_item.list_id FROM disposal_item "
    "JOIN disposal_list ON disposal_list.list_id = disposal_item.list_id "
    "WHERE disposal_list.state IN ('listed', 'approved', 'destroying') "
    "AND disposal_item.state IN ('listed', 'destroying') AND study_instance_uid IN (%s)"
)
_AWAITED: Final = (
    "SELECT study_instance_uid, disposal_item.list_id FROM disposal_item "
    "JOIN disposal_list ON disposal_list.list_id = disposal_item.list_id "
    "WHERE disposal_list.state IN ('approved', 'destroying') "
    "AND disposal_item.state IN ('listed', 'destroying') AND study_instance_uid IN (%s)"
)
_OVERTAKEN: Final = Statement(
    "SELECT DISTINCT disposal_item.list_id FROM disposal_item "
    "JOIN disposal_list ON disposal_list.list_id = disposal_item.list_id "
    "JOIN assessment ON assessment.study_instance_uid = disposal_item.study_instance_uid "
    "WHERE disposal_list.state IN ('listed', 'approved') AND disposal_item.state = 'listed' AND is_stale = 0 "
    "AND (blocked_by <> '' OR error IS NOT NULL OR eligible_on IS NULL OR eligible_on > disposal_list.as_of) ORDER BY 1"
)
_DECIDE: Final = Statement(
    "UPDATE disposal_item SET state = ?, decided_at = ?, decided_by = ?, reason = ? "
    "WHERE list_id = ? AND study_instance_uid = ?"
)
_DECIDE_LISTED: Final = Statement(
    "UPDATE disposal_item SET state = ?, decided_at = ?, decided_by = ?, reason = ? WHERE list_id = ? AND state = ?"
)
_LEFT: Final = Statement("SELECT COUNT(*) FROM disposal_item WHERE list_id = ? AND state = 'listed'")
_APPROVE: Final = insert_into(
    "disposal_approval", ("list_id", "office", "account", "full_name", "approved_at", "reference")
)
_APPROVALS: Final = Statement(
    "SELECT office, account, full_name, approved_at, reference FROM disposal_approval "
    "WHERE list_id = ? ORDER BY approved_at, office"
)
_WAIT: Final = Statement("UPDATE disposal_list SET state = 'approved', waiting_until = ? WHERE list_id = ?")
_SET_STATE: Final = Statement("UPDATE disposal_list SET state = ? WHERE list_id = ?")
_END: Final = Statement(
    "UPDATE disposal_list SET state = ?, ended_at = ?, ended_by = ?, end_reason = ? WHERE list_id = ?"
)
_DROP_LOCATIONS: Final = (
    "DELETE FROM location WHERE instance_fk IN (SELECT id FROM instance WHERE sop_instance_uid IN (%s))"
)
_DROP_INSTANCES: Final = "DELETE FROM instance WHERE sop_instance_uid IN (%s)"
_DROP_SERIES: Final = Statement(
    "DELETE FROM series WHERE study_fk IN (SELECT id FROM study WHERE study_instance_uid = ?) "
    "AND NOT EXISTS (SELECT 1 FROM instance WHERE series_fk = series.id)"
)
_PATIENT: Final = Statement("SELECT patient_fk FROM study WHERE study_instance_uid = ?")
_DROP_STUDY: Final = Statement(
    "DELETE FROM study WHERE study_instance_uid = ? AND NOT EXISTS (SELECT 1 FROM series WHERE study_fk = study.id)"
)
_DROP_PATIENT: Final = Statement(
    "DELETE FROM patient WHERE id = ? AND NOT EXISTS (SELECT 1 FROM study WHERE patient_fk = patient.id)"
)
_DROP_ASSESSMENT: Final = Statement(
    "DELETE FROM assessment WHERE study_instance_uid = ? "
    "AND NOT EXISTS (SELECT 1 FROM study WHERE study.study_instance_uid = assessment.study_instance_uid)"
)
_MARK_STALE: Final = Statement("UPDATE assessment SET is_stale = 1 WHERE study_instance_uid = ?")
_RESOLVE: Final = Statement("UPDATE quarantine SET resolved_at = ? WHERE key = ? AND resolved_at IS NULL")


# ---- what events do ------------------------------------------------------------------------------------------------


def apply_proposed(connection: Connection, event: Event) -> None:
    """Keep a list with its lines."""
    data = event.data
    _INSERT.run(
        connection,
        (
            data["list_id"],
            data["site"],
            data["site_kind"],
            "listed",
            data["as_of"],
            to_text(event.at),
            event.actor,
            data.get("full_name"),  # events of before it was kept have none
        ),
    )
    _INSERT_ITEM.run_many(
        connection,
        [
            (data["list_id"], each["study_instance_uid"], number, json.dumps(each["line"], sort_keys=True), "listed")
            for number, each in enumerate(data["items"], start=1)
        ],
    )


def apply_approved(connection: Connection, event: Event) -> None:
    """Keep a signature; with the last one the waiting begins."""
    data = event.data
    signed = (data["office"], event.actor, data["full_name"], to_text(event.at), data["reference"])
    _APPROVE.run(connection, (data["list_id"], *signed))
    if data["waiting_until"] is not None:
        _WAIT.run(connection, (data["waiting_until"], data["list_id"]))


def apply_kept(connection: Connection, event: Event) -> None:
    """Take studies off a list: refused by a person, or sent back because something changed. A list left empty ends."""
    data = event.data
    decided = (to_text(event.at), event.actor)
    _DECIDE.run_many(
        connection,
        [
            (data["as"], *decided, each["reason"], data["list_id"], each["study_instance_uid"])
            for each in data["studies"]
        ],
    )
    left = _LEFT.one(connection, (data["list_id"],))
    if left is not None and not left[0]:
        _END.run(connection, ("cancelled", *decided, "no study is left on it", data["list_id"]))


def apply_cancelled(connection: Connection, event: Event) -> None:
    """End a list before anything of it was destroyed; its studies stay."""
    data, decided = event.data, (to_text(event.at), event.actor)
    _DECIDE_LISTED.run(connection, ("cancelled", *decided, data["reason"], data["list_id"], "listed"))
    _END.run(connection, ("cancelled", *decided, data["reason"], data["list_id"]))


def apply_destroyed(connection: Connection, event: Event) -> None:
    """Take studies out of the index and put up their tombstones; their copies are deleted afterwards."""
    list_id, at = event.data["list_id"], to_text(event.at)
    _SET_STATE.run(connection, ("destroying", list_id))
    for study in event.data["studies"]:
        uid = study["study_instance_uid"]
        _DECIDE.run(connection, ("destroying", at, event.actor, None, list_id, uid))
        instances = [each for series in study["series"] for each in series["instances"]]
        tombstones.add(
            connection,
            (
                Tombstone(was["sop_instance_uid"], uid, list_id, bytes.fromhex(was["dataset_sha256"]), event.at)
                for each in instances
                for was in (*each.get("predecessors", ()), each)
            ),
        )
        copies, known = list(copies_in(study)), _known_as(connection, instances)
        cold.forget_study(connection, uid)
        _drop(connection, uid, known)
        packs.forget_packs(connection, {copy["key"] for copy in copies if copy["store"] in ("pack", "cold")})
        packs.forget_trims(connection, {copy["key"] for copy in copies if copy["store"] == "hot"})
        for copy in copies:
            if copy["aside"] is not None:
                _RESOLVE.run(connection, (at, copy["aside"]))


def apply_certified(connection: Connection, event: Event) -> None:
    """End a list: every copy of its studies is gone."""
    list_id, decided = event.data["list_id"], (to_text(event.at), event.actor)
    _DECIDE_LISTED.run(connection, ("destroyed", *decided, None, list_id, "destroying"))
    _END.run(connection, ("destroyed", *decided, None, list_id))


def apply_remains(connection: Connection, event: Event) -> None:
    """Say of what lay in quarantine that it was dealt with; no object of it was in the index."""
    for copy in event.data["copies"]:
        if copy["aside"] is not None:
            _RESOLVE.run(connection, (to_text(event.at), copy["aside"]))


def copies_in(study: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield the copies that a study of the event ``studies_destroyed`` names.

    Each has ``store`` (hot, quarantine) and what its warrant names: ``key``, ``sha256``, ``generation``; its ``state``
    as indexed; and ``aside``, its key in the quarantine's table, if it is there.
    """
    for series in study["series"]:
        for instance in series["instances"]:
            yield from instance["copies"]
    yield from study.get("packs", ())


def _known_as(connection: Connection, instances: Collection[Mapping[str, Any]]) -> set[str]:
    """Return every UID that an index may have these instances under.

    One from an old backup, to which the event is replayed, may be from before or after a migration or a rollback.
    """
    named = {was["sop_instance_uid"] for each in instances for was in (*each.get("predecessors", ()), each)}
    return named.union(successors.resolve(connection, named).values())


def _drop(connection: Connection, study_instance_uid: str, sop_instance_uids: Collection[str]) -> None:
    """Take a study's instances out of the index, and what is empty then. What came since stays, and is assessed."""
    for sql in (_DROP_LOCATIONS, _DROP_INSTANCES):
        run_in(connection, sql, sop_instance_uids)
    _DROP_SERIES.run(connection, (study_instance_uid,))
    patient = _PATIENT.one(connection, (study_instance_uid,))
    _DROP_STUDY.run(connection, (study_instance_uid,))
    if patient is not None:
        _DROP_PATIENT.run(connection, (patient[0],))
    _DROP_ASSESSMENT.run(connection, (study_instance_uid,))
    _MARK_STALE.run(connection, (study_instance_uid,))


# ---- looking up ----------------------------------------------------------------------------------------------------


def find(connection: Connection, list_id: str) -> DisposalList | None:
    """Return a list, or None."""
    row = _FIND.one(connection, (list_id,))
    return None if row is None else _list(row)


def all_lists(connection: Connection) -> list[DisposalList]:
    """Return every list in the order they were proposed."""
    return [_list(row) for row in _ALL.rows(connection)]


def items(connection: Connection, list_id: str) -> list[DisposalItem]:
    """Return the lines of a list in their order."""
    return [_item(row) for row in _ITEMS.rows(connection, (list_id,))]


def approvals(connection: Connection, list_id: str) -> list[Approval]:
    """Return the signatures of a list."""
    return [
        Approval(office, account, full_name, from_text(at), reference)
        for office, account, full_name, at, reference in _APPROVALS.rows(connection, (list_id,))
    ]


def listed(connection: Connection, study_instance_uids: Collection[str]) -> dict[str, str]:
    """Return for those of these studies that are on an open list its id."""
    return dict(rows_in(connection, _OPEN_ITEMS, study_instance_uids))


def awaited(connection: Connection, study_instance_uids: Collection[str]) -> dict[str, str]:
    """Return for those of these studies that wait for their destruction the id of the approved list."""
    return dict(rows_in(connection, _AWAITED, study_instance_uids))


def overtaken(connection: Connection) -> list[str]:
    """Return the open lists with a study that, by its stored assessment, is not due any more."""
    return [list_id for (list_id,) in _OVERTAKEN.rows(connection)]


def last_number(connection: Connection, year: int) -> int:
    """Return the number of the last list of a year (7 for D-2026-0007); 0 when there is none."""
    row = _LAST.one(connection, (f"D-{year:04d}-", f"D-{year:04d}."))
    return 0 if row is None else int(row[0].rpartition("-")[2])


def _list(row: Row) -> DisposalList:
    list_id, site, kind, state, as_of, proposed_at, by, full_name, waiting_until, ended_at, ended_by, reason = row
    return DisposalList(
        list_id=list_id,
        site=site,
        site_kind=kind,
        state=state,
        as_of=date.fromisoformat(as_of),
        proposed_at=from_text(proposed_at),
        proposed_by=by,
        proposed_by_full_name=full_name,
        waiting_until=None if waiting_until is None else date.fromisoformat(waiting_until),
        ended_at=None if ended_at is None else from_text(ended_at),
        ended_by=ended_by,
        end_reason=reason,
    )


def _item(row: Row) -> DisposalItem:
    uid, number, line, state, decided_at, decided_by, reason = row
    moment = None if decided_at is None else from_text(decided_at)
    return DisposalItem(uid, number, json.loads(line), state, moment, decided_by, reason)
