"""``drimbox disposal destroy`` and what proves it; must not decide what may go, nor delete anything itself."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from archive.cli import PARTLY_DONE
from archive.cli.options import acting_as, json_option, opened, with_settings
from archive.cli.output import moment_text, print_json, print_pairs, print_table, progress_bar, size_text

if TYPE_CHECKING:
    from archive.config import Settings
    from archive.services.destroy import Destroyed, Plan
    from archive.services.people import Person
    from archive.services.remains import Remain


@click.command("destroy")
@click.argument("list_id")
@click.option("--apply", "is_applied", is_flag=True, help="Destroy; without it, only show what would be.")
@click.option("--damaged", is_flag=True, help="Also copies whose bytes are not those that were stored.")
@json_option
@with_settings
@acting_as("archivist", "operator")
def destroy(settings: Settings, who: Person, list_id: str, is_applied: bool, damaged: bool, as_json: bool) -> None:
    """Destroy the studies of an approved list for ever, or go on where that stopped; a dry run unless --apply."""
    from archive.bootstrap_disposal import destruction_of

    with opened(settings) as core, progress_bar("deleting") as progress:
        destruction = destruction_of(core, accept_damaged=damaged)
        if not is_applied:
            _print_plan(destruction.plan(list_id), as_json)
            return
        report = destruction.destroy(list_id, who=who, progress=progress)
    _print_destroyed(report, as_json)


@click.command("certificate")
@click.argument("list_id")
@with_settings
def certificate(settings: Settings, list_id: str) -> None:
    """Print the certificate of a destroyed list; it lies in the home's folder certificates too."""
    from archive.bootstrap_disposal import destruction_of

    with opened(settings) as core:
        text = destruction_of(core).certificate(list_id)
    click.echo(text, nl=False)


@click.command("key")
@with_settings
def key(settings: Settings) -> None:
    """Print the public key that certificates are verified with: keep it elsewhere too."""
    from archive.bootstrap_disposal import destruction_of

    with opened(settings) as core:
        click.echo(destruction_of(core).signer.public_key())


@click.command("verify")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--public-key", help="The key the archive signs with, 64 hexadecimal digits, from elsewhere.")
@json_option
def verify(file: Path, public_key: str | None, as_json: bool) -> None:
    """Prove a certificate by its signature; needs no archive."""
    from archive.services.certificates import key_of, verify as prove

    data = file.read_bytes()
    found = prove(data, public_key=public_key)
    if as_json:
        print_json(found)
        return
    instances = [each for study in found["studies"] for series in study["series"] for each in series["instances"]]
    site = found["site"]
    print_pairs(
        {
            "valid": "yes, every byte is as it was signed",
            "list": found["list_id"],
            "site": f"{site['name']} ({site['kind']}, FINESS {site['finess'] or '-'})",
            **{f"approved, {each['office']}": f"{each['at']} by {each['full_name']}" for each in found["approvals"]},
            "destroyed": f"{found['destroyed']['at']} by {found['destroyed']['by']}",
            "studies": len(found["studies"]),
            "instances": len(instances),
            "copies": sum(len(each["copies"]) for each in instances),
            "audit entry": f"{found['audit_head']['sequence']} {found['audit_head']['hash']}",
            "public key": key_of(data) + (" (the one given)" if public_key else " (compare it: drimbox disposal key)"),
        }
    )


@click.command("registry")
@click.argument("uid")
@json_option
@with_settings
def registry(settings: Settings, uid: str, as_json: bool) -> None:
    """Tell what became of a study or an instance that is not there any more."""
    from archive.index import tombstones

    with opened(settings) as core, core.database.read() as connection:
        found = list(tombstones.iter_of(connection, uid))
    if as_json:
        print_json([_tombstone(each) for each in found])
    elif not found:
        click.echo(f"{uid} was not destroyed here.")
    else:
        rows = [(each.sop_instance_uid, each.list_id, moment_text(each.destroyed_at)) for each in found]
        print_table(rows, header=("instance", "list", "destroyed"))


def _tombstone(each: object) -> dict[str, object]:
    import dataclasses

    assert dataclasses.is_dataclass(each)
    values = {field.name: getattr(each, field.name) for field in dataclasses.fields(each)}
    return {name: value.hex() if isinstance(value, bytes) else value for name, value in values.items()}


@click.command("remains")
@click.option("--apply", "is_applied", is_flag=True, help="Delete them; without it, only look.")
@json_option
@with_settings
@acting_as("archivist", "operator")
def remains(settings: Settings, who: Person, is_applied: bool, as_json: bool) -> None:
    """Look for destroyed objects that lie there again, as an old copy of a folder brings them; delete with --apply."""
    from archive.bootstrap_disposal import destruction_of
    from archive.services.remains import iter_remains

    with opened(settings) as core, progress_bar("deleting") as progress:
        destruction = destruction_of(core)
        with core.database.read() as connection:
            found = list(iter_remains(destruction.stores, connection))
        if not is_applied or not found:
            _print_remains(found, as_json)
            return
        report = destruction.destroy_remains(found, who=who, progress=progress)
    _print_destroyed(report, as_json)


# ---- for people and programs ---------------------------------------------------------------------------------------


def _print_remains(found: Sequence[Remain], as_json: bool) -> None:
    if as_json:
        copies = [{"store": each.store, "key": each.key, "list_id": each.tombstone.list_id} for each in found]
        print_json({"applied": False, "copies": copies})
        return
    for each in found:
        click.echo(f"  {each.store}/{each.key}, of list {each.tombstone.list_id}")
    click.echo(f"{len(found)} destroyed objects are there." + (" Give --apply to delete them." if found else ""))


def _print_plan(plan: Plan, as_json: bool) -> None:
    if as_json:
        print_json({"applied": False, "plan": plan})
        return
    pairs = {"list": plan.list_id, "studies": plan.studies, "instances": plan.instances, "copies": plan.copies}
    print_pairs({**pairs, "size": size_text(plan.size_bytes), "would be sent back": len(plan.sent_back)})
    for uid, reason in plan.sent_back:
        click.echo(f"  {uid}: {reason}")
    click.echo("Dry run: nothing was destroyed. Give --apply to do it: it cannot be undone.")


def _print_destroyed(report: Destroyed, as_json: bool) -> None:
    if as_json:
        print_json(report)
    else:
        counts = {name.replace("_", " "): getattr(report, name) for name in ("studies", "instances", "deleted")}
        counts |= {
            "gone before": report.gone_before,
            "damaged": len(report.damaged),
            "sent back": len(report.sent_back),
        }
        print_pairs({**counts, "left": len(report.left), "certificate": report.certificate or "-"})
        for what, reason in (*report.sent_back, *report.left):
            click.echo(f"  {what}: {reason}")
        if report.left:
            click.echo("Some copies are still there: see to them, then give the same command again.", err=True)
    if report.left or report.sent_back:
        raise click.exceptions.Exit(PARTLY_DONE)
