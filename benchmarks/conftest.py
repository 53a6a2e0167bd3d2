"""Options and fixtures of the benchmarks: size, place, results; must not hold a measurement.

``pytest benchmarks`` (smoke, seconds) · ``pytest benchmarks --full`` (the figures of the README, about half an hour)
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from archive.clock import utc_now
from benchmarks import peers
from benchmarks.machine import facts
from benchmarks.peers import Endpoint
from benchmarks.results import Figure, save

pytest_plugins: Final = ["tests.ceph"]
Record = Callable[[Figure], None]
Serve = Callable[[Path], AbstractContextManager[Endpoint]]


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured."""

    name: str
    rounds: int
    slices: int
    small_objects: int
    studies: int
    instances_per_study: int
    queries: int
    first_images: int
    frames: int
    idle_associations: int = 100

    @property
    def full(self) -> bool:
        """Tell whether every target, and not only the legal ones, is asserted."""
        return self.name == "full"


SMOKE = Size("smoke", 1, 36, 120, 200, 50, 30, 10, 512)
FULL = Size("full", 5, 600, 2000, 20_000, 50, 300, 40, 4096)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the sizes, and the server measured as ours (another one shows what the harness itself adds)."""
    group = parser.getgroup("archive benchmarks")
    group.addoption("--smoke", action="store_true", help="a few images and rounds: seconds (default)")
    group.addoption(
        "--full", action="store_true", help="the README's figures: about half an hour, alone on the machine"
    )
    group.addoption("--subject", choices=("archive", "orthanc"), default="archive", help="what is measured as ours")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Give a full-size benchmark two hours instead of a test's few minutes."""
    for item in items if config.getoption("--full") else ():
        item.add_marker(pytest.mark.timeout(7200))


@pytest.fixture(scope="session")
def size(pytestconfig: pytest.Config) -> Size:
    """Give the size asked for."""
    return FULL if pytestconfig.getoption("--full") else SMOKE


@pytest.fixture(scope="session")
def subject(pytestconfig: pytest.Config) -> Serve:
    """Give the server that is ours: the archive, unless --subject names a peer."""
    return peers.orthanc if pytestconfig.getoption("--subject") == "orthanc" else peers.archive


@pytest.fixture(scope="session")
def machine() -> dict[str, Any]:
    """Give the facts written beside every result."""
    return facts(Path(tempfile.gettempdir()))


@pytest.fixture(scope="session")
def workspaces() -> Iterator[Path]:
    """Give the folder of all workspaces, removed when everything is measured: see ``stores.fresh``."""
    folder = Path(tempfile.mkdtemp(prefix="drimbox-bench-"))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def workspace(workspaces: Path) -> Path:
    """Give a folder for the stores of one measurement."""
    return Path(tempfile.mkdtemp(dir=workspaces))


@pytest.fixture(scope="module")
def figures(
    request: pytest.FixtureRequest, size: Size, machine: dict[str, Any], pytestconfig: pytest.Config
) -> Iterator[list[Figure]]:
    """Collect the module's figures and write its results file at the end, whatever was asserted."""
    collected: list[Figure] = []
    yield collected
    if collected:
        keep = size.full and pytestconfig.getoption("--subject") == "archive"
        name = request.module.__name__.rpartition(".")[2].removeprefix("test_")
        save(name, collected, size=size.name, machine=machine, on=utc_now().date().isoformat(), keep=keep)


@pytest.fixture
def record(figures: list[Figure], size: Size, benchmark: Any) -> Record:
    """Give the function that keeps a figure, shows it and asserts the targets that hold at this size."""

    def keep(figure: Figure) -> None:
        figures.append(figure)
        benchmark.extra_info[figure.name] = figure.as_json()
        medians = ", ".join(f"{name} {figure.median(name):.4g}" for name in figure.rounds)
        print(f"\n{figure.title}: {medians} {figure.unit}; " + "; ".join(map(str, figure.verdicts())))
        missed = figure.missed(full=size.full)
        assert not missed, "; ".join(missed)

    return keep
