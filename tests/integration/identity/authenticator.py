"""A security key in software, which does what a test asks, honest or not (WebAuthn section 6); must not be shipped."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from fido2.cose import ES256
from fido2.utils import websafe_encode
from fido2.webauthn import Aaguid, AttestationObject, AttestedCredentialData, AuthenticatorData

PRESENT, VERIFIED = AuthenticatorData.FLAG.UP, AuthenticatorData.FLAG.UV


@dataclass
class SoftwareKey:
    """One key with one credential; ``host`` and ``origin`` are where it believes to be."""

    host: str = "localhost"
    origin: str = "http://localhost:8042"
    flags: AuthenticatorData.FLAG = PRESENT | VERIFIED
    count: int = 0
    id: bytes = field(default_factory=lambda: os.urandom(32))
    private: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    def make(self, options: Mapping[str, Any], *, kind: str = "webauthn.create") -> dict[str, Any]:
        """Answer ``navigator.credentials.create``."""
        public = ES256.from_cryptography_key(self.private.public_key())  # type: ignore[no-untyped-call]
        credential = AttestedCredentialData.create(Aaguid.NONE, self.id, public)
        data = AuthenticatorData.create(self._hash(), self.flags | AuthenticatorData.FLAG.AT, self.count, credential)
        attestation = AttestationObject.create("none", data, {})
        return self._answer({"clientDataJSON": self._client(kind, options), "attestationObject": bytes(attestation)})

    def show(self, options: Mapping[str, Any], *, kind: str = "webauthn.get") -> dict[str, Any]:
        """Answer ``navigator.credentials.get``."""
        self.count += 1
        data = AuthenticatorData.create(self._hash(), self.flags, self.count)
        client = self._client(kind, options)
        signature = self.private.sign(data + hashlib.sha256(client).digest(), ec.ECDSA(hashes.SHA256()))
        return self._answer({"clientDataJSON": client, "authenticatorData": bytes(data), "signature": signature})

    def _client(self, kind: str, options: Mapping[str, Any]) -> bytes:
        return json.dumps({"type": kind, "challenge": options["challenge"], "origin": self.origin}).encode()

    def _hash(self) -> bytes:
        return hashlib.sha256(self.host.encode()).digest()

    def _answer(self, parts: Mapping[str, bytes]) -> dict[str, Any]:
        told = {name: websafe_encode(value) for name, value in parts.items()}
        name = websafe_encode(self.id)
        return {"id": name, "rawId": name, "type": "public-key", "response": told, "clientExtensionResults": {}}
