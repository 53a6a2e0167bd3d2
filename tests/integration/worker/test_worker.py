"""A worker on its own: what it does when, what stops it, what it leaves behind."""

from __future__ import annotations

import resource
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from archive.worker import list_jobs
from tests.integration.worker.conftest import NewWorker
from tests.integration.worker.fake_steps import CANARY, SERIES, FakeSteps
from tests.integration.worker.process import WorkerProcess
from tests.integration.worker.sockets import peers_of

STUDY, OTHER, THIRD = "1.2.1", "1.2.2", "1.2.3"
CALLS = [f"series.{STUDY}", *(f"prepare.{STUDY}.{number}" for number in range(1, SERIES + 1)), f"switch.{STUDY}"]


def calls_for(steps: FakeSteps, study: str) -> list[str]:
    """Return the calls for a study, in their order."""
    return [name for name in steps.calls() if f".{study}." in f".{name}."]


def rows(folder: Path, query: str) -> list[tuple[object, ...]]:
    """Return what is in the database of workflows."""
    with closing(sqlite3.connect(f"file:{folder / 'workflows.db'}?mode=ro", uri=True)) as database:
        return database.execute(query).fetchall()


# ---- the way through ---------------------------------------------------------------------------------------------


def test_a_study_is_migrated_series_by_series(steps: FakeSteps, new_worker: NewWorker, tmp_path: Path) -> None:
    """Each series is prepared once and in turn, and the switch is given what each preparation returned."""
    steps.make_due(STUDY)
    worker = new_worker().start()
    worker.wait_until(lambda: steps.switched() == [STUDY] and worker.jobs() == [])
    assert calls_for(steps, STUDY) == CALLS
    prepared = ", ".join(f'{{"size": 4, "series": "{STUDY}.{number}"}}' for number in range(1, SERIES + 1))
    told = (tmp_path / "switched" / STUDY).read_text()
    assert sorted(told) == sorted(f"[{prepared}]")
    assert worker.stop() == 0


def test_no_more_studies_at_once_than_it_may(steps: FakeSteps, new_worker: NewWorker) -> None:
    """With a concurrency of two, two studies run, a few wait, and the others are not even in the queue."""
    studies = [f"1.4.{number}" for number in range(20)]
    for study in studies:
        steps.put("block", f"series.{study}")
    steps.make_due(*studies)
    worker = new_worker(concurrency=2).start()
    worker.wait_until(lambda: len(worker.jobs()) == 6)
    worker.wait_for_call(f"series.{studies[0]}")
    worker.wait_for_call(f"series.{studies[1]}")
    assert [job.state for job in list_jobs(worker.url)] == ["running"] * 2 + ["waiting"] * 4
    assert worker.jobs() == studies[:6], "the oldest come first"
    for study in studies:
        steps.take("block", f"series.{study}")
    worker.wait_until(lambda: len(steps.switched()) == len(studies))
    assert worker.stop() == 0


def test_trimming_is_done_again_and_again(steps: FakeSteps, new_worker: NewWorker) -> None:
    """Hot packs are trimmed at the start and after each interval, one trim at a time, studies or not."""
    steps.put("block", "trim")
    worker = new_worker(trim=0.3).start()
    worker.wait_for_call("trim")
    steps.make_due(STUDY)
    worker.wait_until(lambda: steps.switched() == [STUDY])
    assert steps.calls().count("trim") == 1
    steps.take("block", "trim")
    worker.wait_for_call("trim", times=3)
    assert worker.stop() == 0


def test_a_trim_that_fails_is_done_again_and_sets_nothing_aside(steps: FakeSteps, new_worker: NewWorker) -> None:
    """A trim that fails is told, and the next one comes at its time."""
    steps.put("fault", "trim", "final")
    worker = new_worker(trim=0.3).start()
    worker.wait_for_call("trim", times=2)
    steps.take("fault", "trim")
    worker.wait_for_call("trim", phase="end")
    assert worker.events("step_given_up")[0]["step"] == "trim"
    assert list((steps.folder / "failures").iterdir()) == []
    assert worker.stop() == 0


