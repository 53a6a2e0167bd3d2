"""``drimbox patient``: which records are one patient; must not change a stored object."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from archive.cli.options import acting_as, json_option, opened, with_settings
from archive.cli.output import print_json, print_pairs
from archive.cli.sites import site_of, site_option

if TYPE_CHECKING:
    from archive.config import Settings
    from archive.services.people import Person


@click.group("patient")
def command() -> None:
    """Say which records are one patient."""


reason_option = click.option("--reason", required=True, help="What it rests on; it is kept with the link.")


@command.command("link")
@click.argument("patient_id")
@click.argument("merged_patient_id")
@reason_option
@site_option
@with_settings
@acting_as("operator", "archivist", "dim_physician")
def link(settings: Settings, who: Person, site: str | None, reason: str, **ids: str) -> None:
    """Say that MERGED_PATIENT_ID is the patient PATIENT_ID: each is kept by what is known of both."""
    from archive.services.facts_by_hand import FactsByHand, new_link

    wanted = new_link(site_of(settings, site, who), reason=reason, **ids)
    with opened(settings) as core:
        is_new = FactsByHand(core.ledger).link(wanted, actor=who.name)
    click.echo("linked" if is_new else "unchanged: they were linked before")


@command.command("unlink")
@click.argument("patient_id")
@click.argument("merged_patient_id")
@reason_option
@site_option
@with_settings
@acting_as("operator", "archivist", "dim_physician")
def unlink(settings: Settings, who: Person, site: str | None, reason: str, **ids: str) -> None:
    """Part two records that were linked by mistake."""
    from archive.services.facts_by_hand import FactsByHand, new_link

    wanted = new_link(site_of(settings, site, who), reason=reason, **ids)
    with opened(settings) as core:
        FactsByHand(core.ledger).unlink(wanted, actor=who.name)
    click.echo("unlinked")


@command.command("show")
@click.argument("patient_id")
@site_option
@json_option
@with_settings
def show(settings: Settings, patient_id: str, site: str | None, as_json: bool) -> None:
    """Print which records are this patient, and which studies they have."""
    from archive.services.facts_by_hand import FactsByHand

    with opened(settings) as core:
        view = FactsByHand(core.ledger).show(site_of(settings, site), patient_id)
    studies = view.study_instance_uids
    if as_json:
        ids = {"site": view.site, "patient_id": view.patient_id, "linked": view.linked}
        print_json({**ids, "study_instance_uids": studies, "facts": len(view.facts)})
        return
    linked = ", ".join(view.linked) or "-"
    print_pairs({"patient": patient_id, "site": view.site, "linked to": linked, "facts": len(view.facts)})
    print_pairs({f"study {number}": uid for number, uid in enumerate(studies, start=1)} or {"studies": "-"})
