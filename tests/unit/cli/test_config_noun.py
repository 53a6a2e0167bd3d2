"""drimbox config check."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.unit.cli.conftest import Drimbox

GOOD = """
[index]
url = "postgresql://archive:hunter2@db.example/archive"
[[sites]]
name = "Hôpital Nord"
finess = "970000007"
"""


@pytest.fixture
def good(tmp_path: Path) -> str:
    """A right configuration with a secret and a doubt in it."""
    (tmp_path / "good.toml").write_text(GOOD, encoding="utf-8")
    return "good.toml"


def test_right_configuration_is_shown(drimbox: Drimbox, good: str) -> None:
    """Every setting is one line with its dotted name, and the verdict names the file."""
    result = drimbox("config", "check", "--config", good)
    assert result.exit_code == 0
    lines = dict(line.split(":", 1) for line in result.stdout.splitlines())
    assert lines["dicom.port"].strip() == "11112"
    assert lines["dicom.tls.client_certificate"].strip() == '"none"'
    assert "Hôpital Nord" in lines["sites"]
    assert "The configuration is right; it comes from good.toml and the environment." in result.stderr


def test_doubts_are_warnings(drimbox: Drimbox, good: str) -> None:
    """What looks odd is told on standard error and does not make the configuration wrong."""
    result = drimbox("config", "check", "--config", good)
    assert "warning: site Hôpital Nord: FINESS 970000007 has a wrong check digit" in result.stderr


def test_without_a_file_it_says_so(drimbox: Drimbox) -> None:
    """Without a file the verdict says that there is none, so that a misplaced one is noticed."""
    assert "it comes from the environment (no file)" in drimbox("config", "check").stderr


@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_password_is_never_shown(drimbox: Drimbox, good: str, flags: list[str]) -> None:
    """The database password is masked in both forms; user and host are shown."""
    result = drimbox("config", "check", "--config", good, *flags)
    assert "hunter2" not in result.output
    assert "postgresql://archive:********@db.example/archive" in result.stdout


def test_json_has_file_settings_and_warnings(drimbox: Drimbox, good: str) -> None:
    """JSON has the file, every setting and every warning, and standard error is empty."""
    result = drimbox("config", "check", "--config", good, "--json")
    told = json.loads(result.stdout)
    assert told["file"] == "good.toml" and len(told["warnings"]) == 1
    assert told["settings"]["dicom"]["ae_title"] == "DRIMBOX"
    assert told["settings"]["sites"][0]["name"] == "Hôpital Nord"
    assert result.stderr == ""


def test_variables_are_part_of_it(drimbox: Drimbox, good: str) -> None:
    """What is shown is what the archive would run with, variables included."""
    result = drimbox("config", "check", "--config", good, "--json", env={"DRIMBOX_DICOM__PORT": "104"})
    assert json.loads(result.stdout)["settings"]["dicom"]["port"] == 104


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[dicom]\nprot = 1", "Setting dicom.prot is wrong: there is no such setting (did you mean port?)"),
        ("[dicom", "Setting file is wrong: bad.toml is not TOML"),
        ("[index]\nurl = 'mysql://u:hunter2@h/d'", "Setting index.url is wrong"),
    ],
)
@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_wrong_configuration_is_11(drimbox: Drimbox, tmp_path: Path, text: str, words: str, flags: list[str]) -> None:
    """A wrong configuration is told on standard error with exit code 11; nothing is shown as if it were right."""
    (tmp_path / "bad.toml").write_text(text)
    result = drimbox("config", "check", "--config", "bad.toml", *flags)
    assert result.exit_code == 11 and words in result.stderr
    assert result.stdout == "" and "hunter2" not in result.output


def test_unknown_variable_is_11(drimbox: Drimbox) -> None:
    """A mistyped variable is refused by its name."""
    result = drimbox("config", "check", env={"DRIMBOX_DICOM_PORT": "104"})
    assert result.exit_code == 11
    assert "DRIMBOX_DICOM_PORT is wrong: there is no such setting (did you mean DRIMBOX_DICOM__PORT?)" in result.stderr


def test_nothing_is_made(drimbox: Drimbox, tmp_path: Path) -> None:
    """Looking at the configuration makes no home and no file."""
    drimbox("config", "check", "--home", "home")
    assert list(tmp_path.iterdir()) == []
