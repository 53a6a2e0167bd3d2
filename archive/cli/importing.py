"""``drimbox import``; must not read a file itself: the service takes them through the same ingest as C-STORE."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from archive.cli import PARTLY_DONE
from archive.cli.options import json_option, offline, with_settings
from archive.cli.output import print_json, print_pairs, print_table, progress_bar

if TYPE_CHECKING:
    from archive.config import Settings
    from archive.services.reports import ImportReport


@click.command("import")
@click.argument("paths", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@json_option
@with_settings
def command(settings: Settings, paths: tuple[Path, ...], as_json: bool) -> None:
    """Take in Part 10 files and folders.

    What is stored already is left alone: after an interruption, run it again and it goes on.
    """
    with offline(settings) as archive, progress_bar("importing") as progress:
        report = archive.import_paths(paths, progress)
    if as_json:
        print_json(report)
    else:
        _print(report)
    if report.refused or report.conflicts:
        sys.exit(PARTLY_DONE)


def _print(report: ImportReport) -> None:
    print_table(report.refused)
    print_pairs(
        {
            "stored": report.stored,
            "already stored": report.duplicates,
            "stored with other bytes (see quarantine)": report.conflicts,
            "refused": len(report.refused),
            "not DICOM": report.skipped,
        }
    )
