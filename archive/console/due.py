"""The page that tells what becomes due by a date, with a slider; must not count anything."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from typing import Final

from starlette.responses import Response
from starlette.routing import Route

from archive.clock import Clock
from archive.console import formats
from archive.console.catalogue import catalogue
from archive.console.desk import Desk
from archive.console.visit import Visit
from archive.services.as_of import AsOf
from archive.services.people import Permission

_MOST_MONTHS: Final = 25 * 12
_YEARS_SHOWN: Final = 12
_FIRST: Final = date(1970, 1, 1)
_SHOWN: Final = 40


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
        site, stranger = _site_of(visit, sites)
        chosen = {site} if site else sites
        on, odd = _day_of(visit, today)
        ends = list(_year_ends(today))
        found, *years = self.as_of.several([on, *ends], chosen)
        values = {
            "due": found,
            "on": on,
            "problems": [text for text in (odd, stranger) if text],
            "today": today,
            "months": _months(today, on),
            "most_months": _MOST_MONTHS,
            "years": years,
            "most": max((each.free.size_bytes + each.blocked.size_bytes for each in years), default=0) or 1,
            "sites": sorted(sites),
            "site": site,
        }
        return self.desk.show(visit, "due.html", values)


def _site_of(visit: Visit, sites: Collection[str]) -> tuple[str, str]:
    """Return the site that was asked for, "" for all of them, and what is wrong with it, "" when it is taken.

    Who may not know of a site is told the same as of one that is not there.
    """
    site = visit.asked("site")
    if not site or site in sites:
        return site, ""
    return "", catalogue(visit.language).text("due.no_site", site=_short(site))


def _day_of(visit: Visit, today: date) -> tuple[date, str]:
    """Return the day that was asked for, one far away brought near, and what is wrong with it, "" when it is taken."""
    words, latest = catalogue(visit.language), _later(today, _MOST_MONTHS)
    day, wrong = _months_later(visit, today)
    if text := visit.asked("on"):
        try:
            asked = date.fromisoformat(text)
        except ValueError:
            wrong = words.text("due.no_date", text=_short(text))
        else:
            day = min(max(asked, _FIRST), latest)
            first, last = (formats.day(each, visit.language) for each in (_FIRST, latest))
            wrong = "" if day == asked else words.text("due.far", first=first, last=last)
    shown = words.text("due.instead", day=formats.day(day, visit.language))
    return day, f"{wrong} {shown}" if wrong else ""


def _months_later(visit: Visit, today: date) -> tuple[date, str]:
    """Return the day that the slider says, today for none, and what is wrong with that."""
    text = visit.asked("months")
    is_number = text.isascii() and text.isdigit() and len(text) < 5
    months = int(text) if is_number else 0
    if not text or (is_number and months <= _MOST_MONTHS):
        return _later(today, months), ""
    wrong = catalogue(visit.language).text("due.no_months", text=_short(text), most=_MOST_MONTHS)
    return _later(today, min(months, _MOST_MONTHS)), wrong


def _short(text: str) -> str:
    """Return what somebody wrote into an address, as far as it can be shown."""
    return "".join(letter for letter in text[:_SHOWN] if letter.isprintable()) + "…" * (len(text) > _SHOWN)


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
