"""Studies whose facts contradict each other, with what contradicts what, for a person to settle; must not settle it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from archive.clock import Clock
from archive.index import assessments, study_details
from archive.services.assess import POISON, Assessor
from archive.services.gathering import GatheredFacts, gather
from archive.services.study_view import reference_of
from retention_rules.explain import Language, explain_contradictions


@dataclass(frozen=True, slots=True)
class Contradicted:
    """A study that waits for a person; ``sentences`` say what cannot be true together."""

    study_instance_uid: str
    reference: str
    site: str
    patient_id: str
    sentences: Sequence[str]


@dataclass(frozen=True, slots=True)
class Contradictions:
    """Finds them among the stored assessments, and reads their facts again."""

    assessor: Assessor
    clock: Clock

    def page(
        self, sites: Collection[str], after_uid: str, limit: int, language: Language
    ) -> tuple[Sequence[Contradicted], str | None]:
        """Return the next ones, and the UID to go on after, None at the end."""
        with self.assessor.database.read() as connection:
            uids = assessments.contradicted(connection, sites, after_uid, limit + 1)
            shown = uids[:limit]
            records = study_details.by_uid(connection, shown)
            gathered = {each.study_instance_uid: each for each in gather(connection, shown)}
        found = [
            Contradicted(
                uid,
                reference_of(records[uid]),
                records[uid].site,
                records[uid].patient_id,
                self._sentences(gathered[uid], language),
            )
            for uid in shown
            if uid in records and uid in gathered
        ]
        return found, shown[-1] if len(uids) > limit else None

    def _sentences(self, gathered: GatheredFacts, language: Language) -> Sequence[str]:
        try:
            return explain_contradictions(self.assessor.judge(gathered, self.clock().date()).assessment, language)
        except POISON:
            return ()
