"""``drimbox retention sweep``: what is due, what will be, what blocks; must not count or dispose of anything."""

from __future__ import annotations

import gc
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import astuple
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from archive.cli import PARTLY_DONE
from archive.cli.options import acting_as, json_option, opened, with_settings
from archive.cli.output import print_json, print_pairs, print_table, progress_bar, size_text
from archive.cli.sites import site_of, sites_of

if TYPE_CHECKING:
    from archive.config import Settings
    from archive.opening import Core
    from archive.services.people import Person
    from archive.services.sweep import RuleYear, SweepReport, Total, Wanted

_SHOWN = 10
_PICTURES = (".svg", ".png")


@click.command("sweep")
@click.option("--as-of", type=click.DateTime(["%Y-%m-%d"]), help="A day to simulate, today or later.")
@click.option("--site", help="Report on one site  [default: all]")
@click.option("--apply", "is_applied", is_flag=True, help="Store the assessments and the sweep; takes --as.")
@click.option("--max", "most", type=click.IntRange(min=1), help="Assess so many studies at most in this run.")
@click.option("--trust-clock", is_flag=True, help="Say that the server's clock is right; takes --as.")
@click.option(
    "--picture", type=click.Path(dir_okay=False, path_type=Path), help="Write the forecast to FILE.svg or FILE.png."
)
@click.option("--lang", "language", type=click.Choice(["fr", "en"]), default="fr", show_default=True, help="Of it.")
@json_option
@with_settings
@acting_as("operator", "archivist", is_optional=True)
def sweep(settings: Settings, who: Person | None, as_json: bool, **options: Any) -> None:
    """Print what is due, by rule and year, what blocks and what changed; a dry run unless --apply."""
    from archive.services.sweep import Wanted

    picture, as_of, site = options["picture"], options["as_of"], options["site"]
    if picture is not None and picture.suffix.lower() not in _PICTURES:
        raise click.UsageError("--picture takes a file that ends in .svg or .png; every browser shows and prints both")
    if (options["is_applied"] or options["trust_clock"]) and who is None:
        raise click.UsageError("--apply and --trust-clock take --as NAME: the journal says who did it")
    if options["is_applied"] and sites_of(settings, who) != sites_of(settings, None):
        raise click.UsageError("a sweep assesses every site: --apply takes an account for all of them")
    wanted = Wanted(
        None if as_of is None else as_of.date(),
        None if site is None else site_of(settings, site),
        options["most"],
    )
    with opened(settings) as core:
        report = _swept(core, wanted, who, options)
    if picture is not None:
        _draw(report, picture, options["language"])
    if as_json:
        print_json(_item(report))
    else:
        _print(report)
    if not report.is_complete or report.set_aside.studies:
        raise click.exceptions.Exit(PARTLY_DONE)


def _draw(report: SweepReport, file: Path, language: str) -> None:
    from archive.cli.drawing import png, svg
    from archive.cli.picture import forecast

    draw = png if file.suffix.lower() == ".png" else svg
    file.write_bytes(draw(forecast(report, language)))


def _swept(core: Core, wanted: Wanted, who: Person | None, options: Mapping[str, Any]) -> SweepReport:
    from archive.bootstrap_disposal import assessor_of
    from archive.services.clock_trust import ClockTrust
    from archive.services.sweep import Sweeps

    sweeps = Sweeps(assessor_of(core))
    if options["trust_clock"] and who is not None:
        ClockTrust(core.ledger).trust(who.name)
    with progress_bar("assessing") as progress, _collecting_rarely():
        if options["is_applied"] and who is not None:
            return sweeps.apply(wanted, who.name, progress)
        return sweeps.dry_run(wanted, progress)


