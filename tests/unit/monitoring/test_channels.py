"""Mail and webhook, against a real mail server and a real web server."""

from __future__ import annotations

import json
import quopri
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from email import message_from_bytes, policy
from email.header import decode_header, make_header
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, get_args

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP as Server, AuthResult, Envelope, LoginPassword, Session

from archive.errors import NoticeNotSent
from archive.monitoring.mail import Mail, MailServer
from archive.monitoring.webhook import Webhook
from archive.services.arrival_watch import drop_notice
from archive.services.certificate_watch import notice_of
from archive.services.drops import DayCompared
from archive.services.notice_words import Text
from archive.services.notices import Notice
from archive.services.tls_certificates import Certificate, Place, Seen, judge
from retention_rules.explain import Language
from tests.pki import Issued, issue
from tests.unit.services.shelf import NOON

AUTHORITY = issue("Authority", is_authority=True)
HOST = issue("localhost", AUTHORITY)
FRENCH = Text("Le certificat TLS (fournisseur d'identité) a expiré", ("Sujet : CN=évry\r\nBcc: x", "Émetteur : Noël"))
ENGLISH = Text("TLS certificate (identity provider) has expired", ("Subject: CN=évry\r\nBcc: x", "Issuer: Noël"))
NOTICE = Notice("certificate x", "15", "certificate", {"fr": FRENCH, "en": ENGLISH}, {"n": 3})
RECIPIENTS = ("pacs@chu.example", "night@chu.example")


# ---- mail ----------------------------------------------------------------------------------------------------------


@dataclass
class Inbox:
    """What a mail server takes; ``refused`` recipients it does not."""

    refused: set[str] = field(default_factory=set)
    messages: list[EmailMessage] = field(default_factory=list)
    raw: list[bytes] = field(default_factory=list)
    recipients: list[list[str]] = field(default_factory=list)
    logins: list[tuple[bytes, bytes]] = field(default_factory=list)

    async def handle_RCPT(
        self, server: Server, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """Take a recipient, or not."""
        if address in self.refused:
            return "550 no such mailbox"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Server, session: Session, envelope: Envelope) -> str:
        """Take a message."""
        assert isinstance(envelope.content, bytes)
        message = message_from_bytes(envelope.content, policy=policy.default)
        assert isinstance(message, EmailMessage)
        self.raw.append(envelope.content)
        self.messages.append(message)
        self.recipients.append(list(envelope.rcpt_tos))
        return "250 taken"

    def authenticate(
        self, server: Server, session: Session, envelope: Envelope, mechanism: str, data: Any
    ) -> AuthResult:
        """Let one password in."""
        assert isinstance(data, LoginPassword)
        self.logins.append((data.login, data.password))
        return AuthResult(success=data.password == b"hunter2", handled=False)


