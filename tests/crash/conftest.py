"""What all crash tests share; must not hide a failure."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from archive import logs


@pytest.fixture(autouse=True, scope="session")
def _quiet_logs() -> None:
    """Send the logs of services run in this process nowhere: hundreds of power cuts are told as errors."""
    logs.configure("critical", "json", stream=io.StringIO())


@pytest.fixture
def memory_path() -> Iterator[Path]:
    """Lend a folder in memory where there is one, for a model that must not wait for a real disk's syncs."""
    shared = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shared if shared.is_dir() else None) as folder:
        yield Path(folder)
