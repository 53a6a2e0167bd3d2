"""``drimbox tier plan`` and ``tier impact`` on a home with a cold folder, as operators and programs call them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from archive.clock import utc_now
from archive.index.session import Database
from archive.services.lossy_copies import LossyCopier
from archive.services.sweep import Sweeps, Wanted
from tests.integration.disposal.conftest import Office, nothing, open_office, study_uid
from tests.integration.tiering.cold_side import ColdSide
from tests.integration.tiering.test_tier_impact import send_slice
from tests.unit.cli.conftest import Drimbox, drimbox
from tests.unit.services.shelf import Clock
from tiering.disk import OsDisk
from tiering.lossy_tables import load_rules
from tiering.stores.filesystem import FileStore

__all__ = ["drimbox"]

CONFIG = """
[cold]
store = "folder"
folder = "{home}/cold"
[index]
url = "{url}"
[lossy]
enabled = true
[[sites]]
name = "default"
[[sites]]
name = "Clinique"
kind = "private_clinic"
"""
Run = Callable[..., Result]


@pytest.fixture
def side(database: Database, url: str, tmp_path: Path) -> Iterator[ColdSide]:
    """Lend the archive of a home: two studies that may go, a young one, a held one and one that is cold."""
    home = tmp_path / "home"
    home.mkdir()
    configure(home, url)
    store = FileStore.create(OsDisk(), home / "cold")
    for office in open_office(database, Clock(utc_now()), home, OsDisk()):
        side = ColdSide(office, store)
        side = replace(side, lossy=LossyCopier(office.rig.committer, side.stores, office.clock, lambda _: DRG))
        fill(side)
        yield side


DRG = load_rules("drg")


def configure(home: Path, url: str, more: str = "") -> None:
    """Write the settings of a home."""
    (home / "drimbox.toml").write_text("default_site = 'default'\n" + CONFIG.format(home=home, url=url) + more)


def fill(side: ColdSide) -> None:
    """Store, seal, hold, migrate."""
    office = side.office
    send_slice(office, 1, study=5)
    office.store(3, exam_on=f"{office.clock().year - 1}0101")
    side.sealed(1, 2, 4)
    office.hold(4)
    sweep(office)
    side.migrate(5)
    office.rig.committer.barrier()


def sweep(office: Office) -> None:
    """Assess everything once more."""
    Sweeps(office.assessor).apply(Wanted(), "anne", nothing)


@pytest.fixture
def run(drimbox: Drimbox, side: ColdSide) -> Run:
    """Give a function that runs ``drimbox`` on that home."""
    return lambda *arguments: drimbox(*arguments, env={"DRIMBOX_HOME": str(side.office.rig.root)})


def as_json(result: Result) -> dict[str, Any]:
    """Return what a command said, as a program reads it."""
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_the_plan_says_what_goes_and_what_that_saves(run: Run) -> None:
    """Studies, images, bytes before and after, money by month and year, and why the others stay, in words."""
    result = run("tier", "plan")
    assert result.exit_code == 0, result.output
    for words in ("go, with loss", "together", "By modality", "saved a month", "saved a year", "EUR", "prices 2026"):
        assert words in result.stdout
    for words in ("immediate access by law goes on", "somebody holds them", "cold already"):
        assert words in result.stdout
    assert "Nothing was moved" in result.stdout


def test_programs_read_the_same(run: Run) -> None:
    """Totals by action, site, modality and reason; sums fit; no study is listed unless asked for."""
    found = as_json(run("tier", "plan", "--json"))
    assert found["together"]["studies"] == sum(each["studies"] for each in found["actions"].values()) == 2
    assert {code: each["studies"] for code, each in found["stay"].items()} == {"young": 1, "hold": 1, "cold": 1}
    assert found["savings"]["hot_bytes"] == found["together"]["hot_bytes"]
    assert (found["cold_class"], found["currency"]) == ("folder", "EUR")
    assert found["going"] == found["staying"] == []


def test_studies_are_listed_when_asked_for(run: Run) -> None:
    """With the reason of the study and of each of its series, for people and for programs."""
    found = as_json(run("tier", "plan", "--list", "1", "--json"))
    (goes,), (stays,) = found["going"], found["staying"]
    assert goes["reasons"][0]["code"] == "age" and goes["series"][0]["reason"]
    assert stays["study_instance_uid"] == study_uid(4) and stays["reasons"][0]["code"] == "hold"
    shown = run("tier", "plan", "--list", "1").stdout
    assert goes["study_instance_uid"] in shown and "it is on hold" in shown


def test_one_study_can_be_asked_about(run: Run) -> None:
    """All that keeps it is told; one that the archive does not have is a wrong argument."""
    assert as_json(run("tier", "plan", "--study", study_uid(3), "--json"))["reasons"][0]["code"] == "young"
    assert "immediate and lossless until" in run("tier", "plan", "--study", study_uid(3)).stdout
    assert run("tier", "plan", "--study", "1.2.3").exit_code == 2


def test_another_day_can_be_simulated(run: Run) -> None:
    """Later more goes; a day that is over is refused, since what was hot then is not known."""
    later = as_json(run("tier", "plan", "--as-of", "2999-01-01", "--json"))
    assert later["as_of"] == "2999-01-01" and later["together"]["studies"] == 3
    assert run("tier", "plan", "--as-of", "2020-01-01").exit_code == 2


def test_a_site_can_be_asked_about(run: Run) -> None:
    """One that is not in the settings is a wrong argument, not an empty answer."""
    assert as_json(run("tier", "plan", "--site", "Clinique", "--json"))["together"]["studies"] == 0
    assert run("tier", "plan", "--site", "Clinic").exit_code == 2
    assert run("tier", "impact", "--site", "Clinic").exit_code == 2


def test_the_settings_reach_the_plan(run: Run, side: ColdSide, url: str) -> None:
    """Rules, days, prices: each changes what is planned."""
    root = side.office.rig.root
    rules = "[migration]\nprices = { hot = 1000000.0 }\n[[migration.rules]]\nmodalities = ['CT']\nextra_days = 36500\n"
    configure(root, url, rules)
    found = as_json(run("tier", "plan", "--json"))
    assert found["stay"]["extra_days"]["studies"] == 2 and found["savings"]["per_month"] == 0
    configure(root, url, "[migration]\nheld = 'cold_lossless'\nprices = { hot = 1000000.0 }\n")
    found = as_json(run("tier", "plan", "--json"))
    assert found["together"]["studies"] == 3 and found["savings"]["per_month"] > 1


def test_impact_finds_nothing_while_rules_are_the_same(run: Run) -> None:
    """What is cold is counted, and nothing is proposed."""
    found = as_json(run("tier", "impact", "--json"))
    assert (found["packs"], found["lossy"], found["forbidden"], found["could_be_lossy"]) == (1, 1, [], {})
    assert "cold packs" in run("tier", "impact").stdout


def test_impact_names_what_would_not_be_made_today(run: Run, side: ColdSide, url: str) -> None:
    """Study, series, reason and the command that brings it back within the grace period; lines may be limited."""
    configure(side.office.rig.root, url, "[[migration.rules]]\nlossless = true\nmodalities = ['CT']\n")
    found = as_json(run("tier", "impact", "--json"))
    assert [each["study_instance_uid"] for each in found["forbidden"]] == [study_uid(5)]
    shown = run("tier", "impact").stdout
    assert f"drimbox tier rollback {study_uid(5)}" in shown and "CT: never" in shown
    assert "1 more" in run("tier", "impact", "--list", "0").stdout


def test_impact_says_what_there_is_to_gain(run: Run, side: ColdSide) -> None:
    """Packs that went cold without loss, by modality, and that nothing becomes of them by itself."""
    send_slice(side.office, 2, study=6)
    side.sealed()
    replace(side, lossy=None).migrate(6)
    shown = run("tier", "impact").stdout
    assert "They stay as they are" in shown and "nobody tried" in shown
