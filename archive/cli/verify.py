"""``drimbox verify``: are the stored bytes the bytes received, in both tiers; must not compare or repair any itself."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from archive.cli import PARTLY_DONE
from archive.cli.options import acting_as, json_option, offline, with_settings
from archive.cli.output import print_json, print_pairs, print_table, progress_bar, size_text
from archive.errors import FixityError

if TYPE_CHECKING:
    from archive.config import Settings
    from archive.services.people import Person
    from archive.services.reports import ColdVerifyReport, VerifyReport

_PERCENT = click.FloatRange(min=0, min_open=True, max=100)
_SPEED = click.FloatRange(min=0)


@click.command("verify")
@click.option("--tier", type=click.Choice(["hot", "cold", "all"]), default="all", help="Which copies; all by default.")
@click.option("--percent", type=_PERCENT, default=100, help="How many of them, those verified longest ago first.")
@click.option("--mib-per-second", type=_SPEED, default=0, help="Read no faster than that.")
@click.option("--repair", is_flag=True, help="Make damaged packs whole from the other tier; takes --as NAME.")
@json_option
@with_settings
@acting_as("operator", "archivist", is_optional=True)
def command(settings: Settings, who: Person | None, repair: bool, as_json: bool, **wanted: Any) -> None:
    """Read all objects, hot and cold; compare their digests."""
    from archive.services.reports import VerifyWanted

    if repair and who is None:
        raise click.UsageError("--repair takes the account of an operator or an archivist: --as NAME")
    asked = VerifyWanted(**wanted, repair_as=who.name if repair and who is not None else None)
    with offline(settings) as archive, progress_bar("verifying") as progress:
        report = archive.verify(progress, asked)
    if as_json:
        print_json(report)
    else:
        _print(report)
    if not report.holds:
        sys.exit(FixityError.exit_code)
    if not report.is_complete:
        sys.exit(PARTLY_DONE)


def _print(report: VerifyReport) -> None:
    print_table([*(("damaged", key) for key in report.damaged), *(("missing", key) for key in report.missing)])
    if report.cold is not None:
        _print_cold_problems(report.cold)
    print_table([("repaired", old, new) for old, new in report.repaired or ()])
    print_table([("not repaired", key, reason) for key, reason in report.not_repaired or ()])
    print_pairs(
        {
            "checked": report.checked,
            **({"of that originals in grace": report.originals} if report.originals else {}),
            "damaged": len(report.damaged),
            "missing": len(report.missing),
        }
    )
    if report.cold is not None:
        _print_cold(report.cold)


def _print_cold_problems(cold: ColdVerifyReport) -> None:
    print_table(
        [
            *(("damaged", key, "in the cold store") for key in cold.damaged),
            *(("missing", key, "in the cold store") for key in cold.missing),
            *(("not read", key, reason) for key, reason in cold.not_read),
            *(("orphan", key, "the index does not know it: drimbox index add-cold") for key in cold.orphans),
            *(("unused", key, "it stands in for nothing and was not discarded: see the log") for key in cold.unused),
        ]
    )


def _print_cold(cold: ColdVerifyReport) -> None:
    pairs = {"cold packs checked": cold.checked, "read": size_text(cold.read_bytes)}
    counts = {name: len(getattr(cold, name)) for name in ("damaged", "missing", "not_read", "orphans", "unused")}
    print_pairs({**pairs, **{f"cold packs {name.replace('_', ' ')}": count for name, count in counts.items()}})
