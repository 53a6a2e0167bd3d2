"""Settings from drimbox.toml and DRIMBOX_* variables, frozen; must not read a file or the environment by itself.

``Settings(...)`` is what its arguments say and nothing else; ``load_settings`` is the one place that looks outside.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Set
from functools import reduce
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeGuard, get_args

from pydantic import (
    BaseModel,
    PrivateAttr,
    ValidationError,
    ValidationInfo as Info,
    field_validator as check_field,
    model_validator as check_model,
)
from pydantic_core import ErrorDetails
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource as Source,
    SettingsConfigDict,
    SettingsError,
)

from archive.config_http import HttpClientSettings, HttpSettings
from archive.config_login import LoginSettings, OidcRule, OidcSettings
from archive.config_monitoring import (
    ArrivalsSettings,
    CertificatesSettings,
    NotifySettings,
    ProbeSettings,
    TracingSettings,
)
from archive.config_sections import (
    DicomSettings,
    DisposalSettings,
    Hl7Settings,
    IndexSettings,
    LogSettings,
    PeerSettings,
    SealingSettings,
    Site,
    StorageSettings,
    TlsSettings,
    refuse_twice,
)
from archive.config_tiering import ColdSettings, LossySettings, MigrationSettings, RecallSettings
from archive.errors import ConfigError

__all__ = [
    "DicomSettings",
    "DisposalSettings",
    "Hl7Settings",
    "HttpClientSettings",
    "HttpSettings",
    "LoginSettings",
    "OidcRule",
    "OidcSettings",
    "PeerSettings",
    "SealingSettings",
    "Settings",
    "Site",
    "StorageSettings",
    "TlsSettings",
    "find_file",
    "load_settings",
    "mask_url",
]

FILE_NAME = "drimbox.toml"
ENV_PREFIX = "DRIMBOX_"
DEFAULT_HOME = Path("drimbox-home")
DEFAULT_SITE = "default"
MASK = "********"

_NOT_SETTINGS = frozenset({"DRIMBOX_CONFIG", "DRIMBOX_ACCOUNT", "DRIMBOX_PASSWORD", "DRIMBOX_NEW_PASSWORD"})
_HOME_RELATIVE = (
    ("storage", "hot"),
    ("storage", "quarantine"),
    ("dicom", "tls", "certificate"),
    ("dicom", "tls", "key"),
    ("dicom", "tls", "ca"),
    ("http", "certificate"),
    ("http", "key"),
    ("http", "viewer"),
    ("http", "ca"),
    ("oidc", "certificate"),
    ("oidc", "key"),
    ("oidc", "ca"),
    ("oidc", "secret_file"),
    ("cold", "folder"),
    ("cold", "credentials"),
    ("cold", "ca_file"),
    ("cold", "key_ring"),
    ("notify", "mail", "password_file"),
    ("notify", "mail", "ca_file"),
    ("notify", "webhook", "token_file"),
    ("notify", "webhook", "ca_file"),
)
_PASSWORD = re.compile(r"(?P<before>://[^:/?#@]*:).*(?=@)|(?P<key>[?&](?:password|sslpassword)=)[^&#]*")


class Settings(BaseSettings):
    """Everything an operator can set; relative paths start at ``home``, and ``home`` at the working folder."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
        env_prefix=ENV_PREFIX,
        env_nested_delimiter="__",
        env_ignore_empty=True,
    )

    home: Path = DEFAULT_HOME
    sites: tuple[Site, ...] = ()
    default_site: str = DEFAULT_SITE
    dicom: DicomSettings = DicomSettings()
    hl7: Hl7Settings = Hl7Settings()
    http: HttpSettings = HttpSettings()
    login: LoginSettings = LoginSettings()
    oidc: OidcSettings = OidcSettings()
    storage: StorageSettings = StorageSettings()
    sealing: SealingSettings = SealingSettings()
    disposal: DisposalSettings = DisposalSettings()
    cold: ColdSettings = ColdSettings()
    recall: RecallSettings = RecallSettings()
    migration: MigrationSettings = MigrationSettings()
    lossy: LossySettings = LossySettings()
    certificates: CertificatesSettings = CertificatesSettings()
    notify: NotifySettings = NotifySettings()
    arrivals: ArrivalsSettings = ArrivalsSettings()
    probe: ProbeSettings = ProbeSettings()
    tracing: TracingSettings = TracingSettings()
    index: IndexSettings = IndexSettings()
    log: LogSettings = LogSettings()
    _source: Path | None = PrivateAttr(default=None)

    @classmethod
    def settings_customise_sources(
        cls, settings_cls: type[BaseSettings], init_settings: Source, *_args: Source, **_kwargs: Source
    ) -> tuple[Source, ...]:
        """Keep the arguments only: ``load_settings`` lays file, environment and options over each other."""
        return (init_settings,)

    @check_model(mode="before")
    @classmethod
    def _complete(cls, data: dict[str, Any]) -> dict[str, Any]:
        return _with_sites(_with_absolute_paths(data))

    @check_field("sites")
    @classmethod
    def _sites_once(cls, sites: tuple[Site, ...]) -> tuple[Site, ...]:
        refuse_twice((site.name for site in sites), what="site name")
        refuse_twice((title for site in sites for title in site.calling_ae_titles), what="AE title")
        refuse_twice((name for site in sites for name in site.hl7_facilities), what="HL7 facility")
        return sites

    @check_field("default_site")
    @classmethod
    def _is_a_site(cls, name: str, info: Info) -> str:
        names = [site.name for site in info.data.get("sites", ())]
        if names and name not in names:
            raise ValueError(f"{name!r} is not a site; choose one of: {', '.join(names)}")
        return name

    @check_field("migration")
    @classmethod
    def _rules_of_sites(cls, migration: MigrationSettings, info: Info) -> MigrationSettings:
        names = {"", *(site.name for site in info.data.get("sites", ()))}
        for rule in migration.rules:
            if len(names) > 1 and rule.site not in names:
                raise ValueError(f"{rule.site!r} of a rule is not a site")
        return migration

    @check_field("hl7")
    @classmethod
    def _has_certificate(cls, hl7: Hl7Settings, info: Info) -> Hl7Settings:
        dicom: DicomSettings | None = info.data.get("dicom")
        if hl7.tls and dicom is not None and dicom.tls.port is None:
            raise ValueError("tls uses certificate, key and ca of [dicom.tls]: set these and its port")
        return hl7

    @check_field("http")
    @classmethod
    def _sites_of_clients(cls, http: HttpSettings, info: Info) -> HttpSettings:
        names = {site.name for site in info.data.get("sites", ())}
        for client in http.clients:
            for site in client.sites:
                if names and site not in names:
                    raise ValueError(f"{site!r} of client {client.name} is not a site")
        return http

    @property
    def source(self) -> Path | None:
        """Return the configuration file that was read, or None."""
        return self._source

    @property
    def database_url(self) -> str:
        """Return the URL of the index database, with its password: never print it."""
        url = self.index.url
        return f"sqlite:///{self.home / 'index.db'}" if url is None else url.get_secret_value()

    @property
    def hot_folder(self) -> Path:
        """Return the folder where received objects land."""
        return self.storage.hot or self.home / "hot"

    @property
    def ledger_folder(self) -> Path:
        """Return where facts, holds and accounts are kept: back it up with the objects."""
        return self.home / "ledger"

    @property
    def certificates_folder(self) -> Path:
        """Return where the certificates of destroyed lists and the rejection notes lie."""
        return self.home / "certificates"

    @property
    def signing_key(self) -> Path:
        """Return the file of the key that signs certificates; it is made when it is first needed."""
        return self.home / "keys" / "certificates.pem"

    @property
    def viewer_folder(self) -> Path:
        """Return where the files of the viewer lie."""
        return self.http.viewer or self.home / "viewer"

    @property
    def cache_folder(self) -> Path:
        """Return where parts of cold studies are kept that were read lately; it may be emptied at any time."""
        return self.home / "cache"

    @property
    def scratch_folder(self) -> Path:
        """Return where lossy packs lie until they are put into the cold store; it is emptied at every start."""
        return self.home / "scratch"

    @property
    def workflows_url(self) -> str:
        """Return the URL of the database of workflows, with its password: never print it."""
        url = self.migration.workflows_url
        return f"sqlite:///{self.home / 'workflows.db'}" if url is None else url.get_secret_value()

    @property
    def quarantine_folder(self) -> Path:
        """Return the folder where refused objects wait for the operator."""
        return self.storage.quarantine or self.home / "quarantine"

    @property
    def warnings(self) -> tuple[str, ...]:
        """Return what looks odd but does not keep the archive from starting."""
        found = (
            *(site.finess_warning for site in self.sites),
            self.disposal.waiting_warning,
            self.cold.transport_warning,
            _passkey_warning(self),
        )
        return tuple(warning for warning in found if warning is not None)

    def site_of(self, calling_ae_title: str) -> Site:
        """Return the site that owns what this AE title sends: the one that lists it, or the default site."""
        listed = (site for site in self.sites if calling_ae_title in site.calling_ae_titles)
        return next(listed, None) or next(site for site in self.sites if site.name == self.default_site)

    def site_of_feed(self, names: Iterable[tuple[str, str]]) -> Site:
        """Return the site that lists the facility, or ``application|facility``, of an HL7 message, or the default site.

        ``names`` are the pairs a message is known by, the strongest first.
        """
        listed = {name: site for site in self.sites for name in site.hl7_facilities}
        for application, facility in names:
            for name in (f"{application}|{facility}", facility):
                if name in listed:
                    return listed[name]
        return next(site for site in self.sites if site.name == self.default_site)

    def find_peer(self, ae_title: str) -> PeerSettings | None:
        """Return what is configured about an AE title, or None."""
        return next((peer for peer in self.dicom.peers if peer.ae_title == ae_title), None)

    def masked(self) -> dict[str, Any]:
        """Return every setting as JSON values, without secrets: fit for a screen or an audit entry."""
        shown = self.model_dump(mode="json")
        if self.index.url is not None:
            shown["index"]["url"] = mask_url(self.database_url)
        return shown


