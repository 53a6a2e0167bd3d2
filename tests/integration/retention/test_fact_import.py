"""Importing files of facts: what is told, what is only compared, and what contradicts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from archive.errors import UnreadableFacts
from archive.index import patient_facts
from archive.services import fact_import
from archive.services.fact_files import Defaults, FactFile
from archive.services.fact_import import Contradiction, FactImport, Report
from archive.services.facts import link
from archive.services.ledger import Ledger
from tests.integration.index.making import add, change, new_instance, rows
from tests.integration.retention.test_facts import LINK

DEFAULTS = Defaults(source="file:GAM", site="CHU", sites=frozenset({"CHU", "Clinique"}))
VISITS = "patient_id,kind,from_on\n" + "".join(f"P{number},visit,2020-01-01\n" for number in range(10))


def run(ledger: Ledger, folder: Path, text: str, *, actor: str | None = "anne", skip_bad: bool = False) -> Report:
    """Import a file of this text."""
    path = folder / "facts.csv"
    path.write_text(text)
    work = FactImport(ledger, skip_bad=skip_bad)
    return work.run(FactFile(path, DEFAULTS), actor=actor, progress=lambda _done, _total: None)


def counts(report: Report) -> tuple[int, int, int, int]:
    """Return what is new, replaced, unchanged and bad."""
    return report.added, report.replaced, report.unchanged, report.bad


def told(ledger: Ledger) -> int:
    """Return how many events the ledger has, its chain proven."""
    return ledger.files.verify()[0]


def reasons(ledger: Ledger, folder: Path, *lines: str) -> list[tuple[int, str]]:
    """Return what the lines of a file contradict."""
    report = run(ledger, folder, "ipp,kind,date,fin\n" + "\n".join(lines), actor=None)
    assert report.contradicting == len(report.contradictions)
    return [(each.line, each.reason) for each in report.contradictions]


def test_a_dry_run_tells_the_same_and_does_nothing(ledger: Ledger, tmp_path: Path) -> None:
    """Without an actor the report is that of the import to come, and the ledger stays empty."""
    dry = run(ledger, tmp_path, VISITS, actor=None)
    assert (counts(dry), dry.is_applied, told(ledger)) == ((10, 0, 0, 0), False, 0)
    wet = run(ledger, tmp_path, VISITS)
    assert (counts(wet), wet.is_applied, told(ledger)) == ((10, 0, 0, 0), True, 10)


def test_a_second_import_changes_nothing(ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Told again, in batches of another size, nothing is news; a corrected line is, alone."""
    run(ledger, tmp_path, VISITS)
    monkeypatch.setattr(fact_import, "AT_ONCE", 3)
    assert counts(run(ledger, tmp_path, VISITS)) == (0, 0, 10, 0)
    death = "patient_id,kind,from_on\nP1,death,{}\n"
    assert counts(run(ledger, tmp_path, death.format("2021"))) == (1, 0, 0, 0)
    assert counts(run(ledger, tmp_path, death.format("2021-05-01"))) == (0, 1, 0, 0)
    assert told(ledger) == 12
    with ledger.database.read() as connection:
        facts = patient_facts.current(connection, "CHU", "P1")
    assert [(fact.kind, fact.from_on) for fact in facts] == [("visit", "2020-01-01"), ("death", "2021-05-01")]


def test_nothing_of_a_file_with_bad_lines_is_taken(ledger: Ledger, tmp_path: Path) -> None:
    """One bad line and nothing is told, until the operator says to leave it out; the report is of all lines."""
    text = VISITS + "P1,visit,31/02/2020\nP2,holiday,2020\n"
    refused = run(ledger, tmp_path, text)
    assert (counts(refused), refused.is_applied, told(ledger)) == ((10, 0, 0, 2), False, 0)
    assert [(each.line, each.column) for each in refused.problems] == [(12, "from_on"), (13, "kind")]
    skipped = run(ledger, tmp_path, text, skip_bad=True)
    assert (counts(skipped), skipped.is_applied, told(ledger)) == ((10, 0, 0, 2), True, 10)


def test_what_has_studies_here_and_what_has_not(ledger: Ledger, tmp_path: Path) -> None:
    """Facts of patients without a study are told all the same; a merged record's studies are the patient's."""
    add(ledger.database, new_instance(PatientID="P1"), new_instance(study=2, PatientID="P3", site="Clinique"))
    ledger.act("anne", lambda connection: link(connection, LINK))
    report = run(ledger, tmp_path, "ipp,kind,date\nP1,visit,2020\nP2,visit,2020\nP3,visit,2020\n")
    assert (report.matched, report.unmatched, report.unmatched_lines) == (2, 1, [4])
    assert report.added == 3


