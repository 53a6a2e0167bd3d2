"""Whether the rules of today would decide otherwise about a migrated series: pure; must not change anything.

A lossy copy stays what it is once its original is gone; a lossless one could still be made lossy. Either is for a
person to decide: this says where to look.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from tiering.lossy_evidence import facts_of, metrics_of
from tiering.lossy_rules import LossyRules, SeriesFacts, find_cap, may_be_lossy
from tiering.quality import GateTable

_ROUNDED: Final = 1 + 1e-5
"""Evidence has six significant digits."""


class Change(enum.Enum):
    """What the rules of today would make of a migrated series."""

    NONE = "none"
    COULD_BE_LOSSY = "could_be_lossy"
    FORBIDDEN = "forbidden"


@dataclass(frozen=True, slots=True)
class Finding:
    """What would be decided otherwise, and why; without reasons where nothing would."""

    change: Change
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Today:
    """The rules and gates of today; ``rules`` None: nothing is made lossy."""

    rules: LossyRules | None
    gates: GateTable


def judge(evidence: Mapping[str, Any] | None, indexed: SeriesFacts, today: Today) -> Finding:
    """Return what today's rules make of a cold pack.

    ``evidence`` is what was kept of the decision, None of one that nobody thought of making lossy. ``indexed`` is what
    the index knows: it counts where the evidence does not say what was known of the pixels.
    """
    body = evidence or {}
    facts = facts_of(body) or indexed
    if body.get("lossy"):
        reasons = tuple(_forbidden(body, replace(facts, is_already_lossy=False), today))
        return Finding(Change.FORBIDDEN, reasons) if reasons else Finding(Change.NONE)
    reason = _could(body, facts, today)
    return Finding(Change.COULD_BE_LOSSY, (reason,)) if reason else Finding(Change.NONE)


def _forbidden(body: Mapping[str, Any], facts: SeriesFacts, today: Today) -> Iterator[str]:
    if today.rules is None:
        yield "lossy copies are off, by the settings"
        return
    verdict = may_be_lossy(facts, today.rules)
    if not verdict.allowed:
        yield from verdict.reasons
        return
    region = verdict.region or ("" if "facts" in body else str(body.get("region") or ""))
    cap = _cap(facts, today.rules, region)
    ratio = _highest_ratio(body)
    if cap is not None and ratio is not None and ratio > cap * _ROUNDED:
        yield f"it was compressed to {ratio:g}:1, above the {cap:g}:1 of {today.rules.table.name} for it"
    yield from _outside_gate(body, facts.modality, region, today.gates)


def _cap(facts: SeriesFacts, rules: LossyRules, region: str) -> float | None:
    cap = find_cap(facts, rules, region)
    return None if cap is None else min(cap.ratio, rules.site.caps.get(facts.modality, cap.ratio))


def _highest_ratio(body: Mapping[str, Any]) -> float | None:
    worst = body.get("worst")
    found = (worst.get("ratio") if isinstance(worst, Mapping) else None) or body.get("ratio")
    return float(found) if isinstance(found, int | float) else None


def _outside_gate(body: Mapping[str, Any], modality: str, region: str, gates: GateTable) -> Iterator[str]:
    gate = gates.find(modality, region)
    if gate is None:
        yield f"there is no gate for modality {modality or 'unknown'}"
        return
    try:
        faults = [next(gate.faults(each), "") for each in metrics_of(body)]
    except (KeyError, TypeError):
        yield "its evidence does not say how far its frames are from their originals"
        return
    found = [fault for fault in faults if fault]
    if found:
        yield f"{len(found)} of {len(faults)} frames do not pass {gates.version}: {found[0]}"


def _could(body: Mapping[str, Any], facts: SeriesFacts, today: Today) -> str:
    """Say why a lossless series could be made lossy today, "" when it could not, or was tried as it would be."""
    if today.rules is None or not may_be_lossy(facts, today.rules).allowed:
        return ""
    if not body:
        return "nobody tried: lossy copies were off when it went cold"
    if not body.get("allowed"):
        return "the rules of then forbade it, those of today do not"
    if body.get("gates") != today.gates.version:
        return f"it was tried by {body.get('gates')}, and the gates of today are {today.gates.version}"
    return ""
