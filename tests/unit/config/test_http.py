"""Settings of the HTTP port: off by default, loopback alone without TLS, machines known by their address."""

from __future__ import annotations

from pathlib import Path

import pytest

from archive.config import Settings
from tests.unit.config.samples import Load, named, reason, refusal

CLIENT = '[[http.clients]]\nname = "ws"\naddresses = ["10.0.0.0/8"]\nroles = ["radiologist"]\n'


def test_it_is_off_by_default(load: Load) -> None:
    """Without a port nothing is opened, and a port alone listens on this machine only."""
    assert Settings().http.port is None
    assert load("[http]\nport = 0").http.host == "127.0.0.1"


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "127.0.0.9"])
def test_loopback_needs_no_tls(load: Load, host: str) -> None:
    """What only this machine reaches may be plain."""
    assert load(f'[http]\nport = 0\nhost = "{host}"').http.has_tls is False


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "archive.example"])
def test_anything_else_is_encrypted_or_behind_a_proxy(load: Load, host: str, tmp_path: Path) -> None:
    """What others reach takes a certificate, or the word that a proxy has one; the refusal says which settings."""
    text = f'[http]\nport = 0\nhost = "{host}"\n'
    assert "certificate and key, or behind_proxy = true" in reason(refusal(load, text))
    assert load(f"{text}behind_proxy = true").http.behind_proxy
    for name in ("certificate", "key"):
        (tmp_path / f"{name}.pem").touch()
    files = f'certificate = "{tmp_path}/certificate.pem"\nkey = "{tmp_path}/key.pem"\n'
    assert load(text + files).http.has_tls
    assert load(text.replace("port = 0\n", "")).http.port is None


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("[http]\nport = 70000", "http.port"),
        ("[http]\nmax_header_kib = 1", "http.max_header_kib"),
        ("[http]\nbody_seconds = 0", "http.body_seconds"),
        ("[http]\nprot = 1", "http.prot"),
        ('[http]\nproxies = ["nowhere"]', "http.proxies.0"),
        ('[http]\nport = 0\ncertificate = "c.pem"', "http"),
        ('[http]\nport = 0\ncertificate = "no.pem"\nkey = "no.pem"', "http"),
        ('[http]\nport = 0\nclient_certificate = "required"', "http"),
        (CLIENT.replace('["10.0.0.0/8"]', "[]"), "http.clients.0.addresses"),
        (CLIENT.replace('["radiologist"]', "[]"), "http.clients.0.roles"),
        (CLIENT.replace('"ws"', '"two words"'), "http.clients.0.name"),
        (CLIENT + CLIENT, "http.clients"),
        (CLIENT + 'sites = ["elsewhere"]', "http"),
    ],
)
def test_wrong_values_are_named(load: Load, text: str, name: str) -> None:
    """What cannot be is refused under its name."""
    assert named(refusal(load, text)) == name


def test_files_are_sought_in_the_home(load: Load) -> None:
    """Relative paths of certificates start at the home."""
    settings = load('[http]\ncertificate = "tls/c.pem"\nkey = "tls/k.pem"')
    assert settings.http.certificate == settings.home / "tls/c.pem"


def test_what_is_not_used_is_not_checked(load: Load) -> None:
    """Files of a port that is off need not be there: commands beside a running archive read the same settings."""
    assert load('[http]\ncertificate = "/nowhere/c.pem"').http.port is None
