"""The pages of holds: the list, one hold, placing, reviewing and lifting; must not decide what a hold covers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from starlette.responses import Response
from starlette.routing import Route

from archive.console.desk import Desk, told_of
from archive.console.studies import day_given, new_hold_texts
from archive.console.visit import Visit
from archive.errors import ArchiveError, HoldError, InvalidHold, InvalidUid, NoSuchHold
from archive.services.holds import LIFTERS, REVIEWERS, Holds, HoldView, NewHold
from archive.services.people import Permission
from archive.services.study_view import StudyDesk

_PAGE: Final = 50
_SHOWN: Final = 200
_FIELDS: Final = ("site", "studies", "patient_ids", "reason", "authority", "reference", "review_on", "is_ahead")


@dataclass(frozen=True, slots=True)
class HoldPages:
    """What the pages stand on; ``mirror`` has the cold store keep the studies of a hold, where it can."""

    desk: Desk
    holds: Holds
    studies: StudyDesk
    mirror: Callable[[Sequence[str]], object]

    def routes(self) -> Sequence[Route]:
        """Return the routes."""
        looks, places, one = Permission.VIEW_CONSOLE, Permission.PLACE_HOLD, "/holds/{hold}"
        return [
            self.desk.page("/holds", looks, self.list),
            self.desk.page("/holds/new", places, self.new),
            self.desk.act("/holds/new", places, self.place),
            self.desk.page(one, looks, self.show),
            self.desk.act(f"{one}/review", places, self.review, of=one),
            self.desk.act(f"{one}/lift", places, self.lift, of=one),
        ]

    def list(self, visit: Visit) -> Response:
        """Show the holds in force, or all that ever were."""
        with_lifted = visit.asked("all") == "1"
        start = (visit.page - 1) * _PAGE
        views, more = self.holds.page(visit.person.sites or None, start, _PAGE, with_lifted=with_lifted)
        values = {"views": views, "more": more, "page": visit.page, "with_lifted": with_lifted}
        return self.desk.show(visit, "holds.html", values)

    def show(self, visit: Visit) -> Response:
        """Show one hold, what it covers and what was said of it."""
        return self._hold(visit, None)

    def _hold(self, visit: Visit, error: ArchiveError | None) -> Response:
        view = self._view(visit)
        values = {
            "view": view,
            "history": self.holds.history(view.hold.hold_id) if visit.asked("history") == "1" else None,
            "references": self.studies.references(view.study_instance_uids[:_SHOWN]),
            "most": _SHOWN,
            "lifters": LIFTERS,
            "reviewers": REVIEWERS,
            "entered": {name: visit.given(name) for name in ("review_on", "note", "reason")},
            "problem": None if error is None else told_of(error, visit),
        }
        return self.desk.show(visit, "hold.html", values, status=422 if error else 200)

    def _view(self, visit: Visit) -> HoldView:
        """Return the hold of the address, of sites the person acts for. Raises NoSuchHold."""
        view = self.holds.show(visit.segment("hold"))
        if not all(visit.person.is_for(scope.site) for scope in view.scopes):
            raise NoSuchHold(hold_id=view.hold.hold_id, reason="no hold of your sites has this number")
        return view

    # ---- acts ----------------------------------------------------------------------------------------------------

    def new(self, visit: Visit) -> Response:
        """Show the form that places a hold."""
        return self._form(visit, None)

    def place(self, visit: Visit) -> Response:
        """Place a hold on the studies and patients that are named, one a line."""
        person, site = visit.person, visit.given("site")
        person.require(Permission.PLACE_HOLD, site or None)
        try:
            wanted = NewHold(
                site,
                *new_hold_texts(visit),
                review_on=day_given(visit, "review_on"),
                studies=visit.given("studies").split(),
                patient_ids=_lines(visit.given("patient_ids")),
                is_ahead=visit.given("is_ahead") == "1",
            )
            if site not in self.desk.sites:
                raise InvalidHold(name="the site", reason="is not in the settings" if site else "is missing")
            hold = self.holds.place(wanted, actor=person.name, sites=person.sites or None)
        except (HoldError, InvalidUid) as exc:
            return self._form(visit, exc)
        self.mirror(self.holds.show(hold.hold_id).study_instance_uids)
        return self.desk.go(f"/holds/{hold.hold_id}", done="hold_placed")

    def _form(self, visit: Visit, error: ArchiveError | None) -> Response:
        values = {
            "sites": sorted(self.desk.sites_of(visit)),
            "entered": {name: visit.given(name) for name in _FIELDS},
            "problem": None if error is None else told_of(error, visit),
        }
        return self.desk.show(visit, "hold_new.html", values, status=422 if error else 200)

    def review(self, visit: Visit) -> Response:
        """Leave a hold in place after a look, until another day."""
        visit.person.require_role(REVIEWERS)
        hold_id, person = self._view(visit).hold.hold_id, visit.person
        try:
            review_on = day_given(visit, "review_on")
            if review_on is None:
                raise InvalidHold(name="the next review", reason="is missing")
            sites = person.sites or None
            self.holds.review(hold_id, review_on, note=visit.given("note"), actor=person.name, sites=sites)
        except HoldError as exc:
            return self._hold(visit, exc)
        return self.desk.go(f"/holds/{hold_id}", done="hold_reviewed")

    def lift(self, visit: Visit) -> Response:
        """End a hold."""
        visit.person.require_role(LIFTERS)
        hold_id, person = self._view(visit).hold.hold_id, visit.person
        try:
            self.holds.lift(hold_id, reason=visit.given("reason"), actor=person.name, sites=person.sites or None)
        except HoldError as exc:
            return self._hold(visit, exc)
        return self.desk.go(f"/holds/{hold_id}", done="hold_lifted")


def _lines(text: str) -> Sequence[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]
