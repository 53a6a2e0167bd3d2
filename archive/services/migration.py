"""The migration of an archive: what is due, study by study, and what was left behind; must not know who drives it.

It is what a worker drives step by step (``MigrationSteps``), and a command one study after the other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from archive import logs
from archive.clock import monotonic
from archive.errors import ArchiveError, MigrationRefused
from archive.index import set_aside
from archive.services.migrate import Migrator
from archive.services.reports import Progress
from archive.services.trim_hot import ColdCleaner, HotTrimmer
from tiering.errors import TieringError

if TYPE_CHECKING:
    from archive.services.remake import Remaker

_log = logs.get(__name__)

EVERYTHING: Final = 1_000_000_000

Due = Callable[[int], Sequence[str]]
"""Returns the Study Instance UIDs to migrate next, so many at most, the oldest first."""


@dataclass(slots=True)
class MigrationReport:
    """What migrating came to; ``left``: (Study Instance UID, why) of studies that stay."""

    studies: int = 0
    packs: int = 0
    lossy: int = 0
    left: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Migration:
    """All that moves studies between the tiers of one archive.

    ``rest`` is told how many seconds were worked, and returns when more may be. ``remaker``: makes lossy what went cold
    without loss, of the studies that ``next_remade`` returns; None when that is not done by itself.
    """

    migrator: Migrator
    trimmer: HotTrimmer
    cleaner: ColdCleaner
    next_due: Due
    rest: Callable[[float], object] = lambda _worked_seconds: None
    remaker: Remaker | None = None
    next_remade: Due = lambda _limit: ()

    # ---- the steps -----------------------------------------------------------------------------------------------

    def due(self, limit: int) -> Sequence[str]:
        """Return the studies to migrate next, and once fewer are due than asked for, those to re-make."""
        found = list(self.next_due(limit))
        return [*found, *self.next_remade(limit - len(found))] if len(found) < limit else found

    def series_of(self, study_uid: str) -> Sequence[str]:
        """Return the series of a study that are to be prepared, or re-made. Raises MigrationRefused."""
        return self._mover(study_uid).series_of(study_uid)

    def prepare(self, study_uid: str, series_uid: str) -> Mapping[str, Any]:
        """Put the packs of a series into the cold store, proven; see ``Migrator.prepare``, ``Remaker.prepare``."""
        started = monotonic()
        prepared = self._mover(study_uid).prepare(study_uid, series_uid)
        self.rest(monotonic() - started)
        return prepared

    def switch(self, study_uid: str, prepared: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
        """Let the cold packs of a study stand in; see ``Migrator.switch``, ``Remaker.switch``."""
        remade = [each for each in prepared if each.get("remade")]
        if self.remaker is not None and remade:
            return self.remaker.switch(study_uid, remade)
        return self.migrator.switch(study_uid, [each for each in prepared if not each.get("remade")])

    def _mover(self, study_uid: str) -> Migrator | Remaker:
        """Return what is to be done with a study: what has something hot migrates."""
        return self.remaker if self.remaker is not None and self.remaker.is_meant(study_uid) else self.migrator

    def trim(self) -> Mapping[str, Any]:
        """Let go of hot packs whose grace is over, of cold objects that stand in for nothing and of old uploads."""
        trimmed, cleaned = self.trimmer.run(), self.cleaner.run()
        return {
            "trimmed": trimmed.trimmed,
            "discarded": cleaned.discarded,
            "uploads_ended": cleaned.uploads_ended,
            "left": len(trimmed.left),
        }

    def failed(self, study_uid: str, reason: str) -> int:
        """Count an attempt that failed; return how many there were."""
        attempts: list[int] = []
        now = self.migrator.clock()
        self.migrator.committer.record_synced(
            work=lambda connection: attempts.append(set_aside.record_failure(connection, study_uid, reason, now))
        )
        return attempts[0]

    # ---- by hand -------------------------------------------------------------------------------------------------

    def run(self, studies: Sequence[str], progress: Progress) -> MigrationReport:
        """Migrate studies one after the other; one that stays is told, others go on."""
        return move_each(studies, self.migrator.migrate, progress)

    def preview(self, studies: Sequence[str]) -> MigrationReport:
        """Return which of these studies would go, and why the others stay."""
        report = MigrationReport()
        for study_uid in studies:
            try:
                report.studies += bool(self.migrator.series_of(study_uid))
            except MigrationRefused as exc:
                report.left.append((study_uid, exc.fields["reason"]))
        return report


def move_each(studies: Sequence[str], move: Callable[[str], Mapping[str, Any]], progress: Progress) -> MigrationReport:
    """Migrate, or re-make, studies one after the other; one that stays is told, others go on."""
    report = MigrationReport()
    for done, study_uid in enumerate(studies, start=1):
        try:
            found = move(study_uid)
        except (ArchiveError, TieringError, OSError) as exc:
            _left(study_uid, exc, report)
        else:
            report.studies += bool(found["packs"])
            report.packs += found["packs"]
            report.lossy += found["lossy"]
        progress(done, len(studies))
    return report


def _left(study_uid: str, error: Exception, report: MigrationReport) -> None:
    reason = (error.strerror or type(error).__name__) if isinstance(error, OSError) else str(error)
    report.left.append((study_uid, str(reason)))
    _log.error("study_not_migrated", study_instance_uid=study_uid, reason=str(reason))
