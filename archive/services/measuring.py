"""Measures how long objects take to be given back, for DIMSE and DICOMweb alike; must not write or show anything.

The promise is the programme's: in normal use on site the first image of an examination within 5 seconds, and a series
of 600 images of a scanner within a minute. A retrieve of more images may take longer in proportion.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from archive.clock import monotonic
from archive.services.tracing import NO_TRACES, Span, Traces

FIRST: Final = "first_image"
WHOLE: Final = "whole_retrieve"
FIRST_SECONDS: Final = 5.0
WHOLE_SECONDS: Final = 60.0
WHOLE_IMAGES: Final = 600
HOT: Final = "hot"
COLD: Final = "cold"
PROBE: Final = "probe"
"""Who asks in the name of the archive itself: its retrieves are measured where it asks, and are nobody's wait."""
BOUNDS: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
"""Upper bounds of the histograms, in seconds; those of the promise are among them."""


def whole_limit(images: int) -> float:
    """Return how many seconds a retrieve of so many images may take."""
    return WHOLE_SECONDS * max(1.0, images / WHOLE_IMAGES)


@dataclass(slots=True)
class Histogram:
    """How many took how long: ``counts`` has one more than ``BOUNDS``, for what took longer than the last."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS) + 1))
    total_seconds: float = 0.0

    def add(self, seconds: float) -> None:
        """Count one; a bound belongs to what is below it."""
        self.counts[bisect_left(BOUNDS, seconds)] += 1
        self.total_seconds += seconds


@dataclass(slots=True)
class Objective:
    """How many were to keep a promise, and how many did."""

    total: int = 0
    good: int = 0

    def add(self, *, is_good: bool) -> None:
        """Count one."""
        self.total += 1
        self.good += is_good


Named = tuple[str, str]
"""What is measured (FIRST, WHOLE), and the tier."""


class Meter:
    """Counts of one process since it started; safe to call from any thread."""

    def __init__(self, now: Callable[[], float] = monotonic, traces: Traces = NO_TRACES) -> None:
        self._now = now
        self._traces = traces
        self._lock = threading.Lock()
        self._times: dict[Named, Histogram] = {}
        self._kept: dict[Named, Objective] = {}

    def begin(self) -> Timing:
        """Start the clock of one retrieve."""
        return Timing(self, self._now, self._traces.begin("retrieve"))

    def add(self, name: Named, seconds: float | None, *, is_good: bool) -> None:
        """Count one; None for what did not come at all."""
        with self._lock:
            if seconds is not None:
                self._times.setdefault(name, Histogram()).add(seconds)
            self._kept.setdefault(name, Objective()).add(is_good=is_good)

    def times(self) -> Mapping[Named, tuple[Sequence[int], float]]:
        """Return the counts of each histogram and its sum in seconds."""
        with self._lock:
            return {name: (tuple(each.counts), each.total_seconds) for name, each in self._times.items()}

    def kept(self) -> Mapping[Named, tuple[int, int]]:
        """Return how many were good, and how many there were."""
        with self._lock:
            return {name: (each.good, each.total) for name, each in self._kept.items()}


class Timing:
    """One retrieve: tell it, from any thread, what was given and what failed, then that it is over."""

    def __init__(self, meter: Meter, now: Callable[[], float], span: Span) -> None:
        self._meter, self._now, self._span = meter, now, span
        self._started = now()
        self._lock = threading.Lock()
        self._images = 0
        self._failed = 0
        self._tier = HOT

    def given(self, tier: str) -> None:
        """Count an object that was read to its end."""
        with self._lock:
            self._tier = COLD if tier == COLD else self._tier
            self._images += 1
            is_first = self._images == 1
        if is_first:
            seconds = self._now() - self._started
            self._span.note("first_image_seconds", seconds)
            self._meter.add((FIRST, tier), seconds, is_good=seconds <= FIRST_SECONDS)

    def failed(self, tier: str) -> None:
        """Count an object that could not be given."""
        with self._lock:
            self._tier = COLD if tier == COLD else self._tier
            self._failed += 1

    def over(self) -> None:
        """End the retrieve."""
        self._end()
        if not self._images and not self._failed:
            return
        seconds = self._now() - self._started
        if not self._images:
            self._meter.add((FIRST, self._tier), None, is_good=False)
        is_good = not self._failed and seconds <= whole_limit(self._images)
        self._meter.add((WHOLE, self._tier), seconds if self._images else None, is_good=is_good)

    def left(self, error: str) -> None:
        """End a retrieve that was left half-way: how long the whole would have taken nobody knows."""
        self._end(error)

    def _end(self, error: str = "") -> None:
        for name, value in (("tier", self._tier), ("images", self._images), ("failed", self._failed)):
            self._span.note(name, value)
        self._span.end(error)
