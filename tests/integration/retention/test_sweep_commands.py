"""``drimbox retention sweep`` and ``explain`` on a real archive, as an archivist calls them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from click.testing import Result
from PIL import Image

from archive.clock import utc_now
from archive.index.records import to_text
from archive.index.session import Database
from tests.integration.index.making import add, change, new_instance, rows
from tests.integration.retention.sweeping import study
from tests.integration.retention.test_facts_commands import Run, drimbox, home, run

__all__ = ["drimbox", "home", "run"]


@pytest.fixture(autouse=True)
def _recent(home: Path, database: Database) -> None:
    """Have the journal be of now: the accounts were made under a clock of the tests."""
    change(database, "UPDATE audit SET at = ?", (to_text(utc_now()),))


def swept(run: Run, *more: str, who: str | None = None, exit_code: int = 0) -> dict[str, Any]:
    """Sweep; return what is printed."""
    result = run("retention", "sweep", "--json", *more, who=who)
    assert result.exit_code == exit_code, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def explained(run: Run, *more: str) -> Result:
    """Ask why the study is kept."""
    return run("retention", "explain", "2.25.1", *more, who=None)


def test_dry_then_applied_then_simulated(run: Run, database: Database) -> None:
    """The dry run needs nobody and stores nothing; applied it is stored; as of 2060 all is due."""
    add(database, study(2))
    dry = swept(run)
    assert (dry["applied"], dry["all"]["studies"], dry["due"]["studies"]) == (False, 2, 1)
    assert rows(database, "SELECT * FROM assessment") == []
    wet = swept(run, "--apply", who="anne")
    assert (wet["applied"], wet["assessed"]) == (True, 2)
    assert wet["rules"]["hospital.base"]["2020"] == {"studies": 1, "size_bytes": 1700}
    since = {"eligible_on": "2020-03-03", "study_instance_uid": "2.25.2", "site": "CHU", "rule": "hospital.base"}
    assert (wet["longest_due"], wet["overtaken"]) == ([since], 0)
    assert swept(run, "--as-of", "2060-01-01")["due"]["studies"] == 2
    again = swept(run)
    assert (again["assessed"], again["changes"]["studies"]) == (0, 0)


def test_what_people_read(run: Run, database: Database) -> None:
    """Totals, rules by year, forecast, changes, and how to go on; sites can be chosen."""
    add(database, study(2), study(3, site="Clinique"))
    result = run("retention", "sweep", who=None)
    assert result.exit_code == 0, result.output
    for line in (
        "due:              2 (3.3 KiB)",
        "hospital.base   2020      2",
        "2020-03-03  2.25.2  CHU       hospital.base",
        "No sweep was stored before this one.",
        "Dry run: nothing was stored. Give --apply --as NAME to store it.",
    ):
        assert line in result.stdout
    assert run("retention", "sweep", "--apply").exit_code == 0
    later = run("retention", "sweep", "--site", "Clinique", who=None).stdout
    assert "studies:          1 (1.7 KiB)" in later
    assert ": nothing changed" in later


def test_a_study_that_is_not_due_after_all_is_told(run: Run, database: Database) -> None:
    """Stored as due, by its facts it is not: the reader learns that there was one."""
    assert run("retention", "sweep", "--apply").exit_code == 0
    change(database, "UPDATE assessment SET eligible_on = '2019-01-01'")
    told = run("retention", "sweep", who=None).stdout
    assert "1 due by what was stored, not by their facts" in told
    assert "Due for longest" not in told


def test_a_study_set_aside_is_partly_done(run: Run, database: Database) -> None:
    """Exit status 3, the study and why, and the others are assessed."""
    add(database, study(2, site="Ancien"), study(3))
    result = run("retention", "sweep", "--apply")
    assert result.exit_code == 3, result.output
    assert "2.25.2  site is not in the settings: add it under [[sites]]." in result.stdout


def test_a_cap_is_partly_done(run: Run, database: Database) -> None:
    """Exit status 3 and how to go on; the second run is complete."""
    add(database, study(2), study(3))
    result = run("retention", "sweep", "--apply", "--max", "2")
    assert (result.exit_code, "Not complete: --max was reached" in result.stdout) == (3, True)
    assert swept(run, "--apply", "--max", "2", who="anne")["assessed"] == 1


@pytest.mark.parametrize(
    ("arguments", "who", "exit_code", "told"),
    [
        (("--apply",), None, 2, "--apply and --trust-clock take --as NAME"),
        (("--trust-clock",), None, 2, "--apply and --trust-clock take --as NAME"),
        (("--apply",), "bea", 22, "may not do this"),
        (("--apply",), "carl", 2, "--apply takes an account for all of them"),
        (("--apply", "--as-of", "2060-01-01"), "anne", 27, "can only be simulated"),
        (("--as-of", "2020-01-01"), None, 27, "lies in the past"),
        (("--as-of", "tomorrow"), None, 2, "--as-of"),
        (("--site", "Nowhere"), None, 2, "is not a site here"),
        (("--picture", "forecast.pdf"), None, 2, "--picture takes a file that ends in .svg or .png"),
        (("--max", "0"), None, 2, "--max"),
    ],
)
def test_what_is_refused(run: Run, arguments: tuple[str, ...], who: str | None, exit_code: int, told: str) -> None:
    """Each has its message and exit status."""
    result = run("retention", "sweep", *arguments, who=who)
    assert (result.exit_code, told in result.stderr) == (exit_code, True), result.output


def test_a_clock_that_jumped_is_trusted_by_name(run: Run, database: Database) -> None:
    """The last entry is from another century: refused, and done once somebody says that the clock is right."""
    change(
        database,
        "UPDATE audit SET at = '2099-01-01T00:00:00.000000Z' WHERE sequence = (SELECT MAX(sequence) FROM audit)",
    )
    result = run("retention", "sweep", who=None)
    assert result.exit_code == 25
    assert "to 2099-01-01 00:00 UTC. Set it; if it is right, say so with --trust-clock" in result.stderr
    assert swept(run, "--trust-clock", who="anne")["all"]["studies"] == 1
    assert swept(run)["all"]["studies"] == 1


def test_the_picture_is_a_picture(run: Run, tmp_path: Path) -> None:
    """A file of SVG that says for which day, and holds a column for each year."""
    file = tmp_path / "forecast.svg"
    swept(run, "--picture", str(file), "--lang", "en")
    text = "".join(ET.parse(file).getroot().itertext())
    assert "Studies whose elimination may be proposed" in text
    assert str(utc_now().year + 9) in text


@pytest.mark.parametrize("name", ["forecast.png", "FORECAST.PNG"])
def test_the_picture_may_be_a_png(run: Run, tmp_path: Path, name: str) -> None:
    """The file's ending says which; what it shows is told beside the pixels."""
    file = tmp_path / name
    swept(run, "--picture", str(file), "--lang", "en")
    with Image.open(file) as image:
        image.load()
        assert (image.format, image.info["Title"]) == ("PNG", "Studies whose elimination may be proposed")


