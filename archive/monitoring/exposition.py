"""Writes what is known of the archive as Prometheus metrics (text format 0.0.4); must not count what takes long.

The library's own registry is filled when it is asked: nothing is global, and a figure exists once, where it is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from archive.clock import Clock
from archive.index import marks
from archive.services.committer import Committer
from archive.services.figures import FigureKeeper, Figures
from archive.services.measuring import BOUNDS, FIRST, WHOLE, Meter
from archive.services.tls_certificates import State

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_EDGES: Final = (*(f"{bound:g}" for bound in BOUNDS), "+Inf")
_TIERS: Final = {marks.VERIFIED_HOT: "hot", marks.VERIFIED_COLD: "cold"}
_MOST_STREAMS: Final = 500
"""So many pairs of site and modality at most: what peers write must not flood who collects."""


Values = Mapping[tuple[str, ...], float]


@dataclass(frozen=True, slots=True)
class Sources:
    """Where metrics come from. ``free_bytes`` by folder; ``floor_bytes``: below it, the archive refuses objects."""

    meter: Meter
    committer: Committer
    keeper: FigureKeeper
    clock: Clock
    version: str
    free_bytes: Callable[[], Mapping[str, int]]
    floor_bytes: int


class Exposition(Collector):
    """The metrics of one archive."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    def text(self) -> bytes:
        """Return all metrics as of now."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """Yield every family, those without a sample too."""
        yield _gauge("drimbox_info", "The version that runs", ["version"], {(self._sources.version,): 1})
        yield from self._latencies()
        yield from self._arrivals()
        yield from self._disks()
        yield from self._certificates()
        yield from _counted(self._sources.keeper.latest, self._sources.clock())

    def _latencies(self) -> Iterator[Metric]:
        times, kept = self._sources.meter.times(), self._sources.meter.kept()
        for what, name, text in _LATENCIES:
            family = HistogramMetricFamily(name, text, labels=["tier"])
            for (measured, tier), (counts, total) in times.items():
                if measured == what:
                    family.add_metric([tier], _cumulated(counts), total)
            yield family
        wanted = CounterMetricFamily("drimbox_objective", "Retrieves that a promise was for", labels=_OBJECTIVE)
        good = CounterMetricFamily("drimbox_objective_good", "Retrieves that kept the promise", labels=_OBJECTIVE)
        for objective, (number_good, number) in kept.items():
            good.add_metric(objective, number_good)
            wanted.add_metric(objective, number)
        yield from (wanted, good)

    def _arrivals(self) -> Iterator[Metric]:
        labels = ["site", "modality"]
        number = CounterMetricFamily("drimbox_ingested_instances", "Instances that were sent and stored", labels=labels)
        size = CounterMetricFamily("drimbox_ingested_bytes", "Their data sets", labels=labels)
        for stream, (instances, size_bytes) in sorted(self._sources.committer.arrived().items())[:_MOST_STREAMS]:
            number.add_metric(stream, instances)
            size.add_metric(stream, size_bytes)
        yield from (number, size)
        waiting = self._sources.committer.waiting
        yield _gauge("drimbox_committer_waiting", "Rows and entries that wait for the index", [], {(): waiting})

    def _disks(self) -> Iterator[Metric]:
        free = _by_one(self._sources.free_bytes())
        yield _gauge("drimbox_disk_free_bytes", "Free space", ["folder"], free)
        text = "Below so much free space of the hot folder, objects are refused"
        yield _gauge("drimbox_disk_floor_bytes", text, [], {(): self._sources.floor_bytes})

    def _certificates(self) -> Iterator[Metric]:
        watched, now = self._sources.keeper.certificates, self._sources.clock()
        left: Values = {
            (each.use, each.place, each.role, each.sha256[:16]): (each.not_after - now).total_seconds() / 86400
            for each in watched
            if each.not_after is not None
        }
        labels = ["use", "place", "role", "fingerprint"]
        yield _gauge("drimbox_certificate_days_left", "Days until a TLS certificate ends", labels, left)
        states = _by_one({state.value: sum(each.state is state for each in watched) for state in State})
        yield _gauge("drimbox_certificates", "TLS certificates by state", ["state"], states)


_LATENCIES: Final = (
    (FIRST, "drimbox_first_image_seconds", "From the request of a retrieve to its first object given"),
    (WHOLE, "drimbox_retrieve_seconds", "From the request of a retrieve to its last object given"),
)
_OBJECTIVE: Final = ["objective", "tier"]


def _counted(figures: Figures | None, now: datetime) -> Iterator[Metric]:
    """Yield what the keeper has counted; before the first time, the families without a sample."""
    age: Values = {} if figures is None else {(): (now - figures.taken_at).total_seconds()}
    yield _gauge("drimbox_figures_age_seconds", "How old the counts below are", [], age)
    took: Values = {} if figures is None else {(): figures.seconds}
    yield _gauge("drimbox_figures_seconds", "How long they took", [], took)
    for name, text, labels, read in _COUNTED:
        yield _gauge(name, text, labels, {} if figures is None else read(figures))


def _stored(figures: Figures) -> Values:
    held = figures.totals
    return {("patients",): held.patients, ("series",): held.series, ("instances",): held.instances}


def _queues(figures: Figures) -> Values:
    queues = {"commitment": figures.totals.commitments_waiting, "thaw": figures.retention.thaws}
    queues |= {f"migration_{state}": figures.jobs.get(state, 0) for state in ("running", "waiting")}
    return {(name,): count for name, count in queues.items()}


def _set_aside(figures: Figures) -> Values:
    retention = figures.retention
    return {("facts",): retention.facts_set_aside, ("migration",): retention.migration_set_aside}


def _verified(figures: Figures) -> Values:
    return {(_TIERS[name],): at.timestamp() for name, at in figures.retention.marks.items() if name in _TIERS}


def _changes(figures: Figures) -> Values:
    newest = max((each.on for each in figures.days), default=date.min)
    return {
        (each.site, each.modality, "today" if each.on == newest else "yesterday"): each.change_percent
        for each in figures.days
        if each.change_percent is not None
    }


def _drops(figures: Figures) -> Values:
    found: dict[tuple[str, ...], float] = {}
    for each in figures.days:
        found[each.site, each.modality] = max(found.get((each.site, each.modality), 0), int(each.is_drop))
    return found


def _probe_times(figures: Figures) -> Values:
    found: dict[tuple[str, ...], float] = {}
    for each in figures.probes:
        for what, times in ((FIRST, each.first_ms), (WHOLE, each.whole_ms)):
            for quantile, value in zip(("0.5", "0.95", "0.99"), times or (), strict=False):
                found[each.tier, each.site, what, quantile] = value / 1000
    return found


def _by_one(values: Mapping[str, float]) -> Values:
    return {(name,): value for name, value in values.items()}


Read = Callable[[Figures], Values]
_COUNTED: Final[tuple[tuple[str, str, list[str], Read], ...]] = (
    ("drimbox_stored", "Rows of the index", ["what"], _stored),
    ("drimbox_studies", "Studies", ["site"], lambda figures: _by_one(figures.totals.studies_by_site)),
    (
        "drimbox_stored_bytes",
        "Copies of instances",
        ["tier"],
        lambda figures: {("hot",): figures.totals.hot_bytes, ("cold",): figures.totals.cold_bytes},
    ),
    ("drimbox_copies_lost", "Copies missing or damaged", [], lambda figures: {(): figures.totals.copies_not_present}),
    ("drimbox_quarantined", "Refused objects that wait", [], lambda figures: {(): figures.totals.quarantined}),
    ("drimbox_queue", "What waits to be done", ["queue"], _queues),
    ("drimbox_studies_due", "Studies due for elimination", ["site"], lambda figures: _by_one(figures.retention.due)),
    ("drimbox_studies_held", "Studies under a hold", ["site"], lambda figures: _by_one(figures.retention.held)),
    ("drimbox_studies_listed", "On open lists", ["state"], lambda figures: _by_one(figures.retention.listed)),
    ("drimbox_holds", "Holds in force", [], lambda figures: {(): figures.retention.holds}),
    ("drimbox_holds_overdue", "Of them due for review", [], lambda figures: {(): figures.retention.holds_overdue}),
    ("drimbox_studies_set_aside", "Studies that wait for a person", ["why"], _set_aside),
    ("drimbox_verified_timestamp_seconds", "When drimbox verify last ended", ["tier"], _verified),
    ("drimbox_arrivals_change_percent", "Against the same weekdays before", ["site", "modality", "day"], _changes),
    ("drimbox_arrivals_drop", "1: far fewer images than before", ["site", "modality"], _drops),
    ("drimbox_ledger_ok", "0: nothing is decided", [], lambda figures: {(): int(not figures.ledger_problem)}),
    ("drimbox_probe_seconds", "Probes of a week", ["tier", "site", "what", "quantile"], _probe_times),
    (
        "drimbox_probe_ok",
        "1: the last probe brought the whole series",
        ["tier", "site"],
        lambda figures: {(each.tier, each.site): int(not each.problem) for each in figures.last_probes},
    ),
    (
        "drimbox_probe_timestamp_seconds",
        "When the last probe was",
        ["tier", "site"],
        lambda figures: {(each.tier, each.site): each.at.timestamp() for each in figures.last_probes},
    ),
)


def _gauge(name: str, text: str, labels: list[str], values: Values) -> Metric:
    family = GaugeMetricFamily(name, text, labels=labels)
    for key, value in values.items():
        family.add_metric(key, value)
    return family


def _cumulated(counts: Sequence[int]) -> list[tuple[str, float]]:
    total, buckets = 0, []
    for edge, count in zip(_EDGES, counts, strict=True):
        total += count
        buckets.append((edge, float(total)))
    return buckets
