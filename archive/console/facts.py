"""The pages of facts that wait for a person: candidates of deaths, and contradictions; must not decide for anybody."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from starlette.responses import Response
from starlette.routing import Route

from archive.console.desk import Desk
from archive.console.visit import Visit
from archive.errors import BadRequest
from archive.index.death_candidates import DeathCandidate
from archive.services.contradictions import Contradictions
from archive.services.death_search import DeathSearch
from archive.services.people import Permission
from archive.services.study_view import StudyDesk
from archive.uids import parse_uid

_PAGE: Final = 50
_STUDIES: Final = 10


@dataclass(frozen=True, slots=True)
class FactPages:
    """What the pages stand on."""

    desk: Desk
    deaths: DeathSearch
    contradictions: Contradictions
    studies: StudyDesk

    def routes(self) -> Sequence[Route]:
        """Return the routes."""
        looks, validates = Permission.VIEW_CONSOLE, Permission.VALIDATE_FACTS
        return [
            self.desk.page("/facts", looks, self.candidates),
            self.desk.act("/facts/candidates/{number}", validates, self.decide, of="/facts"),
            self.desk.page("/facts/contradictions", looks, self.contradicted),
        ]

    def candidates(self, visit: Visit) -> Response:
        """Show the deaths that may be a patient's, with what both sides say."""
        after = visit.asked("after")
        number = int(after) if after.isascii() and after.isdigit() and len(after) < 18 else 0
        found = self.deaths.waiting(self.desk.sites_of(visit), number, _PAGE + 1)
        shown = found[:_PAGE]
        patients = {(each.site, each.patient_id) for each in shown}
        values = {
            "studies": self.studies.of_patients(patients, visit.person),
            "most": _STUDIES,
            "candidates": [_compared(each) for each in shown],
            "next_after": shown[-1].number if len(found) > _PAGE else None,
            "is_first": not number,
        }
        return self.desk.show(visit, "candidates.html", values)

    def decide(self, visit: Visit) -> Response:
        """Confirm a candidate, or reject it."""
        number, sites = visit.number("number"), self.desk.sites_of(visit)
        decision = visit.given("decision")
        if decision not in ("confirm", "reject"):
            raise BadRequest(reason="a candidate is confirmed or rejected")
        act = self.deaths.confirm if decision == "confirm" else self.deaths.reject
        act(number, actor=visit.person.name, sites=sites)
        return self.desk.go("/facts", done=f"candidate_{decision}ed")

    def contradicted(self, visit: Visit) -> Response:
        """Show the studies whose facts contradict each other."""
        after = visit.asked("after")
        place = parse_uid(after, keyword="StudyInstanceUID") if after else ""
        found, following = self.contradictions.page(self.desk.sites_of(visit), place, _PAGE, visit.language)
        values = {"studies": found, "next_after": following, "is_first": not place}
        return self.desk.show(visit, "contradictions.html", values)


def _compared(candidate: DeathCandidate) -> dict[str, Any]:
    """Return a candidate with each trait as both sides have it."""
    traits = json.loads(candidate.traits)
    told, ours = traits["insee"], traits["archive"]
    return {
        "candidate": candidate,
        "name": (f"{told['name']} {told['first_names']}", ours["name"].replace("^", " ")),
        "sex": (told["sex"], ours["sex"]),
        "born_on": (told["born_on"], ours["born_on"]),
        "birth_place": " ".join(filter(None, (told["birth_place"], told["birth_town"]))),
        "doubts": traits["doubts"],
    }
