"""OpenID Connect with a real provider: signing in by a browser, and access tokens at the DICOMweb port."""

from __future__ import annotations

import json
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import urllib3
from click.testing import CliRunner
from playwright.sync_api import Browser, Page

from archive.cli import root
from archive.clock import utc_now
from archive.errors import ProviderFailed, TokenRefused
from archive.services.bearer import Bearers
from archive.services.professionals import Professionals, Rule
from archive.services.provider import Client, Provider
from archive.services.signed_tokens import SignedTokens
from tests.archive_process import ArchiveProcess, running_archive
from tests.chromium import browsing, running_browser
from tests.dcmtk import free_port
from tests.identity_provider import AUDIENCE, SECRET, IdentityProvider, running_provider

CLIENTS = ("reader", "thief")
CONFIG = """
default_site = "CHU"
[[sites]]
name = "CHU"
[[sites]]
name = "Clinique"
[http]
port = {port}
certificate = "{certificate}"
key = "{key}"
ca = "{ca}"
client_certificate = "optional"
[oidc]
issuer = "{issuer}"
client_id = "archive"
certificate = "{own_certificate}"
key = "{own_key}"
ca = "{ca}"
audience = "{audience}"
introspection_seconds = 0
leeway_seconds = 0
[[oidc.rules]]
professions = ["10"]
specialties = ["SM44"]
roles = ["radiologist"]
sites = ["CHU"]
[[oidc.rules]]
professions = ["10"]
roles = ["referring_physician"]
sites = ["CHU"]
[[oidc.rules]]
professions = ["98"]
roles = ["manipulator"]
"""


@dataclass
class House:
    """An archive and the provider its people come by."""

    archive: ArchiveProcess
    provider: IdentityProvider

    def address(self, path: str = "/login/") -> str:
        """Return an address of the archive."""
        return f"https://localhost:{self.archive.http_port}{path}"

    def ask(self, token: str, *, certificate: str | None = "reader") -> urllib3.BaseHTTPResponse:
        """Ask for studies with a token, over a connection made with somebody's certificate."""
        headers = {"Authorization": f"Bearer {token}", "Accept": "application/dicom+json"}
        with urllib3.PoolManager(ssl_context=self.provider.tls(certificate)) as pool:
            return pool.request("GET", self.address("/dicom-web/studies"), headers=headers, retries=False)

    def first(self, event: str, *, seconds: float = 10) -> dict[str, Any]:
        """Return the first entry of a kind, once there is one: nobody waits for what is only looked at."""
        deadline = time.monotonic() + seconds
        while not (entries := self.journal(event)):
            assert time.monotonic() < deadline, f"nothing {event}"
            time.sleep(0.1)
        return entries[0]

    def journal(self, event: str) -> list[dict[str, Any]]:
        """Return the journal's entries of a kind."""
        where = ["--home", str(self.archive.home), "--config", str(self.archive.config)]
        done = CliRunner().invoke(root, ["audit", "list", "--event", event, "--json", *where])
        assert done.exit_code == 0, done.output
        entries: list[dict[str, Any]] = json.loads(done.stdout)
        return entries


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """Run both, for all tests."""
    folder, port = tmp_path_factory.mktemp("provider"), free_port()
    with (
        running_provider(folder, f"https://localhost:{port}/login/oidc/callback") as provider,
        running_archive(folder / "home", config=configured(provider, port)) as archive,
    ):
        yield House(archive, provider)


