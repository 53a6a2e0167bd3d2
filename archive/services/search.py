"""Searches for people over DICOMweb, page by page, within their sites; must not know HTTP or the tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from archive.index.expressions import split_values
from archive.index.find import SUPPORTED, Query, run_query
from archive.services.accesses import Access, AccessJournal, AskedFor
from archive.services.committer import Committer
from archive.services.people import Permission

SERVICE: Final = "QIDO-RS"
Level = Literal["STUDY", "SERIES", "IMAGE"]


@dataclass(frozen=True, slots=True)
class Wanted:
    """A search: ``keys`` keyword -> value ("" asks for the attribute only); ``limit`` 0 means as many as there may be.

    ``is_fuzzy``: a name matches when each word of the value begins one of its words.
    """

    level: Level
    keys: Mapping[str, str]
    limit: int = 0
    offset: int = 0
    is_fuzzy: bool = False

    @property
    def unmatched(self) -> list[str]:
        """Return the keywords with a value that the index cannot compare; they leave nothing out."""
        return sorted(keyword for keyword, value in self.keys.items() if value and keyword not in SUPPORTED)


@dataclass(frozen=True, slots=True)
class Page:
    """A part of the answers, newest arrivals first; ``has_more``: there are others behind it."""

    answers: Sequence[Mapping[str, str]] = field(default_factory=list)
    has_more: bool = False


@dataclass(frozen=True, slots=True)
class Search:
    """Searches that see everything acknowledged before; ``limit`` is the largest page."""

    committer: Committer
    journal: AccessJournal
    limit: int

    def page(self, access: Access, wanted: Wanted) -> Page:
        """Return a page of what the person may see, and journal that they asked.

        Raises NotAllowed, InvalidIdentifier for a value that cannot be understood, IndexUnavailable.
        """
        access.person.require(Permission.VIEW_IMAGES)
        size = min(wanted.limit or self.limit, self.limit)
        query = Query(
            root="study",
            level=wanted.level,
            keys=wanted.keys,
            limit=size + 1,
            offset=wanted.offset,
            relational=True,
            sites=access.person.sites,
            newest_first=True,
            is_fuzzy=wanted.is_fuzzy,
        )
        with self.committer.read() as connection:
            rows = list(run_query(connection, query))
        self.journal.asked(access, _asked(wanted, min(len(rows), size)))
        return Page(rows[:size], has_more=len(rows) > size)


def _asked(wanted: Wanted, answers: int) -> AskedFor:
    studies = split_values(wanted.keys.get("StudyInstanceUID", ""))
    keywords = [keyword for keyword, value in wanted.keys.items() if value]
    return AskedFor(SERVICE, wanted.level, keywords, studies, answers)
