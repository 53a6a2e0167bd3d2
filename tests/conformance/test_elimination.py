"""Elimination from the push of a study to the proof of its end, with the real commands beside a running archive."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from archive.clock import utc_now
from archive.index.session import Database
from archive.services.accounts import Accounts, NewAccount
from archive.services.ledger import Ledger, LedgerFiles
from tests.archive_process import ArchiveProcess, running_archive
from tests.dcmtk import run, storescu
from tests.objects import ROOT, changed, ct_dataset, part10_bytes
from tests.postgres import new_server
from tiering.disk import OsDisk

PASSWORD = "a long word for tests"
CONFIG = '[disposal]\nwaiting_days = 0\n[[sites]]\nname = "CHU"\nfiness = "970000006"\n'
PEOPLE = {"anne": "archivist", "diane": "director", "david": "dim_physician", "aude": "archives_officer"}


class Desk:
    """Somebody with a terminal beside a running archive."""

    def __init__(self, archive: ArchiveProcess) -> None:
        self.archive = archive
        where = {"DRIMBOX_HOME": str(archive.home), "DRIMBOX_CONFIG": str(archive.config)}
        self.environment = {**os.environ, **where, "DRIMBOX_PASSWORD": PASSWORD, "DRIMBOX_NEW_PASSWORD": PASSWORD}

    def drimbox(self, *arguments: str, status: int = 0) -> str:
        """Run a command to its end; return what it prints."""
        command = [sys.executable, "-m", "archive", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=self.environment, timeout=60)
        assert done.returncode == status, f"{arguments}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def people(self, url: str) -> None:
        """Make the accounts, beside the running archive as the command does, without a process for each."""
        database = Database(url)
        accounts = Accounts(Ledger(LedgerFiles(OsDisk(), self.archive.home / "ledger"), database, utc_now))
        accounts.set(NewAccount("olga", "Olga Ruiz", frozenset({"operator"})), PASSWORD, by=None)
        olga = accounts.authenticate("olga", PASSWORD)
        for name, role in PEOPLE.items():
            accounts.set(NewAccount(name, name.title(), frozenset({role})), PASSWORD, by=olga)
        database.close()

    def list_what_is_due(self) -> str:
        """Sweep and propose; return the list."""
        self.drimbox("retention", "sweep", "--apply", "--as", "olga")
        made = json.loads(self.drimbox("disposal", "propose", "--apply", "--json", "--as", "anne"))
        return str(made["list_id"])

    def approve(self, list_id: str) -> None:
        """Have everybody sign."""
        for name in ("diane", "david", "aude"):
            more = ("--reference", "AD 2026/1") if name == "aude" else ()
            self.drimbox("disposal", "approve", list_id, "--office", PEOPLE[name], *more, "--as", name)


def write_study(folder: Path, study: int, exam_on: str) -> Path:
    """Write a study of three images as files."""
    folder.mkdir()
    for number in (1, 2, 3):
        ds = changed(ct_dataset(number, study=study), {"StudyDate": exam_on, "PatientBirthDate": "19500714"})
        (folder / f"{number}.dcm").write_bytes(part10_bytes(ds))
    return folder


def found(archive: ArchiveProcess, study: int, folder: Path) -> int:
    """Return how many answers findscu gets for a study."""
    folder.mkdir(exist_ok=True)
    where = ("-aec", archive.ae_title, archive.host, str(archive.port))
    keys = ("-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={ROOT}.{study}")
    run("findscu", "-S", "-X", "-od", folder, *keys, *where)
    answers = list(folder.glob("rsp*.dcm"))
    for answer in answers:
        answer.unlink()
    return len(answers)


@contextmanager
def open_desk(root: Path, url: str) -> Iterator[Desk]:
    """Lend a running archive with two studies, one of which is due, and its people."""
    index = f'[index]\nurl = "{url}"\n'
    with running_archive(root / "home", config=index + CONFIG) as archive:
        desk = Desk(archive)
        desk.people(url)
        for study, exam_on in ((1, "20000302"), (2, "20250302")):
            pushed = storescu(archive, "+sd", write_study(root / f"study{study}", study, exam_on))
            assert pushed.returncode == 0, pushed.stderr
        yield desk


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    """Lend an archive on SQLite."""
    with open_desk(tmp_path, f"sqlite:///{tmp_path / 'home' / 'index.db'}") as desk:
        yield desk


@pytest.fixture(params=["sqlite", "postgresql"])
def each_desk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Desk]:
    """Lend an archive on SQLite, and one on PostgreSQL."""
    if request.param == "sqlite":
        yield request.getfixturevalue("desk")
        return
    with new_server() as server, open_desk(tmp_path, server.create_database()) as desk:
        yield desk


def test_from_push_to_proof(each_desk: Desk, tmp_path: Path) -> None:
    """Pushed, swept, listed, signed by three, destroyed beside the running archive, proven, refused when it is back."""
    desk, archive = each_desk, each_desk.archive
    assert found(archive, 1, tmp_path / "found") == 1
    _ask_and_hold(desk, tmp_path / "visits.csv")
    list_id = desk.list_what_is_due()
    early = desk.drimbox("disposal", "destroy", list_id, "--apply", "--as", "olga", status=28)
    assert "not approved by director" in early
    desk.approve(list_id)
    assert "Dry run: nothing was destroyed" in desk.drimbox("disposal", "destroy", list_id, "--as", "olga")
    assert len(list((archive.home / "hot").rglob("*.dcm"))) == 6
    done = json.loads(desk.drimbox("disposal", "destroy", list_id, "--apply", "--json", "--as", "olga"))
    assert (done["studies"], done["deleted"], done["left"]) == (1, 3, [])
    assert len(list((archive.home / "hot").rglob("*.dcm"))) == 3
    assert (found(archive, 1, tmp_path / "found"), found(archive, 2, tmp_path / "found")) == (0, 1)
    _prove(desk, list_id, Path(done["certificate"]), tmp_path / "altered.json")
    _send_again(desk, list_id, tmp_path)
    assert len(list((archive.home / "hot").rglob("*.dcm"))) == 4
    assert list((archive.home / "quarantine").rglob("*.dcm")) == []
    assert list_id in desk.drimbox("disposal", "registry", f"{ROOT}.1")
    assert list_id in desk.drimbox("retention", "explain", f"{ROOT}.1", status=26)
    journal = desk.drimbox("audit", "list", "--limit", "1000")
    for event in ("disposal_proposed", "disposal_approved", "studies_destroyed", "disposal_certified"):
        assert event in journal
    assert "refused_destroyed" in journal
    desk.drimbox("audit", "verify")
    assert "MOREAU" not in archive.log() and "PID1" not in archive.log()


def _ask_and_hold(desk: Desk, visits: Path) -> None:
    """Facts from a file, the reasons of a study, a look at 2050, and a hold: listed only once it is lifted."""
    visits.write_text("ipp;nature;date\nPID1;visite;02/03/2001\n")
    assert "Done" in desk.drimbox("facts", "import", str(visits), "--apply", "--as", "olga")
    explained = desk.drimbox("retention", "explain", f"{ROOT}.1", "--lang", "fr")
    assert "2 mars 2001" in explained and "R.1112-7" in explained
    ahead = json.loads(
        desk.drimbox("retention", "sweep", "--as-of", "2050-01-01", "--json", "--trust-clock", "--as", "olga")
    )
    assert ahead
    placed = desk.drimbox(
        *("hold", "place", "--study", f"{ROOT}.1", "--reason", "a judge asks", "--authority", "TJ"),
        *("--reference", "12", "--json", "--as", "anne"),
    )
    desk.drimbox("retention", "sweep", "--apply", "--as", "olga")
    assert "No list was made" in desk.drimbox("disposal", "propose", "--apply", "--as", "anne", status=28)
    desk.drimbox("hold", "lift", json.loads(placed)["hold_id"], "--reason", "closed", "--as", "anne")


def _prove(desk: Desk, list_id: str, certificate: Path, altered: Path) -> None:
    """The certificate proves itself with the archive's key; with one digit of the visa changed it proves nothing."""
    key = desk.drimbox("disposal", "key").strip()
    proven = desk.drimbox("disposal", "verify", str(certificate), "--public-key", key)
    assert "valid:" in proven and list_id in proven and "FINESS 970000006" in proven
    altered.write_bytes(certificate.read_bytes().replace(b"AD 2026/1", b"AD 2026/2"))
    assert "proves nothing" in desk.drimbox("disposal", "verify", str(altered), status=29)


