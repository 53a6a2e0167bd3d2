"""``drimbox tier migrate``, ``rollback`` and ``evidence``; must not move or judge anything itself."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from archive.cli import PARTLY_DONE
from archive.cli.options import acting_as, json_option, opened, with_settings
from archive.cli.output import moment_text, print_json, print_pairs, print_table, progress_bar

if TYPE_CHECKING:
    from archive.config import Settings
    from archive.services.migration import MigrationReport
    from archive.services.people import Person


@click.command("migrate")
@click.argument("studies", nargs=-1)
@click.option("--max", "most", type=click.IntRange(min=1), help="Studies at most.")
@click.option("--apply", "is_applied", is_flag=True, help="Migrate; without it, only count what would go.")
@json_option
@with_settings
@acting_as("operator", "archivist", is_optional=True)
def migrate(
    settings: Settings,
    who: Person | None,
    studies: tuple[str, ...],
    most: int | None,
    *,
    is_applied: bool,
    as_json: bool,
) -> None:
    """Move studies to the cold tier: those named, or all that are old enough; a dry run unless --apply."""
    from archive.bootstrap_tiering import migration_of
    from archive.opening import check_home
    from archive.services.lock import share_home
    from archive.services.migration import EVERYTHING

    if is_applied and who is None:
        raise click.UsageError("--apply takes the account of an operator or an archivist: --as NAME")
    check_home(settings)
    with share_home(settings.home), opened(settings) as core, progress_bar("Studies") as progress:
        migration = migration_of(core) if who is None else migration_of(core, actor=who.name)
        wanted = list(studies) or list(migration.due(most or EVERYTHING))
        report = migration.run(wanted, progress) if is_applied else migration.preview(wanted)
    print_report(report, is_applied, as_json)


@click.command("rollback")
@click.argument("study")
@with_settings
@acting_as("operator", "archivist")
def rollback(settings: Settings, who: Person, study: str) -> None:
    """Give a study from its hot packs again, or a re-made one from its lossless cold ones, in the grace period."""
    from archive.bootstrap_tiering import rollback_of
    from archive.services.lock import share_home

    with share_home(settings.home), opened(settings) as core:
        packs = rollback_of(core, actor=who.name).roll_back(study)
    click.echo(f"{packs} packs are given again as they were. They stay so until: drimbox tier retry {study}")


@click.command("evidence")
@click.argument("study")
@click.option(
    "--pictures",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for the pictures: original, cold copy and difference.",
)
@json_option
@with_settings
def evidence(settings: Settings, study: str, pictures: Path | None, as_json: bool) -> None:
    """Show what proves that the lossy copies of a study are harmless, or why it stayed lossless."""
    from archive.bootstrap_tiering import evidence_of

    with opened(settings) as core:
        room = evidence_of(core)
        found = room.of_study(study)
        drawn = {each.pack_key: room.picture(each.pack_key) for each in found} if pictures is not None else {}
    written = [] if pictures is None else _write_pictures(pictures, drawn)
    if as_json:
        print_json({"evidence": found, "pictures": written})
        return
    for each in found:
        print_pairs({"series": each.series_instance_uid, "pack": each.pack_key, "made": moment_text(each.made_at)})
        print_evidence(each.body)
    for path in written:
        click.echo(f"picture: {path}")


def print_evidence(body: Mapping[str, Any]) -> None:
    """Print the evidence of a pack as a table."""
    pairs = {"rules": f"{body.get('rules')}; {body.get('gates')}", "cap": body.get("cap") or "none"}
    if not body.get("lossy"):
        print_pairs(pairs | {"stays lossless": body.get("why", ""), "reasons": "; ".join(body.get("reasons", ()))})
        return
    worst = body["worst"]
    print_pairs(
        pairs
        | {
            "source of the cap": "; ".join(body["reasons"]),
            "encoder": body["encoder"],
            "decoder": body["decoder"],
            "ratio": f"{body['ratio']:.2f} : 1, at most {worst['ratio']:.2f} : 1 in a frame",
            "largest error": f"{worst['max_error']:g} {body['unit']} (gate: {_error_limit(body['gate'])})",
            "smallest PSNR": f"{worst['psnr_db']} dB (gate: {body['gate']['min_psnr_db']:g})",
            "smallest SSIM": f"{worst['ssim']} (gate: {body['gate']['min_ssim']:g})",
            "instances": len(body["instances"]),
            "frames": sum(len(each["frames"]) for each in body["instances"]),
            "named by": ", ".join(each["sop_instance_uid"] for each in body.get("referenced_by", ())) or "nothing",
        }
    )


def _error_limit(gate: Mapping[str, Any]) -> str:
    limit = gate.get("max_error")
    return f"{gate.get('max_error_percent')} % of the range" if limit is None else f"{limit:g}"


def _write_pictures(folder: Path, drawn: dict[str, bytes | None]) -> list[Path]:
    """Write the pictures there are; patients' pixels are in them, so nobody else may read the folder."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    written = []
    for key, picture in drawn.items():
        if picture is not None:
            path = folder / f"{key.rpartition('/')[2].removesuffix('.zip')}.png"
            path.write_bytes(picture)
            written.append(path)
    return written


def print_report(report: MigrationReport, is_applied: bool, as_json: bool) -> None:
    """Print what became of studies; the exit code is another when some were to go and stay."""
    if as_json:
        print_json({"applied": is_applied, "report": report})
    else:
        print_pairs({"studies": report.studies, "packs": report.packs, "lossy": report.lossy, "left": len(report.left)})
        print_table([(f"  {study}", reason) for study, reason in report.left])
        if not is_applied:
            click.echo("Dry run: nothing was moved. Give --apply --as NAME to do it.")
    if report.left and is_applied:
        raise click.exceptions.Exit(PARTLY_DONE)
