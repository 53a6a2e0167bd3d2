"""``drimbox audit``: the journal and the proof that it is whole; must not change it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from archive.cli.options import json_option, offline, opened, with_settings
from archive.cli.output import moment_text, print_json, print_pairs, print_table
from archive.cli.sites import site_of, site_option

if TYPE_CHECKING:
    from archive.config import Settings
    from archive.services.access_report import Look
    from archive.services.reports import AuditItem


@click.group("audit")
def command() -> None:
    """Look at the audit journal."""


@command.command("verify")
@json_option
@with_settings
def verify(settings: Settings, as_json: bool) -> None:
    """Check the hash chains of the whole journal and of the ledger."""
    with offline(settings) as archive:
        report = archive.verify_audit()
    if as_json:
        print_json(report)
    else:
        ledger = {"ledger events": report.ledger_events, "ledger head": report.ledger_head}
        print_pairs({"entries": report.entries, "head": report.head, **ledger})


@command.command("list")
@click.option("--event", help="Only entries of this kind, for example stored or refused.")
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True, help="Only the latest entries.")
@json_option
@with_settings
def list_entries(settings: Settings, event: str | None, limit: int, as_json: bool) -> None:
    """Print the latest entries, oldest first."""
    with offline(settings) as archive:
        items = list(archive.iter_audit(event, limit))
    if as_json:
        print_json(items)
    else:
        print_table([_row(item) for item in items], header=("number", "at", "event", "actor", "what"))


@command.command("access")
@click.option("--patient-id", help="The patient's PatientID at the site; IDs linked to it count too.")
@click.option("--study", "study_instance_uid", help="Only this study; alone, also one that was destroyed.")
@site_option
@json_option
@with_settings
def access(
    settings: Settings, patient_id: str | None, study_instance_uid: str | None, site: str | None, as_json: bool
) -> None:
    """Print who looked at a patient's images: when, in which role, from where and why."""
    from archive.services.access_report import AccessReports

    if patient_id is None and study_instance_uid is None:
        raise click.UsageError("say whose images: --patient-id, --study or both")
    with opened(settings) as core:
        reports = AccessReports(core.database)
        if patient_id is None:
            looks = reports.of_study(str(study_instance_uid))
        else:
            looks = reports.of_patient(site_of(settings, site), patient_id, study=study_instance_uid)
    if as_json:
        print_json(looks)
    else:
        print_table([_look(look) for look in looks], header=("at", "who", "role", "how", "from", "study", "reason"))


def _look(look: Look) -> tuple[object, ...]:
    who = f"{look.person} {look.full_name}".strip() if look.full_name != look.person else look.person
    how = f"{look.event} {look.service} {look.via}"
    return moment_text(look.at), who, ", ".join(look.roles), how, look.place, look.study_instance_uid, look.reason


def _row(item: AuditItem) -> tuple[object, ...]:
    return item.sequence, moment_text(item.at), item.event, item.actor, json.dumps(dict(item.body), default=str)
