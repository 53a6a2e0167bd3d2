"""``drimbox tier impact``: what the rules of today would decide otherwise about what is cold; must not change it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from archive.cli.options import json_option, opened, with_settings
from archive.cli.output import print_json, print_pairs, print_table, progress_bar, size_text
from archive.cli.sites import site_of

if TYPE_CHECKING:
    from archive.config import Settings
    from archive.services.tier_impact import Forbidden, ImpactReport


@click.command("impact")
@click.option("--site", help="One site only  [default: all]")
@click.option("--list", "listed", type=click.IntRange(min=0), default=20, show_default=True, help="Lines at most.")
@json_option
@with_settings
def impact(settings: Settings, site: str | None, listed: int, as_json: bool) -> None:
    """Compare what is cold with the rules of lossy compression in force now; nothing is changed.

    Run it after rules, gates or settings changed: it names copies that could now be lossy, and lossy ones that would
    not be made.
    """
    from archive.bootstrap_tiering import tier_impact_of

    wanted = None if site is None else site_of(settings, site)
    with opened(settings) as core, progress_bar("packs") as progress:
        report = tier_impact_of(core).report(progress, site=wanted)
    if as_json:
        print_json(_item(report))
    else:
        _print(report, listed)


def _print(report: ImpactReport, listed: int) -> None:
    print_pairs(
        {
            "rules of today": f"{report.rules}; {report.gates}",
            "cold packs": f"{report.packs}, {report.lossy} of them lossy",
            "lossless that could be lossy": sum(each.packs for each in report.could_be_lossy.values()),
            "bytes to gain": f"{size_text(report.gain_bytes)} (forecast)",
            "lossy that would not be made": len(report.forbidden),
        }
    )
    if report.could_be_lossy:
        click.echo("\nCould be lossy: drimbox tier remake makes them so. They stay as they are until somebody asks.")
        rows = [
            (name or "-", each.packs, size_text(each.size_bytes), size_text(each.gain_bytes))
            for name, each in sorted(report.could_be_lossy.items(), key=lambda item: -item[1].gain_bytes)
        ]
        print_table(rows, header=("", "packs", "size", "to gain"))
        reasons = sorted(report.because.items(), key=lambda item: -item[1])
        print_table([(f"  {why}", count) for why, count in reasons])
    if report.forbidden:
        click.echo("\nWould not be made lossy today. Nothing brings back what a trim let go of.")
        for each in report.forbidden[:listed]:
            _print_forbidden(each)
        if len(report.forbidden) > listed:
            click.echo(f"... and {len(report.forbidden) - listed} more (--list, or --json for all)")


def _print_forbidden(each: Forbidden) -> None:
    way = f"drimbox tier rollback {each.study_instance_uid}" if each.can_go_back else "its original is gone"
    click.echo(f"  study {each.study_instance_uid}, series {each.series_instance_uid}, {each.site}: {way}")
    for reason in each.reasons:
        click.echo(f"    {reason}")


def _item(report: ImpactReport) -> dict[str, object]:
    return {
        "rules": report.rules,
        "gates": report.gates,
        "packs": report.packs,
        "lossy": report.lossy,
        "could_be_lossy": dict(report.could_be_lossy),
        "because": dict(report.because),
        "gain_bytes": report.gain_bytes,
        "forbidden": [each._asdict() for each in report.forbidden],
    }
