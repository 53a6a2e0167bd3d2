"""The real server is killed at random moments under load, and everything it acknowledged is there when it is back.

CRASH_ROUNDS says how often (8); CRASH_SEED makes the moments others.
"""

from __future__ import annotations

import hashlib
import os
import signal
import sqlite3
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from random import Random

import pytest

from archive.audit import verify
from archive.index import journal
from archive.index.session import Database
from benchmarks import wire
from tests.archive_process import ArchiveProcess
from tests.dcmtk import tool
from tests.objects import CT_IMAGE, ct_dataset, dataset_bytes, write_series
from tests.raw_scu import open_scu

ROUNDS = int(os.environ.get("CRASH_ROUNDS", "8"))
SEED = int(os.environ.get("CRASH_SEED", "20261123"))
SENDERS = 3
SIZES = (512, 40_000, 524_288)
STUDY_UID, SERIES_UID, SOP_UID, LEVEL = 0x0020000D, 0x0020000E, 0x00080018, 0x00080052


@dataclass
class Said:
    """What the archive answered: the digest of each acknowledged data set by SOP Instance UID."""

    digests: dict[str, bytes] = field(default_factory=dict)
    refusals: list[str] = field(default_factory=list)
    numbers: Iterator[int] = field(default_factory=lambda: count(100))

    def series(self) -> dict[tuple[str, str], dict[str, bytes]]:
        """Return the acknowledged objects by study and series."""
        found: dict[tuple[str, str], dict[str, bytes]] = {}
        for uid, digest in self.digests.items():
            series = uid.rpartition(".")[0]
            found.setdefault((series.rpartition(".")[0], series), {})[uid] = digest
        return found


def send_until_the_end(archive: ArchiveProcess, said: Said, study: int) -> None:
    """Store objects of several sizes on one association until it breaks, and note each answer."""
    random = Random(study)
    try:
        with open_scu(archive, calling=f"SENDER{study}") as scu:
            for number in count(1):
                ds = ct_dataset(number, study=study, PixelData=random.randbytes(random.choice(SIZES)))
                data = dataset_bytes(ds)
                status, comment = scu.store(ds.SOPInstanceUID, data)
                if status == 0:
                    said.digests[ds.SOPInstanceUID] = hashlib.sha256(data).digest()
                else:
                    said.refusals.append(f"{status:04X} {comment}")
    except (OSError, wire.WireError):
        return


def storescu_until_the_end(archive: ArchiveProcess, said: Said, folder: Path, study: int) -> None:
    """Let DCMTK send a series, and take its word for what was acknowledged."""
    paths = {str(path): number for number, path in enumerate(write_series(folder, 60, study=study), start=1)}
    command = [tool("storescu"), "-v", "-aec", archive.ae_title, archive.host, str(archive.port), *paths]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    sending = ""
    for line in (done.stdout + done.stderr).splitlines():
        if line.startswith("I: Sending file: "):
            sending = line.removeprefix("I: Sending file: ")
        elif line == "I: Received Store Response (Success)":
            ds = ct_dataset(paths[sending], study=study)
            said.digests[ds.SOPInstanceUID] = hashlib.sha256(dataset_bytes(ds)).digest()


def load(archive: ArchiveProcess, said: Said, folder: Path) -> list[threading.Thread]:
    """Start senders that go on until the archive ends."""
    threads = [
        threading.Thread(target=send_until_the_end, args=(archive, said, next(said.numbers))) for _ in range(SENDERS)
    ]
    study = next(said.numbers)
    threads.append(threading.Thread(target=storescu_until_the_end, args=(archive, said, folder / str(study), study)))
    for thread in threads:
        thread.start()
    return threads


def kill_under_load(archive: ArchiveProcess, said: Said, folder: Path, random: Random) -> None:
    """Start, load, and kill at a moment that nobody knows."""
    before = len(said.digests)
    archive.start()
    threads = load(archive, said, folder)
    waiting = threading.Event()
    for _ in range(500):
        if len(said.digests) > before:
            break
        waiting.wait(0.02)
    waiting.wait(random.uniform(0, 1.2))
    archive.kill()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
    assert len(said.digests) > before, f"nothing was acknowledged:\n{archive.log()[-2000:]}"


def kill_while_starting(archive: ArchiveProcess, random: Random) -> None:
    """Kill once more, while the archive looks around or has just opened its port."""

    def kill() -> None:
        if archive.process is not None:
            archive.process.kill()

    timer = threading.Timer(random.uniform(0.2, 2.5), kill)
    timer.start()
    with suppress(RuntimeError):
        archive.start()
    timer.join()
    archive.kill()


def find(archive: ArchiveProcess, study: str, series: str) -> set[str]:
    """Return the SOP Instance UIDs that a query for a series answers with."""
    keys = {LEVEL: ("CS", "IMAGE"), STUDY_UID: ("UI", study), SERIES_UID: ("UI", series), SOP_UID: ("UI", "")}
    found = set()
    proposals = [wire.Proposal(wire.STUDY_ROOT_FIND)]
    with wire.Association((archive.host, archive.port), archive.ae_title, proposals) as association:
        association.request(wire.FIND_RQ, wire.STUDY_ROOT_FIND, wire.encode_identifier(keys))
        while (answer := association.receive()).status in wire.PENDING:
            found.add(wire.decode_identifier(answer.data)[SOP_UID])
        assert answer.status == 0
    return found


