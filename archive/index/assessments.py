"""Assessments as they are stored, which of them are to be made again, and their totals; must not assess anything.

A stored assessment is what was concluded from the facts of that moment. It is for lists, totals and forecasts; whatever
deletes asks again.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from typing import Final, NamedTuple

from archive.index.session import Connection
from archive.index.statements import Row, Statement, insert_into, rows_in


class AssessmentRow(NamedTuple):
    """One study's assessment; dates as ISO text, ``blocked_by`` and ``assumptions`` joined by spaces.

    ``reassess_on`` is the first day on which it may come out otherwise by the passing of time alone. With
    ``error`` nothing was concluded: the study is set aside until it can be assessed.
    """

    study_instance_uid: str
    site: str
    exam_on: str | None
    eligible_on: str | None
    lossless_until: str | None
    rule: str | None
    blocked_by: str
    reassess_on: str | None
    assumptions: str
    reading: str
    schedule_version: str
    assessed_at: str
    error: str | None
    is_stale: int
    instances: int
    size_bytes: int


class Group(NamedTuple):
    """Assessments that are alike; ``year`` is that of ``eligible_on``, ``is_eligible`` whether it has come."""

    site: str
    rule: str | None
    year: str | None
    is_eligible: int
    blocked_by: str
    assumptions: str
    is_set_aside: int
    reading: str
    schedule_version: str
    studies: int
    instances: int
    size_bytes: int


class Arrival(NamedTuple):
    """An instance in the order in which they were indexed, and the study it belongs to."""

    instance_id: int
    sop_instance_uid: str
    received_at: str
    study_instance_uid: str


_COLUMNS: Final = AssessmentRow._fields
_SELECT: Final = f"SELECT {', '.join(_COLUMNS)} FROM assessment"
_REPLACE: Final = " ON CONFLICT (study_instance_uid) DO UPDATE SET " + ", ".join(
    f"{name} = excluded.{name}" for name in _COLUMNS[1:]
)
_PUT: Final = insert_into("assessment", _COLUMNS, _REPLACE)
_PUT_PAGE: Final = Statement(
    f"INSERT INTO assessment ({', '.join(_COLUMNS)}) SELECT {', '.join(_COLUMNS)} "
    f"FROM json_populate_recordset(NULL::assessment, CAST(? AS json)){_REPLACE}"
)
_FORGET: Final = Statement("DELETE FROM assessment WHERE study_instance_uid = ?")
_BY_UID: Final = f"{_SELECT} WHERE study_instance_uid IN (%s)"
_ARRIVED: Final = Statement(
    "SELECT instance.id, sop_instance_uid, received_at, study_instance_uid FROM instance "
    "JOIN series ON series.id = series_fk JOIN study ON study.id = study_fk "
    "WHERE instance.id > ? ORDER BY instance.id LIMIT ?"
)
_STUDIES: Final = Statement("SELECT id, study_instance_uid FROM study WHERE id > ? ORDER BY id LIMIT ?")
_ASSESSED: Final = "SELECT study_instance_uid, instances FROM assessment WHERE study_instance_uid IN (%s)"
_INSTANCES: Final = (
    "SELECT study_fk, COUNT(*) FROM series JOIN instance ON series_fk = series.id "
    "WHERE study_fk IN (%s) GROUP BY study_fk"
)
_ORPHANS: Final = Statement(
    "SELECT study_instance_uid FROM assessment WHERE NOT EXISTS "
    "(SELECT 1 FROM study WHERE study.study_instance_uid = assessment.study_instance_uid)"
)
_STALE: Final = Statement(
    "SELECT study_instance_uid FROM assessment WHERE is_stale = 1 AND study_instance_uid > ? "
    "ORDER BY study_instance_uid LIMIT ?"
)
_AGAIN: Final = Statement(
    "SELECT reassess_on, study_instance_uid FROM assessment WHERE reassess_on <= ? AND is_stale = 0 "
    "AND (reassess_on, study_instance_uid) > (?, ?) ORDER BY reassess_on, study_instance_uid LIMIT ?"
)
_OUTDATED: Final = Statement(
    "SELECT study_instance_uid FROM assessment WHERE study_instance_uid > ? AND is_stale = 0 "
    "AND (reassess_on IS NULL OR reassess_on > ?) AND site = ? AND reading = ? AND schedule_version = ? "
    "ORDER BY study_instance_uid LIMIT ?"
)
_BASES: Final = Statement("SELECT DISTINCT site, reading, schedule_version FROM assessment")
_KEY: Final = (
    "site, rule, SUBSTR(eligible_on, 1, 4), CASE WHEN eligible_on <= ? THEN 1 ELSE 0 END, blocked_by, "
    "assumptions, CASE WHEN error IS NULL THEN 0 ELSE 1 END, reading, schedule_version"
)
_GROUPED: Final = (
    f"SELECT {_KEY}, COUNT(*), SUM(instances), SUM(size_bytes){{}} FROM {{}} GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9"
)
_GROUPS: Final = Statement(_GROUPED.format("", "assessment"))
# SQLite groups by sorting, and sorts in memory: in pages, in the order in which the rows lie in the file.
_GROUPS_OF_PAGE: Final = Statement(
    _GROUPED.format(
        ", MAX(place)",
        "(SELECT rowid AS place, assessment.* FROM assessment WHERE rowid > ? ORDER BY rowid LIMIT ?) AS page",
    )
)
_GROUPED_AT_ONCE: Final = 10_000
_SET_ASIDE: Final = Statement(
    f"{_SELECT} WHERE reassess_on IS NOT NULL AND error IS NOT NULL AND (CAST(? AS TEXT) IS NULL OR site = ?) "
    "ORDER BY study_instance_uid LIMIT ?"
)
# Not by the index of sites: the one of what is blocked has all of it, in order, and is small.
_CONTRADICTED: Final = (
    "SELECT study_instance_uid FROM assessment WHERE blocked_by <> '' "
    "AND (blocked_by = 'facts' OR REPLACE(blocked_by, ' facts', '') <> blocked_by) AND study_instance_uid > ? "
    "AND site || '' IN (%s) ORDER BY study_instance_uid LIMIT {}"
)
_DUE: Final = Statement(
    f"{_SELECT} WHERE site = ? AND eligible_on <= ? AND (eligible_on, study_instance_uid) > (?, ?) "
    "AND blocked_by = '' AND is_stale = 0 AND error IS NULL ORDER BY eligible_on, study_instance_uid LIMIT ?"
)


# ---- writing -------------------------------------------------------------------------------------------------------


def put(connection: Connection, rows: Sequence[AssessmentRow]) -> None:
    """Store assessments, of a study each, in the place of the ones before them."""
    if rows and connection.dialect.name == "postgresql":
        # As one value: a message for each row takes the driver and the server half as long again.
        _PUT_PAGE.run(connection, (json.dumps([row._asdict() for row in rows]),))
    elif rows:
        _PUT.run_many(connection, rows)


def forget(connection: Connection, study_instance_uids: Collection[str]) -> None:
    """Remove the assessments of studies that the archive has no more."""
    if study_instance_uids:
        _FORGET.run_many(connection, [(uid,) for uid in sorted(study_instance_uids)])


def orphans(connection: Connection) -> list[str]:
    """Return the assessed studies that the archive has no more; looks at all of them."""
    return [uid for (uid,) in _ORPHANS.rows(connection)]


# ---- which are to be made again ------------------------------------------------------------------------------------


def arrived(connection: Connection, after_instance_id: int, limit: int) -> list[Arrival]:
    """Return the instances that were indexed after one, in that order."""
    return [Arrival(*row) for row in _ARRIVED.rows(connection, (after_instance_id, limit))]


def compared(connection: Connection, after_study_id: int, limit: int) -> tuple[int | None, list[str]]:
    """Look at the next studies; return those without an assessment, or with another number of instances than then.

    First the row id of the last one looked at, None when there was none.
    """
    studies = {row[0]: row[1] for row in _STUDIES.rows(connection, (after_study_id, limit))}
    # Three statements: as one, PostgreSQL without statistics reads the whole of a table again for every study.
    known = {row[0]: row[1] for row in rows_in(connection, _ASSESSED, studies.values())}
    assessed = [each for each, uid in studies.items() if uid in known]
    counts = {row[0]: row[1] for row in rows_in(connection, _INSTANCES, assessed)}
    return max(studies, default=None), [uid for each, uid in studies.items() if known.get(uid) != counts.get(each, 0)]


def stale(connection: Connection, after_uid: str, limit: int) -> list[str]:
    """Return the next studies of which something became known since their assessment."""
    return [uid for (uid,) in _STALE.rows(connection, (after_uid, limit))]


def again(connection: Connection, today: str, after: tuple[str, str], limit: int) -> list[tuple[str, str]]:
    """Return (day, UID) of the next studies, not stale, that the passing of time alone has assessed again."""
    return [(row[0], row[1]) for row in _AGAIN.rows(connection, (today, *after, limit))]


def outdated(connection: Connection, basis: tuple[str, str, str], today: str, after: tuple[str, int]) -> list[str]:
    """Return the next studies assessed by a site's former (site, reading, schedule version) and not due again anyway.

    ``after`` is the last UID and how many are wanted.
    """
    after_uid, limit = after
    return [uid for (uid,) in _OUTDATED.rows(connection, (after_uid, today, *basis, limit))]


def bases(connection: Connection) -> list[tuple[str, str, str]]:
    """Return by which (site, reading, schedule version) studies were assessed; looks at all of them."""
    return sorted((row[0], row[1], row[2]) for row in _BASES.rows(connection))


# ---- looking up ----------------------------------------------------------------------------------------------------


def by_uid(connection: Connection, study_instance_uids: Collection[str]) -> dict[str, AssessmentRow]:
    """Return the stored assessments of these studies."""
    return {row[0]: AssessmentRow(*row) for row in rows_in(connection, _BY_UID, study_instance_uids)}


def iter_groups(connection: Connection, as_of: str) -> Iterator[Group]:
    """Yield the totals of everything stored, in one pass; a group may come in several parts, to be added up.

    Takes the same memory for any number of studies.
    """
    if connection.dialect.name == "postgresql":
        yield from (_group(row) for row in _GROUPS.rows(connection, (as_of,)))
        return
    after = 0
    while rows := list(_GROUPS_OF_PAGE.rows(connection, (as_of, after, _GROUPED_AT_ONCE))):
        yield from (_group(row[:-1]) for row in rows)
        after = max(row[-1] for row in rows)


def set_aside(connection: Connection, site: str | None, limit: int) -> list[AssessmentRow]:
    """Return studies of a site, or of all, that could not be assessed, with the error of each."""
    return [AssessmentRow(*row) for row in _SET_ASIDE.rows(connection, (site, site, limit))]


def contradicted(connection: Connection, sites: Collection[str], after_uid: str, limit: int) -> list[str]:
    """Return the next studies of these sites whose facts contradict each other, in the order of their UIDs."""
    return [uid for (uid,) in rows_in(connection, _CONTRADICTED.format(int(limit)), sites, after_uid)]


def iter_due(connection: Connection, site: str, as_of: str, *, page: int) -> Iterator[list[AssessmentRow]]:
    """Yield pages of a site's studies that are due on a day by what is stored, the oldest day first.

    For proposing; it is no permission: ask the facts and the holds again.
    """
    after = ("", "")
    while found := [AssessmentRow(*row) for row in _DUE.rows(connection, (site, as_of, *after, page))]:
        yield found
        after = (found[-1].eligible_on or "", found[-1].study_instance_uid)


def _group(row: Row) -> Group:
    return Group(*row)._replace(studies=int(row[-3]), instances=int(row[-2]), size_bytes=int(row[-1]))