def _send_again(desk: Desk, list_id: str, folder: Path) -> None:
    """Destroyed objects are refused, with the list, and the next object on the association is taken."""
    ds = changed(ct_dataset(9, study=3), {"StudyDate": "20250302"})
    (folder / "study1" / "9.dcm").write_bytes(part10_bytes(ds))
    where = ("-aec", desk.archive.ae_title, "+sd", "--no-halt", desk.archive.host, str(desk.archive.port))
    pushed = run("storescu", "-d", *where, folder / "study1")
    said = pushed.stdout + pushed.stderr
    assert said.count("0x0124") >= 3, said
    assert f"Destroyed lawfully (list {list_id})" in said
    assert found(desk.archive, 3, folder / "found") == 1


def test_a_killed_destruction_goes_on(desk: Desk) -> None:
    """kill -9 in the middle: the same command again finishes, the rest of the archive is as it was."""
    list_id = desk.list_what_is_due()
    desk.approve(list_id)
    command = [sys.executable, "-c", _KILLED, "disposal", "destroy", list_id, "--apply", "--as", "olga"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=desk.environment, timeout=60)
    assert done.returncode == -9, done.stderr
    assert len(list((desk.archive.home / "hot").rglob("*.dcm"))) == 5
    assert json.loads(desk.drimbox("disposal", "show", list_id, "--json"))["state"] == "destroying"
    desk.archive.kill()
    desk.archive.start()
    done_again = json.loads(desk.drimbox("disposal", "destroy", list_id, "--apply", "--json", "--as", "olga"))
    assert (done_again["deleted"], done_again["gone_before"]) == (2, 1)
    assert len(list((desk.archive.home / "hot").rglob("*.dcm"))) == 3
    desk.drimbox("disposal", "verify", done_again["certificate"])


_KILLED = """
import os, signal
from archive.services import remains
real = remains.delete
def once(*arguments, **named):
    real(*arguments, **named)
    os.kill(os.getpid(), signal.SIGKILL)
remains.delete = once
from archive.cli import main
main()
"""
