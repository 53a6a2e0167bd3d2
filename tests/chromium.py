"""Drives a real Chromium, with a virtual passkey where one is asked for; must not import the archive."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

FLAGS: Final = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.1",
)
"""Nothing but this machine is reached: a page that asks for anything else waits for nothing."""
_KEY: Final = {
    "protocol": "ctap2",
    "transport": "usb",
    "hasResidentKey": True,
    "hasUserVerification": True,
    "isUserVerified": True,
    "automaticPresenceSimulation": True,
}


@contextmanager
def running_browser() -> Iterator[Browser]:
    """Run Chromium without a window, with an empty profile."""
    program = shutil.which("chromium")
    assert program is not None, "chromium is needed: apt-get install --no-install-recommends chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=list(FLAGS))
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def browsing(browser: Browser, **options: Any) -> Iterator[Page]:
    """Lend a page of a profile of its own; what the page reports as an error fails the test."""
    context: BrowserContext = browser.new_context(**{"locale": "en-GB", **options})
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda line: errors.append(line.text) if "Content Security Policy" in line.text else None)
    try:
        yield page
    finally:
        context.close()
    assert errors == []


class VirtualKey:
    """A passkey of Chromium's own making, plugged into one page's tab (CDP, domain WebAuthn)."""

    def __init__(self, page: Page, **options: Any) -> None:
        self._session = page.context.new_cdp_session(page)
        self._session.send("WebAuthn.enable")
        added = self._session.send("WebAuthn.addVirtualAuthenticator", {"options": {**_KEY, **options}})
        self.id = added["authenticatorId"]

    def credentials(self) -> list[dict[str, Any]]:
        """Return what the key holds."""
        held = self._session.send("WebAuthn.getCredentials", {"authenticatorId": self.id})
        return list(held["credentials"])

    def add(self, credential: dict[str, Any]) -> None:
        """Put a credential on the key, as a copier would."""
        self._session.send("WebAuthn.addCredential", {"authenticatorId": self.id, "credential": credential})

    def unplug(self) -> None:
        """Take the key out."""
        self._session.send("WebAuthn.removeVirtualAuthenticator", {"authenticatorId": self.id})
