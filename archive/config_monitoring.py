"""The settings of what the archive watches about itself, and whom it tells; must not open anything."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, field_validator as check_field, model_validator as check_model

from archive.config_sections import Section
from archive.config_tiering import TimeZone
from archive.config_values import Count, Name, Port, Seconds

_ENDPOINT = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):([0-9]{1,5})")
_ADDRESS = re.compile(r"[^@\s<>,;]+@[^@\s<>,;]+")


def _endpoint(value: str) -> str:
    found = _ENDPOINT.fullmatch(value)
    if found is None or not 0 < int(found[1]) <= 65535:
        raise ValueError(f"{value!r} is not HOST:PORT")
    return value


def _address(value: str) -> str:
    if not _ADDRESS.fullmatch(value):
        raise ValueError(f"{value!r} is not a mail address")
    return value


Endpoint = Annotated[str, AfterValidator(_endpoint)]
MailAddress = Annotated[str, AfterValidator(_address)]
Days = Annotated[int, Field(ge=1, le=3650)]


class CertificatesSettings(Section):
    """Which TLS certificates are watched beside those that other settings name, and when to warn.

    ``files``: PEM files and folders of them. ``endpoints``: HOST:PORT of servers that speak TLS from the first byte;
    they are asked for their certificate, nothing else. ``warn_days``: so many days before the end.
    """

    files: tuple[Path, ...] = ()
    endpoints: tuple[Endpoint, ...] = ()
    warn_days: tuple[Days, ...] = (60, 15)
    check_hours: Annotated[float, Field(gt=0, le=168)] = 6
    timeout_seconds: Seconds = 10

    @check_field("warn_days")
    @classmethod
    def _far_first(cls, days: tuple[int, ...]) -> tuple[int, ...]:
        if not days:
            raise ValueError("give at least one number of days")
        return tuple(sorted(set(days), reverse=True))


class MailSettings(Section):
    """Warnings by mail (SMTP); off while ``host`` is absent.

    ``password_file``: a file with the password of ``user`` that only its owner may read. ``ca_file``: who signs the
    server's certificate; the system's authorities without it.
    """

    host: str | None = Field(default=None, min_length=1)
    port: Port = 587
    security: Literal["starttls", "tls", "none"] = "starttls"
    user: Name | None = None
    password_file: Path | None = None
    ca_file: Path | None = None
    sender: MailAddress | None = None
    recipients: tuple[MailAddress, ...] = ()

    @check_model(mode="after")
    def _is_complete(self) -> MailSettings:
        if self.host is None:
            return self
        if self.sender is None or not self.recipients:
            raise ValueError("sender and recipients are needed when host is set")
        if (self.user is None) != (self.password_file is None):
            raise ValueError("user and password_file go together: give both or neither")
        if self.user is not None and self.security == "none":
            raise ValueError('a password is not sent in the clear: security must be "starttls" or "tls"')
        return self


class WebhookSettings(Section):
    """Warnings as JSON, by POST; off while ``url`` is absent.

    ``token_file``: a file with a bearer token that only its owner may read.
    """

    url: str | None = Field(default=None, pattern=r"^https?://[^\s@]+$")
    token_file: Path | None = None
    ca_file: Path | None = None


class NotifySettings(Section):
    """Whom warnings are given to, and in which language mails and webhooks say them."""

    language: Literal["fr", "en"] = "fr"
    mail: MailSettings = MailSettings()
    webhook: WebhookSettings = WebhookSettings()


class ArrivalsSettings(Section):
    """When a site sends too little: ``drop_percent`` less of a modality than on the same weekdays of ``weeks`` before.

    ``min_expected``: where fewer instances are expected in a day, nothing is said.
    """

    drop_percent: Annotated[float, Field(gt=0, le=100)] = 40
    weeks: Annotated[int, Field(ge=1, le=12)] = 4
    min_expected: Count = 50
    time_zone: TimeZone = "Europe/Paris"


class ProbeSettings(Section):
    """Measuring by asking ourselves for stored series over our own DICOM port; off while ``every_minutes`` is 0."""

    every_minutes: Annotated[float, Field(ge=0, le=1440)] = 0
    tiers: tuple[Literal["hot", "cold"], ...] = ("hot", "cold")


class TracingSettings(Section):
    """Spans for an OpenTelemetry collector, OTLP over HTTP; off while ``endpoint`` is absent.

    ``endpoint``: its address without the path. ``percent`` of all traces are sent.
    """

    endpoint: str | None = Field(default=None, pattern=r"^https?://[^\s@]+$")
    percent: Annotated[float, Field(gt=0, le=100)] = 100
