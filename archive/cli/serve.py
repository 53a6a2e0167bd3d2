"""``drimbox serve``; must not do more than read its options and hand over to the composition root."""

from __future__ import annotations

from pathlib import Path

import click

from archive.cli.options import config_option, home_option, read_settings


@click.command("serve")
@home_option
@config_option
@click.option("--dicom-host", help="Address to listen on.")
@click.option("--dicom-port", type=click.IntRange(0, 65535), help="Port to listen on; 0 picks a free one.")
@click.option("--ae-title", help="AE title of the archive.")
@click.option("--hl7-port", type=click.IntRange(0, 65535), help="Port to listen on for HL7; 0 picks a free one.")
def command(
    home: Path | None,
    config: Path | None,
    *,
    dicom_host: str | None,
    dicom_port: int | None,
    ae_title: str | None,
    hl7_port: int | None,
) -> None:
    """Receive, find and give back.

    Prints READY once the ports are open; ends on SIGTERM or SIGINT.
    """
    from archive import bootstrap, logs

    given: dict[str, object] = {
        "home": home,
        "dicom.host": dicom_host,
        "dicom.port": dicom_port,
        "dicom.ae_title": ae_title,
    }
    given["hl7.port"] = hl7_port
    settings = read_settings(config, given)
    logs.configure(settings.log.level, settings.log.format)
    for warning in settings.warnings:
        logs.get(__name__).warning("setting_doubted", reason=warning)
    bootstrap.serve(settings, announce=click.echo)
