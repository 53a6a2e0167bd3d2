"""Destruction certificates: signed, written down, and proven without an archive; must not destroy anything.

A certificate is one JSON document in one form: the signature (Ed25519, RFC 8032) covers what was certified, and the
form leaves no byte that could be another. It names objects and rules, no patient.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from archive.errors import CertificateInvalid, ConfigError
from tiering.disk import Disk, write_once

FORMAT: Final = "drimbox-destruction-certificate/1"
_FIELDS: Final = {"format", "certificate", "public_key", "signature"}
_HEX_DIGITS: Final = frozenset("0123456789abcdef")
_RAW: Final = (serialization.Encoding.Raw, serialization.PublicFormat.Raw)

Body = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Signer:
    """The key of one archive, in a PEM file that only its owner reads (PKCS #8); made when it is first needed."""

    disk: Disk
    path: Path

    def public_key(self) -> str:
        """Return the public half, 64 hexadecimal digits. Raises ConfigError, OSError."""
        return _hex_of(self._key().public_key())

    def sign(self, body: Body) -> bytes:
        """Return the certificate of a body, as it is written down. Raises ConfigError, OSError."""
        key = self._key()
        document = {
            "format": FORMAT,
            "certificate": body,
            "public_key": _hex_of(key.public_key()),
            "signature": key.sign(_signed(body)).hex(),
        }
        return _written(document)

    def _key(self) -> Ed25519PrivateKey:
        if not self.path.exists():
            self._make()
        try:
            key = serialization.load_pem_private_key(self.path.read_bytes(), password=None)
        except ValueError as exc:
            raise ConfigError(
                name=str(self.path), reason="it is not a private key; restore it from the backup"
            ) from exc
        if not isinstance(key, Ed25519PrivateKey):
            raise ConfigError(name=str(self.path), reason="it is not an Ed25519 key; restore it from the backup")
        return key

    def _make(self) -> None:
        """Make the key; two processes that do so at once come to the same one."""
        self.disk.make_folder(self.path.parent)
        os.chmod(self.path.parent, 0o700)
        pem = Ed25519PrivateKey.generate().private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        write_once(self.disk, self.path, pem)
        os.chmod(self.path, 0o600)


def verify(data: bytes, *, public_key: str | None = None) -> Body:
    """Return what a certificate certifies, proven by its signature and by the key it should have, if one is given.

    Without ``public_key`` the certificate's own is believed: compare it with the archive's. Raises CertificateInvalid.
    """
    document = _read(data)
    if public_key is not None and document["public_key"] != public_key.strip().lower():
        raise CertificateInvalid(reason="it is signed with another key than the one given")
    try:
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(document["public_key"]))
        key.verify(bytes.fromhex(document["signature"]), _signed(document["certificate"]))
    except (InvalidSignature, ValueError, TypeError) as exc:
        raise CertificateInvalid(reason="the signature does not fit: something in it was changed") from exc
    certificate: Body = document["certificate"]
    return certificate


def key_of(data: bytes) -> str:
    """Return the public key that a certificate carries. Raises CertificateInvalid."""
    return str(_read(data)["public_key"])


def _read(data: bytes) -> Mapping[str, Any]:
    document: object = None
    with suppress(ValueError, RecursionError):
        document = json.loads(data)
    if not isinstance(document, dict) or document.get("format") != FORMAT or set(document) != _FIELDS:
        raise CertificateInvalid(reason="it is no destruction certificate of this archive's form")
    if _written(document) != data or not all(map(_is_hex, (document["public_key"], document["signature"]))):
        raise CertificateInvalid(reason="it is not written as it was signed: something in it was changed")
    return document


def _is_hex(value: object) -> bool:
    """Tell whether it is in the one way of writing bytes: a capital would mean the same, and be another byte."""
    return isinstance(value, str) and bool(value) and set(value) <= _HEX_DIGITS


def _written(document: Mapping[str, Any]) -> bytes:
    return (json.dumps(document, sort_keys=True, indent=1, ensure_ascii=True) + "\n").encode()


def _signed(body: Body) -> bytes:
    text = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return f"{FORMAT}\n{text}".encode()


def _hex_of(key: Ed25519PublicKey) -> str:
    return key.public_bytes(*_RAW).hex()
