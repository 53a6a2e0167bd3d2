"""The command line as a whole: nouns, exit codes, errors, and how little it loads."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys

import click
import pytest

from archive import cli
from archive.errors import (
    ArchiveError,
    AuditBroken,
    ConfigError,
    FixityError,
    IndexUnavailable,
    StorageFull,
)
from retention_rules.errors import RetentionError, SettingBelowFloor
from tests.unit.cli.conftest import Drimbox, FakeOffline

NOUNS = (
    "account",
    "audit",
    "certificates",
    "cold",
    "config",
    "disposal",
    "echo",
    "facts",
    "hl7",
    "hold",
    "import",
    "index",
    "patient",
    "quarantine",
    "retention",
    "serve",
    "slo",
    "status",
    "tier",
    "verify",
    "version",
    "viewer",
)
CANARY = "CANARY^MOREAU"


class TestNouns:
    """What can be asked."""

    def test_help_names_every_noun(self, drimbox: Drimbox) -> None:
        """Help lists the nouns, each with a sentence that is not cut."""
        result = drimbox("--help")
        assert result.exit_code == 0
        listed = result.stdout.partition("Commands:\n")[2].splitlines()
        assert [line.split()[0] for line in listed] == list(NOUNS)
        assert all(line.endswith(".") and not line.endswith("...") for line in listed)

    @pytest.mark.parametrize("noun", NOUNS)
    def test_noun_is_a_command_of_its_name(self, noun: str, drimbox: Drimbox) -> None:
        """Each noun's module holds a command of that name, and its help works with -h."""
        command = importlib.import_module(cli._NOUNS[noun]).command
        assert isinstance(command, click.Command) and command.name == noun
        result = drimbox(noun, "-h")
        assert result.exit_code == 0 and result.stdout.startswith(f"Usage: drimbox {noun}")

    @pytest.mark.parametrize(
        "arguments",
        [["purge"], ["status", "--jsn"], ["audit", "purge"], ["import"], ["serve", "--dicom-port", "99999"]],
    )
    def test_wrong_usage_exits_with_2(self, drimbox: Drimbox, archive: FakeOffline, arguments: list[str]) -> None:
        """An unknown noun, verb or option, or a missing argument, is wrong usage and touches nothing."""
        result = drimbox(*arguments)
        assert result.exit_code == 2 and "Usage: drimbox" in result.stderr
        assert archive.asked == []

    @pytest.mark.parametrize(
        "arguments",
        [["status"], ["verify"], ["index", "rebuild"], ["audit", "verify"], ["audit", "list"], ["quarantine", "list"]],
    )
    def test_reading_nouns_speak_json(self, drimbox: Drimbox, archive: FakeOffline, arguments: list[str]) -> None:
        """With --json standard output is one JSON document, standard error is empty, and the archive is closed."""
        result = drimbox(*arguments, "--json")
        assert result.exit_code == 0 and result.stderr == ""
        json.loads(result.stdout)
        assert archive.closed == 1


class TestErrors:
    """What goes wrong, and how the shell sees it."""

    @pytest.mark.parametrize(
        "error",
        [
            ConfigError(name="dicom.port", reason="x"),
            StorageFull(floor_mib=512),
            IndexUnavailable(reason="connection refused"),
            FixityError(key="20261123/1/7", reason="x"),
            AuditBroken(sequence=7, reason="hash"),
            SettingBelowFloor(name="base", value=4, citation="the law", minimum=5),
        ],
        ids=lambda error: type(error).__name__,
    )
    def test_error_of_ours_is_a_message_and_its_code(
        self, drimbox: Drimbox, archive: FakeOffline, error: ArchiveError | RetentionError
    ) -> None:
        """An error of ours is its message on standard error and the exit code of its class, nothing on output."""
        archive.error = error
        result = drimbox("status", "--json")
        assert result.exit_code == type(error).exit_code >= 10
        assert result.stderr == f"drimbox: {error.message}\n"
        assert result.stdout == "" and archive.closed == 1

    def test_interruption_exits_with_130(self, drimbox: Drimbox, archive: FakeOffline) -> None:
        """Ctrl-C ends a command as shells expect, with the archive closed."""
        archive.error = KeyboardInterrupt()
        assert drimbox("verify").exit_code == 130
        assert archive.closed == 1

    def test_bug_exits_with_1_and_quotes_nothing(
        self,
        monkeypatch: pytest.MonkeyPatch,
        archive: FakeOffline,
        capsys: pytest.CaptureFixture[str],
        drimbox: Drimbox,
    ) -> None:
        """An unforeseen error exits with 1 and says where it came from, without its message."""
        archive.error = ValueError(CANARY)
        monkeypatch.setattr(sys, "argv", ["drimbox", "status"])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        captured = capsys.readouterr()
        assert caught.value.code == 1 and captured.out == ""
        assert "drimbox: this is a bug" in captured.err and "ValueError" in captured.err
        assert "cli/conftest.py:" in captured.err and CANARY not in captured.err

    def test_success_exits_with_0(
        self,
        monkeypatch: pytest.MonkeyPatch,
        archive: FakeOffline,
        capsys: pytest.CaptureFixture[str],
        drimbox: Drimbox,
    ) -> None:
        """A command that is done ends the process with 0."""
        monkeypatch.setattr(sys, "argv", ["drimbox", "audit", "verify"])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        assert not caught.value.code and "entries" in capsys.readouterr().out


class TestLoading:
    """Start-up time is part of the interface: a health check runs every few seconds."""

    HEAVY = (
        *("numpy", "pydicom", "pynetdicom", "pydantic", "sqlalchemy", "dbos", "rich"),
        *("archive.bootstrap", "archive.config"),
    )

    def loaded_after(self, statement: str) -> set[str]:
        """Return the heavy modules a fresh interpreter has loaded after a statement."""
        script = f"{statement}\nimport sys\nprint(*[name for name in {self.HEAVY!r} if name in sys.modules])"
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
        return set(done.stdout.split())

    def test_command_line_loads_nothing_heavy(self) -> None:
        """The root loads no noun and no library but click."""
        assert self.loaded_after("import archive.cli") == set()

    @pytest.mark.parametrize("noun", NOUNS)
    def test_help_of_a_noun_loads_nothing_heavy(self, noun: str) -> None:
        """A noun loads what it needs when it runs, not when it is looked at."""
        assert (
            self.loaded_after(f"import archive.cli, importlib; importlib.import_module(archive.cli._NOUNS[{noun!r}])")
            == set()
        )

    def test_health_check_does_without_the_server(self) -> None:
        """A C-ECHO runs without the database, the DICOM libraries and the wiring."""
        statement = (
            "import contextlib\nfrom archive.cli import root\n"
            "with contextlib.suppress(SystemExit): root.main(['echo', '--host', '127.0.0.1', '--port', '1'])"
        )
        assert self.loaded_after(statement) <= {"pydantic", "archive.config"}

    def test_only_a_worker_that_starts_loads_its_engine(self) -> None:
        """DBOS costs 17 MB and 0.2 s: serving without migration, and knowing the worker, do without it."""
        assert "dbos" not in self.loaded_after("import archive.bootstrap, archive.worker")

    def test_module_runs_as_a_command(self) -> None:
        """``python -m archive`` is the command line."""
        done = subprocess.run([sys.executable, "-m", "archive", "purge"], capture_output=True, text=True, check=False)
        assert done.returncode == 2 and "No such command 'purge'" in done.stderr
