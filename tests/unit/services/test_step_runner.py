"""One step: when it starts, how often it is tried, what is told of it, and that nobody waits for it for ever."""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest

from archive.errors import FixityError, IndexUnavailable, StorageFailed
from archive.services.migration_steps import (
    Interrupted,
    Suspicion,
    is_retryable,
    reason_of,
    rest_after,
)
from archive.services.step_runner import COUNT, PREPARE, SWITCH, Gate, Pace, StepRunner, Suspended, aside
from tiering.errors import StoreFull, StoreUnavailable

STUDY, OTHER = "1.1", "1.2"
CANARY = "DUPONT^MARIE"
QUICK = Pace(waits=(0.0, 0.0), pause=3600, poll=0.001)


def gate(*, is_open: Callable[[], bool] = lambda: True) -> Gate:
    """Return a gate."""
    return Gate(is_open)


def failing(*errors: Exception | None) -> Callable[[], int]:
    """Return a step that fails as told, one error after the other, then returns how often it was called."""
    left: Iterator[Exception | None] = iter(errors)
    calls: list[None] = []

    def call() -> int:
        calls.append(None)
        error = next(left, None)
        if error is not None:
            raise error
        return len(calls)

    return call


def lasting(begun: threading.Event, go: threading.Event) -> Callable[[], bool]:
    """Return a step that says that it has begun, and ends when it may."""

    def call() -> bool:
        begun.set()
        return go.wait(30)

    return call


def away() -> Exception:
    """Return what a store says that is away."""
    return StoreUnavailable(reason="no answer")


# ---- tries -------------------------------------------------------------------------------------------------------


def test_what_a_step_returns_is_told() -> None:
    """A step that works is tried once."""
    assert StepRunner(QUICK, gate()).run(PREPARE, STUDY, failing()) == {"value": 1}


def test_what_may_pass_is_tried_again() -> None:
    """There is a try more than there are waits; what works in the end has not failed."""
    assert StepRunner(QUICK, gate()).run(PREPARE, STUDY, failing(away(), away())) == {"value": 3}


@pytest.mark.parametrize("name", [PREPARE, SWITCH, "series", "trim"])
def test_what_does_not_pass_in_time_is_told_and_nothing_starts_for_a_while(name: str) -> None:
    """After the last try the reason is told, the study is not blamed, and the gate is closed for the pause."""
    runner = StepRunner(QUICK, gate())
    told = runner.run(name, STUDY, failing(away(), away(), away()))
    assert told == {"reason": str(away()), "counts": False}
    assert not runner.gate.is_ajar


def test_what_will_not_pass_is_not_tried_again() -> None:
    """An error that is the study's counts at once, and the next study may start."""
    runner = StepRunner(QUICK, gate())
    call = failing(FixityError(key="k", reason="other bytes"))
    told = runner.run(PREPARE, STUDY, call)
    assert told == {"reason": "The stored bytes of k are not the bytes received: other bytes.", "counts": True}
    assert call() == 2 and runner.gate.is_ajar


def test_an_error_that_is_not_ours_is_told_without_its_words() -> None:
    """What a library says may name a patient: type and place are told."""
    told = StepRunner(QUICK, gate()).run(PREPARE, STUDY, failing(ValueError(CANARY)))
    assert told["reason"].startswith("ValueError at services/test_step_runner.py:") and told["counts"]
    assert CANARY not in str(told)


# ---- whose fault -------------------------------------------------------------------------------------------------


def test_a_study_is_blamed_once_others_work() -> None:
    """The first failure that may pass never counts; the next does when another study's step was done meanwhile."""
    runner = StepRunner(Pace(waits=(), pause=0), gate())

    def counts() -> bool:
        return bool(runner.run(PREPARE, STUDY, failing(away()))["counts"])

    assert not counts()
    assert not counts(), "nothing else was even tried"
    runner.run("series", OTHER, failing())
    assert not counts(), "a list of series needs no store"
    runner.run(PREPARE, OTHER, failing())
    assert counts()
    assert not counts(), "the store may have gone since"


def test_a_study_that_worked_starts_with_a_clean_sheet() -> None:
    """A step of its own that was done says that the store was there, and that its last failure passed."""
    suspicion = Suspicion()
    assert not suspicion.is_to_blame(STUDY)
    suspicion.went_well(STUDY)
    assert not suspicion.is_to_blame(STUDY)
    suspicion.went_well(OTHER)
    assert suspicion.is_to_blame(STUDY)


