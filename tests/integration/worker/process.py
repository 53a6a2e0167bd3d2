"""A worker as a process of its own, for tests that end it in every way; started as a module it is that process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import archive.worker
from archive import logs
from archive.clock import utc_now
from archive.worker import Pace, Worker, list_jobs
from tests.integration.worker.fake_steps import FakeSteps

PACE = {
    "waits": [0.02, 0.02],
    "tick": 0.1,
    "idle": 0.2,
    "pause": 0.3,
    "poll": 0.1,
    "trim": 3600.0,
    "rest": 0,
    "keep": 86400,
}
SECONDS = 60.0
ROOT = Path(__file__).resolve().parents[3]


@dataclass
class WorkerProcess:
    """One worker on a folder of fake steps; its window is open for as long as the file ``open`` is there."""

    folder: Path
    url: str
    name: str = "one"
    pace: dict[str, Any] | None = None
    process: subprocess.Popen[str] | None = None

    def start(self) -> WorkerProcess:
        """Start it."""
        command = [sys.executable, "-m", __name__, str(self.folder), self.url, self.name]
        with self._log.open("a") as log:
            environment = {**os.environ, "PACE": json.dumps(PACE | (self.pace or {}))}
            self.process = subprocess.Popen(command, stdout=log, stderr=log, text=True, env=environment, cwd=ROOT)
        return self

    def start_into(self, study: str, call: str) -> WorkerProcess:
        """Start it with a study to migrate; it has begun a step that does not end before it is let."""
        self.steps.put("block", call)
        self.steps.make_due(study)
        self.start().wait_for_call(call)
        return self

    @property
    def steps(self) -> FakeSteps:
        """Return its steps, to look at and to disturb."""
        return FakeSteps(self.folder)

    @property
    def pid(self) -> int:
        """Return its process id."""
        assert self.process is not None
        return self.process.pid

    def kill(self) -> None:
        """End it at once."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(SECONDS)

    def stop(self) -> int:
        """Ask it to end; return its exit status."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(SECONDS)

    def wait_until(self, is_so: Callable[[], bool], *, what: str = "") -> None:
        """Return when something is so; fail with the log when it is not in time."""
        deadline = time.monotonic() + SECONDS
        while not is_so():
            assert time.monotonic() < deadline, f"{what} never came\n{self.steps.calls()}\n{self.log()[-4000:]}"
            time.sleep(0.02)

    def wait_for_call(self, call: str, *, times: int = 1, phase: str = "begin") -> None:
        """Return when a call has begun, or ended, so many times."""
        self.wait_until(lambda: self.steps.calls(phase).count(call) >= times, what=f"{phase} {call}")

    def wait_for_calls(self, count: int) -> None:
        """Return when more than so many calls have come to their end."""
        self.wait_until(lambda: len(self.steps.calls("end")) > count)

    def wait_for_event(self, event: str, *, times: int = 1) -> None:
        """Return when it has logged an event so many times."""
        self.wait_until(lambda: len(self.events(event)) >= times, what=event)

    def jobs(self) -> list[str]:
        """Return the studies that run or wait, those that run first."""
        return [job.study_instance_uid for job in list_jobs(self.url)]

    def log(self) -> str:
        """Return all that it wrote."""
        return self._log.read_text()

    def events(self, event: str) -> list[dict[str, Any]]:
        """Return what it logged of one kind; each line is JSON, or this fails."""
        return [line for line in map(json.loads, self.log().splitlines()) if line["event"] == event]

    @property
    def _log(self) -> Path:
        return self.folder / f"{self.name}.log"


def main(folder: Path, url: str, name: str) -> None:
    """Run a worker until SIGTERM."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    logs.configure("info", "json")
    given = json.loads(os.environ["PACE"])
    if version := given.pop("version", None):
        archive.worker.VERSION = version  # type: ignore[misc]
    keep, rest = (timedelta(seconds=given.pop(what)) for what in ("keep", "rest"))
    pace = Pace(**given | {"waits": tuple(given["waits"]), "keep": keep, "rest": rest})

    def clock() -> datetime:
        return utc_now() + timedelta(days=int((folder / "days").read_text()))

    steps, is_open = FakeSteps(folder, attempts=pace.attempts), (folder / "open").exists
    worker = Worker(steps, pace, system_database_url=url, executor_id=name, is_open=is_open, clock=clock)
    worker.start()
    signal.sigwait({signal.SIGTERM})
    worker.stop(grace_seconds=0.5)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3])
