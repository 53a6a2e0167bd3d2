"""What the offline services answer, as plain values the command line can print; must not do anything.

Sizes are in bytes, moments are aware UTC datetimes, sequences are in the order they were found.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Protocol

from archive.services.drops import DayCompared
from archive.services.slo import ProbeSummary

Progress = Callable[[int, int], None]
"""Called with (done, total) as work goes on; a total of 0 means it is not known yet."""


@dataclass(frozen=True, slots=True)
class AssociationSummary:
    """One association that ended: who called, how it ended, how many objects or answers it moved."""

    calling_ae_title: str
    called_ae_title: str
    peer_address: str
    started_at: datetime
    ended_at: datetime | None
    outcome: str
    stored: int = 0
    retrieved: int = 0
    found: int = 0
    refused: int = 0
    bytes_in: int = 0
    bytes_out: int = 0


@dataclass(frozen=True, slots=True)
class StatusReport:
    """What is stored, how much room it takes and what happened last (latest association first).

    ``retired_bytes``: what of that are the originals of lossy copies, until their grace is over. ``drops``:
    where far fewer images came today or yesterday than on the same weekdays before. ``probes``: what asking ourselves
    took in the last days.
    """

    home: str
    database: str
    patients: int
    studies: int
    series: int
    instances: int
    size_bytes: int
    free_bytes: int
    quarantined: int
    unsealed_folders: int
    studies_by_site: Mapping[str, int]
    associations: Sequence[AssociationSummary]
    cold_bytes: int = 0
    retired_bytes: int = 0
    drops: Sequence[DayCompared] = ()
    probes: Sequence[ProbeSummary] = ()


@dataclass(frozen=True, slots=True)
class VerifyWanted:
    """What to verify: ``tier`` is hot, cold or all; percent of each; MiB a second at most (0: as fast as it goes).

    ``repair_as``: who has damaged packs repaired, None for nobody.
    """

    tier: str = "all"
    percent: float = 100.0
    mib_per_second: float = 0.0
    repair_as: str | None = None


@dataclass(frozen=True, slots=True)
class ColdVerifyReport:
    """Fixity of the cold packs, by their keys; ``not_read``: (key, what to do) of packs that could not be read now.

    ``orphans``: objects that the index does not know; ``unused``: those that stand in for nothing since days.
    """

    checked: int
    read_bytes: int
    damaged: Sequence[str] = ()
    missing: Sequence[str] = ()
    not_read: Sequence[tuple[str, str]] = ()
    orphans: Sequence[str] = ()
    unused: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """Fixity of the hot copies; ``damaged`` and ``missing`` are the keys of those that failed; and of the cold tier.

    ``originals``: so many of those that were checked are what lossy copies replaced.

    ``repaired``: (old key, new key) of packs; ``not_repaired``: (key, what to do); None when nothing was to be.
    """

    checked: int
    damaged: Sequence[str]
    missing: Sequence[str]
    cold: ColdVerifyReport | None = None
    repaired: Sequence[tuple[str, str]] | None = None
    not_repaired: Sequence[tuple[str, str]] | None = None
    originals: int = 0

    @property
    def holds(self) -> bool:
        """Tell whether every byte that was read is the byte stored, or is again since it was repaired."""
        again = {old for old, _ in self.repaired or ()}
        hot = (*self.damaged, *self.missing)
        cold = () if self.cold is None else (*self.cold.damaged, *self.cold.missing)
        return all(key in again or key.rpartition("/")[0] in again for key in (*hot, *cold))

    @property
    def is_complete(self) -> bool:
        """Tell whether all that was asked for was read, and repaired."""
        return not (self.cold is not None and self.cold.not_read) and not self.not_repaired


@dataclass(slots=True)
class AddColdReport:
    """What came of cold packs that the index did not know.

    ``instances``: how many had no other copy. ``not_needed``: lossy packs whose originals are here, and originals of
    lossy ones, which wait to be trimmed. ``destroyed``: packs that are here all the same. ``problems``: (key, what to
    do) of packs that are left where they lie.
    """

    packs: int = 0
    instances: int = 0
    not_needed: int = 0
    destroyed: int = 0
    problems: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class RebuildReport:
    """An index made again from storage alone; ``problems`` says which files could not be read and why."""

    instances: int
    quarantined: int
    problems: Sequence[str]


@dataclass(frozen=True, slots=True)
class ImportReport:
    """Files taken in; ``refused`` pairs a path with the reason, ``skipped`` counts files that are not DICOM.

    ``conflicts`` counts instances already stored with other bytes: both are kept, the newcomer in quarantine.
    """

    stored: int
    duplicates: int
    conflicts: int
    refused: Sequence[tuple[str, str]]
    skipped: int


@dataclass(frozen=True, slots=True)
class AuditReport:
    """A journal whose chain holds: its number of entries and the hash of the last one, in hexadecimal."""

    entries: int
    head: str
    ledger_events: int = 0
    ledger_head: str = ""


@dataclass(frozen=True, slots=True)
class AuditItem:
    """One entry of the audit journal; ``hash`` is hexadecimal."""

    sequence: int
    at: datetime
    event: str
    actor: str
    body: Mapping[str, object]
    hash: str


@dataclass(frozen=True, slots=True)
class QuarantineItem:
    """One object kept for the operator, with the reason it was not taken in."""

    key: str
    reason: str
    sop_instance_uid: str | None
    calling_ae_title: str
    peer_address: str
    size_bytes: int
    received_at: datetime
    resolved_at: datetime | None = None


class Offline(Protocol):
    """The archive without its listeners: what the commands that do not serve work on."""

    def status(self) -> StatusReport:
        """Return counts, sizes and the last associations."""
        ...

    def verify(self, progress: Progress, wanted: VerifyWanted) -> VerifyReport:
        """Read stored objects again and compare them with their digests."""
        ...

    def add_cold(self, progress: Progress) -> AddColdReport:
        """Index the packs of the cold store that the index does not know."""
        ...

    def rebuild_index(self, progress: Progress, *, hot_only: bool = False) -> RebuildReport:
        """Make the index again from storage alone; ``hot_only``: without the packs of the cold store."""
        ...

    def import_paths(self, paths: Sequence[Path], progress: Progress) -> ImportReport:
        """Take in Part 10 files and folders; running it again goes on where it stopped."""
        ...

    def verify_audit(self) -> AuditReport:
        """Check the chain of the whole journal; raise AuditBroken at the first break."""
        ...

    def iter_audit(self, event: str | None, limit: int) -> Iterator[AuditItem]:
        """Stream the latest ``limit`` entries, oldest first, of one kind of event or of all (None)."""
        ...

    def iter_quarantine(self) -> Iterator[QuarantineItem]:
        """Stream what waits in quarantine, oldest first."""
        ...


OpenOffline = AbstractContextManager[Offline]
