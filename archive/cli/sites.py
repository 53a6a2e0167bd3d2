"""Which establishments a command is about; must not open an archive."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from archive.config import Settings
    from archive.services.people import Person

site_option = click.option("--site", help="The establishment  [default: default_site of the settings]")


def site_of(settings: Settings, site: str | None, who: Person | None = None) -> str:
    """Return the site meant; a usage error for one that the settings do not have or the account is not for."""
    name = site or settings.default_site
    if name not in sites_of(settings, who):
        allowed = ", ".join(sorted(sites_of(settings, who)))
        raise click.UsageError(f"{name!r} is not a site here; choose one of: {allowed}")
    return name


def sites_of(settings: Settings, who: Person | None) -> frozenset[str]:
    """Return the sites that an account may act for."""
    every = frozenset(site.name for site in settings.sites)
    return every if who is None or not who.sites else every & who.sites
