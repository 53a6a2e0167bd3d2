"""``drimbox viewer``: put the OHIF viewer where it is served from; must not fetch it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from archive.cli.options import with_settings

if TYPE_CHECKING:
    from archive.config import Settings


@click.group("viewer")
def command() -> None:
    """The viewer that serve offers under /viewer."""


@command.command("package")
def package() -> None:
    """Print what npm has to fetch: the package and the version this release knows."""
    from archive.services.viewer_files import PACKAGE, VERSION

    click.echo(f"{PACKAGE}@{VERSION}")


@command.command("install")
@click.argument("package", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@with_settings
def install(settings: Settings, package: Path) -> None:
    """Check a package that npm pack fetched and unpack it; a running archive offers it at once."""
    from archive.services.viewer_files import ViewerFiles

    click.echo(f"the viewer is in {ViewerFiles(settings.viewer_folder).install(package)}")
