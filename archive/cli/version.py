"""``drimbox version``; must not load the product to tell its version."""

from __future__ import annotations

from importlib.metadata import version

import click

from archive.cli.options import json_option
from archive.cli.output import print_json


@click.command("version")
@json_option
def command(as_json: bool) -> None:
    """Print the version."""
    number = version("drimbox-archive")
    if as_json:
        print_json({"version": number})
    else:
        click.echo(f"drimbox {number}")
