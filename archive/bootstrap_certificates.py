"""Where the TLS certificates of a site are, by its settings; must not look at one.

Every section is walked, so that one which comes later is watched too: ``certificate`` is what the site shows, ``ca`` or
``ca_file`` whom it trusts, an https address in ``endpoint_url``, ``url`` or ``issuer`` a server that it needs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import BaseModel

from archive.config import Settings
from archive.monitoring.endpoints import Endpoints
from archive.monitoring.x509 import look_at_file
from archive.services.certificate_watch import CertificateWatch
from archive.services.tls_certificates import Place, Seen

_HTTPS = 443
_AUTHORITIES = ("ca", "ca_file")
_ADDRESSES = ("endpoint_url", "url", "issuer")
_USES = {
    "dicom.tls": "DICOM TLS",
    "http": "HTTPS",
    "oidc": "identity provider",
    "cold": "cold store",
    "notify.mail": "mail",
    "notify.webhook": "webhook",
}
_IS_OFF: Mapping[str, Callable[[Settings], bool]] = {
    "cold": lambda settings: settings.cold.store != "s3",
    "notify.mail": lambda settings: settings.notify.mail.host is None,
}


def certificate_watch_of(settings: Settings, *, files_only: bool = False) -> CertificateWatch:
    """Return what looks at every TLS certificate that the settings name."""
    endpoints = Endpoints(settings.certificates.timeout_seconds)

    def look(place: Place) -> Sequence[Seen]:
        return look_at_file(place) if place.endpoint is None else endpoints.look(place)

    places = [place for place in places_of(settings) if place.endpoint is None or not files_only]
    return CertificateWatch(places, look, settings.certificates.warn_days)


def places_of(settings: Settings) -> Iterator[Place]:
    """Yield where the site's certificates are: what it shows, what it trusts, and the servers it needs."""
    for name, section in sections(settings):
        if name not in _IS_OFF or not _IS_OFF[name](settings):
            yield from _places_in(_use(settings, name), section)
    yield from _servers_of_other_protocols(settings)
    for file in settings.certificates.files:
        yield Place("listed", settings.home / file)
    for endpoint in settings.certificates.endpoints:
        host, _, port = endpoint.rpartition(":")
        yield Place("listed", endpoint=(host.strip("[]"), int(port)))


def sections(model: BaseModel, prefix: str = "") -> Iterator[tuple[str, BaseModel]]:
    """Yield every section of the settings by its dotted name."""
    for name in type(model).model_fields:
        value = getattr(model, name)
        if isinstance(value, BaseModel):
            yield f"{prefix}{name}", value
            yield from sections(value, f"{prefix}{name}.")


def _use(settings: Settings, name: str) -> str:
    use = _USES.get(name, name)
    return "DICOM and HL7 TLS" if name == "dicom.tls" and settings.hl7.tls else use


def _places_in(use: str, section: BaseModel) -> Iterator[Place]:
    trusted = tuple(path for name in _AUTHORITIES if isinstance(path := getattr(section, name, None), Path))
    shown = getattr(section, "certificate", None)
    if isinstance(shown, Path):
        yield Place(use, shown, authorities=trusted)
    for path in trusted:
        yield Place(f"{use}: authorities", path)
    for name in _ADDRESSES:
        target = urlsplit(str(getattr(section, name, None) or ""))
        if target.scheme == "https" and target.hostname:
            yield Place(use, endpoint=(target.hostname, target.port or _HTTPS), authorities=trusted)


def _servers_of_other_protocols(settings: Settings) -> Iterator[Place]:
    """Yield DICOM destinations and the mail server, which have no URL."""
    mail, tls = settings.notify.mail, settings.dicom.tls
    for peer in settings.dicom.peers:
        if peer.tls and peer.host is not None and peer.port is not None:
            yield Place(f"DICOM peer {peer.ae_title}", endpoint=(peer.host, peer.port), authorities=_given(tls.ca))
    if mail.host is not None and mail.security == "tls":
        yield Place("mail", endpoint=(mail.host, mail.port), authorities=_given(mail.ca_file))


def _given(file: Path | None) -> tuple[Path, ...]:
    return () if file is None else (file,)
