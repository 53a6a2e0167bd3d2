"""Starting, proving, measuring and ending processes; must not measure time."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import processes
from benchmarks.processes import NotReady, is_listening, memory, running, tree, wait_until

ROOT = Path(__file__).parents[3]

_LISTENER = """
import socket, sys, time
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
print("up", flush=True)
time.sleep(60)
"""
_PARENT = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
print(child.pid, flush=True)
time.sleep(60)
"""


def _alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_listening_is_proven_by_the_own_process(tmp_path: Path) -> None:
    """A port that somebody else holds does not make a server ready; its own listening socket does."""
    port = processes.free_port()
    with running([sys.executable, "-c", _LISTENER, str(port)], log=tmp_path / "log") as process:
        wait_until(process, lambda: (tmp_path / "log.out").read_text() == "up\n", log=tmp_path / "log")
        assert is_listening(process.pid, port)
        with running([sys.executable, "-c", "import time; time.sleep(60)"], log=tmp_path / "other") as other:
            assert not is_listening(other.pid, port)
    assert not is_listening(os.getpid(), port)


def test_connected_socket_is_not_listening() -> None:
    """A process that is connected from a port does not count as listening on it."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        assert is_listening(os.getpid(), server.getsockname()[1])
        assert not is_listening(os.getpid(), client.getsockname()[1])


def test_listening_inodes_read_the_kernels_table() -> None:
    """Only rows in state LISTEN with the wanted port count, in hexadecimal as the kernel writes them."""
    table = (
        "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
        "   0: 0100007F:2B68 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1\n"
        "   1: 0100007F:2B68 0100007F:9C40 01 00000000:00000000 00:00000000 00000000     0        0 4712 1\n"
        "   2: 0100007F:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4713 1\n"
    )
    assert processes.listening_inodes(table, 11112) == {"4711"}


def test_ended_server_is_told_with_its_log(tmp_path: Path) -> None:
    """A server that ends instead of listening is reported with the end of its log."""
    code = "import sys; sys.stderr.write('port is taken'); sys.exit(3)"
    with (
        running([sys.executable, "-c", code], log=tmp_path / "log") as process,
        pytest.raises(NotReady, match=r"ended with 3:\nport is taken"),
    ):
        wait_until(process, lambda: False, log=tmp_path / "log")


def test_silent_server_is_given_up(tmp_path: Path) -> None:
    """A server that runs but never gets ready is given up when the time is over."""
    with (
        running([sys.executable, "-c", "import time; time.sleep(60)"], log=tmp_path / "log") as process,
        pytest.raises(NotReady, match="not up in 0 s"),
    ):
        wait_until(process, lambda: False, log=tmp_path / "log", seconds=0)


def test_no_process_is_left_behind(tmp_path: Path) -> None:
    """Leaving ends the process, and a child of it that did not end with it."""
    with running([sys.executable, "-c", _PARENT], log=tmp_path / "log") as process:
        wait_until(process, lambda: (tmp_path / "log.out").read_text().endswith("\n"), log=tmp_path / "log")
        child = int((tmp_path / "log.out").read_text())
        assert tree(process.pid) == [process.pid, child]
    assert process.returncode == -signal.SIGTERM
    assert [pid for pid in (process.pid, child) if _alive(pid)] == []


def test_stubborn_process_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that ignores the signal to stop is killed when its time is over."""
    monkeypatch.setattr(processes, "_STOP_SECONDS", 0.05)
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); time.sleep(60)"
    with running([sys.executable, "-c", code], log=tmp_path / "log") as process:
        wait_until(process, lambda: (tmp_path / "log.out").read_text() == "1\n", log=tmp_path / "log")
    assert process.returncode == -signal.SIGKILL


def test_stop_of_an_ended_process_is_quiet() -> None:
    """Stopping what has ended already does nothing."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    processes.stop(process)
    assert process.returncode == 0


def test_memory_counts_the_tree(tmp_path: Path) -> None:
    """The memory of a tree is more than its parent's, and its shared pages are counted once in the proportional sum."""
    with running([sys.executable, "-c", _PARENT], log=tmp_path / "log") as process:
        wait_until(process, lambda: (tmp_path / "log.out").read_text().endswith("\n"), log=tmp_path / "log")
        child = int((tmp_path / "log.out").read_text())
        whole, part = memory(process.pid), memory(child)
        assert 0 < part.rss < whole.rss
        assert whole.pss < whole.rss


_PEAK = """
import os
from benchmarks import processes
from benchmarks.processes import PeakSampler, memory
pid = os.getpid()
processes.reset_peak(pid)
before = processes.peak_rss(pid)
with PeakSampler(pid, every_seconds=0.001) as sampler:
    held = bytearray(os.urandom(1)) * (64 << 20)
    inside = memory(pid)
    while sampler.peak.rss < inside.rss - (8 << 20):
        pass
    del held
assert processes.peak_rss(pid) - before > 60 << 20
assert sampler.peak.rss > before + (48 << 20)
processes.reset_peak(pid)
assert processes.peak_rss(pid) < before + (32 << 20)
"""


def test_peak_is_seen_by_kernel_and_sampler() -> None:
    """64 MiB held for a moment show in the kernel's peak; after a reset only the present counts.

    In a process of its own: the system may take back idle pages of one that has run tests for minutes.
    """
    done = subprocess.run([sys.executable, "-c", _PEAK], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
