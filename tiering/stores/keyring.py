"""The keys that encrypt objects before they leave: a file of named keys, one of them active; must not lose one.

An object names the key it needs, and needs it for as long as it is kept: a key ring grows and never shrinks. Turning to
a new key is ``with_key``: what was stored before is read with its old one. **Without this file the objects are noise.**
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import re
import secrets
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from tiering.disk import Disk
from tiering.errors import EncryptionKeyMissing, StoreRefused

KEY_BYTES: Final = 32
KEY_ID_CHARACTERS: Final = 32
_KEY_ID: Final = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._-]{{0,{KEY_ID_CHARACTERS - 1}}}")


class KeyRings(Protocol):
    """Where the ring comes from that holds now."""

    def current(self) -> KeyRing:
        """Return the ring. Raises StoreRefused when there is none that can be used."""


@dataclass(frozen=True, slots=True)
class KeyRing:
    """Named keys of 32 bytes; ``active`` is the one that new objects are encrypted with. Raises StoreRefused."""

    active: str
    keys: Mapping[str, bytes] = field(repr=False)

    def __post_init__(self) -> None:
        if self.active not in self.keys:
            raise StoreRefused(reason=f"the key ring has no key {self.active!r}, which is to be the active one")
        for key_id, key in self.keys.items():
            if not _KEY_ID.fullmatch(key_id):
                raise StoreRefused(reason=f"{key_id!r} is no name for a key")
            if len(key) != KEY_BYTES:
                raise StoreRefused(reason=f"the key {key_id} does not have {KEY_BYTES} bytes")

    @classmethod
    def generate(cls, key_id: str) -> KeyRing:
        """Return a ring with one new key."""
        return cls(key_id, {key_id: secrets.token_bytes(KEY_BYTES)})

    def with_key(self, key_id: str) -> KeyRing:
        """Return this ring with one more key, new and active. Raises StoreRefused for a name that is taken."""
        if key_id in self.keys:
            raise StoreRefused(reason=f"the key ring has a key {key_id} already")
        return KeyRing(key_id, {**self.keys, key_id: secrets.token_bytes(KEY_BYTES)})

    def get(self, key_id: str, object_key: str) -> bytes:
        """Return the key an object needs. Raises EncryptionKeyMissing."""
        try:
            return self.keys[key_id]
        except KeyError as exc:
            raise EncryptionKeyMissing(key=object_key, key_id=key_id) from exc

    def current(self) -> KeyRing:
        """Return this ring, for good."""
        return self

    @classmethod
    def load(cls, path: Path) -> KeyRing:
        """Read a file that nobody but its owner may read. Raises StoreRefused when it is open to others or no ring."""
        try:
            if path.stat().st_mode & 0o077:
                raise StoreRefused(reason=f"others may read the key ring {path.name}: chmod 600")
            tree = json.loads(path.read_text(encoding="ascii"))
            keys = {str(key_id): base64.b64decode(key, validate=True) for key_id, key in tree["keys"].items()}
            return cls(str(tree["active"]), keys)
        except OSError as exc:
            raise StoreRefused(reason=f"the key ring {path.name}: {exc.strerror}") from exc
        except (ValueError, TypeError, KeyError, AttributeError, binascii.Error) as exc:
            raise StoreRefused(reason=f"the file {path.name} is no key ring") from exc

    def save(self, disk: Disk, path: Path, *, owner: tuple[int, int] | None = None) -> None:
        """Write the ring durably; a ring that is there is replaced, whole, by one that has all of its keys.

        ``owner``: the ids of user and group it is to belong to, whoever writes it; that is root's to say. Raises
        StoreRefused when a key would be lost or changed, OSError as the disk does.
        """
        if path.exists():
            self._check_keeps(KeyRing.load(path))
        draft = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
        with open(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
            if owner is not None and os.geteuid() == 0:
                os.fchown(file.fileno(), *owner)
            file.write(self._text())
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
        disk.sync_folder(path.parent)

    def _check_keeps(self, old: KeyRing) -> None:
        lost = sorted(key_id for key_id, key in old.keys.items() if self.keys.get(key_id) != key)
        if lost:
            raise StoreRefused(reason=f"the key ring would lose {', '.join(lost)}")

    def _text(self) -> bytes:
        keys = {key_id: base64.b64encode(key).decode("ascii") for key_id, key in self.keys.items()}
        return json.dumps({"active": self.active, "keys": keys}, indent=2).encode("ascii") + b"\n"


class KeyRingFile:
    """The ring in a file, read again once the file is another: a key that somebody turned to is known at once.

    A file that goes, or cannot be used any more, takes nothing away from what was read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read: tuple[object, KeyRing] | None = None
        self._lock = threading.Lock()

    def current(self) -> KeyRing:
        """Return the ring in the file. Raises StoreRefused when it never could be read."""
        with self._lock:
            state = _state(self._path)
            if self._read is None or (state is not None and self._read[0] != state):
                try:
                    self._read = state, KeyRing.load(self._path)
                except StoreRefused:
                    if self._read is None:
                        raise
            return self._read[1]


def _state(path: Path) -> object:
    """Return what a file differs by once another took its place; None when there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size, found.st_mode
