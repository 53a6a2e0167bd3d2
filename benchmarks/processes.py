"""Processes of a benchmark: starting, proving readiness, memory, ending; must not know what the processes do."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread

from archive.clock import monotonic

_LISTEN = "0A"
_STOP_SECONDS = 30.0


class NotReady(RuntimeError):
    """A server ended, or did not listen in time; the end of its log is in the message."""


def free_port() -> int:
    """Return a TCP port of the loopback interface that nobody holds now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def environment() -> dict[str, str]:
    """Return this process's environment with Nagle's algorithm off in DCMTK and Orthanc."""
    return {**os.environ, "TCP_NODELAY": "1"}


def tree(pid: int) -> list[int]:
    """Return ``pid`` and its descendants that are alive, parents first."""
    family = [pid]
    for member in family:
        for children in Path(f"/proc/{member}/task").glob("*/children"):
            with suppress(OSError):
                family.extend(int(child) for child in children.read_text().split())
    return family


def listening_inodes(table: str, port: int) -> set[str]:
    """Return the inodes of the sockets that listen on ``port`` in the text of ``/proc/net/tcp``."""
    rows = (line.split() for line in table.splitlines()[1:])
    return {row[9] for row in rows if row[3] == _LISTEN and int(row[1].rpartition(":")[2], 16) == port}


def is_listening(pid: int, port: int) -> bool:
    """Tell whether ``pid`` or a descendant itself listens on ``port``: another server may hold it."""
    tables = [path.read_text() for path in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")) if path.exists()]
    wanted = {f"socket:[{inode}]" for table in tables for inode in listening_inodes(table, port)}
    return bool(wanted) and any(wanted & _open_files(member) for member in tree(pid))


def _open_files(pid: int) -> set[str]:
    found: set[str] = set()
    with suppress(OSError):
        for entry in os.scandir(f"/proc/{pid}/fd"):
            with suppress(OSError):
                found.add(os.readlink(entry.path))
    return found


def wait_until(process: subprocess.Popen[bytes], ready: Callable[[], bool], *, log: Path, seconds: float = 60) -> None:
    """Wait until ``ready()``; raise NotReady with the end of ``log`` when the process ends or time is up."""
    deadline = monotonic() + seconds
    while not ready():
        if process.poll() is not None or monotonic() > deadline:
            state = f"ended with {process.returncode}" if process.returncode is not None else f"not up in {seconds} s"
            raise NotReady(f"{process.args!r} {state}:\n{log.read_text(errors='replace')[-2000:]}")
        time.sleep(0.01)


@contextmanager
def running(
    command: Sequence[str | Path],
    *,
    log: Path,
    cwd: Path | None = None,
    user: str | None = None,
    stop_signal: signal.Signals = signal.SIGTERM,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run ``command`` with stdout in ``log``.out and stderr in ``log``; stop it and its children on leaving."""
    with log.open("wb") as errors, log.with_suffix(".out").open("wb") as output:
        process = subprocess.Popen(
            command,
            stdout=output,
            stderr=errors,
            stdin=subprocess.DEVNULL,
            env=environment(),
            cwd=cwd,
            user=user,
            group=user,
        )
    try:
        yield process
    finally:
        stop(process, stop_signal)


def stop(process: subprocess.Popen[bytes], stop_signal: signal.Signals = signal.SIGTERM) -> None:
    """End ``process`` with ``stop_signal``; kill it, and whatever of its children is left, after 30 s."""
    children = {child: _birth(child) for child in tree(process.pid)[1:]}
    if process.poll() is None:
        process.send_signal(stop_signal)
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    for child, birth in children.items():
        while birth is not None and _birth(child) == birth:
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
            time.sleep(0.001)


def _birth(pid: int) -> str | None:
    """Return when ``pid`` started, in clock ticks: the same number again means the same process. None: it has ended."""
    with suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return fields[19] if fields[0] not in "ZX" else None
    return None


@dataclass(frozen=True, slots=True)
class Memory:
    """Memory of a process tree in bytes: resident, and proportional (shared pages counted once)."""

    rss: int
    pss: int


def _kilobytes(text: str, field: str) -> int:
    for line in text.splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    return 0


def memory(pid: int) -> Memory:
    """Return what the tree of ``pid`` holds now."""
    rss = pss = 0
    for member in tree(pid):
        with suppress(OSError):
            text = Path(f"/proc/{member}/smaps_rollup").read_text()
            rss, pss = rss + _kilobytes(text, "Rss"), pss + _kilobytes(text, "Pss")
    return Memory(rss, pss)


def peak_rss(pid: int) -> int:
    """Return the sum of the tree's resident peaks in bytes, as the kernel kept them: nothing slips between samples."""
    total = 0
    for member in tree(pid):
        with suppress(OSError):
            total += _kilobytes(Path(f"/proc/{member}/status").read_text(), "VmHWM")
    return total


def reset_peak(pid: int) -> None:
    """Make the kernel start the resident peaks of the tree anew from the present (proc(5), clear_refs)."""
    for member in tree(pid):
        with suppress(OSError):
            Path(f"/proc/{member}/clear_refs").write_text("5")


class PeakSampler:
    """Samples a tree's memory in a thread: sees children that come and go, which ``peak_rss`` does not."""

    def __init__(self, pid: int, *, every_seconds: float = 0.05) -> None:
        self.peak = memory(pid)
        self._pid, self._every = pid, every_seconds
        self._stop = Event()
        self._thread = Thread(target=self._sample, daemon=True)

    def _sample(self) -> None:
        while not self._stop.wait(self._every):
            now = memory(self._pid)
            self.peak = Memory(max(self.peak.rss, now.rss), max(self.peak.pss, now.pss))

    def __enter__(self) -> PeakSampler:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
