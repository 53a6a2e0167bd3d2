"""The command line, ``drimbox <noun> <verb>``; must not do work of its own, nor import a noun before it is asked for.

Exit codes: 0 done, 1 a bug, 2 wrong usage, 3 partly done, 10 and above from the error's class, 130 interrupted.
"""

from __future__ import annotations

import importlib
import json
import sys

import click

from archive.errors import ArchiveError
from retention_rules.errors import RetentionError
from tiering.errors import TieringError

__all__ = ["main", "root"]

PARTLY_DONE = 3
INTERRUPTED = 130

_NOUNS = {
    "account": "archive.cli.account",
    "audit": "archive.cli.audit",
    "certificates": "archive.cli.certificates",
    "cold": "archive.cli.cold",
    "config": "archive.cli.config",
    "disposal": "archive.cli.disposal",
    "echo": "archive.cli.echo",
    "facts": "archive.cli.facts",
    "hl7": "archive.cli.hl7",
    "hold": "archive.cli.hold",
    "import": "archive.cli.importing",
    "index": "archive.cli.index",
    "patient": "archive.cli.patient",
    "quarantine": "archive.cli.quarantine",
    "retention": "archive.cli.retention",
    "serve": "archive.cli.serve",
    "slo": "archive.cli.slo",
    "status": "archive.cli.status",
    "tier": "archive.cli.tier",
    "verify": "archive.cli.verify",
    "version": "archive.cli.version",
    "viewer": "archive.cli.viewer",
}


class Nouns(click.Group):
    """Loads a noun's module when it is named; its command is the module's ``command``."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all nouns."""
        return sorted(_NOUNS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command of a noun, or None when there is no such noun."""
        if cmd_name not in _NOUNS:
            return None
        command = importlib.import_module(_NOUNS[cmd_name]).command
        assert isinstance(command, click.Command)
        return command

    def invoke(self, ctx: click.Context) -> object:
        """Run a command; turn an error of ours into a message and an exit code."""
        try:
            return super().invoke(ctx)
        except (ArchiveError, RetentionError, TieringError) as exc:
            click.echo(f"drimbox: {exc.message}", err=True)
            raise click.exceptions.Exit(exc.exit_code) from exc
        except KeyboardInterrupt:
            raise click.exceptions.Exit(INTERRUPTED) from None


@click.command(cls=Nouns, context_settings={"help_option_names": ["-h", "--help"]})
def root() -> None:
    """DICOM archive: receives, finds, gives back, keeps, lets go."""


def main() -> None:
    """Run the command line and exit; a bug exits with 1 and says where it is, never what was in the data."""
    try:
        root.main(prog_name="drimbox")
    except Exception as exc:
        from archive.logs import describe

        click.echo(f"drimbox: this is a bug, please report it: {json.dumps(describe(exc))}", err=True)
        sys.exit(1)
