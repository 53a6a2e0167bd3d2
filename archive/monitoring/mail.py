"""Sends warnings by mail (SMTP, RFC 5321; STARTTLS, RFC 3207); must not send a password in the clear."""

from __future__ import annotations

import smtplib
import ssl
import unicodedata
from dataclasses import dataclass
from datetime import datetime
from email.message import EmailMessage
from email.utils import format_datetime, make_msgid
from pathlib import Path
from typing import Final, Literal

from archive import logs
from archive.errors import NoticeNotSent
from archive.monitoring.secrets import read_secret
from archive.services.notices import Notice
from retention_rules.explain import Language

_TIMEOUT_SECONDS: Final = 20.0
_LONGEST_SUBJECT: Final = 200
_log = logs.get(__name__)


@dataclass(frozen=True, slots=True)
class MailServer:
    """Where mail is handed in. ``login``: a user, and the file of its password."""

    host: str
    port: int
    security: Literal["starttls", "tls", "none"]
    login: tuple[str, Path] | None = None
    ca_file: Path | None = None


@dataclass(frozen=True, slots=True)
class Mail:
    """A channel: one message to all recipients, in their language. ``archive``: how the archive calls itself."""

    server: MailServer
    sender: str
    recipients: tuple[str, ...]
    archive: str
    language: Language = "fr"

    def __call__(self, notice: Notice, at: datetime) -> None:
        """Send a warning. Raises NoticeNotSent."""
        try:
            with self._connect() as smtp:
                refused = smtp.send_message(self._message(notice, at))
        except (OSError, smtplib.SMTPException) as exc:
            raise NoticeNotSent(reason=f"{self.server.host}: {_words(exc)}") from exc
        if refused:  # the others have it: they would get it again and again
            _log.warning("recipients_refused", refused=len(refused), recipients=len(self.recipients))

    def _connect(self) -> smtplib.SMTP:
        server = self.server
        if server.security == "tls":
            smtp: smtplib.SMTP = smtplib.SMTP_SSL(
                server.host, server.port, timeout=_TIMEOUT_SECONDS, context=_context(server.ca_file)
            )
        else:
            smtp = smtplib.SMTP(server.host, server.port, timeout=_TIMEOUT_SECONDS)
        try:
            if server.security == "starttls":
                smtp.starttls(context=_context(server.ca_file))
            if server.login is not None:
                user, password_file = server.login
                smtp.login(user, read_secret(password_file))
        except BaseException:
            smtp.close()
            raise
        return smtp

    def _message(self, notice: Notice, at: datetime) -> EmailMessage:
        message, text = EmailMessage(), notice.texts[self.language]
        message["From"], message["To"] = self.sender, ", ".join(self.recipients)
        message["Subject"] = _one_line(f"[{self.archive}] {text.title}")[:_LONGEST_SUBJECT]
        message["Date"] = format_datetime(at)
        message["Message-ID"] = make_msgid(domain=self.sender.partition("@")[2])
        message["Auto-Submitted"] = "auto-generated"  # RFC 3834: nobody's absence answers it
        # Quoted-printable: accents as they are would get lost behind the first server without 8BITMIME (RFC 6152).
        lines = [text.title, "", *map(_one_line, text.lines), ""]
        message.set_content("\n".join(lines), cte="quoted-printable")
        message["Content-Language"] = self.language  # RFC 3282
        return message


def _context(ca_file: Path | None) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=ca_file)


def _one_line(text: str) -> str:
    """Return a text without what would begin another line: other people's certificates name themselves as they like."""
    return "".join(letter if _is_of_a_line(letter) else "?" for letter in text)


def _is_of_a_line(letter: str) -> bool:
    return letter.isprintable() or unicodedata.category(letter) == "Zs"  # French keeps thousands apart by such spaces


def _words(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, smtplib.SMTPResponseException):
        return f"{error.smtp_code} {type(error).__name__}"
    return (error.strerror if isinstance(error, OSError) else None) or type(error).__name__
