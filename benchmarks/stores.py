"""Stores to measure on: fresh ones, and ones with something in them already; must not time anything."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from benchmarks import clients, probe
from benchmarks.peers import ROOT, Endpoint
from benchmarks.rounds import settle

Serve = Callable[[Path], AbstractContextManager[Endpoint]]


@contextmanager
def fresh(serve: Serve, workspace: Path) -> Iterator[Endpoint]:
    """Serve an empty store in a folder of its own, which stays until the workspace is cleared.

    Not deleted at once: for minutes ext4 passes over every inode that was just freed, one by one, whenever a file is
    made, and the next contender would be charged for it.
    """
    with serve(Path(tempfile.mkdtemp(dir=workspace)) / "store") as endpoint:
        yield endpoint


@contextmanager
def warmed(serve: Serve, store: Path) -> Iterator[Endpoint]:
    """Serve a store that holds something, its files in the page cache as they are after a study has come in."""
    clients.warm(store)
    with serve(store) as endpoint:
        yield endpoint


def stock(serve: Serve, store: Path, *sources: Path) -> None:
    """Put the files of ``sources`` into ``store``; the server is ended again, in good order."""
    with serve(store) as endpoint:
        clients.store(endpoint, *sources)


def expect_instances(count: int, study_instance_uid: str) -> Callable[[Endpoint], None]:
    """Return a check that the study is queryable with all its instances at once after the last acknowledgement."""

    def check(endpoint: Endpoint) -> None:
        found = probe.count_instances(endpoint, study_instance_uid)
        assert found == count, f"{endpoint.ae_title} holds {found} of {count} instances"

    return check


def pixel_digests(folder: Path, pixel_bytes: int) -> set[bytes]:
    """Return the digests of the files' last ``pixel_bytes`` bytes: equal sets mean that every image came back."""
    return {hashlib.sha256(file.read_bytes()[-pixel_bytes:]).digest() for file in folder.iterdir()}


def index_key() -> str:
    """Return a digest of the code that shapes the index: a filled index made by other code is not used again."""
    sources = [*sorted((ROOT / "archive" / "index").rglob("*.py")), ROOT / "tests" / "bulk.py"]
    return hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:12]


@contextmanager
def filled_home(studies: int, instances_per_study: int) -> Iterator[Path]:
    """Lend a home whose SQLite index holds that much, once the disk has nothing left to do."""
    with tempfile.TemporaryDirectory(prefix="drimbox-bench-") as folder:
        home = Path(folder) / "home"
        home.mkdir()
        shutil.copyfile(filled_index(studies, instances_per_study), home / "index.db")
        settle()
        yield home


def filled_index(studies: int, instances_per_study: int) -> Path:
    """Return an SQLite index with that much in it, made once and then only copied."""
    name = f"drimbox-index-{studies}x{instances_per_study}"
    path = Path(tempfile.gettempdir()) / f"{name}-{index_key()}.db"
    if not path.exists():
        for outdated in path.parent.glob(f"{name}-*.db"):
            outdated.unlink()
        with tempfile.TemporaryDirectory(prefix="drimbox-index-") as folder:
            unfinished = Path(folder) / "index.db"
            fill(f"sqlite:///{unfinished}", studies, instances_per_study)
            shutil.move(unfinished, path)
    return path


def fill(url: str, studies: int, instances_per_study: int) -> None:
    """Fill the index at ``url`` with invented studies (no files behind them)."""
    from archive.index.session import Database
    from tests.bulk import fill_index

    database = Database(url)
    try:
        database.migrate()
        fill_index(database, studies, instances_per_study, 1)
    finally:
        database.close()
