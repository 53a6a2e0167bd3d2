"""Goes through all studies: what is due, what will be, what blocks, what changed; must not dispose of anything.

A dry run reads what is stored, works out in memory what is not current, and stores nothing. An applied sweep stores,
page by page, so that it may be killed and run again. Totals are made by the database: memory does not grow with the
number of studies. What is due is assessed again in either.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Final

from archive.audit import Entry
from archive.errors import SweepRefused
from archive.index import assessments, holds, sweeps
from archive.index.assessments import AssessmentRow, Group
from archive.index.records import to_text
from archive.index.session import Connection
from archive.index.sweeps import SweepRow
from archive.services.assess import PAGE, Assessor, Page
from archive.services.clock_trust import check_clock
from archive.services.committer import append_entries
from archive.services.due_check import CHECKED, SHOWN, DueCheck, DueStudy
from archive.services.reports import Progress

FORECAST_YEARS: Final = 10
_KEY: Final = len(Group._fields) - 3


@dataclass(slots=True)
class Total:
    """How many studies, and the bytes of all their copies."""

    studies: int = 0
    size_bytes: int = 0

    def add(self, studies: int, size_bytes: int) -> None:
        """Count more of them."""
        self.studies += studies
        self.size_bytes += size_bytes


@dataclass(frozen=True, slots=True)
class RuleYear:
    """The studies that one rule keeps until one year; ``year`` None: without an end."""

    rule: str
    year: int | None
    studies: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class ForecastYear:
    """What becomes eligible in a year, after the day of the sweep; ``blocked`` would, were it not blocked now."""

    year: int
    free: Total
    blocked: Total


@dataclass(frozen=True, slots=True)
class SweepReport:
    """What a sweep found for a day. ``blocked`` is by blocker (``hold:<id>``, ``appeal``, ``facts``).

    ``due`` has come and nothing blocks; ``due_but_blocked`` has come too. ``longest_due`` are the first of ``due``;
    ``overtaken`` were due by what was stored, not by their facts. ``errors`` are some of those set aside.
    ``changes`` is the difference to the last sweep that was stored, on ``last_as_of``; None when there was none, or
    another day is simulated.
    """

    as_of: date
    site: str | None
    is_applied: bool
    is_complete: bool
    assessed: int
    all: Total
    due: Total
    due_but_blocked: Total
    longest_due: Sequence[DueStudy]
    overtaken: int
    set_aside: Total
    rules: Sequence[RuleYear]
    blocked: Mapping[str, Total]
    assumptions: Mapping[str, int]
    forecast: Sequence[ForecastYear]
    errors: Sequence[tuple[str, str]]
    overdue_holds: Sequence[str]
    last_as_of: str | None
    changes: Mapping[str, int] | None


@dataclass(frozen=True, slots=True)
class Wanted:
    """What sweep is asked for: ``as_of`` None is today; ``most`` studies are assessed in this run, None: all."""

    as_of: date | None = None
    site: str | None = None
    most: int | None = None


@dataclass(frozen=True, slots=True)
class Sweeps:
    """Sweeps of one archive. Every method raises ClockNotTrusted before it does anything."""

    assessor: Assessor

    def dry_run(self, wanted: Wanted, progress: Progress) -> SweepReport:
        """Return what an applied sweep would find on a day, today or later; store nothing. Raises SweepRefused."""
        as_of = self._day(wanted)
        self.assessor.database.know_tables()
        with self.assessor.database.read() as connection:
            check = DueCheck(self.assessor, as_of, wanted.site)
            run = _Run(wanted, check, is_simulated=as_of != self.assessor.clock().date())
            run.tally.take(assessments.iter_groups(connection, as_of.isoformat()))
            run.errors = _stored_errors(connection, wanted.site)
            for page in self.assessor.pages(lambda: nullcontext(connection), as_of):
                for uids in run.parts(page):
                    run.replace(assessments.by_uid(connection, uids), self.assessor.rows(connection, uids, as_of))
                    progress(run.assessed, 0)
                if not run.is_complete:
                    break
            for former, rows in run.iter_overtaken(connection, wanted.site):
                run.swap(former, rows)
            return run.report(connection, is_applied=False)

    def apply(self, wanted: Wanted, actor: str, progress: Progress) -> SweepReport:
        """Assess what is not current, store it, and return what is found. Raises SweepRefused.

        Run it again after a kill, or when ``most`` stopped it: it goes on with what is left.
        """
        as_of = self._day(wanted)
        assessor = self.assessor
        if as_of != assessor.clock().date():
            raise SweepRefused(reason="another day than today can only be simulated, without --apply")
        assessor.database.know_tables()
        run = _Run(wanted, DueCheck(assessor, as_of, wanted.site, made_since=to_text(assessor.clock())))
        for page in assessor.pages(assessor.database.read, as_of):
            is_whole = False
            for is_whole, uids in run.cut(page):
                stored = assessor.store(page if is_whole else Page(uids), as_of)
                run.assessed += len(stored)
                progress(run.assessed, 0)
            if not is_whole:
                break
        with assessor.database.read() as connection:
            again = [uid for former, _ in run.iter_overtaken(connection, None) for uid in former]
        for start in range(0, len(again), PAGE):
            run.check.note(assessor.store(Page(again[start : start + PAGE]), as_of))
        with assessor.database.read() as connection:
            run.tally.take(assessments.iter_groups(connection, as_of.isoformat()))
            run.errors = _stored_errors(connection, wanted.site)
            report = run.report(connection, is_applied=True)
        if run.is_complete:
            self._end(run, actor)
        return report

    def _day(self, wanted: Wanted) -> date:
        now = self.assessor.clock()
        with self.assessor.database.read() as connection:
            check_clock(connection, now)
        as_of = wanted.as_of or now.date()
        if as_of < now.date():
            raise SweepRefused(reason="the day lies in the past; give today or a later one")
        return as_of

    def _end(self, run: _Run, actor: str) -> None:
        """Keep what every site's totals were, for the next sweep to compare with, and journal the sweep."""
        now = self.assessor.clock()
        summary = {"": run.tally.numbers(None)} | {site: run.tally.numbers(site) for site in run.tally.sites()}
        totals = summary[""]
        body = {name: totals[name] for name in ("studies", "due", "blocked", "set_aside")}
        row = SweepRow(run.as_of.isoformat(), now, actor, json.dumps(summary, sort_keys=True))
        with self.assessor.database.write(synced=True) as connection:
            check_clock(connection, now)  # it may have jumped meanwhile
            body["sweep"] = sweeps.add(connection, row)
            append_entries(connection, [Entry(now, "swept", actor, {"as_of": row.as_of, **body})])
            sweeps.trust(connection, now)