def test_explained_in_french_and_english(run: Run) -> None:
    """The rule with its citation, the facts with their sources, the holds; in the language asked for."""
    assert run("facts", "add", "visit", "P1", "--from", "2025-05-01", "--reason", "seen").exit_code == 0
    why = ("--reason", "a judge asks", "--authority", "TGI", "--reference", "12")
    assert run("hold", "place", "--study", "2.25.1", *why).exit_code == 0
    french, english = explained(run), explained(run, "--lang", "en")
    assert (french.exit_code, english.exit_code) == (0, 0), french.output
    for word in ("R.1112-7", "Gel H-", "a judge asks", "TGI", "hand"):
        assert word in french.stdout
    for word in ("R.1112-7", "Hold H-", "Facts known, with their source:", "2025-05-01"):
        assert word in english.stdout
    found = json.loads(explained(run, "--json").stdout)
    assert (found["due"], found["rule"], [hold["reason"] for hold in found["holds"]]) == (
        False,
        "hospital.minor",
        ["a judge asks"],
    )
    assert [source["source"] for source in found["sources"]] == ["hand"]


def test_explained_for_another_day(run: Run, database: Database) -> None:
    """On that day the study is due, and nothing was stored for it."""
    add(database, study(2))
    result = run("retention", "explain", "2.25.2", "--as-of", "2020-03-02", "--json", who=None)
    before = json.loads(result.stdout)
    after = json.loads(run("retention", "explain", "2.25.2", "--as-of", "2020-03-03", "--json", who=None).stdout)
    assert (before["due"], after["due"], after["eligible_on"]) == (False, True, "2020-03-03")
    assert rows(database, "SELECT * FROM assessment") == []


def test_what_was_supposed_is_told(run: Run, database: Database) -> None:
    """A study without a date: the day of reception stands for it, and the reader is told."""
    add(database, new_instance(study=7, StudyDate=None, PatientID=None))
    result = run("retention", "explain", "2.25.7", who=None)
    assert "Supposé : aucune date dans les objets" in result.stdout
    assert "Aucun fait n'a été transmis" in result.stdout


@pytest.mark.parametrize(
    ("uid", "exit_code", "told"),
    [
        ("2.25.99", 26, "There is no study 2.25.99 in the archive"),
        ("MOREAU", 12, "StudyInstanceUID is not a DICOM UID"),
    ],
)
def test_no_such_study(run: Run, uid: str, exit_code: int, told: str) -> None:
    """An unknown study, or no UID at all, has its message."""
    result = run("retention", "explain", uid, who=None)
    assert (result.exit_code, told in result.stderr) == (exit_code, True)


def test_a_study_that_cannot_be_assessed_is_explained_as_such(run: Run, database: Database) -> None:
    """A site that is not in the settings has no rules: that is said, and nothing is concluded."""
    add(database, study(2, site="Ancien"))
    result = run("retention", "explain", "2.25.2", who=None)
    assert (result.exit_code, "site is not in the settings: add it under [[sites]]" in result.stderr) == (41, True)
