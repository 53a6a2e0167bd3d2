"""The steps of a migration, each in a span; must not change what a step does."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from archive.services.migration_steps import MigrationSteps
from archive.services.tracing import Traces

_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class TracedSteps:
    """Stands before the steps of an archive."""

    steps: MigrationSteps
    traces: Traces

    def due(self, limit: int) -> Sequence[str]:
        """Return the studies to migrate next; looking is no step."""
        return self.steps.due(limit)

    def series_of(self, study_uid: str) -> Sequence[str]:
        """Return the series to prepare; looking is no step."""
        return self.steps.series_of(study_uid)

    def prepare(self, study_uid: str, series_uid: str) -> Mapping[str, Any]:
        """Prepare a series."""
        return self._traced("prepare", lambda: self.steps.prepare(study_uid, series_uid))

    def switch(self, study_uid: str, prepared: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
        """Switch a study."""
        return self._traced("switch", lambda: self.steps.switch(study_uid, prepared))

    def trim(self) -> Mapping[str, Any]:
        """Trim hot packs."""
        return self._traced("trim", self.steps.trim)

    def failed(self, study_uid: str, reason: str) -> int:
        """Count an attempt that failed; counting is no step."""
        return self.steps.failed(study_uid, reason)

    def _traced(self, step: str, call: Callable[[], _Result]) -> _Result:
        span = self.traces.begin("migration step", step=step)
        try:
            with span.entered():
                result = call()
        except BaseException as exc:
            span.end(type(exc).__name__)
            raise
        span.end()
        return result
