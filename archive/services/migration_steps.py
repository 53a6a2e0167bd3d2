"""What a worker does of a migration, step by step, and when it tries again; must not know what runs it, nor do it."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol

from archive import logs


class Interrupted(Exception):
    """A step raises it when it was told to end before it was done: no failure, it is run again later."""


class MigrationSteps(Protocol):
    """The steps of a migration. Each may be run again at any time, also while a run that was given up still goes on.

    An error's ``retryable`` says whether another attempt may go better at once. What a step returns is kept with the
    workflow, as JSON: UIDs, digests, counts, and nothing that names a patient.
    """

    def due(self, limit: int) -> Sequence[str]:
        """Return the Study Instance UIDs to migrate next, the oldest first; none that is set aside."""
        ...

    def series_of(self, study_uid: str) -> Sequence[str]:
        """Return the Series Instance UIDs of a study that are to be prepared."""
        ...

    def prepare(self, study_uid: str, series_uid: str) -> Mapping[str, Any]:
        """Put a series into the cold store, proven, and return what the switch needs. Takes minutes."""
        ...

    def switch(self, study_uid: str, prepared: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
        """Let the cold copies stand in, in one transaction, which also forgets that the study failed before."""
        ...

    def trim(self) -> Mapping[str, Any]:
        """Let go of hot packs whose grace is over."""
        ...

    def failed(self, study_uid: str, reason: str) -> int:
        """Count an attempt that failed; return how many there were."""
        ...


@dataclass(frozen=True, slots=True)
class Job:
    """One study in the hands of a worker, or waiting for one.

    ``state`` is ``running`` or ``waiting``; ``since`` is when it entered it; ``executor`` names the worker that has it.
    """

    study_instance_uid: str
    state: str
    since: datetime | None
    executor: str | None


@dataclass(slots=True)
class Suspicion:
    """Tells a study that does not work from a store that is away, which must not set every study aside.

    A failure that may pass counts against its study only when something else went well since the study failed last.
    """

    _went_well: int = 0
    _failed_at: dict[str, int] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def went_well(self, study_uid: str) -> None:
        """Note that a step which needs the stores was done for a study."""
        with self._lock:
            self._went_well += 1
            self._failed_at.pop(study_uid, None)

    def is_to_blame(self, study_uid: str) -> bool:
        """Note that a step failed, though it may go better later; tell whether that counts."""
        with self._lock:
            before = self._failed_at.get(study_uid)
            self._failed_at[study_uid] = self._went_well
            return before is not None and self._went_well > before


def rest_after(failures: int, first: timedelta) -> timedelta:
    """Return how long a study is left alone after so many failures in a row: longer each time, twelve times at most."""
    return min(first * 2 ** min(failures - 1, 10), first * 12) if failures > 0 else timedelta()


def is_retryable(error: Exception) -> bool:
    """Tell whether the same step may go better later: an error of ours knows; a full disk is not the study's fault."""
    return bool(getattr(error, "retryable", isinstance(error, OSError | MemoryError)))


def reason_of(error: Exception) -> str:
    """Return why a step failed: an error of ours in its words, of any other only what it is and where it came from."""
    told = logs.describe(error)
    if "message" in told and getattr(error, "errno", 0) is not None:
        return str(told["message"])
    place = told["frames"][-1] if told["frames"] else "nowhere"
    return f"{told['type']} at {place}"
