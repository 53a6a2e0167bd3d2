"""Why a study is kept until when: the facts with their sources and the engine's reasoning; must not store or conclude.

It works everything out afresh; a stored assessment has no part in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from archive.index import holds, patient_facts, tombstones
from archive.index.holds import Hold
from archive.index.patient_facts import PatientFact
from archive.services.assess import Assessor
from archive.services.gathering import ASSUMPTIONS, gather
from archive.uids import parse_uid
from retention_rules.assessment import Assessment
from retention_rules.explain import Language, explain


@dataclass(frozen=True, slots=True)
class Explanation:
    """One study's assessment for a day, in words, and what it rests on; it names the patient.

    ``mapping`` is the machine contract's object, ``facts`` what people and systems told, ``supposed`` what was assumed
    while both were brought together, ``holds`` those that block.
    """

    study_instance_uid: str
    site: str
    patient_id: str
    assessment: Assessment
    sentences: Sequence[str]
    mapping: dict[str, Any]
    facts: Sequence[PatientFact]
    supposed: Sequence[str]
    holds: Sequence[Hold]


def explain_study(assessor: Assessor, study_instance_uid: str, *, as_of: date, language: Language) -> Explanation:
    """Return why a study is kept until when. Raises NoSuchStudy, InvalidUid, InvalidFacts."""
    uid = parse_uid(study_instance_uid, keyword="StudyInstanceUID")
    with assessor.database.read() as connection:
        found = gather(connection, [uid])
        if not found:
            raise tombstones.why_not_here(connection, uid)
        gathered = found[0]
        judged = assessor.judge(gathered, as_of)
        facts = patient_facts.current(connection, gathered.site, gathered.patient_id) if gathered.patient_id else []
        holding = [holds.find(connection, each["id"]) for each in gathered.mapping["holds"]]
    return Explanation(
        study_instance_uid=uid,
        site=gathered.site,
        patient_id=gathered.patient_id,
        assessment=judged.assessment,
        sentences=explain(judged.assessment, language),
        mapping=gathered.mapping,
        facts=facts,
        supposed=[ASSUMPTIONS[code][language] for code in gathered.assumptions],
        holds=[hold for hold in holding if hold is not None],
    )
