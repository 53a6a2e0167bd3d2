"""Puts together what reads a cold store, from plain values; must not read settings, nor reach the store by itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from archive.clock import Clock
from archive.services.cold_reader import ColdReader
from archive.services.committer import Committer
from archive.services.prefetch import Prefetcher, PrefetchPolicy
from archive.services.read_cache import ReadCache
from archive.services.recall import Recall
from archive.services.thaw_times import thaw_time
from tiering.stores.base import ObjectStore


@dataclass(frozen=True, slots=True)
class ReadingPlan:
    """How a cold store is read.

    ``folder``: that of the read cache, which takes ``cache_bytes`` and leaves ``min_free_bytes`` of its disk alone.
    ``threads`` fetch ahead of all retrieves together. ``wait``: how long a retrieve waits for thaws; ``thaw_days``: how
    long they last; ``storage_class`` and ``thaw_tier``: of what S3 keeps, for estimates.
    """

    folder: Path
    cache_bytes: int = 10 << 30
    min_free_bytes: int = 0
    threads: int = 8
    wait: timedelta = timedelta(seconds=20)
    thaw_days: int = 7
    storage_class: str | None = None
    thaw_tier: str = "Standard"
    prefetch: PrefetchPolicy = field(default_factory=PrefetchPolicy)


@dataclass(frozen=True, slots=True)
class ColdReading:
    """What reads a cold store while the archive serves."""

    reader: ColdReader
    recall: Recall
    prefetcher: Prefetcher

    def start(self) -> None:
        """Start what works by itself."""
        self.prefetcher.start()

    def stop(self) -> None:
        """Return when nothing is read any more."""
        self.prefetcher.stop()
        self.reader.close()


def make_recall(store: ObjectStore, committer: Committer, clock: Clock, plan: ReadingPlan) -> Recall:
    """Return what asks for thaws; it needs no cache, so commands may use it beside a running archive."""
    time = thaw_time(plan.storage_class, plan.thaw_tier)
    return Recall(committer, store, clock, plan.thaw_days, plan.wait, time)


def cold_reading(store: ObjectStore, committer: Committer, clock: Clock, plan: ReadingPlan) -> ColdReading:
    """Return all that reads a cold store; start it, stop it. The folder of the cache belongs to this process alone."""
    cache = ReadCache(plan.folder, plan.cache_bytes, plan.min_free_bytes)
    reader = ColdReader(store, cache, plan.threads)
    recall = make_recall(store, committer, clock, plan)
    return ColdReading(reader, recall, Prefetcher(reader, recall, plan.prefetch))
