"""``drimbox certificates``: the TLS certificates a site uses and their days left; must not change anything."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from archive.cli.options import json_option, with_settings
from archive.cli.output import print_json, print_table

if TYPE_CHECKING:
    from archive.config import Settings
    from archive.services.tls_certificates import Watched

_HEADER = ("state", "days", "use", "role", "subject", "issuer", "chain", "where")


@click.command("certificates")
@click.option("--files-only", is_flag=True, help="Ask no server.")
@json_option
@with_settings
def command(settings: Settings, files_only: bool, as_json: bool) -> None:
    """Print the TLS certificates of the site.

    Exit code 45: one ends soon or cannot be read; 46: one is not valid.
    """
    from archive.bootstrap_certificates import certificate_watch_of
    from archive.clock import utc_now

    found = certificate_watch_of(settings, files_only=files_only).report(utc_now())
    if as_json:
        print_json([asdict(each) | {"state": each.state.value} for each in found])
    elif found:
        print_table([_row(each) for each in found], header=_HEADER)
    else:
        click.echo("The settings name no TLS certificate; certificates.files and certificates.endpoints add some.")
    _conclude(found)


def _row(each: Watched) -> Sequence[object]:
    days = "-" if each.days_left is None else each.days_left
    subject = each.subject or each.problem
    return each.state.value, days, each.use, each.role, subject, each.issuer, each.chain, each.place


def _conclude(found: Sequence[Watched]) -> None:
    """Raise what the exit code says."""
    from archive.errors import CertificatesExpired, CertificatesExpireSoon
    from archive.services.tls_certificates import State

    lost = [each for each in found if each.state in (State.EXPIRED, State.NOT_YET_VALID)]
    soon = [each for each in found if each.state in (State.WARNING, State.UNREADABLE)]
    if lost:
        raise CertificatesExpired(reason=_uses(lost))
    if soon:
        raise CertificatesExpireSoon(reason=_uses(soon))


def _uses(found: Sequence[Watched]) -> str:
    return ", ".join(dict.fromkeys(f"{each.use} ({each.place})" for each in found))
