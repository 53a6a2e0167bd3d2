"""The sections of the settings, each with its defaults and what it refuses; must not know where they are read from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    field_validator as check_field,
    model_validator as check_model,
)

from archive.config_values import AE, Cidr, Count, Fingerprint, Name, Port, Seconds
from archive.uids import doubt_about_finess
from retention_rules.errors import RetentionError
from retention_rules.loader import load_schedule

_SHORT_WAIT_DAYS = 7
_DATABASE_SCHEMES = ("sqlite:///", "postgresql://", "postgresql+psycopg://")


def refuse_twice(values: Iterable[str], *, what: str) -> None:
    """Raise ValueError when a value is there twice."""
    twice = [value for value, count in Counter(values).items() if count > 1]
    if twice:
        raise ValueError(f"{what} {twice[0]!r} is given twice")


class Section(BaseModel):
    """A section: frozen, unknown keys refused, values out of its errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class PeerSettings(Section):
    """A known application entity; a C-MOVE destination when it has both ``host`` and ``port``."""

    ae_title: AE
    host: str | None = Field(default=None, min_length=1)
    port: Annotated[int, Field(ge=1, le=65535)] | None = None
    addresses: tuple[Cidr, ...] = ()
    certificate_sha256: Fingerprint | None = None
    tls: bool = False
    commitment_same_association: bool = True

    @property
    def is_destination(self) -> bool:
        """Tell whether the archive can open an association to this peer."""
        return self.host is not None and self.port is not None

    @check_model(mode="after")
    def _host_with_port(self) -> PeerSettings:
        if (self.host is None) != (self.port is None):
            raise ValueError("host and port go together: give both or neither")
        return self


class TlsSettings(Section):
    """The second, encrypted listener (PS3.15 B.9 to B.11); off while ``port`` is absent."""

    port: Port | None = None
    certificate: Path | None = None
    key: Path | None = None
    ca: Path | None = None
    client_certificate: Literal["none", "optional", "required"] = "none"
    profile: Literal["bcp195", "extended"] = "bcp195"

    @check_model(mode="after")
    def _files(self) -> TlsSettings:
        if self.port is None:
            return self
        wanted = ["certificate", "key"] + ["ca"] * (self.client_certificate != "none")
        for name in wanted:
            path: Path | None = getattr(self, name)
            if path is None:
                raise ValueError(f"{name} is needed when port is set; give the path of a PEM file")
            if not path.is_file():
                raise ValueError(f"{name}: there is no file {path}")
        return self


class DicomSettings(Section):
    """The DICOM listener, its limits and its timers (seconds), and the application entities it knows."""

    host: str = Field(default="127.0.0.1", min_length=1)
    port: Port = 11112
    ae_title: AE = "DRIMBOX"
    extra_ae_titles: tuple[AE, ...] = ()
    check_called_ae_title: bool = True
    accept_unknown_peers: bool = True
    accept_private_sop_classes: bool = True
    max_pdu_bytes: Annotated[int, Field(ge=4096, le=128 * 1024 * 1024)] = 1024 * 1024
    max_associations: Count = 256
    max_associations_per_peer: Count = 128
    artim_seconds: Seconds = 30
    idle_seconds: Seconds = 600
    pdu_seconds: Seconds = 30
    find_limit: Count = 10_000
    peers: tuple[PeerSettings, ...] = ()
    tls: TlsSettings = TlsSettings()

    @check_field("peers")
    @classmethod
    def _peers_once(cls, peers: tuple[PeerSettings, ...]) -> tuple[PeerSettings, ...]:
        refuse_twice((peer.ae_title for peer in peers), what="AE title")
        return peers


class Hl7Settings(Section):
    """The HL7 listener (MLLP), its limits and timers (seconds); off while ``port`` is absent."""

    host: str = Field(default="127.0.0.1", min_length=1)
    port: Port | None = None
    addresses: tuple[Cidr, ...] = ()
    max_message_kib: Annotated[int, Field(ge=16, le=1024 * 1024)] = 1024
    max_connections: Count = 32
    message_seconds: Seconds = 30
    idle_seconds: Seconds = 3600
    tls: bool = False


