"""Sees to it that nobody changes a home under another's feet; must not do anything else with it.

Starting and rebuilding need the home alone; serving, once it has started, and importing share it. The kernel lets go
of the lock when its process ends, however it ends: a file left behind locks nobody out.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from archive.errors import ConfigError

FILE_NAME: Final = "lock"


@dataclass(frozen=True, slots=True)
class Hold:
    """A home held alone."""

    _handle: int

    def share(self) -> None:
        """Let others share the home from now on; nobody can have it alone until all have let go."""
        fcntl.flock(self._handle, fcntl.LOCK_SH | fcntl.LOCK_NB)


@contextmanager
def hold_home(home: Path) -> Iterator[Hold]:
    """Have the home of an archive alone until the block ends; raise ConfigError when any process works on it."""
    with _locked(home, fcntl.LOCK_EX) as handle:
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
        yield Hold(handle)


@contextmanager
def share_home(home: Path) -> Iterator[None]:
    """Work on the home beside a running archive until the block ends; raise ConfigError when somebody has it alone."""
    with _locked(home, fcntl.LOCK_SH):
        yield


@contextmanager
def _locked(home: Path, mode: int) -> Iterator[int]:
    try:
        home.mkdir(mode=0o750, parents=True, exist_ok=True)
        handle = os.open(home / FILE_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    except OSError as exc:
        raise ConfigError(name="home", reason=f"{home} cannot be written ({exc.strerror})") from exc
    try:
        _lock(handle, home, mode)
        yield handle
    finally:
        os.close(handle)


def _lock(handle: int, home: Path, mode: int) -> None:
    try:
        fcntl.flock(handle, mode | fcntl.LOCK_NB)
    except BlockingIOError as exc:
        holder = os.pread(handle, 32, 0).decode("ascii", "replace").strip()
        who = f"process {holder}" if holder.isdecimal() else "another process"
        reason = f"{who} works on {home}; stop it first (drimbox serve ends at SIGTERM), or name another home"
        raise ConfigError(name="home", reason=reason) from exc
    except OSError as exc:
        raise ConfigError(name="home", reason=f"{home} cannot be locked ({exc.strerror})") from exc
