"""Warms the read cache with a patient's cold priors when a new study comes; must not get in the way of reception.

One thread, which rests as long as it works and reads one range at a time. It also looks after thaws that were asked
for, and has the cache give way on a disk that fills up. What it cannot do now it does later or not at all: a retrieve
reads the same without it.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from archive import logs
from archive.clock import monotonic
from archive.errors import ArchiveError, ColdStoreDown, FixityError, NotReadableYet
from archive.index import thaws
from archive.index.instances import iter_instances
from archive.services.cold_fetch import Wanted
from archive.services.cold_reader import ColdReader
from archive.services.recall import Recall

_log = logs.get(__name__)
_PAUSE_SECONDS: Final = 10.0
_POLL_SECONDS: Final = 60.0
_SWEEP_SECONDS: Final = 3600.0
_ARRIVALS: Final = 256
_STUDIES: Final = 256
_SHARE_OF_CACHE: Final = 4
_RANGE_BYTES: Final = 4 << 20


@dataclass(frozen=True, slots=True)
class PrefetchPolicy:
    """How many of a patient's most recent cold studies are fetched for a new one, 0 for none; which modalities."""

    priors: int = 0
    same_modality: bool = False


class Prefetcher:
    """A thread that prefetches, polls thaws, and keeps the cache small enough.

    Of one prior no more is fetched than a quarter of the cache takes.
    """

    def __init__(
        self,
        reader: ColdReader,
        recall: Recall,
        policy: PrefetchPolicy,
        *,
        pause_seconds: float = _PAUSE_SECONDS,
        poll_seconds: float = _POLL_SECONDS,
    ) -> None:
        self._reader = reader
        self._recall = recall
        self._policy = policy
        self._pause_seconds, self._poll_seconds = pause_seconds, poll_seconds
        self._polled_at = monotonic()
        self._swept_at: float | None = None
        self._last_study: int | None = None
        self._queue: deque[str] = deque(maxlen=_STUDIES)
        self._thawing: dict[str, None] = {}
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread; studies that are there already are no news."""
        self._thread = threading.Thread(target=self._run, name="prefetcher", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Return when the range at hand is there."""
        self._over.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while True:
            started = monotonic()
            try:
                is_idle = not self._turn()
            except ArchiveError as exc:
                _log.warning("prefetch_failed", exc_info=exc)
                is_idle = True
            if self._over.wait(self._pause_seconds if is_idle else monotonic() - started):
                return

    def _turn(self) -> bool:
        """Do a little; tell whether there was a study to fetch."""
        self._reader.cache.give_way()
        self._sweep()
        self._poll()
        self._note_arrivals()
        if not self._queue:
            return False
        self._warm(self._queue.popleft())
        return True

    def _sweep(self) -> None:
        """At the start and every hour: what the index does not know any more, being destroyed, leaves the cache."""
        if self._swept_at is not None and monotonic() - self._swept_at < _SWEEP_SECONDS:
            return
        with self._recall.committer.read() as connection:
            self._reader.cache.keep_only(thaws.iter_pack_keys(connection))
        self._swept_at = monotonic()

    def _poll(self) -> None:
        if monotonic() - self._polled_at < self._poll_seconds:
            return
        self._polled_at = monotonic()
        report = self._recall.poll()
        if report.done:
            _log.info("packs_thawed", packs=report.done, waiting=report.waiting)
        for study in report.studies & self._thawing.keys():
            del self._thawing[study]
            self._queue.append(study)

    def _note_arrivals(self) -> None:
        """Queue the priors of the studies that came since the last look."""
        if not self._policy.priors:
            return
        with self._recall.committer.read() as connection:
            if self._last_study is None:
                self._last_study = thaws.newest_study(connection)
                return
            for arrival in thaws.arrivals(connection, self._last_study, _ARRIVALS):
                self._last_study = arrival.study_id
                found = thaws.priors(connection, arrival, self._policy.priors, same_modality=self._policy.same_modality)
                self._queue.extend(study for study in found if study not in self._queue)

    def _warm(self, study: str) -> None:
        """Fetch a study into the cache as far as it may; ask for a thaw where it has to thaw."""
        most_bytes = self._reader.cache.limit_bytes // _SHARE_OF_CACHE
        members = size_bytes = 0
        try:
            for part in _ranges(self._cold_members(study)):
                size_bytes += sum(each.location.size_bytes for each in part)
                started = monotonic()
                if size_bytes > most_bytes:
                    break
                self._fetch(part)
                members += len(part)
                if self._over.wait(monotonic() - started):
                    return
        except NotReadableYet:
            self._recall.request(study, by="drimbox")
            self._thawing[study] = None
            while len(self._thawing) > _STUDIES:
                del self._thawing[next(iter(self._thawing))]
        except ColdStoreDown as exc:
            _log.warning("prefetch_failed", exc_info=exc)
        else:
            _log.info("prior_prefetched", study_instance_uid=study, instances=members)

    def _fetch(self, part: Sequence[Wanted]) -> None:
        try:
            self._reader.warm(part)
        except FixityError as exc:  # whoever retrieves it is told, and the index with them
            _log.error("prefetch_failed", exc_info=exc)

    def _cold_members(self, study: str) -> list[Wanted]:
        """Return the copies of a study that it would be given from and that are cold, in the order of their packs."""
        with self._recall.committer.read() as connection:
            found = [(each, each.readable) for each in iter_instances(connection, study=study)]
        wanted = [
            Wanted(copy, copy.dataset_sha256 or each.dataset_sha256)
            for each, copy in found
            if copy is not None and copy.tier == "cold"
        ]
        return sorted(wanted, key=lambda each: (each.location.pack_key or "", each.location.start))


def _ranges(members: Sequence[Wanted]) -> Iterator[list[Wanted]]:
    """Yield members pack by pack, a few mebibytes at a time."""
    part: list[Wanted] = []
    for each in members:
        is_other = bool(part) and each.location.pack_key != part[0].location.pack_key
        if part and (is_other or each.end - part[0].location.start > _RANGE_BYTES):
            yield part
            part = []
        part.append(each)
    if part:
        yield part
