"""Small things done again and again, none in the way of another."""

from __future__ import annotations

import threading

from archive.errors import IndexUnavailable
from archive.services.monitor import Monitor, Task


def test_tasks_are_done_again_and_again() -> None:
    """Each at its own pace, the first time at once."""
    seen: list[str] = []
    enough = threading.Event()

    def note(name: str) -> None:
        seen.append(name)
        if seen.count("often") == 3:
            enough.set()

    monitor = Monitor("test", [Task("often", 0.01, lambda: note("often")), Task("seldom", 60, lambda: note("seldom"))])
    monitor.start()
    assert enough.wait(10)
    monitor.stop(grace_seconds=5)
    assert seen.count("seldom") == 1


def test_one_that_fails_does_not_end_the_others() -> None:
    """It is tried again as well."""
    tries: list[int] = []
    enough = threading.Event()

    def fail() -> None:
        tries.append(1)
        if len(tries) == 2:
            enough.set()
        raise IndexUnavailable(reason="away")

    monitor = Monitor("test", [Task("fails", 0.01, fail)])
    monitor.start()
    assert enough.wait(10)
    monitor.stop(grace_seconds=5)


def test_what_is_slow_comes_seldom() -> None:
    """It rests twenty times as long as it works."""
    done = threading.Event()
    runs: list[int] = []

    def work() -> None:
        runs.append(1)
        done.wait(0.2)

    monitor = Monitor("test", [Task("slow", 0.0, work)])
    monitor.start()
    done.wait(1.0)
    monitor.stop(grace_seconds=5)
    assert len(runs) == 1


def test_it_ends_at_once_while_it_rests() -> None:
    """Nobody waits for the next turn; without a task there is no thread."""
    monitor = Monitor("resting", [Task("later", 3600, lambda: None, after_seconds=3600)])
    monitor.start()
    monitor.stop(grace_seconds=5)
    assert "resting" not in [thread.name for thread in threading.enumerate()]
    nothing = Monitor("nothing", [])
    nothing.start()
    nothing.stop(grace_seconds=0)
