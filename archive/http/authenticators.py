"""Machines known by their address; must not trust a name that a request gives itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from starlette.types import Scope

from archive.config import HttpClientSettings
from archive.http.access import address_of
from archive.http.proxies import parse_address
from archive.services.people import Person


@dataclass(frozen=True, slots=True)
class KnownAddresses:
    """The machines of ``[[http.clients]]``: as with DICOM peers, the network vouches for them. The first one wins."""

    clients: Sequence[HttpClientSettings]

    def __call__(self, scope: Scope) -> Person | None:
        """Return the machine that has this address, or None."""
        address = parse_address(address_of(scope))
        if address is None:
            return None
        known = (client for client in self.clients if any(address in network for network in client.addresses))
        return next((_person(client) for client in known), None)


def _person(client: HttpClientSettings) -> Person:
    roles, sites = frozenset(client.roles), frozenset(client.sites)
    return Person(client.name, client.name, roles, sites, via="address")
