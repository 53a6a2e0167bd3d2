"""Who may work on a home beside whom."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from archive.errors import ConfigError
from archive.services.lock import FILE_NAME, hold_home, share_home

HOLDER = """
import sys, pathlib
from archive.services.lock import hold_home
with hold_home(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize("second", [hold_home, share_home], ids=["alone", "shared"])
def test_a_home_held_alone_lets_nobody_in(
    tmp_path: Path, second: Callable[[Path], AbstractContextManager[object]]
) -> None:
    """While one has the home alone, another is told who it is and what to do."""
    told = f"process {os.getpid()} works on .*home; stop it first"
    with hold_home(tmp_path / "home"), pytest.raises(ConfigError, match=told):
        second(tmp_path / "home").__enter__()
    with second(tmp_path / "home"):
        pass


def test_a_home_is_shared_by_many_and_by_nobody_alone(tmp_path: Path) -> None:
    """Those who share do not disturb each other; who wants it alone waits for all of them to go."""
    with share_home(tmp_path), share_home(tmp_path), pytest.raises(ConfigError):
        hold_home(tmp_path).__enter__()
    with hold_home(tmp_path):
        pass


def test_who_held_it_alone_may_share_it_later(tmp_path: Path) -> None:
    """A server that has started lets imports in, and still no second server."""
    with hold_home(tmp_path) as hold:
        hold.share()
        with share_home(tmp_path):
            pass
        with pytest.raises(ConfigError):
            hold_home(tmp_path).__enter__()


def test_a_killed_process_locks_nobody_out(tmp_path: Path) -> None:
    """The lock goes with its process; the file it leaves behind means nothing."""
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdin is not None
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(ConfigError, match=f"process {holder.pid}"):
        hold_home(tmp_path).__enter__()
    holder.send_signal(signal.SIGKILL)
    holder.wait(10)
    holder.stdin.close()
    holder.stdout.close()
    assert (tmp_path / FILE_NAME).exists()
    with hold_home(tmp_path):
        assert (tmp_path / FILE_NAME).read_text() == f"{os.getpid()}\n"


def test_a_new_home_is_not_for_everybody(tmp_path: Path) -> None:
    """The folder that holds patients' data cannot be listed by other users of the machine."""
    with hold_home(tmp_path / "home"):
        assert (tmp_path / "home").stat().st_mode & 0o007 == 0


def test_a_home_that_cannot_be_written_is_a_wrong_setting(tmp_path: Path) -> None:
    """A home below a file is refused by name, with the reason."""
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"Setting home is wrong: .*file/home cannot be written \(Not a directory\)"):
        hold_home(tmp_path / "file" / "home").__enter__()
