"""Answers queries from the index (PS3.4 section C.4.1 and annex C.6); must not know the wire or the tables."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from archive.errors import InvalidIdentifier, TooManyMatches
from archive.index.find import Query, run_query
from archive.services.committer import Committer

Root = Literal["patient", "study"]

_LEVELS: Final[Mapping[Root, tuple[str, ...]]] = {
    "patient": ("PATIENT", "STUDY", "SERIES", "IMAGE"),
    "study": ("STUDY", "SERIES", "IMAGE"),
}
_TIME_ZONE: Final = "TimezoneOffsetFromUTC"
_ABOUT_THE_QUERY: Final = frozenset(
    ("QueryRetrieveLevel", "QueryRetrieveView", "RetrieveAETitle", "SpecificCharacterSet")
)
"""Elements that speak of the query or of its answers; none is a key (PS3.4 section C.4.1.1.3)."""


@dataclass(frozen=True, slots=True)
class Question:
    """A query understood; ``asked`` are the keywords the answers have to carry, supported or not."""

    query: Query
    asked: frozenset[str]

    def unsupported(self, answer: Mapping[str, str]) -> frozenset[str]:
        """Return the keywords asked for that ``answer`` does not know."""
        return self.asked - answer.keys()


@dataclass(frozen=True, slots=True)
class Find:
    """Queries that see everything acknowledged before; ``limit`` is the largest number of answers to one query."""

    committer: Committer
    limit: int

    def question(self, root: Root, identifier: Mapping[str, str]) -> Question:
        """Return what ``identifier`` (keyword -> text, "" for a universal key) asks; raise InvalidIdentifier.

        A missing unique key of a level above is no error: such a query is relational.
        """
        level = _level_of(root, identifier)
        keys = {keyword: value for keyword, value in identifier.items() if keyword not in _ABOUT_THE_QUERY}
        if keys.pop(_TIME_ZONE, None) is not None and level == "IMAGE":
            keys[_TIME_ZONE] = ""  # asked for, never compared: it says how the query's own times are meant
        query = Query(root=root, level=level, keys=keys, limit=self.limit + 1, relational=True)
        return Question(query, frozenset(keys))

    def answers(self, question: Question) -> Generator[Mapping[str, str], None, None]:
        """Yield answers, keyword -> text, at most ``limit``; then raise TooManyMatches when there are more.

        Each holds the supported keywords asked for, the unique keys down to the level, and the level. A connection is
        lent until the last one: whoever iterates must not wait for a peer in between. Raises InvalidIdentifier for a
        value that cannot be understood, IndexUnavailable.
        """
        with self.committer.read() as connection:
            for count, row in enumerate(run_query(connection, question.query)):
                if count == self.limit:
                    raise TooManyMatches(limit=self.limit, reason=f"more than {self.limit} answers")
                yield {**row, "QueryRetrieveLevel": question.query.level}


def _level_of(root: Root, identifier: Mapping[str, str]) -> str:
    level = identifier.get("QueryRetrieveLevel", "").strip().upper()
    if not level:
        raise InvalidIdentifier(reason="QueryRetrieveLevel is missing")
    if level not in _LEVELS[root]:
        raise InvalidIdentifier(reason=f"there is no such level in the {root} root model")
    return level
