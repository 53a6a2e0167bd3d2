"""The only reader of the wall clock; everything else takes the time as an argument."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """Return the present moment as an aware UTC datetime."""
    return datetime.now(UTC)


def monotonic() -> float:
    """Return seconds of a clock that never jumps: for timers and durations, never for dates."""
    return time.monotonic()
