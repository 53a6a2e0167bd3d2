"""Takes a file of facts into the ledger, or tells what that would do; must not take any of a file that has bad lines.

Unless the operator says so. A file is read twice: to find what is wrong with it, and, a few thousand facts in one act,
to compare and to tell. An import that is cut short is finished by running it again: what is told already is no news.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from itertools import islice
from typing import TypeVar

from archive.errors import UnreadableFacts
from archive.index.session import Connection
from archive.services.fact_checks import Life, contradictions, lives
from archive.services.fact_files import FactFile, Layout, Problem
from archive.services.facts import NewFact, news, recorded
from archive.services.ledger import Draft, Ledger
from archive.services.reports import Progress

AT_ONCE = 2000
LISTED = 1000
"""Problems, contradictions and unknown patients are counted to the last, but only so many are listed."""

Item = TypeVar("Item")
_Numbered = list[tuple[int, NewFact]]
_Known = dict[tuple[str, str], Life]


@dataclass(frozen=True, slots=True)
class Contradiction:
    """What a line says against what is known, or against another line."""

    line: int
    reason: str


@dataclass(slots=True)
class Report:
    """What an import did, or would do. Counts are of facts; ``is_applied`` tells whether the ledger has them."""

    layout: Layout
    is_applied: bool = False
    lines: int = 0
    by_kind: Counter[str] = field(default_factory=Counter)
    added: int = 0
    replaced: int = 0
    unchanged: int = 0
    matched: int = 0
    unmatched: int = 0
    unmatched_lines: list[int] = field(default_factory=list)
    bad: int = 0
    problems: list[Problem] = field(default_factory=list)
    contradicting: int = 0
    contradictions: list[Contradiction] = field(default_factory=list)


@dataclass(slots=True)
class FactImport:
    """One import; ``skip_bad`` takes the good lines of a file that has bad ones."""

    ledger: Ledger
    skip_bad: bool = False

    def run(self, file: FactFile, *, actor: str | None, progress: Progress) -> Report:
        """Compare a file with what is known and, with an ``actor``, tell the ledger; return the report.

        Nothing is told when lines are bad, unless they are to be skipped. Raises UnreadableFacts and what
        ``Ledger.act`` raises; facts told until then stay told.
        """
        report = Report(file.layout)
        own = self._read(file, report)
        if report.bad and not self.skip_bad:
            actor = None
        report.is_applied = actor is not None
        facts = ((line, each) for line, each in file.read() if isinstance(each, NewFact))
        done = 0
        while some := list(islice(facts, AT_ONCE)):
            with self.ledger.database.read() as connection:
                self._compare(connection, some, own, report)
                if actor is None:
                    self._drafts(connection, some, report)
            if actor is not None:
                self.ledger.act(actor, lambda connection, some=some: self._drafts(connection, some, report))  # type: ignore[misc]
            done += len(some)
            progress(done, report.by_kind.total())
        if done != report.by_kind.total():
            raise UnreadableFacts(reason="it changed while it was read: leave it alone and import it again")
        return report

    def _read(self, file: FactFile, report: Report) -> _Known:
        """Find the bad lines, and what the file itself says of births and deaths."""
        own: _Known = {}
        for _, each in file.read():
            report.lines += 1
            if isinstance(each, Problem):
                report.bad += 1
                _list(report.problems, each)
                continue
            report.by_kind[each.kind] += 1
            if each.kind in ("birth", "death"):
                own.setdefault((each.site, each.patient_id), Life()).add(each)
        return own

    def _compare(self, connection: Connection, some: _Numbered, own: _Known, report: Report) -> None:
        known = lives(connection, (fact for _, fact in some))
        today = self.ledger.clock().date().isoformat()
        for line, fact in some:
            life = known[fact.site, fact.patient_id]
            report.matched += life.is_in_archive
            report.unmatched += not life.is_in_archive
            if not life.is_in_archive:
                _list(report.unmatched_lines, line)
            if also := own.get((fact.site, fact.patient_id)):
                life.births |= also.births
                life.deaths |= also.deaths
            for reason in contradictions(fact, life, today):
                report.contradicting += 1
                _list(report.contradictions, Contradiction(line, reason))

    def _drafts(self, connection: Connection, some: _Numbered, report: Report) -> list[Draft]:
        found = news(connection, (fact for _, fact in some))
        report.replaced += sum(former is not None for _, former in found)
        report.added += sum(former is None for _, former in found)
        report.unchanged += len(some) - len(found)
        return [recorded(fact) for fact, _ in found]


def _list(items: list[Item], item: Item) -> None:
    if len(items) < LISTED:
        items.append(item)
