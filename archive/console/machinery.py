"""The pages of the machinery: quarantine, migration's jobs, the journal, long work; must not mend anything itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import date
from typing import Any, Final

from starlette.responses import Response
from starlette.routing import Route

from archive.console.desk import Desk, told_of
from archive.console.visit import Visit
from archive.errors import ArchiveError
from archive.services.audit_search import AuditDesk, AuditWanted
from archive.services.background import Background, Work
from archive.services.journal_check import JournalCheck
from archive.services.migration_steps import Job
from archive.services.people import Permission
from archive.services.quarantine import quarantine_page
from archive.services.set_aside import FailedStudies
from archive.services.study_view import StudyDesk

_PAGE: Final = 50
_JOBS: Final = 200
CHECK: Final = "journal_check"
_SEARCHED: Final = ("event", "actor", "text", "since", "until", "before")
EVENTS: Final = (
    *("viewed", "retrieved", "queried", "signed_in", "hold_placed", "hold_reviewed", "hold_lifted"),
    *("disposal_proposed", "disposal_approved", "disposal_kept", "disposal_cancelled", "studies_destroyed"),
    *("disposal_certified", "candidate_confirmed", "candidate_rejected", "fact_recorded", "fact_withdrawn"),
    *("account_set", "account_disabled", "migrated", "rolled_back", "recalled", "quarantined", "configured"),
)
"""The events that the search offers; any other can be written."""


@dataclass(frozen=True, slots=True)
class MachineryPages:
    """What the pages stand on; ``jobs`` returns what workers have or will have, ``attempts`` set a study aside."""

    desk: Desk
    audit: AuditDesk
    check: JournalCheck
    failed: FailedStudies
    jobs: Callable[[], Sequence[Job]]
    attempts: int
    studies: StudyDesk
    background: Background

    def routes(self) -> Sequence[Route]:
        """Return the routes."""
        desk, looks, reads = self.desk, Permission.VIEW_CONSOLE, Permission.READ_AUDIT
        return [
            desk.page("/quarantine", Permission.OPERATE, self.quarantine),
            desk.page("/jobs", looks, self.show_jobs),
            desk.act("/jobs/retry", Permission.RUN_MIGRATION, self.retry),
            desk.page("/audit", reads, self.journal),
            desk.act("/audit", reads, self.search),
            desk.act("/audit/check", reads, self.verify),
            desk.page("/work/{work}", looks, self.work),
        ]

    def quarantine(self, visit: Visit) -> Response:
        """Show what was not taken in, and why."""
        found = quarantine_page(self.audit.database, (visit.page - 1) * _PAGE, _PAGE + 1)
        values = {"objects": found[:_PAGE], "page": visit.page, "more": len(found) > _PAGE}
        return self.desk.show(visit, "quarantine.html", values)

    # ---- jobs ----------------------------------------------------------------------------------------------------

    def show_jobs(self, visit: Visit) -> Response:
        """Show what migrates or waits for it, and what failed."""
        return self._jobs(visit, None)

    def _jobs(self, visit: Visit, error: ArchiveError | None) -> Response:
        problem, running = error, list[Job]()
        try:
            running = list(self.jobs())[:_JOBS]
        except ArchiveError as exc:
            problem = problem or exc
        failed = self.failed.all()
        start = (visit.page - 1) * _PAGE
        shown = failed[start : start + _PAGE]
        uids = [*(job.study_instance_uid for job in running), *(each.study_instance_uid for each in shown)]
        values = {
            "jobs": running,
            "failed": shown,
            "attempts": self.attempts,
            "references": self.studies.references(uids),
            "page": visit.page,
            "more": len(failed) > start + _PAGE,
            "problem": None if problem is None else told_of(problem, visit),
        }
        return self.desk.show(visit, "jobs.html", values, status=422 if error else 200)

    def retry(self, visit: Visit) -> Response:
        """Have a study tried again that was set aside."""
        try:
            replace(self.failed, actor=visit.person.name).retry(visit.given("study"))
        except ArchiveError as exc:
            return self._jobs(visit, exc)
        return self.desk.go("/jobs", done="retried")

    # ---- the journal ---------------------------------------------------------------------------------------------

    def journal(self, visit: Visit) -> Response:
        """Show the newest entries."""
        return self._journal(visit, AuditWanted(), dict.fromkeys(_SEARCHED, ""))

    def search(self, visit: Visit) -> Response:
        """Show the entries that are searched for. What is searched for is in no address."""
        given = {name: visit.given(name) for name in _SEARCHED}
        before = given["before"]
        wanted = AuditWanted(
            event=given["event"],
            actor=given["actor"],
            text=given["text"],
            since=_day(given["since"]),
            until=_day(given["until"]),
            before=int(before) if before.isascii() and before.isdigit() and len(before) < 18 else None,
        )
        return self._journal(visit, wanted, given)

    def _journal(self, visit: Visit, wanted: AuditWanted, given: Mapping[str, str]) -> Response:
        found = self.audit.search(wanted, visit.person)
        values = {"answer": found, "entered": given, "events": EVENTS}
        return self.desk.show(visit, "audit.html", values)

    def verify(self, visit: Visit) -> Response:
        """Begin to check the chains of the whole journal and the whole ledger."""
        work = self.background.start(CHECK, "", visit.person, self.check.run)
        return self.desk.go(f"/work/{work.work_id}")

    # ---- long work -----------------------------------------------------------------------------------------------

    def work(self, visit: Visit) -> Response:
        """Show how far long work is, or what came of it."""
        work = self.background.get(visit.segment("work"), visit.person)
        return self.desk.show(visit, "work.html", _told(work, visit))


def _told(work: Work, visit: Visit) -> dict[str, Any]:
    error = None if work.error is None else told_of(work.error, visit)
    return {"work": work, "error": error, "share": work.done / work.total if work.total else None}


def _day(text: str) -> date | None:
    with suppress(ValueError):
        return date.fromisoformat(text)
    return None
