"""The pages of migration evidence: what was made lossy, how far from the original, with pictures; must not judge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from starlette.responses import Response
from starlette.routing import Route

from archive.console.desk import Desk
from archive.console.visit import Visit
from archive.errors import MigrationRefused, NoSuchResource
from archive.services.evidence import EvidenceRoom, PackEvidence
from archive.services.people import Permission
from archive.services.study_view import StudyDesk

_PAGE: Final = 50
_PACKS: Final = 10


@dataclass(frozen=True, slots=True)
class EvidencePages:
    """What the pages stand on."""

    desk: Desk
    evidence: EvidenceRoom
    studies: StudyDesk

    def routes(self) -> Sequence[Route]:
        """Return the routes."""
        looks = Permission.VIEW_CONSOLE
        return [
            self.desk.page("/evidence", looks, self.list),
            self.desk.page("/studies/{study}/evidence", looks, self.show),
            self.desk.page("/studies/{study}/evidence/{number}.png", looks, self.picture),
        ]

    def list(self, visit: Visit) -> Response:
        """Show what was migrated last with evidence, of the person's sites."""
        found = self.evidence.newest((visit.page - 1) * _PAGE, _PAGE + 1)
        shown = found[:_PAGE]
        records = self.studies.records([each.study_instance_uid for each in shown], visit.person)
        own = [each for each in shown if each.study_instance_uid in records]
        values = {"packs": own, "records": records, "page": visit.page, "more": len(found) > _PAGE}
        return self.desk.show(visit, "evidence.html", values)

    def show(self, visit: Visit) -> Response:
        """Show the evidence of a study, pack by pack, and journal who looked."""
        study = self.studies.show(visit.segment("study"), visit.access)
        packs = self._packs(study.record.study_instance_uid)
        start = (visit.page - 1) * _PACKS
        values = {
            "study": study,
            "packs": list(enumerate(packs))[start : start + _PACKS],
            "page": visit.page,
            "more": len(packs) > start + _PACKS,
        }
        return self.desk.show(visit, "study_evidence.html", values)

    def picture(self, visit: Visit) -> Response:
        """Give the picture of a pack: original, cold copy and difference side by side."""
        record, number = self.studies.resolve(visit.segment("study"), visit.person), visit.number("number")
        packs = self._packs(record.study_instance_uid)
        data = self.evidence.picture(packs[number].pack_key) if number < len(packs) else None
        if data is None:
            raise NoSuchResource(reason="there is no picture of this pack, or the cold store is not set up")
        return Response(data, media_type="image/png")

    def _packs(self, study_instance_uid: str) -> Sequence[PackEvidence]:
        try:
            return self.evidence.of_study(study_instance_uid)
        except MigrationRefused:
            return ()
