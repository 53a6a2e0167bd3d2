"""``drimbox tier jobs`` and ``tier retry``, as operators call them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import Result

from archive.audit import Entry
from archive.index import journal, set_aside
from archive.services.accounts import Accounts, NewAccount
from tests.integration.disposal.conftest import Office
from tests.integration.tiering.conftest import (
    clock,
    database,
    empty_url,
    kind,
    migrated_file,
    migrated_name,
    office,
    url,
)
from tests.integration.worker.conftest import NewWorker
from tests.integration.worker.fake_steps import FakeSteps
from tests.unit.cli.conftest import Drimbox, drimbox
from tests.unit.services.shelf import NOON

__all__ = ["clock", "database", "drimbox", "empty_url", "kind", "migrated_file", "migrated_name", "office", "url"]

PASSWORD = "correct horse battery"
Run = Callable[..., Result]


@pytest.fixture
def home(office: Office, url: str) -> Iterator[Path]:
    """Lend the home of an archive with an operator."""
    root = office.rig.root
    (root / "drimbox.toml").write_text(f'[index]\nurl = "{url}"\n[migration]\nattempts = 2\n')
    Accounts(office.ledger).set(NewAccount("olga", "Olga Ruiz", frozenset({"operator"})), PASSWORD, by=None)
    yield root


@pytest.fixture
def run(drimbox: Drimbox, home: Path) -> Run:
    """Give a function that runs ``drimbox`` on that home."""

    def call(*arguments: str) -> Result:
        return drimbox(*arguments, env={"DRIMBOX_HOME": str(home), "DRIMBOX_PASSWORD": PASSWORD})

    return call


def fail(office: Office, study_uid: str, *reasons: str) -> None:
    """Let a study have failed."""
    with office.rig.database.write(synced=False) as connection:
        for reason in reasons:
            set_aside.record_failure(connection, study_uid, reason, NOON)


def events(office: Office) -> list[Entry]:
    """Return the journal's entries about another try."""
    with office.rig.database.read() as connection:
        return [row for row in journal.iter_entries(connection) if row.event == "migration_retried"]  # type: ignore[misc]


def test_nothing_to_tell_is_told(run: Run, home: Path) -> None:
    """Before the first migration there is no table, and none is made; where it says what studies wait for is told."""
    told = run("tier", "jobs").stdout
    assert told.startswith("Nothing is being migrated, nothing failed.")
    assert "drimbox tier plan" in told
    assert json.loads(run("tier", "jobs", "--json").stdout) == {"running": [], "waiting": [], "failed": []}
    assert not (home / "workflows.db").exists()


def test_failed_studies_are_told_with_their_reason(run: Run, office: Office) -> None:
    """A study that failed too often is set aside; one that failed less often is tried again by itself."""
    fail(office, "1.2.1", "first", "no such codec")
    fail(office, "1.2.2", "the store was away")
    lines = [line.split() for line in run("tier", "jobs").stdout.splitlines()]
    assert lines[0] == ["study", "state", "since", "attempts", "what"]
    assert lines[1] == "1.2.1 set aside 2026-11-23 12:00:00Z 2 no such codec".split()
    assert lines[2] == "1.2.2 failed 2026-11-23 12:00:00Z 1 the store was away".split()
    told = json.loads(run("tier", "jobs", "--json").stdout)["failed"]
    assert [(each["study_instance_uid"], each["attempts"], each["is_set_aside"]) for each in told] == [
        ("1.2.1", 2, True),
        ("1.2.2", 1, False),
    ]


def test_a_study_that_was_rolled_back_has_no_number_of_attempts(run: Run, office: Office) -> None:
    """A study that somebody took back is set aside for good, which is no count."""
    with office.rig.database.write(synced=False) as connection:
        set_aside.leave_alone(connection, "1.2.1", "rolled back by olga", NOON)
    line = run("tier", "jobs").stdout.splitlines()[1]
    assert line.split() == "1.2.1 set aside 2026-11-23 12:00:00Z rolled back by olga".split()


def test_another_try_is_somebodys_and_in_the_journal(run: Run, office: Office) -> None:
    """A study that was set aside is due again, and who said so is journaled; one that was not is refused."""
    fail(office, "1.2.1", "first", "second")
    done = run("tier", "retry", "1.2.1", "--as", "olga")
    assert done.exit_code == 0 and done.stdout == "It goes cold again once it is due: drimbox tier jobs\n"
    assert json.loads(run("tier", "jobs", "--json").stdout)["failed"] == []
    refused = run("tier", "retry", "1.2.1", "--as", "olga")
    assert refused.exit_code == 35
    assert (
        refused.stderr
        == "drimbox: Study 1.2.1 stays where it is: it is not set aside; drimbox tier jobs prints what is.\n"
    )
    assert [(entry.actor, json.loads(str(entry.body))) for entry in events(office)] == [
        ("olga", {"study_instance_uid": "1.2.1"})
    ]


def test_nobody_may_ask_for_another_try_without_a_name(run: Run, office: Office) -> None:
    """Without an account nothing is cleared."""
    fail(office, "1.2.1", "first", "second")
    assert run("tier", "retry", "1.2.1").exit_code == 2
    assert len(json.loads(run("tier", "jobs", "--json").stdout)["failed"]) == 1


@pytest.mark.parametrize("kind", ["sqlite"])
def test_what_runs_and_waits_is_told_beside_a_worker(
    run: Run, home: Path, steps: FakeSteps, new_worker: NewWorker
) -> None:
    """The study of a worker is running under its name, the next ones wait, and the worker is not disturbed."""
    studies = ["1.2.1", "1.2.2", "1.2.3"]
    steps.put("block", "series.1.2.1")
    steps.make_due(*studies)
    worker = new_worker(url=f"sqlite:///{home / 'workflows.db'}", concurrency=1).start()
    worker.wait_until(lambda: sorted(worker.jobs()) == studies)
    worker.wait_for_call("series.1.2.1")
    told = json.loads(run("tier", "jobs", "--json").stdout)
    assert [each["study_instance_uid"] for each in told["running"]] == ["1.2.1"]
    assert told["running"][0]["executor"].startswith("one/")
    assert [each["study_instance_uid"] for each in told["waiting"]] == ["1.2.2", "1.2.3"]
    rows = [line.split() for line in run("tier", "jobs").stdout.splitlines()[1:]]
    assert [(row[0], row[1]) for row in rows] == [("1.2.1", "running"), ("1.2.2", "waiting"), ("1.2.3", "waiting")]
    steps.take("block", "series.1.2.1")
    worker.wait_until(lambda: steps.switched() == studies)
    assert worker.stop() == 0


@pytest.mark.parametrize("kind", ["sqlite"])
def test_a_database_of_workflows_that_is_none_is_told(run: Run, home: Path) -> None:
    """A file that is no database is an error with a code, not an empty list."""
    (home / "workflows.db").write_bytes(b"x" * 4096)
    told = run("tier", "jobs")
    assert told.exit_code == 14 and "The database of workflows does not answer" in told.stderr
