"""Tells a person why one study is kept, with the facts it rests on and who told them; must not conclude by itself."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import cast

from archive.errors import NoSuchStudy
from archive.index import patient_facts
from archive.services.assess import Assessments
from archive.services.gathering import ASSUMPTIONS, gather
from retention_rules.explain import Language, explain


@dataclass(frozen=True, slots=True)
class Told:
    """One study explained; ``facts`` are (kind, from, to, source, recorded by). It names dates of the patient."""

    site: str
    eligible_on: date | None
    rule: str | None
    blocked_by: tuple[str, ...]
    sentences: tuple[str, ...]
    facts: tuple[tuple[str, ...], ...]


def explain_study(assessments: Assessments, study_instance_uid: str, as_of: date, language: str) -> Told:
    """Return the whole reasoning about a study as of a day, from its facts as they are now.

    Raises NoSuchStudy, and RetentionError when its facts cannot be read.
    """
    with assessments.database.read() as connection:
        gathered = gather(connection, [study_instance_uid])
        if not gathered:
            raise NoSuchStudy(study_instance_uid=study_instance_uid)
        found = gathered[0]
        facts = patient_facts.current(connection, found.site, found.patient_id) if found.patient_id else []
    assessment = assessments.assessor.assess(found, as_of)
    supposed = [ASSUMPTIONS[key][language] for key in found.assumptions]
    return Told(
        site=found.site,
        eligible_on=assessment.eligible_on,
        rule=assessment.rule,
        blocked_by=assessment.blocked_by,
        sentences=(*explain(assessment, cast(Language, language)), *supposed),
        facts=tuple(
            (fact.kind, fact.from_on or "-", fact.to_on or "-", fact.source, fact.recorded_by) for fact in facts
        ),
    )
