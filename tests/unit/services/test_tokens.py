"""Tokens that somebody forged, and a provider that does not behave, over a real connection on this machine."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import ssl
from collections.abc import Callable, Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import RSAKey

from archive.errors import IdentityRefused, ProviderFailed, TokenRefused
from archive.services.bearer import Bearers
from archive.services.professionals import Professionals, Rule
from archive.services.provider import Client, Provider, load_key
from archive.services.signed_tokens import SignedTokens
from tests.unit.services.shelf import Clock

AUDIENCE = "https://archive.example/"
KEY = RSAKey.generate_key(2048, {"kid": "1", "alg": "RS256"})
OTHER_KEY = RSAKey.generate_key(2048, {"kid": "1", "alg": "RS256"})
CERTIFICATE = b"made up DER"
THUMBPRINT = base64.urlsafe_b64encode(hashlib.sha256(CERTIFICATE).digest()).rstrip(b"=").decode()
EVERYBODY = Professionals([Rule(frozenset({"radiologist"}), professions=frozenset({"10"}))])


class Site:
    """What the made-up provider answers by path, as JSON or as the bytes given, and what it was asked."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.asked: list[str] = []
        self.status = 200
        self.headers: dict[str, str] = {}
        self.answers: dict[str, Any] = {
            "/.well-known/openid-configuration": {
                "issuer": address,
                "jwks_uri": f"{address}/keys",
                "introspection_endpoint": f"{address}/introspect",
            },
            "/keys": {"keys": [KEY.as_dict(private=False)]},
        }

    def body(self, path: str) -> bytes:
        """Return what is sent for a path."""
        self.asked.append(path)
        answer = self.answers.get(path, {})
        return answer if isinstance(answer, bytes) else json.dumps(answer).encode()


@pytest.fixture
def site() -> Iterator[Site]:
    """Run a provider that says what a test wants it to say."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = here.body(self.path)
            self.send_response(here.status)
            for name, value in {"Content-Length": str(len(body)), **here.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.do_GET()

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    here = Site(f"http://127.0.0.1:{server.server_port}")
    Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield here
    server.shutdown()
    server.server_close()


@pytest.fixture
def clock() -> Clock:
    """Lend a clock that stands still."""
    return Clock()


@pytest.fixture
def provider(site: Site, clock: Clock) -> Provider:
    """Lend the archive's side of it."""
    return Provider(
        Client(site.address, "archive", "client_secret_basic", ssl.create_default_context(), "s3cret"), clock
    )


@pytest.fixture
def tokens(provider: Provider, clock: Clock) -> SignedTokens:
    """Lend the proof of tokens."""
    return SignedTokens(provider, clock, ("RS256",), timedelta(seconds=30))


@pytest.fixture
def claims(site: Site, clock: Clock) -> dict[str, Any]:
    """Return the claims of a good ID token."""
    now = int(clock().timestamp())
    return {"iss": site.address, "aud": "archive", "sub": "1", "nonce": "n", "iat": now, "exp": now + 60}


def signed(claims: dict[str, Any], key: RSAKey = KEY) -> str:
    """Return a token."""
    return jwt.encode({"alg": "RS256", "kid": "1"}, claims, key, algorithms=["RS256"])


def keyed_with(claims: dict[str, Any], secret: bytes) -> str:
    """Return a token whose secret is what everybody may know: the provider's public key."""
    text = f"{part({'alg': 'HS256', 'kid': '1'})}.{part(claims)}"
    return f"{text}.{encoded(hmac.digest(secret, text.encode(), 'sha256'))}"


def unsigned(claims: dict[str, Any]) -> str:
    """Return a token that says it needs no signature."""
    return f"{part({'alg': 'none'})}.{part(claims)}."


def part(value: dict[str, Any]) -> str:
    """Return header or claims as they stand in a token."""
    return encoded(json.dumps(value).encode())


