"""The page that tells what becomes due by a date, with a slider; must not count anything."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from typing import Final

from starlette.responses import Response
from starlette.routing import Route

from archive.clock import Clock
from archive.console.desk import Desk
from archive.console.visit import Visit
from archive.services.as_of import AsOf
from archive.services.people import Permission

_YEARS_AHEAD: Final = 25
_YEARS_SHOWN: Final = 12
_FIRST: Final = date(1970, 1, 1)


@dataclass(frozen=True, slots=True)
class DuePages:
    """What the page stands on."""

    desk: Desk
    as_of: AsOf
    clock: Clock

    def routes(self) -> Sequence[Route]:
        """Return the routes."""
        return [self.desk.page("/due", Permission.VIEW_CONSOLE, self.show)]

    def show(self, visit: Visit) -> Response:
        """Show what is due by a day: one that is given, or so many months from today as the slider says."""
        today, sites = self.clock().date(), self.desk.sites_of(visit)
        site = visit.asked("site")
        chosen = sites & {site} if site else sites
        on = _day_of(visit, today)
        ends = list(_year_ends(today))
        found, *years = self.as_of.several([on, *ends], chosen)
        values = {
            "due": found,
            "on": on,
            "today": today,
            "months": _months(today, on),
            "most_months": _YEARS_AHEAD * 12,
            "years": years,
            "most": max((each.free.size_bytes + each.blocked.size_bytes for each in years), default=0) or 1,
            "sites": sorted(sites),
            "site": site,
        }
        return self.desk.show(visit, "due.html", values)


def _day_of(visit: Visit, today: date) -> date:
    """Return the day that was asked for; one far away is brought near."""
    latest = _later(today, _YEARS_AHEAD * 12)
    with suppress(ValueError):
        return min(max(date.fromisoformat(visit.asked("on")), _FIRST), latest)
    months = visit.asked("months")
    if months.isascii() and months.isdigit() and len(months) < 5:
        return _later(today, min(int(months), _YEARS_AHEAD * 12))
    return today


def _later(day: date, months: int) -> date:
    """Return the same day so many months later, or the last of that month."""
    year, month = divmod(day.year * 12 + day.month - 1 + months, 12)
    for last in range(day.day, 27, -1):
        with suppress(ValueError):
            return date(year, month + 1, last)
    return date(year, month + 1, min(day.day, 28))


def _months(today: date, on: date) -> int:
    return max(0, (on.year - today.year) * 12 + on.month - today.month)


def _year_ends(today: date) -> Iterator[date]:
    return (date(today.year + more, 12, 31) for more in range(_YEARS_SHOWN))
