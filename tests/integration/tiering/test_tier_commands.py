"""``drimbox tier`` and ``drimbox cold`` on a real archive whose cold store is a folder."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import Result

from archive.clock import utc_now
from archive.index.session import Database
from archive.services.accounts import Accounts, NewAccount
from archive.services.seal import Sealer
from archive.services.trim import Trimmer
from tests.integration.disposal.conftest import Office, open_office, study_uid
from tests.objects import changed, ct_dataset
from tests.phantoms import slice_of
from tests.unit.cli.conftest import Drimbox, drimbox
from tests.unit.services.shelf import Clock
from tiering.disk import OsDisk

__all__ = ["drimbox"]

PASSWORD = "correct horse battery"
Run = Callable[..., Result]
CONFIG = """
[index]
url = "{url}"
[cold]
store = "folder"
folder = "cold"
[lossy]
enabled = true
[migration]
prices = {{ hot = 1000000000.0, folder = 0.0 }}
"""


def store_images(office: Office, study: int, exam_on: str, instances: int = 3) -> None:
    """Store a CT that can be compressed with loss."""
    for number in range(1, instances + 1):
        ds = changed(ct_dataset(number, study=study), {"StudyDate": exam_on, "PatientBirthDate": "19500714"})
        samples = slice_of(number)
        ds.Rows, ds.Columns = samples.shape
        ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 1
        ds.RescaleSlope, ds.RescaleIntercept, ds.BodyPartExamined = "1", "0", "CHEST"
        ds.PixelData = samples.astype("<i2").tobytes()
        office.rig.send(ds)
    office.rig.committer.barrier()


@pytest.fixture
def office(database: Database, url: str, tmp_path: Path) -> Iterator[Office]:
    """Lend the archive of a home with an old study and a young one, sealed, and an operator."""
    home = tmp_path / "home"
    home.mkdir()
    (home / "drimbox.toml").write_text(CONFIG.format(url=url))
    for office in open_office(database, Clock(utc_now()), home, OsDisk()):
        olga = NewAccount("olga", "Olga Ruiz", frozenset({"operator"}))
        Accounts(office.ledger).set(olga, PASSWORD, by=None)
        store_images(office, 1, "20200302")
        store_images(office, 2, f"{utc_now():%Y}0101")
        office.clock.advance(seconds=1)
        Sealer(office.rig.committer, office.stores, office.clock, timedelta()).run()
        office.clock.advance(seconds=1)
        Trimmer(office.rig.committer, office.stores, office.clock, timedelta()).run()
        office.sweep()
        yield office


@pytest.fixture
def run(drimbox: Drimbox, office: Office) -> Run:
    """Give a function that runs a command on that home, as olga when asked to."""

    def call(*arguments: str, as_olga: bool = False) -> Result:
        env = {"DRIMBOX_HOME": str(office.rig.root), "DRIMBOX_PASSWORD": PASSWORD}
        return drimbox(*arguments, *(("--as", "olga") if as_olga else ()), env=env)

    assert call("cold", "create").exit_code == 0
    return call


def migrate(run: Run, *more: str) -> dict[str, object]:
    """Migrate what is due; return the report."""
    done = run("tier", "migrate", *more, "--apply", "--json", as_olga=True)
    assert done.exit_code == 0, done.output
    report: dict[str, object] = json.loads(done.stdout)["report"]
    return report


def test_the_plan_says_what_goes_and_why_others_stay(run: Run) -> None:
    """For people: counts, sizes, money, reasons; for programs the same as JSON."""
    shown = run("tier", "plan", "--list", "5").stdout
    for words in (study_uid(1), "Why the others do not go", "saved a month", "its pixels decide"):
        assert words in shown, shown
    found = json.loads(run("tier", "plan", "--json").stdout)
    assert found["together"]["studies"] == 1
    assert found["together"]["cold_bytes"] < found["together"]["hot_bytes"]
    assert {code: each["studies"] for code, each in found["stay"].items()} == {"young": 1}
    assert found["savings"]["per_month"] > 0


def test_the_plan_of_another_day_and_site(run: Run) -> None:
    """In ten years both would go; of a site that has nothing, none."""
    later = f"{utc_now().year + 10}-01-01"
    assert json.loads(run("tier", "plan", "--as-of", later, "--json").stdout)["together"]["studies"] == 2
    assert run("tier", "plan", "--site", "elsewhere").exit_code == 2


def test_migrating_is_a_dry_run_unless_it_is_applied(run: Run) -> None:
    """It counts; with --apply it takes a name, and does it once."""
    dry = run("tier", "migrate")
    assert "Dry run" in dry.stdout
    assert json.loads(run("tier", "migrate", "--json").stdout)["report"]["studies"] == 1
    assert run("tier", "migrate", "--apply").exit_code == 2
    assert migrate(run)["lossy"] == 1
    assert migrate(run)["studies"] == 0


def test_a_study_that_is_named_and_has_to_stay_is_told(run: Run) -> None:
    """Exit code 3, and the reason."""
    done = run("tier", "migrate", study_uid(2), "--apply", as_olga=True)
    assert done.exit_code == 3
    assert "immediate and lossless until" in done.output


def test_evidence_rollback_and_impact(run: Run, tmp_path: Path) -> None:
    """What proves the copies is shown, with pictures; rolled back there is none, and the plan says why it stays."""
    migrate(run)
    shown = run("tier", "evidence", study_uid(1), "--pictures", str(tmp_path / "pictures"))
    for word in ("openjph", "openjpeg", "largest error", "HU", "smallest SSIM", "picture:"):
        assert word in shown.stdout, shown.output
    assert (tmp_path / "pictures").stat().st_mode & 0o077 == 0
    assert "1 of them lossy" in run("tier", "impact").stdout
    back = run("tier", "rollback", study_uid(1), as_olga=True)
    assert back.exit_code == 0, back.output
    assert "tier retry" in back.stdout
    assert run("tier", "evidence", study_uid(1)).exit_code == 35
    assert "set_aside" in json.loads(run("tier", "plan", "--json").stdout)["stay"]
    assert "of that cold" not in run("status").stdout


def test_what_is_cold_is_in_the_status(run: Run) -> None:
    """How much of the archive lies there, and how much originals still take that lossy copies replaced."""
    migrate(run)
    told = run("status").stdout
    assert "of that cold" in told
    assert "of that originals in grace" in told
    assert "of that originals in grace" in run("verify", "--tier", "hot").stdout


def test_without_a_cold_store_nothing_can_go(run: Run, office: Office) -> None:
    """The setting is named."""
    path = office.rig.root / "drimbox.toml"
    path.write_text(path.read_text().replace('store = "folder"\nfolder = "cold"\n', ""))
    done = run("tier", "migrate", "--apply", as_olga=True)
    assert done.exit_code == 11
    assert "cold.store" in done.output
    assert run("cold", "check").exit_code == 11


def test_keys_are_made_and_rotated(run: Run, tmp_path: Path) -> None:
    """A ring that is there is not made again; a new key is added, and the old one stays."""
    ring = tmp_path / "ring.json"
    assert run("cold", "new-key-ring", str(ring), "--key-id", "1").exit_code == 0
    assert run("cold", "new-key-ring", str(ring)).exit_code == 2
    assert run("cold", "rotate-key", str(ring), "--key-id", "2027").exit_code == 0
    assert sorted(json.loads(ring.read_text())["keys"]) == ["1", "2027"]
    assert run("cold", "rotate-key", str(ring), "--key-id", "2027").exit_code != 0


def test_the_check_of_a_folder(run: Run) -> None:
    """Everything the archive relies on is tried."""
    done = run("cold", "check")
    assert done.exit_code == 0, done.output
    assert "read back" in done.stdout
    assert json.loads(run("cold", "check", "--json").stdout)["missing"] == []
