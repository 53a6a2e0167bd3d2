"""Runs DCMTK's command-line tools as independent peers; must not hide what they print."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.archive_process import ArchiveProcess

_SECONDS = 120


def tool(name: str) -> str:
    """Return the path of a DCMTK tool; a missing one fails the test: it is a real part."""
    path = shutil.which(name)
    assert path is not None, f"{name} is missing: install the package dcmtk"
    return path


def run(name: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a tool to its end and return what it said."""
    return subprocess.run(
        [tool(name), *map(str, arguments)],
        capture_output=True,
        text=True,
        errors="replace",
        timeout=_SECONDS,
        check=False,
        env={**os.environ, "TCP_NODELAY": "1"},
    )


def storescu(archive: ArchiveProcess, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Push files or folders."""
    return run("storescu", "-v", "-aec", archive.ae_title, archive.host, str(archive.port), *arguments)


def free_port() -> int:
    """Return a port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def storescp(folder: Path, *options: str) -> Iterator[int]:
    """Run a storage SCP that writes what it gets into ``folder``; lend its port."""
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    command: Sequence[str] = [tool("storescp"), "--bit-preserving", *options, "-od", str(folder), str(port)]
    process = subprocess.Popen(command, env={**os.environ, "TCP_NODELAY": "1"})
    try:
        _wait_listening(port, process)
        yield port
    finally:
        process.terminate()
        process.wait(10)


def _wait_listening(port: int, process: subprocess.Popen[bytes]) -> None:
    for _ in range(200):
        assert process.poll() is None, "the peer did not start"
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise AssertionError("the peer does not listen")
