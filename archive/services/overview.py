"""What the archive holds, how it grows, whether it keeps its promise, and what needs a person now; must not count long.

Figures that take long are counted beside, by whoever watches the archive, and kept; here they are put together.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from math import ceil
from typing import Final, NamedTuple

from archive.clock import Clock
from archive.index import arrivals, assessments, death_candidates
from archive.index.session import Database
from archive.services.drops import DayCompared
from archive.services.figures import FigureKeeper, Figures
from archive.services.list_views import ListDesk
from archive.services.measuring import BOUNDS, FIRST, FIRST_SECONDS, WHOLE, WHOLE_SECONDS, Meter
from archive.services.people import Permission, Person
from archive.services.slo import PERCENTS
from archive.services.snapshots import Snapshot
from archive.services.tls_certificates import Watched
from retention_rules.approvals import missing_offices

GROWTH_DAYS: Final = 30
STREAM_DAYS: Final = 14
_KEPT: Final = timedelta(minutes=2)
_QUICK_SECONDS: Final = 0.05
_SOON: Final = timedelta(seconds=5)
"""Where counting takes no longer than that, older figures are counted anew: who has sent a study looks for it here."""
_MOST_COUNTED: Final = 999
_LIMITS: Final = {FIRST: FIRST_SECONDS, WHOLE: WHOLE_SECONDS}


class GrowthDay(NamedTuple):
    """What came in on a day (UTC)."""

    on: date
    instances: int
    size_bytes: int


class Stream(NamedTuple):
    """What one site sends of one modality; ``days`` from the latest back."""

    site: str
    modality: str
    days: Sequence[DayCompared]

    @property
    def is_drop(self) -> bool:
        """Tell whether today so far or yesterday was a drop."""
        return any(each.is_drop for each in self.days[:2])


class Promise(NamedTuple):
    """How long retrieves of a tier took since the start, in seconds, and how many of them were quick enough.

    Percentiles are the bound of the histogram's part they fall in; None: longer than the last bound, or nothing yet.
    """

    name: str
    tier: str
    limit_seconds: float
    percentiles: Sequence[float | None]
    kept: int
    total: int


@dataclass(frozen=True, slots=True)
class Waiting:
    """Something that needs a person: what, how many (at most counted to 999), where; ``grade`` bad or warn."""

    name: str
    count: int
    path: str
    grade: str


@dataclass(frozen=True, slots=True)
class Flow:
    """What came in lately, day by day and by site and modality."""

    growth: Sequence[GrowthDay]
    streams: Sequence[Stream]


@dataclass(frozen=True, slots=True)
class Overview:
    """All of it, for one person; ``figures`` is None while they are counted for the first time after a start."""

    figures: Figures | None
    flow: Flow
    promises: Sequence[Promise]
    certificates: Sequence[Watched]
    waiting: Sequence[Waiting]


class OverviewDesk:
    """Puts the overview together."""

    def __init__(self, keeper: FigureKeeper, meter: Meter, lists: ListDesk, clock: Clock) -> None:
        self._keeper, self._meter, self._lists, self._clock = keeper, meter, lists, clock
        self._figures: Snapshot[Figures] = Snapshot(keeper.refresh, clock, _KEPT)
        self._flow: Snapshot[Flow] = Snapshot(self._read_flow, clock, _KEPT)

    def overview(self, who: Person, sites: Collection[str]) -> Overview:
        """Return it for the sites a person acts for."""
        figures = self._keeper.latest or self._counted()
        is_quick = figures is not None and figures.seconds <= _QUICK_SECONDS
        if figures is not None and is_quick and self._clock() - figures.taken_at >= _SOON:
            figures = self._keeper.refresh()
        flow = self._read_flow() if is_quick else self._flow.get().value
        own = Flow(flow.growth, [stream for stream in flow.streams if who.is_for(stream.site)])
        certificates = sorted(self._keeper.certificates, key=lambda each: (each.days_left is None, each.days_left))
        return Overview(
            figures,
            own,
            list(_promises(self._meter)),
            certificates,
            [each for each in self._waiting(who, sites, figures, own) if each.count],
        )

    # ---- what needs a person -------------------------------------------------------------------------------------

    def _counted(self) -> Figures | None:
        """Return the figures when nobody counts them beside; None at first: a million studies take seconds."""
        taken = self._figures.ready()
        return None if taken is None else taken.value

    def _waiting(self, who: Person, sites: Collection[str], figures: Figures | None, flow: Flow) -> Iterator[Waiting]:
        yield from self._lists_waiting(who, sites)
        yield from self._facts_waiting(sites)
        yield Waiting("drops", sum(stream.is_drop for stream in flow.streams), "/#flow", "bad")
        certificates = sum(1 for each in self._keeper.certificates if each.grade)
        yield Waiting("certificates", certificates, "/#certificates", "bad")
        if figures is not None:
            yield from _counted_waiting(who, figures)

    def _lists_waiting(self, who: Person, sites: Collection[str]) -> Iterator[Waiting]:
        today = self._clock().date().isoformat()
        found = self._lists.open(sites)
        mine = [
            each
            for each in found
            if each.state == "listed"
            and each.proposed_by != who.name
            and who.roles.intersection(missing_offices(each.site_kind, each.offices))
        ]
        ripe = [each for each in found if each.waiting_until is not None and each.waiting_until <= today]
        yield Waiting("lists_to_sign", len(mine), "/lists", "warn")
        yield Waiting("lists_ripe", len(ripe), "/lists", "warn")

    def _facts_waiting(self, sites: Collection[str]) -> Iterator[Waiting]:
        with self._database.read() as connection:
            candidates = len(death_candidates.waiting(connection, sites, 0, _MOST_COUNTED))
            contradicted = len(assessments.contradicted(connection, sites, "", _MOST_COUNTED))
        yield Waiting("candidates", candidates, "/facts", "warn")
        yield Waiting("contradictions", contradicted, "/facts/contradictions", "warn")

    # ---- what came in --------------------------------------------------------------------------------------------

    @property
    def _database(self) -> Database:
        return self._keeper.database

    def _read_flow(self) -> Flow:
        now = self._clock()
        with self._database.read() as connection:
            counts = arrivals.between(connection, now - timedelta(days=GROWTH_DAYS), now + timedelta(hours=1))
        days: dict[date, tuple[int, int]] = {}
        for count in counts:
            on = date.fromisoformat(count.hour[:10])
            instances, size = days.get(on, (0, 0))
            days[on] = (instances + count.instances, size + count.size_bytes)
        growth = [
            GrowthDay(on, *days.get(on, (0, 0)))
            for on in (now.date() - timedelta(days=back) for back in range(GROWTH_DAYS - 1, -1, -1))
        ]
        return Flow(growth, _streams(self._keeper.arrivals.days(now, days=STREAM_DAYS)))


def _counted_waiting(who: Person, figures: Figures) -> Iterator[Waiting]:
    retention, totals = figures.retention, figures.totals
    yield Waiting("holds_overdue", retention.holds_overdue, "/holds", "warn")
    yield Waiting("set_aside", retention.migration_set_aside, "/jobs", "warn")
    yield Waiting("ledger", int(bool(figures.ledger_problem)), "/audit", "bad")
    yield Waiting("copies", totals.copies_not_present, "/#tiers", "bad")
    if who.may(Permission.OPERATE):
        yield Waiting("quarantine", totals.quarantined, "/quarantine", "warn")


def _streams(days: Sequence[DayCompared]) -> list[Stream]:
    found: dict[tuple[str, str], list[DayCompared]] = defaultdict(list)
    for each in days:
        found[each.site, each.modality].append(each)
    streams = [Stream(site, modality, each) for (site, modality), each in sorted(found.items())]
    return sorted(streams, key=lambda stream: not stream.is_drop)


def _promises(meter: Meter) -> Iterator[Promise]:
    times, kept = meter.times(), meter.kept()
    for name, tier in sorted(kept):
        counts = times.get((name, tier), ((), 0.0))[0]
        good, total = kept[name, tier]
        yield Promise(name, tier, _LIMITS[name], [_bound(counts, each) for each in PERCENTS], good, total)


def _bound(counts: Sequence[int], percent: int) -> float | None:
    """Return the upper bound of the part of a histogram in which a percentile falls."""
    wanted, seen = ceil(sum(counts) * percent / 100), 0
    for place, count in enumerate(counts):
        seen += count
        if wanted and seen >= wanted:
            return BOUNDS[place] if place < len(BOUNDS) else None
    return None


def bytes_a_day(growth: Sequence[GrowthDay]) -> int:
    """Return how many bytes came in a day on the average of the days but today."""
    whole = growth[:-1]
    return sum(day.size_bytes for day in whole) // max(1, len(whole))
