"""The pages of elimination lists: proposed, signed, refused, destroyed, proven; must not decide any of it.

Who may do what is the services' rule; the page only leaves out what would be refused anyway.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from starlette.responses import Response
from starlette.routing import Route

from archive.console import refusals
from archive.console.desk import Desk, told_of
from archive.console.visit import Visit
from archive.errors import ArchiveError, BadRequest, DisposalError, InvalidUid, NoSuchList, NotAllowed
from archive.services import certificates
from archive.services.background import Background
from archive.services.bordereau import csv_of, pdf_of
from archive.services.destroy import DESTROYERS, Destroyed, Destruction
from archive.services.disposal import MOST_STUDIES, Disposals, ListView
from archive.services.disposal_papers import bordereau_of
from archive.services.list_views import ListDesk
from archive.services.people import Permission
from archive.services.reports import Progress
from archive.services.study_view import StudyDesk
from retention_rules.approvals import WITH_REFERENCE, needed_offices

_PAGE: Final = 50
_LINES: Final = 100
DESTRUCTION: Final = "destruction"


@dataclass(frozen=True, slots=True)
class ListPages:
    """What the pages stand on."""

    desk: Desk
    lists: ListDesk
    disposals: Disposals
    destruction: Destruction
    studies: StudyDesk
    background: Background

    def routes(self) -> Sequence[Route]:
        """Return the routes."""
        looks, proposes = Permission.VIEW_CONSOLE, Permission.PROPOSE_DISPOSAL
        one, desk = "/lists/{list}", self.desk
        return [
            desk.page("/lists", looks, self.list),
            desk.page("/lists/propose", proposes, self.preview),
            desk.act("/lists/propose", proposes, self.propose),
            desk.page(one, looks, self.show),
            desk.page(f"{one}/bordereau.pdf", looks, self.pdf),
            desk.page(f"{one}/bordereau.csv", looks, self.csv),
            desk.page(f"{one}/certificate.json", looks, self.certificate),
            desk.act(f"{one}/approve", Permission.APPROVE_DISPOSAL, self.approve, of=one),
            desk.act(f"{one}/refuse", looks, self.refuse, of=one),
            desk.act(f"{one}/cancel", looks, self.cancel, of=one),
            desk.act(f"{one}/destroy", looks, self.destroy, of=one),
        ]

    # ---- looking -------------------------------------------------------------------------------------------------

    def list(self, visit: Visit) -> Response:
        """Show the lists, the newest first."""
        found, more = self.lists.page(self.desk.sites_of(visit), (visit.page - 1) * _PAGE, _PAGE)
        values = {"lists": found, "more": more, "page": visit.page, "offices": needed_offices}
        return self.desk.show(visit, "lists.html", values)

    def show(self, visit: Visit) -> Response:
        """Show one list: its lines, signatures and papers, and what the person may do with it."""
        return self._list(visit, None)

    def _list(self, visit: Visit, error: ArchiveError | None) -> Response:
        view = self._view(visit)
        start = (visit.page - 1) * _LINES
        shown = view.items[start : start + _LINES]
        counted = view.in_state("listed", "destroying", "destroyed")
        values = {
            "view": view,
            "items": shown,
            "page": visit.page,
            "more": len(view.items) > start + _LINES,
            "instances": sum(item.line["instances"] for item in counted),
            "size_bytes": sum(item.line["size_bytes"] for item in counted),
            "counted": len(counted),
            "references": self.studies.references([item.study_instance_uid for item in shown]),
            "offices": [office for office in view.missing if office in visit.person.roles],
            "needed": needed_offices(view.head.site_kind),
            "with_reference": WITH_REFERENCE,
            "is_ripe": self._is_ripe(view),
            "destroyers": DESTROYERS,
            "proof": self._proof(visit, view),
            "problem": None if error is None else told_of(error, visit),
            "ticked": visit.all_given("study"),
            "entered": _entered(visit),
        }
        return self.desk.show(visit, "list.html", values, status=422 if error else 200)

    def _view(self, visit: Visit) -> ListView:
        """Return the list of the address, of a site the person acts for. Raises NoSuchList."""
        view = self.disposals.show(visit.segment("list"))
        if not visit.person.is_for(view.head.site):
            raise NoSuchList(list_id=view.head.list_id)
        return view

    def _is_ripe(self, view: ListView) -> bool:
        """Tell whether it may be destroyed from today on, or was begun."""
        head, today = view.head, self.disposals.ledger.clock().date()
        is_over = head.waiting_until is not None and head.waiting_until <= today
        return head.state == "destroying" or (head.state == "approved" and is_over)

    def _proof(self, visit: Visit, view: ListView) -> dict[str, Any] | None:
        """Return what the certificate proves, verified now with the archive's own key; None when there is none yet."""
        if view.head.state != "destroyed":
            return None
        try:
            document = self.destruction.certificate(view.head.list_id)
            key = self.destruction.signer.public_key()
            body = certificates.verify(document, public_key=key)
        except ArchiveError as exc:
            return {"is_valid": False, "reason": refusals.told(exc, visit.language)}
        return {"is_valid": True, "body": body, "public_key": key}

    # ---- papers --------------------------------------------------------------------------------------------------

    def pdf(self, visit: Visit) -> Response:
        """Give the bordereau to be signed."""
        view = self._view(visit)
        site = self.disposals.sites.get(view.head.site)
        return _download(pdf_of(bordereau_of(view, site)), f"{view.head.list_id}.pdf", "application/pdf")

    def csv(self, visit: Visit) -> Response:
        """Give one line a study, for a spreadsheet."""
        view = self._view(visit)
        site = self.disposals.sites.get(view.head.site)
        return _download(csv_of(bordereau_of(view, site)), f"{view.head.list_id}.csv", "text/csv; charset=utf-8")

    def certificate(self, visit: Visit) -> Response:
        """Give the signed certificate of a destroyed list."""
        view = self._view(visit)
        document = self.destruction.certificate(view.head.list_id)
        return _download(document, f"{view.head.list_id}.json", "application/json")

    # ---- acts ----------------------------------------------------------------------------------------------------

    def preview(self, visit: Visit) -> Response:
        """Show what a list of today would hold; of which site is asked first when there are several."""
        return self._preview(visit, None)

    def _preview(self, visit: Visit, error: ArchiveError | None) -> Response:
        sites = sorted(self.desk.sites_of(visit))
        site = visit.given("site") or visit.asked("site") or (sites[0] if len(sites) == 1 else "")
        if not sites or (site and site not in sites):
            raise NotAllowed(name=visit.person.name, reason="the account is not for this site")
        proposal, problem = None, None if error is None else told_of(error, visit)
        try:
            proposal = self.disposals.preview(site) if site else None
        except ArchiveError as exc:
            problem = problem or told_of(exc, visit)
        values = {"sites": sites, "site": site, "proposal": proposal, "most": MOST_STUDIES, "problem": problem}
        return self.desk.show(visit, "propose.html", values, status=422 if error else 200)

    def propose(self, visit: Visit) -> Response:
        """List what is due at a site."""
        site = visit.given("site")
        if site not in self.desk.sites:
            raise BadRequest(reason="there is no such site")
        try:
            proposal = self.disposals.propose(site, who=visit.person)
        except DisposalError as exc:
            return self._preview(visit, exc)
        return self.desk.go(f"/lists/{proposal.list_id}", done="list_proposed")

    def approve(self, visit: Visit) -> Response:
        """Sign in one office."""
        view = self._view(visit)

        def sign() -> None:
            reference = visit.given("reference") or None
            self.disposals.approve(view.head.list_id, visit.given("office"), who=visit.person, reference=reference)

        return self._tried(visit, sign, done="list_approved")

    def refuse(self, visit: Visit) -> Response:
        """Take studies off a list; they stay."""
        view, studies = self._view(visit), visit.all_given("study")

        def keep() -> None:
            self.disposals.refuse(view.head.list_id, studies, visit.given("reason"), who=visit.person)

        return self._tried(visit, keep, done="studies_refused")

    def cancel(self, visit: Visit) -> Response:
        """End a list; all its studies stay."""
        view = self._view(visit)

        def end() -> None:
            self.disposals.cancel(view.head.list_id, visit.given("reason"), who=visit.person)

        return self._tried(visit, end, done="list_cancelled")

    def destroy(self, visit: Visit) -> Response:
        """Begin the destruction of a list that everybody signed, or go on with it; shown as it goes."""
        view, who = self._view(visit), visit.person
        who.require_role(DESTROYERS, site=view.head.site)
        if visit.given("confirmed") != view.head.list_id:
            return self._list(visit, BadRequest(reason="write the number of the list to confirm that it goes for ever"))

        def run(progress: Progress) -> Destroyed:
            return self.destruction.destroy(view.head.list_id, who=who, progress=progress)

        work = self.background.start(DESTRUCTION, view.head.list_id, who, run)
        return self.desk.go(f"/work/{work.work_id}")

    def _tried(self, visit: Visit, act: Callable[[], None], *, done: str) -> Response:
        list_id = visit.segment("list")
        try:
            act()
        except (DisposalError, InvalidUid) as exc:
            return self._list(visit, exc)
        return self.desk.go(f"/lists/{list_id}", done=done)


def _entered(visit: Visit) -> dict[str, str]:
    """Return what was typed into the form that was sent, by the act it is for: several forms have a reason."""
    act = visit.request.url.path.rpartition("/")[2]
    fields = {"approve": "reference", "refuse": "reason", "cancel": "reason", "destroy": "confirmed"}
    return {name: visit.given(field) if name == act else "" for name, field in fields.items()}


def _download(data: bytes, name: str, media_type: str) -> Response:
    return Response(data, media_type=media_type, headers={"content-disposition": f'attachment; filename="{name}"'})
