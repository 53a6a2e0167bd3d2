"""Posts warnings as JSON (RFC 9110); must not follow a redirection: the token is for one server."""

from __future__ import annotations

import http.client
import json
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from archive.errors import NoticeNotSent
from archive.monitoring.secrets import read_secret
from archive.services.notices import Notice
from retention_rules.explain import Language

_TIMEOUT_SECONDS: Final = 20.0


@dataclass(frozen=True, slots=True)
class Webhook:
    """A channel: one POST a warning, its text in ``language``. ``archive``: how the archive calls itself."""

    url: str
    archive: str
    token_file: Path | None = None
    ca_file: Path | None = None
    language: Language = "fr"

    def __call__(self, notice: Notice, at: datetime) -> None:
        """Send a warning. Raises NoticeNotSent, also for any answer that is not 2xx."""
        target = urlsplit(self.url)
        path = (target.path or "/") + (f"?{target.query}" if target.query else "")
        try:
            connection = self._connect(target.hostname or "", target.port, is_secure=target.scheme == "https")
            try:
                connection.request("POST", path, body=self._body(notice, at), headers=self._headers())
                status = connection.getresponse().status
            finally:
                connection.close()
        except (OSError, ValueError, http.client.HTTPException) as exc:
            raise NoticeNotSent(reason=f"{target.hostname}: {_words(exc)}") from exc
        if not 200 <= status < 300:
            raise NoticeNotSent(reason=f"{target.hostname} answered {status}")

    def _connect(self, host: str, port: int | None, *, is_secure: bool) -> http.client.HTTPConnection:
        if not is_secure:
            return http.client.HTTPConnection(host, port, timeout=_TIMEOUT_SECONDS)
        context = ssl.create_default_context(cafile=self.ca_file)
        return http.client.HTTPSConnection(host, port, timeout=_TIMEOUT_SECONDS, context=context)

    def _headers(self) -> dict[str, str]:
        headers = {"Content-Type": "application/json", "User-Agent": "drimbox"}
        if self.token_file is not None:
            headers["Authorization"] = f"Bearer {read_secret(self.token_file)}"
        return headers

    def _body(self, notice: Notice, at: datetime) -> bytes:
        text = notice.texts[self.language]
        body = {
            "archive": self.archive,
            "at": at.astimezone(UTC).isoformat(),
            "kind": notice.kind,
            "grade": notice.grade,
            "language": self.language,
            "title": text.title,
            "lines": list(text.lines),
            **{"fields": dict(notice.fields)},
        }
        return json.dumps(body).encode()


def _words(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return (error.strerror if isinstance(error, OSError) else None) or type(error).__name__