def _stored_errors(connection: Connection, site: str | None) -> dict[str, str]:
    rows = assessments.set_aside(connection, site, SHOWN)
    return {row.study_instance_uid: row.error or "" for row in rows}


# ---- counting ------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Tally:
    """Totals of assessments that are alike; one can be taken out again."""

    groups: dict[tuple[Any, ...], list[int]] = field(default_factory=dict)

    def take(self, groups: Iterable[Group]) -> None:
        """Count what the database counted."""
        for group in groups:
            self._add(group[:_KEY], (group.studies, group.instances, group.size_bytes), 1)

    def count(self, row: AssessmentRow, as_of: str, sign: int) -> None:
        """Count one assessment, or with -1 take it out."""
        eligible_on = row.eligible_on
        key = (
            row.site,
            row.rule,
            None if eligible_on is None else eligible_on[:4],
            int(eligible_on is not None and eligible_on <= as_of),
            row.blocked_by,
            row.assumptions,
            int(row.error is not None),
            row.reading,
            row.schedule_version,
        )
        self._add(key, (1, row.instances, row.size_bytes), sign)

    def _add(self, key: tuple[Any, ...], numbers: Sequence[int], sign: int) -> None:
        found = self.groups.setdefault(key, [0, 0, 0])
        for place, number in enumerate(numbers):
            found[place] += sign * number

    def of(self, site: str | None) -> Iterator[Group]:
        """Yield the groups of a site, or of all sites."""
        for key, numbers in self.groups.items():
            if numbers[0] and site in (None, key[0]):
                yield Group(*key, *numbers)

    def sites(self) -> set[str]:
        """Return the sites that have studies."""
        return {group.site for group in self.of(None)}

    def numbers(self, site: str | None) -> dict[str, int]:
        """Return the few totals that sweeps are compared by."""
        found: Counter[str] = Counter({name: 0 for name in ("studies", "size_bytes", "due", "due_bytes")})
        found.update({"blocked": 0, "set_aside": 0})
        for group in self.of(site):
            found["studies"] += group.studies
            found["size_bytes"] += group.size_bytes
            found["blocked"] += group.studies if group.blocked_by and not group.is_set_aside else 0
            found["set_aside"] += group.studies if group.is_set_aside else 0
            if group.is_eligible and not group.blocked_by:
                found["due"] += group.studies
                found["due_bytes"] += group.size_bytes
        return dict(found)


