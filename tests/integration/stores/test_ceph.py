"""The cluster that tests run on: what its daemons, ports and folders come to when tests are killed."""

from __future__ import annotations

import fcntl
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.ceph import Ceph, Daemon, NewBucket, new_name, reserve_port, sweep_folders

_STARTS_ONE = """
import sys, time
from pathlib import Path
from tests.ceph import Daemon
daemon = Daemon(["sleep", "600"], Path(sys.argv[1]))
daemon.start(lambda: Path(f"/proc/{daemon.pid}/comm").read_text() == "sleep\\n")
print(daemon.pid, flush=True)
time.sleep(600)
"""


def is_gone(pid: int) -> bool:
    """Tell whether a process has ended, a zombie being as good as gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_a_daemon_dies_with_its_tests(tmp_path: Path) -> None:
    """Tests that are killed with -9 leave no daemon running."""
    with subprocess.Popen([sys.executable, "-c", _STARTS_ONE, tmp_path / "log"], stdout=subprocess.PIPE) as tests:
        assert tests.stdout is not None
        pid = int(tests.stdout.readline())
        assert not is_gone(pid)
        tests.kill()
    deadline = time.monotonic() + 60
    while not is_gone(pid):
        assert time.monotonic() < deadline, "it lives on"
        time.sleep(0.01)


def test_a_daemon_that_ends_is_a_failure(tmp_path: Path) -> None:
    """A daemon that cannot start is told with what it printed, at once."""
    daemon = Daemon(["sh", "-c", "echo the port is taken; exit 1"], tmp_path / "log")
    with pytest.raises(AssertionError, match="the port is taken"):
        daemon.start(lambda: False)


def test_a_reserved_port_is_given_to_nobody_else() -> None:
    """No listener and no connection is given the port by chance; who asks for it by number listens on it, twice."""
    with reserve_port() as place, socket.create_server(("127.0.0.1", 0), backlog=600) as other:
        port = place.getsockname()[1]
        listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(200)]
        connections = [socket.create_connection(other.getsockname()) for _ in range(200)]
        assert port not in {each.getsockname()[1] for each in (*listeners, *connections)}
        for each in (*listeners, *connections):
            each.close()
        for _ in range(2):
            socket.create_server(("127.0.0.1", port)).close()


def test_the_folders_of_killed_tests_go(tmp_path: Path) -> None:
    """A cluster's folder goes once nobody holds its lock; one in use, one being made and a foreign one stay."""
    names = ("drimbox-ceph-dead", "drimbox-ceph-alive", "drimbox-ceph-new", "foreign")
    for name in names:
        (tmp_path / name).mkdir()
        if name != "drimbox-ceph-new":
            (tmp_path / name / "lock").touch()
    with (tmp_path / "drimbox-ceph-alive/lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        sweep_folders(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {*names[1:]}


def test_a_gateway_that_runs_is_not_started_again(ceph: Ceph) -> None:
    """Asking for a gateway that is there leaves it as it is, so that every test may ask."""
    ceph.start_gateway()
    name = new_name()
    ceph.client().create_bucket(Bucket=name)
    ceph.start_gateway()
    assert name in {each["Name"] for each in ceph.client().list_buckets()["Buckets"]}


@pytest.mark.parametrize(("kind", "status"), [("plain", None), ("versioned", "Enabled"), ("locked", "Enabled")])
def test_every_kind_of_bucket_is_what_it_says(ceph: Ceph, new_bucket: NewBucket, kind: str, status: str | None) -> None:
    """A bucket is new, empty and with versions as asked; a kind that there is not is a mistake of the test."""
    first, second = new_bucket(kind), new_bucket(kind)
    assert first.bucket != second.bucket
    assert ceph.client().get_bucket_versioning(Bucket=first.bucket).get("Status") == status
    assert "Contents" not in ceph.client().list_objects_v2(Bucket=first.bucket)
    with pytest.raises(AssertionError):
        new_bucket("cold")
