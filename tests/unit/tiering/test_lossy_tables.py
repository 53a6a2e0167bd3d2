"""What files of lossy rules may say; unclear ones are refused."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from importlib import resources
from pathlib import Path

import pytest

from tiering.errors import InvalidLossyRules
from tiering.lossy_rules import SiteRules
from tiering.lossy_tables import load_gates, load_rules, read_caps, read_gates, read_never

FOLDER = resources.files("tiering") / "rules"


def text(name: str) -> str:
    """Return a shipped file."""
    return (FOLDER / f"{name}.toml").read_text(encoding="utf-8")


def test_every_cap_has_its_source() -> None:
    """Each row of both tables carries the source's words, each table where it was read."""
    for name in ("drg", "car"):
        table = load_rules(name).table
        assert table.name == name
        assert table.url.startswith("https://")
        assert all(cap.quote and f"{cap.ratio:g}" in cap.quote for cap in table.caps)


def test_every_gate_has_its_rationale() -> None:
    """Each gate says why its numbers are what they are."""
    assert all(len(gate.rationale) > 5 for gate in load_gates().gates.values())


def test_rules_are_in_the_wheel(tmp_path: Path) -> None:
    """The files are installed with the package."""
    root = Path(__file__).resolve().parents[3]
    words = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)]
    subprocess.run(words, cwd=root, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    shipped = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("tiering/rules/")}
    assert shipped == {f"tiering/rules/{name}.toml" for name in ("car", "drg", "gates", "never", "prices")}


def test_there_is_no_other_table() -> None:
    """A table nobody ships is refused by name."""
    with pytest.raises(InvalidLossyRules, match="rcr"):
        load_rules("rcr")


@pytest.mark.parametrize("cap", [1.0, 0.0, -3.0, float("nan"), float("inf")])
def test_a_site_cap_must_be_a_ratio(cap: float) -> None:
    """A site's cap that is no ratio above 1 is refused, not taken for no cap."""
    with pytest.raises(InvalidLossyRules, match="cap of CT"):
        load_rules("drg", SiteRules(caps={"CT": cap}))


MR = 'modality = "MR"\n'


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ('name = "drg"', "name drg", "not TOML"),
        ('name = "drg"\n', "", "the file has no name"),
        ('name = "drg"', 'name = ""', "name of the file"),
        ('name = "drg"', 'name = "drg"\ncolour = "red"', "unknown key colour"),
        ('version = "drg 2008"', "version = 2008", "version of the file is not a text"),
        ("[citation]", "[citation]\npage = '32'", "the citation has the unknown key page"),
        (MR, MR + "factor = 3.0\n", "unknown key factor"),
        ('ratio = 7.0\nquote = "MR (alle Anwendungen) 1:7"', "ratio = 7.0", "has no quote"),
        ("ratio = 7.0", "", "has no ratio"),
        ("ratio = 7.0", "ratio = 7", "ratio of cap 6 is not a number"),
        ("ratio = 7.0", 'ratio = "7"', "ratio of cap 6 is not a number"),
        ("ratio = 7.0", "ratio = true", "ratio of cap 6 is not a number"),
        ("ratio = 7.0", "ratio = 1.0", "is not above 1"),
        ("ratio = 7.0", "ratio = nan", "is not above 1"),
        ("ratio = 7.0", "ratio = inf", "up to 100"),
        (MR, 'modality = "XA"\n', "XA is there twice"),
        (MR, 'modality = "CT"\n', "which holds is unclear"),
        ('region = "brain"', 'region = "other"', "CT other is there twice"),
        ('region = "brain"', 'region = "toe"', "'toe' of CT is not one of"),
    ],
)
def test_an_unclear_table_is_refused(old: str, new: str, fault: str) -> None:
    """A file with a typing mistake, a gap or two answers is not used, and the message says where."""
    content = text("drg")
    assert old in content
    with pytest.raises(InvalidLossyRules, match="test") as caught:
        read_caps("test", content.replace(old, new, 1))
    assert fault in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("max_error = 8.0\n", "", "either max_error or max_error_percent"),
        ("max_error = 8.0\n", "max_error = 8.0\nmax_error_percent = 1.0\n", "either max_error or max_error_percent"),
        ("min_ssim = 0.985\n", "", "needs min_psnr_db and min_ssim"),
        ("min_psnr_db = 55.0\n", "", "needs min_psnr_db and min_ssim"),
        ("min_ssim = 0.985", "min_ssim = 1.5", "min_ssim of gate 1"),
        ("min_ssim = 0.985", "min_ssim = nan", "min_ssim of gate 1"),
        ("min_psnr_db = 55.0", "min_psnr_db = 5.0", "min_psnr_db of gate 1"),
        ("max_error = 8.0", "max_error = 0.0", "max_error of gate 1"),
        ("max_error = 8.0", "max_error = inf", "max_error of gate 1"),
        ('modality = "US"', 'modality = "XA"', "XA is there twice"),
        ("max_error = 8.0", "max_eror = 8.0", "unknown key max_eror"),
    ],
)
def test_an_unclear_gate_is_refused(old: str, new: str, fault: str) -> None:
    """A gate that limits nothing, or says it in a word nobody reads, is not used."""
    content = text("gates")
    assert old in content
    with pytest.raises(InvalidLossyRules) as caught:
        read_gates("test", content.replace(old, new, 1))
    assert fault in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ('names = ["SEG"]', 'names = ["MG"]', "modalities has an item"),
        ('names = ["SEG"]', 'names = [" "]', "modalities has an item"),
        ('names = ["SEG"]', "names = [1]", "modalities has an item"),
        ('names = ["SEG"]', "names = []", "names of modalities 2 is not a list, or empty"),
        ('names = ["SEG"]', 'words = ["SEG"]', "unknown key words"),
        ('"CHEST", "THORAX"', '"BRAIN", "THORAX"', "regions has an item"),
        ('name = "other"', 'name = "toe"', "'toe' is not one of"),
        ('"MONOCHROME1", ', '"MONOCHROME2", ', "photometrics has an item"),
        ('reason = "it is no image"', 'reason = ""', "reason of modalities 5"),
    ],
)
def test_an_unclear_list_is_refused(old: str, new: str, fault: str) -> None:
    """A word that is there twice could mean two things; an empty one nothing."""
    content = text("never")
    assert old in content
    with pytest.raises(InvalidLossyRules) as caught:
        read_never("test", content.replace(old, new, 1))
    assert fault in str(caught.value)


def test_a_table_that_is_no_table_is_refused() -> None:
    """Rows must be tables."""
    with pytest.raises(InvalidLossyRules, match="cap 1 is not a table"):
        read_caps("test", 'caps = [1]\nname = "a"\nversion = "b"\n[citation]\ntext = "c"\nurl = "d"\n')