@pytest.mark.parametrize(
    ("error", "may_pass"),
    [
        (StoreUnavailable(reason="x"), True),
        (IndexUnavailable(reason="x"), True),
        (StorageFailed(reason="x"), True),
        (StoreFull(reason="x"), StoreFull.retryable),
        (OSError(errno.ENOSPC, "No space left on device"), True),
        (MemoryError(), True),
        (FixityError(key="k", reason="x"), False),
        (ValueError(CANARY), False),
        (KeyError(CANARY), False),
    ],
    ids=lambda value: type(value).__name__,
)
def test_only_what_the_machine_lacks_may_pass(error: Exception, may_pass: bool) -> None:
    """An error of ours knows; of others, those of the system may pass, and the rest are of the data or of the code."""
    assert is_retryable(error) is may_pass


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (FixityError(key="k", reason="x"), "The stored bytes of k are not the bytes received: x."),
        (OSError(errno.ENOSPC, "No space left on device", CANARY), "No space left on device (errno 28)"),
        (TimeoutError(CANARY), "TimeoutError at nowhere"),
        (KeyError(CANARY), "KeyError at nowhere"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_reason_names_no_patient(error: Exception, reason: str) -> None:
    """A reason is our own words, the system's, or a type: never what was in the data."""
    assert reason_of(error) == reason


def test_a_rest_grows_and_ends() -> None:
    """Nothing failed: no rest. Then twice as long each time, twelve times the first at most, however many fail."""
    first = timedelta(minutes=5)
    rests = [rest_after(failures, first) / first for failures in (0, 1, 2, 3, 4, 5, 1_000_000)]
    assert rests == [0, 1, 2, 4, 8, 12, 12]


# ---- when --------------------------------------------------------------------------------------------------------


def in_thread(call: Callable[[], Any]) -> tuple[threading.Thread, list[Any]]:
    """Run something in a thread; what it raised or returned is in the list."""
    came: list[Any] = []

    def run() -> None:
        try:
            came.append(call())
        except BaseException as exc:
            came.append(exc)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, came


def test_a_step_waits_for_its_window() -> None:
    """With the window closed a step does not begin; it begins when it opens."""
    opened, begun = threading.Event(), threading.Event()
    runner = StepRunner(QUICK, gate(is_open=opened.is_set))
    thread, came = in_thread(lambda: runner.run(PREPARE, STUDY, begun.set))
    assert not begun.wait(0.1)
    opened.set()
    thread.join(30)
    assert came == [{"value": None}] and begun.is_set()


def test_a_failure_is_counted_outside_the_window_too() -> None:
    """Counting is no work: a night that ends must not forget it."""
    runner = StepRunner(QUICK, gate(is_open=lambda: False))
    assert runner.run(COUNT, STUDY, lambda: 2) == {"value": 2}


@pytest.mark.parametrize("name", [PREPARE, COUNT])
def test_after_a_stop_no_step_begins(name: str) -> None:
    """Whatever the window says; what tells the engine is no Exception, or it would be kept as a failure."""
    runner = StepRunner(QUICK, gate())
    runner.gate.shut(0)
    with pytest.raises(Suspended):
        runner.run(name, STUDY, failing())
    assert not issubclass(Suspended, Exception)


def test_a_stop_ends_the_wait_for_the_window_and_the_wait_for_the_next_try() -> None:
    """Neither a closed window nor a long wait keeps a worker from stopping."""
    for runner, call in (
        (StepRunner(Pace(poll=3600), gate(is_open=lambda: False)), failing()),
        (StepRunner(Pace(waits=(3600,)), gate()), failing(away())),
    ):
        thread, came = in_thread(lambda runner=runner, call=call: runner.run(PREPARE, STUDY, call))  # type: ignore[misc]
        threading.Event().wait(0.1)
        runner.gate.shut(0)
        thread.join(30)
        assert [type(each) for each in came] == [Suspended]


def test_a_step_that_ends_within_the_grace_is_kept() -> None:
    """A stop lets the step at hand end in time, and takes what it came to."""
    runner, begun, go = StepRunner(QUICK, gate()), threading.Event(), threading.Event()
    thread, came = in_thread(lambda: runner.run(PREPARE, STUDY, lasting(begun, go)))
    assert begun.wait(30)
    runner.gate.shut(30)
    go.set()
    thread.join(30)
    assert came == [{"value": True}]


def test_a_step_that_does_not_end_is_given_up() -> None:
    """After the grace nobody waits for the step; its thread ends with the process at the latest."""
    door, go, begun = gate(), threading.Event(), threading.Event()
    thread, came = in_thread(lambda: aside(lasting(begun, go), door))
    assert begun.wait(30)
    door.shut(0.05)
    thread.join(30)
    assert [type(each) for each in came] == [Suspended]
    left = [each for each in threading.enumerate() if each.name == "migration"]
    assert left and all(each.daemon for each in left)
    go.set()


def test_a_step_that_was_told_to_end_has_not_failed() -> None:
    """A step that looks whether the worker stops may end early: it is run again, and nothing is told of it."""
    runner = StepRunner(QUICK, gate())
    with pytest.raises(Suspended):
        runner.run(PREPARE, STUDY, failing(Interrupted()))


def test_what_a_step_raises_comes_out_as_it_is() -> None:
    """A timeout that a step raises is not mistaken for the wait for it."""
    with pytest.raises(TimeoutError, match="its own"):
        aside(failing(TimeoutError("its own")), gate())