# ---- failures ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["final", "foreign"])
def test_a_poisoned_study_is_set_aside_and_the_others_go_on(steps: FakeSteps, new_worker: NewWorker, kind: str) -> None:
    """An error that will not pass is tried once an attempt, counted, and after so many attempts left alone."""
    steps.put("fault", f"prepare.{STUDY}.2", kind)
    steps.make_due(STUDY, OTHER, THIRD)
    worker = new_worker(attempts=3, concurrency=1).start()
    worker.wait_for_event("migration_set_aside")
    worker.wait_until(lambda: steps.switched() == [OTHER, THIRD] and worker.jobs() == [])
    assert steps.calls().count(f"prepare.{STUDY}.2") == 3
    reasons = {"final": "The stored bytes of ", "foreign": "ValueError at "}
    assert all(reason.startswith(reasons[kind]) for reason in steps.failures(STUDY))
    (told,) = worker.events("migration_set_aside")
    assert (told["study_instance_uid"], told["attempts"]) == (STUDY, 3)
    assert worker.stop() == 0


def test_what_passes_is_tried_again_at_once(steps: FakeSteps, new_worker: NewWorker) -> None:
    """An error that may pass is tried a few times within the step; when it works the study has never failed."""
    call = f"prepare.{STUDY}.2"
    steps.put("fault", call, "retryable")
    steps.make_due(STUDY)
    worker = new_worker(waits=[0.05] * 200).start()
    worker.wait_for_call(call, times=3)
    steps.take("fault", call)
    worker.wait_until(lambda: steps.switched() == [STUDY])
    assert steps.failures(STUDY) == [] and len(worker.events("step_failed")) >= 2
    counts = Counter(calls_for(steps, STUDY))
    assert {name for name, times in counts.items() if times > 1} == {call}
    assert worker.stop() == 0


@pytest.mark.parametrize("kind", ["retryable", "disk full", "timeout"])
def test_a_store_that_is_away_sets_nothing_aside(steps: FakeSteps, new_worker: NewWorker, kind: str) -> None:
    """While nothing works no study is blamed, however often each fails; when the store is back all are migrated."""
    studies = [STUDY, OTHER, THIRD]
    for study in studies:
        steps.put("fault", f"prepare.{study}.1", kind)
    steps.make_due(*studies)
    worker = new_worker(attempts=2, pause=0.05).start()
    for study in studies:
        worker.wait_for_call(f"prepare.{study}.1", times=9)
    assert worker.events("migration_set_aside") == []
    for study in studies:
        steps.take("fault", f"prepare.{study}.1")
    worker.wait_until(lambda: steps.switched() == studies)
    assert all(steps.failures(study) == [] for study in studies)
    assert worker.stop() == 0


def test_a_study_that_alone_fails_is_set_aside_though_it_might_pass(steps: FakeSteps, new_worker: NewWorker) -> None:
    """An error that may pass counts when others work meanwhile: the study does not come first for ever."""
    steps.put("fault", f"prepare.{STUDY}.1", "retryable")
    steps.make_due(STUDY, *(f"1.5.{number}" for number in range(60)))
    worker = new_worker(attempts=2, concurrency=1, pause=0.05, waits=[]).start()
    worker.wait_for_event("migration_set_aside")
    assert len(steps.failures(STUDY)) == 2 < steps.calls().count(f"prepare.{STUDY}.1")
    assert worker.stop() == 0


