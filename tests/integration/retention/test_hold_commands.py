"""``drimbox hold`` on a real archive, as an archivist calls it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from archive.index.session import Database
from tests.integration.index.making import add, new_instance
from tests.integration.retention.test_facts_commands import Run, drimbox, home, run

__all__ = ["drimbox", "home", "run"]

WHY = ("--reason", "a judge asks", "--authority", "TGI de Paris", "--reference", "n° 12")


def place(run: Run, *what: str, who: str = "anne") -> Result:
    """Place a hold."""
    return run("hold", "place", *what, *WHY, who=who)


def listed(run: Run, *more: str) -> list[dict[str, Any]]:
    """Return what ``hold list`` prints."""
    result = run("hold", "list", "--json", *more, who=None)
    assert result.exit_code == 0, result.output
    found: list[dict[str, Any]] = json.loads(result.stdout)
    return found


def test_placed_reviewed_lifted(run: Run) -> None:
    """A hold's life: each step prints it, the list says what holds, and the operator may not lift it."""
    result = place(run, "--study", "2.25.1", "--review-on", "2099-01-01")
    assert result.exit_code == 0, result.output
    assert "2099-01-01" in result.stdout
    (hold,) = listed(run)
    hold_id = hold["hold_id"]
    assert (hold["state"], hold["placed_by"], hold["study_instance_uids"]) == ("holds", "anne", ["2.25.1"])
    assert run("hold", "review", hold_id, "--review-on", "2100-01-01", "--note", "goes on").exit_code == 0
    refused = run("hold", "lift", hold_id, "--reason", "over")
    assert (refused.exit_code, "may not do this" in refused.stderr) == (22, True)
    lifted = run("hold", "lift", hold_id, "--reason", "over", "--json", who="bea")
    assert json.loads(lifted.stdout)["state"] == "lifted"
    assert listed(run) == []
    assert [each["review_on"] for each in listed(run, "--all")] == ["2100-01-01"]
    shown = run("hold", "show", hold_id, who=None)
    assert "study 2.25.1" in shown.stdout
    assert "by bea" in shown.stdout
    *_, placed, reviewed, ended = (line.split() for line in shown.stdout.splitlines())
    assert (placed[2:], reviewed[2:]) == (
        ["anne", "placed", "2099-01-01", "a", "judge", "asks"],
        ["anne", "reviewed", "2100-01-01", "goes", "on"],
    )
    assert ended[2:] == ["bea", "lifted", "-", "over"]
    history = json.loads(run("hold", "show", hold_id, "--json", who=None).stdout)["history"]
    assert [(each["what"], each["by"], each["said"]) for each in history][1:] == [
        ("reviewed", "anne", "goes on"),
        ("lifted", "bea", "over"),
    ]


def test_a_query_that_finds_several_is_shown_first(run: Run, database: Database) -> None:
    """One study is put on hold at once; of several the number is shown, and nothing is held without --apply."""
    assert place(run, "--where", "PatientName=moreau*").exit_code == 0
    add(database, new_instance(study=2))
    dry = place(run, "--where", "PatientName=moreau*", "--where", "Modality=CT")
    assert "2 studies answer the query" in dry.stdout
    assert "Nothing was put on hold. Give --apply to do it." in dry.stdout
    assert len(listed(run)) == 1
    asked = place(run, "--where", "PatientName=moreau*", "--json")
    assert json.loads(asked.stdout) == {"applied": False, "study_instance_uids": ["2.25.1", "2.25.2"]}
    wet = place(run, "--where", "PatientName=moreau*", "--apply")
    assert wet.exit_code == 0, wet.output
    assert listed(run)[1]["study_instance_uids"] == ["2.25.1", "2.25.2"]


@pytest.mark.parametrize(
    ("what", "exit_code", "told"),
    [
        ((), 24, "name a study, a patient, or a query"),
        (("--study", "2.25.99"), 24, "the archive has no study 2.25.99"),
        (("--patient", "P77"), 24, "neither a study nor a fact"),
        (("--where", "PatientName=NOBODY"), 24, "no study answers the query"),
        (("--where", "PatientName"), 2, "--where takes KEY=VALUE"),
        (("--where", "PatientName=A", "--where", "PatientName=B"), 2, "PatientName is given twice"),
        (("--where", "Patient=A"), 15, "Patient is not a key"),
        (("--where", "PatientName=MOREAU\\*"), 15, "PatientName would match every study"),
        (("--where", "PatientName=\udcff"), 15, "PatientName has characters that do not print"),
        (("--patient", "\udcff", "--ahead"), 24, "a PatientID takes 1 to 512"),
        (("--study", "2.25.1", "--review-on", "1970-01-01"), 24, "the review date is not in the future"),
        (("--study", "2.25.1", "--site", "Nowhere"), 2, "is not a site here"),
    ],
)
def test_what_cannot_be_held_is_told(run: Run, what: tuple[str, ...], exit_code: int, told: str) -> None:
    """Each mistake has its message and exit status, and places nothing."""
    result = place(run, *what)
    assert (result.exit_code, told in result.stderr) == (exit_code, True), result.output
    assert listed(run, "--all") == []


def test_an_account_of_another_site_cannot_hold_this_one(run: Run, home: Path) -> None:
    """The study is not there for somebody of another site, by its UID or by a query."""
    for what in (("--study", "2.25.1"), ("--where", "PatientName=MOREAU*")):
        assert place(run, *what, "--site", "Clinique", who="carl").exit_code == 24
    assert listed(run) == []


def test_an_overdue_review_is_told(run: Run, database: Database) -> None:
    """The list says which holds wait for their review, and that they hold."""
    place(run, "--patient", "P1", "--review-on", "2099-01-01")
    with database.write(synced=False) as connection:
        connection.exec_driver_sql("UPDATE hold SET review_on = '2020-01-01'")
    result = run("hold", "list", who=None)
    assert "holds, review overdue" in result.stdout
    assert "1 past the review date: they hold until they are lifted." in result.stdout
