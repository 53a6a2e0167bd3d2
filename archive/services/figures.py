"""Keeps the figures that take long to count, for whoever asks often; must not count them while somebody waits."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from archive.clock import Clock, monotonic
from archive.errors import ArchiveError, LedgerBroken
from archive.index.figures import RetentionFigures, retention_figures
from archive.index.probes import Probed
from archive.index.records import Totals
from archive.index.session import Database
from archive.index.totals import totals
from archive.services.arrival_watch import ArrivalWatch
from archive.services.drops import DayCompared
from archive.services.slo import ProbeHistory, ProbeSummary
from archive.services.tls_certificates import Watched

Jobs = Callable[[], Mapping[str, int]]
"""Returns how many migrations are running and waiting."""
NO_JOBS: Final[Jobs] = dict


@dataclass(frozen=True, slots=True)
class Figures:
    """What was counted at ``taken_at``, in ``seconds``. ``ledger_problem`` is empty when the ledger holds."""

    taken_at: datetime
    seconds: float
    totals: Totals
    retention: RetentionFigures
    days: Sequence[DayCompared]
    jobs: Mapping[str, int]
    probes: Sequence[ProbeSummary]
    last_probes: Sequence[Probed]
    ledger_problem: str


@dataclass(slots=True)
class FigureKeeper:
    """Counts when it is told to; ``latest`` is None before the first time. ``catch_up`` looks at the ledger's end.

    ``attempts``: after so many a study whose migration failed is left alone.
    """

    database: Database
    arrivals: ArrivalWatch
    clock: Clock
    attempts: int
    catch_up: Callable[[], object]
    jobs: Jobs = NO_JOBS
    latest: Figures | None = None
    certificates: Sequence[Watched] = field(default_factory=tuple)

    def refresh(self) -> Figures:
        """Count. Raises IndexUnavailable."""
        started, now = monotonic(), self.clock()
        ledger_problem = self._ledger_problem()
        with self.database.read() as connection:
            held = totals(connection)
            retention = retention_figures(connection, now.date().isoformat(), self.attempts)
        history = ProbeHistory(self.database)
        self.latest = Figures(
            taken_at=now,
            seconds=monotonic() - started,
            totals=held,
            retention=retention,
            days=self.arrivals.days(now),
            jobs=self._jobs(),
            probes=history.summaries(now),
            last_probes=history.last(now),
            ledger_problem=ledger_problem,
        )
        return self.latest

    def _ledger_problem(self) -> str:
        try:
            self.catch_up()
        except (LedgerBroken, OSError) as exc:
            return exc.message if isinstance(exc, LedgerBroken) else exc.strerror or type(exc).__name__
        return ""

    def _jobs(self) -> Mapping[str, int]:
        """Return the queues of migration; a database of workflows that is away must not hide everything else."""
        try:
            return self.jobs()
        except ArchiveError:
            return {}
