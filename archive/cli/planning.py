"""``drimbox tier plan``: what would go cold, what that saves, and why others stay; must not move anything."""

from __future__ import annotations

from datetime import date, datetime
from typing import TYPE_CHECKING, Final

import click

from archive.cli.options import json_option, opened, with_settings
from archive.cli.output import print_json, print_pairs, print_table, progress_bar, size_text
from archive.cli.sites import site_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from archive.config import Settings
    from archive.services.tier_plan import PlanReport, TierPlan, Totals
    from tiering.policy import Decision

_ACTIONS: Final = {
    "cold_lossless": "go, without loss",
    "mixed": "go, some series with loss",
    "cold_lossy": "go, with loss",
}
_WHY: Final = {
    "cold": "cold already",
    "young": "immediate access by law goes on",
    "extra_days": "kept longer than the law asks, by the settings",
    "hold": "somebody holds them",
    "disposal": "they wait for their destruction",
    "appeal": "an appeal is under way",
    "facts": "facts contradict each other",
    "future": "the exam is dated in the future",
    "stale": "to be assessed again: drimbox retention sweep",
    "not_assessed": "never assessed: drimbox retention sweep",
    "error": "could not be assessed: drimbox retention sweep",
    "unknown": "no day is known",
    "modality": "a modality that never goes cold, by the settings",
    "small": "too small, by the settings",
    "set_aside": "migration failed, or was rolled back",
    "unsealed": "not sealed and trimmed yet",
}


@click.command("plan")
@click.option("--as-of", type=click.DateTime(["%Y-%m-%d"]), help="A day to simulate, today or later.")
@click.option("--site", help="One site only  [default: all]")
@click.option("--study", help="One study: what becomes of it, and all that keeps it.")
@click.option("--list", "listed", type=click.IntRange(min=0), default=0, help="Show so many studies, one by one.")
@json_option
@with_settings
def plan(
    settings: Settings, as_of: datetime | None, site: str | None, study: str | None, *, listed: int, as_json: bool
) -> None:
    """Show which studies would go to the cold tier on a day, and what that would save; nothing is moved."""
    from archive.bootstrap_tiering import tier_plan_of

    on = _day(as_of)
    wanted = None if site is None else site_of(settings, site)
    with opened(settings) as core:
        if study is not None:
            _explain(tier_plan_of(core), study, on, as_json)
            return
        with progress_bar("studies") as progress:
            report = tier_plan_of(core).report(on, progress, site=wanted, listed=listed)
    if as_json:
        print_json(_item(report))
        return
    _print(report)
    if not settings.cold.is_there:
        click.echo("There is no cold store yet: set cold.store (docs/cold.md).")


def _day(as_of: datetime | None) -> date:
    from archive.clock import utc_now

    today = utc_now().date()
    if as_of is not None and as_of.date() < today:
        raise click.UsageError("--as-of takes today or a later day: what was hot before is not known any more")
    return today if as_of is None else as_of.date()


# ---- for people ----------------------------------------------------------------------------------------------------


def _explain(plan: TierPlan, study: str, on: date, as_json: bool) -> None:
    found = plan.explain(study, on)
    if found is None:
        raise click.UsageError(f"the archive has no study {study}")
    if as_json:
        print_json(_decision(found))
    else:
        _print_decision(found)


def _print(report: PlanReport) -> None:
    click.echo(f"What would go to the cold store on {report.on}, {report.site or 'all sites'}\n")
    header = ("", "studies", "images", "on fast disks", "in the cold store")
    rows = [_row(words, report.actions[name]) for name, words in _ACTIONS.items() if name in report.actions]
    print_table([*rows, _row("together", _together(report.actions))], header=header)
    if len(report.sites) > 1:
        _section("By site", [_row(name, each) for name, each in sorted(report.sites.items())], header)
    _section("By modality", [_row(name or "-", each) for name, each in _largest(report.modalities)], header)
    kept = sorted(report.stay.items(), key=lambda item: (-item[1].studies, item[0]))
    stay = [(_WHY.get(code, code), each.studies, size_text(each.size_bytes)) for code, each in kept]
    _section("Why the others do not go", stay, ("", "studies", "on fast disks"))
    _print_money(report)
    for title, some in (("Some that go", report.going), ("Some that stay, not for their age", report.staying)):
        if some:
            click.echo(f"\n{title}")
        for each in some:
            _print_decision(each)


