"""A throw-away Ceph for tests: a monitor, an OSD in memory, an S3 gateway; one a session, it must never be skipped.

The root conftest of tests and that of benchmarks name this module as a plugin: so ``ceph`` and ``new_bucket`` are the
same everywhere. Do not import the fixtures, or there are two clusters.
"""

from __future__ import annotations

import fcntl
import http.client
import json
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any, Final

import pytest

from tiering.stores.s3.settings import MIB, S3Settings

NewBucket = Callable[[str], S3Settings]
PROGRAMS: Final = ("setpriv", "ceph-mon", "ceph-osd", "radosgw", "radosgw-admin", "ceph", "ceph-authtool", "monmaptool")
COLD_CLASS: Final = "COLD"
KMS_KEY: Final = "test-key"
_START_SECONDS: Final = 120.0
_COMMAND_SECONDS: Final = 60.0
_PREFIX: Final = "drimbox-ceph-"
_DIES_WITH_US: Final = ("setpriv", "--pdeathsig", "KILL")
"""Whoever kills the tests with -9 leaves no daemon behind: the kernel ends it with the thread that started it."""
_GIB: Final = 1 << 30
_ALL_CAPS: Final = tuple(word for part in ("mon", "osd", "mgr") for word in ("--cap", part, "allow *"))
_numbers = count(1)