def server_tls(folder: Path, shown: Issued = HOST) -> ssl.SSLContext:
    """Return what a server shows who it is with."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*shown.write(folder, "server"))
    return context


class AnyPort(Controller):
    """A mail server on a free port: it looks there whether it runs."""

    def _trigger_server(self) -> None:
        self.port = self.server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
        super()._trigger_server()  # type: ignore[no-untyped-call]


@contextmanager
def mail_server(inbox: Inbox, **options: Any) -> Iterator[int]:
    """Run a mail server; lend its port."""
    controller = AnyPort(inbox, hostname="127.0.0.1", port=0, authenticator=inbox.authenticate, **options)
    controller.start()
    try:
        yield int(controller.port)
    finally:
        controller.stop()


def mail(
    port: int, folder: Path, security: Any = "none", *, password: str | None = None, language: Language = "fr"
) -> Mail:
    """Return the channel to a mail server of this machine."""
    ca, _ = AUTHORITY.write(folder, "ca")
    login = None
    if password is not None:
        login = "drimbox", folder / "password"
        login[1].write_text(f"{password}\n")
        login[1].chmod(0o600)
    server = MailServer("localhost", port, security, login, ca)
    return Mail(server, "drimbox@chu.example", RECIPIENTS, "DRIMBOX", language)


def test_a_warning_arrives_as_a_mail(tmp_path: Path) -> None:
    """With its title as the subject, at every recipient, and no line of it becomes a header."""
    inbox = Inbox()
    with mail_server(inbox) as port:
        mail(port, tmp_path)(NOTICE, NOON)
    (message,) = inbox.messages
    assert inbox.recipients == [list(RECIPIENTS)]
    assert (message["Subject"], message["From"]) == (f"[DRIMBOX] {FRENCH.title}", "drimbox@chu.example")
    assert (message["Date"].datetime, message["Auto-Submitted"], message["Bcc"]) == (NOON, "auto-generated", None)
    assert message.get_content().splitlines() == [FRENCH.title, "", "Sujet : CN=évry??Bcc: x", "Émetteur : Noël"]


def certificate(before_end: timedelta) -> Notice:
    """Return the warning about a certificate so long before its end, of an authority with an accent."""
    found = Certificate(
        "server", "CN=pacs", "CN=Autorité Évry", NOON - timedelta(days=400), NOON + before_end, "ab" * 32
    )
    return notice_of([judge(Seen(Place("cold store", endpoint=("s3.example", 443)), found), NOON, (60, 15))])


def drop() -> Notice:
    """Return the warning about a drop at a site with an accent, of numbers that have thousands."""
    return drop_notice(DayCompared("Hôpital Évry", "CT", NOON.date(), 14, 1200, 12000.0, -90.0, True))


SENTENCES: list[tuple[Notice, Language, str, str]] = [
    (
        *(certificate(timedelta(days=60)), "fr", "Le certificat TLS (stockage froid) expire dans 60 jours"),
        "Émetteur : CN=Autorité Évry",
    ),
    (
        *(certificate(timedelta(days=15)), "en", "TLS certificate (cold store) expires in 15 days"),
        "Issuer: CN=Autorité Évry",
    ),
    (
        *(certificate(timedelta(days=-1)), "fr"),
        "Le certificat TLS (stockage froid) a expiré : ce qui l'utilise ne fonctionne plus",
        f"SHA-256 : {'ab' * 32}",
    ),
    (
        *(drop(), "fr"),
        "Hôpital Évry envoie moins d'images CT : 1\u202f200 le 23/11/2026 jusqu'à 14 h, "
        "contre 12\u202f000 les mêmes jours des semaines précédentes (-90 %)",
        "La modalité est-elle en service ? Envoie-t-elle encore ses images ici ? "
        "drimbox status affiche les dernières associations.",
    ),
    (
        *(drop(), "en"),
        "Hôpital Évry sends fewer CT images: 1,200 on 2026-11-23 up to 14:00, "
        "12,000 on the same weekdays before (-90 %)",
        "Is the modality in use? Does it still send here? drimbox status prints the last associations.",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("notice", "language", "title", "line"), SENTENCES)
def test_a_mail_is_in_the_language_of_its_readers(
    tmp_path: Path, notice: Notice, language: Language, title: str, line: str
) -> None:
    """Subject and body; and every accent arrives, though not one byte on the wire is more than seven bits."""
    inbox = Inbox()
    with mail_server(inbox) as port:
        mail(port, tmp_path, language=language)(notice, NOON)
    (message,), (raw,) = inbox.messages, inbox.raw
    assert message["Subject"] == f"[DRIMBOX] {title}"
    assert message["Content-Language"] == language
    first, empty, *lines = message.get_content().splitlines()
    assert (first, empty) == (title, "")
    assert line in lines
    assert (message.get_content_charset(), message["Content-Transfer-Encoding"]) == ("utf-8", "quoted-printable")
    assert raw.isascii()
    assert max(map(len, raw.splitlines())) <= 998  # RFC 5322 section 2.1.1


def test_accents_are_what_the_standards_make_of_them(tmp_path: Path) -> None:
    """Read by hand: the subject as encoded words (RFC 2047), the body as quoted-printable UTF-8 (RFC 2045)."""
    inbox = Inbox()
    with mail_server(inbox) as port:
        mail(port, tmp_path)(NOTICE, NOON)
    head, _, body = inbox.raw[0].replace(b"\r\n", b"\n").partition(b"\n\n")
    unfolded = head.replace(b"\n ", b" ").decode("ascii")
    subject = next(line for line in unfolded.splitlines() if line.startswith("Subject: "))
    assert "=?utf-8?q?" in subject.lower()
    assert str(make_header(decode_header(subject.removeprefix("Subject: ")))) == f"[DRIMBOX] {FRENCH.title}"
    assert b"=C3=89metteur : No=C3=ABl" in body
    assert quopri.decodestring(body).decode("utf-8").splitlines()[0] == FRENCH.title


@pytest.mark.parametrize("language", ["fr", "en"])
def test_the_other_language_is_left_out(tmp_path: Path, language: Language) -> None:
    """A reader gets one text, not two."""
    inbox, other = Inbox(), ENGLISH if language == "fr" else FRENCH
    with mail_server(inbox) as port:
        mail(port, tmp_path, language=language)(NOTICE, NOON)
    assert other.title not in str(inbox.messages[0]["Subject"]) + inbox.messages[0].get_content()


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_a_password_goes_encrypted(tmp_path: Path, security: str) -> None:
    """With STARTTLS or TLS from the first byte; the file's line end is no part of it."""
    inbox, context = Inbox(), server_tls(tmp_path)
    options: dict[str, Any] = {"tls_context": context, "require_starttls": True}
    if security == "tls":
        options = {"ssl_context": context, "auth_require_tls": False}
    with mail_server(inbox, **options) as port:
        mail(port, tmp_path, security, password="hunter2")(NOTICE, NOON)
    assert (inbox.logins, len(inbox.messages)) == ([(b"drimbox", b"hunter2")], 1)


