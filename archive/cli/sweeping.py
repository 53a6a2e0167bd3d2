"""``drimbox retention sweep`` and ``explain``: the whole archive at a glance, one study in full; must not decide."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from archive.cli.options import acting_as, json_option, opened, with_settings
from archive.cli.output import print_json, print_pairs, print_table, progress_bar, size_text

if TYPE_CHECKING:
    from archive.bootstrap import Core
    from archive.config import Settings
    from archive.services.accounts import Account
    from archive.services.sweep import Amount, SweepReport

_DAY = click.DateTime(["%Y-%m-%d"])


@click.command("sweep")
@click.option("--as-of", type=_DAY, help="Look as of another day; nothing is kept of that.")
@click.option("--site", help="Only this establishment.")
@click.option("--max", "max_due", type=click.IntRange(min=1), default=50, show_default=True, help="List so many due.")
@click.option("--apply", "is_kept", is_flag=True, help="Keep the sweep, so that the next tells what changed.")
@click.option(
    "--picture", type=click.Path(dir_okay=False, path_type=Path), help="Draw the forecast into this SVG file."
)
@click.option("--trust-clock", is_flag=True, help="The clock was compared and is right (needs --as).")
@json_option
@with_settings
@acting_as("operator", "archivist", is_optional=True)
def sweep_studies(settings: Settings, who: Account | None, **options: Any) -> None:
    """Tell what is due, what is kept until when by which rule, and what will be due. Deletes nothing."""
    from archive.bootstrap import assessments_of
    from archive.clock import utc_now
    from archive.services.clock_trust import vouch
    from archive.services.sweep import Sweep, as_mapping

    today = utc_now().date()
    as_of = today if options["as_of"] is None else options["as_of"].date()
    _check(settings, who, options, is_today=as_of == today)
    with opened(settings) as core:
        if options["trust_clock"] and who is not None:
            vouch(core.committer, utc_now(), who.name)
        sweep = Sweep(assessments_of(core), as_of, options["site"], options["max_due"])
        with progress_bar("assessing") as progress:
            report = sweep.run(progress, keep_by=who.name if options["is_kept"] and who is not None else None)
    if options["picture"] is not None:
        _draw(report, options["picture"])
    if options["as_json"]:
        print_json(as_mapping(report))
    else:
        _print(report)


def _check(settings: Settings, who: Account | None, options: dict[str, Any], *, is_today: bool) -> None:
    if options["site"] is not None and options["site"] not in [site.name for site in settings.sites]:
        raise click.UsageError(f"there is no site {options['site']!r}")
    if options["is_kept"] and not is_today:
        raise click.UsageError("--as-of simulates: a sweep as of another day cannot be kept")
    if (options["is_kept"] or options["trust_clock"]) and who is None:
        raise click.UsageError("name your account: --as NAME")


def _print(report: SweepReport) -> None:
    print_pairs(
        {
            "as of": report.as_of.isoformat(),
            "site": report.site or "all",
            "studies": _amount(report.total),
            "assessed again": report.assessed,
            "due": _amount(report.due),
            "due by their row, not by their facts": report.no_longer_due,
            "blocked": ", ".join(f"{count} by {kind}" for kind, count in report.blocked.items()),
            "set aside": len(report.set_aside),
        }
    )
    rows = [(row.rule or "-", row.year or "no end", *_cells(row.amount)) for row in report.by_rule_and_year]
    _table("Kept by rule, until a day of", ("rule", "year", "studies", "instances", "size"), rows)
    _table(
        "Due in", ("year", "studies", "instances", "size"), [(year, *_cells(each)) for year, each in report.forecast]
    )
    _table("Due now" + (", the first" if report.is_capped else ""), ("study",), [(uid,) for uid in report.due_uids])
    _table("Set aside", ("study", "reason"), report.set_aside)
    since = report.last_sweep_at or "never kept"
    changes = [(rule or "no rule", f"{change:+}") for rule, change in report.changes.items()]
    _table(f"Changed since the last sweep ({since[:10]})", ("rule", "studies"), changes)


def _table(title: str, header: tuple[str, ...], rows: Iterable[tuple[object, ...]]) -> None:
    shown = list(rows)
    if shown:
        click.echo(f"\n{title}")
        print_table(shown, header=header)


def _amount(amount: Amount) -> str:
    return f"{amount.studies} ({amount.instances} instances, {size_text(amount.size_bytes)})"


def _cells(amount: Amount) -> tuple[object, ...]:
    return amount.studies, amount.instances, size_text(amount.size_bytes)


def _draw(report: SweepReport, path: Path) -> None:
    from archive.cli.picture import Bar, draw_forecast

    bars = [Bar(year, amount.studies, amount.size_bytes) for year, amount in report.forecast]
    title = f"Studies that become due, {bars[0].year} to {bars[-1].year}"
    subtitle = f"As of {report.as_of.isoformat()}, {report.site or 'all sites'}; due already: {_amount(report.due)}"
    path.write_text(draw_forecast(bars, title=title, subtitle=subtitle), encoding="utf-8")


@click.command("explain")
@click.argument("study_instance_uid")
@click.option(
    "--lang", type=click.Choice(["fr", "en"]), default="fr", show_default=True, help="Language of the answer."
)
@click.option("--as-of", type=_DAY, help="Explain as of another day.")
@json_option
@with_settings
def explain_study(
    settings: Settings, study_instance_uid: str, lang: str, as_of: datetime | None, as_json: bool
) -> None:
    """Print until when a study is kept, and the whole reasoning. It shows the patient's dates."""
    from archive.clock import utc_now

    day = utc_now().date() if as_of is None else as_of.date()
    with opened(settings) as core:
        told = _explain(core, study_instance_uid, lang, day.isoformat())
    if as_json:
        print_json(told)
        return
    for sentence in told["explanation"]:
        click.echo(sentence)
    _table("Faits" if lang == "fr" else "Facts", ("kind", "from", "to", "source", "recorded by"), told["facts"])


def _explain(core: Core, uid: str, lang: str, day: str) -> dict[str, Any]:
    from datetime import date

    from archive.bootstrap import assessments_of
    from archive.services.explain import explain_study

    told = explain_study(assessments_of(core), uid, date.fromisoformat(day), lang)
    return {
        "study_instance_uid": uid,
        "as_of": day,
        "site": told.site,
        "eligible_on": told.eligible_on,
        "rule": told.rule,
        "blocked_by": list(told.blocked_by),
        "explanation": list(told.sentences),
        "facts": [list(fact) for fact in told.facts],
    }
