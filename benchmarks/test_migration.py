"""Benchmarks of ingest while studies go cold beside it, by itself and with loss; must not reach into the archive."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

from archive.clock import monotonic
from benchmarks import clients
from benchmarks.conftest import Record, Serve, Size
from benchmarks.peers import Endpoint
from benchmarks.phantom import cached_series
from benchmarks.results import OURS, Figure, Target
from benchmarks.rounds import Benchmark, Contender, peaks_mib, rates, take_turns
from benchmarks.stores import expect_instances, stock
from benchmarks.test_seal import drimbox

_ALONE: Final = "without migration"
_TARGETS: Final = (Target(0.8, against=_ALONE),)
_SENT: Final = (1, 4, 5)
_SEEDS: Final = (9, 21)  # one study for each that migrates at a time; both were drawn on the same day
_DRAWN, _OLD = b"20251017", b"20181017"
_START_SECONDS: Final = 60.0


@dataclass(slots=True)
class _Archive:
    """An archive with old studies, sealed, trimmed and assessed: each round has a copy of it, all of them alike."""

    serve: Serve
    workspace: Path
    must_last: bool = True
    """A round is void when a series was done before its end; a short one may be, on a slow disk."""
    compressed: list[float] = field(default_factory=list)
    """MiB of lossy frames written while objects came in, by round."""

    @property
    def home(self) -> Path:
        """Return where it is."""
        return self.workspace / "old" / "store"

    def fill(self, slices: int) -> None:
        """Take in CTs from 2018, long ago enough for them to be due, and have them ready to go."""
        self.home.mkdir(parents=True)
        _configure(self.home, self.workspace / "cold", migrates=False)
        series = [_aged(cached_series(slices, seed=seed)[0], self.workspace / f"study-{seed}") for seed in _SEEDS]
        stock(self.serve, self.home, *series)
        drimbox(self.home, "cold", "create")
        drimbox(self.home, "account", "create", "bench", "--full-name", "Bench", "--role", "operator")
        for words in (("tier", "seal"), ("tier", "trim"), ("retention", "sweep")):
            drimbox(self.home, *words, "--apply", "--as", "bench")

    @contextmanager
    def served(self, *, migrates: bool) -> Iterator[Endpoint]:
        """Serve a copy; when it migrates, as many series as may be at a time are being compressed from here on."""
        home = Path(tempfile.mkdtemp(dir=self.workspace)) / "store"
        shutil.copytree(self.home, home)
        os.sync()  # here it takes none of the time in which the series are compressed
        _configure(home, self.workspace / "cold", migrates=migrates)
        with self.serve(home) as endpoint:
            if migrates:
                _wait_for_migration(home, endpoint)
            yield endpoint

    def store_beside(self, endpoint: Endpoint, sources: Sequence[Path]) -> None:
        """Store series; as many as are compressed at a time are so before it and still are behind it."""
        before = _spooled(endpoint.pid)
        _store(endpoint, sources)
        after = _spooled(endpoint.pid)
        assert len(before) == len(_SEEDS), f"no migration ran at first: {before}"
        assert len(after) == len(_SEEDS) or not self.must_last, f"no migration ran throughout: {before}, then {after}"
        self.compressed.append((sum(after) - sum(before)) / 2**20)


def _store(endpoint: Endpoint, sources: Sequence[Path]) -> None:
    """Store series one after the other: longer than what migrates waits for a pause between them."""
    for source in sources:
        clients.store(endpoint, source)


def _aged(source: Path, target: Path) -> Path:
    """Write the files of a series as if they had been made seven years before."""
    target.mkdir()
    for file in source.iterdir():
        (target / file.name).write_bytes(file.read_bytes().replace(_DRAWN, _OLD))
    return target


def _configure(home: Path, cold: Path, *, migrates: bool) -> None:
    sections = [
        f'[cold]\nstore = "folder"\nfolder = "{cold}"',
        f"[migration]\nenabled = {str(migrates).lower()}",
        "[lossy]\nenabled = true",
    ]
    (home / "drimbox.toml").write_text("\n".join(sections) + "\n")


def _wait_for_migration(home: Path, endpoint: Endpoint) -> None:
    until = monotonic() + _START_SECONDS
    while sum(size > 0 for size in _spooled(endpoint.pid)) < len(_SEEDS):
        assert monotonic() < until, (home.parent / f"{home.name}.log").read_text()
        time.sleep(0.01)


def _spooled(pid: int) -> list[int]:
    """Return how many bytes each series that is being compressed has come to; one that is done, or rests, has none.

    They are in files without a name, in a folder for each series.
    """
    found: dict[str, int] = defaultdict(int)
    for entry in os.scandir(f"/proc/{pid}/fd"):
        with suppress(OSError):
            _, is_there, path = os.readlink(entry.path).partition("/store/scratch/")
            if is_there:
                found[path.partition("/")[0]] += os.stat(entry.path).st_size
    return sorted(found.values())


def test_ingest_beside_migration(
    benchmark: Benchmark, record: Record, subject: Serve, size: Size, workspace: Path
) -> None:
    """CT series are taken in at 80 % of the usual speed or more while two others are compressed with loss."""
    sent = [cached_series(size.slices, seed=seed) for seed in _SENT]
    sources, count = [source for source, _ in sent], len(sent) * size.slices
    archive = _Archive(subject, workspace, must_last=size.full)
    archive.fill(size.slices if size.full else 120)
    clients.warm(*sources)
    check = expect_instances(size.slices, sent[-1][1].study_instance_uid)
    contenders = [
        Contender(OURS, partial(archive.served, migrates=True), lambda to: archive.store_beside(to, sources), check),
        Contender(_ALONE, partial(archive.served, migrates=False), lambda to: _store(to, sources), check),
    ]
    take_turns(benchmark, contenders, size.rounds if size.full else 1)
    details = {
        "peak_rss_mib": peaks_mib(contenders),
        "instances": count,
        "lossy_mib_meanwhile": [round(each, 2) for each in archive.compressed],
    }
    title = "C-STORE of 512² CT series while studies go cold"
    values = rates(contenders, count)
    record(Figure("ingest-beside-migration", title, "instances/s", values, _TARGETS, details=details))
