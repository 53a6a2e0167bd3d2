"""DeleteWarrant, the permission to delete exactly one version of one object; must not delete anything itself."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from tiering.errors import InvalidWarrant

SHA256_BYTES = 32
KEY_CHARACTERS = 1024


@dataclass(frozen=True, slots=True)
class DeleteWarrant:
    """Names what may be deleted and why; a store compares all of it with the object before it deletes.

    `key` is the object's key: segments joined by "/", never absolute, never climbing. `sha256` is the digest (32
    bytes) of the object's data set. `generation` names this version of the object, as ``generation_of`` has it.
    `reason` says in words why it may go; it is written to the journal, so it never holds a patient's identity.
    Raises InvalidWarrant when a field is empty, of the wrong type or ambiguous.
    """

    key: str
    sha256: bytes
    generation: str
    reason: str

    def __post_init__(self) -> None:
        _check_key(self.key)
        _check_digest(self.sha256)
        _check_text("generation", self.generation)
        _check_text("reason", self.reason)


def generation_of(header: bytes, size_bytes: int) -> str:
    """Return what tells one version of an object from every other that ever had its key.

    From its bytes alone, its header (which carries the data set's digest) and its size in bytes: a copy brought back
    from a backup has other times and another inode, and is the same object.
    """
    return f"{size_bytes}.{len(header)}.{hashlib.sha256(header).hexdigest()}"


def _check_text(field: str, value: object) -> None:
    if not isinstance(value, str):
        raise InvalidWarrant(field=field, reason="is not text")
    if not value.strip():
        raise InvalidWarrant(field=field, reason="is empty")
    if not value.isprintable():
        raise InvalidWarrant(field=field, reason="has control characters")


def _check_key(key: object) -> None:
    _check_text("key", key)
    assert isinstance(key, str)
    if len(key) > KEY_CHARACTERS:
        raise InvalidWarrant(field="key", reason=f"is longer than {KEY_CHARACTERS} characters")
    if "\\" in key or any(segment in ("", ".", "..") for segment in key.split("/")):
        raise InvalidWarrant(field="key", reason="does not name one object")


def _check_digest(sha256: object) -> None:
    if not isinstance(sha256, bytes) or len(sha256) != SHA256_BYTES:
        raise InvalidWarrant(field="sha256", reason=f"is not {SHA256_BYTES} bytes")
    if not any(sha256):
        raise InvalidWarrant(field="sha256", reason="is the digest of nothing")
