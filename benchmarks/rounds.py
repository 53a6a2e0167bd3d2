"""Rounds of several contenders in turns, so that a machine's mood falls on all alike; must not know DICOM.

Every round of a contender: enter its context (a server on a fresh or a prepared store, alone on the machine), sync the
disks, time one piece of work, check what it did, leave. pytest-benchmark times the archive's rounds itself; the
others run in its set-up, between them.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from typing import Any, Protocol

from archive.clock import monotonic
from benchmarks.peers import Endpoint
from benchmarks.processes import peak_rss
from benchmarks.results import OURS


class Benchmark(Protocol):
    """What is used of pytest-benchmark's fixture."""

    extra_info: dict[str, Any]

    def pedantic(
        self,
        target: Callable[[], object],
        *,
        setup: Callable[[], None],
        teardown: Callable[[], None],
        rounds: int,
        iterations: int,
    ) -> object:
        """Run set-up, the timed target and tear-down ``rounds`` times."""


@dataclass(slots=True)
class Contender:
    """A server, the work it is given and the check that it did it."""

    name: str
    serve: Callable[[], AbstractContextManager[Endpoint]]
    work: Callable[[Endpoint], object]
    check: Callable[[Endpoint], None] = lambda endpoint: None
    seconds: list[float] = field(default_factory=list)
    peak_rss_bytes: list[int] = field(default_factory=list)

    def run(self, endpoint: Endpoint) -> None:
        """Do the work once and note how long it took."""
        started = monotonic()
        self.work(endpoint)
        self.seconds.append(monotonic() - started)

    def finish(self, endpoint: Endpoint) -> None:
        """Note the memory and check the work, outside the time."""
        self.peak_rss_bytes.append(peak_rss(endpoint.pid))
        self.check(endpoint)

    def whole_round(self) -> None:
        """Serve, run and finish."""
        with self.serve() as endpoint:
            settle()
            self.run(endpoint)
            self.finish(endpoint)


def settle() -> None:
    """Leave nothing of the past to be done while the next round is timed."""
    gc.collect()
    os.sync()


def take_turns(benchmark: Benchmark, contenders: Sequence[Contender], rounds: int) -> None:
    """Run ``rounds`` rounds of each contender in turns; the one named ``archive`` is timed by pytest-benchmark too."""
    ours = next(contender for contender in contenders if contender.name == OURS)
    with ExitStack() as stack:
        served: list[Endpoint] = []

        def prepare() -> None:
            for other in contenders:
                if other is not ours:
                    other.whole_round()
            served[:] = [stack.enter_context(ours.serve())]
            settle()

        def finish() -> None:
            ours.finish(served[0])
            stack.close()

        benchmark.pedantic(lambda: ours.run(served[0]), setup=prepare, teardown=finish, rounds=rounds, iterations=1)


def rates(contenders: Sequence[Contender], count: int) -> dict[str, list[float]]:
    """Return ``count`` per second for each contender and round."""
    return {contender.name: [count / seconds for seconds in contender.seconds] for contender in contenders}


def peaks_mib(contenders: Sequence[Contender]) -> dict[str, float]:
    """Return each contender's highest resident memory over all rounds, in MiB."""
    return {contender.name: round(max(contender.peak_rss_bytes) / 2**20, 1) for contender in contenders}
