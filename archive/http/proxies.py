"""Finds the address of who asks behind proxies that are believed (X-Forwarded-For); must not believe anybody else."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.types import Scope

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class ForwardedAddress:
    """Reads what proxies add; without ``proxies`` nothing is believed."""

    proxies: Sequence[Network] = ()

    def applied(self, scope: Scope) -> Scope:
        """Return the scope with the address, and the scheme, that the nearest believed proxy saw."""
        client = scope.get("client")
        if not self.proxies or not client or not self._is_proxy(str(client[0])):
            return dict(scope)
        headers = Headers(scope=scope)
        hops = [hop.strip() for line in headers.getlist("x-forwarded-for") for hop in line.split(",")]
        outside = next((hop for hop in reversed(hops) if not self._is_proxy(hop)), str(client[0]))
        scheme = headers.get("x-forwarded-proto", scope["scheme"])
        # Where the request came to is the proxy's business: "server" would be ours, which nobody outside reaches.
        return {**scope, "client": (outside, 0), "server": None, "scheme": "https" if scheme == "https" else "http"}

    def _is_proxy(self, text: str) -> bool:
        address = parse_address(text)
        return address is not None and any(address in network for network in self.proxies)


def parse_address(text: str) -> Address | None:
    """Return an IP address, an IPv4 one behind IPv6 as itself, or None for a text that is none."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
