"""Settings of signing in and of the identity provider."""

from __future__ import annotations

from pathlib import Path

import pytest

from archive.config import Settings
from archive.config_login import LoginSettings
from tests.unit.config.samples import Load, refusal

ISSUER = '[oidc]\nissuer = "https://auth.example"\n'


def test_there_is_no_provider_by_default(load: Load) -> None:
    """Nobody is trusted without being named, and passkeys are for localhost."""
    assert Settings().oidc.issuer is None
    assert load("").login.host == "localhost"


@pytest.mark.parametrize("origin", ["https://images.chu.example", "https://a.example:8443", "http://localhost:8042"])
def test_an_origin_that_browsers_take_is_taken(load: Load, origin: str) -> None:
    """A secure name, or this machine's own."""
    assert load(f'[login]\norigin = "{origin}"').login.origin == origin


@pytest.mark.parametrize(
    "origin",
    [
        "images.chu.example",
        "http://images.chu.example",
        "https://images.chu.example/",
        "https://images.chu.example/archive",
        "https://user@images.chu.example",
        "https://10.0.0.1",
        "https://[::1]",
        "https://",
        "ftp://images.chu.example",
    ],
)
def test_an_origin_that_browsers_do_not_take_is_refused(load: Load, origin: str) -> None:
    """Passkeys would not work, and nobody would know why."""
    error = refusal(load, f'[login]\norigin = "{origin}"')
    assert error.fields["name"] == "login.origin"


def test_the_host_of_passkeys_is_the_origins(load: Load) -> None:
    """Without its port."""
    assert load('[login]\norigin = "https://a.example:8443"').login.host == "a.example"
    assert LoginSettings().host == "localhost"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (ISSUER, "client_id"),
        (ISSUER + 'client_id = "x"', "certificate"),
        (ISSUER + 'client_id = "x"\nauthentication = "client_secret_basic"', "secret_file"),
        (ISSUER + 'client_id = "x"\nauthentication = "private_key_jwt"', "key"),
        (ISSUER + 'client_id = "x"\ncertificate = "gone.pem"\nkey = "gone.key"', "no file"),
        ('[oidc]\nissuer = "http://auth.example"\nclient_id = "x"', "https"),
        (ISSUER + 'client_id = "x"\nalgorithms = ["none"]', "RS256"),
        (ISSUER + 'client_id = "x"\nalgorithms = ["HS256"]', "RS256"),
        ('[[oidc.rules]]\nroles = ["radiologist"]', "ask for something"),
        ('[[oidc.rules]]\nprofessions = ["10"]\nroles = []', "at least 1"),
        ('[[oidc.rules]]\nclaims = ["groups"]\nroles = ["auditor"]', "match"),
        ("[oidc]\nintrospection_seconds = 3600", "300"),
    ],
)
def test_a_provider_that_cannot_work_is_refused_at_start(load: Load, text: str, reason: str) -> None:
    """What is missing is named."""
    assert reason in refusal(load, text).fields["reason"]


def test_files_start_at_the_home(load: Load, tmp_path: Path) -> None:
    """As every path of the settings does."""
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "secret").write_text("x")
    text = ISSUER + 'client_id = "x"\nauthentication = "client_secret_basic"\nsecret_file = "secret"'
    assert load(text).oidc.secret_file == tmp_path / "home" / "secret"


def test_a_port_for_others_without_an_origin_is_doubted(load: Load) -> None:
    """People elsewhere could not use a passkey: the start says so, and goes on."""
    behind = "[http]\nport = 0\nbehind_proxy = true\n"
    assert any("login.origin" in warning for warning in load(behind).warnings)
    assert load(behind + '[login]\norigin = "https://a.example"').warnings == ()
    assert load("[http]\nport = 0").warnings == ()


def test_values_of_a_claim_are_gathered_by_its_name(load: Load) -> None:
    """Several lines for one claim are a choice; a value may hold the sign that divides them."""
    text = '[[oidc.rules]]\nroles = ["auditor"]\nclaims = ["groups=a", "groups=b", "dn=cn=x"]'
    (rule,) = load(text).oidc.rules
    assert rule.values_of_claims == {"groups": frozenset({"a", "b"}), "dn": frozenset({"cn=x"})}
