"""Assesses again what is due by what is stored, and lists what has been due for longest; must not store anything.

Whoever reads that a study is due should not depend on everybody having said that something changed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from heapq import nsmallest
from typing import Final

from archive.index import assessments
from archive.index.assessments import AssessmentRow
from archive.index.session import Connection
from archive.services.assess import PAGE, Assessor

SHOWN: Final = 20
CHECKED: Final = 50_000
"""So many studies are assessed again at most, in each site those that have been due for longest."""

Stored = Mapping[str, AssessmentRow]


@dataclass(frozen=True, slots=True, order=True)
class DueStudy:
    """A study that is due: since which day (ISO), which, whose, by which rule."""

    eligible_on: str
    study_instance_uid: str
    site: str
    rule: str | None


@dataclass(slots=True)
class DueCheck:
    """The check of one sweep: as of a day, of ``left`` studies at most; what was made since ``made_since`` is new.

    ``first`` are those of ``site`` (None: of all) that have been due for longest; ``overtaken`` counts those that are
    not due by their facts.
    """

    assessor: Assessor
    as_of: date
    site: str | None = None
    left: int = CHECKED
    made_since: str | None = None
    overtaken: int = 0
    first: list[DueStudy] = field(default_factory=list)

    def iter_overtaken(
        self, connection: Connection, sites: Iterable[str], known: Collection[str]
    ) -> Iterator[tuple[Stored, list[AssessmentRow]]]:
        """Yield what comes out otherwise by its facts as they are: as it is stored, and as it is now.

        Left out are ``known`` studies, and those that a sweep as of that day assesses again anyway.
        """
        day = self.as_of.isoformat()
        for site in sites:
            for page in assessments.iter_due(connection, site, day, page=PAGE):
                rows = [row for row in page if row.study_instance_uid not in known]
                yield from self._page(connection, [row for row in rows if not self.assessor.is_pending(row, day)])
                if self.left <= 0:
                    break

    def note(self, rows: Iterable[AssessmentRow]) -> None:
        """List those of these assessments that are due."""
        day = self.as_of.isoformat()
        due = [
            DueStudy(row.eligible_on, row.study_instance_uid, row.site, row.rule)
            for row in rows
            if row.eligible_on is not None and row.eligible_on <= day and not row.blocked_by
            if self.site in (None, row.site)
        ]
        self.first = nsmallest(SHOWN, [*self.first, *due])

    def _page(self, connection: Connection, page: list[AssessmentRow]) -> Iterator[tuple[Stored, list[AssessmentRow]]]:
        stored = {row.study_instance_uid: row for row in page[: max(self.left, 0)] if not self._is_new(row)}
        self.left -= len(page)
        rows = {row.study_instance_uid: row for row in self.assessor.rows(connection, list(stored), self.as_of)}
        other = {uid: row for uid, row in stored.items() if uid not in rows or not _is_same(row, rows[uid])}
        self.overtaken += len(other)
        self.note(row for row in page if row.study_instance_uid not in other)
        if other:
            yield other, [rows[uid] for uid in other if uid in rows]

    def _is_new(self, row: AssessmentRow) -> bool:
        return self.made_since is not None and row.assessed_at >= self.made_since


def _is_same(one: AssessmentRow, other: AssessmentRow) -> bool:
    """Tell whether two assessments conclude the same; when they were made does not count."""
    return one._replace(assessed_at="") == other._replace(assessed_at="")
