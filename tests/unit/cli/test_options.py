"""Where a command finds its home and its configuration."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from tests.unit.cli.conftest import Drimbox, FakeOffline

TOML = '[dicom]\nae_title = "{}"\n'


def home_of(archive: FakeOffline) -> Path:
    """Return the home the archive was opened with."""
    assert archive.settings is not None
    return archive.settings.home


def title_of(archive: FakeOffline) -> str:
    """Return the AE title the archive was opened with."""
    assert archive.settings is not None
    return archive.settings.dicom.ae_title


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Three configurations, told apart by AE title: by option, by variable, and in the home."""
    for name in ("option", "variable"):
        (tmp_path / f"{name}.toml").write_text(TOML.format(name.upper()))
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "drimbox.toml").write_text(TOML.format("HOME"))
    return tmp_path


def test_home_defaults_to_a_folder_here(drimbox: Drimbox, archive: FakeOffline, tmp_path: Path) -> None:
    """Without a word the home is drimbox-home in the working folder."""
    assert drimbox("status").exit_code == 0
    assert home_of(archive) == tmp_path / "drimbox-home"


def test_home_option_wins_over_its_variable(drimbox: Drimbox, archive: FakeOffline) -> None:
    """--home is the home even when DRIMBOX_HOME names another."""
    drimbox("status", "--home", "/srv/a", env={"DRIMBOX_HOME": "/srv/b"})
    assert home_of(archive) == Path("/srv/a")


def test_home_variable_is_the_home(drimbox: Drimbox, archive: FakeOffline) -> None:
    """DRIMBOX_HOME is the home of every command."""
    drimbox("status", env={"DRIMBOX_HOME": "/srv/b"})
    assert home_of(archive) == Path("/srv/b")


@pytest.mark.parametrize(
    ("arguments", "env", "expected"),
    [
        ([], {}, "HOME"),
        ([], {"DRIMBOX_CONFIG": "variable.toml"}, "VARIABLE"),
        (["--config", "option.toml"], {"DRIMBOX_CONFIG": "variable.toml"}, "OPTION"),
        (["--config", "option.toml"], {"DRIMBOX_DICOM__AE_TITLE": "DIRECT"}, "DIRECT"),
    ],
)
def test_configuration_is_found_in_order(
    drimbox: Drimbox, archive: FakeOffline, files: Path, arguments: list[str], env: dict[str, str], expected: str
) -> None:
    """--config wins over DRIMBOX_CONFIG, which wins over the file in the home; single variables win over files."""
    assert drimbox("status", "--home", "home", *arguments, env=env).exit_code == 0
    assert title_of(archive) == expected


@pytest.mark.parametrize("arguments", [["status"], ["verify"], ["audit", "list"], ["quarantine", "list"], ["echo"]])
def test_wrong_configuration_stops_every_command(drimbox: Drimbox, archive: FakeOffline, arguments: list[str]) -> None:
    """With a wrong setting no command does anything: exit code 11 and the setting's name."""
    result = drimbox(*arguments, env={"DRIMBOX_DICOM__PORT": "99999"})
    assert result.exit_code == 11 and "Setting dicom.port is wrong" in result.stderr
    assert archive.settings is None


def test_home_that_is_a_file_is_wrong_usage(drimbox: Drimbox, archive: FakeOffline, tmp_path: Path) -> None:
    """A home that is a file is refused before anything is opened."""
    (tmp_path / "file").touch()
    result = drimbox("status", "--home", "file")
    assert result.exit_code == 2 and archive.settings is None


def test_offline_commands_log_warnings_only(drimbox: Drimbox, archive: FakeOffline) -> None:
    """A command's answer is not drowned in log lines, whatever the server's level."""
    drimbox("status", env={"DRIMBOX_LOG__LEVEL": "debug"})
    assert logging.getLogger().level == logging.WARNING
