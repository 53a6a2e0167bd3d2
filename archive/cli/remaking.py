"""``drimbox tier remake``: make lossy what went cold without loss, after rules changed; must not judge or move it."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, TypedDict, Unpack

import click

from archive.cli.migrating import print_report
from archive.cli.options import acting_as, json_option, opened, with_settings
from archive.cli.output import print_json, print_pairs, print_table, progress_bar, size_text
from archive.cli.sites import site_of

if TYPE_CHECKING:
    from archive.config import Settings
    from archive.services.people import Person
    from archive.services.remake import RemakeReport


class Scope(TypedDict):
    """Which studies are meant where none is named: those of a site, so many at most."""

    site: str | None
    most: int | None


@click.command("remake")
@click.argument("studies", nargs=-1)
@click.option("--site", help="One site only  [default: all]")
@click.option("--max", "most", type=click.IntRange(min=1), help="Studies at most.")
@click.option("--apply", "is_applied", is_flag=True, help="Do it; without it, only say what it would come to.")
@json_option
@with_settings
@acting_as("operator", "archivist", is_optional=True)
def remake(
    settings: Settings,
    who: Person | None,
    studies: tuple[str, ...],
    *,
    is_applied: bool,
    as_json: bool,
    **scope: Unpack[Scope],
) -> None:
    """Make lossy what is cold without loss and could be lossy by the rules of today; a dry run unless --apply.

    Studies that are named, or all of a site or of the archive: see drimbox tier impact.
    """
    from archive.bootstrap_tiering import remaker_of
    from archive.opening import check_home
    from archive.services.lock import share_home
    from archive.services.migration import move_each

    if is_applied and who is None:
        raise click.UsageError("--apply takes the account of an operator or an archivist: --as NAME")
    site, most = scope["site"], scope["most"]
    if studies and site is not None:
        raise click.UsageError("--site goes without studies")
    check_home(settings)
    wanted = None if site is None else site_of(settings, site)
    with share_home(settings.home), opened(settings) as core, progress_bar("Studies") as progress:
        remaker = remaker_of(core) if who is None else remaker_of(core, actor=who.name)
        if not is_applied:
            _print_plan(remaker.plan(studies, site=wanted, most=most), as_json)
            return
        due = list(studies) or list(islice(remaker.due(site=wanted), most))
        report = move_each(due[:most], remaker.remake, progress)
    print_report(report, is_applied, as_json)


def _print_plan(report: RemakeReport, as_json: bool) -> None:
    if as_json:
        print_json({"applied": False, "report": report})
        return
    print_pairs(
        {
            "studies": report.studies,
            "packs": report.packs,
            "size": size_text(report.size_bytes),
            "to gain": f"{size_text(report.gain_bytes)} (forecast; the pixels decide)",
            "left": len(report.left),
        }
    )
    print_table([(f"  {study}", reason) for study, reason in report.left])
    click.echo("Dry run: nothing was changed. Give --apply --as NAME to do it.")
