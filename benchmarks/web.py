"""A DICOMweb client that costs next to nothing itself, the same for every server; must not measure anything."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from typing import Any
from urllib.parse import quote, urlencode

from benchmarks.peers import Endpoint

BOUNDARY = "benchmark-3fa29c"
_ROOT = "/dicom-web"
_STOW = f'multipart/related; type="application/dicom"; boundary={BOUNDARY}'


class Web:
    """One connection that is kept."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", endpoint.http_port, timeout=120)
        self._connection.connect()

    def get(self, path: str, *, accept: str = "application/dicom+json") -> bytes:
        """Return the whole answer to a GET; anything but 2xx ends the benchmark."""
        self._connection.request("GET", _ROOT + path, headers={"Accept": accept})
        return self._answer()

    def search(self, path: str, **keys: str) -> list[dict[str, Any]]:
        """Return what a search finds."""
        asked = urlencode(keys, quote_via=quote, safe="*")
        found: list[dict[str, Any]] = json.loads(self.get(f"{path}?{asked}") or b"[]")
        return found

    def store(self, body: bytes) -> None:
        """Send a STOW-RS body."""
        headers = {"Content-Type": _STOW, "Accept": "application/dicom+json"}
        self._connection.request("POST", f"{_ROOT}/studies", body=body, headers=headers)
        self._answer()

    def close(self) -> None:
        """Hang up."""
        self._connection.close()

    def _answer(self) -> bytes:
        response = self._connection.getresponse()
        body = response.read()
        assert 200 <= response.status < 300, f"{response.status} {body[:300]!r}"
        return body


@contextmanager
def connected(endpoint: Endpoint) -> Iterator[Web]:
    """Lend a connection."""
    with closing(Web(endpoint)) as web:
        yield web


def body_of(files: Iterable[bytes]) -> bytes:
    """Return the STOW-RS body that holds these files."""
    head = f"--{BOUNDARY}\r\nContent-Type: application/dicom\r\n\r\n".encode()
    return b"".join(head + file + b"\r\n" for file in files) + f"--{BOUNDARY}--\r\n".encode()
