"""Facts of the machine and the programs measured on it; must not name the machine, its user or its addresses."""

from __future__ import annotations

import os
import platform
import re
import sqlite3
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

from benchmarks.peers import POSTGRESQL_PROGRAMS

_PACKAGES = ("pynetdicom", "pydicom", "SQLAlchemy", "psycopg")


def facts(store: Path) -> dict[str, Any]:
    """Return processor, cores, memory, kernel, the file system under ``store`` and every version that matters."""
    return {
        "cpu": _field(Path("/proc/cpuinfo"), "model name"),
        "cores": len(os.sched_getaffinity(0)),
        "memory_mib": int(_field(Path("/proc/meminfo"), "MemTotal").split()[0]) // 1024,
        "kernel": _numbers(platform.release()),
        "file_system": _file_system(store),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "orthanc": _version("Orthanc", "--version"),
        "dcmtk": _version("storescu", "--version"),
        "postgresql": _version(str(POSTGRESQL_PROGRAMS / "postgres"), "--version"),
        **{package.lower(): _package(package) for package in _PACKAGES},
    }


def _field(path: Path, name: str) -> str:
    for line in path.read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return "0"


def _file_system(path: Path) -> str:
    """Return the type of the file system that holds ``path``: the longest mount point above it."""
    best = ("", "unknown")
    for line in Path("/proc/mounts").read_text().splitlines():
        _, mount_point, kind, *_ = line.split()
        if path.resolve().is_relative_to(mount_point) and len(mount_point) >= len(best[0]):
            best = (mount_point, kind)
    return best[1]


def _version(program: str, option: str) -> str:
    try:
        done = subprocess.run([program, option], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return "not installed"
    return _numbers(done.stdout)


def _numbers(text: str) -> str:
    """Return the first version number in ``text``, without a builder's additions."""
    found = re.search(r"\d+\.\d+(\.\d+)?", text)
    return found[0] if found else "unknown"


def _package(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"
