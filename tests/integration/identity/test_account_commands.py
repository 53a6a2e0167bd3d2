"""``drimbox account`` as an operator, and as whoever commands the machine, calls it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from archive.cli import root
from tests.integration.identity.conftest import PASSWORD

Run = Callable[..., Result]
BEA = ("bea", "--full-name", "Béatrice Noël", "--role", "radiologist", "--site", "CHU")
CONFIG = '[http]\nport = 8042\n[[sites]]\nname = "CHU"\n'


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Give a function that runs ``drimbox account`` on a home with the account anne."""
    home = tmp_path / "home"
    home.mkdir()
    (home / "drimbox.toml").write_text(CONFIG)
    env = {"DRIMBOX_HOME": str(home), "DRIMBOX_PASSWORD": PASSWORD, "DRIMBOX_NEW_PASSWORD": PASSWORD}

    def call(*arguments: str, who: str | None = None, **more: str) -> Result:
        named = () if who is None else ("--as", who)
        return CliRunner(env={**env, **more}).invoke(root, ["account", *arguments, *named], catch_exceptions=True)

    assert call("create", "anne", "--full-name", "Anne Le Goff", "--role", "operator").exit_code == 0
    return call


def listed(run: Run) -> dict[str, list[str]]:
    """Return roles by account."""
    return {each["name"]: each["roles"] for each in json.loads(run("list", "--json").stdout)}


def test_an_invitation_is_a_link_to_the_archive(run: Run) -> None:
    """It is printed and nothing else is; the account is made by whoever uses it, not before."""
    done = run("invite", *BEA, who="anne")
    assert done.stdout.startswith("http://localhost:8042/login/link#")
    assert len(done.stdout.strip().partition("#")[2]) == 43
    assert listed(run) == {"anne": ["operator"]}


def test_an_invitation_is_made_by_an_operator_for_a_site_there_is(run: Run) -> None:
    """Nobody else, and no account for a site that does not exist."""
    assert run("invite", *BEA).exit_code == 2
    assert "no site X" in run("invite", *BEA, "--site", "X", who="anne").output
    assert run("invite", *BEA, who="anne", DRIMBOX_PASSWORD="something else").exit_code != 0


def test_links_start_with_the_origin_of_the_settings(run: Run) -> None:
    """What people type is what passkeys are for."""
    done = run("recover", "anne", DRIMBOX_LOGIN__ORIGIN="https://images.chu.example")
    assert done.stdout.startswith("https://images.chu.example/login/link#")


def test_a_link_has_to_lead_somewhere(run: Run) -> None:
    """Without a port and an origin nobody could open it: none is made."""
    done = run("recover", "anne", DRIMBOX_HTTP__PORT="0")
    assert done.exit_code != 0
    assert done.stdout == ""


def test_recovery_is_for_open_accounts(run: Run) -> None:
    """A name nobody has gets no link."""
    assert run("recover", "eve").exit_code != 0


def test_an_account_is_changed_and_its_password_set_at_the_machine(run: Run) -> None:
    """The old password is worth nothing then; the roles are the new ones."""
    assert run("create", *BEA, who="anne").exit_code == 0
    changed = run("change", "bea", "--full-name", "Béatrice", "--role", "operator", "--role", "auditor", who="anne")
    assert changed.exit_code == 0
    assert listed(run)["bea"] == ["auditor", "operator"]
    assert run("password", "bea", DRIMBOX_NEW_PASSWORD="a brand new one").exit_code == 0
    assert run("invite", *BEA, who="bea").exit_code != 0
    assert run("disable", "anne", who="bea", DRIMBOX_PASSWORD="a brand new one").exit_code == 0
