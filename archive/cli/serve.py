"""``drimbox serve``; must not do more than read its options and hand over to the composition root."""

from __future__ import annotations

from pathlib import Path

import click

from archive.cli.options import config_option, home_option, read_settings

_PORT = click.IntRange(0, 65535)


@click.command("serve")
@home_option
@config_option
@click.option("--dicom-host", help="Address to listen on.")
@click.option("--dicom-port", type=_PORT, help="Port to listen on; 0 picks a free one.")
@click.option("--ae-title", "dicom_ae_title", help="AE title of the archive.")
@click.option("--hl7-port", type=_PORT, help="Port to listen on for HL7; 0 picks a free one.")
@click.option("--http-port", type=_PORT, help="Port to listen on for DICOMweb; 0 picks a free one.")
def command(home: Path | None, config: Path | None, **options: str | int | None) -> None:
    """Receive, find and give back.

    Prints READY once the ports are open; ends on SIGTERM or SIGINT.
    """
    from archive import bootstrap, logs

    given = {name.replace("_", ".", 1): value for name, value in options.items()}
    settings = read_settings(config, {"home": home, **given})
    logs.configure(settings.log.level, settings.log.format)
    for warning in settings.warnings:
        logs.get(__name__).warning("setting_doubted", reason=warning)
    bootstrap.serve(settings, announce=click.echo)