def _print_money(report: PlanReport) -> None:
    savings, prices = report.savings, report.prices
    currency = prices.currency
    hot, cold = prices.of("hot"), prices.of(report.cold_class)
    cold_class = report.cold_class if prices.is_known(report.cold_class) else f"{report.cold_class} (as STANDARD)"
    click.echo("\nMoney")
    print_pairs(
        {
            "now, a month": f"{savings.hot_per_month:,.2f} {currency} on fast disks",
            "then, a month": f"{savings.cold_per_month:,.2f} {currency} in the cold store, after the grace period",
            "saved a month": f"{savings.per_month:,.2f} {currency}",
            "saved a year": f"{savings.per_year:,.2f} {currency}",
            "fast disks": f"{hot:g} {currency} a GB and month",
            "cold store": f"{cold:g} {currency} a GB and month, {cold_class}",
            "prices": f"{prices.version}, as of {prices.as_of}"
            + (f", your own for {', '.join(prices.own)}" if prices.own else "; set your own: migration.prices"),
        }
    )
    click.echo("\nNothing was moved. What goes with loss is a forecast: the pixels decide when a series is migrated.")


def _together(actions: Mapping[str, Totals]) -> Totals:
    from archive.services.tier_plan import Totals

    found = list(actions.values())
    return Totals(
        sum(each.studies for each in found),
        sum(each.instances for each in found),
        sum(each.hot_bytes for each in found),
        sum(each.cold_bytes for each in found),
    )


def _largest(totals: Mapping[str, Totals]) -> list[tuple[str, Totals]]:
    return sorted(totals.items(), key=lambda item: (-item[1].hot_bytes, item[0]))


def _row(name: str, totals: Totals) -> tuple[object, ...]:
    return name, totals.studies, totals.instances, size_text(totals.hot_bytes), size_text(totals.cold_bytes)


def _section(title: str, rows: Sequence[tuple[object, ...]], header: tuple[str, ...]) -> None:
    if rows:
        click.echo(f"\n{title}")
        print_table(rows, header=header)


def _print_decision(decision: Decision) -> None:
    study = decision.study
    action = _ACTIONS.get(decision.action.value, "stays").replace("go,", "goes,")
    click.echo(f"{study.study_instance_uid}  {study.site}: {action}")
    for reason in decision.reasons:
        click.echo(f"  {reason.text}")
    for each in decision.series:
        holding = each.holding
        size = f"{holding.instances} images, {size_text(holding.size_bytes)}"
        click.echo(f"  {holding.modality or '-'}, {size}: {each.action.value}, {each.reason.text}")


# ---- for programs --------------------------------------------------------------------------------------------------


def _item(report: PlanReport) -> dict[str, object]:
    return {
        "as_of": report.on,
        "site": report.site,
        "actions": dict(report.actions),
        "together": _together(report.actions),
        "sites": dict(report.sites),
        "modalities": dict(report.modalities),
        "stay": dict(report.stay),
        "savings": report.savings,
        "currency": report.prices.currency,
        "prices": report.prices.version,
        "cold_class": report.cold_class,
        "going": [_decision(each) for each in report.going],
        "staying": [_decision(each) for each in report.staying],
    }


def _decision(decision: Decision) -> dict[str, object]:
    return {
        "study_instance_uid": decision.study.study_instance_uid,
        "site": decision.study.site,
        "action": decision.action.value,
        "lossless_until": decision.study.lossless_until,
        "reasons": [each._asdict() for each in decision.reasons],
        "series": [
            {
                "series_instance_uid": each.holding.series_instance_uid,
                "modality": each.holding.modality,
                "instances": each.holding.instances,
                "size_bytes": each.holding.size_bytes,
                "action": each.action.value,
                "code": each.reason.code,
                "reason": each.reason.text,
                "cap": each.cap,
            }
            for each in decision.series
        ],
    }
