"""Does small things again and again in a thread; must not know what they are, nor let one end the others."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from archive import logs
from archive.clock import monotonic
from archive.errors import ArchiveError
from tiering.errors import TieringError

_log = logs.get(__name__)
_TICK_SECONDS: Final = 1.0
_REST: Final = 20
"""So many times as long as it worked a task rests at least: what is slow comes seldom."""


@dataclass(frozen=True, slots=True)
class Task:
    """Something to do every so many seconds, the first time ``after_seconds`` from the start."""

    name: str
    every_seconds: float
    run: Callable[[], object]
    after_seconds: float = 0.0


class Monitor:
    """One thread for some tasks. ``start`` it, ``stop`` it."""

    def __init__(self, name: str, tasks: Sequence[Task]) -> None:
        self._name = name
        self._tasks = tasks
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread, unless there is nothing to do."""
        if self._tasks:
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()

    def stop(self, *, grace_seconds: float) -> None:
        """Ask it to end; what it is at may take longer than the grace, and is left then."""
        self._over.set()
        if self._thread is not None:
            self._thread.join(grace_seconds)

    def _run(self) -> None:
        started = monotonic()
        due = {task.name: started + task.after_seconds for task in self._tasks}
        while True:
            for task in self._tasks:
                if self._over.is_set():
                    return
                if monotonic() >= due[task.name]:
                    due[task.name] = monotonic() + max(task.every_seconds, _REST * self._do(task))
            if self._over.wait(min(_TICK_SECONDS, max(0.0, min(due.values()) - monotonic()))):
                return

    def _do(self, task: Task) -> float:
        """Run a task once; return how many seconds it took."""
        before = monotonic()
        try:
            task.run()
        except (ArchiveError, TieringError, OSError) as exc:
            _log.warning("watching_failed", task=task.name, exc_info=exc)
        return monotonic() - before