def test_a_study_that_failed_rests(steps: FakeSteps, new_worker: NewWorker) -> None:
    """After a failure a study is left alone for a while, also by the next start, and does not keep others waiting."""
    steps.put("fault", f"prepare.{STUDY}.1", "final")
    steps.make_due(STUDY)
    worker = new_worker(attempts=3, concurrency=1, rest=3600).start()
    worker.wait_until(lambda: bool(steps.failures(STUDY)) and worker.jobs() == [])
    assert worker.stop() == 0
    worker.start()
    steps.make_due(OTHER)
    worker.wait_until(lambda: steps.switched() == [OTHER])
    assert steps.calls().count(f"prepare.{STUDY}.1") == 1
    assert worker.stop() == 0


# ---- when it may work --------------------------------------------------------------------------------------------


def test_outside_its_window_nothing_starts(steps: FakeSteps, new_worker: NewWorker) -> None:
    """With the window closed not even a list of series is asked for; it opens, and the study is migrated."""
    (steps.folder / "open").unlink()
    steps.make_due(STUDY)
    worker = new_worker(trim=0.1).start()
    worker.wait_for_event("worker_started")
    assert worker.stop() == 0 and steps.calls() == [] and worker.jobs() == []
    worker.start()
    worker.wait_for_event("worker_started", times=2)
    assert steps.calls() == []
    (steps.folder / "open").touch()
    worker.wait_until(lambda: steps.switched() == [STUDY])
    assert worker.stop() == 0


def test_a_window_that_closes_lets_the_series_at_hand_finish(steps: FakeSteps, new_worker: NewWorker) -> None:
    """The series at hand is finished and kept, the next waits for the window, and nothing is done twice."""
    call = f"prepare.{STUDY}.1"
    worker = new_worker().start_into(STUDY, call)
    (steps.folder / "open").unlink()
    steps.make_due(OTHER)
    steps.take("block", call)
    worker.wait_for_call(call, phase="end")
    assert worker.stop() == 0
    worker.start()
    worker.wait_for_event("worker_started", times=2)
    assert calls_for(steps, STUDY) == CALLS[:2] and calls_for(steps, OTHER) == []
    (steps.folder / "open").touch()
    worker.wait_until(lambda: steps.switched() == [STUDY, OTHER])
    assert calls_for(steps, STUDY) == CALLS
    assert worker.stop() == 0


def test_a_stop_does_not_wait_for_a_long_series(steps: FakeSteps, new_worker: NewWorker) -> None:
    """A stop gives the series at hand up: it is run again by the next start, counts as no failure, the rest is kept."""
    call = f"prepare.{STUDY}.2"
    worker = new_worker().start_into(STUDY, call)
    assert worker.stop() == 0, "it ended while the step went on"
    assert call not in steps.calls("end")
    assert [job.state for job in list_jobs(worker.url)] == ["waiting"]
    steps.take("block", call)
    worker.start()
    worker.wait_until(lambda: steps.switched() == [STUDY])
    assert calls_for(steps, STUDY) == [*CALLS[:3], *CALLS[2:]]
    assert steps.failures(STUDY) == [] and worker.events("workflow_resumed") == []
    assert worker.stop() == 0


def test_a_stop_does_not_wait_for_the_next_try(steps: FakeSteps, new_worker: NewWorker) -> None:
    """A stop ends the wait between two tries, and the study has not failed."""
    steps.put("fault", f"prepare.{STUDY}.1", "retryable")
    steps.make_due(STUDY)
    worker = new_worker(waits=[3600.0]).start()
    worker.wait_for_event("step_failed")
    assert worker.stop() == 0
    assert steps.failures(STUDY) == [] and worker.jobs() == [STUDY]


