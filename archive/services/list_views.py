"""Disposal lists as people look through them; must not change any."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from archive.index import disposal, disposal_views
from archive.index.disposal_views import ListSummary
from archive.index.session import Database


@dataclass(frozen=True, slots=True)
class ListDesk:
    """Looks lists up, for people of some sites."""

    database: Database

    def page(self, sites: Collection[str], offset: int, limit: int) -> tuple[Sequence[ListSummary], bool]:
        """Return lists, the newest first, and whether there are more behind them."""
        with self.database.read() as connection:
            found = disposal_views.of_sites(connection, sites)
        return found[offset : offset + limit], len(found) > offset + limit

    def open(self, sites: Collection[str]) -> Sequence[ListSummary]:
        """Return the lists that are not over, the oldest first."""
        with self.database.read() as connection:
            return disposal_views.open_of_sites(connection, sites)

    def of_study(self, study_instance_uid: str) -> Sequence[str]:
        """Return the open list that a study is on, if it is on one."""
        with self.database.read() as connection:
            return sorted(disposal.listed(connection, [study_instance_uid]).values())
