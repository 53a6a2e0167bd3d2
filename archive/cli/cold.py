"""``drimbox cold``: make and try the cold store, make keys for it; must not move an object of the archive."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from archive.cli.options import json_option, with_settings
from archive.cli.output import print_json, print_table

if TYPE_CHECKING:
    from archive.config import Settings


@click.group("cold")
def command() -> None:
    """Make and try the cold store."""


@command.command("create")
@with_settings
def create(settings: Settings) -> None:
    """Make the folder of the settings a cold store; harmless when it is one."""
    from archive.opening_cold import create_folder
    from tiering.disk import OsDisk

    create_folder(settings.cold, OsDisk())
    click.echo(f"{settings.cold.folder} is a cold store")


@command.command("check")
@json_option
@with_settings
def check(settings: Settings, as_json: bool) -> None:
    """Put an object, read it back, refuse another under its key, delete it: all that the archive relies on."""
    from archive import logs
    from archive.opening_cold import cold_check_of
    from tiering.disk import OsDisk

    logs.configure("error", settings.log.format)
    report = cold_check_of(settings.cold, OsDisk()).run()
    if as_json:
        print_json({"missing": report.missing, "report": report})
    else:
        print_table([(finding.name, finding.outcome, finding.detail) for finding in report.findings])
    report.check()


@command.command("new-key-ring")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--key-id", help="The name of its first key  [default: today's date]")
def new_key_ring(file: Path, key_id: str | None) -> None:
    """Make a file of keys that objects are encrypted with before they leave; back it up where the objects are not."""
    from tiering.disk import OsDisk
    from tiering.stores.keyring import KeyRing

    if file.exists():
        raise click.UsageError(f"{file} is there already; drimbox cold rotate-key adds a key to it")
    if not file.parent.is_dir():
        raise click.UsageError(f"there is no folder {file.parent}")
    ring = KeyRing.generate(key_id or _today())
    ring.save(OsDisk(), file)
    click.echo(f"{file}: key {ring.active}. Without this file, what it encrypts is lost: copy it elsewhere now.")
    click.echo(f"Set cold.key_ring to it; the account of the archive must own it ({_owner(file)} does now).")


@command.command("rotate-key")
@click.argument("file", type=click.Path(dir_okay=False, exists=True, path_type=Path))
@click.option("--key-id", help="The name of the new key, another than the ones before  [default: today's date]")
def rotate_key(file: Path, key_id: str | None) -> None:
    """Add a key to a ring: new objects take it, old ones stay readable with theirs."""
    from tiering.disk import OsDisk
    from tiering.stores.keyring import KeyRing

    owner = file.stat()
    ring = KeyRing.load(file).with_key(key_id or _today())
    ring.save(OsDisk(), file, owner=(owner.st_uid, owner.st_gid))
    click.echo(
        f"{file}: new objects are encrypted with {ring.active}, older ones keep theirs of {len(ring.keys)} keys."
    )
    click.echo("The archive takes it up by itself. Copy the file again: the last copy does not have the new key.")


def _today() -> str:
    from archive.clock import utc_now

    return utc_now().date().isoformat()


def _owner(file: Path) -> str:
    try:
        return file.owner()
    except KeyError:
        return f"user {file.stat().st_uid}"