def load_settings(path: Path | None, overrides: Mapping[str, object] = MappingProxyType({})) -> Settings:
    """Return the settings of file ``path``, overlaid by DRIMBOX_* variables, overlaid by ``overrides``.

    ``overrides`` has dotted names (``"dicom.port"``) or nested mappings; None means "not given". Without ``path``,
    drimbox.toml in the home is read when it exists. Raises ConfigError naming every wrong setting.
    """
    outside = _merge(_read_environment(), _nested(overrides))
    file = path or find_file(outside.get("home", DEFAULT_HOME))
    inside = {} if file is None else _read_file(file)
    try:
        settings = Settings(**_merge(inside, outside))
    except ValidationError as exc:
        raise _config_error(exc) from None  # its text may quote a secret
    settings._source = file
    return settings


def find_file(home: object) -> Path | None:
    """Return the drimbox.toml that lies in ``home``, or None."""
    file = Path(str(home)) / FILE_NAME
    return file if file.is_file() else None


def mask_url(url: str) -> str:
    """Return ``url`` with the password masked, wherever it is written."""
    return _PASSWORD.sub(lambda found: (found["before"] or found["key"]) + MASK, url)


def _read_file(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as exc:
        raise ConfigError(name="file", reason=f"{path} cannot be read ({exc.strerror})") from exc
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise ConfigError(name="file", reason=f"{path} is not TOML ({exc})") from exc


def _read_environment() -> dict[str, Any]:
    known = {*_variables(Settings), *_NOT_SETTINGS}
    for name in os.environ:
        if name.upper().startswith(ENV_PREFIX) and name.upper() not in known:
            raise ConfigError(name=name, reason=f"there is no such setting{_hint(name.upper(), known)}")
    try:
        return EnvSettingsSource(Settings)()
    except SettingsError as exc:
        field = re.search(r'field "(\w+)"', str(exc))
        raise ConfigError(name=field[1] if field else "environment", reason="its variable is not JSON") from exc


def _variables(model: type[BaseModel], prefix: str = ENV_PREFIX) -> Iterator[str]:
    for name, field in model.model_fields.items():
        yield f"{prefix}{name}".upper()
        if _is_model(field.annotation):
            yield from _variables(field.annotation, f"{prefix}{name}__")


def _is_model(annotation: object) -> TypeGuard[type[BaseModel]]:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _config_error(exc: ValidationError) -> ConfigError:
    problems = [_problem(error) for error in exc.errors(include_url=False, include_input=False)]
    (name, reason), *others = problems
    return ConfigError(name=name, reason=reason + "".join(f"; {other}: {why}" for other, why in others))


def _problem(error: ErrorDetails) -> tuple[str, str]:
    name = ".".join(str(step) for step in error["loc"])
    if error["type"] == "extra_forbidden":
        return name, f"there is no such setting{_hint(str(error['loc'][-1]), _keys_beside(error['loc']))}"
    reason = error["msg"].removeprefix("Value error, ").removeprefix("Input ")
    return name, reason.removesuffix(".")


def _keys_beside(route: tuple[int | str, ...]) -> set[str]:
    model: type[BaseModel] = Settings
    for step in route[:-1]:
        if isinstance(step, str):
            annotation = model.model_fields[step].annotation
            model = next(filter(_is_model, (annotation, *get_args(annotation))))
    return set(model.model_fields)


def _hint(name: str, known: Set[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f" (did you mean {close[0]}?)" if close else ""


def _with_absolute_paths(data: Mapping[str, Any]) -> dict[str, Any]:
    home = data.get("home", DEFAULT_HOME)
    if not isinstance(home, str | Path):
        return dict(data)
    home = Path(home).expanduser().absolute()
    absolute: dict[str, Any] = {"home": home}
    for *sections, key in _HOME_RELATIVE:
        value = _at(data, sections).get(key)
        if isinstance(value, str | Path):
            absolute = _merge(absolute, _nested({".".join([*sections, key]): home / value}))
    return _merge(data, absolute)


def _with_sites(data: dict[str, Any]) -> dict[str, Any]:
    """Add the one default site when none is configured; the only site is the default site."""
    sites = data.get("sites") or [Site(name=str(data.get("default_site", DEFAULT_SITE)))]
    names = [site.get("name") if isinstance(site, Mapping) else getattr(site, "name", None) for site in sites]
    only = {"default_site": names[0]} if len(names) == 1 and isinstance(names[0], str) else {}
    return only | data | {"sites": sites}


def _at(data: Mapping[str, Any], sections: Iterable[str]) -> Mapping[str, Any]:
    for section in sections:
        inner = data.get(section, {})
        data = inner if isinstance(inner, Mapping) else {}
    return data


def _nested(overrides: Mapping[str, object]) -> dict[str, Any]:
    """Turn ``{"dicom.port": 0}`` into ``{"dicom": {"port": 0}}``, leaving out what is None."""
    tree: dict[str, Any] = {}
    for name, value in overrides.items():
        if value is not None:
            top, *rest = name.split(".")
            tree = _merge(tree, {top: reduce(lambda inner, step: {step: inner}, reversed(rest), value)})
    return tree


def _merge(low: Mapping[str, Any], high: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(low)
    for name, value in high.items():
        below = merged.get(name)
        if isinstance(below, Mapping) and isinstance(value, Mapping):
            merged[name] = _merge(below, value)
        else:
            merged[name] = value
    return merged


def _passkey_warning(settings: Settings) -> str | None:
    """Tell that passkeys would not work for whoever comes from elsewhere."""
    http = settings.http
    if http.port is None or settings.login.origin is not None or not (http.has_tls or http.behind_proxy):
        return None
    return "login.origin is not set: passkeys are for localhost alone"
