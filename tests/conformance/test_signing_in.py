"""Signing in with passkeys: the real archive, a real Chromium with a virtual key, from the first start on."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import urlsplit

import pytest
from click.testing import CliRunner
from playwright.sync_api import Browser, Page

from archive.cli import root
from tests.archive_process import ArchiveProcess, running_archive
from tests.axe import violations
from tests.chromium import VirtualKey, browsing, running_browser
from tests.dcmtk import free_port

PASSWORD = "correct horse battery"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Run one Chromium; every test has profiles of its own."""
    with running_browser() as browser:
        yield browser


@dataclass
class House:
    """A running archive with its first administrator, anne, and what her key holds."""

    archive: ArchiveProcess
    credential: dict[str, Any]
    uses: int = 0

    def address(self, path: str = "/login/") -> str:
        """Return an address of the archive, by the name that passkeys are for."""
        return f"http://localhost:{self.archive.http_port}{path}"

    def annes_key(self, page: Page) -> VirtualKey:
        """Plug anne's key into a page: its counter goes on."""
        self.uses += 100
        key = VirtualKey(page)
        key.add({**self.credential, "signCount": self.uses})
        return key

    def sign_in(self, page: Page) -> None:
        """Show the key that is plugged in."""
        page.goto(self.address())
        page.get_by_role("button", name="Sign in with a passkey").click()

    def as_anne(self, page: Page) -> VirtualKey:
        """Sign in as anne."""
        key = self.annes_key(page)
        self.sign_in(page)
        page.get_by_text("Signed in as Anne Le Goff").wait_for()
        return key

    def command(self, *arguments: str) -> str:
        """Run ``drimbox`` on the home, as whoever commands the machine, and return what it prints."""
        where = ["--home", str(self.archive.home), "--config", str(self.archive.config)]
        given = {"DRIMBOX_PASSWORD": PASSWORD, "DRIMBOX_NEW_PASSWORD": PASSWORD}
        done = CliRunner(env=given).invoke(root, [*arguments, *where])
        assert done.exit_code == 0, done.output
        return done.stdout.strip()

    def journal(self, event: str) -> list[dict[str, Any]]:
        """Return the journal's entries of a kind, once there is one: refusals are written with the next batch."""
        for _ in range(50):
            entries: list[dict[str, Any]] = json.loads(self.command("audit", "list", "--event", event, "--json"))
            if entries:
                return entries
            time.sleep(0.1)
        raise AssertionError(f"the journal has no {event}")


@contextmanager
def new_archive(folder: Path) -> Iterator[ArchiveProcess]:
    """Run a new archive with the port of the web open."""
    with running_archive(folder / "home", config=f"[http]\nport = {free_port()}\n") as archive:
        yield archive


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, browser: Browser) -> Iterator[House]:
    """Run one archive for all tests; each has a browser of its own."""
    with new_archive(tmp_path_factory.mktemp("house")) as archive:
        with browsing(browser) as page:
            (credential,) = make_first(page, archive).credentials()
        house = House(archive, credential)
        house.command("account", "password", "anne")
        yield house


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """Lend a page of a new profile, in English."""
    with browsing(browser) as page:
        yield page


def make_first(page: Page, archive: ArchiveProcess) -> VirtualKey:
    """Make the first administrator, anne, as whoever started the archive does."""
    key = VirtualKey(page)
    fill_first(page, archive, "anne")
    page.get_by_text("Signed in as Anne Le Goff").wait_for()
    return key


def fill_first(page: Page, archive: ArchiveProcess, name: str) -> None:
    """Ask for the first account."""
    page.goto(archive.first_link)
    page.get_by_label("Account name").fill(name)
    page.get_by_label("Full name").fill(f"{name.title()} Le Goff")
    page.keyboard.press("Enter")


def make_by_link(page: Page, link: str) -> VirtualKey:
    """Make a passkey by a link that somebody was sent."""
    key = VirtualKey(page)
    page.goto(link)
    page.get_by_role("button", name="Make the passkey").click()
    page.get_by_text("Signed in as").wait_for()
    return key


