"""Looks over all studies at once: what is due, what is kept and why, what will be due; must not delete anything."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import date
from typing import Any, Final

from archive.audit import Entry
from archive.index import assessments as table
from archive.index import sweeps
from archive.index.assessments import Total
from archive.index.session import Connection
from archive.services.assess import Assessments
from archive.services.clock_trust import check_clock
from archive.services.committer import append_entries
from archive.services.reports import Progress

FORECAST_YEARS: Final = 10
_SHOWN: Final = 50


@dataclass(frozen=True, slots=True)
class Amount:
    """So many studies, instances and bytes."""

    studies: int = 0
    instances: int = 0
    size_bytes: int = 0

    def plus(self, studies: int, instances: int, size_bytes: int) -> Amount:
        """Return the sum."""
        return Amount(self.studies + studies, self.instances + instances, self.size_bytes + size_bytes)


@dataclass(frozen=True, slots=True)
class RuleYear:
    """What one rule keeps until some day of one year; ``year`` is None where there is no end."""

    rule: str | None
    year: int | None
    amount: Amount


@dataclass(frozen=True, slots=True)
class SweepReport:
    """What a sweep saw as of a day.

    ``due``: may be proposed for elimination now, each assessed again from its facts; ``due_uids``: the first
    ``max_due`` of them. ``no_longer_due``: due by their row alone. ``forecast``: what becomes due in each of the next
    ten years, this one's rest first. ``changes``: by rule, against the last sweep that was kept. Sizes in bytes.
    """

    as_of: date
    site: str | None
    assessed: int
    total: Amount
    due: Amount
    due_uids: tuple[str, ...]
    is_capped: bool
    no_longer_due: int
    by_rule_and_year: tuple[RuleYear, ...]
    blocked: Mapping[str, int]
    set_aside: tuple[tuple[str, str], ...]
    forecast: tuple[tuple[int, Amount], ...]
    last_sweep_at: str | None
    changes: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Sweep:
    """One way of looking: as of a day, at a site or at all, listing ``max_due`` studies at most."""

    assessments: Assessments
    as_of: date
    site: str | None = None
    max_due: int = _SHOWN

    def run(self, progress: Progress, *, keep_by: str | None = None) -> SweepReport:
        """Bring the assessments up to date and report; ``keep_by``: keep the sweep, in somebody's name.

        Raises ClockNotTrusted before anything else, IndexUnavailable; run again, it goes on where it was stopped.
        """
        database = self.assessments.database
        now = self.assessments.clock()
        with database.read() as connection:
            check_clock(connection, now)
        assessed = self.assessments.settle(now.date(), progress)
        with database.read() as connection:
            report = self._report(connection, assessed)
        if keep_by is not None:
            self._keep(report, keep_by)
        return report

    def _report(self, connection: Connection, assessed: int) -> SweepReport:
        totals = table.totals(connection, self.as_of, self.site)
        due, uids, no_longer = self._due(connection)
        last = sweeps.last(connection, self.site)
        return SweepReport(
            as_of=self.as_of,
            site=self.site,
            assessed=assessed,
            total=_sum(totals),
            due=due,
            due_uids=tuple(uids[: self.max_due]),
            is_capped=due.studies > self.max_due,
            no_longer_due=no_longer,
            by_rule_and_year=_by_rule_and_year(totals),
            blocked=table.blocked(connection, self.site),
            set_aside=tuple(table.set_aside(connection, self.site, _SHOWN)),
            forecast=tuple(_forecast(totals, self.as_of)),
            last_sweep_at=None if last is None else last[0],
            changes={} if last is None else _changes(json.loads(last[1]), _by_rule(totals)),
        )

    def _due(self, connection: Connection) -> tuple[Amount, list[str], int]:
        """Count what is due by its facts; return the first UIDs too, and how many are due by their row alone."""
        amount, uids, no_longer = Amount(), list[str](), 0
        for each in self.assessments.iter_due(connection, self.as_of, self.site):
            if not each.assessment.due:
                no_longer += 1
                continue
            amount = amount.plus(1, each.facts.instances, each.facts.size_bytes)
            if len(uids) < self.max_due:
                uids.append(each.facts.study_instance_uid)
        return amount, uids, no_longer

    def _keep(self, report: SweepReport, by: str) -> None:
        """Keep a sweep, so that the next can tell what changed, and journal it."""
        now = self.assessments.clock()
        summary = {row.rule or "": 0 for row in report.by_rule_and_year}
        for row in report.by_rule_and_year:
            summary[row.rule or ""] += row.amount.studies
        counts: dict[str, Any] = {"as_of": self.as_of.isoformat(), "site": self.site, "studies": report.total.studies}
        with self.assessments.database.write(synced=True) as connection:
            sweeps.add(connection, as_of=self.as_of, site=self.site, at=now, by=by, summary=json.dumps(summary))
            entry = Entry(now, "swept", by, {**counts, "due": report.due.studies, "set_aside": len(report.set_aside)})
            append_entries(connection, [entry])


def _sum(totals: list[Total]) -> Amount:
    amount = Amount()
    for each in totals:
        amount = amount.plus(each.studies, each.instances, each.size_bytes)
    return amount


def _by_rule_and_year(totals: list[Total]) -> tuple[RuleYear, ...]:
    found: dict[tuple[str, str], Amount] = {}
    for each in totals:
        key = each.year, each.rule
        found[key] = found.get(key, Amount()).plus(each.studies, each.instances, each.size_bytes)
    return tuple(
        RuleYear(rule or None, int(year) if year else None, amount) for (year, rule), amount in sorted(found.items())
    )


def _by_rule(totals: list[Total]) -> dict[str, int]:
    found: Counter[str] = Counter()
    for each in totals:
        found[each.rule] += each.studies
    return found


def _changes(before: Mapping[str, int], now: Mapping[str, int]) -> dict[str, int]:
    """Return by rule how many studies more or fewer it decides; rules without a change are left out."""
    changed = {rule: now.get(rule, 0) - before.get(rule, 0) for rule in {*before, *now}}
    return {rule: difference for rule, difference in sorted(changed.items()) if difference}


def _forecast(totals: list[Total], as_of: date) -> list[tuple[int, Amount]]:
    """Return what becomes due in each of ten years, unless something blocks it; what is due already is left out."""
    years = {as_of.year + number: Amount() for number in range(FORECAST_YEARS)}
    for each in totals:
        if each.year and int(each.year) in years and not (each.is_due or each.is_blocked):
            amount = years[int(each.year)]
            years[int(each.year)] = amount.plus(each.studies, each.instances, each.size_bytes)
    return list(years.items())


def as_mapping(report: SweepReport) -> dict[str, Any]:
    """Return a report as plain values, for JSON."""
    value = asdict(report)
    value["as_of"] = report.as_of.isoformat()
    value["set_aside"] = [{"study_instance_uid": uid, "error": error} for uid, error in report.set_aside]
    value["forecast"] = [{"year": year, **asdict(amount)} for year, amount in report.forecast]
    return value
