"""A full disk and a missing database: the sender hears 0xA700, nothing is half written, and all goes on by itself."""

from __future__ import annotations

import hashlib
import os
import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import psycopg
import pytest

from archive.errors import IndexUnavailable, StorageFull
from archive.index import session
from archive.index.session import Database
from archive.services.ingest import Outcome
from tests.archive_process import ArchiveProcess
from tests.crash.forgetful_disk import ForgetfulDisk
from tests.crash.test_kill import Said, check_answers, check_storage
from tests.objects import ROOT, ct_dataset, dataset_bytes
from tests.postgres import Server, new_server
from tests.raw_scu import RawScu, open_scu
from tests.unit.services.rig import empty_index, open_rig

OUT_OF_RESOURCES = 0xA700
SUCCESS = 0x0000
BASE = Path("/archive")
SMALL_DISK_MIB = 48


def image(number: int, *, size: int = 500_000) -> tuple[str, bytes]:
    """Return UID and data set of an image."""
    ds = ct_dataset(number, PixelData=bytes((number + i) % 251 for i in range(1000)) * (size // 1000))
    return ds.SOPInstanceUID, dataset_bytes(ds)


def store(scu: RawScu, said: Said, number: int) -> int:
    """Store an image, note what was said, and return the status."""
    uid, data = image(number)
    status, comment = scu.store(uid, data)
    if status == SUCCESS:
        said.digests[uid] = hashlib.sha256(data).digest()
    else:
        said.refusals.append(comment)
    return status


def wait_until(condition: Callable[[], bool], *, seconds: float = 30) -> None:
    """Wait for something that happens by itself."""
    pause = threading.Event()
    for _ in range(int(seconds / 0.1)):
        if condition():
            return
        pause.wait(0.1)
    raise AssertionError(f"it did not happen within {seconds} s")


# ---- the disk ----------------------------------------------------------------------------------------------------


def test_no_matter_where_the_disk_is_full_nothing_is_half_written(memory_path: Path) -> None:
    """From no byte left to one byte too few: StorageFull, no file, no row, no handle; with room again it is stored."""
    disk = ForgetfulDisk(BASE)
    (memory_path / "index.db").write_bytes(empty_index())
    uid, data = image(1)
    with open_rig(BASE, disk=disk, database=Database(f"sqlite:///{memory_path / 'index.db'}")) as rig:
        with open_rig(memory_path / "rehearsal") as rehearsal:
            rehearsal.send(data, uid)
            needed = sum(path.stat().st_size for path in rehearsal.hot.rglob("*.dcm"))
        for room in [*range(0, needed, 17_777), needed - 700, needed - len(data), needed - 1]:
            disk.capacity_bytes = room
            with pytest.raises(StorageFull):
                rig.send(data, uid)
            assert disk.files() == {}
            assert disk.open_handles == 0
            assert rig.find(uid) is None
        assert rig.events() == []
        disk.capacity_bytes = needed + 1
        assert rig.send(data, uid) is Outcome.STORED
        assert rig.dataset(uid) == data


@pytest.fixture
def small(tmp_path: Path) -> Iterator[ArchiveProcess]:
    """Lend an archive whose home is a small file system of its own, gone with its process."""
    home, config = tmp_path / "home", tmp_path / "small.toml"
    home.mkdir()
    config.write_text("[storage]\nmin_free_mib = 0\n")
    mount = f'mount -t tmpfs -o size={SMALL_DISK_MIB}m none "{home}" && exec "$@"'
    unshare = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--mount", "--map-root-user"]
    archive = ArchiveProcess(home, config=config, prefix=[*unshare, "sh", "-c", mount, "sh"]).start()
    try:
        yield archive
    finally:
        archive.kill()


def inside(archive: ArchiveProcess) -> Path:
    """Return the home as the archive sees it."""
    return Path(f"/proc/{archive.pid}/root{archive.home}")


def fill(home: Path, *, leave: int) -> Path:
    """Take all room but ``leave`` bytes, or a few pages more when the archive is writing just now."""
    ballast = home / "ballast"
    with ballast.open("wb") as file:
        for pages in range(1000):
            facts = os.statvfs(home)
            with suppress(OSError):
                os.posix_fallocate(file.fileno(), 0, (facts.f_bavail - pages) * facts.f_frsize - leave)
                return ballast
    raise AssertionError("there is no room to take")


def test_a_full_file_system_is_told_and_forgotten(small: ArchiveProcess, tmp_path: Path) -> None:
    """Index and objects on one small disk that fills up again and again: on one association, all the time."""
    said, home, numbers = Said(), inside(small), iter(range(1, 1000))
    with open_scu(small) as scu:
        assert store(scu, said, next(numbers)) == SUCCESS
        for leave in (0, 4096, 65_536, 300_000, 503_808, 700_000, 1_200_000):
            ballast = fill(home, leave=leave)
            answers = [store(scu, said, next(numbers)) for _ in range(4)]
            assert set(answers) <= {SUCCESS, OUT_OF_RESOURCES}
            assert answers[-1] == OUT_OF_RESOURCES
            assert scu.echo() == SUCCESS
            ballast.unlink()
            wait_until(lambda: store(scu, said, next(numbers)) == SUCCESS)
        reasons = ("The storage is full", "The index database does not answer")
        assert all(comment.startswith(reasons) for comment in said.refusals)
    check_answers(small, said, new=1)
    # SQLite follows the links of /proc, and would look outside.
    seen = shutil.copytree(home, tmp_path / "seen", ignore=shutil.ignore_patterns("*-shm"))
    check_storage(seen, said)
    with closing(sqlite3.connect(seen / "index.db")) as index:
        assert index.execute("SELECT COUNT(*) FROM instance").fetchall() == [(len(said.digests),)]


# ---- the database ------------------------------------------------------------------------------------------------


def test_a_locked_index_is_told_and_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody holds the SQLite file: senders are refused after a while, queries too, and both resume by themselves."""
    monkeypatch.setattr(session, "BUSY_SECONDS", 0.3)
    with open_rig(tmp_path) as rig, closing(sqlite3.connect(tmp_path / "index.db", isolation_level=None)) as other:
        rig.send(ct_dataset(1))
        rig.committer.barrier()
        other.execute("BEGIN IMMEDIATE")
        assert rig.send(ct_dataset(2)) is Outcome.STORED, "durable: its row follows"
        with pytest.raises(IndexUnavailable):
            rig.query(f"{ROOT}.1.1.2")
        with pytest.raises(IndexUnavailable):
            rig.send(ct_dataset(3))
        files = len(list(rig.hot.rglob("*.dcm")))
        other.execute("ROLLBACK")

        def stored() -> bool:
            try:
                return rig.send(ct_dataset(4)) is Outcome.STORED
            except IndexUnavailable:
                return False

        wait_until(stored)
        assert [rig.query(f"{ROOT}.1.1.{number}") for number in (1, 2, 3, 4)] == [["PID1"], ["PID1"], [], ["PID1"]]
        assert files == 2
        assert rig.events() == ["stored"] * 3


@pytest.fixture
def postgres() -> Iterator[Server]:
    """Lend a PostgreSQL server that may be stopped."""
    with new_server() as server:
        try:
            yield server
        finally:
            with suppress(AssertionError):  # a test that failed may have left it stopped
                server.stop()


@pytest.fixture
def archive(tmp_path: Path, postgres: Server) -> Iterator[ArchiveProcess]:
    """Lend an archive whose index is on that server."""
    config = tmp_path / "home.toml"
    with psycopg.connect(postgres.url("postgres"), autocommit=True) as connection:
        connection.execute("CREATE DATABASE drimbox")
    config.write_text(f'[index]\nurl = "{postgres.url("drimbox")}"\n')
    archive = ArchiveProcess(tmp_path / "home", config=config).start()
    try:
        yield archive
    finally:
        archive.kill()


def test_a_database_server_that_goes_away_and_comes_back(archive: ArchiveProcess, postgres: Server) -> None:
    """While PostgreSQL is gone senders hear 0xA700, on living associations; all acknowledged is found afterwards."""
    said, numbers = Said(), iter(range(1, 1000))
    with open_scu(archive) as scu:
        for _ in range(20):
            assert store(scu, said, next(numbers)) == SUCCESS
        for _ in range(2):
            postgres.stop()
            wait_until(lambda: store(scu, said, next(numbers)) == OUT_OF_RESOURCES)
            assert scu.echo() == SUCCESS
            assert store(scu, said, next(numbers)) == OUT_OF_RESOURCES
            postgres.start()
            wait_until(lambda: store(scu, said, next(numbers)) == SUCCESS)
            check_answers(archive, said, new=1)
    assert all("index database does not answer" in comment for comment in said.refusals)


def test_an_archive_killed_before_its_database_took_the_rows(archive: ArchiveProcess, postgres: Server) -> None:
    """While another writer holds PostgreSQL objects are acknowledged all the same; the next start adopts them."""
    said, numbers = Said(), iter(range(1, 1000))
    with open_scu(archive) as scu:
        assert store(scu, said, next(numbers)) == SUCCESS
    check_answers(archive, said, new=1)
    with psycopg.connect(postgres.url("drimbox"), autocommit=True) as other:
        other.execute("SELECT pg_advisory_lock(%s)", (session._WRITER_LOCK,))
        with open_scu(archive) as scu:
            for _ in range(5):
                assert store(scu, said, next(numbers)) == SUCCESS
        assert other.execute("SELECT COUNT(*) FROM instance").fetchall() == [(1,)]
        archive.kill()
        postgres.stop()
    postgres.start()
    archive.start()
    check_answers(archive, said, new=1)
    with psycopg.connect(postgres.url("drimbox"), autocommit=True) as other:
        adopted = other.execute("SELECT COUNT(*) FROM audit WHERE event = 'adopted'").fetchall()
    assert adopted == [(5,)]
