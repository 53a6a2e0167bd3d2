"""Every TLS certificate that the settings name is watched."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest
from pydantic import BaseModel

from archive.bootstrap_certificates import _ADDRESSES, _AUTHORITIES, places_of
from archive.bootstrap_monitoring import channels_of
from archive.config import Settings, load_settings
from archive.console.catalogue import choose
from archive.monitoring.mail import Mail
from archive.monitoring.webhook import Webhook
from tests.unit.config.samples import EVERY_SETTING


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Return settings with everything in them."""
    file = tmp_path / "drimbox.toml"
    file.write_text(EVERY_SETTING)
    return load_settings(file, {"home": tmp_path})


def test_what_is_shown_trusted_and_needed_is_watched(settings: Settings) -> None:
    """Files by their use, servers with who may have signed them."""
    home = settings.home
    found = {(place.use, place.name): place.authorities for place in places_of(settings)}
    assert found == {
        ("cold store: authorities", str(home / "tls/s3.pem")): (),
        ("cold store", "s3.example:7480"): (home / "tls/s3.pem",),
        ("mail: authorities", str(home / "tls/mail.pem")): (),
        ("mail", "mail.example:465"): (home / "tls/mail.pem",),
        ("webhook: authorities", str(home / "tls/hooks.pem")): (),
        ("webhook", "hooks.example:443"): (home / "tls/hooks.pem",),
        ("DICOM peer CONSOLE", "console.example:4242"): (),
        ("listed", str(home / "tls/other.pem")): (),
        ("listed", "/etc/pki/site"): (),
        ("listed", "ris.example:443"): (),
        ("listed", "[2001:db8::1]:2762"): (),
    }


def test_what_is_off_is_not_watched(tmp_path: Path) -> None:
    """A cold store in a folder needs no server, whatever else is written there."""
    text = "[cold]\nstore = 'folder'\nfolder = '/mnt/cold'\nendpoint_url = 'https://s3.example'\nca_file = 'x.pem'\n"
    file = tmp_path / "drimbox.toml"
    file.write_text(text + "[notify.mail]\nca_file = 'y.pem'\nsecurity = 'tls'\n")
    assert list(places_of(load_settings(file, {"home": tmp_path}))) == []
    assert list(places_of(Settings(home=tmp_path))) == []


def fields(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Yield every setting, dotted."""
    for name, field in model.model_fields.items():
        inner = [kind for kind in (field.annotation, *get_args(field.annotation)) if isinstance(kind, type)]
        section = next((kind for kind in inner if issubclass(kind, BaseModel)), None)
        yield from [prefix + name] if section is None else fields(section, f"{prefix}{name}.")


def test_no_setting_about_certificates_goes_by_another_name() -> None:
    """A section that comes later and calls its certificate otherwise would not be watched."""
    about = {
        name for name in fields(Settings) if re.search(r"cert|^ca$|_ca$|ca_|pem|url|issuer", name.rpartition(".")[2])
    }
    known = {"certificate", *_AUTHORITIES, *_ADDRESSES}
    others = {name for name in about if name.rpartition(".")[2] not in known}
    assert others - {"oidc.certificate_bound"} == {
        *("dicom.peers.certificate_sha256", "dicom.tls.client_certificate", "http.client_certificate"),
        "migration.workflows_url",
    }


def test_channels_are_those_that_are_set(settings: Settings) -> None:
    """Mail with its login, webhook with its token; none without settings."""
    channels = channels_of(settings)
    mail, webhook = channels["mail"], channels["webhook"]
    assert isinstance(mail, Mail) and isinstance(webhook, Webhook)
    assert mail.server.login == ("drimbox", settings.home / "keys/mail")
    assert (mail.server.host, mail.server.security, mail.archive) == ("mail.example", "tls", "PACS")
    assert (webhook.url, webhook.token_file) == ("https://hooks.example/drimbox", settings.home / "keys/hook")
    assert channels_of(Settings(home=settings.home)) == {}


@pytest.mark.parametrize(("written", "spoken"), [("", "fr"), ("language = 'fr'", "fr"), ("language = 'en'", "en")])
def test_channels_speak_the_language_of_the_site(tmp_path: Path, written: str, spoken: str) -> None:
    """One setting for both; French unless it says otherwise, as the console does."""
    file = tmp_path / "drimbox.toml"
    mail_settings = "[notify.mail]\nhost = 'mail.example'\nsender = 'a@chu.example'\nrecipients = ['b@chu.example']\n"
    file.write_text(f"[notify]\n{written}\n{mail_settings}[notify.webhook]\nurl = 'https://hooks.example'\n")
    channels = channels_of(load_settings(file, {"home": tmp_path}))
    mail, webhook = channels["mail"], channels["webhook"]
    assert isinstance(mail, Mail) and isinstance(webhook, Webhook)
    assert (mail.language, webhook.language) == (spoken, spoken)
    assert choose("", "") == "fr"
