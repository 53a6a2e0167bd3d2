"""A folder of fake steps, and workers on it that do not outlive their test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.worker.fake_steps import FakeSteps
from tests.integration.worker.process import WorkerProcess
from tests.postgres import postgres_server, postgres_url

__all__ = ["postgres_server", "postgres_url"]

NewWorker = Callable[..., WorkerProcess]


@pytest.fixture
def steps(tmp_path: Path) -> FakeSteps:
    """Return the steps of a folder whose window is open."""
    (tmp_path / "open").touch()
    (tmp_path / "days").write_text("0")
    return FakeSteps(tmp_path)


@pytest.fixture
def new_worker(tmp_path: Path, steps: FakeSteps) -> Iterator[NewWorker]:
    """Lend what makes workers, on SQLite unless told otherwise; those that still run at the end are killed."""
    made: list[WorkerProcess] = []

    def make(name: str = "one", *, url: str = "", **pace: object) -> WorkerProcess:
        worker = WorkerProcess(tmp_path, url or f"sqlite:///{tmp_path / 'workflows.db'}", name, pace)
        made.append(worker)
        return worker

    yield make
    for worker in made:
        if worker.process is not None and worker.process.poll() is None:
            worker.kill()