def fetch(archive: ArchiveProcess, study: str, series: str) -> dict[str, bytes]:
    """Return the digests of all objects of a series, as C-GET gives them."""
    keys = {LEVEL: ("CS", "SERIES"), STUDY_UID: ("UI", study), SERIES_UID: ("UI", series)}
    got: dict[str, bytes] = {}
    proposals = [wire.Proposal(wire.STUDY_ROOT_GET), wire.Proposal(CT_IMAGE, as_scp=True)]
    with wire.Association((archive.host, archive.port), archive.ae_title, proposals) as association:
        association.request(wire.GET_RQ, wire.STUDY_ROOT_GET, wire.encode_identifier(keys))
        while True:
            message = association.receive()
            if message.field == wire.STORE_RQ:
                got[str(message.command[wire.AFFECTED_SOP_INSTANCE])] = hashlib.sha256(message.data).digest()
                association.answer_store(message)
            elif message.status not in wire.PENDING:
                assert message.status == 0
                return got


def check_answers(archive: ArchiveProcess, said: Said, *, new: int) -> None:
    """Ask the archive for everything it acknowledged: by C-FIND all of it, by C-GET the ``new`` last series."""
    series = said.series()
    for (study, uid), objects in series.items():
        assert objects.keys() <= find(archive, study, uid), "acknowledged and not found"
    for study, uid in list(series)[-new:]:
        got = fetch(archive, study, uid)
        for instance, digest in series[study, uid].items():
            assert got.get(instance) == digest, f"{instance} was acknowledged and is not given back as it was"


def check_storage(home: Path, said: Said) -> None:
    """Compare the index, read from outside, with the files: every acknowledged byte, every row, every name."""
    with closing(sqlite3.connect(f"file:{home / 'index.db'}?mode=ro", uri=True)) as index:
        rows = index.execute(
            "SELECT sop_instance_uid, key, header_size, instance.dataset_sha256, state FROM instance "
            "JOIN location ON location.instance_fk = instance.id"
        ).fetchall()
        [(orphans,)] = index.execute(
            "SELECT (SELECT COUNT(*) FROM instance) - (SELECT COUNT(*) FROM location)"
        ).fetchall()
        assert index.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert index.execute("PRAGMA foreign_key_check").fetchall() == []
    assert orphans == 0
    files = {path.relative_to(home / "hot").with_suffix("").as_posix(): path for path in (home / "hot").rglob("*.dcm")}
    assert {row[1] for row in rows} == files.keys(), "a file without a row, or a row without a file"
    stored = {}
    for uid, key, header_size, digest, state in rows:
        content = files[key].read_bytes()[header_size:]
        assert (hashlib.sha256(content).digest(), state) == (digest, "present")
        stored[uid] = digest
    assert said.digests.items() <= stored.items()
    assert list((home / "quarantine").rglob("*")) == []
    assert [path for path in (home / "hot").rglob(".*")] == []


def check_journal(home: Path) -> list[str]:
    """Prove the chain and return the kinds of its entries."""
    database = Database(f"sqlite:///{home / 'index.db'}")
    try:
        with database.read() as connection:
            rows = list(journal.iter_entries(connection))
    finally:
        database.close()
    verify(rows)
    return [row.event for row in rows]


@pytest.mark.timeout(120 + 60 * ROUNDS)
def test_nothing_acknowledged_is_lost_however_often_the_server_is_killed(tmp_path: Path) -> None:
    """Killed under load and while it starts: each time all that was acknowledged is found, given back and proven."""
    archive = ArchiveProcess(tmp_path / "home")
    said, random = Said(), Random(SEED)
    for number in range(ROUNDS):
        kill_under_load(archive, said, tmp_path / "files", random)
        if number % 3 == 1:
            kill_while_starting(archive, random)
        archive.start()
        try:
            check_answers(archive, said, new=SENDERS + 1)
        finally:
            archive.kill()
        check_storage(archive.home, said)
    assert said.refusals == []
    assert len(said.digests) > 5 * ROUNDS
    events = check_journal(archive.home)
    stored = events.count("stored") + events.count("adopted")
    assert stored >= len(said.digests)
    print(f"{len(said.digests)} acknowledged, {events.count('adopted')} adopted, {ROUNDS} rounds")


def test_an_orderly_end_leaves_nothing_to_do(tmp_path: Path) -> None:
    """After SIGTERM under load everything is sealed: the next start reads no object again."""
    archive, said = ArchiveProcess(tmp_path / "home").start(), Said()
    threads = load(archive, said, tmp_path / "files")
    threading.Event().wait(1.5)
    assert archive.stop() == 0
    for thread in threads:
        thread.join(60)
    with closing(sqlite3.connect(archive.home / "index.db")) as index:
        assert index.execute("SELECT COUNT(*) FROM landing_folder WHERE sealed_at IS NULL").fetchall() == [(0,)]
    archive.start()
    try:
        check_answers(archive, said, new=2)
    finally:
        assert archive.stop() == 0
    check_storage(archive.home, said)
    assert "adopted" not in check_journal(archive.home)


def test_an_archive_that_is_stopped_and_continued_goes_on(tmp_path: Path) -> None:
    """Frozen for longer than any of its pauses (a debugger, a paused container), it answers again when it is thawed."""
    archive = ArchiveProcess(tmp_path / "home").start()
    try:
        assert archive.process is not None
        for _ in range(2):
            archive.process.send_signal(signal.SIGSTOP)
            threading.Event().wait(1.5)
            archive.process.send_signal(signal.SIGCONT)
            threading.Event().wait(0.5)
        with open_scu(archive) as scu:
            ds = ct_dataset(1)
            assert scu.store(ds.SOPInstanceUID, dataset_bytes(ds)) == (0, "")
    finally:
        assert archive.stop() == 0
