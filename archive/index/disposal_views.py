"""Disposal lists counted for people: how many lines of each state; must not decide anything."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final, NamedTuple

from archive.index.session import Connection
from archive.index.statements import rows_in


class ListSummary(NamedTuple):
    """A list and its lines by state; dates and moments as they are stored, ``offices`` are those that signed."""

    list_id: str
    site: str
    site_kind: str
    state: str
    as_of: str
    proposed_at: str
    proposed_by: str
    waiting_until: str | None
    ended_at: str | None
    lines: int
    kept: int
    offices: tuple[str, ...]


_SELECT: Final = (
    "SELECT list_id, site, site_kind, state, as_of, proposed_at, proposed_by, waiting_until, ended_at, "
    "(SELECT COUNT(*) FROM disposal_item WHERE disposal_item.list_id = disposal_list.list_id), "
    "(SELECT COUNT(*) FROM disposal_item WHERE disposal_item.list_id = disposal_list.list_id "
    "AND state IN ('refused', 'sent_back', 'cancelled')) "
    "FROM disposal_list"
)
_PAGE: Final = f"{_SELECT} WHERE site IN (%s) ORDER BY proposed_at DESC, list_id DESC"
_OPEN: Final = f"{_SELECT} WHERE state IN ('listed', 'approved', 'destroying') AND site IN (%s) ORDER BY proposed_at"
_SIGNED: Final = "SELECT list_id, office FROM disposal_approval WHERE list_id IN (%s)"


def of_sites(connection: Connection, sites: Collection[str]) -> list[ListSummary]:
    """Return every list of these sites, the newest first."""
    return _summaries(connection, _PAGE, sites)


def open_of_sites(connection: Connection, sites: Collection[str]) -> list[ListSummary]:
    """Return the lists of these sites that are not over, the oldest first."""
    return _summaries(connection, _OPEN, sites)


def _summaries(connection: Connection, sql: str, sites: Collection[str]) -> list[ListSummary]:
    rows = list(rows_in(connection, sql, sites))
    signed: dict[str, list[str]] = {}
    for list_id, office in rows_in(connection, _SIGNED, [row[0] for row in rows]):
        signed.setdefault(list_id, []).append(office)
    return [ListSummary._make((*row, tuple(sorted(signed.get(row[0], ()))))) for row in rows]
