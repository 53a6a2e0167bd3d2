"""The pages of the machinery: quarantine, migration's jobs, the journal, long work; must not mend anything itself."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import date
from typing import Any, Final

from starlette.responses import Response
from starlette.routing import Route

from archive import errors
from archive.console.desk import Desk, told_of
from archive.console.visit import Visit
from archive.errors import ArchiveError, NoSuchStudy
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
REFUSALS: Final = (
    *(errors.ConflictingInstance, errors.UnreadableDataset, errors.MissingIdentifier, errors.SopClassMismatch),
    *(errors.SopInstanceMismatch, errors.DestroyedInstance, errors.StudyMismatch, errors.SopClassNotStored),
    errors.InvalidUid,
)
"""Why an object is not taken in: quarantine keeps the error's message."""
_MESSAGES: Final = [
    (kind.__name__, re.compile(re.sub(r"\\\{\w+\\\}", "(.*)", re.escape(kind.__doc__ or "")))) for kind in REFUSALS
]


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
            desk.act("/jobs/retry", Permission.RUN_MIGRATION, self.retry, of="/jobs"),
            desk.page("/audit", reads, self.journal),
            desk.act("/audit", reads, self.search),
            desk.act("/audit/check", reads, self.verify, of="/audit"),
            desk.page("/work/{work}", looks, self.work),
        ]

    def quarantine(self, visit: Visit) -> Response:
        """Show what was not taken in, and why."""
        found = quarantine_page(self.audit.database, (visit.page - 1) * _PAGE, _PAGE + 1)
        shown = [(each, *refusal_of(each.reason)) for each in found[:_PAGE]]
        values = {"objects": shown, "page": visit.page, "more": len(found) > _PAGE}
        return self.desk.show(visit, "quarantine.html", values)

    # ---- jobs ----------------------------------------------------------------------------------------------------

    def show_jobs(self, visit: Visit) -> Response:
        """Show what migrates or waits for it, and what failed."""
        return self._jobs(visit, None)

    def _jobs(self, visit: Visit, error: ArchiveError | None) -> Response:
        problem, running = error, list[Job]()
        try:
            found = list(self.jobs())
            own = self._own(visit, [job.study_instance_uid for job in found])
            running = [job for job in found if job.study_instance_uid in own][:_JOBS]
        except ArchiveError as exc:
            problem = problem or exc
        failed = self.failed.all()
        own = self._own(visit, [each.study_instance_uid for each in failed])
        failed = [each for each in failed if each.study_instance_uid in own]
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

    def _own(self, visit: Visit, uids: Collection[str]) -> Collection[str]:
        """Return those of these studies that the person may know of."""
        return self.studies.records(uids, visit.person) if visit.person.sites else set(uids)

    def retry(self, visit: Visit) -> Response:
        """Have a study of the person's sites tried again that was set aside."""
        study = visit.given("study")
        try:
            if study not in self._own(visit, [study]):
                raise NoSuchStudy(study_instance_uid=study)
            replace(self.failed, actor=visit.person.name).retry(study)
        except ArchiveError as exc:
            return self._jobs(visit, exc)
        return self.desk.go("/jobs", done="retried")

    # ---- the journal ---------------------------------------------------------------------------------------------

    def journal(self, visit: Visit) -> Response:
        """Show the newest entries, or those of a search. What is searched for is in no address."""
        given = self.desk.searched(visit) or dict.fromkeys(_SEARCHED, "")
        before = given["before"]
        wanted = AuditWanted(
            event=given["event"],
            actor=given["actor"],
            text=given["text"],
            since=_day(given["since"]),
            until=_day(given["until"]),
            before=int(before) if before.isascii() and before.isdigit() and len(before) < 18 else None,
        )
        values = {"answer": self.audit.search(wanted, visit.person), "entered": given, "events": EVENTS}
        return self.desk.show(visit, "audit.html", values)

    def search(self, visit: Visit) -> Response:
        """Go to the entries that are searched for."""
        return self.desk.go_to_search(visit, "/audit", {name: visit.given(name) for name in _SEARCHED})

    def verify(self, visit: Visit) -> Response:
        """Begin to check the chains of the whole journal and the whole ledger."""
        work = self.background.start(CHECK, "", visit.person, self.check.run)
        return self.desk.go(f"/work/{work.work_id}")

    # ---- long work -----------------------------------------------------------------------------------------------

    def work(self, visit: Visit) -> Response:
        """Show how far long work is, or what came of it."""
        work = self.background.get(visit.segment("work"), visit.person)
        return self.desk.show(visit, "work.html", _told(work, visit))


def refusal_of(reason: str) -> tuple[str, str]:
    """Return the kind of error that a reason in quarantine tells of and what is particular to it, or "" and all."""
    for name, message in _MESSAGES:
        if (found := message.fullmatch(reason)) is not None:
            return name, ", ".join(found.groups())
    return "", reason


def _told(work: Work, visit: Visit) -> dict[str, Any]:
    error = None if work.error is None else told_of(work.error, visit)
    return {"work": work, "error": error, "share": work.done / work.total if work.total else None}


def _day(text: str) -> date | None:
    with suppress(ValueError):
        return date.fromisoformat(text)
    return None
