"""Assesses studies and keeps the assessments current; must not dispose of anything, nor cost the way in anything.

What is to be made again is found, not announced: studies without an assessment, with instances that came since, with
facts that changed (marked by the ledger), by settings that changed, and those that time alone changes. Pages are read
beside the archive's work and written in one short transaction each: a kill loses one page, and what was written is not
looked for again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import date
from typing import Final

from archive import logs
from archive.clock import Clock
from archive.config import Site
from archive.index import assessments, gathering, ledger, sweeps
from archive.index.assessments import Arrival, AssessmentRow
from archive.index.records import to_text
from archive.index.session import Connection, Database
from archive.services.gathering import GatheredFacts, gather
from retention_rules.assessment import Assessment, Reading, iter_assumptions
from retention_rules.engine import assess
from retention_rules.errors import InvalidFacts, RetentionError
from retention_rules.facts import StudyFacts, parse_facts
from retention_rules.loader import load_schedule
from retention_rules.schedule import RetentionSchedule

_log = logs.get(__name__)
PAGE: Final = 2000
POISON: Final = (
    RetentionError,
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""What facts that nobody foresaw may raise: that study is set aside, the others go on."""

_UNKNOWN: Final = ("", "")

Lend = Callable[[], AbstractContextManager[Connection]]


@dataclass(frozen=True, slots=True)
class SiteRules:
    """By which schedule, in which reading, a site's studies are assessed."""

    schedule: RetentionSchedule
    reading: Reading

    @property
    def basis(self) -> tuple[str, str]:
        """Return what a stored assessment remembers of it."""
        return self.reading, self.schedule.version


def rules_of(sites: Iterable[Site]) -> dict[str, SiteRules]:
    """Return each site's rules. Raises RetentionError for settings below the law."""
    return {site.name: SiteRules(load_schedule(site.regime, site.retention_settings), site.reading) for site in sites}


@dataclass(frozen=True, slots=True)
class Judged:
    """One study with its facts and what was concluded; ``row`` is the form that is stored."""

    gathered: GatheredFacts
    facts: StudyFacts
    assessment: Assessment


@dataclass(frozen=True, slots=True)
class Page:
    """Studies to assess together; once they are stored, ``seen`` and ``settings`` say how far that was."""

    study_instance_uids: Sequence[str]
    seen: Arrival | None = None
    settings: str | None = None
    forget_orphans: bool = False


