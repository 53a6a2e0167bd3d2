"""Who gets which study when: what is due, what rests, what dead workers left, what is forgotten."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from archive.errors import WorkflowsUnavailable
from archive.services.feeder import MIGRATE, TRIM, Feeder, Flow, Here
from archive.services.migration import Migration
from archive.services.migration_steps import MigrationSteps
from archive.services.step_runner import Gate, Pace
from tests.unit.services.shelf import NOON, Clock

HERE, THERE = "here/1", "there/1"


@dataclass
class FakeEngine:
    """Workflows in a list, and what was done with them."""

    flows: list[Flow] = field(default_factory=list)
    done: list[tuple[str, str]] = field(default_factory=list)

    def active(self) -> list[Flow]:
        """Return those that have not ended."""
        return [flow for flow in self.flows if flow.state != "ended"]

    def of_studies(self, study_uids: Sequence[str]) -> list[Flow]:
        """Return those of some studies."""
        return [flow for flow in self.flows if flow.study_uid in study_uids]

    def ended_before(self, moment: datetime, limit: int) -> list[Flow]:
        """Return some that ended before a moment."""
        old = [flow for flow in self.flows if flow.state == "ended" and flow.since and flow.since < moment]
        return old[:limit]

    def enqueue(self, name: str, flow_id: str, *values: str) -> None:
        """Add one."""
        assert flow_id not in [flow.id for flow in self.flows]
        assert values == ((flow_id.rpartition("/")[0],) if name == MIGRATE else ())
        self.flows.append(Flow(flow_id, name, "waiting"))

    def resume(self, flow: Flow) -> None:
        """Let one wait again."""
        self.done.append(("resume", flow.id))
        self._replace(flow, "waiting")

    def cancel(self, flow: Flow) -> None:
        """End one."""
        self.done.append(("cancel", flow.id))
        self._replace(flow, "ended")

    def forget(self, flows: Sequence[Flow]) -> None:
        """Remove some."""
        self.flows = [flow for flow in self.flows if flow not in flows]

    def _replace(self, flow: Flow, state: str) -> None:
        self.flows[self.flows.index(flow)] = replace(flow, state=state, executor=None)

    def waiting(self) -> list[str]:
        """Return the studies that wait."""
        return [flow.study_uid for flow in self.flows if flow.state == "waiting" and flow.name == MIGRATE]


@dataclass
class FakeExecutors:
    """Says who is gone, who may hand out work, and whether this worker has its own lock."""

    gone: set[str] = field(default_factory=set)
    is_held: bool = True
    is_chief: bool = True
    asked: list[str] = field(default_factory=list)

    def hold(self) -> bool:
        """Tell whether it is held."""
        return self.is_held

    def is_gone(self, name: str) -> bool:
        """Tell whether somebody is gone."""
        self.asked.append(name)
        return name in self.gone

    @contextmanager
    def alone(self) -> Iterator[bool]:
        """Tell whether it is chief."""
        yield self.is_chief

    def close(self) -> None:
        """Do nothing."""


@dataclass
class FakeMigration:
    """Studies that are due, and how often each failed."""

    studies: list[str] = field(default_factory=list)
    failures: dict[str, int] = field(default_factory=dict)
    asked: list[int] = field(default_factory=list)

    def due(self, limit: int) -> Sequence[str]:
        """Return the first ones."""
        self.asked.append(limit)
        return self.studies[:limit]

    def series_of(self, study_uid: str) -> Sequence[str]:
        """Return none."""
        return []

    def prepare(self, study_uid: str, series_uid: str) -> Mapping[str, Any]:
        """Do nothing."""
        return {}

    def switch(self, study_uid: str, prepared: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
        """Do nothing."""
        return {}

    def trim(self) -> Mapping[str, Any]:
        """Do nothing."""
        return {}

    def failed(self, study_uid: str, reason: str) -> int:
        """Count."""
        assert reason == "the worker ended while it worked on this study"
        self.failures[study_uid] = self.failures.get(study_uid, 0) + 1
        return self.failures[study_uid]


@dataclass
class Bench:
    """A feeder and all that it touches."""

    migration: FakeMigration = field(default_factory=FakeMigration)
    engine: FakeEngine = field(default_factory=FakeEngine)
    executors: FakeExecutors = field(default_factory=FakeExecutors)
    clock: Clock = field(default_factory=Clock)
    pace: Pace = field(default_factory=Pace)
    is_open: bool = True

    def __post_init__(self) -> None:
        self.here = Here(HERE, self.executors)
        gate = Gate(lambda: self.is_open)
        self.feeder = Feeder(self.migration, self.pace, gate, self.clock, self.here, self.engine)

    def ended(self, flow_id: str, *, ago: timedelta = timedelta(), went_well: bool = False) -> None:
        """Let there be a workflow that ended."""
        self.engine.flows.append(Flow(flow_id, MIGRATE, "ended", went_well=went_well, since=self.clock() - ago))

    def running(self, flow_id: str, executor: str, *, name: str = MIGRATE, is_current: bool = True) -> None:
        """Let there be one that runs."""
        self.engine.flows.append(Flow(flow_id, name, "running", executor=executor, is_current=is_current))


def conforms(migration: Migration) -> MigrationSteps:
    """Have the type checker prove that the migration of the archive is what a worker drives."""
    return migration


# ---- what is due -------------------------------------------------------------------------------------------------


def test_a_few_studies_wait_the_oldest_first() -> None:
    """Twice as many wait as run at once; a second look adds none."""
    bench = Bench(FakeMigration([f"1.{number}" for number in range(20)]))
    bench.feeder.tick()
    bench.feeder.tick()
    assert bench.engine.waiting() == ["1.0", "1.1", "1.2", "1.3"]
    assert next(flow.id for flow in bench.engine.flows if flow.name == MIGRATE) == "1.0/1"


def test_a_study_that_runs_or_waits_is_not_taken_twice() -> None:
    """What is due and in somebody's hands already does not take a place, nor hide what comes after it."""
    bench = Bench(FakeMigration(["1.1", "1.2", "1.3"]))
    bench.running("1.1/1", THERE)
    bench.engine.flows.append(Flow("1.2/7", MIGRATE, "waiting"))
    bench.feeder.tick()
    assert bench.engine.waiting() == ["1.2", "1.3"]


