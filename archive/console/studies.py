"""The pages of studies: found by a number, shown with the reason they are kept; must not conclude anything."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

from starlette.responses import Response
from starlette.routing import Route

from archive.clock import Clock
from archive.console import refusals
from archive.console.catalogue import catalogue
from archive.console.desk import Desk, told_of
from archive.console.timeline import timeline
from archive.console.visit import REASON_COOKIE, REASONS, Visit
from archive.errors import ArchiveError, FactError, HoldError, InvalidHold, NoSuchFact
from archive.services.assess import Assessor
from archive.services.audit_search import AuditDesk
from archive.services.evidence import EvidenceRoom
from archive.services.explaining import explain_study
from archive.services.facts_by_hand import FactsByHand
from archive.services.holds import Holds, NewHold
from archive.services.list_views import ListDesk
from archive.services.people import Permission
from archive.services.study_view import StudyDesk
from retention_rules.errors import RetentionError

_SERIES_A_PAGE: Final = 100
_SHOWN_ACCESSES: Final = 20
_FIELDS: Final = ("scope", "reason", "authority", "reference", "review_on")


@dataclass(frozen=True, slots=True)
class StudyPages:
    """What the pages stand on; ``mirror`` has the cold store keep the studies of a hold, where it can."""

    desk: Desk
    studies: StudyDesk
    assessor: Assessor
    audit: AuditDesk
    holds: Holds
    facts: FactsByHand
    evidence: EvidenceRoom
    lists: ListDesk
    clock: Clock
    mirror: Callable[[Sequence[str]], object]

    def routes(self) -> Sequence[Route]:
        """Return the routes."""
        looks, holds, facts = Permission.VIEW_CONSOLE, Permission.PLACE_HOLD, Permission.VALIDATE_FACTS
        one = "/studies/{study}"
        return [
            self.desk.page("/studies", looks, self.seek),
            self.desk.act("/studies", looks, self.find),
            self.desk.page(one, looks, self.show),
            self.desk.act(f"{one}/hold", holds, self.hold, of=one),
            self.desk.act(f"{one}/facts/{{fact}}/withdraw", facts, self.withdraw, of=one),
        ]

    def seek(self, visit: Visit) -> Response:
        """Show the form that finds studies, and what a search led to. The number is in no address."""
        told = self.desk.searched(visit)
        number = "" if told is None else told["number"]
        values = {
            "answer": None if told is None else self.studies.find(number, visit.person),
            "number": number,
            "reasons": REASONS,
            "reason": visit.access.reason,
        }
        return self.desk.show(visit, "studies.html", values)

    def find(self, visit: Visit) -> Response:
        """Go to what a number leads to: the study when it is one."""
        number = visit.given("number")
        found = self.studies.find(number, visit.person)
        given = visit.given("reason")
        reason = given if given in REASONS else visit.access.reason
        if len(found.studies) == 1 and not found.destroyed:
            response = self.desk.go(f"/studies/{found.studies[0].reference}")
        else:
            response = self.desk.go_to_search(visit, "/studies", {"number": number})
        self.desk.set_cookie(visit, response, REASON_COOKIE, reason)
        return response

    # ---- one study -----------------------------------------------------------------------------------------------

    def show(self, visit: Visit) -> Response:
        """Show a study, and journal who looked."""
        return self._study(visit, None)

    def _study(self, visit: Visit, error: ArchiveError | None) -> Response:
        study = self.studies.show(visit.segment("study"), visit.access)
        start = (visit.page - 1) * _SERIES_A_PAGE
        uid = study.record.study_instance_uid
        values = {
            "study": study,
            "series": study.series[start : start + _SERIES_A_PAGE],
            "series_page": visit.page,
            "more_series": len(study.series) > start + _SERIES_A_PAGE,
            "accesses": self.audit.of_study(uid, _SHOWN_ACCESSES),
            "lists": self.lists.of_study(uid),
            "has_evidence": self.evidence.has(uid),
            "entered": {name: visit.given(name) for name in _FIELDS},
            "problem": None if error is None else told_of(error, visit),
        }
        return self.desk.show(visit, "study.html", values | self._why(visit, uid), status=422 if error else 200)

    def _why(self, visit: Visit, uid: str) -> dict[str, Any]:
        """Return the reasoning and its drawing; of a study that cannot be assessed, why not."""
        today = self.clock().date()
        try:
            found = explain_study(self.assessor, uid, as_of=today, language=visit.language)
        except RetentionError as exc:
            return {"explanation": None, "line": None, "unexplained": refusals.told(exc, visit.language)}
        line = timeline(found, today, catalogue(visit.language))
        return {"explanation": found, "line": line, "unexplained": ()}

    # ---- acts ----------------------------------------------------------------------------------------------------

    def hold(self, visit: Visit) -> Response:
        """Put the study, or everything of its patient, on hold."""
        record = self.studies.resolve(visit.segment("study"), visit.person)
        visit.person.require(Permission.PLACE_HOLD, record.site)
        is_all = visit.given("scope") == "patient" and bool(record.patient_id)
        try:
            wanted = NewHold(
                record.site,
                *new_hold_texts(visit),
                review_on=day_given(visit, "review_on"),
                studies=() if is_all else [record.study_instance_uid],
                patient_ids=[record.patient_id] if is_all else (),
            )
            hold = self.holds.place(wanted, actor=visit.person.name, sites=visit.person.sites or None)
        except HoldError as exc:
            return self._study(visit, exc)
        self.mirror(self.holds.show(hold.hold_id).study_instance_uids)
        return self.desk.go(f"/holds/{hold.hold_id}", done="hold_placed")

    def withdraw(self, visit: Visit) -> Response:
        """Take back a fact about the study's patient."""
        record = self.studies.resolve(visit.segment("study"), visit.person)
        visit.person.require(Permission.VALIDATE_FACTS, record.site)
        reason, sites = visit.given("reason"), self.desk.sites_of(visit) & {record.site}
        try:
            self.facts.withdraw(visit.number("fact"), reason=reason, actor=visit.person.name, sites=sites)
        except NoSuchFact:
            raise
        except FactError as exc:
            return self._study(visit, exc)
        return self.desk.go(f"/studies/{visit.segment('study')}", done="fact_withdrawn")


def new_hold_texts(visit: Visit) -> tuple[str, str, str]:
    """Return reason, authority and reference as a form gives them."""
    return visit.given("reason"), visit.given("authority"), visit.given("reference")


def day_given(visit: Visit, name: str) -> date | None:
    """Return a day that a form gives, or None. Raises InvalidHold for what is none."""
    text = visit.given(name)
    if not text:
        return None
    with suppress(ValueError):
        return date.fromisoformat(text)
    raise InvalidHold(name="the review date", reason="is not a date")
