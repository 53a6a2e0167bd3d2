"""``drimbox verify``: are the stored bytes the bytes received; must not change anything."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from archive.cli.options import json_option, offline, with_settings
from archive.cli.output import print_json, print_pairs, print_table, progress_bar
from archive.errors import FixityError

if TYPE_CHECKING:
    from archive.config import Settings
    from archive.services.reports import VerifyReport


@click.command("verify")
@json_option
@with_settings
def command(settings: Settings, as_json: bool) -> None:
    """Read all objects; compare their digests."""
    with offline(settings) as archive, progress_bar("verifying") as progress:
        report = archive.verify(progress)
    if as_json:
        print_json(report)
    else:
        _print(report)
    if not report.holds:
        sys.exit(FixityError.exit_code)


def _print(report: VerifyReport) -> None:
    print_table([*(("damaged", key) for key in report.damaged), *(("missing", key) for key in report.missing)])
    print_pairs({"checked": report.checked, "damaged": len(report.damaged), "missing": len(report.missing)})