@contextmanager
def _collecting_rarely() -> Iterator[None]:
    """Keep the garbage collector from all that is loaded, and from coming by often: it took a quarter of the time."""
    before = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(20_000, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


# ---- for people ----------------------------------------------------------------------------------------------------


def _print(report: SweepReport) -> None:
    print_pairs(
        {
            "as of": report.as_of.isoformat(),
            "site": report.site or "all",
            "studies": _total_text(report.all),
            "due": _total_text(report.due),
            "due but blocked": _total_text(report.due_but_blocked),
            "set aside": _total_text(report.set_aside),
            "assessed now": report.assessed,
            **(
                {"overtaken": f"{report.overtaken} due by what was stored, not by their facts"}
                if report.overtaken
                else {}
            ),
        }
    )
    _section("Due for longest", ("since", "study", "site", "rule"), [astuple(each) for each in report.longest_due])
    _section("By rule and year of eligibility", ("rule", "eligible", "studies", "size"), _by_year(report.rules))
    _section("Blocked", ("by", "studies", "size"), _blocked_rows(report.blocked))
    _section("Assumed", ("assumption", "studies"), sorted(report.assumptions.items()))
    _section("Next ten years", ("year", "eligible", "size", "blocked"), _forecast_rows(report))
    _section("Set aside, to be looked at", ("study", "why"), report.errors)
    _print_changes(report)
    if report.overdue_holds:
        click.echo(f"\nHolds past their review date, still holding: {', '.join(report.overdue_holds)}")
    if not report.is_complete:
        click.echo("\nNot complete: --max was reached. Run it again to go on.")
    elif not report.is_applied:
        click.echo("\nDry run: nothing was stored. Give --apply --as NAME to store it.")


def _section(title: str, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    if rows:
        click.echo(f"\n{title}")
        print_table(rows, header=header)


def _by_year(rules: Sequence[RuleYear]) -> list[tuple[object, ...]]:
    return [(each.rule, each.year or "never", each.studies, size_text(each.size_bytes)) for each in rules]


def _blocked_rows(blocked: Mapping[str, Total]) -> list[tuple[object, ...]]:
    """Return the blockers, the largest first; many holds are told together."""
    ordered = sorted(blocked.items(), key=lambda item: (-item[1].studies, item[0]))
    rows: list[tuple[object, ...]] = [
        (name, total.studies, size_text(total.size_bytes)) for name, total in ordered[:_SHOWN]
    ]
    rest = ordered[_SHOWN:]
    if rest:
        studies, size = sum(total.studies for _, total in rest), sum(total.size_bytes for _, total in rest)
        rows.append((f"{len(rest)} more", studies, size_text(size)))
    return rows


def _forecast_rows(report: SweepReport) -> list[tuple[object, ...]]:
    return [
        (each.year, each.free.studies, size_text(each.free.size_bytes), each.blocked.studies)
        for each in report.forecast
    ]


def _print_changes(report: SweepReport) -> None:
    if report.last_as_of is None:
        click.echo("\nNo sweep was stored before this one.")
    if report.changes is None:
        return
    named = {name: number for name, number in report.changes.items() if not name.endswith("bytes") and number}
    told = ", ".join(f"{name.replace('_', ' ')} {number:+d}" for name, number in named.items())
    click.echo(f"\nSince the sweep of {report.last_as_of}: {told or 'nothing changed'}")


def _total_text(total: Total) -> str:
    return f"{total.studies} ({size_text(total.size_bytes)})"


# ---- for programs --------------------------------------------------------------------------------------------------


def _item(report: SweepReport) -> dict[str, object]:
    rules: dict[str, dict[str, object]] = defaultdict(dict)
    for each in report.rules:
        rules[each.rule][str(each.year or "never")] = {"studies": each.studies, "size_bytes": each.size_bytes}
    return {
        "as_of": report.as_of.isoformat(),
        "site": report.site,
        "applied": report.is_applied,
        "complete": report.is_complete,
        "assessed": report.assessed,
        "all": report.all,
        "due": report.due,
        "due_but_blocked": report.due_but_blocked,
        "longest_due": report.longest_due,
        "overtaken": report.overtaken,
        "set_aside": report.set_aside,
        "rules": rules,
        "blocked": report.blocked,
        "assumptions": report.assumptions,
        "forecast": report.forecast,
        "errors": [{"study_instance_uid": uid, "error": error} for uid, error in report.errors],
        "overdue_holds": report.overdue_holds,
        "last_as_of": report.last_as_of,
        "changes": report.changes,
    }
