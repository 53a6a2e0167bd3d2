"""What will be due on a day, by rule, in studies, images and bytes; must not assess, and is no permission.

The sums by day are read once and kept for minutes; a day is then found by halving, whatever the size of the archive.
What is blocked today is counted apart: a hold may be lifted by then.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import accumulate
from typing import Final, NamedTuple

from archive.clock import Clock
from archive.index import due_totals
from archive.index.session import Database
from archive.services.snapshots import Snapshot

KEPT: Final = timedelta(minutes=5)


class Amount(NamedTuple):
    """So many studies, images and bytes of all copies."""

    studies: int = 0
    instances: int = 0
    size_bytes: int = 0

    def plus(self, other: Amount) -> Amount:
        """Return both together."""
        return Amount(*(one + more for one, more in zip(self, other, strict=True)))


class Key(NamedTuple):
    """What is counted apart."""

    site: str
    rule: str
    is_blocked: bool


@dataclass(frozen=True, slots=True)
class RuleDue:
    """What one rule lets go by a day, and what it would, were it not blocked now."""

    rule: str
    free: Amount
    blocked: Amount


@dataclass(frozen=True, slots=True)
class DueOn:
    """What is due on a day, by rule; counted from the assessments ``counted_at`` a moment."""

    on: date
    rules: Sequence[RuleDue]
    free: Amount
    blocked: Amount
    counted_at: datetime


@dataclass(frozen=True, slots=True)
class _Course:
    """How much has become due by each day, ascending; ``days`` are ISO text."""

    days: Sequence[str]
    sums: Sequence[Amount]

    def by(self, day: str) -> Amount:
        place = bisect_right(self.days, day)
        return self.sums[place - 1] if place else Amount()


class AsOf:
    """Tells what will be due on any day."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._courses: Snapshot[Mapping[Key, _Course]] = Snapshot(self._read, clock, KEPT)

    def warm(self) -> None:
        """Begin to count, so that the first to ask need not wait for all of it."""
        self._courses.warm()

    def due(self, on: date, sites: Collection[str]) -> DueOn:
        """Return what is due at these sites on a day, the rule with most bytes first."""
        return self.several([on], sites)[0]

    def several(self, days: Sequence[date], sites: Collection[str]) -> list[DueOn]:
        """Return what is due on each of several days, counted at one moment."""
        taken = self._courses.get()
        return [_due(on, sites, taken.value, taken.at) for on in days]

    def _read(self) -> Mapping[Key, _Course]:
        found: dict[Key, dict[str, Amount]] = defaultdict(dict)
        with self._database.read() as connection:
            for each in due_totals.iter_sums(connection):
                days = found[Key(each.site, each.rule, bool(each.is_blocked))]
                amount = Amount(each.studies, each.instances, each.size_bytes)
                days[each.eligible_on] = days.get(each.eligible_on, Amount()).plus(amount)
        return {key: _course(days) for key, days in found.items()}


def _course(days: Mapping[str, Amount]) -> _Course:
    ordered = sorted(days)
    return _Course(ordered, list(accumulate((days[day] for day in ordered), Amount.plus)))


def _due(on: date, sites: Collection[str], courses: Mapping[Key, _Course], at: datetime) -> DueOn:
    rules: dict[str, dict[bool, Amount]] = defaultdict(lambda: {False: Amount(), True: Amount()})
    for key, course in courses.items():
        amount = course.by(on.isoformat()) if key.site in sites else Amount()
        if amount.studies:
            rules[key.rule][key.is_blocked] = rules[key.rule][key.is_blocked].plus(amount)
    found = [RuleDue(rule, amounts[False], amounts[True]) for rule, amounts in rules.items()]
    found.sort(key=lambda each: (-each.free.size_bytes, -each.blocked.size_bytes, each.rule))
    free = blocked = Amount()
    for each in found:
        free, blocked = free.plus(each.free), blocked.plus(each.blocked)
    return DueOn(on, found, free, blocked, at)