def encoded(data: bytes) -> str:
    """Return base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class TestIdentity:
    """ID tokens (OpenID Connect Core section 3.1.3.7)."""

    def test_a_good_one_is_proven(self, tokens: SignedTokens, claims: dict[str, Any]) -> None:
        """Signed by the provider, for us, now, for this attempt."""
        assert tokens.identity(signed(claims), nonce="n")["sub"] == "1"
        several = {**claims, "aud": ["archive", "other"], "azp": "archive"}
        assert tokens.identity(signed(several), nonce="n")["sub"] == "1"

    @pytest.mark.parametrize(
        ("changed", "reason"),
        [
            ({"iss": "https://evil.example"}, "iss"),
            ({"aud": "other"}, "aud"),
            ({"aud": None}, "aud"),
            ({"azp": "other"}, "azp"),
            ({"nonce": "replayed"}, "nonce"),
            ({"nonce": None}, "nonce"),
            ({"exp": 1}, "expired"),
            ({"exp": None}, "until when"),
            ({"exp": "never"}, "until when"),
            ({"nbf": 2**40}, "not good yet"),
            ({"sub": None}, "whom"),
        ],
    )
    def test_one_with_a_wrong_claim_is_refused(
        self, tokens: SignedTokens, claims: dict[str, Any], changed: dict[str, Any], reason: str
    ) -> None:
        """Each claim that has to hold is looked at."""
        wrong = {name: value for name, value in {**claims, **changed}.items() if value is not None}
        with pytest.raises(TokenRefused, match=reason):
            tokens.identity(signed(wrong), nonce="n")

    @pytest.mark.parametrize(
        "forge",
        [
            unsigned,
            lambda claims: signed(claims, OTHER_KEY),
            lambda claims: keyed_with(claims, KEY.as_pem(private=False)),
            lambda claims: signed(claims)[:-8] + "AAAAAAAA",
            lambda _: "not.a.token",
            lambda _: "",
            lambda _: None,
        ],
        ids=["none", "other key", "public key as secret", "changed", "nonsense", "empty", "absent"],
    )
    def test_a_forged_one_is_refused(
        self, tokens: SignedTokens, claims: dict[str, Any], forge: Callable[[dict[str, Any]], str]
    ) -> None:
        """Only a signature by the provider's key, in an algorithm the site allows, proves anything (RFC 8725)."""
        with pytest.raises(TokenRefused):
            tokens.identity(forge(claims), nonce="n")

    def test_clocks_may_differ_a_little(self, tokens: SignedTokens, claims: dict[str, Any], clock: Clock) -> None:
        """Half a minute after its end a token is still taken, then no more."""
        clock.advance(seconds=89)
        tokens.identity(signed(claims), nonce="n")
        clock.advance(seconds=1)
        with pytest.raises(TokenRefused, match="expired"):
            tokens.identity(signed(claims), nonce="n")

    def test_new_keys_are_fetched_when_a_token_asks_for_them(
        self, tokens: SignedTokens, claims: dict[str, Any], site: Site, clock: Clock
    ) -> None:
        """A provider may change its keys at any time; a stream of forged tokens does not make us ask each time."""
        tokens.identity(signed(claims), nonce="n")
        site.answers["/keys"] = {"keys": [OTHER_KEY.as_dict(private=False)]}
        clock.advance(seconds=31)
        tokens.identity(signed(claims, OTHER_KEY), nonce="n")
        for _ in range(5):
            with pytest.raises(TokenRefused):
                tokens.identity(signed(claims), nonce="n")
        assert site.asked.count("/keys") == 2


@pytest.fixture
def bearers(provider: Provider, tokens: SignedTokens, clock: Clock) -> Bearers:
    """Lend the resource server, asking the provider."""
    return Bearers(provider, tokens, EVERYBODY, clock, AUDIENCE)


@pytest.fixture
def active(site: Site, clock: Clock) -> dict[str, Any]:
    """Have the provider say of every token that it is good, and return what it says."""
    site.answers["/introspect"] = {
        "active": True,
        "iss": site.address,
        "aud": AUDIENCE,
        "exp": int(clock().timestamp()) + 600,
        "SubjectNameID": "899700218896",
        "SubjectRefPro": {"exercices": [{"codeProfession": "10"}]},
        "cnf": {"x5t#S256": THUMBPRINT},
    }
    answer: dict[str, Any] = site.answers["/introspect"]
    return answer


