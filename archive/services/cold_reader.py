"""Reads members of cold packs ahead of who asks for them, and in parallel; must not know what a retrieve is.

What is about to be read is announced (``ahead``). Members that lie side by side are then fetched together, in ranges
that grow from one member to ``_LONGEST_RANGE``, so that the first image comes at once and the rest in few requests.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import BinaryIO, Final

from archive.errors import ColdStoreDown, NotReadableYet, RetrieveError
from archive.services.cold_fetch import GAP_BYTES, Fetcher, Wanted
from archive.services.read_cache import ReadCache
from tiering.stores.base import ObjectStore

__all__ = ["ColdReader", "Wanted"]

_LONGEST_RANGE: Final = 8 << 20
_LONGEST_BLOCK: Final = 32 << 20
_FIRST_BLOCK: Final = 1 << 20
_AHEAD_BYTES: Final = 64 << 20
_MOST_AHEAD: Final = 512


@dataclass(slots=True)
class _Range:
    """Neighbours that are fetched in one request, in the order of their pack."""

    members: list[Wanted]
    task: Future[None] | None = None
    claimed: threading.Event = field(default_factory=threading.Event)
    """Set once whoever wants a member would wait for this range to bring it."""

    @property
    def size_bytes(self) -> int:
        return self.members[-1].end - self.members[0].location.start

    @property
    def is_to_start(self) -> bool:
        """Tell whether it was never begun, or failed for a reason that may be over by now."""
        task = self.task
        if task is None or not task.done() or task.cancelled():
            return task is None
        return isinstance(task.exception(), (ColdStoreDown, NotReadableYet))


@dataclass(slots=True)
class _Plan:
    """What one reader has announced: ranges in its order, and which one each member is in."""

    ranges: list[_Range]
    place: dict[str, int]
    is_over: bool = False


@dataclass(slots=True)
class ColdReader:
    """Gives members of cold packs as open files; safe to call from any thread. Close it."""

    store: ObjectStore
    cache: ReadCache
    threads: int = 8
    fetcher: Fetcher = field(init=False)
    _plans: list[_Plan] = field(default_factory=list)
    _is_closed: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _pool: ThreadPoolExecutor = field(init=False)

    def __post_init__(self) -> None:
        self.fetcher = Fetcher(self.store, self.cache)
        self._pool = ThreadPoolExecutor(self.threads, thread_name_prefix="cold")

    def close(self) -> None:
        """Return when nothing is being fetched ahead any more."""
        with self._lock:
            self._is_closed = True
            for plan in self._plans:
                plan.is_over = True
        self._pool.shutdown(cancel_futures=True)

    def open(self, wanted: Wanted) -> BinaryIO:
        """Return a member's Part 10 file, open, every byte proven; close it.

        Raises ColdStoreDown, NotReadableYet, FixityError when the store gives other bytes twice.
        """
        with self._lock:
            plans = [plan for plan in self._plans if wanted.location.key in plan.place]
        for plan in plans:
            at = plan.place[wanted.location.key]
            self._advance(plan, at)
            self._await(plan, plan.ranges[at])
        return self.fetcher.open(wanted)

    def _await(self, plan: _Plan, part: _Range) -> None:
        """Return once a range is on its way; when others keep the threads busy, nobody waits for them."""
        if part.task is None:
            return
        if part.task.cancel():
            with suppress(RetrieveError):  # whatever kept the neighbours from coming, this one is tried by itself
                self._fetch(plan, part)
        else:
            part.claimed.wait()

    def warm(self, members: Sequence[Wanted]) -> None:
        """Have neighbours of one pack in the cache, in the caller's thread. Raises what ``open`` does."""
        self.fetcher.fetch(members)

    # ---- ahead -------------------------------------------------------------------------------------------------------

    @contextmanager
    def ahead(self, wanted: Sequence[Wanted]) -> Iterator[None]:
        """Fetch these ahead of ``open``, in this order, for as long as the block goes on."""
        if not wanted:
            yield
            return
        plan = _planned(wanted)
        with self._lock:
            plan.is_over = self._is_closed
            self._plans.append(plan)
        try:
            self._advance(plan, 0)
            yield
        finally:
            with self._lock:
                plan.is_over = True
                self._plans = [each for each in self._plans if each is not plan]
                tasks = [each.task for each in plan.ranges if each.task is not None]
            for task in tasks:
                task.cancel()

    def _advance(self, plan: _Plan, at: int) -> None:
        """Start the ranges from ``at`` on, as far as they fit ahead of the reader."""
        size_bytes = members = 0
        with self._lock:
            for number in range(at, len(plan.ranges)):
                each = plan.ranges[number]
                size_bytes, members = size_bytes + each.size_bytes, members + len(each.members)
                is_too_far = size_bytes > _AHEAD_BYTES or members > _MOST_AHEAD
                if plan.is_over or (is_too_far and number != at):
                    return
                if each.is_to_start:
                    each.task = self._pool.submit(self._fetch, plan, each)

    def _fetch(self, plan: _Plan, part: _Range) -> None:
        try:
            self.fetcher.fetch(part.members, is_over=lambda: plan.is_over, claimed=part.claimed.set)
        finally:
            part.claimed.set()


def _planned(wanted: Sequence[Wanted]) -> _Plan:
    ranges = [_Range(members) for block in _blocks(wanted) for members in _neighbours(block)]
    place = {each.location.key: number for number, part in enumerate(ranges) for each in part.members}
    return _Plan(ranges, place)


def _blocks(wanted: Sequence[Wanted]) -> Iterator[Sequence[Wanted]]:
    """Yield the first member by itself, then what follows in blocks, each larger than the one before."""
    yield wanted[:1]
    start, size_bytes, longest = 1, 0, _FIRST_BLOCK
    for number, each in enumerate(wanted[1:], start=1):
        if size_bytes and size_bytes + each.location.size_bytes > longest:
            yield wanted[start:number]
            start, size_bytes, longest = number, 0, min(2 * longest, _LONGEST_BLOCK)
        size_bytes += each.location.size_bytes
    if start < len(wanted):
        yield wanted[start:]


def _neighbours(block: Sequence[Wanted]) -> list[list[Wanted]]:
    """Return the members of a block range by range, those first that are wanted first.

    A series may be wanted in another order than that of its pack.
    """
    order = {each.location.key: number for number, each in enumerate(block)}
    found: list[list[Wanted]] = []
    for each in sorted(block, key=lambda one: (one.location.pack_key or "", one.location.start)):
        if not found or not _belongs(each, found[-1]):
            found.append([])
        found[-1].append(each)
    return sorted(found, key=lambda members: min(order[each.location.key] for each in members))


def _belongs(each: Wanted, members: Sequence[Wanted]) -> bool:
    """Tell whether a member goes into one range with those before it in its pack."""
    last, first = members[-1], members[0]
    is_next = each.location.pack_key == last.location.pack_key and each.location.start - last.end <= GAP_BYTES
    return is_next and each.end - first.location.start <= _LONGEST_RANGE