@dataclass(slots=True)
class _Run:
    """The state of one sweep."""

    wanted: Wanted
    check: DueCheck
    is_simulated: bool = False
    tally: _Tally = field(default_factory=_Tally)
    errors: dict[str, str] = field(default_factory=dict)
    assessed: int = 0
    is_complete: bool = True
    done: set[str] = field(default_factory=set)

    @property
    def as_of(self) -> date:
        """Return the day that the sweep is for."""
        return self.check.as_of

    def iter_overtaken(
        self, connection: Connection, site: str | None
    ) -> Iterator[tuple[Mapping[str, AssessmentRow], list[AssessmentRow]]]:
        """Assess again what is due, as far as this run may; yield as ``DueCheck`` does."""
        self.check.left = CHECKED if self.wanted.most is None else min(CHECKED, self.wanted.most - self.assessed)
        sites = sorted(self.check.assessor.rules) if site is None else [site]
        return self.check.iter_overtaken(connection, sites, self.done)

    def cut(self, page: Page) -> Iterator[tuple[bool, Sequence[str]]]:
        """Yield the page, or as much of it as may still be assessed, and whether it is the whole page."""
        uids = page.study_instance_uids
        left = len(uids) if self.wanted.most is None else self.wanted.most - self.assessed
        if left < len(uids):
            self.is_complete = False
        if uids[:left] or left >= len(uids):
            yield left >= len(uids), uids[:left]

    def parts(self, page: Page) -> Iterator[Sequence[str]]:
        """Yield what of a page a dry run has not seen yet: instances of one study may come in several pages."""
        for _, uids in self.cut(page):
            fresh = uids if page.seen is None else [uid for uid in uids if uid not in self.done]
            if page.seen is not None:
                self.done.update(fresh)
            if fresh:
                yield fresh

    def replace(self, stored: Mapping[str, AssessmentRow], rows: Sequence[AssessmentRow]) -> None:
        """Count new assessments instead of the stored ones."""
        day = self.as_of.isoformat()
        current = [uid for uid, row in stored.items() if not self.check.assessor.is_pending(row, day)]
        self.done.update(current)
        self.swap(stored, rows)
        self.check.note(rows)
        self.assessed += len(rows)

    def swap(self, stored: Mapping[str, AssessmentRow], rows: Sequence[AssessmentRow]) -> None:
        """Count assessments instead of others."""
        day = self.as_of.isoformat()
        for old in stored.values():
            self.tally.count(old, day, -1)
            self.errors.pop(old.study_instance_uid, None)
        for row in rows:
            self.tally.count(row, day, 1)
            if row.error is not None and len(self.errors) < SHOWN and self.wanted.site in (None, row.site):
                self.errors[row.study_instance_uid] = row.error

    def report(self, connection: Connection, *, is_applied: bool) -> SweepReport:
        """Return what was found."""
        site = self.wanted.site
        groups = list(self.tally.of(site))
        last = sweeps.last(connection)
        former = None if last is None else json.loads(last.summary).get(site or "")
        numbers = self.tally.numbers(site)
        free = [group for group in groups if not group.blocked_by]
        return SweepReport(
            as_of=self.as_of,
            site=site,
            is_applied=is_applied,
            is_complete=self.is_complete,
            assessed=self.assessed,
            all=_total(groups),
            due=_total(group for group in free if group.is_eligible),
            due_but_blocked=_total(group for group in groups if group.is_eligible and group.blocked_by),
            longest_due=self.check.first,
            overtaken=self.check.overtaken,
            set_aside=_total(group for group in groups if group.is_set_aside),
            rules=_rules(groups),
            blocked=_blocked(groups),
            assumptions=_assumptions(groups),
            forecast=_forecast(groups, self.as_of.year),
            errors=sorted(self.errors.items()),
            overdue_holds=[hold.hold_id for hold in holds.all_holds(connection) if hold.is_overdue(self.as_of)],
            last_as_of=None if last is None else last.as_of,
            changes=None
            if former is None or self.is_simulated
            else {name: numbers[name] - former.get(name, 0) for name in numbers},
        )


def _total(groups: Iterable[Group]) -> Total:
    total = Total()
    for group in groups:
        total.add(group.studies, group.size_bytes)
    return total


def _rules(groups: Sequence[Group]) -> list[RuleYear]:
    found: dict[tuple[str, int | None], Total] = defaultdict(Total)
    for group in groups:
        if group.rule is not None:
            year = None if group.year is None else int(group.year)
            found[group.rule, year].add(group.studies, group.size_bytes)
    ordered = sorted(found.items(), key=lambda item: (item[0][0], item[0][1] is None, item[0][1] or 0))
    return [RuleYear(rule, year, total.studies, total.size_bytes) for (rule, year), total in ordered]


def _blocked(groups: Sequence[Group]) -> dict[str, Total]:
    found: dict[str, Total] = defaultdict(Total)
    for group in groups:
        for blocker in () if group.is_set_aside else group.blocked_by.split():
            found[blocker].add(group.studies, group.size_bytes)
    return dict(sorted(found.items()))


def _assumptions(groups: Sequence[Group]) -> dict[str, int]:
    found: Counter[str] = Counter()
    for group in groups:
        for code in group.assumptions.split():
            found[code] += group.studies
    return dict(sorted(found.items()))


def _forecast(groups: Sequence[Group], first: int) -> list[ForecastYear]:
    years = {year: ForecastYear(year, Total(), Total()) for year in range(first, first + FORECAST_YEARS)}
    for group in groups:
        if group.year is not None and not group.is_eligible and int(group.year) in years:
            year = years[int(group.year)]
            (year.blocked if group.blocked_by else year.free).add(group.studies, group.size_bytes)
    return list(years.values())
