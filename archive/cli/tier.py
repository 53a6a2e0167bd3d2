"""``drimbox tier``: pack quiet studies, let received files go that packs stand in for; must not do either itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from archive.cli import PARTLY_DONE, impact, jobs, migrating, planning, recalling, remaking
from archive.cli.options import acting_as, json_option, opened, with_settings
from archive.cli.output import print_json, print_pairs, size_text

if TYPE_CHECKING:
    from archive.config import Settings
    from archive.services.people import Person
    from archive.services.seal import SealReport
    from archive.services.trim import TrimReport


@click.group("tier")
def command() -> None:
    """Pack quiet studies, losslessly, and see where bytes are."""


@command.command("seal")
@click.option("--max", "most", type=click.IntRange(min=1), help="Studies at most.")
@click.option("--apply", "is_applied", is_flag=True, help="Seal; without it, only count what would be.")
@json_option
@with_settings
@acting_as("operator", "archivist", is_optional=True)
def seal(settings: Settings, who: Person | None, most: int | None, is_applied: bool, as_json: bool) -> None:
    """Pack the studies that have been quiet; a dry run unless --apply, which takes --as NAME."""
    from archive.bootstrap_tiering import sealer_of
    from archive.opening import check_home
    from archive.services.lock import share_home

    _ask_for_name(who, is_applied)
    check_home(settings)
    with share_home(settings.home), opened(settings) as core:
        sealer = sealer_of(core) if who is None else sealer_of(core, actor=who.name)
        report = sealer.run(most=most) if is_applied else sealer.plan()
    _print_sealed(report, is_applied, as_json)


@command.command("trim")
@click.option("--max", "most", type=click.IntRange(min=1), help="Files at most.")
@click.option("--apply", "is_applied", is_flag=True, help="Delete them; without it, only count what would go.")
@json_option
@with_settings
@acting_as("operator", "archivist", is_optional=True)
def trim(settings: Settings, who: Person | None, most: int | None, is_applied: bool, as_json: bool) -> None:
    """Let received files go that a proven pack stands in for, after the grace period; a dry run unless --apply."""
    from archive.bootstrap_tiering import trimmer_of
    from archive.opening import check_home
    from archive.services.lock import share_home

    _ask_for_name(who, is_applied)
    check_home(settings)
    with share_home(settings.home), opened(settings) as core:
        trimmer = trimmer_of(core) if who is None else trimmer_of(core, actor=who.name)
        report = trimmer.run(most=most) if is_applied else trimmer.plan()
    _print_trimmed(report, is_applied, as_json)


command.add_command(migrating.migrate)
command.add_command(migrating.rollback)
command.add_command(migrating.evidence)
command.add_command(planning.plan)
command.add_command(impact.impact)
command.add_command(remaking.remake)
command.add_command(recalling.recall)
command.add_command(jobs.jobs)
command.add_command(jobs.retry)


def _ask_for_name(who: Person | None, is_applied: bool) -> None:
    if is_applied and who is None:
        raise click.UsageError("--apply takes the account of an operator or an archivist: --as NAME")


def _print_sealed(report: SealReport, is_applied: bool, as_json: bool) -> None:
    if as_json:
        print_json({"applied": is_applied, "report": report})
    else:
        pairs = {"studies": report.studies, "instances": report.instances, "received": size_text(report.received_bytes)}
        if is_applied:
            pairs |= {"packs": report.packs, "packed": size_text(report.packed_bytes)}
            pairs |= {"compressed": report.compressed, "left as received": len(report.left)}
        print_pairs(pairs)
        for what, reason in report.left:
            click.echo(f"  {what}: {reason}")
        if not is_applied:
            click.echo("Dry run: nothing was sealed. Give --apply --as NAME to do it.")
    if report.left:
        raise click.exceptions.Exit(PARTLY_DONE)


def _print_trimmed(report: TrimReport, is_applied: bool, as_json: bool) -> None:
    if as_json:
        print_json({"applied": is_applied, "report": report})
    else:
        print_pairs({"files": report.trimmed, "size": size_text(report.freed_bytes), "left": len(report.left)})
        for what, reason in report.left:
            click.echo(f"  {what}: {reason}")
        if not is_applied:
            click.echo("Dry run: nothing was deleted. Give --apply --as NAME to do it.")
    if report.left:
        raise click.exceptions.Exit(PARTLY_DONE)
