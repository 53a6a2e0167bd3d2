"""``drimbox quarantine``: objects that were not taken in; must not touch them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from archive.cli.options import json_option, offline, with_settings
from archive.cli.output import moment_text, print_json, print_table, size_text

if TYPE_CHECKING:
    from archive.config import Settings
    from archive.services.reports import QuarantineItem


@click.group("quarantine")
def command() -> None:
    """Look at the objects that were not taken in."""


@command.command("list")
@json_option
@with_settings
def list_items(settings: Settings, as_json: bool) -> None:
    """Print what waits in quarantine and why, oldest first."""
    with offline(settings) as archive:
        items = list(archive.iter_quarantine())
    if as_json:
        print_json(items)
    else:
        print_table([_row(item) for item in items], header=("received", "calling", "size", "key", "reason"))


def _row(item: QuarantineItem) -> tuple[object, ...]:
    received, size = moment_text(item.received_at), size_text(item.size_bytes)
    return received, item.calling_ae_title, size, item.key, item.reason
