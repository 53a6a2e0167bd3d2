"""The settings of the HTTP edge, each with its default and what it refuses; must not know where they are read from."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator as check_field, model_validator as check_model

from archive.config_sections import Section, refuse_twice
from archive.config_values import Cidr, Count, Name, Port, Seconds

_LOOPBACK: tuple[Cidr, ...] = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))
_REMEDY = "set certificate and key, or behind_proxy = true when a proxy on the way does the TLS"


class HttpClientSettings(Section):
    """A machine known by its address: what it may do follows from its roles; no ``sites``: every site."""

    name: Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[\x21-\x7e]+$")]
    addresses: Annotated[tuple[Cidr, ...], Field(min_length=1)]
    roles: Annotated[tuple[Name, ...], Field(min_length=1)]
    sites: tuple[Name, ...] = ()


class HttpSettings(Section):
    """DICOMweb, viewer and console: one port, off while ``port`` is absent; its limits and timers (seconds).

    ``behind_proxy``: TLS is done by a proxy; ``proxies`` are the addresses whose X-Forwarded-For is believed then.
    """

    host: str = Field(default="127.0.0.1", min_length=1)
    port: Port | None = None
    certificate: Path | None = None
    key: Path | None = None
    ca: Path | None = None
    client_certificate: Literal["none", "optional", "required"] = "none"
    viewer: Path | None = None
    behind_proxy: bool = False
    proxies: tuple[Cidr, ...] = _LOOPBACK
    clients: tuple[HttpClientSettings, ...] = ()
    max_body_mib: Count = 64 * 1024
    max_requests: Count = 64
    max_connections: Count = 512
    max_header_kib: Annotated[int, Field(ge=4, le=1024)] = 64
    header_seconds: Seconds = 10
    body_seconds: Seconds = 30
    send_seconds: Seconds = 60
    idle_seconds: Annotated[int, Field(ge=1)] = 60
    query_limit: Count = 1000

    @property
    def has_tls(self) -> bool:
        """Tell whether the port speaks TLS."""
        return self.certificate is not None

    @check_field("clients")
    @classmethod
    def _clients_once(cls, clients: tuple[HttpClientSettings, ...]) -> tuple[HttpClientSettings, ...]:
        refuse_twice((client.name for client in clients), what="client name")
        return clients

    @check_model(mode="after")
    def _is_safe(self) -> HttpSettings:
        if self.port is None:
            return self
        self._check_files()
        if not (self.has_tls or self.behind_proxy or _is_loopback(self.host)):
            raise ValueError(f"host {self.host} can be reached from elsewhere and nothing is encrypted: {_REMEDY}")
        return self

    def _check_files(self) -> None:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key go together: give the paths of two PEM files, or neither")
        if self.client_certificate != "none" and (self.ca is None or not self.has_tls):
            raise ValueError("client_certificate needs certificate, key and ca: paths of PEM files")
        for name in ("certificate", "key", "ca"):
            path: Path | None = getattr(self, name)
            if path is not None and not path.is_file():
                raise ValueError(f"{name}: there is no file {path}")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