class Daemon:
    """One process of the cluster, in the foreground, its output in a file."""

    def __init__(self, command: list[str], log: Path) -> None:
        self._command = command
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, is_ready: Callable[[], bool]) -> None:
        """Start it, unless it runs, and wait until it answers; one that ended is a failure, whoever else may answer."""
        if self._process is not None and self._process.poll() is None:
            return
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*_DIES_WITH_US, *self._command], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        deadline = time.monotonic() + _START_SECONDS
        while not is_ready():
            assert self._process.poll() is None, f"{self._command[0]} ended: {self._log.read_text()[-2000:]}"
            assert time.monotonic() < deadline, f"{self._command[0]} does not answer"
            time.sleep(0.02)

    @property
    def pid(self) -> int:
        """Return the process's id."""
        assert self._process is not None
        return self._process.pid

    def kill(self) -> None:
        """End it as a power cut would: with kill -9."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


class Ceph:
    """A cluster of our own on loopback ports, all of it in one folder."""

    def __init__(self, folder: Path) -> None:
        missing = [program for program in PROGRAMS if shutil.which(program) is None]
        if missing:
            pytest.fail(f"Ceph is needed to test object storage: no {' '.join(missing)}", pytrace=False)
        self.folder = folder
        self.access_key, self.secret_key = "test-access", secrets.token_hex(16)
        self._reserved = [reserve_port() for _ in range(2)]
        self.port, self._monitor_port = (place.getsockname()[1] for place in self._reserved)
        self._monitor = self._daemon("ceph-mon", "-i", "a")
        self._osd = self._daemon("ceph-osd", "-i", "0")
        self._gateway = self._daemon("radosgw", "-n", "client.gateway")

    @property
    def endpoint_url(self) -> str:
        """Return where the gateway listens."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Make a cluster from nothing and start it."""
        self._lay_out()
        self._run("ceph-mon", "-i", "a", "--mkfs", "--monmap", "monmap", "--keyring", "keyring")
        self._monitor.start(self._has_quorum)
        self._new_osd()
        self._osd.start(lambda: bool(self._ask("osd", "stat")["num_up_osds"]))
        self._set_up_gateway()
        self.start_gateway()

    def start_gateway(self) -> None:
        """Start the gateway, which listens on the same port every time."""
        self._gateway.start(self._is_served)

    def kill_gateway(self) -> None:
        """Kill the gateway; what was stored stays."""
        self._gateway.kill()

    def stop(self) -> None:
        """End everything: nothing is worth saving."""
        for daemon in (self._gateway, self._osd, self._monitor):
            daemon.kill()
        for place in self._reserved:
            place.close()

    def _daemon(self, program: str, *arguments: str) -> Daemon:
        command = [program, "-c", str(self.folder / "ceph.conf"), *arguments, "--foreground"]
        return Daemon(command, self.folder / f"{program}.log")

    def _lay_out(self) -> None:
        fsid, address = str(uuid.uuid4()), f"v2:127.0.0.1:{self._monitor_port}"
        (self.folder / "ceph.conf").write_text(_as_ini(_settings(self.folder, fsid, address, self.port)))
        for name in ("mon", "osd", "run"):
            (self.folder / name).mkdir()
        self._run("ceph-authtool", "--create-keyring", "keyring", "--gen-key", "-n", "client.admin", *_ALL_CAPS)
        for name in ("mon.", "client.gateway"):
            self._run("ceph-authtool", "keyring", "--gen-key", "-n", name, *_ALL_CAPS)
        self._run("monmaptool", "--create", "--fsid", fsid, "--addv", "a", f"[{address}]", "monmap")

    def _new_osd(self) -> None:
        key, identity = self._run("ceph-authtool", "--gen-print-key").strip(), str(uuid.uuid4())
        (self.folder / "osd/keyring").write_text(f"[osd.0]\nkey = {key}\n")
        self._run("ceph", "osd", "new", identity, "-i", "-", told=json.dumps({"cephx_secret": key}))
        self._run("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", identity)

    def _set_up_gateway(self) -> None:
        """Make the user and, before the gateway reads its zone, the storage class."""
        credentials = ("--access-key", self.access_key, "--secret-key", self.secret_key)
        self.administer("user", "create", "--uid", "test", "--display-name", "test", *credentials)
        place = ("--placement-id", "default-placement", "--storage-class", COLD_CLASS)
        self.administer("zonegroup", "placement", "add", "--rgw-zonegroup", "default", *place)
        pool = ("--data-pool", "default.rgw.cold.data")
        self.administer("zone", "placement", "add", "--rgw-zone", "default", *place, *pool)

    def client(self) -> Any:
        """Return a client of the gateway's, for what no store does; it is made once."""
        return _client(self.endpoint_url, self.access_key, self.secret_key)

    def administer(self, *arguments: str) -> None:
        """Run radosgw-admin."""
        self._run("radosgw-admin", "-n", "client.gateway", *arguments)

    def _has_quorum(self) -> bool:
        probe = ["ceph", "-c", "ceph.conf", "--connect-timeout", "1", "quorum_status"]
        return subprocess.run(probe, cwd=self.folder, capture_output=True, check=False).returncode == 0

    def _is_served(self) -> bool:
        """Tell whether our own gateway answers: the port is held by its process and by no other."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", "/")
            return connection.getresponse().status == 200 and owns_port(self._gateway.pid, self.port)
        except OSError:
            return False
        finally:
            connection.close()

    def _ask(self, *words: str) -> Mapping[str, int]:
        answer: Mapping[str, int] = json.loads(self._run("ceph", *words, "--format", "json"))
        return answer

    def _run(self, program: str, *arguments: str, told: str = "") -> str:
        is_client = program in ("ceph-authtool", "monmaptool")
        command = [program, *(() if is_client else ("-c", "ceph.conf")), *arguments]
        done = subprocess.run(
            command,
            cwd=self.folder,
            input=told,
            capture_output=True,
            text=True,
            check=False,
            timeout=_COMMAND_SECONDS,
        )
        assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
        return done.stdout


@cache
def _client(endpoint_url: str, access_key: str, secret_key: str) -> Any:
    import boto3  # not before a test asks for Ceph
    from botocore.config import Config

    config = Config(s3={"addressing_style": "path"})
    session = boto3.session.Session(access_key, secret_key, region_name="us-east-1")
    return session.client("s3", endpoint_url=endpoint_url, config=config)


def _settings(folder: Path, fsid: str, address: str, port: int) -> dict[str, dict[str, object]]:
    """Return the smallest configuration that serves S3 from memory: one copy of everything, few placement groups."""
    everywhere: dict[str, object] = {
        "fsid": fsid,
        "mon host": address,
        "mon initial members": "a",
        "public addr": "127.0.0.1",
        "cluster addr": "127.0.0.1",
        "ms bind msgr1": "false",
        "keyring": folder / "keyring",
        "run dir": folder / "run",
        "crash dir": folder / "run",
        "admin socket": "",
        "log file": folder / "run/$name.log",
        "mon cluster log file": folder / "run/cluster.log",
        "mon data": folder / "mon",
        "auth allow insecure global id reclaim": "false",
        "mon allow pool size one": "true",
        "mon max pg per osd": 2000,
        "paxos propose interval": 0.02,  # every pool made at first use waits for one: 1 s each otherwise
        "paxos min wait": 0.01,
        "osd pool default size": 1,
        "osd pool default min size": 1,
        "osd pool default pg num": 4,
        "osd pool default pgp num": 4,
        "osd pool default pg autoscale mode": "off",
        "osd crush chooseleaf type": 0,
    }
    osd: dict[str, object] = {
        "osd data": folder / "osd",
        "keyring": folder / "osd/keyring",
        "osd objectstore": "memstore",
        "memstore device bytes": 4 * _GIB,
        "osd numa auto affinity": "false",
        "osd op num shards": 2,
        "osd client watch timeout": 1,  # or a gateway after a killed one waits 30 s for it
    }
    gateway: dict[str, object] = {
        "rgw frontends": f"beast endpoint=127.0.0.1:{port} tcp_nodelay=1",
        "rgw thread pool size": 32,
        "rgw crypt require ssl": "false",
        "rgw crypt s3 kms backend": "testing",
        "rgw crypt s3 kms encryption keys": f"{KMS_KEY}=YWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXoxMjM0NTY=",
        "rgw cache expiry interval": 2,  # a change made beside the gateway is told to it, which may get lost
        "rgw enable usage log": "false",
    }
    return {"global": everywhere, "osd": osd, "client.gateway": gateway}


def _as_ini(sections: Mapping[str, Mapping[str, object]]) -> str:
    lines = ([f"[{name}]", *(f"{key} = {value}" for key, value in keys.items())] for name, keys in sections.items())
    return "\n".join(line for section in lines for line in section) + "\n"


def reserve_port() -> socket.socket:
    """Return a socket that keeps a loopback port for whoever binds it by number: nobody is given it by chance.

    Not listening and with SO_REUSEADDR, it is in the way of neither Ceph, which sets the option too, nor of a gateway
    that is killed and comes back; the kernel gives the port to no other socket that asks for any.
    """
    place = socket.socket()
    place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    place.bind(("127.0.0.1", 0))
    return place


def owns_port(pid: int, port: int) -> bool:
    """Tell whether the process holds the socket that listens on a loopback port."""
    table = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    inodes = {row[9] for row in table if row[1].endswith(f":{port:04X}") and row[3] == "0A"}
    links = {link.readlink().name for link in Path(f"/proc/{pid}/fd").iterdir() if link.is_symlink()}
    return bool(inodes) and {f"socket:[{inode}]" for inode in inodes} <= links


@contextmanager
def new_ceph() -> Iterator[Ceph]:
    """Lend a cluster in a folder of its own, which goes afterwards, as do those that killed tests have left."""
    sweep_folders(Path(tempfile.gettempdir()))
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        ceph = Ceph(folder)
        try:
            ceph.start()
            yield ceph
        finally:
            ceph.stop()
            shutil.rmtree(folder)


def sweep_folders(parent: Path) -> None:
    """Remove the folders of clusters whose tests are gone: nobody holds the lock in them any more."""
    for path in parent.glob(f"{_PREFIX}*/lock"):
        with suppress(OSError), path.open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(path.parent)


@pytest.fixture(scope="session")
def ceph() -> Iterator[Ceph]:
    """Lend the cluster, started for the first test that asks."""
    with new_ceph() as cluster:
        yield cluster


@pytest.fixture(scope="session")
def new_bucket(ceph: Ceph) -> NewBucket:
    """Lend a maker of buckets: ``plain``, ``versioned``, or ``locked`` with versions and Object Lock."""

    def make(kind: str) -> S3Settings:
        assert kind in ("plain", "versioned", "locked")
        name, client = new_name(), ceph.client()
        client.create_bucket(Bucket=name, ObjectLockEnabledForBucket=kind == "locked")
        if kind == "versioned":
            client.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
        return S3Settings(
            endpoint_url=ceph.endpoint_url,
            bucket=name,
            access_key=ceph.access_key,
            secret_key=ceph.secret_key,
            multipart_bytes=MIB,
            part_bytes=5 * MIB,
        )

    return make


def new_name() -> str:
    """Return a bucket's name that was not used before."""
    return f"test-{next(_numbers)}"
