"""Who is alive: locks that end with their holder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from archive.errors import WorkflowsUnavailable
from archive.index.executors import database_file, executors
from tests.postgres import Server

HOLDER = """
import sys
from archive.index.executors import executors
other = executors(sys.argv[1], "other")
print(other.hold(), flush=True)
sys.stdin.read()
"""


def holder(url: str) -> subprocess.Popen[str]:
    """Start a process that holds the lock of ``other`` until it ends."""
    command = [sys.executable, "-c", HOLDER, url]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "True\n"
    return process


def end(process: subprocess.Popen[str]) -> None:
    """Kill it."""
    process.kill()
    process.communicate()


def test_a_file_has_one_worker_and_outlives_it(tmp_path: Path) -> None:
    """While a process has the file nobody else gets it; killed, it locks nobody out."""
    url = f"sqlite:///{tmp_path / 'workflows.db'}"
    other = holder(url)
    ours = executors(url, "one")
    try:
        assert not ours.hold()
    finally:
        end(other)
    assert ours.hold() and ours.hold() and ours.is_gone("other")
    with ours.alone() as is_chief:
        assert is_chief
    ours.close()
    assert executors(url, "two").hold()


def test_a_file_in_a_folder_that_is_not_there_is_an_error_of_ours(tmp_path: Path) -> None:
    """A folder that is missing is told as a database that is away."""
    with pytest.raises(WorkflowsUnavailable, match="No such file"):
        executors(f"sqlite:///{tmp_path / 'none' / 'workflows.db'}", "one").hold()


def test_the_lock_of_a_worker_ends_with_it(postgres_url: str) -> None:
    """A worker is alive for the others as long as its process is, and no longer."""
    other = holder(postgres_url)
    ours = executors(postgres_url, "one")
    try:
        assert ours.hold() and not ours.is_gone("other") and ours.is_gone("nobody")
        assert not ours.is_gone("other"), "looking must not take it away"
        assert not executors(postgres_url, "other").hold()
    finally:
        end(other)
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        query = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'drimbox worker'"
        while connection.execute(query).fetchone() != (1,):
            pass
    assert ours.is_gone("other")
    ours.close()


def test_one_worker_hands_out_work_at_a_time(postgres_url: str) -> None:
    """While one is chief no other is; a second look of the first does not end that."""
    one, two = executors(postgres_url, "one"), executors(postgres_url, "two")
    assert one.hold() and two.hold() and one.hold()
    with one.alone() as is_chief, two.alone() as is_second:
        assert (is_chief, is_second) == (True, False)
    with two.alone() as is_chief:
        assert is_chief
    one.close()
    two.close()


def test_a_lost_session_is_told_and_the_lock_taken_again(postgres_url: str) -> None:
    """When the server ends the session the lock is gone: what is asked fails, and the next hold has it again."""
    ours, theirs = executors(postgres_url, "one"), executors(postgres_url, "two")
    assert ours.hold() and theirs.hold() and not theirs.is_gone("one")
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = 'drimbox worker'"
        )
    with pytest.raises(WorkflowsUnavailable, match="AdminShutdown 57P01"):
        ours.is_gone("two")
    assert theirs.hold() and theirs.is_gone("one")
    assert ours.hold() and not theirs.is_gone("one")
    ours.close()
    theirs.close()


def test_a_server_that_is_away_is_an_error_of_ours(postgres_server: Server) -> None:
    """A database that cannot be reached is told, without its address or password."""
    url = postgres_server.url("nowhere").replace("archive@", "archive:secret@")
    with pytest.raises(WorkflowsUnavailable) as told:
        executors(url, "one").hold()
    assert "secret" not in str(told.value) and os.linesep not in str(told.value)


@pytest.mark.parametrize(
    ("url", "path"), [("sqlite:////srv/workflows.db", Path("/srv/workflows.db")), ("postgresql://u@h/d", None)]
)
def test_only_a_database_in_a_file_has_one(url: str, path: Path | None) -> None:
    """SQLite has a file to look for before it is opened, PostgreSQL has none."""
    assert database_file(url) == path