class DisposalSettings(Section):
    """How long approved lists wait before anything is destroyed, in days."""

    waiting_days: Annotated[int, Field(ge=0, le=3650)] = 30

    @property
    def waiting_warning(self) -> str | None:
        """Say that the waiting is short: it is when a mistake is still noticed."""
        short = self.waiting_days < _SHORT_WAIT_DAYS
        return f"disposal.waiting_days = {self.waiting_days}: less than a week to notice a mistake" if short else None


class SealingSettings(Section):
    """Packing of quiet studies, series by series: by itself when ``enabled``, else by ``drimbox tier seal`` alone.

    ``codec``: all without loss; what is not HTJ2K needs the package's extra ``codecs`` for its second decoder.
    ``quiet_minutes``: so long nothing came for a study. ``grace_hours``: so long received files stay beside the pack.
    """

    enabled: bool = False
    quiet_minutes: Annotated[int, Field(ge=0)] = 60
    grace_hours: Annotated[int, Field(ge=0)] = 24
    codec: Literal["none", "htj2k", "jpeg2000", "jpeg-ls"] = "htj2k"


class StorageSettings(Section):
    """Where bytes rest; ``None`` means the folder of that name in the home."""

    hot: Path | None = None
    quarantine: Path | None = None
    min_free_mib: Annotated[int, Field(ge=0)] = 512
    direct_io: bool = True


class IndexSettings(Section):
    """The index database; ``url`` may hold a password, so it is a secret."""

    url: SecretStr | None = None

    @check_field("url")
    @classmethod
    def _known_scheme(cls, url: SecretStr | None) -> SecretStr | None:
        if url is None:
            return None
        text = url.get_secret_value()
        if not text.startswith(_DATABASE_SCHEMES) or not urlsplit(text).path.strip("/"):
            raise ValueError("give sqlite:///PATH or postgresql://USER:PASSWORD@HOST:PORT/DATABASE")
        return url


class LogSettings(Section):
    """How much is logged to standard error, and in which form."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["json", "console"] = "json"


class Site(Section):
    """An establishment that owns studies; ``regime`` chooses its retention law (R.1112-7 CSP, or private practice).

    ``retention_years`` lengthens the base period (a private site may shorten it to the UNCAM's five years);
    ``reading``: where two official sources differ keep longer (prudent), or apply the statute alone.
    """

    name: str = Field(min_length=1, max_length=64, pattern=r"^[^\x00-\x1f\x7f]+$")
    regime: Literal["hospital", "private"] = "hospital"
    kind: Literal["public", "espic", "private_clinic", "practice"] = "public"
    finess: str | None = None
    calling_ae_titles: tuple[AE, ...] = ()
    hl7_facilities: tuple[Name, ...] = ()
    ipp_authorities: tuple[Name, ...] = ()
    retention_years: Annotated[int, Field(ge=1, le=200)] | None = None
    reading: Literal["prudent", "statute"] = "prudent"

    @check_model(mode="after")
    def _years_keep_the_law(self) -> Site:
        try:
            load_schedule(self.regime, self.retention_settings)
        except RetentionError as exc:
            raise ValueError(exc.message) from exc
        return self

    @property
    def retention_settings(self) -> dict[str, int | bool]:
        """Return what lengthens the schedule of the regime: the site's own number of years, if it has one."""
        return {} if self.retention_years is None else {"base": self.retention_years}

    @check_model(mode="after")
    def _regime_fits_kind(self) -> Site:
        if self.kind == "practice" and self.regime != "private":
            raise ValueError('kind "practice" goes with regime "private"')
        if self.kind in {"public", "espic"} and self.regime != "hospital":
            raise ValueError(f'kind "{self.kind}" goes with regime "hospital"')
        return self

    @property
    def finess_warning(self) -> str | None:
        """Say what is odd about the FINESS number; odd numbers exist, so this refuses nothing."""
        doubt = None if self.finess is None else doubt_about_finess(self.finess)
        return None if doubt is None else f"site {self.name}: FINESS {self.finess} {doubt}"