def message(page: Page) -> str:
    """Return what the page says went wrong, once it does."""
    page.locator("#message.error").wait_for()
    return page.locator("#message").inner_text()


def invite(house: House, name: str, role: str) -> str:
    """Return the link by which somebody gets an account."""
    wanted = ("--full-name", name.title(), "--role", role, "--site", "default")
    return house.command("account", "invite", name, *wanted, "--as", "anne")


def test_the_first_administrator_is_made_by_the_link_and_the_link_is_spent(tmp_path: Path, browser: Browser) -> None:
    """The printed link makes an operator with a passkey, once; it is in no log, and a restart prints no other.

    A form that was open meanwhile is refused; who opens the link later is told at once, with what to do.
    """
    with new_archive(tmp_path) as archive:
        with browsing(browser) as other:
            VirtualKey(other)
            other.goto(archive.first_link)
            other.get_by_label("Account name").fill("eve")
            other.get_by_label("Full name").fill("Eve Le Goff")
            with browsing(browser) as page:
                make_first(page, archive)
                assert "Operator" in page.get_by_role("main").inner_text()
            other.keyboard.press("Enter")
            assert "link is used" in message(other)
            other.reload()
            assert "This link was used" in other.get_by_role("alert").inner_text()
            assert "drimbox account invite NAME" in other.get_by_role("main").inner_text()
            assert other.get_by_label("Account name").count() == 0
            assert violations(other) == []
        names = archive.index_row("SELECT count(*), min(name), max(name) FROM account")
        assert names == (1, "anne", "anne")
        token = urlsplit(archive.first_link).fragment
        assert token not in archive.log()
        assert token.encode() not in b"".join(path.read_bytes() for path in (archive.home / "ledger").iterdir())
        archive.stop()
        archive.first_link = ""
        archive.start()
        assert archive.first_link == ""


def test_a_key_that_does_not_verify_its_user_makes_no_account(tmp_path: Path, browser: Browser) -> None:
    """Holding a key is not enough: a finger or a PIN is asked for. The pages speak French, and need no mouse."""
    with new_archive(tmp_path) as archive:
        with browsing(browser) as page:
            VirtualKey(page, isUserVerified=False)
            fill_first(page, archive, "anne")
            assert "not used" in message(page)
        with browsing(browser, locale="fr-FR", color_scheme="dark") as page:
            VirtualKey(page)
            page.goto(archive.first_link)
            assert page.get_by_role("heading", name="Premier administrateur").is_visible()
            page.get_by_role("link", name="English").click()
            page.get_by_role("heading", name="First administrator").wait_for()
            for keys in ("anne", "Anne Le Goff"):
                page.keyboard.type(keys)
                page.keyboard.press("Tab")
            page.keyboard.press("Space")
            page.get_by_text("Signed in as Anne Le Goff").wait_for()


def test_somebody_signs_in_and_out(house: House, page: Page) -> None:
    """The key alone opens a session, the button ends it, and the journal has both with person, way and place."""
    house.as_anne(page)
    (cookie,) = [each for each in page.context.cookies() if each["name"] == "drimbox"]
    assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Lax")
    page.get_by_role("button", name="Sign out").click()
    page.get_by_role("heading", name="Sign in").wait_for()
    assert [each for each in page.context.cookies() if each["name"] == "drimbox"] == []
    came, went = house.journal("signed_in")[-1], house.journal("signed_out")[-1]
    assert (came["actor"], came["body"]["via"], came["body"]["address"]) == ("anne", "passkey", "127.0.0.1")
    assert went["actor"] == "anne"


