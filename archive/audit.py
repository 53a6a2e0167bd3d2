"""The audit journal's entries and the hash chain that makes a change show; must not know a database or the clock.

Each entry's hash is the SHA-256 of the previous hash followed by the canonical JSON array
``[sequence,"at","event","actor",body]``: UTF-8, no spaces, sorted keys, characters as they are. The first entry has
sequence 1 and follows ``GENESIS``. Whoever keeps (sequence, hash) of the last entry elsewhere can prove that nothing
up to it was changed, removed or slipped in.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from json.encoder import encode_basestring as _quote
from typing import Final, Protocol

from archive.errors import AuditBroken

GENESIS: Final = bytes(32)
"""The previous hash of the first entry."""

_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode

Body = Mapping[str, str | int | list[str] | None]


@dataclass(frozen=True, slots=True)
class Entry:
    """Something that happened: who did what, when. ``body`` may hold UIDs and digests, never a patient's identity."""

    at: datetime
    event: str
    actor: str
    body: Body


@dataclass(frozen=True, slots=True)
class SealedEntry:
    """An entry in its place in the chain; ``body`` is canonical JSON, the hashes are 32 bytes."""

    sequence: int
    at: datetime
    event: str
    actor: str
    body: str
    previous_hash: bytes
    hash: bytes


class Sealed(Protocol):
    """What ``verify`` takes: a SealedEntry, or a row of the index with its fields."""

    @property
    def sequence(self) -> int: ...
    @property
    def at(self) -> datetime: ...
    @property
    def event(self) -> str: ...
    @property
    def actor(self) -> str: ...
    @property
    def body(self) -> str: ...
    @property
    def previous_hash(self) -> bytes: ...
    @property
    def hash(self) -> bytes: ...


def seal(entries: Iterable[Entry], *, sequence: int, previous_hash: bytes) -> list[SealedEntry]:
    """Chain ``entries``: the first gets ``sequence`` (1 for the first ever) and follows ``previous_hash``.

    Characters that no database text can hold (NUL, lone surrogates) become ``?``: an entry is never refused.
    """
    sealed = []
    for number, entry in enumerate(entries, start=sequence):
        actor, body = _storable(entry.actor), _storable(_canonical(entry.body))
        digest = _digest(previous_hash, _head(number, entry.at, entry.event, actor), body)
        sealed.append(SealedEntry(number, entry.at, entry.event, actor, body, previous_hash, digest))
        previous_hash = digest
    return sealed


def verify(rows: Iterable[Sealed]) -> tuple[int, bytes]:
    """Return the number of entries and the last hash; raise AuditBroken at the first that does not hold.

    ``rows`` are all entries from the first, ascending.
    """
    count, previous = 0, GENESIS
    for row in rows:
        count += 1
        if row.sequence != count:
            raise AuditBroken(sequence=count, reason="an entry is missing or out of place")
        if row.previous_hash != previous:
            raise AuditBroken(sequence=count, reason="it does not follow the entry before it")
        if _digest(previous, _head(row.sequence, row.at, row.event, row.actor), row.body) != row.hash:
            raise AuditBroken(sequence=count, reason="its content is not what was sealed")
        previous = row.hash
    return count, previous


def _head(sequence: int, at: datetime, event: str, actor: str) -> str:
    moment = at.astimezone(UTC).isoformat(timespec="microseconds")[:26]
    return f'[{sequence},"{moment}Z",{_quote(event)},{_quote(actor)},'


def _digest(previous_hash: bytes, head: str, body: str) -> bytes:
    return sha256(previous_hash + f"{head}{body}]".encode("utf-8", "surrogatepass")).digest()


def _canonical(body: Body) -> str:
    """Return ``json.dumps`` of a body, keys sorted, at half its cost."""
    pairs = [
        f"{_quote(key)}:{_quote(value) if type(value) is str else _encode(value)}"
        for key, value in sorted(body.items())
    ]
    return f"{{{','.join(pairs)}}}"


def _storable(text: str) -> str:
    if text.isascii() and "\0" not in text:
        return text
    return text.replace("\0", "?").encode("utf-8", "replace").decode("utf-8")
