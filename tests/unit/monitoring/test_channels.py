"""Mail and webhook, against a real mail server and a real web server."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP as Server, AuthResult, Envelope, LoginPassword, Session

from archive.errors import NoticeNotSent
from archive.monitoring.mail import Mail, MailServer
from archive.monitoring.webhook import Webhook
from archive.services.notices import Notice
from tests.pki import Issued, issue
from tests.unit.services.shelf import NOON

AUTHORITY = issue("Authority", is_authority=True)
HOST = issue("localhost", AUTHORITY)
NOTICE = Notice(
    "certificate x", "15", "certificate", "Zertifikat läuft ab", ("CN=évry\r\nBcc: x", "Until: soon"), {"n": 3}
)
RECIPIENTS = ("pacs@chu.example", "night@chu.example")


# ---- mail ----------------------------------------------------------------------------------------------------------


@dataclass
class Inbox:
    """What a mail server takes; ``refused`` recipients it does not."""

    refused: set[str] = field(default_factory=set)
    messages: list[EmailMessage] = field(default_factory=list)
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


def mail(port: int, folder: Path, security: Any = "none", *, password: str | None = None) -> Mail:
    """Return the channel to a mail server of this machine."""
    ca, _ = AUTHORITY.write(folder, "ca")
    login = None
    if password is not None:
        login = "drimbox", folder / "password"
        login[1].write_text(f"{password}\n")
        login[1].chmod(0o600)
    return Mail(MailServer("localhost", port, security, login, ca), "drimbox@chu.example", RECIPIENTS, "DRIMBOX")


def test_a_warning_arrives_as_a_mail(tmp_path: Path) -> None:
    """With its title as the subject, at every recipient, and no line of it becomes a header."""
    inbox = Inbox()
    with mail_server(inbox) as port:
        mail(port, tmp_path)(NOTICE, NOON)
    (message,) = inbox.messages
    assert inbox.recipients == [list(RECIPIENTS)]
    assert (message["Subject"], message["From"]) == ("[DRIMBOX] Zertifikat läuft ab", "drimbox@chu.example")
    assert (message["Date"].datetime, message["Auto-Submitted"], message["Bcc"]) == (NOON, "auto-generated", None)
    assert message.get_content().splitlines() == ["Zertifikat läuft ab", "", "CN=évry??Bcc: x", "Until: soon"]


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
    assert (body["at"], body["title"]) == ("2026-11-23T12:00:00+00:00", NOTICE.title)


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
