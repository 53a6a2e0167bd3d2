"""What a disposal list says of each study, read from the facts as they are; must not decide or change anything.

The same lines are read when a list is made, when somebody signs it and at the last moment before anything goes: what
has changed meanwhile shows as a difference, and the study stays.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

from archive.index.holds import blocking_holds
from archive.index.instances import iter_digests
from archive.index.session import Connection
from archive.services.assess import POISON, Assessor, Poisoned, gather_each
from archive.services.gathering import GatheredFacts
from retention_rules.assessment import Assessment

_COMPARED: Final = {
    "fingerprint": "objects came or went since it was listed",
    "instances": "objects came or went since it was listed",
    "patient_id": "it is another patient's now",
    "exam_on": "the date of the exam is another now",
    "modalities": "its modalities are others now",
    "rule": "another rule decides now",
    "eligible_on": "it is due since another day now",
    "schedule_version": "the rules are others now",
    "reading": "the rules are read otherwise now",
    "facts": "a fact about the patient changed",
}
"""What may differ, and the reason that the list gives then; the first that differs is told."""

_TOLD: Final = ("birth_on", "death_on", "deceased", "facts_trusted", "appeals")


@dataclass(frozen=True, slots=True)
class Lines:
    """Lines of the studies that are due, and for each of the others why it is not; both by Study Instance UID."""

    due: Mapping[str, Mapping[str, Any]]
    kept: Mapping[str, str]


def read_lines(connection: Connection, assessor: Assessor, uids: Collection[str], today: date) -> Lines:
    """Read what a list of today would say of these studies, from facts, holds and objects as they are."""
    holds = blocking_holds(connection, uids)
    prints = _fingerprints(connection, uids)
    due: dict[str, Mapping[str, Any]] = {}
    kept = dict.fromkeys(uids, "the archive does not have it any more")
    for gathered in gather_each(connection, list(uids)):
        uid = gathered.study_instance_uid
        found = _line_of(assessor, gathered, today)
        if uid in holds:
            kept[uid] = f"it is on hold: {', '.join(holds[uid])}"
        elif isinstance(found, str):
            kept[uid] = found
        else:
            del kept[uid]
            due[uid] = {**found, "fingerprint": prints[uid]}
    return Lines(due, kept)


def difference(listed: Mapping[str, Any], now: Mapping[str, Any]) -> str | None:
    """Return in words what differs between two lines of a study; None when both say the same."""
    for name, reason in _COMPARED.items():
        if listed[name] != now[name]:
            return reason
    return None


def _line_of(assessor: Assessor, gathered: GatheredFacts | Poisoned, today: date) -> Mapping[str, Any] | str:
    """Return the line of a study that is due; of any other, why it is kept."""
    if isinstance(gathered, Poisoned):
        return f"its facts cannot be read: {type(gathered.error).__name__}"
    try:
        assessment = assessor.judge(gathered, today).assessment
    except POISON as exc:
        return f"it cannot be assessed: {type(exc).__name__}"
    if assessment.blocked_by:
        return f"blocked by {', '.join(assessment.blocked_by)}"
    if assessment.eligible_on is None or assessment.eligible_on > today or not assessment.due:
        return f"it is kept until {assessment.eligible_on or 'facts say otherwise'}"
    return _line(gathered, assessment, assessment.eligible_on)


def _line(gathered: GatheredFacts, assessment: Assessment, eligible_on: date) -> Mapping[str, Any]:
    basis, decides = assessment.basis, assessment.basis.candidates[0]
    return {
        "patient_id": gathered.patient_id,
        "exam_on": basis.facts.exam_on.isoformat(),
        "modalities": sorted(gathered.mapping["modalities"] or ()),
        "rule": decides.rule.name,
        "citation": str(decides.rule.citation),
        "years": decides.years,
        "counted_from": decides.counted_from.isoformat(),
        "eligible_on": eligible_on.isoformat(),
        "schedule_version": assessment.schedule_version,
        "reading": basis.reading,
        "facts": _facts(gathered),
        "instances": gathered.instances,
        "size_bytes": gathered.size_bytes,
    }


def _facts(gathered: GatheredFacts) -> str:
    """Return a digest of what people told, so that a new fact shows even where it changes no date.

    Not of exams and visits: the patient's other studies are part of them, and these may go on another list.
    """
    said = json.dumps([gathered.mapping[name] for name in _TOLD], sort_keys=True)
    return hashlib.sha256(said.encode()).hexdigest()


def _fingerprints(connection: Connection, uids: Collection[str]) -> Mapping[str, str]:
    """Return for each study a digest of the UIDs and digests of its instances."""
    found: dict[str, list[tuple[str, bytes]]] = defaultdict(list)
    for study, uid, digest in iter_digests(connection, uids):
        found[study].append((uid, digest))
    return defaultdict(str, {study: _digest(sorted(each)) for study, each in found.items()})


def _digest(instances: Sequence[tuple[str, bytes]]) -> str:
    text = "".join(f"{uid} {digest.hex()}\n" for uid, digest in instances)
    return hashlib.sha256(text.encode()).hexdigest()
