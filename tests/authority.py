"""A throw-away certificate authority that writes files, for tests that want some of their own."""

from __future__ import annotations

import hashlib
from pathlib import Path

from tests.pki import issue


class Authority:
    """A certificate authority writing PEM files into a folder; every certificate is also one of ``localhost``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._issued = issue("Test authority", is_authority=True)
        self.ca, _ = self._issued.write(folder, "ca")

    def issue(self, name: str) -> tuple[Path, Path, str]:
        """Return the paths of a certificate and its key, and the certificate's SHA-256 fingerprint."""
        issued = issue(name, self._issued)
        return *issued.write(self.folder, name), hashlib.sha256(issued.der).hexdigest()
