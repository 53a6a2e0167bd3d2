"""``drimbox slo``: how quickly stored series come, as probes measured it; must not measure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from archive.cli.options import json_option, opened, with_settings
from archive.cli.output import moment_text, print_json, print_table, seconds_text

if TYPE_CHECKING:
    from archive.config import Settings
    from archive.services.slo import ProbeSummary

_HEADER = (
    *("tier", "site", "probes", "failed", "in time"),
    *(f"{what} p{percent}" for what in ("first", "series") for percent in (50, 95, 99)),
    "last",
)


@click.command("slo")
@click.option("--days", type=click.IntRange(1, 90), default=7, show_default=True, help="How far to look back.")
@json_option
@with_settings
def command(settings: Settings, days: int, as_json: bool) -> None:
    """Print how quickly stored series came.

    As probes measured it. The promise: the first image within 5 s, 600 images within 60 s.
    """
    from archive.clock import utc_now
    from archive.services.slo import ProbeHistory

    with opened(settings) as core:
        found = ProbeHistory(core.database).summaries(utc_now(), days)
    if as_json:
        print_json(found)
    elif found:
        print_table([_row(each) for each in found], header=_HEADER)
    else:
        click.echo("Nothing was measured; probe.every_minutes has a serving archive measure.")


def _row(each: ProbeSummary) -> Sequence[object]:
    times = [*(each.first_ms or ()), *(each.whole_ms or ())] or [None] * 6
    shown = ["-" if time is None else seconds_text(time) for time in times]
    return each.tier, each.site, each.probes, each.failed, each.kept, *shown, moment_text(each.last_at)
