"""drimbox serve: what it hands to the composition root."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from archive import bootstrap
from archive.config import Settings
from archive.errors import StorageFailed
from tests.unit.cli.conftest import Drimbox

READY = "READY dicom=127.0.0.1:40123 ae=DRIMBOX home=/srv/home"


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    """Replace serving by announcing; return the settings it was called with."""
    calls: list[Settings] = []

    def serve(settings: Settings, *, announce: Callable[[str], None]) -> None:
        calls.append(settings)
        announce(READY)

    monkeypatch.setattr(bootstrap, "serve", serve)
    return calls


def test_ready_line_is_all_of_standard_output(drimbox: Drimbox, served: list[Settings]) -> None:
    """Standard output is the ready line, whole, for whoever waits for it."""
    result = drimbox("serve")
    assert result.exit_code == 0 and result.stdout == READY + "\n"


def test_options_reach_the_settings(drimbox: Drimbox, served: list[Settings]) -> None:
    """Home, address, port and AE title are what the options say; port 0 is a value."""
    drimbox("serve", "--home", "/srv/h", "--dicom-host", "0.0.0.0", "--dicom-port", "0", "--ae-title", "PACS")
    (settings,) = served
    assert settings.home == Path("/srv/h")
    assert (settings.dicom.host, settings.dicom.port, settings.dicom.ae_title) == ("0.0.0.0", 0, "PACS")


def test_the_hl7_port_is_an_option(drimbox: Drimbox, served: list[Settings]) -> None:
    """--hl7-port switches the HL7 listener on, 0 picks a port; without it the configuration stands."""
    drimbox("serve", "--hl7-port", "0")
    drimbox("serve", "--hl7-port", "2575", env={"DRIMBOX_HL7__PORT": "1"})
    drimbox("serve")
    assert [settings.hl7.port for settings in served] == [0, 2575, None]


def test_options_left_out_leave_the_configuration(drimbox: Drimbox, served: list[Settings], tmp_path: Path) -> None:
    """What no option says comes from the file and the variables."""
    (tmp_path / "some.toml").write_text('[dicom]\nport = 104\nae_title = "FILE"\n')
    drimbox("serve", "--config", "some.toml", "--ae-title", "PACS", env={"DRIMBOX_DICOM__HOST": "::1"})
    (settings,) = served
    assert (settings.dicom.host, settings.dicom.port, settings.dicom.ae_title) == ("::1", 104, "PACS")


@pytest.mark.parametrize("title", ["", "SEVENTEEN_LETTERS", "A\\B"])
def test_wrong_ae_title_does_not_serve(drimbox: Drimbox, served: list[Settings], title: str) -> None:
    """An AE title that is none is refused under the setting's name."""
    result = drimbox("serve", "--ae-title", title)
    assert result.exit_code == 11 and "Setting dicom.ae_title is wrong" in result.stderr
    assert served == []


def test_logs_follow_the_settings(drimbox: Drimbox, served: list[Settings]) -> None:
    """The server logs at the configured level, on standard error, in JSON."""
    site = json.dumps([{"name": "CHU", "finess": "970000007"}])
    result = drimbox("serve", env={"DRIMBOX_LOG__LEVEL": "debug", "DRIMBOX_SITES": site})
    assert logging.getLogger().level == logging.DEBUG
    record = json.loads(result.stderr)
    assert (record["event"], record["level"]) == ("setting_doubted", "warning")
    assert "wrong check digit" in record["reason"]


def test_failure_to_start_has_its_code(drimbox: Drimbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the storage cannot be opened the exit code is that of the error, and no ready line is printed."""

    def serve(settings: Settings, *, announce: Callable[[str], None]) -> None:
        raise StorageFailed(reason="Permission denied")

    monkeypatch.setattr(bootstrap, "serve", serve)
    result = drimbox("serve")
    assert result.exit_code == StorageFailed.exit_code
    assert result.stdout == "" and "The storage failed: Permission denied" in result.stderr
