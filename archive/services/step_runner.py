"""Runs one step of a migration: when it may start, how often it is tried, what is kept of it; must not know which."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

from archive import logs
from archive.clock import monotonic
from archive.services.migration_steps import Interrupted, Suspicion, is_retryable, reason_of

_log = logs.get(__name__)

PREPARE: Final = "prepare"
SWITCH: Final = "switch"
COUNT: Final = "failed"


@dataclass(frozen=True, slots=True)
class Pace:
    """How much at once, and how often; numbers that are no counts are seconds.

    ``concurrency``: studies at a time. ``attempts``: so many failures and a study is set aside. ``waits``: between the
    tries of one step. ``pause``: nothing is started after a store seemed away. ``poll``: between two looks at a queue,
    ``tick``: at all workflows, ``idle``: at what is due when it was nothing. ``trim``: between two trims. ``rest``:
    of a study that failed, the first time. ``keep``: how long finished workflows are kept.
    """

    concurrency: int = 2
    attempts: int = 3
    waits: tuple[float, ...] = (1.0, 5.0, 30.0)
    tick: float = 5.0
    idle: float = 60.0
    pause: float = 60.0
    poll: float = 1.0
    trim: float = 3600.0
    rest: timedelta = timedelta(minutes=5)
    keep: timedelta = timedelta(days=30)


class Suspended(BaseException):
    """The worker stops. No Exception: an engine keeps what those say, and of this nothing, as if it had been killed."""


@dataclass(slots=True)
class Gate:
    """Says whether a step may start now."""

    is_open: Callable[[], bool]
    over: threading.Event = field(default_factory=threading.Event)
    _closed_until: float = 0.0
    _deadline: float = 0.0

    @property
    def is_ajar(self) -> bool:
        """Tell whether something new may start."""
        return not self.over.is_set() and monotonic() >= self._closed_until and self.is_open()

    def is_late(self, by_seconds: float = 0.0) -> bool:
        """Tell whether what still runs is to be given up, or should have been so long ago."""
        return self.over.is_set() and monotonic() >= self._deadline + by_seconds

    def pause(self, seconds: float) -> None:
        """Let nothing start for a while."""
        self._closed_until = monotonic() + seconds

    def shut(self, grace_seconds: float) -> None:
        """Let nothing start any more, and what runs end in time."""
        self._deadline = monotonic() + grace_seconds
        self.over.set()

    def wait(self, seconds: float) -> None:
        """Return after a while. Raises Suspended when the worker stops."""
        if self.over.wait(seconds):
            raise Suspended

    def pass_through(self, look_seconds: float) -> None:
        """Return when a step may start. Raises Suspended when the worker stops."""
        self.wait(0)
        while not self.is_ajar:
            self.wait(look_seconds)


@dataclass(frozen=True, slots=True)
class StepRunner:
    """Runs steps at a pace, one gate before them all."""

    pace: Pace
    gate: Gate
    suspicion: Suspicion = field(default_factory=Suspicion)

    def run(self, name: str, study_uid: str, call: Callable[[], Any]) -> dict[str, Any]:
        """Try a step as often as may help; return ``{"value": …}``, or ``{"reason": …, "counts": …}`` when it failed.

        ``counts`` tells whether that is the study's fault. Raises Suspended when the worker stops.
        """
        for wait in (*self.pace.waits, None):
            if name == COUNT:
                self.gate.wait(0)  # no work, and not to be forgotten until the window opens again
            else:
                self.gate.pass_through(self.pace.poll)
            try:
                value = aside(call, self.gate)
            except Interrupted:
                raise Suspended from None
            except Exception as exc:  # the worker's edge: whatever it was, other studies go on
                if wait is None or not is_retryable(exc):
                    return self._fault(name, study_uid, exc)
                _log.warning("step_failed", step=name, study_instance_uid=study_uid, exc_info=exc)
                self.gate.wait(wait)
            else:
                if name in (PREPARE, SWITCH):  # these need the stores
                    self.suspicion.went_well(study_uid)
                return {"value": value}
        raise AssertionError("no wait follows the last try")

    def _fault(self, name: str, study_uid: str, error: Exception) -> dict[str, Any]:
        counts = not is_retryable(error) or self.suspicion.is_to_blame(study_uid)
        if not counts:
            self.gate.pause(self.pace.pause)
        _log.error("step_given_up", step=name, study_instance_uid=study_uid, counts=counts, exc_info=error)
        return {"reason": reason_of(error), "counts": counts}


def aside(call: Callable[[], Any], gate: Gate) -> Any:
    """Call in a thread that nobody has to wait for: a step takes minutes, a stop seconds. Raises Suspended."""
    answer: Future[Any] = Future()
    threading.Thread(target=_answer, args=(call, answer), name="migration", daemon=True).start()
    while not answer.done():
        with suppress(TimeoutError):
            answer.exception(0.1 if gate.over.is_set() else 1.0)
        if gate.is_late() and not answer.done():
            raise Suspended
    return answer.result()


def _answer(call: Callable[[], Any], answer: Future[Any]) -> None:
    try:
        answer.set_result(call())
    except BaseException as exc:  # told to who waits for it
        answer.set_exception(exc)
