"""Runs a real OpenID provider, npm oidc-provider on Node, for tests; must not import the archive."""

from __future__ import annotations

import json
import os
import shutil
import signal
import ssl
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

import urllib3
from joserfc.jwk import ECKey

from tests.authority import Authority
from tests.dcmtk import free_port

VERSION: Final = "9.13.3"
AUDIENCE: Final = "https://archive.example/dicom-web"
SECRET: Final = "made up, and long enough for everybody"
FOLDER: Final = Path(__file__).parent

Practice = Mapping[str, str]


def _account(subject: str, given: str, family: str, *practices: Practice) -> dict[str, Any]:
    told = {"SubjectNameID": subject, "given_name": given, "family_name": family}
    return {**told, "SubjectRefPro": {"codeCivilite": "M", "exercices": list(practices)}}


PHYSICIAN: Final = {"codeProfession": "10", "codeSavoirFaire": "SM26"}
RADIOLOGIST: Final = {"codeProfession": "10", "codeSavoirFaire": "SM44"}
MANIPULATOR: Final = {"codeProfession": "98", "codeSavoirFaire": ""}
ACCOUNTS: Final = {
    "rita": _account("899700218896", "Rita", "Rayon", RADIOLOGIST),
    "paul": _account("899700366240", "Paul", "Praticien", PHYSICIAN),
    "mia": _account("899700001111", "Mia", "Manip", MANIPULATOR),
    "mado": _account("0759912345", "Mado", "Manip", MANIPULATOR),
    "phil": _account("899700002222", "Phil", "Pharma", {"codeProfession": "21", "codeSavoirFaire": ""}),
}
"""People made up, as Pro Santé Connect tells of them: mado is known by an ADELI number only."""


def modules() -> Path:
    """Return the folder that holds the provider's packages, installed there once at a fixed version."""
    folder = Path.home() / ".cache" / "drimbox-tests" / f"oidc-provider-{VERSION}"
    if not (folder / "node_modules" / "oidc-provider" / "package.json").is_file():
        npm = shutil.which("npm")
        assert npm is not None, "node and npm are needed to run an identity provider"
        folder.mkdir(parents=True, exist_ok=True)
        quiet = ["--no-save", "--no-audit", "--no-fund", "--prefix", str(folder)]
        subprocess.run([npm, "install", *quiet, f"oidc-provider@{VERSION}"], check=True, capture_output=True)
    return folder


@dataclass
class IdentityProvider:
    """A running provider, and what clients of it have."""

    port: int
    authority: Authority
    client_key: ECKey
    process: subprocess.Popen[str] | None = None

    @property
    def issuer(self) -> str:
        """Return what the provider calls itself."""
        return f"https://localhost:{self.port}"

    def files(self, name: str) -> tuple[Path, Path]:
        """Return the certificate and the key of a client or a server."""
        return self.authority.folder / f"{name}.pem", self.authority.folder / f"{name}.key"

    def tls(self, client: str | None) -> ssl.SSLContext:
        """Return what a client connects with; None: without a certificate."""
        context = ssl.create_default_context(cafile=self.authority.ca)
        if client is not None:
            context.load_cert_chain(*self.files(client))
        return context

    def token(self, account: str, *, client: str = "reader", lasts: int = 600, resource: str = AUDIENCE) -> str:
        """Return the access token an application holds for somebody; ``unbound`` has no certificate."""
        fields = {"grant_type": "urn:test:as", "account": account, "resource": resource, "lasts": str(lasts)}
        told = json.loads(self._post("/token", fields, client=client))
        token: str = told["access_token"]
        return token

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Stop answering for a while: connections are made, and nothing comes back."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)

    def revoke(self, token: str, *, client: str = "reader") -> None:
        """Take a token back (RFC 7009), as whoever lost their card has it done."""
        self._post("/token/revocation", {"token": token}, client=client)

    def _post(self, path: str, fields: Mapping[str, str], *, client: str) -> bytes:
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        if client == "unbound":
            headers |= urllib3.make_headers(basic_auth=f"unbound:{urlencode({'': SECRET})[1:]}")
        with urllib3.PoolManager(ssl_context=self.tls(None if client == "unbound" else client)) as pool:
            body = urlencode({**fields, "client_id": client})
            answer = pool.request("POST", f"{self.issuer}{path}", body=body, headers=headers)
        assert answer.status == 200, answer.data
        return answer.data


@contextmanager
def running_provider(folder: Path, redirect_uri: str) -> Iterator[IdentityProvider]:
    """Run a provider that sends those who sign in back to ``redirect_uri``."""
    authority = Authority(folder / "pki")
    for name in ("server", "archive", "reader", "thief"):
        authority.issue(name)
    provider = IdentityProvider(free_port(), authority, ECKey.generate_key("P-256", {"kid": "archive", "use": "sig"}))
    certificate, key = provider.files("server")
    settings = folder / "provider.json"
    settings.write_text(
        json.dumps(
            {
                "port": provider.port,
                "key": str(key),
                "certificate": str(certificate),
                "ca": str(authority.ca),
                "redirect_uri": redirect_uri,
                "archive_dn": "CN=archive",
                "reader_dn": "CN=reader",
                "secret": SECRET,
                "client_jwk": provider.client_key.as_dict(private=False),
                "audience": AUDIENCE,
                "accounts": ACCOUNTS,
            }
        )
    )
    with _running(settings, folder / "provider.log") as provider.process:
        yield provider


@contextmanager
def _running(settings: Path, log: Path) -> Iterator[subprocess.Popen[str]]:
    node = shutil.which("node")
    assert node is not None, "node is needed to run an identity provider"
    with log.open("w") as errors:
        process = subprocess.Popen(
            [node, str(FOLDER / "provider.mjs"), str(settings)],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env={**os.environ, "PROVIDER_MODULES": str(modules())},
        )
    try:
        assert process.stdout is not None
        assert any("READY" in line for line in process.stdout), log.read_text()
        yield process
    finally:
        process.terminate()
        process.wait(10)
