"""What was concluded of each study, kept so that a sweep need not conclude it again; must not conclude anything.

A row says ``is_stale`` when something it rests on may have changed: a fact, a hold, a link, a new instance, the date,
the rules. New studies and instances are found by their ids, so that taking an image in costs nothing here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final, NamedTuple

from archive.index.records import to_text
from archive.index.session import Connection
from archive.index.statements import Statement, insert_into

_INSTANCES_AT_ONCE: Final = 50_000


class AssessmentRow(NamedTuple):
    """One study's conclusion; dates are ISO texts, ``blocked_by`` is joined by spaces, ``error`` sets it aside.

    ``reassess_on`` is the day on which it may change by itself; sizes count every copy, in bytes.
    """

    study_instance_uid: str
    site: str
    exam_on: str | None
    eligible_on: str | None
    lossless_until: str | None
    rule: str | None
    blocked_by: str
    reassess_on: str | None
    schedule_version: str
    error: str | None
    instances: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Total:
    """How much falls under one rule and year of eligibility (both "" where there is none); sizes in bytes."""

    rule: str
    year: str
    is_due: bool
    is_blocked: bool
    studies: int
    instances: int
    size_bytes: int


_COLUMNS: Final = AssessmentRow._fields
_UPDATED: Final = ", ".join(f"{name} = excluded.{name}" for name in (*_COLUMNS[1:], "assessed_at", "is_stale"))
_STORE: Final = insert_into(
    "assessment",
    (*_COLUMNS, "assessed_at", "is_stale"),
    f" ON CONFLICT (study_instance_uid) DO UPDATE SET {_UPDATED}",
)
_MARK: Final = Statement("SELECT instance_id, versions FROM assessment_mark WHERE id = 1")
_MOVE: Final = insert_into(
    "assessment_mark",
    ("id", "instance_id", "versions"),
    " ON CONFLICT (id) DO UPDATE SET instance_id = excluded.instance_id, versions = excluded.versions",
)
_LAST: Final = Statement("SELECT COALESCE(MAX(id), 0) FROM instance")
_ARRIVED: Final = Statement(
    "INSERT INTO assessment (study_instance_uid, site, blocked_by, schedule_version, assessed_at, is_stale, instances, "
    "size_bytes) SELECT DISTINCT study.study_instance_uid, study.site, '', '', '', 1, 0, 0 FROM instance "
    "JOIN series ON series.id = instance.series_fk JOIN study ON study.id = series.study_fk "
    "WHERE instance.id > ? AND instance.id <= ? "
    "ON CONFLICT (study_instance_uid) DO UPDATE SET is_stale = 1"
)
_DATED: Final = Statement("UPDATE assessment SET is_stale = 1 WHERE reassess_on <= ?")
_OTHER_RULES: Final = Statement("UPDATE assessment SET is_stale = 1 WHERE site = ? AND schedule_version <> ?")
_STALE: Final = Statement("SELECT study_instance_uid FROM assessment WHERE is_stale = 1 LIMIT ?")
_STALE_COUNT: Final = Statement("SELECT COUNT(*) FROM assessment WHERE is_stale = 1")
_FORGET: Final = Statement("DELETE FROM assessment WHERE study_instance_uid = ?")
_WHERE_SITE: Final = "(CAST(? AS TEXT) IS NULL OR site = ?)"
_TOTALS: Final = Statement(
    "SELECT COALESCE(rule, ''), COALESCE(substr(eligible_on, 1, 4), ''), "
    "CASE WHEN eligible_on <= ? AND blocked_by = '' THEN 1 ELSE 0 END, CASE WHEN blocked_by = '' THEN 0 ELSE 1 END, "
    f"COUNT(*), SUM(instances), SUM(size_bytes) FROM assessment WHERE error IS NULL AND {_WHERE_SITE} "
    "GROUP BY 1, 2, 3, 4 ORDER BY 2, 1, 3, 4"
)
_DUE: Final = Statement(
    "SELECT study_instance_uid FROM assessment WHERE eligible_on <= ? AND blocked_by = '' AND error IS NULL "
    f"AND {_WHERE_SITE} AND study_instance_uid > ? ORDER BY study_instance_uid LIMIT ?"
)
_BLOCKED: Final = Statement(
    "SELECT COUNT(CASE WHEN blocked_by LIKE ? THEN 1 END), COUNT(CASE WHEN blocked_by LIKE ? THEN 1 END), "
    f"COUNT(CASE WHEN blocked_by LIKE ? THEN 1 END) FROM assessment WHERE error IS NULL AND {_WHERE_SITE}"
)
_ASIDE: Final = Statement(
    f"SELECT study_instance_uid, error FROM assessment WHERE error IS NOT NULL AND {_WHERE_SITE} "
    "ORDER BY study_instance_uid LIMIT ?"
)


def find_arrivals(connection: Connection) -> bool:
    """Mark the studies of the next instances that came since the last time; tell whether there may be more."""
    mark = _MARK.one(connection) or (0, "")
    last = _LAST.one(connection)
    assert last is not None
    # After a rebuild ids begin again: everything is looked at again.
    after = mark[0] if mark[0] <= last[0] else 0
    until = min(after + _INSTANCES_AT_ONCE, last[0])
    if until > after:
        _ARRIVED.run(connection, (after, until))
    _MOVE.run(connection, (1, until, mark[1]))
    return bool(until < last[0])


def mark_changed(connection: Connection, today: date, versions: Mapping[str, str]) -> None:
    """Mark what changes by date, and what was concluded by other rules than ``versions`` names for each site."""
    _DATED.run(connection, (today.isoformat(),))
    mark = _MARK.one(connection) or (0, "")
    told = "\n".join(f"{site}\t{version}" for site, version in sorted(versions.items()))
    if told != mark[1]:
        for site, version in versions.items():
            _OTHER_RULES.run(connection, (site, version))
        _MOVE.run(connection, (1, mark[0], told))


def stale(connection: Connection, limit: int) -> list[str]:
    """Return the Study Instance UIDs of some rows to be made again."""
    return [uid for (uid,) in _STALE.rows(connection, (limit,))]


def count_stale(connection: Connection) -> int:
    """Return how many rows are to be made again."""
    row = _STALE_COUNT.one(connection)
    return 0 if row is None else int(row[0])


def store(connection: Connection, rows: Sequence[AssessmentRow], at: datetime) -> None:
    """Keep conclusions; they are no longer stale."""
    if rows:
        _STORE.run_many(connection, [(*row, to_text(at), 0) for row in rows])


def forget(connection: Connection, study_instance_uids: Sequence[str]) -> None:
    """Drop the rows of studies that the archive does not have any more."""
    for uid in study_instance_uids:
        _FORGET.run(connection, (uid,))


def totals(connection: Connection, as_of: date, site: str | None) -> list[Total]:
    """Return what there is by rule, year, due on ``as_of`` and blocked, of one site or of all."""
    rows = _TOTALS.rows(connection, (as_of.isoformat(), site, site))
    return [
        Total(rule, year, bool(is_due), bool(is_blocked), studies, int(instances), int(size_bytes))
        for rule, year, is_due, is_blocked, studies, instances, size_bytes in rows
    ]


def iter_due(connection: Connection, as_of: date, site: str | None, *, page: int) -> Iterator[list[str]]:
    """Yield pages of Study Instance UIDs that are due by their rows and not blocked."""
    after = ""
    while uids := [uid for (uid,) in _DUE.rows(connection, (as_of.isoformat(), site, site, after, page))]:
        yield uids
        after = uids[-1]


def blocked(connection: Connection, site: str | None) -> dict[str, int]:
    """Return how many studies are blocked by a hold, an appeal, or facts that contradict each other."""
    row = _BLOCKED.one(connection, ("%hold:%", "%appeal%", "%facts%", site, site))
    assert row is not None
    return dict(zip(("hold", "appeal", "facts"), map(int, row), strict=True))


def set_aside(connection: Connection, site: str | None, limit: int) -> list[tuple[str, str]]:
    """Return studies of which nothing could be concluded, with the reason."""
    return [(uid, error) for uid, error in _ASIDE.rows(connection, (site, site, limit))]
