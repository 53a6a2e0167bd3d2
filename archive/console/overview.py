"""The first page: tiers, growth, promises, arrivals, certificates, and what needs a person now; must not count."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from starlette.responses import Response
from starlette.routing import Route

from archive.console.desk import Desk
from archive.console.visit import Visit
from archive.services.overview import OverviewDesk, bytes_a_day
from archive.services.people import Permission


@dataclass(frozen=True, slots=True)
class OverviewPages:
    """What the page stands on; ``free_bytes`` returns what is left where images are received."""

    desk: Desk
    overviews: OverviewDesk
    free_bytes: Callable[[], int]

    def routes(self) -> Sequence[Route]:
        """Return the routes."""
        return [self.desk.page("/", Permission.VIEW_CONSOLE, self.show)]

    def show(self, visit: Visit) -> Response:
        """Show the overview."""
        found = self.overviews.overview(visit.person, self.desk.sites_of(visit))
        growth = found.flow.growth
        free, daily = self.free_bytes(), bytes_a_day(growth)
        values = {
            "overview": found,
            "figures": found.figures,
            "free": free,
            "daily": daily,
            "days_left": free // daily if daily else None,
            "most": max((day.size_bytes for day in growth), default=0) or 1,
        }
        return self.desk.show(visit, "overview.html", values)
