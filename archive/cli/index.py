"""``drimbox index``: the index database, made again from storage; must not know SQL."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from archive.cli import PARTLY_DONE
from archive.cli.options import json_option, offline, with_settings
from archive.cli.output import print_json, print_pairs, progress_bar

if TYPE_CHECKING:
    from archive.config import Settings


@click.group("index")
def command() -> None:
    """Care for the index database."""


@command.command("rebuild")
@json_option
@with_settings
def rebuild(settings: Settings, as_json: bool) -> None:
    """Restore the whole index from storage alone; stop the server first."""
    with offline(settings) as archive, progress_bar("rebuilding") as progress:
        report = archive.rebuild_index(progress)
    if as_json:
        print_json(report)
    else:
        for problem in report.problems:
            click.echo(problem)
        found = {"instances": report.instances, "in quarantine": report.quarantined}
        print_pairs({**found, "problems": len(report.problems)})
    if report.problems:
        sys.exit(PARTLY_DONE)