@dataclass(frozen=True, slots=True)
class Assessor:
    """Assesses by the rules of the sites; ``rules`` come from ``rules_of``."""

    database: Database
    rules: Mapping[str, SiteRules]
    clock: Clock

    # ---- one page ------------------------------------------------------------------------------------------------

    def judge(self, gathered: GatheredFacts, today: date) -> Judged:
        """Return what is concluded of one study. Raises InvalidFacts, also for a site without settings."""
        rules = self.rules.get(gathered.site)
        if rules is None:
            raise InvalidFacts(name="site", reason="is not in the settings: add it under [[sites]]")
        facts = parse_facts({**gathered.mapping, "regime": rules.schedule.regime})
        return Judged(gathered, facts, assess(facts, rules.schedule, today, reading=rules.reading))

    def rows(self, connection: Connection, study_instance_uids: Sequence[str], today: date) -> list[AssessmentRow]:
        """Return the assessments of those of these studies that the archive has; nothing is stored."""
        at = to_text(self.clock())
        return [
            _set_aside(each, self._basis(each.site), today, at)
            if isinstance(each, Poisoned)
            else self._row(each, today, at)
            for each in gather_each(connection, study_instance_uids)
        ]

    def store(self, page: Page, today: date) -> list[AssessmentRow]:
        """Assess and store a page in a transaction of its own; return its assessments.

        The facts are read before the writing transaction. When the ledger moved meanwhile they are read again within.
        """
        with self.database.read() as connection:
            position = ledger.position(connection).sequence
            rows = self.rows(connection, page.study_instance_uids, today)
            gone = set(assessments.orphans(connection)) if page.forget_orphans else set()
        with self.database.write(synced=False) as connection:
            if ledger.position(connection).sequence != position:
                rows = self.rows(connection, page.study_instance_uids, today)
            assessments.put(connection, rows)
            gone |= set(page.study_instance_uids).difference(row.study_instance_uid for row in rows)
            assessments.forget(connection, gone)
            _remember(connection, page)
        for row in rows:
            if row.error is not None:
                _log.error("study_set_aside", study_instance_uid=row.study_instance_uid, reason=row.error)
        return rows

    def _row(self, gathered: GatheredFacts, today: date, at: str) -> AssessmentRow:
        try:
            judged = self.judge(gathered, today)
        except POISON as exc:
            poisoned = Poisoned(gathered.study_instance_uid, gathered.site, exc, gathered)
            return _set_aside(poisoned, self._basis(gathered.site), today, at)
        return _row(judged, today, at, self._basis(gathered.site))

    def _basis(self, site: str) -> tuple[str, str]:
        rules = self.rules.get(site)
        return _UNKNOWN if rules is None else rules.basis

    # ---- which studies -------------------------------------------------------------------------------------------

    def pages(self, lend: Lend, today: date) -> Iterator[Page]:
        """Yield what is to be assessed for a day, each study once; ``lend`` gives a connection for each look.

        Store a page before the next is asked for, or lend one and the same connection throughout.
        """
        with lend() as connection:
            seen = sweeps.seen(connection)
        new = self._compared(lend) if seen is None else self._arrived(lend, seen)
        for page in new:
            yield self._not_otherwise(lend, page, today)
        yield from self._stale(lend)
        yield from self._again(lend, today)
        yield from self._outdated(lend, today)

    def settle(self, limit: int = PAGE) -> int:
        """Assess up to ``limit`` studies that arrived or of which something became known; return how many.

        Cheap when there is nothing to do; leaves changed settings, and the comparison of an index that has not been
        swept and is not small, to sweeps.
        """
        done, today, lend = 0, self.clock().date(), self.database.read
        with lend() as connection:
            seen = sweeps.seen(connection)
        sources = [self._stale(lend), self._again(lend, today)]
        if seen is not None:
            sources.append(self._arrived(lend, seen))
        elif self._is_small(lend):
            sources.append(self._compared(lend))
        for source in sources:
            for page in source:
                done += len(self.store(page, today))
                if done >= limit:
                    return done
        return done

    def _is_small(self, lend: Lend) -> bool:
        """Tell whether comparing all of the index takes no longer than a page: that of a new archive."""
        with lend() as connection:
            return assessments.compared(connection, PAGE, 1)[0] is None

    def _compared(self, lend: Lend) -> Iterator[Page]:
        """Compare every study with its assessment, when it cannot be told which instances are new."""
        with lend() as connection:
            newest = sweeps.newest(connection)
        after: int | None = 0
        while after is not None:
            with lend() as connection:
                after, found = assessments.compared(connection, after, PAGE)
            if found:
                yield Page(found)
        yield Page((), seen=newest, forget_orphans=True)

    def _arrived(self, lend: Lend, seen: Arrival) -> Iterator[Page]:
        while True:
            with lend() as connection:
                found = assessments.arrived(connection, seen.instance_id, PAGE)
            if not found:
                return
            seen = found[-1]
            yield Page(list(dict.fromkeys(each.study_instance_uid for each in found)), seen=seen)

    def _not_otherwise(self, lend: Lend, page: Page, today: date) -> Page:
        """Leave out studies that one of the other reasons brings up too."""
        with lend() as connection:
            stored = assessments.by_uid(connection, page.study_instance_uids)
        day = today.isoformat()
        uids = [uid for uid in page.study_instance_uids if uid not in stored or not self.is_pending(stored[uid], day)]
        return Page(uids, page.seen, page.settings, page.forget_orphans)

    def is_pending(self, row: AssessmentRow, day: str) -> bool:
        """Tell whether facts, settings or the passing of time until a day have a stored assessment made again."""
        is_outdated = (row.reading, row.schedule_version) != self._basis(row.site)
        return bool(row.is_stale) or (row.reassess_on is not None and row.reassess_on <= day) or is_outdated

    def _stale(self, lend: Lend) -> Iterator[Page]:
        after = ""
        while True:
            with lend() as connection:
                found = assessments.stale(connection, after, PAGE)
            if not found:
                return
            after = found[-1]
            yield Page(found)

    def _again(self, lend: Lend, today: date) -> Iterator[Page]:
        after = ("", "")
        while True:
            with lend() as connection:
                found = assessments.again(connection, today.isoformat(), after, PAGE)
            if not found:
                return
            after = found[-1]
            yield Page([uid for _, uid in found])

    def _outdated(self, lend: Lend, today: date) -> Iterator[Page]:
        """Find what was assessed by other settings; looked for only when the settings are others than last time."""
        settings = self.settings()
        with lend() as connection:
            if sweeps.settings(connection) == settings:
                return
            bases = assessments.bases(connection)
        for basis in bases:
            after = "" if (basis[1], basis[2]) != self._basis(basis[0]) else None
            while after is not None:
                with lend() as connection:
                    found = assessments.outdated(connection, basis, today.isoformat(), (after, PAGE))
                after = found[-1] if found else None
                yield Page(found)
        yield Page((), settings=settings)

    def settings(self) -> str:
        """Return the rules of all sites, as a text that is equal when they are."""
        return json.dumps({site: rules.basis for site, rules in self.rules.items()}, sort_keys=True)