def test_a_wrong_password_is_told(tmp_path: Path) -> None:
    """By the server's code, not by the password."""
    options = {"tls_context": server_tls(tmp_path), "require_starttls": True}
    with mail_server(Inbox(), **options) as port, pytest.raises(NoticeNotSent) as refused:
        mail(port, tmp_path, "starttls", password="wrong")(NOTICE, NOON)
    assert refused.value.fields["reason"] == "localhost: 535 SMTPAuthenticationError"


def test_a_server_that_is_somebody_else_gets_nothing(tmp_path: Path) -> None:
    """Neither the warning nor the password."""
    inbox = Inbox()
    context = server_tls(tmp_path, issue("localhost"))
    with mail_server(inbox, tls_context=context) as port, pytest.raises(NoticeNotSent):
        mail(port, tmp_path, "starttls", password="hunter2")(NOTICE, NOON)
    assert (inbox.messages, inbox.logins) == ([], [])


def test_a_server_without_encryption_is_no_server(tmp_path: Path) -> None:
    """STARTTLS that was asked for is never left out."""
    inbox = Inbox()
    with mail_server(inbox) as port, pytest.raises(NoticeNotSent, match="SMTPNotSupportedError"):
        mail(port, tmp_path, "starttls")(NOTICE, NOON)
    assert inbox.messages == []


def test_one_recipient_that_is_refused_does_not_repeat_the_mail(tmp_path: Path) -> None:
    """The others have it; with none left it was not delivered."""
    inbox = Inbox(refused={RECIPIENTS[1]})
    with mail_server(inbox) as port:
        mail(port, tmp_path)(NOTICE, NOON)
        inbox.refused.add(RECIPIENTS[0])
        with pytest.raises(NoticeNotSent, match="SMTPRecipientsRefused"):
            mail(port, tmp_path)(NOTICE, NOON)
    assert inbox.recipients == [[RECIPIENTS[0]]]


def test_nobody_there_is_told(tmp_path: Path) -> None:
    """With what the system says."""
    with pytest.raises(NoticeNotSent, match=r"localhost: Connection refused\. It is tried again"):
        mail(1, tmp_path)(NOTICE, NOON)


@pytest.mark.parametrize("channel", ["mail", "webhook"])
def test_a_secret_that_others_may_read_is_not_used(tmp_path: Path, channel: str) -> None:
    """The operator is told the command that mends it."""
    inbox, received = Inbox(), Received()
    with mail_server(inbox, tls_context=server_tls(tmp_path)) as port, web_server(received) as web:
        by_mail = mail(port, tmp_path, "starttls", password="hunter2")
        secret = tmp_path / "password"
        secret.chmod(0o644)
        sender = by_mail if channel == "mail" else Webhook(f"http://127.0.0.1:{web}/", "DRIMBOX", secret)
        with pytest.raises(NoticeNotSent, match="chmod 600"):
            sender(NOTICE, NOON)
    assert (inbox.messages, received.bodies) == ([], [])