@pytest.mark.parametrize("days", [-3650, 3650])
def test_a_clock_that_jumps_changes_nothing(steps: FakeSteps, new_worker: NewWorker, days: int) -> None:
    """Ten years back or ahead in the middle: what runs goes on, what is due is found, trims go on."""
    call = f"prepare.{STUDY}.1"
    steps.put("block", call)
    steps.put("fault", f"prepare.{OTHER}.1", "final")
    steps.make_due(STUDY, OTHER)
    worker = new_worker(trim=0.2, rest=3600, attempts=2).start()
    worker.wait_for_call(call)
    worker.wait_until(lambda: len(steps.failures(OTHER)) == 1 and worker.jobs() == [STUDY])
    (steps.folder / "days").write_text(str(days))
    worker.wait_until(lambda: len(steps.failures(OTHER)) == 2)
    steps.make_due(THIRD)
    steps.take("block", call)
    worker.wait_until(lambda: steps.switched() == [STUDY, THIRD])
    worker.wait_for_call("trim", times=steps.calls().count("trim") + 2)
    assert calls_for(steps, STUDY) == CALLS
    assert worker.stop() == 0


# ---- its database ------------------------------------------------------------------------------------------------


def test_a_second_worker_on_one_file_waits_for_the_first_to_end(steps: FakeSteps, new_worker: NewWorker) -> None:
    """SQLite is for one worker: another says so and does nothing, until the first one is gone."""
    first = new_worker("first").start()
    first.wait_for_event("worker_started")
    second = new_worker("second").start()
    second.wait_for_event("workflows_in_use", times=2)
    first.kill()
    steps.make_due(STUDY)
    second.wait_until(lambda: steps.switched() == [STUDY])
    assert second.stop() == 0


