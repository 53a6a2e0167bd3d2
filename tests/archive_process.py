"""Starts the real archive as a process of its own, on free ports, for tests; must not import the archive."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

READY = re.compile(
    r"READY dicom=(?P<host>[^ ]+):(?P<port>\d+) ae=(?P<ae>\S+)(?: dicom_tls=\S+:(?P<tls>\d+))?"
    r"(?:.* hl7=\S+:(?P<hl7>\d+))?"
)
START_SECONDS = 60.0


@dataclass
class ArchiveProcess:
    """One run of ``drimbox serve``; the home outlives it."""

    home: Path
    config: Path | None = None
    environment: dict[str, str] = field(default_factory=dict)
    prefix: Sequence[str] = ()
    host: str = ""
    port: int = 0
    tls_port: int = 0
    hl7_port: int = 0
    ae_title: str = ""
    process: subprocess.Popen[str] | None = None

    def start(self) -> ArchiveProcess:
        """Start and wait for the ready line; raise RuntimeError with the log when it does not come."""
        command = [*self.prefix, sys.executable, "-m", "archive", "serve", "--home", str(self.home)]
        command += ["--dicom-port", "0"]
        if self.config is not None:
            command += ["--config", str(self.config)]
        log = (self.home.parent / f"{self.home.name}.log").open("a")
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=log, text=True, env={**os.environ, **self.environment}
        )
        log.close()
        self._wait_ready()
        return self

    def _wait_ready(self) -> None:
        assert self.process is not None and self.process.stdout is not None
        timer = threading.Timer(START_SECONDS, self.process.kill)
        timer.start()
        for line in self.process.stdout:
            match = READY.match(line)
            if match:
                timer.cancel()
                self.host, self.port, self.ae_title = match["host"], int(match["port"]), match["ae"]
                self.tls_port = int(match["tls"] or 0)
                self.hl7_port = int(match["hl7"] or 0)
                return
        timer.cancel()
        raise RuntimeError(f"the archive did not start:\n{self.log()}")

    def log(self) -> str:
        """Return everything it has logged so far."""
        return (self.home.parent / f"{self.home.name}.log").read_text()

    @property
    def pid(self) -> int:
        """Return the process id."""
        assert self.process is not None
        return self.process.pid

    def stop(self) -> int:
        """Ask it to end (SIGTERM) and return its exit status."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self._wait()

    def kill(self) -> None:
        """End it at once (SIGKILL)."""
        assert self.process is not None
        self.process.kill()
        self._wait()

    def _wait(self) -> int:
        assert self.process is not None and self.process.stdout is not None
        status = self.process.wait(30)
        self.process.stdout.close()
        return status


@contextmanager
def running_archive(
    home: Path, *, config: str = "", environment: dict[str, str] | None = None
) -> Iterator[ArchiveProcess]:
    """Run an archive on ``home`` with the given drimbox.toml text, stop it at the end."""
    path = None
    if config:
        path = home.parent / f"{home.name}.toml"
        path.write_text(config)
    archive = ArchiveProcess(home, config=path, environment=environment or {}).start()
    try:
        yield archive
    finally:
        if archive.process is not None and archive.process.poll() is None:
            archive.stop()
