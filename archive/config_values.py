"""Kinds of values that settings are made of, checked as they are read; must not know a setting."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field

from archive.errors import InvalidAETitle
from archive.uids import parse_ae_title

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def _ae_title(value: str) -> str:
    try:
        return parse_ae_title(value)
    except InvalidAETitle as exc:
        raise ValueError(exc.message) from exc


def _network(value: object) -> Network:
    try:
        return ipaddress.ip_network(str(value))
    except ValueError as exc:
        raise ValueError(f"{value} is not an address or a CIDR block such as 10.1.0.0/16") from exc


def _fingerprint(value: str) -> str:
    digits = value.replace(":", "").lower()
    if not re.fullmatch(r"[0-9a-f]{64}", digits):
        raise ValueError("a SHA-256 fingerprint is 64 hexadecimal digits")
    return digits


AE = Annotated[str, AfterValidator(_ae_title)]
Port = Annotated[int, Field(ge=0, le=65535)]
Count = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Name = Annotated[str, Field(min_length=1, max_length=200)]
Cidr = Annotated[Network, BeforeValidator(_network)]
Fingerprint = Annotated[str, AfterValidator(_fingerprint)]