def test_a_full_disk_is_told_and_survived(steps: FakeSteps, new_worker: NewWorker) -> None:
    """A worker whose database cannot grow says so and goes on once it can; every study is migrated."""
    steps.make_due(STUDY)
    worker = new_worker().start()
    worker.wait_until(lambda: steps.switched() == [STUDY] and worker.jobs() == [])
    limits = resource.prlimit(worker.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(worker.pid, resource.RLIMIT_FSIZE, (32 * 1024, limits[1]))
    steps.make_due(OTHER, THIRD)
    worker.wait_for_event("worker_failed")
    resource.prlimit(worker.pid, resource.RLIMIT_FSIZE, limits)
    worker.wait_until(lambda: steps.switched() == [STUDY, OTHER, THIRD])
    assert steps.failures(OTHER) == steps.failures(THIRD) == []
    assert worker.stop() == 0


def test_a_locked_database_is_waited_for(steps: FakeSteps, new_worker: NewWorker, tmp_path: Path) -> None:
    """While somebody else has the file locked nothing goes wrong; afterwards the study is migrated, each step once."""
    call = f"prepare.{STUDY}.1"
    worker = new_worker().start_into(STUDY, call)
    with closing(sqlite3.connect(tmp_path / "workflows.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        steps.take("block", call)
        worker.wait_for_call(call, phase="end")
        assert f"prepare.{STUDY}.2" not in steps.calls()
        other.execute("COMMIT")
    worker.wait_until(lambda: steps.switched() == [STUDY])
    assert calls_for(steps, STUDY) == CALLS
    assert worker.stop() == 0


def test_a_locked_database_does_not_keep_the_archive_from_stopping(
    steps: FakeSteps, new_worker: NewWorker, tmp_path: Path
) -> None:
    """Stopped while the file is locked a worker ends, and says that it was given up; the next start goes on."""
    call = f"prepare.{STUDY}.1"
    worker = new_worker().start_into(STUDY, call)
    with closing(sqlite3.connect(tmp_path / "workflows.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        steps.take("block", call)
        worker.wait_for_call(call, phase="end")
        assert worker.stop() == 0
        assert len(worker.events("worker_given_up")) == 1
        other.execute("COMMIT")
    worker.start()
    worker.wait_until(lambda: steps.switched() == [STUDY])
    assert calls_for(steps, STUDY) == [*CALLS[:2], *CALLS[1:]]
    assert worker.stop() == 0


def test_what_ended_long_ago_is_forgotten(steps: FakeSteps, new_worker: NewWorker, tmp_path: Path) -> None:
    """Finished workflows go with all that belongs to them, so that the database does not grow for ever."""
    steps.make_due(STUDY, OTHER)
    worker = new_worker(keep=-5, trim=0.2).start()
    worker.wait_until(lambda: steps.switched() == [STUDY, OTHER])
    migrations = "SELECT COUNT(*) FROM workflow_status WHERE name = 'migrate_study'"
    worker.wait_until(lambda: rows(tmp_path, migrations) == [(0,)])
    assert worker.stop() == 0
    for table in ("operation_outputs", "workflow_input", "workflow_output"):
        query = f"SELECT COUNT(*) FROM {table} WHERE workflow_uuid NOT LIKE 'trim/%'"
        assert rows(tmp_path, query) == [(0,)], table


def test_workflows_of_another_version_are_not_stranded(steps: FakeSteps, new_worker: NewWorker) -> None:
    """A study that another version began is begun anew: its steps may be others, and each may be run again."""
    call = f"prepare.{STUDY}.2"
    old = new_worker("old", version="migration-0").start_into(STUDY, call)
    old.kill()
    steps.take("block", call)
    new = new_worker("new").start()
    new.wait_for_event("workflow_cancelled")
    new.wait_until(lambda: steps.switched() == [STUDY])
    assert calls_for(steps, STUDY) == [*CALLS[:3], *CALLS]
    assert steps.failures(STUDY) == []
    assert new.stop() == 0


# ---- what the outside sees ---------------------------------------------------------------------------------------


def test_it_listens_to_nobody_and_calls_nobody(steps: FakeSteps, new_worker: NewWorker) -> None:
    """No port is open, no telemetry leaves: a worker on SQLite has no connection at all."""
    call = f"prepare.{STUDY}.1"
    worker = new_worker().start_into(STUDY, call)
    assert peers_of(worker.pid) == []
    assert worker.stop() == 0


def test_logs_and_database_name_nobody(steps: FakeSteps, new_worker: NewWorker, tmp_path: Path) -> None:
    """What an error says of a patient is neither logged nor stored; what is stored is JSON, of UIDs."""
    steps.put("fault", f"prepare.{STUDY}.2", "foreign")
    steps.make_due(STUDY, OTHER)
    worker = new_worker(attempts=1).start()
    worker.wait_until(lambda: steps.switched() == [OTHER] and worker.jobs() == [])
    assert worker.stop() == 0
    written = b"".join(path.read_bytes() for path in tmp_path.iterdir() if path.is_file())
    assert STUDY.encode() in written and CANARY.encode() not in written
    assert {row[0] for row in rows(tmp_path, "SELECT DISTINCT serialization FROM workflow_status")} == {"portable_json"}
    stored = rows(tmp_path, f"SELECT inputs FROM workflow_input WHERE workflow_uuid = '{OTHER}/1'")
    assert stored == [(f'{{"namedArgs":{{}},"positionalArgs":["{OTHER}"]}}',)]
    assert all(line.startswith("{") for line in worker.log().splitlines()), "something wrote past the log"


def test_jobs_of_no_database_are_none(tmp_path: Path) -> None:
    """Asking for jobs makes no database where there is none."""
    assert list_jobs(f"sqlite:///{tmp_path / 'workflows.db'}") == []
    assert not (tmp_path / "workflows.db").exists()


def test_a_worker_may_be_started_on_a_folder_that_comes_later(
    steps: FakeSteps, new_worker: NewWorker, tmp_path: Path
) -> None:
    """A database that cannot be opened is told, and tried again until it can."""
    steps.make_due(STUDY)
    worker: WorkerProcess = new_worker(url=f"sqlite:///{tmp_path / 'share' / 'workflows.db'}").start()
    worker.wait_for_event("worker_failed")
    (tmp_path / "share").mkdir()
    worker.wait_until(lambda: steps.switched() == [STUDY])
    assert worker.stop() == 0
