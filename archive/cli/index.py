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
@click.option("--hot-only", is_flag=True, help="Leave the cold store out, and what lies there alone.")
@json_option
@with_settings
def rebuild(settings: Settings, hot_only: bool, as_json: bool) -> None:
    """Restore the whole index from storage alone, the cold store included; stop the server first."""
    with offline(settings) as archive, progress_bar("rebuilding") as progress:
        report = archive.rebuild_index(progress, hot_only=hot_only)
    if as_json:
        print_json(report)
    else:
        for problem in report.problems:
            click.echo(problem)
        found = {"instances": report.instances, "in quarantine": report.quarantined}
        print_pairs({**found, "problems": len(report.problems)})
    if report.problems:
        sys.exit(PARTLY_DONE)


@command.command("add-cold")
@json_option
@with_settings
def add_cold(settings: Settings, as_json: bool) -> None:
    """Index the packs of the cold store that the index does not know, as after a rebuild with --hot-only."""
    with offline(settings) as archive, progress_bar("looking") as progress:
        report = archive.add_cold(progress)
    if as_json:
        print_json(report)
    else:
        for key, reason in report.problems:
            click.echo(f"{key}: {reason}")
        print_pairs({"packs": report.packs, "instances": report.instances, "problems": len(report.problems)})
        if report.not_needed:
            click.echo(f"{report.not_needed} lossy packs are not needed, their originals are here; they go later.")
    if report.problems:
        sys.exit(PARTLY_DONE)
