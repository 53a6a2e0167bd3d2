"""A worker is killed at any moment: every study is migrated, and no finished step is run again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.integration.worker.conftest import NewWorker, new_worker, postgres_server, postgres_url, steps
from tests.integration.worker.fake_steps import SERIES, FakeSteps

__all__ = ["new_worker", "postgres_server", "postgres_url", "steps"]

STUDY, OTHER = "1.2.1", "1.2.2"
KILLS, CONCURRENCY = 4, 2


def calls_of(study: str) -> Mapping[str, int]:
    """Return how often each call for a study begins when nothing goes wrong."""
    series = (f"prepare.{study}.{number}" for number in range(1, SERIES + 1))
    return dict.fromkeys([f"series.{study}", *series, f"switch.{study}"], 1)


def counted(steps: FakeSteps, study: str) -> Mapping[str, int]:
    """Return how often each call for a study began."""
    return Counter(name for name in steps.calls() if f".{study}." in f".{name}.")


@pytest.mark.parametrize(
    ("kind", "call"),
    [
        ("block", f"series.{STUDY}"),
        ("block", f"prepare.{STUDY}.1"),
        ("late", f"prepare.{STUDY}.2"),
        ("block", f"switch.{STUDY}"),
        ("late", f"switch.{STUDY}"),
    ],
    ids=["in the list", "in a series", "after a series was put", "before the switch", "after the switch"],
)
@pytest.mark.parametrize("backend", ["sqlite", "postgresql"])
def test_a_killed_worker_goes_on_where_it_was(
    steps: FakeSteps,
    new_worker: NewWorker,
    request: pytest.FixtureRequest,
    backend: str,
    kind: str,
    call: str,
) -> None:
    """Killed inside a step, before or after it did its work, the next start runs that step again and no other."""
    url = request.getfixturevalue("postgres_url") if backend == "postgresql" else ""
    steps.put(kind, call)
    steps.make_due(STUDY, OTHER)
    worker = new_worker(url=url).start()
    worker.wait_for_call(call)
    worker.wait_until(lambda: OTHER in steps.switched() and worker.jobs() == [STUDY])
    worker.kill()
    steps.take(kind, call)
    worker.start()
    worker.wait_for_call(f"switch.{STUDY}", phase="end")
    assert steps.switched() == [STUDY, OTHER]
    expected = {name: 1 + (name == call) for name in calls_of(STUDY)}
    assert counted(steps, STUDY) == expected
    assert counted(steps, OTHER) == calls_of(OTHER)
    assert steps.failures(STUDY) == ["the worker ended while it worked on this study"]
    assert worker.stop() == 0


def test_a_worker_killed_again_and_again_does_every_study(steps: FakeSteps, new_worker: NewWorker) -> None:
    """Killed every few calls, it migrates all studies in the end; only steps it had not recorded are run again."""
    studies = [f"1.3.{number}" for number in range(12)]
    steps.make_due(*studies)
    worker = new_worker(attempts=100, concurrency=CONCURRENCY)
    for killed in range(KILLS):
        worker.start()
        worker.wait_for_calls(12 * (killed + 1))
        worker.kill()
    worker.start()
    worker.wait_until(lambda: steps.switched() == sorted(studies))
    assert worker.stop() == 0
    ended = Counter(name for name in steps.calls("end") if name != "trim")
    assert ended.keys() == {name for study in studies for name in calls_of(study)}
    again = sum(times - 1 for times in ended.values())
    assert again <= KILLS * CONCURRENCY, "more was done again than was being recorded when it was killed"


def test_a_study_that_kills_its_worker_is_set_aside(steps: FakeSteps, new_worker: NewWorker) -> None:
    """A study that ends the process each time is left alone after so many times, and the others are migrated."""
    steps.put("fault", f"prepare.{STUDY}.1", "kill")
    steps.make_due(STUDY, OTHER)
    worker = new_worker(attempts=3, concurrency=1)
    for _ in range(3):
        assert worker.start().process is not None
        assert worker.process is not None and worker.process.wait(60) == -9
    worker.start()
    worker.wait_for_event("migration_set_aside")
    worker.wait_until(lambda: steps.switched() == [OTHER] and worker.jobs() == [])
    assert steps.calls().count(f"prepare.{STUDY}.1") == 3
    assert steps.failures(STUDY) == ["the worker ended while it worked on this study"] * 3
    assert worker.stop() == 0


def test_a_deleted_database_costs_nothing_but_time(tmp_path: Path, steps: FakeSteps, new_worker: NewWorker) -> None:
    """Without its database of workflows a worker finds what is due again, and runs every step of it again."""
    call = f"prepare.{STUDY}.2"
    worker = new_worker().start_into(STUDY, call)
    worker.kill()
    steps.take("block", call)
    for path in tmp_path.glob("workflows.db*"):
        path.unlink()
    worker.start()
    worker.wait_until(lambda: steps.switched() == [STUDY])
    assert counted(steps, STUDY)[f"prepare.{STUDY}.1"] == 2
    assert steps.failures(STUDY) == []
    assert worker.stop() == 0


def test_another_worker_finishes_what_a_killed_one_began(
    steps: FakeSteps, new_worker: NewWorker, postgres_url: str
) -> None:
    """Of two workers on PostgreSQL one is killed inside a step: the other runs that step again, and no other."""
    call = f"prepare.{STUDY}.2"
    first = new_worker("first", url=postgres_url).start_into(STUDY, call)
    second = new_worker("second", url=postgres_url).start()
    second.wait_for_event("worker_started")
    steps.make_due(OTHER)
    second.wait_until(lambda: OTHER in steps.switched() and second.jobs() == [STUDY])
    assert counted(steps, STUDY)[call] == 1, "a study that somebody works on was taken from him"
    first.kill()
    second.wait_for_call(call, times=2)
    steps.take("block", call)
    second.wait_until(lambda: steps.switched() == [STUDY, OTHER])
    assert counted(steps, STUDY) == {name: 1 + (name == call) for name in calls_of(STUDY)}
    assert [line["executor"].partition("/")[0] for line in second.events("workflow_resumed")] == ["first"]
    assert second.stop() == 0
