"""The servers that are compared, each started from nothing on loopback; must not measure anything.

Every one is a context manager that yields an Endpoint once its own process listens, and leaves no process behind.
DCMTK and Orthanc get ``TCP_NODELAY=1``: without it each message waits 40 ms for a delayed acknowledgement.
"""

from __future__ import annotations

import json
import os
import pwd
import re
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

from benchmarks.processes import free_port, is_listening, running, wait_until

ROOT = Path(__file__).resolve().parent.parent
POSTGRESQL_PROGRAMS = Path("/usr/lib/postgresql/15/bin")
_READY = re.compile(
    r"^READY dicom=(?P<host>[^ ]+):(?P<port>\d+) ae=(?P<ae>\S+)(?:.* http=\S+:(?P<http>\d+))?", re.MULTILINE
)
_WEB = """
[http]
port = 0
query_limit = 10000
[[http.clients]]
name = "benchmark"
addresses = ["127.0.0.1"]
roles = ["radiologist"]
"""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a started server listens, and the process to measure."""

    host: str
    port: int
    ae_title: str
    pid: int
    http_port: int = 0

    @property
    def address(self) -> tuple[str, int]:
        """Return host and port."""
        return self.host, self.port


@contextmanager
def web_archive(home: Path) -> Iterator[Endpoint]:
    """Run this project's archive with its HTTP port open, as an operator would."""
    with archive(home, settings=_WEB) as endpoint:
        yield endpoint


@contextmanager
def archive(home: Path, *, index_url: str | None = None, settings: str = "") -> Iterator[Endpoint]:
    """Run this project's archive on ``home``, as ``drimbox serve`` does, with its default settings and these."""
    home.mkdir(parents=True, exist_ok=True)
    log = home.parent / f"{home.name}.log"
    command: list[str | Path] = [sys.executable, "-m", "archive", "serve", "--home", home, "--dicom-port", "0"]
    if index_url is not None:
        settings += f"\n[index]\nurl = {json.dumps(index_url)}\n"
    if settings:
        config = home.parent / f"{home.name}.toml"
        config.write_text(settings)
        command += ["--config", config]
    with running(command, log=log, cwd=ROOT) as process:
        output = log.with_suffix(".out")
        wait_until(process, lambda: _READY.search(output.read_text()) is not None, log=log, seconds=300)
        ready = _READY.search(output.read_text())
        assert ready is not None
        wait_until(process, lambda: is_listening(process.pid, int(ready["port"])), log=log)
        yield Endpoint(ready["host"], int(ready["port"]), ready["ae"], process.pid, int(ready["http"] or 0))


@contextmanager
def orthanc(folder: Path, *, stop_signal: signal.Signals = signal.SIGKILL) -> Iterator[Endpoint]:
    """Run Orthanc as Debian ships it (files synced, SQLite index), its store in ``folder``.

    It takes 3.5 s to end by SIGTERM, which only a store that is used again needs.
    """
    folder.mkdir(parents=True, exist_ok=True)
    dicom_port, http_port = free_port(), free_port()
    log = folder / "orthanc.log"
    (folder / "orthanc.json").write_text(json.dumps(_orthanc_settings(folder, dicom_port, http_port)))
    with running(["Orthanc", folder / "orthanc.json"], log=log, stop_signal=stop_signal) as process:
        pid = process.pid
        wait_until(process, lambda: is_listening(pid, dicom_port) and is_listening(pid, http_port), log=log)
        yield Endpoint("127.0.0.1", dicom_port, "ORTHANC", pid, http_port)


