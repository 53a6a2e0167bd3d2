"""Proof that a form came from a page of ours, made for the person who sends it; must not know what a form says.

A random value in a cookie that no script reads and that no other site sends, and in the form its keyed digest
together with the person's name: who can plant a cookie still cannot make the digest, and who has one of their own
cannot use it for anybody else. The digest is masked anew on every page, so that compressed pages do not give it away.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import parse_qs

from archive.errors import BadRequest

COOKIE: Final = "drimbox_form"
FIELD: Final = "form_token"
_BYTES: Final = 32
_MOST_FIELDS: Final = 3000

Fields = Mapping[str, Sequence[str]]


@dataclass(frozen=True, slots=True)
class FormTokens:
    """Makes and proves tokens; ``key`` lives as long as the process: forms opened before a restart are refused."""

    key: bytes = field(default_factory=lambda: secrets.token_bytes(_BYTES), repr=False)

    def make(self, cookie: str, name: str) -> str:
        """Return a token for a form, of one person in one browser."""
        mask = secrets.token_bytes(_BYTES)
        return (mask + _crossed(mask, self._digest(cookie, name))).hex()

    def is_right(self, token: str, cookie: str, name: str) -> bool:
        """Tell whether a token was made for this person in this browser."""
        try:
            given = bytes.fromhex(token)
        except ValueError:
            return False
        if not cookie or len(given) != 2 * _BYTES:
            return False
        return hmac.compare_digest(_crossed(given[:_BYTES], given[_BYTES:]), self._digest(cookie, name))

    def _digest(self, cookie: str, name: str) -> bytes:
        return hmac.digest(self.key, f"{cookie}\n{name}".encode("utf-8", "replace"), hashlib.sha256)


def new_cookie() -> str:
    """Return a value for the cookie of a browser that has none."""
    return secrets.token_urlsafe(_BYTES)


def parse_form(body: bytes, content_type: str) -> Fields:
    """Return the fields of a form (application/x-www-form-urlencoded). Raises BadRequest."""
    if content_type.partition(";")[0].strip().lower() != "application/x-www-form-urlencoded":
        raise BadRequest(reason="forms of the console are sent as application/x-www-form-urlencoded")
    try:
        return parse_qs(body.decode("ascii"), keep_blank_values=True, max_num_fields=_MOST_FIELDS, errors="strict")
    except ValueError as exc:
        raise BadRequest(reason="the form cannot be read") from exc


def _crossed(one: bytes, other: bytes) -> bytes:
    return bytes(left ^ right for left, right in zip(one, other, strict=True))
