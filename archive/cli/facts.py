"""``drimbox facts``: what is known of patients, and how it comes in; must not decide what it means for a study."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from archive.cli import PARTLY_DONE
from archive.cli.candidates import candidates, insee
from archive.cli.options import acting_as, json_option, opened, with_settings
from archive.cli.output import moment_text, print_json, print_pairs, print_table, progress_bar
from archive.cli.sites import site_of, site_option, sites_of

if TYPE_CHECKING:
    from archive.config import Settings
    from archive.index.patient_facts import PatientFact
    from archive.services.fact_import import Report
    from archive.services.people import Person

KINDS = ("visit", "birth", "death", "deceased", "appeal")
_SHOWN = 20


@click.group("facts")
def command() -> None:
    """Look at what is known of patients, and add to it."""


command.add_command(insee)
command.add_command(candidates)


# ---- files ---------------------------------------------------------------------------------------------------------


@command.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@site_option
@click.option("--kind", type=click.Choice(KINDS), help="Kind of the facts, when the file has no such column.")
@click.option("--source", default="import", show_default=True, help="System the file comes from; no patient's name.")
@click.option(
    "--apply", "is_applied", is_flag=True, help="Take the facts in; without it, only tell what that would do."
)
@click.option("--skip-bad-lines", is_flag=True, help="Take the good lines of a file that has bad ones.")
@json_option
@with_settings
@acting_as("operator", "archivist", is_optional=True)
def import_file(settings: Settings, who: Person | None, file: Path, as_json: bool, **options: object) -> None:
    """Take in a file of facts, CSV or JSON Lines; a dry run unless --apply.

    Columns: patient_id, kind, from_on, to_on, reference, site, trusted. Told again, a fact is no news.
    """
    if options["is_applied"] and who is None:
        raise click.UsageError("--apply takes --as NAME: the ledger says who told it")
    report = _imported(settings, file, who, options)
    if as_json:
        print_json(report)
    else:
        _print_report(report)
    if report.bad:
        sys.exit(PARTLY_DONE)


def _imported(settings: Settings, file: Path, who: Person | None, options: dict[str, object]) -> Report:
    from archive.services.fact_files import Defaults, FactFile
    from archive.services.fact_import import FactImport

    site, kind = options["site"], options["kind"]
    assert isinstance(site, str | None)
    assert isinstance(kind, str | None)
    defaults = Defaults(f"file:{options['source']}", site_of(settings, site, who), sites_of(settings, who), kind)
    actor = who.name if who is not None and options["is_applied"] else None
    with opened(settings) as core, progress_bar("comparing" if actor is None else "importing") as progress:
        work = FactImport(core.ledger, skip_bad=bool(options["skip_bad_lines"]))
        return work.run(FactFile(file, defaults), actor=actor, progress=progress)


def _print_report(report: Report) -> None:
    layout = report.layout
    for problem in report.problems[:_SHOWN]:
        click.echo(f"line {problem.line}: {f'{problem.column} ' if problem.column else ''}{problem.reason}")
    _print_more(report.bad)
    for each in report.contradictions[:_SHOWN]:
        click.echo(f"line {each.line} contradicts: {each.reason}")
    _print_more(report.contradicting)
    kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(report.by_kind.items())) or "none"
    written = f"{layout.format}, {layout.encoding}" + (f", {layout.delimiter}" if layout.delimiter else "")
    print_pairs(
        {
            "file": written,
            "facts": kinds,
            "of patients with studies here": report.matched,
            "of others (kept: facts may come first)": report.unmatched,
            "new": report.added,
            "say otherwise than before": report.replaced,
            "unchanged": report.unchanged,
            "contradictions (kept: a person is asked)": report.contradicting,
            "bad lines": report.bad,
        }
    )
    click.echo(_outcome(report))


def _print_more(count: int) -> None:
    if count > _SHOWN:
        click.echo(f"... and {count - _SHOWN} more (--json lists up to 1000)")


def _outcome(report: Report) -> str:
    if report.is_applied:
        return "Done: the ledger has them." + (" The bad lines were left out." if report.bad else "")
    if report.bad:
        return "Nothing was taken in: correct the bad lines, or give --apply --skip-bad-lines to leave them out."
    return "Dry run: nothing was taken in. Give --apply --as NAME to do it."


# ---- by hand -------------------------------------------------------------------------------------------------------


@command.command("show")
@click.argument("patient_id")
@site_option
@json_option
@with_settings
def show(settings: Settings, patient_id: str, site: str | None, as_json: bool) -> None:
    """Print every fact ever told of a patient, withdrawn ones too: by whom, when, from which source."""
    from archive.services.facts_by_hand import FactsByHand

    with opened(settings) as core:
        view = FactsByHand(core.ledger).show(site_of(settings, site), patient_id)
    if as_json:
        print_json(view)
        return
    header = ("number", "patient", "fact", "from", "to", "source", "reference", "told", "by", "withdrawn", "by")
    print_table([_line(fact) for fact in view.facts], header=header)


def _line(fact: PatientFact) -> tuple[object, ...]:
    kind = fact.kind if fact.is_trusted else f"{fact.kind} (not validated)"
    dates = (fact.from_on or "-", fact.to_on or "-")
    told = (fact.source, fact.reference, moment_text(fact.recorded_at), fact.recorded_by)
    return fact.fact_id, fact.patient_id, kind, *dates, *told, moment_text(fact.withdrawn_at), fact.withdrawn_by or "-"


@command.command("add")
@click.argument("kind", type=click.Choice(KINDS))
@click.argument("patient_id")
@click.option("--from", "from_on", help="Day of the fact, or its first: 2020-12-31, 2020-12, 2020 or 31/12/2020.")
@click.option("--to", "to_on", help="Last day of a visit; first day on which an appeal no longer runs.")
@click.option("--reason", required=True, help="What it rests on; it is kept with the fact.")
@click.option("--not-validated", is_flag=True, help="Nobody has validated it: it shortens nothing.")
@site_option
@with_settings
@acting_as("operator", "archivist", "dim_physician")
def add(settings: Settings, who: Person, site: str | None, **told: object) -> None:
    """Tell a fact by hand."""
    from archive.services.facts import NewFact
    from archive.services.facts_by_hand import SOURCE, FactsByHand

    reason, is_trusted = str(told.pop("reason")), not told.pop("not_validated")
    name = site_of(settings, site, who)
    fact = NewFact(site=name, source=SOURCE, reference="?", is_trusted=is_trusted, **told)  # type: ignore[arg-type]
    with opened(settings) as core:
        is_new = FactsByHand(core.ledger).add(fact, reason=reason, actor=who.name)
    click.echo("added" if is_new else "unchanged: this was told before")


@command.command("withdraw")
@click.argument("number", type=int)
@click.option("--reason", required=True, help="Why it does not hold; it is kept in the ledger.")
@with_settings
@acting_as("operator", "archivist", "dim_physician")
def withdraw(settings: Settings, who: Person, number: int, reason: str) -> None:
    """Take a fact back, by its number in facts show; the history keeps it."""
    from archive.services.facts_by_hand import FactsByHand

    with opened(settings) as core:
        work = FactsByHand(core.ledger)
        fact = work.withdraw(number, reason=reason, actor=who.name, sites=sites_of(settings, who))
    click.echo(f"withdrawn: {fact.kind} of {fact.patient_id}")