class TestBearers:
    """Access tokens that are shown with a request."""

    def test_what_the_provider_said_is_believed_for_a_moment(
        self, bearers: Bearers, active: dict[str, Any], site: Site, clock: Clock
    ) -> None:
        """A viewer's hundred requests are one question; half a minute later it is asked again."""
        for _ in range(100):
            assert bearers.person("t", CERTIFICATE).via == "bearer"
        assert site.asked.count("/introspect") == 1
        active["active"] = False
        clock.advance(seconds=31)
        with pytest.raises(TokenRefused, match="not active"):
            bearers.person("t", CERTIFICATE)

    def test_it_is_never_believed_beyond_its_end(self, bearers: Bearers, active: dict[str, Any], clock: Clock) -> None:
        """A token that ends within that moment ends."""
        active["exp"] = int(clock().timestamp()) - 25  # within the leeway
        bearers.person("t", CERTIFICATE)
        clock.advance(seconds=10)
        with pytest.raises(TokenRefused, match="expired"):
            bearers.person("t", CERTIFICATE)

    @pytest.mark.parametrize(
        ("changed", "reason"),
        [
            ({"active": "yes"}, "not active"),
            ({"aud": ["https://other.example/"]}, "aud"),
            ({"iss": "https://evil.example"}, "iss"),
            ({"exp": None}, "until when"),
            ({"cnf": None}, "not bound"),
            ({"cnf": {"jkt": "x"}}, "not bound"),
            ({"cnf": {"x5t#S256": "x"}}, "another certificate"),
            ({"cnf": {"x5t#S256": 7}}, "another certificate"),
        ],
    )
    def test_each_flaw_is_refused(
        self, bearers: Bearers, active: dict[str, Any], changed: dict[str, Any], reason: str
    ) -> None:
        """One is enough."""
        active.update(changed)
        with pytest.raises(TokenRefused, match=reason):
            bearers.person("t", CERTIFICATE)

    def test_a_bound_token_is_bound_wherever_tokens_need_not_be(self, bearers: Bearers, active: dict[str, Any]) -> None:
        """Where a site takes unbound tokens, one that names a certificate is still that certificate's only."""
        bearers.certificate_bound = False
        with pytest.raises(TokenRefused, match="has none"):
            bearers.person("t", None)
        active["cnf"] = None
        bearers.person("other", None)

    def test_somebody_without_a_role_is_told_so(self, bearers: Bearers, active: dict[str, Any]) -> None:
        """A good token of a person no rule is for."""
        active["SubjectRefPro"] = {}
        with pytest.raises(IdentityRefused, match="no rule"):
            bearers.person("t", CERTIFICATE)

    def test_a_signed_token_needs_no_question(
        self, bearers: Bearers, active: dict[str, Any], site: Site, claims: dict[str, Any]
    ) -> None:
        """With the provider's keys the archive proves it alone, and looks at the same things."""
        bearers.by_introspection = False
        good = {**claims, **active}
        assert bearers.person(signed(good), CERTIFICATE).name == "899700218896"
        flaws: list[dict[str, Any]] = [{"aud": "other"}, {"exp": 1}, {"iss": "https://evil.example"}, {"cnf": {}}]
        for flaw in flaws:
            with pytest.raises(TokenRefused):
                bearers.person(signed({**good, **flaw}), CERTIFICATE)
        assert "/introspect" not in site.asked
        with pytest.raises(TokenRefused, match="too long"):
            bearers.person("x" * 20_000, CERTIFICATE)


class TestProvider:
    """A provider that does not answer as it should."""

    @pytest.mark.parametrize(
        ("answer", "reason"),
        [
            (b"<html>", "cannot be read"),
            (b"[]", "cannot be read"),
            (b" " * (1024 * 1024 + 1), "200"),
            ({"issuer": "https://evil.example"}, "otherwise"),
        ],
        ids=["page", "list", "long", "other name"],
    )
    def test_an_answer_that_is_none_is_a_failure(
        self, provider: Provider, site: Site, answer: object, reason: str
    ) -> None:
        """Nothing of it is believed, and the message says what is wrong."""
        site.answers["/.well-known/openid-configuration"] = answer
        with pytest.raises(ProviderFailed, match=reason):
            provider.metadata()

    @pytest.mark.parametrize("status", [302, 404, 500])
    def test_no_other_status_counts_and_no_redirect_is_followed(
        self, provider: Provider, site: Site, status: int
    ) -> None:
        """A token goes to the endpoint it is meant for and nowhere else."""
        provider.metadata()
        site.status, site.headers = status, {"Location": f"{site.address}/elsewhere"}
        with pytest.raises(ProviderFailed, match=str(status)):
            provider.introspect("t")
        assert "/elsewhere" not in site.asked

    def test_keys_that_are_none_are_a_failure(self, provider: Provider, site: Site) -> None:
        """So is an endpoint it does not name."""
        for keys in ([{"kty": "RSA"}], [], "none", [7]):
            site.answers["/keys"] = {"keys": keys}
            with pytest.raises(ProviderFailed, match="keys cannot be read"):
                provider.keys()
        site.answers["/keys"] = {"keys": [{"kty": "NEW"}, KEY.as_dict(private=False)]}
        assert len(provider.keys().keys) == 1
        with pytest.raises(ProviderFailed, match="token_endpoint"):
            provider.exchange("code", "verifier", "https://archive.example/")

    def test_one_that_is_not_there_is_a_failure(self, clock: Clock) -> None:
        """Nothing listens on this port: the message names neither a token nor a secret."""
        client = Client("http://127.0.0.1:9", "archive", "client_secret_basic", ssl.create_default_context(), "s3cret")
        with pytest.raises(ProviderFailed, match="cannot be reached"):
            Provider(client, clock).metadata()
        assert "s3cret" not in repr(client)

    def test_what_it_says_of_itself_is_kept_for_an_hour(self, provider: Provider, site: Site, clock: Clock) -> None:
        """Not every request of ours is two of theirs."""
        for _ in range(3):
            provider.metadata()
        clock.advance(hours=1)
        provider.metadata()
        assert site.asked == ["/.well-known/openid-configuration"] * 2

    def test_a_private_key_is_read_and_nothing_else(self) -> None:
        """A public key cannot prove the archive."""
        assert load_key(KEY.as_pem(private=True)).is_private
        for text in (KEY.as_pem(private=False), b"nonsense"):
            with pytest.raises(ValueError, match="no private key"):
                load_key(text)