# ---- webhook -------------------------------------------------------------------------------------------------------


@dataclass
class Received:
    """What a web server was sent, and the status it answers with."""

    status: int = 204
    paths: list[str] = field(default_factory=list)
    tokens: list[str | None] = field(default_factory=list)
    bodies: list[dict[str, Any]] = field(default_factory=list)


@contextmanager
def web_server(received: Received, tls: ssl.SSLContext | None = None) -> Iterator[int]:
    """Run a web server that notes what it is sent; lend its port."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            received.paths.append(self.path)
            received.tokens.append(self.headers["Authorization"])
            received.bodies.append(json.loads(body))
            self.send_response(received.status)
            self.send_header("Location", "/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("is_secure", [False, True])
def test_a_warning_arrives_as_json(tmp_path: Path, is_secure: bool) -> None:
    """Over HTTP or HTTPS, with the token, at the path and query of the setting."""
    received, token = Received(), tmp_path / "token"
    token.write_text("secret-token")
    token.chmod(0o600)
    ca, _ = AUTHORITY.write(tmp_path, "ca")
    with web_server(received, server_tls(tmp_path) if is_secure else None) as port:
        url = f"{'https' if is_secure else 'http'}://localhost:{port}/hook?room=pacs"
        Webhook(url, "DRIMBOX", token, ca if is_secure else None)(NOTICE, NOON)
    assert (received.paths, received.tokens) == (["/hook?room=pacs"], ["Bearer secret-token"])
    (body,) = received.bodies
    assert (body["archive"], body["kind"], body["grade"], body["fields"]) == ("DRIMBOX", "certificate", "15", {"n": 3})
    assert (body["at"], body["title"]) == ("2026-11-23T12:00:00+00:00", FRENCH.title)


def test_a_webhook_says_what_people_read_in_their_language_and_the_rest_as_ever() -> None:
    """Title and lines are French or English; whatever a program reads is the same in both."""
    received = Received()
    with web_server(received) as port:
        for language in get_args(Language):
            for notice in (certificate(timedelta(days=15)), drop()):
                Webhook(f"http://127.0.0.1:{port}/", "DRIMBOX", language=language)(notice, NOON)
    told = {(body.pop("language"), body["kind"]): body for body in received.bodies}
    for kind, line in (("certificate", "Émetteur : CN=Autorité Évry"), ("arrivals", SENTENCES[3][3])):
        french, english = told["fr", kind], told["en", kind]
        assert line in french.pop("lines") and line not in english.pop("lines")
        assert french.pop("title") != english.pop("title")
        assert french == english
        assert set(french) == {"archive", "at", "kind", "grade", "fields"}
    assert told["fr", "arrivals"]["fields"] == {
        "site": "Hôpital Évry", "modality": "CT", "on": "2026-11-23", "got": 1200, "expected": 12000,
    }  # fmt: skip
    assert told["fr", "certificate"]["fields"]["uses"] == "cold store"


@pytest.mark.parametrize("status", [302, 404, 500])
def test_only_success_is_delivery(status: int) -> None:
    """A redirection is not followed: the token is for one server."""
    received = Received(status)
    with web_server(received) as port, pytest.raises(NoticeNotSent, match=f"127.0.0.1 answered {status}"):
        Webhook(f"http://127.0.0.1:{port}", "DRIMBOX")(NOTICE, NOON)
    assert received.paths == ["/"]


def test_a_web_server_that_is_somebody_else_gets_nothing(tmp_path: Path) -> None:
    """Its certificate is checked."""
    received = Received()
    with web_server(received, server_tls(tmp_path)) as port, pytest.raises(NoticeNotSent):
        Webhook(f"https://localhost:{port}", "DRIMBOX")(NOTICE, NOON)
    assert received.bodies == []