def test_a_copied_session_is_over_after_signing_out(house: House, page: Page, browser: Browser) -> None:
    """Signing out ends the session itself, not only this browser's memory of it."""
    house.as_anne(page)
    with browsing(browser) as thief:
        for each in page.context.cookies():
            thief.context.add_cookies([{"name": each["name"], "value": each["value"], "url": house.address()}])
        thief.goto(house.address())
        assert thief.get_by_text("Signed in as Anne Le Goff").is_visible()
        page.get_by_role("button", name="Sign out").click()
        page.get_by_role("heading", name="Sign in").wait_for()
        thief.reload()
        assert thief.get_by_role("button", name="Sign in with a passkey").is_visible()


def test_an_invited_colleague_comes_in_and_a_closed_account_goes_out(house: House, page: Page) -> None:
    """An operator's link makes an account with its roles; closing it ends its session and its key opens nothing."""
    make_by_link(page, invite(house, "bea", "radiologist"))
    assert "Radiologist" in page.get_by_role("main").inner_text()
    house.command("account", "disable", "bea", "--as", "anne")
    page.reload()
    page.get_by_role("button", name="Sign in with a passkey").click()
    assert "not accepted" in message(page)
    assert house.journal("sign_in_refused")[-1]["body"]["address"] == "127.0.0.1"


def test_a_session_opens_what_its_roles_may(house: House, page: Page, browser: Browser) -> None:
    """A radiologist's page finds studies over DICOMweb, an operator's and a stranger's do not."""
    asked = "fetch('/dicom-web/studies', {headers: {Accept: 'application/dicom+json'}}).then((answer) => answer.status)"
    page.goto(house.address())
    assert page.evaluate(asked) == 401
    house.as_anne(page)
    assert page.evaluate(asked) == 403
    with browsing(browser) as radiologist:
        make_by_link(radiologist, invite(house, "rita", "radiologist"))
        assert radiologist.evaluate(asked) in (200, 204)


def test_a_lost_key_is_replaced_by_a_link_made_at_the_machine(house: House, page: Page, browser: Browser) -> None:
    """Recovery gives the account a new key; the lost one, and a session it began, are worth nothing any more."""
    make_by_link(page, invite(house, "carl", "auditor"))
    with browsing(browser) as found:
        make_by_link(found, house.command("account", "recover", "carl"))
    page.reload()
    page.get_by_role("button", name="Sign in with a passkey").click()
    assert "not accepted" in message(page)


def test_a_second_key_is_added_by_its_owner(house: House, page: Page) -> None:
    """Both keys open the account: a spare one saves the recovery."""
    first = make_by_link(page, invite(house, "dora", "director"))
    first.unplug()
    VirtualKey(page, transport="nfc")
    page.get_by_role("button", name="Add another key").click()
    page.get_by_role("button", name="Make the passkey").click()
    page.get_by_text("Signed in as Dora").wait_for()
    page.get_by_role("button", name="Sign out").click()
    house.sign_in(page)
    page.get_by_text("Signed in as Dora").wait_for()


def test_a_copied_key_is_noticed(house: House, page: Page) -> None:
    """A key whose counter stands behind the one seen last is refused."""
    house.as_anne(page).unplug()
    page.get_by_role("button", name="Sign out").click()
    VirtualKey(page).add({**house.credential, "signCount": 1})
    house.sign_in(page)
    assert "counter went back" in message(page)


def test_another_page_sends_nothing_in_my_name(house: House, page: Page) -> None:
    """A form on a page of the same host but another port comes with the cookie, and is refused all the same."""
    house.as_anne(page)
    with other_page(house.address("/login/out")) as address:
        page.goto(address)
        page.get_by_role("button").click()
        page.get_by_text("not made by a page of this archive").wait_for()
    page.goto(house.address())
    assert page.get_by_text("Signed in as Anne Le Goff").is_visible()


@contextmanager
def other_page(target: str) -> Iterator[str]:
    """Serve a page elsewhere on this host whose button posts a form to ``target``."""
    html = f'<form method="post" action="{target}"><button>Win</button></form>'.encode()

    class Handler(BaseHTTPRequestHandler):
        """Answers everything with the form."""

        def do_GET(self) -> None:
            """Send the form."""
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(html)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://localhost:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()
