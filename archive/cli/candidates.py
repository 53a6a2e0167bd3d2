"""``drimbox facts insee`` and ``facts candidates``: deaths that may be a patient's; must not decide for a person."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from archive.cli import PARTLY_DONE
from archive.cli.options import acting_as, json_option, opened, with_settings
from archive.cli.output import print_json, print_pairs, print_table, progress_bar
from archive.cli.sites import site_of, site_option, sites_of

if TYPE_CHECKING:
    from archive.config import Settings
    from archive.index.death_candidates import DeathCandidate
    from archive.services.death_search import SearchReport
    from archive.services.people import Person

_SHOWN = 20


@click.command("insee")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@site_option
@click.option("--apply", "is_applied", is_flag=True, help="Keep the candidates; without it, only count them.")
@json_option
@with_settings
@acting_as("operator", "archivist", is_optional=True)
def insee(
    settings: Settings, who: Person | None, file: Path, site: str | None, is_applied: bool, as_json: bool
) -> None:
    """Look for patients in INSEE's file of deaths; each match waits for a person (facts candidates).

    Patients of every site, unless one is named. A dry run unless --apply.
    """
    from archive.services.death_search import DeathSearch

    if is_applied and who is None:
        raise click.UsageError("--apply takes --as NAME: the ledger says who told it")
    sites = sites_of(settings, who) if site is None else frozenset({site_of(settings, site, who)})
    actor = who.name if who is not None and is_applied else None
    with opened(settings) as core, progress_bar("lines") as progress:
        report = DeathSearch(core.ledger).run(file, sites=sites, actor=actor, progress=progress)
    if as_json:
        print_json(report)
    else:
        _print_report(report)
    if report.bad:
        sys.exit(PARTLY_DONE)


def _print_report(report: SearchReport) -> None:
    for bad in report.bad_lines[:_SHOWN]:
        click.echo(f"line {bad.line}: {bad.reason}")
    if report.bad > _SHOWN:
        click.echo(f"... and {report.bad - _SHOWN} more (--json lists up to 1000)")
    print_pairs(
        {
            "lines": report.lines,
            "candidates": report.found,
            "found before": report.found_before,
            "deaths known already": report.known,
            "without a year of birth or death": report.undated,
            "bad lines (left out)": report.bad,
        }
    )
    dry = "Dry run: nothing was kept. Give --apply --as NAME to do it."
    click.echo("Done: facts candidates list prints what waits for a person." if report.is_applied else dry)


@click.group("candidates")
def candidates() -> None:
    """Decide which deaths that were found are a patient's."""


@candidates.command("list")
@click.option("--state", type=click.Choice(["waiting", "confirmed", "rejected"]), default="waiting", show_default=True)
@json_option
@with_settings
def list_candidates(settings: Settings, state: str, as_json: bool) -> None:
    """Print the candidates with what both sides say, in the order they were found."""
    from archive.services.death_search import DeathSearch

    with opened(settings) as core:
        found = DeathSearch(core.ledger).list(state)
    if as_json:
        print_json([_item(each) for each in found])
        return
    header = ("number", "site", "patient", "died", "born", "sex", "name (INSEE)", "name (archive)", "born at", "doubts")
    print_table([_line(each) for each in found], header=header)


def _item(candidate: DeathCandidate) -> dict[str, Any]:
    names = ("number", "site", "patient_id", "died_on", "source", "reference", "found_at", "state")
    decided = ("decided_at", "decided_by")
    return {name: getattr(candidate, name) for name in (*names, *decided)} | {"traits": json.loads(candidate.traits)}


def _line(candidate: DeathCandidate) -> tuple[object, ...]:
    traits = json.loads(candidate.traits)
    told, ours = traits["insee"], traits["archive"]
    name, place = f"{told['name']} {told['first_names']}", f"{told['birth_place']} {told['birth_town']}"
    who = (told["born_on"], told["sex"], name, ours["name"], place)
    return candidate.number, candidate.site, candidate.patient_id, candidate.died_on, *who, "; ".join(traits["doubts"])


@candidates.command("confirm")
@click.argument("number", type=int)
@with_settings
@acting_as("archivist", "dim_physician")
def confirm(settings: Settings, who: Person, number: int) -> None:
    """Make a candidate a death of its patient, which counts from now on."""
    from archive.services.death_search import DeathSearch

    with opened(settings) as core:
        found = DeathSearch(core.ledger).confirm(number, actor=who.name, sites=sites_of(settings, who))
    click.echo(f"confirmed: {found.patient_id} died {found.died_on}")


@candidates.command("reject")
@click.argument("number", type=int)
@with_settings
@acting_as("archivist", "dim_physician")
def reject(settings: Settings, who: Person, number: int) -> None:
    """Say that a candidate is somebody else."""
    from archive.services.death_search import DeathSearch

    with opened(settings) as core:
        found = DeathSearch(core.ledger).reject(number, actor=who.name, sites=sites_of(settings, who))
    click.echo(f"rejected: {found.patient_id} is somebody else")
