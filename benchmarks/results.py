"""What a benchmark found: rounds, medians, targets and whether they were reached; must not run anything.

A figure is a number per contender (``archive``, ``orthanc``, ...) and round. A target compares the archive's median
with another contender's (``against``) or with a fixed number.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

FOLDER = Path(__file__).resolve().parent / "results"
OURS = "archive"
Reached = Literal["goal", "floor", "no"]


def percentile(values: Sequence[float], rank: float) -> float:
    """Return the value below which ``rank`` percent of ``values`` lie (nearest rank: one of the values)."""
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * int(rank * 100) // 10000) - 1)]


def grouped(number: int) -> str:
    """Return ``number`` with its thousands apart by a narrow space."""
    return f"{number:,}".replace(",", "\u202f")


@dataclass(frozen=True, slots=True)
class Target:
    """A figure to reach: ``floor`` must be, ``goal`` would be better; a legal one is asserted at every size."""

    floor: float
    goal: float | None = None
    against: str | None = None
    legal: bool = False
    source: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """A target with what was measured for it: the archive's median, or how many times the other's it is."""

    target: Target
    value: float
    reached: Reached

    def __str__(self) -> str:
        times = f" times {self.target.against}" if self.target.against else ""
        return f"{self.value:.4g}{times}, floor {self.target.floor:g}, goal {self.target.goal}: {self.reached}"


@dataclass(slots=True)
class Figure:
    """One row of the table: rounds of every contender in ``unit``, and the targets set for it."""

    name: str
    title: str
    unit: str
    rounds: Mapping[str, Sequence[float]]
    targets: Sequence[Target] = ()
    higher_is_better: bool = True
    details: dict[str, Any] = field(default_factory=dict)

    def median(self, contender: str) -> float:
        """Return the median of a contender's rounds."""
        return statistics.median(self.rounds[contender])

    def ratio(self, against: str) -> float:
        """Return how many times better than ``against`` the archive's median is (above 1 is better)."""
        ours, other = self.median(OURS), self.median(against)
        return ours / other if self.higher_is_better else other / ours

    def _comparable(self) -> list[str]:
        """Return whom the archive can be divided by: a growth of nothing has no ratio."""
        positive = [name for name in self.rounds if self.median(name) > 0]
        return [name for name in positive if name != OURS and OURS in positive]

    def verdicts(self) -> list[Verdict]:
        """Return each target with the value measured for it."""
        return [self._judge(target) for target in self.targets]

    def _judge(self, target: Target) -> Verdict:
        value = self.ratio(target.against) if target.against else self.median(OURS)
        rising = self.higher_is_better or target.against is not None
        if target.goal is not None and _meets(value, target.goal, rising=rising):
            return Verdict(target, value, "goal")
        return Verdict(target, value, "floor" if _meets(value, target.floor, rising=rising) else "no")

    def missed(self, *, full: bool) -> list[str]:
        """Return the targets that had to be reached and were not: legal ones always, the others at full size."""
        return [
            f"{self.title}: {verdict}"
            for verdict in self.verdicts()
            if verdict.reached == "no" and (full or verdict.target.legal)
        ]

    def as_json(self) -> dict[str, Any]:
        """Return what is kept of this figure."""
        return {
            "name": self.name,
            "title": self.title,
            "unit": self.unit,
            "higher_is_better": self.higher_is_better,
            "medians": {contender: _rounded(self.median(contender)) for contender in self.rounds},
            "rounds": {contender: [_rounded(value) for value in values] for contender, values in self.rounds.items()},
            "ratios": {other: _rounded(self.ratio(other)) for other in self._comparable()},
            "targets": [
                {**asdict(verdict.target), "value": _rounded(verdict.value), "reached": verdict.reached}
                for verdict in self.verdicts()
            ],
            "details": self.details,
        }


def _meets(value: float, bound: float, *, rising: bool) -> bool:
    return value >= bound if rising else value <= bound


def _rounded(value: float) -> float:
    return float(f"{value:.5g}")


def save(name: str, figures: Sequence[Figure], *, size: str, machine: Mapping[str, Any], on: str, keep: bool) -> Path:
    """Write the figures to ``results/<name>.json`` (kept: committed) or ``<name>.tmp.json`` and return its path.

    Figures of an earlier run stay when they come from the same machine and size and were not measured again.
    """
    FOLDER.mkdir(exist_ok=True)
    path = FOLDER / (f"{name}.json" if keep else f"{name}.tmp.json")
    fresh = {figure.name: {**figure.as_json(), "measured_on": on} for figure in figures}
    content = {"name": name, "size": size, "machine": dict(machine)}
    earlier = load(path) if path.exists() else {}
    if {key: earlier.get(key) for key in content} == content:
        fresh = {row["name"]: row for row in earlier["figures"]} | fresh
    text = json.dumps({**content, "figures": list(fresh.values())}, indent=1, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")
    return path


def load(path: Path) -> dict[str, Any]:
    """Return a results file's content."""
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content