# ---- reading pages -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Poisoned:
    """A study whose facts could not be gathered or assessed."""

    study_instance_uid: str
    site: str
    error: Exception
    gathered: GatheredFacts | None = None


def gather_each(connection: Connection, uids: Sequence[str]) -> list[GatheredFacts | Poisoned]:
    """Gather a page; when that fails, halves of it, down to the study that cannot be gathered."""
    try:
        return list(gather(connection, uids))
    except POISON as exc:
        if len(uids) > 1:
            half = len(uids) // 2
            return [*gather_each(connection, uids[:half]), *gather_each(connection, uids[half:])]
        return [Poisoned(row.study_instance_uid, row.site, exc) for row in gathering.by_uid(connection, uids)]


def _remember(connection: Connection, page: Page) -> None:
    if page.seen is not None:
        sweeps.see(connection, page.seen)
    if page.settings is not None:
        sweeps.set_settings(connection, page.settings)


# ---- rows ----------------------------------------------------------------------------------------------------------


def _row(judged: Judged, today: date, at: str, basis: tuple[str, str]) -> AssessmentRow:
    gathered, assessment = judged.gathered, judged.assessment
    eligible_on = assessment.eligible_on
    codes = [*gathered.assumptions, *dict.fromkeys(code for code, _ in iter_assumptions(assessment.basis))]
    return AssessmentRow(
        gathered.study_instance_uid,
        gathered.site,
        judged.facts.exam_on.isoformat(),
        None if eligible_on is None else eligible_on.isoformat(),
        assessment.lossless_until.isoformat(),
        assessment.rule,
        " ".join(assessment.blocked_by),
        reassess_on(judged.facts, assessment.basis.schedule, today),
        " ".join(codes),
        *basis,
        at,
        None,
        0,
        gathered.instances,
        gathered.size_bytes,
    )


def _set_aside(poisoned: Poisoned, basis: tuple[str, str], today: date, at: str) -> AssessmentRow:
    """Return the row of a study that could not be assessed; it is tried again from the next day on."""
    error, gathered = poisoned.error, poisoned.gathered
    reason = error.message if isinstance(error, RetentionError) else type(error).__name__
    sizes = (0, 0) if gathered is None else (gathered.instances, gathered.size_bytes)
    tomorrow = date.fromordinal(min(today.toordinal() + 1, date.max.toordinal())).isoformat()
    words = (None, None, None, None, "facts", tomorrow, "")
    return AssessmentRow(poisoned.study_instance_uid, poisoned.site, *words, *basis, at, reason, 0, *sizes)


def reassess_on(facts: StudyFacts, schedule: RetentionSchedule, today: date) -> str | None:
    """Return the first day after ``today`` on which time alone may change the conclusion; None: never.

    An exam that lies ahead, an appeal that begins or ends, a rule that comes into force.
    """
    days = [edition.valid_from for edition in schedule.editions if edition.valid_from > today]
    if facts.exam_on > today:
        days.append(facts.exam_on)
    for appeal in facts.appeals:
        days += [day for day in appeal if day is not None and day > today]
    return min(days).isoformat() if days else None