def test_an_import_makes_the_assessments_stale(ledger: Ledger, tmp_path: Path) -> None:
    """The studies of the patients named, and no others, are to be assessed again."""
    add(ledger.database, *(new_instance(study=number, PatientID=f"P{number}") for number in (1, 2)))
    change(
        ledger.database,
        "INSERT INTO assessment (study_instance_uid, site, blocked_by, assumptions, reading, schedule_version, "
        "assessed_at, is_stale, instances, size_bytes) "
        "SELECT study_instance_uid, site, '', '{}', 'prudent', '1', '', 0, 1, 1 "
        "FROM study",
    )
    run(ledger, tmp_path, "ipp,kind,date\nP2,visit,2020\n")
    stale = rows(ledger.database, "SELECT study_instance_uid FROM assessment WHERE is_stale = 1")
    assert stale == [("2.25.2",)]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("P1,visit,2025-06-01", []),
        ("P1,visit,2026-01-02", ["the visit is after the patient's death"]),
        ("P1,visit,1949", ["the visit is before the patient's birth"]),
        ("P1,visit,2030-01-01", ["the visit lies in the future", "the visit is after the patient's death"]),
        ("P1,death,2026", []),
        ("P1,death,2026-01-01", []),
        ("P1,death,2026-02-01", ["another death date is known"]),
        ("P1,death,2024-06-01", ["another death date is known", "the death is before the last visit"]),
        (
            "P1,death,2024-01-01",
            ["another death date is known", "the death is before the last visit", "the death is before the last exam"],
        ),
        ("P1,birth,1950-07-14", []),
        ("P1,birth,1951", ["another birth date is known"]),
        ("P1,birth,2024-02-01", ["another birth date is known", "the birth is after an exam"]),
        (
            "P1,birth,2026-01-03",
            [
                "another birth date is known",
                "the birth is after the death",
                "the birth is after a visit",
                "the birth is after an exam",
            ],
        ),
        (
            "P1,death,1949",
            [
                "another death date is known",
                "the death is before the birth",
                "the death is before the last visit",
                "the death is before the last exam",
            ],
        ),
        ("P1,appeal,2027-01-01", ["the appeal lies in the future"]),
        ("P1,deceased,", []),
        ("P2,death,2024-01-01", []),
    ],
)
def test_what_contradicts_the_archive(ledger: Ledger, tmp_path: Path, line: str, told: list[str]) -> None:
    """Each kind of fact against the exams, the DICOM birth date and the facts already told of the patient."""
    add(ledger.database, new_instance(PatientID="P1", PatientBirthDate="19500714"))
    run(ledger, tmp_path, "ipp,kind,date\nP1,visit,2025-01-01\nP1,death,2026-01-01\n")
    assert [reason for _, reason in reasons(ledger, tmp_path, line + ",")] == told


def test_what_lines_of_one_file_contradict(ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two lines against each other are found, however far apart they are and whatever comes first."""
    monkeypatch.setattr(fact_import, "AT_ONCE", 1)
    lines = ("P1,visit,2021-01-01,", "P2,visit,2021-01-01,", "P1,death,2020-06-01,", "P2,birth,2022,")
    assert reasons(ledger, tmp_path, *lines) == [
        (2, "the visit is after the patient's death"),
        (3, "the visit is before the patient's birth"),
    ]


def test_two_death_dates_of_one_file(ledger: Ledger, tmp_path: Path) -> None:
    """Under references of their own both are told, and each line is said to contradict."""
    text = "ipp,kind,date,reference\nP1,death,2020-06-01,a\nP1,death,2020-07-01,b\n"
    report = run(ledger, tmp_path, text)
    assert report.contradictions == [Contradiction(line, "another death date is known") for line in (2, 3)]
    assert (report.added, report.is_applied) == (2, True)


def test_long_lists_are_cut_and_counted_to_the_end(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file of nothing but bad lines does not fill the memory with them."""
    monkeypatch.setattr(fact_import, "LISTED", 5)
    report = run(ledger, tmp_path, VISITS + "P1,visit,\n" * 30, skip_bad=True)
    assert (report.bad, len(report.problems)) == (30, 5)
    assert (report.unmatched, len(report.unmatched_lines)) == (10, 5)


def test_an_import_cut_short_is_finished_by_the_next(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped between two acts, what is told stays, and running it again tells the rest alone."""
    monkeypatch.setattr(fact_import, "AT_ONCE", 4)
    path = tmp_path / "facts.csv"
    path.write_text(VISITS)

    def stop(done: int, _total: int) -> None:
        if done == 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        FactImport(ledger).run(FactFile(path, DEFAULTS), actor="anne", progress=stop)
    assert told(ledger) == 8
    assert counts(run(ledger, tmp_path, VISITS)) == (2, 0, 8, 0)


def test_a_file_that_changes_meanwhile_is_told(ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An export still being written is found out: what was told stays told, and the import is to be run again."""
    path = tmp_path / "facts.csv"
    path.write_text(VISITS)
    read = FactImport._read

    def write_on(work: FactImport, *rest: Any) -> Any:
        found = read(work, *rest)
        with path.open("a") as file:
            file.write("P99,visit,2021\n")
        return found

    monkeypatch.setattr(FactImport, "_read", write_on)
    with pytest.raises(UnreadableFacts, match="it changed while it was read"):
        FactImport(ledger).run(FactFile(path, DEFAULTS), actor="anne", progress=lambda _done, _total: None)
    monkeypatch.undo()
    assert counts(run(ledger, tmp_path, path.read_text()))[2] == 11
