"""``drimbox retention sweep`` and ``explain`` on a real archive, as an archivist calls them."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from archive.clock import utc_now
from archive.index.records import to_text
from archive.index.session import Database
from tests.bulk import fill_index
from tests.integration.index.making import add, change, new_instance, rows
from tests.integration.retention.test_facts_commands import Run, drimbox, home, run

__all__ = ["drimbox", "home", "run"]

ROOT = Path(__file__).parents[3]
BORN = {"PatientBirthDate": "19500714"}


@pytest.fixture(autouse=True)
def just_journaled(database: Database, home: Path) -> None:
    """Have the journal's last entry be of now: the accounts of these homes were made by a clock that stands still."""
    change(database, f"UPDATE audit SET at = '{to_text(utc_now())}'")


def swept(run: Run, *arguments: str, who: str | None = None) -> dict[str, Any]:
    """Return the report of a sweep."""
    result = run("retention", "sweep", "--json", *arguments, who=who)
    assert result.exit_code == 0, result.output
    report: dict[str, Any] = json.loads(result.stdout)
    return report


def test_a_sweep_as_of_2050(run: Run, database: Database, tmp_path: Path) -> None:
    """Numbers as a table, as JSON and as a picture that a browser can read; nothing is kept."""
    add(database, new_instance(study=2, attributes={"StudyDate": "20100302", **BORN, "PatientID": "P2"}))
    picture = tmp_path / "forecast.svg"
    shown = run("retention", "sweep", "--as-of", "2030-01-01", "--picture", str(picture), who=None)
    assert shown.exit_code == 0, shown.output
    assert "hospital.base" in shown.stdout
    texts = [element.text for element in ElementTree.parse(picture).iter() if element.text and element.text.strip()]
    assert "Studies that become due, 2030 to 2039" in texts
    assert "2039" in texts
    report = swept(run, "--as-of", "2050-01-01")
    assert [report["due"]["studies"], report["due_uids"]] == [1, ["2.25.2"]]
    assert rows(database, "SELECT COUNT(*) FROM sweep") == [(0,)]


def test_a_sweep_is_kept_under_a_name(run: Run, database: Database) -> None:
    """With --apply and an account; another day, or nobody, keeps nothing."""
    assert run("retention", "sweep", "--apply", who=None).exit_code == 2
    assert run("retention", "sweep", "--apply", "--as-of", "2050-01-01").exit_code == 2
    assert rows(database, "SELECT COUNT(*) FROM sweep") == [(0,)]
    assert swept(run, "--apply", who="anne")["last_sweep_at"] is None
    assert rows(database, "SELECT by FROM sweep") == [("anne",)]
    assert swept(run)["last_sweep_at"] is not None
    assert run("retention", "sweep", "--site", "Nowhere", who=None).exit_code == 2


def test_a_clock_in_1970_stops_the_sweep(run: Run, database: Database) -> None:
    """The message says what to do; somebody who compared the clock is believed."""
    change(database, "UPDATE audit SET at = '2099-01-01T00:00:00.000000Z'")
    stopped = run("retention", "sweep", who=None)
    assert stopped.exit_code == 25
    assert "--trust-clock" in stopped.stderr
    assert run("retention", "sweep", "--trust-clock", who=None).exit_code == 2
    assert run("retention", "sweep", "--trust-clock").exit_code == 0
    assert run("retention", "sweep", who=None).exit_code == 0


def test_a_study_is_explained_to_a_person(run: Run) -> None:
    """French unless asked otherwise, with citations and the facts told; JSON for programs."""
    told = run("facts", "add", "visit", "P1", "--from", "2025-06-01", "--reason", "letter")
    assert told.exit_code == 0, told.output
    french = run("retention", "explain", "2.25.1", who=None)
    assert french.exit_code == 0, french.output
    assert "R.1112-7" in french.stdout
    assert "2025-06-01" in french.stdout
    english = json.loads(run("retention", "explain", "2.25.1", "--lang", "en", "--json", who=None).stdout)
    assert english["rule"] == "hospital.minor"
    assert any("28th birthday" in sentence for sentence in english["explanation"])
    assert run("retention", "explain", "2.25.404", who=None).exit_code == 26


def test_a_sweep_that_is_killed_goes_on_where_it_was(run: Run, home: Path, database: Database) -> None:
    """SIGKILL in the middle: what was assessed stays, the next sweep makes the rest and counts all."""
    for name in ("location", "instance", "series", "study", "patient"):
        change(database, f"DELETE FROM {name}")
    fill_index(database, 6000, 1, 1)
    command = [sys.executable, "-m", "archive", "retention", "sweep", "--home", str(home), "--json"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, cwd=ROOT)
    done = 0
    while process.poll() is None and done < 1000:
        done = int(rows(database, "SELECT COUNT(*) FROM assessment WHERE is_stale = 0")[0][0])
    process.send_signal(signal.SIGKILL)
    process.wait(30)
    report = swept(run)
    assert report["total"]["studies"] == 6000
    assert report["assessed"] < 6000
