"""DCMTK's command line clients as a modality or a workstation runs them; must not time or start servers."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks.peers import Endpoint
from benchmarks.processes import environment, running

TIMEOUT_SECONDS = 1800


class ClientFailed(RuntimeError):
    """A client ended with another code than 0."""


def _run_together(commands: Sequence[Sequence[str]]) -> None:
    """Run ``commands`` side by side and wait for all; raise ClientFailed when one fails."""
    started = [_start(command) for command in commands]
    try:
        for process in started:
            output, _ = process.communicate(timeout=TIMEOUT_SECONDS)
            if process.returncode != 0:
                raise ClientFailed(f"{process.args!r} ended with {process.returncode}: {output[-2000:]!r}")
    finally:
        for process in started:
            if process.poll() is None:
                process.kill()
                process.wait()


def _start(command: Sequence[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def _store_command(server: Endpoint, source: Path, *options: str) -> list[str]:
    return ["storescu", "-R", *options, "-aec", server.ae_title, server.host, str(server.port), "+sd", str(source)]


def store(server: Endpoint, *sources: Path) -> None:
    """Store every file of each folder, one ``storescu`` and so one association a folder, all started together."""
    _run_together([_store_command(server, source) for source in sources])


def get_study(server: Endpoint, study_instance_uid: str, target: Path) -> None:
    """Retrieve a study into ``target`` with ``getscu``, the bytes written as they come."""
    _run_together([
        ["getscu", "-S", "+B", "-od", str(target), "-aec", server.ae_title, server.host, str(server.port),
         "-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={study_instance_uid}"]
    ])  # fmt: skip


def store_anew(server: Endpoint, source: Path) -> None:
    """Store the folder's files in one association under new UIDs."""
    _run_together([_store_command(server, source, "+II", "+IR", "200", "+IS", "1")])


@contextmanager
def storing_for_ever(server: Endpoint, source: Path, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Store the folder's files in one association, over and over under new UIDs, while the body runs."""
    command = _store_command(server, source, "--repeat", "100000", "+II", "+IR", "200", "+IS", "1")
    with running(command, log=log) as process:
        yield process


@contextmanager
def querying_for_ever(server: Endpoint, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Ask for the studies of some patients in one association, over and over, while the body runs."""
    keys = ("QueryRetrieveLevel=STUDY", "PatientName=L*", "PatientID", "StudyInstanceUID", "ModalitiesInStudy")
    command = ["findscu", "-S", "--repeat", "1000000", "-aec", server.ae_title, server.host, str(server.port)]
    for key in keys:
        command += ["-k", key]
    with running(command, log=log) as process:
        yield process


def split(source: Path, parts: int, target: Path) -> list[Path]:
    """Return ``parts`` folders of hard links that share out the files of ``source`` evenly, order kept."""
    files = sorted(source.iterdir())
    folders = [target / f"part-{number}" for number in range(parts)]
    for number, folder in enumerate(folders):
        folder.mkdir(parents=True)
        for file in files[len(files) * number // parts : len(files) * (number + 1) // parts]:
            _link(file, folder / file.name)
    return folders


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def warm(*folders: Path) -> None:
    """Read every file once so that the sources are in the page cache."""
    for folder in folders:
        for file in folder.rglob("*"):
            if file.is_file():
                with file.open("rb") as content:
                    while content.read(1 << 20):
                        pass
