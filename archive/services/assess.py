"""Keeps every study's assessment true to what facts, dates, rules and arrivals changed; must not decide or delete.

An assessment can be thrown away and made again. Each page is one transaction, so that a kill loses one page at most
and arriving images wait for one page at most.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Final

from archive import logs
from archive.clock import Clock
from archive.index import assessments as table
from archive.index.assessments import AssessmentRow
from archive.index.session import Connection, Database
from archive.services.gathering import GatheredFacts, gather
from archive.services.reports import Progress
from retention_rules.assessment import Assessment, Reading
from retention_rules.engine import assess
from retention_rules.errors import RetentionError
from retention_rules.facts import StudyFacts, parse_facts
from retention_rules.schedule import RetentionSchedule

_PAGE: Final = 1000
_log = logs.get(__name__)


@dataclass(frozen=True, slots=True)
class SiteRules:
    """What a site's studies are assessed by."""

    schedule: RetentionSchedule
    reading: Reading = "prudent"

    @property
    def version(self) -> str:
        """Name the rules: when it changes, what was concluded by the old ones is worked out again."""
        return f"{self.schedule.version}, {self.reading}"


@dataclass(frozen=True, slots=True)
class Assessor:
    """The rules of every site; ``fallback``, the strictest, is for studies of a site that is no longer configured."""

    rules: Mapping[str, SiteRules]
    fallback: SiteRules

    def of(self, site: str) -> SiteRules:
        """Return a site's rules."""
        return self.rules.get(site, self.fallback)

    def facts(self, gathered: GatheredFacts) -> StudyFacts:
        """Return the facts in the engine's form. Raises RetentionError when they cannot be read."""
        return parse_facts({**gathered.mapping, "regime": self.of(gathered.site).schedule.regime})

    def assess(self, gathered: GatheredFacts, today: date) -> Assessment:
        """Return until when a study is kept. Raises RetentionError when its facts cannot be read."""
        rules = self.of(gathered.site)
        return assess(self.facts(gathered), rules.schedule, today, reading=rules.reading)

    def row(self, gathered: GatheredFacts, today: date) -> AssessmentRow:
        """Return what is kept of a study's assessment; one that cannot be made is set aside with its reason."""
        try:
            assessment = self.assess(gathered, today)
        except Exception as exc:  # one study's facts must not stop the others
            _log.error("study_set_aside", study_instance_uid=gathered.study_instance_uid, exc_info=exc)
            reason = exc.message if isinstance(exc, RetentionError) else type(exc).__name__
            return self._row(gathered, None, None, error=reason)
        return self._row(gathered, assessment, reassess_on(assessment, today))

    def _row(
        self, gathered: GatheredFacts, assessment: Assessment | None, again: date | None, *, error: str | None = None
    ) -> AssessmentRow:
        facts = None if assessment is None else assessment.basis.facts
        return AssessmentRow(
            study_instance_uid=gathered.study_instance_uid,
            site=gathered.site,
            exam_on=None if facts is None else facts.exam_on.isoformat(),
            eligible_on=None if assessment is None else _text(assessment.eligible_on),
            lossless_until=None if assessment is None else assessment.lossless_until.isoformat(),
            rule=None if assessment is None else assessment.rule,
            blocked_by="" if assessment is None else " ".join(assessment.blocked_by),
            reassess_on=_text(again),
            schedule_version=self.of(gathered.site).version,
            error=error,
            instances=gathered.instances,
            size_bytes=gathered.size_bytes,
        )


def _text(day: date | None) -> str | None:
    return None if day is None else day.isoformat()


def reassess_on(assessment: Assessment, today: date) -> date | None:
    """Return the first day after ``today`` on which the same facts may come to something else, or None."""
    facts, schedule = assessment.basis.facts, assessment.basis.schedule
    days = [facts.exam_on, *(edition.valid_from for edition in schedule.editions)]
    days += [day for appeal in facts.appeals for day in appeal if day is not None]
    return min((day for day in days if day > today), default=None)


@dataclass(frozen=True, slots=True)
class Assessments:
    """The stored assessments of one archive."""

    database: Database
    assessor: Assessor
    clock: Clock

    def settle(self, today: date, progress: Progress = lambda _done, _total: None, *, limit: int | None = None) -> int:
        """Bring every assessment up to ``today``, or the next ``limit`` of them; return how many were made.

        Raises IndexUnavailable; what was made until then stays.
        """
        self._mark(today)
        with self.database.read() as connection:
            total = table.count_stale(connection)
        total = total if limit is None else min(limit, total)
        done = 0
        while done < total and (made := self._page(today, min(_PAGE, total - done))):
            done += made
            progress(done, total)
        return done

    def _mark(self, today: date) -> None:
        versions = {site: rules.version for site, rules in self.assessor.rules.items()}
        with self.database.write(synced=False) as connection:
            table.mark_changed(connection, today, versions)
        is_more = True
        while is_more:
            with self.database.write(synced=False) as connection:
                is_more = table.find_arrivals(connection)

    def _page(self, today: date, limit: int) -> int:
        with self.database.write(synced=False) as connection:
            uids = table.stale(connection, limit)
            gathered = gather(connection, uids)
            table.store(connection, [self.assessor.row(facts, today) for facts in gathered], self.clock())
            found = {facts.study_instance_uid for facts in gathered}
            table.forget(connection, [uid for uid in uids if uid not in found])
            return len(uids)

    def iter_due(self, connection: Connection, as_of: date, site: str | None) -> Iterator[Due]:
        """Yield the studies that are due on ``as_of``, each assessed again for that day from its facts as they are."""
        for uids in table.iter_due(connection, as_of, site, page=_PAGE):
            for gathered in gather(connection, uids):
                yield Due(gathered, self.assessor.assess(gathered, as_of))


@dataclass(frozen=True, slots=True)
class Due:
    """A study whose row says that it is due, and what its facts say."""

    facts: GatheredFacts
    assessment: Assessment