def test_the_next_workflow_of_a_study_has_the_next_number() -> None:
    """A study that is due again, for what came late, gets a workflow that never was."""
    bench = Bench(FakeMigration(["1.1"]))
    for number in (9, 10, 2):
        bench.ended(f"1.1/{number}", went_well=True)
    bench.feeder.tick()
    assert bench.engine.flows[-2].id == "1.1/11"


def test_a_study_that_failed_rests_longer_each_time() -> None:
    """Five minutes after one failure, ten after two, an hour at most; a success in between counts from one again."""
    for failures, minutes in ((1, 5), (2, 10), (3, 20), (9, 60)):
        for waited, is_taken in ((minutes - 1, False), (minutes, True)):
            bench = Bench(FakeMigration(["1.1"]))
            bench.ended("1.1/1", went_well=True)
            for number in range(failures):
                bench.ended(f"1.1/{number + 2}", ago=timedelta(minutes=waited))
            bench.feeder.tick()
            assert bool(bench.engine.waiting()) is is_taken, (failures, waited)


def test_studies_that_rest_do_not_hide_the_others() -> None:
    """Where the oldest studies rest, more are asked for until others are found."""
    bench = Bench(FakeMigration([f"1.{number}" for number in range(30)]))
    for number in range(20):
        bench.ended(f"1.{number}/1")
    for _ in range(7):
        bench.feeder.tick()
    assert bench.engine.waiting() == ["1.20", "1.21", "1.22", "1.23"]


@pytest.mark.parametrize("days", [-3650, -1, 1, 3650])
def test_a_clock_that_jumped_keeps_no_study_resting(days: int) -> None:
    """A failure that lies in the future, or far in the past, does not count as one just now."""
    bench = Bench(FakeMigration(["1.1"]))
    bench.ended("1.1/1")
    bench.clock.now += timedelta(days=days)
    bench.feeder.tick()
    assert bench.engine.waiting() == ["1.1"]


def test_nothing_due_is_not_asked_for_at_every_look() -> None:
    """When all that is due is in hand, the plan is asked again after a while only."""
    bench = Bench(FakeMigration(["1.1"]))
    for _ in range(5):
        bench.feeder.tick()
    assert len(bench.migration.asked) == 2
    idle = Bench(FakeMigration([]), pace=Pace(idle=0))
    for _ in range(5):
        idle.feeder.tick()
    assert len(idle.migration.asked) == 5


def test_with_the_window_closed_nothing_is_handed_out() -> None:
    """Neither studies nor trims; what is due is not even asked for."""
    bench = Bench(FakeMigration(["1.1"]), is_open=False)
    bench.feeder.tick()
    assert bench.engine.flows == [] and bench.migration.asked == []


# ---- who hands out -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("is_held", "is_chief"), [(False, True), (True, False)])
def test_only_a_chief_that_lives_does_anything(is_held: bool, is_chief: bool) -> None:
    """Without its own lock, or while another hands out, a worker looks on."""
    bench = Bench(FakeMigration(["1.1"]), executors=FakeExecutors({THERE}, is_held, is_chief))
    bench.running("1.2/1", THERE)
    for _ in range(3):
        bench.feeder.tick()
    assert bench.engine.done == [] and bench.engine.waiting() == []


def test_what_fails_is_the_callers() -> None:
    """A database that is away is told, not swallowed: the worker counts how long."""
    bench = Bench()

    def hold() -> bool:
        raise WorkflowsUnavailable(reason="away")

    bench.executors.hold = hold  # type: ignore[method-assign]
    with pytest.raises(WorkflowsUnavailable):
        bench.feeder.tick()


