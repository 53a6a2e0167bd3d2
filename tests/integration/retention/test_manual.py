"""The operator's manual: what its chapter on facts shows is what the archive does."""

from __future__ import annotations

import re
from pathlib import Path

from archive.cli.facts import KINDS
from archive.services.fact_files import COLUMNS, Defaults, FactFile
from archive.services.fact_import import FactImport
from archive.services.facts_by_hand import FactsByHand
from archive.services.gathering import ASSUMPTIONS
from archive.services.ledger import Ledger

MANUAL = (Path(__file__).parents[3] / "docs" / "retention.md").read_text(encoding="utf-8")
CHAPTER = MANUAL.partition("## Bringing facts in\n")[2].partition("\n## ")[0]


def test_the_example_is_taken_in_as_it_stands(ledger: Ledger, tmp_path: Path) -> None:
    """The CSV of the manual has no bad line, one fact of each kind at least, and says what the text says."""
    (example,) = re.findall(r"```csv\n(.*?)```", CHAPTER, re.DOTALL)
    path = tmp_path / "example.csv"
    path.write_text(example)
    defaults = Defaults(source="file:GAM", site="CHU", sites=frozenset({"CHU"}))
    report = FactImport(ledger).run(FactFile(path, defaults), actor="anne", progress=lambda _done, _total: None)
    assert (report.bad, report.added, set(report.by_kind)) == (0, 6, set(KINDS))
    view = FactsByHand(ledger).show("CHU", "1000234")
    assert [(fact.from_on, fact.to_on) for fact in view.facts] == [("2020-12-31", "2021-01-04"), ("2022-05-17", None)]
    (_, death) = FactsByHand(ledger).show("CHU", "1000877").facts
    assert (death.from_on, death.is_trusted) == ("2023-06", False)


def test_every_column_is_in_the_manual() -> None:
    """Whatever name a column may have, the manual has it."""
    told = CHAPTER.replace("é", "e")
    assert all(f"`{name}`" in told for name in COLUMNS)


def test_every_assumption_is_explained() -> None:
    """There are as many assumptions as the manual has lines for, the three ways to date an exam in one."""
    table = CHAPTER.partition("### What the archive supposes")[2]
    rows = [row for row in table.splitlines() if row.startswith("| ")][1:]
    alone = {"no PatientID"}
    exams = {name for name in ASSUMPTIONS if name.startswith("exam_")}
    assert len(rows) - len(alone) == len(ASSUMPTIONS) - len(exams) + 1
