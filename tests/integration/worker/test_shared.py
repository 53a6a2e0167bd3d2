"""Several workers on one PostgreSQL database: they share the work, and one that is lost is not missed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import psycopg
import pytest

from archive.errors import WorkflowsUnavailable
from archive.index.executors import executors
from archive.worker import list_jobs
from tests.integration.worker.conftest import NewWorker
from tests.integration.worker.fake_steps import SERIES, FakeSteps
from tests.integration.worker.sockets import peers_of
from tests.postgres import Server, new_server

STUDY, OTHER = "1.2.1", "1.2.2"
CALLS = [f"series.{STUDY}", *(f"prepare.{STUDY}.{number}" for number in range(1, SERIES + 1)), f"switch.{STUDY}"]


@pytest.fixture
def own_server() -> Iterator[Server]:
    """Lend a server that a test may stop."""
    with new_server() as server:
        try:
            yield server
        finally:
            server.stop()


def test_two_workers_share_the_work_and_do_nothing_twice(
    steps: FakeSteps, new_worker: NewWorker, postgres_url: str
) -> None:
    """Each of two workers migrates some of the studies; no step of any study is run by both."""
    studies = [f"1.6.{number:02}" for number in range(24)]
    first = new_worker("first", url=postgres_url, concurrency=1).start()
    second = new_worker("second", url=postgres_url, concurrency=1).start()
    for worker in (first, second):
        worker.wait_for_event("worker_started")
    for study in studies[:2]:
        steps.put("block", f"series.{study}")
    steps.make_due(*studies)
    first.wait_until(lambda: sum(job.state == "running" for job in list_jobs(postgres_url)) == 2)
    executors = {job.executor for job in list_jobs(postgres_url) if job.state == "running"}
    assert {str(executor).partition("/")[0] for executor in executors} == {"first", "second"}
    for study in studies[:2]:
        steps.take("block", f"series.{study}")
    first.wait_until(lambda: steps.switched() == studies)
    calls = Counter(name for name in steps.calls() if name != "trim")
    assert len(calls) == len(studies) * len(CALLS) and set(calls.values()) == {1}
    assert [worker.stop() for worker in (first, second)] == [0, 0]
    assert first.events("workflow_resumed") == second.events("workflow_resumed") == []


def test_a_worker_that_stops_leaves_its_study_to_the_other(
    steps: FakeSteps, new_worker: NewWorker, postgres_url: str
) -> None:
    """One that is stopped in order hands its study back at once: the other goes on, and nothing counts as a failure."""
    call = f"prepare.{STUDY}.2"
    first = new_worker("first", url=postgres_url).start_into(STUDY, call)
    second = new_worker("second", url=postgres_url).start()
    second.wait_for_event("worker_started")
    assert first.stop() == 0
    second.wait_for_call(call, times=2)
    steps.take("block", call)
    second.wait_until(lambda: steps.switched() == [STUDY])
    assert Counter(steps.calls()) - Counter({"trim": 9}) == Counter(CALLS) + Counter([call])
    assert steps.failures(STUDY) == []
    assert second.stop() == 0


def test_who_lost_a_study_lets_go_of_it(steps: FakeSteps, new_worker: NewWorker, postgres_url: str) -> None:
    """A worker whose study was given to another while it worked on it records nothing, waits for nothing, goes on."""
    call = f"prepare.{STUDY}.1"
    steps.put("late", call)
    steps.make_due(STUDY)
    first = new_worker("first", url=postgres_url, concurrency=1).start()
    first.wait_for_call(call)
    other = executors(postgres_url, "other")
    assert other.hold()
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("UPDATE dbos.workflow_status SET owner_xid = 'other', executor_id = 'other'")
    steps.make_due(OTHER)
    steps.take("late", call)
    first.wait_until(lambda: steps.switched() == [OTHER])
    assert Counter(steps.calls())[call] == 1 and first.jobs() == [STUDY]
    other.close()
    first.wait_for_event("workflow_resumed")
    first.wait_until(lambda: steps.switched() == [STUDY, OTHER])
    assert Counter(steps.calls())[call] == 2
    assert first.stop() == 0


def test_a_database_that_restarts_in_the_middle_costs_no_step(
    steps: FakeSteps, new_worker: NewWorker, own_server: Server
) -> None:
    """PostgreSQL goes and comes back while a series is prepared: its result is kept, and no other step is run again."""
    call = f"prepare.{STUDY}.1"
    worker = new_worker(url=own_server.create_database()).start_into(STUDY, call)
    own_server.stop()
    steps.take("block", call)
    worker.wait_for_event("worker_failed")
    own_server.start()
    steps.make_due(OTHER)
    worker.wait_until(lambda: steps.switched() == [STUDY, OTHER])
    assert [name for name in steps.calls() if STUDY in name] == CALLS
    assert steps.failures(STUDY) == []
    assert worker.stop() == 0


def test_a_database_that_is_away_does_not_keep_the_archive_from_stopping(
    steps: FakeSteps, new_worker: NewWorker, own_server: Server
) -> None:
    """Stopped while its database is away, with a step just done, a worker ends; the next start runs that step again."""
    call = f"prepare.{STUDY}.1"
    url = own_server.create_database()
    worker = new_worker(url=url).start_into(STUDY, call)
    own_server.stop()
    steps.take("block", call)
    worker.wait_for_call(call, phase="end")
    assert worker.stop() == 0
    own_server.start()
    worker.start()
    worker.wait_until(lambda: steps.switched() == [STUDY])
    assert [name for name in steps.calls() if STUDY in name] == [*CALLS[:2], *CALLS[1:]]
    assert worker.stop() == 0


def test_jobs_are_told_apart_from_a_database_that_is_away(own_server: Server) -> None:
    """Before any worker ran there are no jobs; when the database is away that is an error, not an empty list."""
    url = own_server.create_database()
    assert list_jobs(url) == []
    own_server.stop()
    try:
        with pytest.raises(WorkflowsUnavailable):
            list_jobs(url)
    finally:
        own_server.start()


def test_it_talks_to_its_database_alone(steps: FakeSteps, new_worker: NewWorker, postgres_server: Server) -> None:
    """A worker on PostgreSQL has connections to it, and no other socket."""
    call = f"prepare.{STUDY}.1"
    worker = new_worker(url=postgres_server.create_database()).start_into(STUDY, call)
    there = f"0100007F:{postgres_server.port:04X}"
    assert {peer.split()[1] for peer in peers_of(worker.pid)} == {there}
    assert worker.stop() == 0
