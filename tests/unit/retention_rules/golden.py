"""The golden cases of ``retention_rules/schedules/cases``, read for the tests; a key that means nothing is a fault."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import retention_rules
from retention_rules.assessment import Assessment, Reading
from retention_rules.engine import assess
from retention_rules.facts import parse_facts
from retention_rules.loader import load_schedule

FOLDER = Path(retention_rules.__file__).parent / "schedules" / "cases"
KEYS = {"name", "why", "facts", "expect", "as_of", "reading"}
FACTS = {
    *("regime", "exam_on", "last_visit_on", "first_seen_on", "birth_on", "death_on", "deceased", "appeals", "holds"),
    *("modalities", "years", "facts_trusted"),
}
EXPECTED = {"eligible_on", "rule", "lossless_until", "due", "blocked_by", "assumptions"}


@dataclass(frozen=True, slots=True)
class Case:
    """One case: facts, the day and reading they are assessed with, and what must come out."""

    name: str
    why: str
    facts: dict[str, Any]
    expect: dict[str, Any]
    as_of: date = date(2030, 1, 1)
    reading: Reading = "prudent"

    def assess(self) -> Assessment:
        """Return what the engine concludes."""
        study = parse_facts(self.facts)
        return assess(study, load_schedule(study.regime), self.as_of, reading=self.reading)

    def found(self) -> dict[str, Any]:
        """Return what the engine concludes, in the form of ``expect``, with everything that is expected by default."""
        assessment = self.assess()
        values: dict[str, Any] = {
            "eligible_on": str(assessment.eligible_on or "never"),
            "rule": assessment.rule or "none",
            "lossless_until": str(assessment.lossless_until),
            "due": assessment.due,
            "blocked_by": list(assessment.blocked_by),
            "assumptions": len(assessment.assumptions),
        }
        return {key: values[key] for key in {"blocked_by": [], **self.expect}}


def read_cases(folder: Path = FOLDER) -> Iterator[Case]:
    """Yield the cases of every file, in the order of the files."""
    for file in sorted(folder.glob("*.toml")):
        content = tomllib.loads(file.read_text(encoding="utf-8"))
        assert content.keys() == {"case"}, f"{file.name}: only [[case]] is known"
        for table in content["case"]:
            unknown = (table.keys() - KEYS) | (table["facts"].keys() - FACTS) | (table["expect"].keys() - EXPECTED)
            assert not unknown, f"{file.name}, {table['name']}: unknown {sorted(unknown)}"
            assert {"eligible_on", "rule"} <= table["expect"].keys(), f"{table['name']}: expects a date and a rule"
            yield Case(**table)


CASES = tuple(read_cases())
