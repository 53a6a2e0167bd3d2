"""``drimbox status``: what is stored, how large it is, who called last; must not name a patient."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from archive.cli.options import json_option, offline, with_settings
from archive.cli.output import moment_text, print_json, print_pairs, print_table, seconds_text, size_text

if TYPE_CHECKING:
    from archive.config import Settings
    from archive.services.drops import DayCompared
    from archive.services.reports import AssociationSummary, StatusReport
    from archive.services.slo import ProbeSummary


@click.command("status")
@json_option
@with_settings
def command(settings: Settings, as_json: bool) -> None:
    """Say what is stored and who called last."""
    with offline(settings) as archive:
        report = archive.status()
    if as_json:
        print_json(report)
    else:
        _print(report)


def _print(report: StatusReport) -> None:
    print_pairs(
        {
            "home": report.home,
            "database": report.database,
            "patients": report.patients,
            "studies": report.studies,
            "series": report.series,
            "instances": report.instances,
            "size": size_text(report.size_bytes),
            **({"of that cold": size_text(report.cold_bytes)} if report.cold_bytes else {}),
            **({"of that originals in grace": size_text(report.retired_bytes)} if report.retired_bytes else {}),
            "free": size_text(report.free_bytes),
            "in quarantine": report.quarantined,
            **{f"fewer {drop.modality} of {drop.site}": _drop(drop) for drop in report.drops},
            **{f"probe, {each.tier}, {each.site}": _probe(each) for each in report.probes},
            **{f"studies of {site}": count for site, count in report.studies_by_site.items()},
        }
    )
    if report.associations:
        click.echo()
        header = ("started", "calling", "from", "outcome", "stored", "retrieved", "found", "refused")
        print_table([_row(association) for association in report.associations], header=header)


def _drop(drop: DayCompared) -> str:
    return f"{drop.got} on {drop.on}, {drop.expected:.0f} on the same weekdays before ({drop.change_percent:+.0f} %)"


def _probe(summary: ProbeSummary) -> str:
    if summary.first_ms is None or summary.whole_ms is None:
        return f"{summary.failed} of {summary.probes} failed"
    seconds = f"first image {seconds_text(summary.first_ms[1])}, series {seconds_text(summary.whole_ms[1])} (p95)"
    return f"{seconds}, {summary.kept} of {summary.probes} in time"


def _row(association: AssociationSummary) -> tuple[object, ...]:
    return (
        moment_text(association.started_at),
        association.calling_ae_title,
        association.peer_address,
        association.outcome,
        association.stored,
        association.retrieved,
        association.found,
        association.refused,
    )
