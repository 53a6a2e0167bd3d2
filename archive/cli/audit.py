"""``drimbox audit``: the journal and the proof that it is whole; must not change it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from archive.cli.options import json_option, offline, with_settings
from archive.cli.output import moment_text, print_json, print_pairs, print_table

if TYPE_CHECKING:
    from archive.config import Settings
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


def _row(item: AuditItem) -> tuple[object, ...]:
    return item.sequence, moment_text(item.at), item.event, item.actor, json.dumps(dict(item.body), default=str)
