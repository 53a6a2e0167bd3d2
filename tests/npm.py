"""Fetches packages of npm for tests, once a machine; must not put anything into the project."""

from __future__ import annotations

import fcntl
import os
import subprocess
from pathlib import Path

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "drimbox-tests"


def packed(package: str) -> Path:
    """Return the file of a package ("@ohif/app@3.13.2"), fetched with npm when it is not here yet."""
    file = CACHE / f"{package.removeprefix('@').replace('/', '-').replace('@', '-')}.tgz"
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not file.exists():
            command = ["npm", "pack", "--silent", "--pack-destination", str(CACHE), package]
            done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=CACHE, timeout=240)
            assert done.returncode == 0, done.stderr
    return file