def configured(provider: IdentityProvider, port: int) -> str:
    """Return the settings of an archive on a port of its own that knows the provider."""
    certificate, key = provider.files("server")
    own_certificate, own_key = provider.files("archive")
    return CONFIG.format(
        port=port,
        certificate=certificate,
        key=key,
        ca=provider.authority.ca,
        issuer=provider.issuer,
        own_certificate=own_certificate,
        own_key=own_key,
        audience=AUDIENCE,
    )


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Run one Chromium; every test has profiles of its own."""
    with running_browser() as browser:
        yield browser


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """Lend a page that takes our throw-away certificates."""
    with browsing(browser, ignore_https_errors=True) as page:
        yield page


def sign_in(page: Page, house: House, account: str, *, lang: str = "en") -> None:
    """Go to the provider and say there who one is."""
    page.goto(house.address(f"/login/?lang={lang}"))
    page.get_by_role("link", name="Pro Santé Connect").click()
    page.get_by_placeholder("Enter any login").fill(account)
    page.get_by_placeholder("and password").fill("any")
    page.get_by_role("button", name="Sign-in").click()
    page.get_by_role("button", name="Continue").click()


class TestSigningIn:
    """The way of people, by a browser."""

    def test_a_radiologist_comes_in_by_the_provider(self, house: House, page: Page) -> None:
        """Code and PKCE over mutual TLS: the person has the roles and the site of the rules, the journal knows them."""
        sign_in(page, house, "rita")
        page.get_by_text("Signed in as Rita Rayon").wait_for()
        told = page.locator("dd").all_inner_texts()
        assert told == ["Radiologist, Referring physician", "CHU"]
        assert {each["name"] for each in page.context.cookies(house.address())} >= {"__Host-drimbox"}
        entry = house.journal("signed_in")[-1]
        assert (entry["actor"], entry["body"]["via"]) == ("899700218896", "oidc")
        page.get_by_role("button", name="Sign out").click()
        page.get_by_role("heading", name="Sign in").wait_for()

    @pytest.mark.parametrize(
        ("lang", "words"), [("en", "verified professional identity"), ("fr", "identité professionnelle vérifiée")]
    )
    def test_a_manipulator_without_a_verified_identity_is_told_why(
        self, house: House, page: Page, lang: str, words: str
    ) -> None:
        """An ADELI number is not enough for a manipulator; the refusal says what to do, and is in the journal."""
        sign_in(page, house, "mado", lang=lang)
        page.get_by_role("alert").wait_for()
        assert words in page.get_by_role("alert").inner_text()
        assert house.journal("sign_in_refused")[-1]["actor"] == "0759912345"

    def test_a_manipulator_with_an_rpps_number_comes_in(self, house: House, page: Page) -> None:
        """The verified one has the role the site gives manipulators, for every site."""
        sign_in(page, house, "mia")
        page.get_by_text("Signed in as Mia Manip").wait_for()
        assert "Radiographer" in page.get_by_role("main").inner_text()

    def test_somebody_no_rule_is_for_is_refused(self, house: House, page: Page) -> None:
        """A pharmacist has an identity, and no role here."""
        sign_in(page, house, "phil")
        page.get_by_role("alert").wait_for()
        assert "no rule" in page.get_by_role("alert").inner_text()

    def test_an_answer_is_good_once_and_in_the_browser_that_asked(
        self, house: House, page: Page, browser: Browser
    ) -> None:
        """The provider's answer brought by another browser, replayed or with another state opens nothing."""
        caught: list[str] = []
        page.on("request", lambda request: caught.append(request.url) if "/oidc/callback" in request.url else None)
        sign_in(page, house, "paul")
        page.get_by_text("Signed in as Paul Praticien").wait_for()
        for again in (caught[0], caught[0].replace("state=", "state=x")):
            page.goto(house.address("/login/oidc/callback?" + again.partition("?")[2]))
            assert "start again" in page.get_by_role("alert").inner_text()
        with browsing(browser, ignore_https_errors=True) as other:
            other.goto(house.address("/login/oidc"))
            other.goto(caught[0])
            assert "start again" in other.get_by_role("alert").inner_text()

    def test_nobody_is_signed_in_as_somebody_else(self, house: House, page: Page, browser: Browser) -> None:
        """A fresh answer meant for one browser, sent to another one that waits for its own, is refused."""
        caught: list[str] = []
        page.on("request", lambda request: caught.append(request.url) if "/oidc/callback" in request.url else None)
        page.route("**/oidc/callback**", lambda route: route.abort())
        sign_in(page, house, "paul")
        page.wait_for_timeout(200)
        with browsing(browser, ignore_https_errors=True) as victim:
            victim.goto(house.address("/login/oidc"))
            victim.goto(caught[0])
            assert "start again" in victim.get_by_role("alert").inner_text()

    def test_what_the_provider_refuses_is_told(self, house: House, page: Page) -> None:
        """Whoever cancels at the provider reads that, on our page."""
        page.goto(house.address("/login/?lang=en"))
        page.get_by_role("link", name="Pro Santé Connect").click()
        page.get_by_role("link", name="Cancel").click()
        page.get_by_role("alert").wait_for()
        assert "access_denied" in page.get_by_role("alert").inner_text()


