"""What modules of several packages share; one that needs another shelf, or more threads, has its own of the name."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.unit.services.shelf import Shelf, series_shelf


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Shelf]:
    """A shelf with a series of five images."""
    with series_shelf(tmp_path) as shelf:
        yield shelf


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    """Two threads."""
    with ThreadPoolExecutor(2) as pool:
        yield pool
