"""Starts the real archive as a process of its own, on free ports, for tests; must not import the archive."""

from __future__ import annotations

import os
import re
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

READY = re.compile(
    r"READY dicom=(?P<host>[^ ]+):(?P<port>\d+) ae=(?P<ae>\S+)(?: dicom_tls=\S+:(?P<tls>\d+))?"
    r"(?:.* hl7=\S+:(?P<hl7>\d+))?(?:.* http=\S+:(?P<http>\d+))?"
)
START_SECONDS = 60.0
INDEX_SECONDS = 20.0


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
    http_port: int = 0
    ae_title: str = ""
    first_link: str = ""
    process: subprocess.Popen[str] | None = None

    def start(self, *, port: int = 0) -> ArchiveProcess:
        """Start and wait for the ready line; raise RuntimeError with the log when it does not come."""
        command = [*self.prefix, sys.executable, "-m", "archive", "serve", "--home", str(self.home)]
        command += ["--dicom-port", str(port)]
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
            if line.startswith("FIRST ADMINISTRATOR"):
                self.first_link = line.split()[-1]
            match = READY.match(line)
            if match:
                timer.cancel()
                self.host, self.port, self.ae_title = match["host"], int(match["port"]), match["ae"]
                self.tls_port = int(match["tls"] or 0)
                self.hl7_port = int(match["hl7"] or 0)
                self.http_port = int(match["http"] or 0)
                return
        timer.cancel()
        raise RuntimeError(f"the archive did not start:\n{self.log()}")

    def log(self) -> str:
        """Return everything it has logged so far."""
        return (self.home.parent / f"{self.home.name}.log").read_text()

    def index_row(self, query: str, *parameters: object) -> tuple[Any, ...]:
        """Return the first row of a query on the SQLite index, once there is one.

        Rows and journal entries follow the acknowledgement (decision 0002), and nobody outside passes the barrier:
        a test that looks into the file without waiting fails now and then.
        """
        deadline = time.monotonic() + INDEX_SECONDS
        with closing(sqlite3.connect(f"file:{self.home / 'index.db'}?mode=ro", uri=True)) as index:
            while time.monotonic() < deadline:
                row = index.execute(query, parameters).fetchone()
                if row is not None:
                    return tuple(row)
                time.sleep(0.01)
        raise AssertionError(f"the index has no row for {query} {parameters}")

    def file_of(self, sop_instance_uid: str) -> Path:
        """Return the file of a stored object."""
        query = "SELECT key FROM location JOIN instance ON instance.id = instance_fk WHERE sop_instance_uid = ?"
        (key,) = self.index_row(query, sop_instance_uid)
        return self.home / "hot" / f"{key}.dcm"

    def has_logged(self, text: str, *, seconds: float = 10.0) -> bool:
        """Tell whether it logs ``text`` in time: what a peer hears may come before the line about it."""
        deadline = time.monotonic() + seconds
        while text not in self.log():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        return True

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