class TestTokens:
    """The way of applications: a token, over a connection with a certificate."""

    def test_a_doctors_token_opens_what_its_role_may(self, house: House) -> None:
        """A physician's token finds studies; the journal has who asked, in which role, from where."""
        assert house.ask(house.provider.token("paul")).status in (200, 204)
        entry = house.first("queried")
        assert (entry["actor"], entry["body"]["via"]) == ("899700366240", "bearer")
        assert (entry["body"]["roles"], entry["body"]["address"]) == (["referring_physician"], "127.0.0.1")

    def test_an_expired_token_is_refused(self, house: House) -> None:
        """The provider calls it inactive, and so it is worth nothing."""
        token = house.provider.token("paul", lasts=1)
        time.sleep(1.5)
        refused(house.ask(token), "not active")

    def test_a_revoked_token_is_refused(self, house: House) -> None:
        """What was good a moment ago is not once it was taken back."""
        token = house.provider.token("paul")
        assert house.ask(token).status in (200, 204)
        house.provider.revoke(token)
        refused(house.ask(token), "not active")

    def test_a_token_for_another_service_is_refused(self, house: House) -> None:
        """A good token that was made for somebody else does not open the archive."""
        refused(house.ask(house.provider.token("paul", resource="https://other.example/")), "aud")

    @pytest.mark.parametrize(("certificate", "reason"), [("thief", "another certificate"), (None, "has none")])
    def test_a_stolen_token_is_refused(self, house: House, certificate: str | None, reason: str) -> None:
        """A token that names a certificate is worth nothing on a connection made with another one, or none."""
        refused(house.ask(house.provider.token("paul"), certificate=certificate), reason)

    def test_a_token_without_a_certificate_is_refused(self, house: House) -> None:
        """Tokens that anybody could carry are not taken."""
        refused(house.ask(house.provider.token("paul", client="unbound")), "not bound")

    def test_a_made_up_token_is_refused(self, house: House) -> None:
        """What the provider never made is refused as what it took back."""
        refused(house.ask("made-up"), "not active")

    def test_a_manipulators_token_needs_the_verified_identity_too(self, house: House) -> None:
        """The rule is the same for applications."""
        answer = house.ask(house.provider.token("mado"))
        assert answer.status == 403
        assert "verified professional identity" in answer.json()["detail"]
        assert house.ask(house.provider.token("mia")).status in (200, 204)

    def test_a_provider_that_is_down_is_no_way_in(self, house: House) -> None:
        """Without an answer nothing is believed: the client is told to come back."""
        token = house.provider.token("paul")
        with house.provider.stopped():
            answer = house.ask(token)
        assert (answer.status, "Retry-After" in answer.headers) == (503, True)


class TestClients:
    """The ways in which the archive proves itself to the provider."""

    @pytest.mark.parametrize("authentication", ["tls_client_auth", "private_key_jwt", "client_secret_basic"])
    def test_each_way_of_proving_the_archive_is_accepted(self, house: House, authentication: str) -> None:
        """Asked about a token, the provider answers the archive as it proves itself."""
        assert asking(house, authentication).introspect(house.provider.token("paul"))["active"] is True

    def test_a_certificate_of_somebody_else_is_not_the_archive(self, house: House) -> None:
        """The provider tells nobody else about tokens."""
        client = Client(house.provider.issuer, "archive", "tls_client_auth", house.provider.tls("thief"))
        with pytest.raises(ProviderFailed, match="answers 401"):
            Provider(client, utc_now).introspect(house.provider.token("paul"))

    def test_a_signed_token_is_proven_by_the_providers_keys(self, house: House) -> None:
        """Where a site sets ``tokens = "jwt"`` nobody is asked: signature, times, audience and certificate decide."""
        tokens = SignedTokens(asking(house, "tls_client_auth"), utc_now, ("RS256",), timedelta(0))
        rules = Professionals([Rule(frozenset({"referring_physician"}), professions=frozenset({"10"}))])
        bearers = Bearers(tokens.provider, tokens, rules, utc_now, AUDIENCE, by_introspection=False)
        reader, thief = (ssl.PEM_cert_to_DER_cert(house.provider.files(name)[0].read_text()) for name in CLIENTS)
        token = house.provider.token("paul", resource=f"{AUDIENCE}/jwt")
        assert bearers.person(token, reader).name == "899700366240"
        with pytest.raises(TokenRefused, match="another certificate"):
            bearers.person(token, thief)
        short = house.provider.token("paul", resource=f"{AUDIENCE}/jwt", lasts=1)
        time.sleep(1.2)
        with pytest.raises(TokenRefused, match="expired"):
            bearers.person(short, reader)


def asking(house: House, authentication: str) -> Provider:
    """Return the archive's side of the provider, proving itself in one of the ways."""
    names = {"tls_client_auth": "archive", "private_key_jwt": "archive-by-key"}
    uses_tls = authentication == "tls_client_auth"
    client = Client(
        house.provider.issuer,
        names.get(authentication, "archive-by-secret"),
        authentication,
        house.provider.tls("archive" if uses_tls else None),
        SECRET,
        house.provider.client_key,
    )
    return Provider(client, utc_now)


def refused(answer: urllib3.BaseHTTPResponse, reason: str) -> None:
    """Check that a token was not taken, and that the answer says why as RFC 6750 wants it."""
    assert answer.status == 401, answer.data
    assert 'error="invalid_token"' in answer.headers["WWW-Authenticate"]
    assert reason in answer.json()["detail"]


def test_no_secret_is_in_the_log(house: House, tmp_path: Path) -> None:
    """Codes, states and tokens stay out of what the archive logs."""
    text = house.archive.log()
    assert not any(word in text for word in ("code=", "state=", "Bearer ", "id_token"))
