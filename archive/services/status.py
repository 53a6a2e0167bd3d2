"""What the archive holds and what happened last; must not change anything."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from archive.clock import Clock
from archive.index import associations
from archive.index.session import Database
from archive.index.totals import totals
from archive.services.arrival_watch import ArrivalWatch
from archive.services.reports import AssociationSummary, StatusReport
from archive.services.slo import ProbeHistory
from tiering.disk import Disk

LAST_ASSOCIATIONS: Final = 10


@dataclass(frozen=True, slots=True)
class Status:
    """Reads the figures. ``shown_url``: the database's, without its password."""

    database: Database
    disk: Disk
    home: Path
    hot_root: Path
    shown_url: str
    arrivals: ArrivalWatch
    clock: Clock

    def report(self) -> StatusReport:
        """Return counts, sizes and the last associations as of now. Raises IndexUnavailable."""
        now = self.clock()
        with self.database.read() as connection:
            held = totals(connection)
            last = associations.latest(connection, limit=LAST_ASSOCIATIONS)
        return StatusReport(
            home=str(self.home),
            database=self.shown_url,
            patients=held.patients,
            studies=held.studies,
            series=held.series,
            instances=held.instances,
            size_bytes=held.hot_bytes + held.cold_bytes + held.retired_bytes,
            free_bytes=self.disk.free_bytes(self.hot_root),
            quarantined=held.quarantined,
            unsealed_folders=held.unsealed_folders,
            studies_by_site=held.studies_by_site,
            associations=[AssociationSummary(**asdict(summary)) for summary in last],
            cold_bytes=held.cold_bytes,
            retired_bytes=held.retired_bytes,
            drops=self.arrivals.drops(now),
            probes=ProbeHistory(self.database).summaries(now),
        )