# ---- what was left -----------------------------------------------------------------------------------------------


def test_what_a_dead_worker_had_is_resumed_at_the_second_look() -> None:
    """Once is not enough: a worker may have lost its lock and be about to take it again."""
    bench = Bench(executors=FakeExecutors({THERE}))
    bench.running("1.1/1", THERE)
    bench.feeder.tick()
    assert bench.engine.done == []
    bench.executors.gone.clear()
    bench.feeder.tick()
    bench.executors.gone.add(THERE)
    bench.feeder.tick()
    assert bench.engine.done == []
    bench.feeder.tick()
    assert bench.engine.done == [("resume", "1.1/1")]
    assert bench.migration.failures == {"1.1": 1}


def test_what_a_living_worker_has_stays_with_it() -> None:
    """A worker that holds its lock keeps its studies; each is asked about once a look."""
    bench = Bench()
    bench.running("1.1/1", THERE)
    bench.running("1.2/1", THERE)
    for _ in range(3):
        bench.feeder.tick()
    assert bench.engine.done == [] and bench.executors.asked == [THERE] * 3


def test_what_nobody_here_works_on_any_more_is_resumed_after_longer() -> None:
    """A workflow of this worker that does not run in it was lost with its database: resumed, and no study's fault."""
    bench = Bench()
    bench.running("1.1/1", HERE)
    bench.running("1.2/1", HERE)
    bench.here.in_hand.add("1.2/1")
    for _ in range(5):
        bench.feeder.tick()
    assert bench.engine.done == []
    bench.feeder.tick()
    assert bench.engine.done == [("resume", "1.1/1")] and bench.migration.failures == {}


def test_a_workflow_that_changed_hands_is_counted_anew() -> None:
    """Looks that saw it with another worker say nothing of the one that has it now."""
    bench = Bench(executors=FakeExecutors({THERE, "third/1"}))
    bench.running("1.1/1", THERE)
    bench.feeder.tick()
    bench.engine.flows[0] = replace(bench.engine.flows[0], executor="third/1")
    bench.feeder.tick()
    assert bench.engine.done == []


def test_a_study_that_brings_workers_down_is_cancelled() -> None:
    """With the last attempt that it has, it is not given to another worker."""
    bench = Bench(FakeMigration(failures={"1.1": 2}), executors=FakeExecutors({THERE}))
    bench.running("1.1/3", THERE)
    bench.feeder.tick()
    bench.feeder.tick()
    assert bench.engine.done == [("cancel", "1.1/3")] and bench.migration.failures == {"1.1": 3}


def test_a_trim_that_was_left_counts_against_nobody() -> None:
    """A worker that ended while it trimmed is no study's fault."""
    bench = Bench(executors=FakeExecutors({THERE}))
    bench.running("trim/ab12", THERE, name=TRIM)
    bench.feeder.tick()
    bench.feeder.tick()
    assert bench.engine.done == [("resume", "trim/ab12")] and bench.migration.failures == {}


def test_workflows_of_another_version_are_let_go_of() -> None:
    """Those that wait, and those whose worker is gone; one that still runs under its own version is left to it."""
    bench = Bench(executors=FakeExecutors({"gone/1"}))
    bench.engine.flows.append(Flow("1.1/1", MIGRATE, "waiting", is_current=False))
    bench.running("1.2/1", "gone/1", is_current=False)
    bench.running("1.3/1", THERE, is_current=False)
    bench.feeder.tick()
    bench.feeder.tick()
    assert bench.engine.done == [("cancel", "1.1/1"), ("cancel", "1.2/1")]
    assert bench.migration.failures == {}


# ---- what comes round --------------------------------------------------------------------------------------------


def trims(bench: Bench) -> int:
    """Return how many trims there are."""
    return sum(flow.name == TRIM for flow in bench.engine.flows)


def test_a_trim_comes_at_once_and_then_after_each_interval() -> None:
    """The first look enqueues one; others follow by a clock that never jumps, and never two at a time."""
    bench = Bench()
    for _ in range(3):
        bench.feeder.tick()
    assert trims(bench) == 1
    often = Bench(pace=Pace(trim=0))
    for _ in range(3):
        often.feeder.tick()
    assert trims(often) == 1
    often.engine.flows[0] = replace(often.engine.flows[0], state="ended", since=NOON)
    often.feeder.tick()
    assert trims(often) == 2


def test_old_workflows_are_forgotten_some_at_a_time() -> None:
    """Each look forgets a few hundred that ended more than a month ago; those of this month stay."""
    bench = Bench()
    for number in range(450):
        bench.ended(f"1.{number}/1", ago=timedelta(days=31), went_well=True)
    bench.ended("2.1/1", ago=timedelta(days=29), went_well=True)
    left = []
    for _ in range(4):
        bench.feeder.tick()
        left.append(sum(flow.state == "ended" for flow in bench.engine.flows))
    assert left == [251, 51, 1, 1]
