"""``drimbox config``: what the archive would run with; must not show a secret."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import click

from archive.cli.options import json_option, with_settings
from archive.cli.output import print_json, print_pairs

if TYPE_CHECKING:
    from archive.config import Settings


@click.group("config")
def command() -> None:
    """Look at the configuration."""


@command.command("check")
@json_option
@with_settings
def check(settings: Settings, as_json: bool) -> None:
    """Say whether the configuration is right, and what it comes to."""
    if as_json:
        print_json({"file": settings.source, "settings": settings.masked(), "warnings": settings.warnings})
        return
    print_pairs(dict(_flat(settings.masked())))
    for warning in settings.warnings:
        click.echo(f"warning: {warning}", err=True)
    origin = f"{settings.source} and the environment" if settings.source else "the environment (no file)"
    click.echo(f"The configuration is right; it comes from {origin}.", err=True)


def _flat(tree: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield ``("dicom.port", "11112")`` for every setting of the tree."""
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, json.dumps(value, ensure_ascii=False)
