"""Counts for whoever watches the archive, read from whole indexes: not for every request; must not change anything."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from archive.index.marks import all_marks
from archive.index.session import Connection
from archive.index.statements import Statement

_DUE: Final = Statement(
    "SELECT site, COUNT(*) FROM assessment WHERE eligible_on <= ? AND blocked_by = '' AND is_stale = 0 "
    "AND error IS NULL GROUP BY site"
)
_HELD: Final = Statement("SELECT site, COUNT(*) FROM assessment WHERE blocked_by LIKE ? GROUP BY site")
_HOLDS: Final = Statement(
    "SELECT COUNT(*), COALESCE(SUM(CASE WHEN review_on <= ? THEN 1 ELSE 0 END), 0) FROM hold WHERE lifted_at IS NULL"
)
_LISTED: Final = Statement(
    "SELECT disposal_list.state, COUNT(*) FROM disposal_item "
    "JOIN disposal_list ON disposal_list.list_id = disposal_item.list_id "
    "WHERE disposal_list.state IN ('listed', 'approved', 'destroying') "
    "AND disposal_item.state IN ('listed', 'destroying') GROUP BY disposal_list.state"
)
_REST: Final = Statement(
    "SELECT (SELECT COUNT(*) FROM assessment WHERE reassess_on IS NOT NULL AND error IS NOT NULL), "
    "(SELECT COUNT(*) FROM set_aside WHERE attempts >= ?), (SELECT COUNT(*) FROM thaw)"
)


@dataclass(frozen=True, slots=True)
class RetentionFigures:
    """Studies due and held by site, holds in force and overdue for review, studies on open lists by the list's state.

    ``facts_set_aside``: studies nothing could be concluded for; ``migration_set_aside``: those whose migration failed
    too often. ``marks``: when what is seldom done was done last.
    """

    due: Mapping[str, int]
    held: Mapping[str, int]
    holds: int
    holds_overdue: int
    listed: Mapping[str, int]
    facts_set_aside: int
    migration_set_aside: int
    thaws: int
    marks: Mapping[str, datetime]


def retention_figures(connection: Connection, today: str, attempts: int) -> RetentionFigures:
    """Return the counts as of a day; ``attempts``: after so many a failed study is left alone."""
    holds, rest = _HOLDS.one(connection, (today,)), _REST.one(connection, (attempts,))
    assert holds is not None and rest is not None
    return RetentionFigures(
        due=dict(_DUE.rows(connection, (today,))),
        held=dict(_HELD.rows(connection, ("%hold:%",))),
        holds=int(holds[0]),
        holds_overdue=int(holds[1]),
        listed=dict(_LISTED.rows(connection)),
        facts_set_aside=int(rest[0]),
        migration_set_aside=int(rest[1]),
        thaws=int(rest[2]),
        marks=all_marks(connection),
    )
