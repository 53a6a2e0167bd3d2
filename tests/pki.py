"""Throw-away certificate authorities, and a TLS server that shows a certificate."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from archive.clock import utc_now

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
FAR_AWAY = datetime(2090, 1, 1, tzinfo=UTC)


@dataclass
class Issued:
    """A certificate with its key; ``by`` is who signed it, itself without one."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey
    by: Issued | None = None

    @property
    def pem(self) -> bytes:
        """Return the certificate as text."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def der(self) -> bytes:
        """Return the certificate as bytes."""
        return self.certificate.public_bytes(serialization.Encoding.DER)

    @property
    def key_pem(self) -> bytes:
        """Return the key as text."""
        private = serialization.PrivateFormat.TraditionalOpenSSL
        return self.key.private_bytes(serialization.Encoding.PEM, private, serialization.NoEncryption())

    def write(self, folder: Path, name: str, *beside: Issued) -> tuple[Path, Path]:
        """Write the certificate, with others behind it, and the key; return both paths."""
        folder.mkdir(parents=True, exist_ok=True)
        paths = folder / f"{name}.pem", folder / f"{name}.key"
        paths[0].write_bytes(self.pem + b"".join(each.pem for each in beside))
        paths[1].write_bytes(self.key_pem)
        return paths


def issue(
    name: str,
    by: Issued | None = None,
    *,
    until: datetime = FAR_AWAY,
    since: datetime = LONG_AGO,
    is_authority: bool = False,
) -> Issued:
    """Return a certificate for a host, or for an authority; signed by itself unless ``by`` somebody."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    signer = key if by is None else by.key
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if by is None else by.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(since)
        .not_valid_after(until)
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
    )
    return Issued(builder.sign(signer, hashes.SHA256()), key, by)


def in_days(days: float) -> datetime:
    """Return a moment so many days, and a quarter of an hour, from now."""
    return utc_now().replace(microsecond=0) + timedelta(days=days, minutes=15)


@contextmanager
def tls_server(certificate: Path, key: Path) -> Iterator[int]:
    """Run a server that shakes hands and says nothing; lend its port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with serving(context) as port:
        yield port


@contextmanager
def serving(context: ssl.SSLContext, host: str = "127.0.0.1") -> Iterator[int]:
    """Run a server with its own idea of TLS; lend its port."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family) as listener:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    with suppress(OSError), context.wrap_socket(connection, server_side=True) as secured:
                        secured.recv(1)

        threading.Thread(target=serve, daemon=True).start()
        yield int(listener.getsockname()[1])
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