def _orthanc_settings(folder: Path, dicom_port: int, http_port: int) -> dict[str, object]:
    return {
        "Name": "peer",
        "StorageDirectory": f"{folder}/store",
        "IndexDirectory": f"{folder}/store",
        "StorageCompression": False,
        "DicomServerEnabled": True,
        "DicomAet": "ORTHANC",
        "DicomPort": dicom_port,
        "DicomCheckCalledAet": False,
        "HttpServerEnabled": True,
        "HttpPort": http_port,
        "HttpBindAddresses": ["127.0.0.1"],
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "DicomAlwaysAllowEcho": True,
        "DicomAlwaysAllowStore": True,
        "DicomAlwaysAllowFind": True,
        "DicomAlwaysAllowGet": True,
        "DicomAlwaysAllowMove": True,
        "MaximumPduLength": 131072,
        "UnknownSopClassAccepted": True,
        "ConcurrentJobs": 2,
        "LimitFindResults": 0,
        "Plugins": ["/usr/share/orthanc/plugins"],
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/", "EnableWado": True, "WadoRoot": "/wado", "Ssl": False},
    }


@contextmanager
def storescp(folder: Path) -> Iterator[Endpoint]:
    """Run DCMTK's storescp, which neither indexes nor syncs: the speed of the wire and the sender, not an archive."""
    received = folder / "received"
    received.mkdir(parents=True, exist_ok=True)
    port = free_port()
    log = folder / "storescp.log"
    command = ["storescp", "--fork", "+B", "-pdu", "131072", "-aet", "STORESCP", "-od", str(received), str(port)]
    with running(command, log=log) as process:
        wait_until(process, lambda: is_listening(process.pid, port), log=log)
        yield Endpoint("127.0.0.1", port, "STORESCP", process.pid)


@dataclass(frozen=True, slots=True)
class Postgresql:
    """A running PostgreSQL; ``url`` of any of its databases."""

    port: int
    pid: int

    def url(self, database: str) -> str:
        """Return the URL of ``database``."""
        return f"postgresql://archive@127.0.0.1:{self.port}/{database}"

    def create(self, database: str, *, template: str = "template1") -> str:
        """Create ``database``, a copy of ``template`` when given, and return its URL."""
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{database}" TEMPLATE "{template}" STRATEGY FILE_COPY'.encode())
            connection.execute("CHECKPOINT")
        return self.url(database)

    def drop(self, database: str) -> None:
        """Drop ``database`` and whoever is still connected to it."""
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(f'DROP DATABASE "{database}" WITH (FORCE)'.encode())


@contextmanager
def postgresql() -> Iterator[Postgresql]:
    """Run PostgreSQL 15 with every durable default on (fsync, full_page_writes), as an operator would."""
    user = "postgres" if os.geteuid() == 0 else None
    folder = Path(tempfile.mkdtemp(prefix="drimbox-pg-"))
    log = folder.parent / f"{folder.name}.log"
    try:
        if user is not None:
            owner = pwd.getpwnam(user)
            os.chown(folder, owner.pw_uid, owner.pw_gid)
        _init_cluster(folder, log, user)
        yield from _serve_cluster(folder, log, user)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        log.unlink(missing_ok=True)
        log.with_suffix(".out").unlink(missing_ok=True)


def _init_cluster(folder: Path, log: Path, user: str | None) -> None:
    options = ["-U", "archive", "--auth=trust", "-E", "UTF8", "--locale=C.UTF-8"]
    command: list[str | Path] = [POSTGRESQL_PROGRAMS / "initdb", "-D", folder, *options]
    with running(command, log=log, user=user, cwd=Path("/")) as process:
        wait_until(process, lambda: process.poll() == 0, log=log)


def _serve_cluster(folder: Path, log: Path, user: str | None) -> Iterator[Postgresql]:
    port = free_port()
    place = [f"--port={port}", "--listen_addresses=127.0.0.1", f"--unix_socket_directories={folder}"]
    command: list[str | Path] = [POSTGRESQL_PROGRAMS / "postgres", "-D", folder, *place, "--shared_buffers=256MB"]
    with running(command, log=log, user=user, cwd=Path("/"), stop_signal=signal.SIGINT) as process:
        server = Postgresql(port, process.pid)
        wait_until(process, lambda: is_listening(process.pid, port) and _answers(server), log=log)
        yield server


def _answers(server: Postgresql) -> bool:
    try:
        psycopg.connect(server.url("postgres")).close()
    except psycopg.OperationalError:
        return False
    return True
