"""The whole way in a browser of the real archive: first passkey, a push, a hold, a list others sign, a certificate."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from click.testing import CliRunner
from playwright.sync_api import Browser, Page, expect

from archive.cli import root
from tests.archive_process import ArchiveProcess, running_archive
from tests.chromium import VirtualKey, browsing, running_browser
from tests.dcmtk import free_port, storescu
from tests.objects import changed, ct_dataset, part10_bytes

PASSWORD = "correct horse battery"
CONFIG = """
[http]
port = {port}
[disposal]
waiting_days = 0
"""
ROLES = {
    "anne": "archivist",
    "diane": "director",
    "david": "dim_physician",
    "aude": "archives_officer",
}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Run one Chromium."""
    with running_browser() as browser:
        yield browser


def push(archive: ArchiveProcess, folder: Path) -> None:
    """Send two studies whose time is over."""
    files = []
    for study in (1, 2):
        ds = changed(ct_dataset(study=study), {"StudyDate": "20000302", "PatientBirthDate": "19500714"})
        file = folder / f"{study}.dcm"
        file.write_bytes(part10_bytes(ds))
        files.append(file)
    done = storescu(archive, *files)
    assert done.returncode == 0, done.stderr


def command(archive: ArchiveProcess, *words: str) -> str:
    """Run a command on the home beside the archive, as the first administrator."""
    where = ["--home", str(archive.home), "--config", str(archive.config)]
    given = {"DRIMBOX_PASSWORD": PASSWORD, "DRIMBOX_NEW_PASSWORD": PASSWORD}
    done = CliRunner(env=given).invoke(root, [*words, *where])
    assert done.exit_code == 0, done.output
    return done.stdout.strip()


def make_first(page: Page, archive: ArchiveProcess) -> VirtualKey:
    """Make the first administrator by the printed link."""
    key = VirtualKey(page)
    page.goto(archive.first_link)
    page.get_by_label("Account name").fill("olga")
    page.get_by_label("Full name").fill("Olga Operator")
    page.keyboard.press("Enter")
    page.get_by_text("Signed in as Olga Operator").wait_for()
    return key


def come_in(page: Page, link: str, console: str) -> None:
    """Make a passkey by an invitation, and go on to the console."""
    VirtualKey(page)
    page.goto(link)
    page.get_by_role("button", name="Make the passkey").click()
    page.get_by_text("Signed in as").wait_for()
    page.locator("main a.button").click()
    expect(page).to_have_url(console)


def test_from_the_first_link_to_a_verified_certificate(tmp_path: Path, browser: Browser) -> None:
    """An operator, an archivist and three who sign, each with a passkey of their own; nothing is typed in a shell but
    what a person of the machine does: invite, and sweep."""
    with ExitStack() as stack:
        config = CONFIG.format(port=free_port())
        archive = stack.enter_context(running_archive(tmp_path / "home", config=config))
        console = f"http://localhost:{archive.http_port}/console/"

        def tab(**options: str) -> Page:
            return stack.enter_context(browsing(browser, **options))

        olga = tab()
        make_first(olga, archive)
        command(archive, "account", "password", "olga")
        push(archive, tmp_path)
        people = {}
        for name, role in ROLES.items():
            wanted = ("--full-name", name.title(), "--role", role)
            people[name] = tab()
            come_in(people[name], command(archive, "account", "invite", name, *wanted, "--as", "olga"), console)
        command(archive, "retention", "sweep", "--apply", "--as", "olga")

        anne = people["anne"]
        hold_second(anne)
        path = propose(anne)
        for name, role in (("diane", "Director"), ("david", "DIM physician"), ("aude", "Archives officer")):
            sign(people[name], f"{console}{path}", role)
        destroy(anne, f"{console}{path}", path.rpartition("/")[2])

        anne.get_by_role("button", name="Sign out").click()
        anne.goto(f"{console}holds")
        expect(anne.get_by_role("button", name="Sign in with a passkey")).to_be_visible()


def hold_second(page: Page) -> None:
    """Find the second study by its accession number and put it on hold."""
    page.get_by_role("searchbox").fill("ACC2")
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_have_text("SCANNER THORACIQUE")
    for label, text in (("Reason", "Litigation"), ("Asked for by", "Court"), ("Reference", "RG 1")):
        page.get_by_label(label, exact=True).fill(text)
    page.get_by_role("button", name="Place a hold").click()
    expect(page.get_by_role("status")).to_have_text("The hold is placed.")


def propose(page: Page) -> str:
    """Propose what is due, the first study alone, and return the list's path."""
    page.get_by_role("link", name="Elimination lists").click()
    page.get_by_role("link", name="Propose a list").click()
    page.get_by_role("button", name="Propose this list").click()
    expect(page.get_by_text("1 study, 1 image")).to_be_visible()
    expect(page.get_by_text("You proposed it: others sign it.")).to_be_visible()
    return page.url.partition("?")[0].partition("/console/")[2]


def sign(page: Page, address: str, role: str) -> None:
    """Sign a list in one's office."""
    page.goto(address)
    if page.get_by_label("Number of the visa").count():
        page.get_by_label("Number of the visa").fill("VISA 2026/1")
    page.get_by_role("button", name=f"Sign: {role}").click()
    expect(page.get_by_role("status")).to_have_text("Your signature is kept.")


def destroy(page: Page, address: str, number: str) -> None:
    """Destroy a list, wait for the end, and see its certificate proven."""
    page.goto(address)
    page.get_by_label(f"Write {number} to confirm").fill(number)
    page.get_by_role("button", name="Destroy for ever").click()
    expect(page.get_by_role("heading", name="Done")).to_be_visible()
    page.get_by_role("link", name=f"Back to list {number}").click()
    expect(page.get_by_text("Every byte is as it was signed")).to_be_visible()
    with page.expect_download() as download:
        page.get_by_role("link", name="Certificate (signed JSON)").click()
    assert download.value.suggested_filename == f"{number}.json"
