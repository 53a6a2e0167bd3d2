"""Reads certificates from files and judges their chains; must never trust one, nor raise for a file.

PEM with one certificate or many, or DER (RFC 5280, RFC 7468). What cannot be read is something seen.
"""

from __future__ import annotations

import hashlib
import ssl
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding

from archive.services.tls_certificates import Certificate, Chain, Place, Role, Seen

_SUFFIXES: Final = (".pem", ".crt", ".cer", ".der")
_LARGEST_BYTES: Final = 8 << 20
_LONGEST_CHAIN: Final = 10
_PEM: Final = b"-----BEGIN CERTIFICATE-----"
_MALFORMED: Final = (ValueError, TypeError, UnsupportedAlgorithm, x509.InvalidVersion)


def look_at_file(place: Place) -> Sequence[Seen]:
    """Return every certificate of a file, or of the files of a folder, where files without one are passed over."""
    assert place.file is not None
    try:
        if not place.file.is_dir():
            return _in_file(place, place.file)
        files = sorted(path for path in place.file.iterdir() if path.suffix.lower() in _SUFFIXES)
    except OSError as exc:
        return [Seen(place, problem=exc.strerror or type(exc).__name__)]
    inside = [Place(place.use, path, authorities=place.authorities) for path in files]
    found = [seen for each in inside for seen in _in_file(each, each.file or place.file) if not _is_key(seen)]
    return found or [Seen(place, problem="no certificate is in this folder")]


_EMPTY: Final = "no certificate is in this file"


def _is_key(seen: Seen) -> bool:
    return seen.certificate is None and seen.problem == _EMPTY


def _in_file(place: Place, path: Path) -> Sequence[Seen]:
    try:
        found = read(path)
    except OSError as exc:
        return [Seen(place, problem=exc.strerror or type(exc).__name__)]
    except _MALFORMED:
        return [Seen(place, problem="the certificate in it is malformed")]
    if not found:
        return [Seen(place, problem=_EMPTY)]
    known = authorities(place.authorities)
    return [see(place, each, found, known, is_first=number == 0) for number, each in enumerate(found)]


def see(
    place: Place,
    found: x509.Certificate,
    beside: Sequence[x509.Certificate],
    known: Sequence[x509.Certificate],
    *,
    is_first: bool,
) -> Seen:
    """Return what there is to say of a certificate that came with others."""
    try:
        return Seen(place, _certificate(found, is_first=is_first), chain_of(found, beside, known))
    except _MALFORMED:
        return Seen(place, problem="the certificate in it is malformed")


def read(path: Path) -> list[x509.Certificate]:
    """Return the certificates of a file, in order. Raises OSError, ValueError for what is malformed."""
    with path.open("rb") as file:
        data = file.read(_LARGEST_BYTES)
    if _PEM not in data:
        return [] if b"-----BEGIN" in data or not data.strip() else [certificate_of(data)]
    with _quiet():
        return x509.load_pem_x509_certificates(data)


def certificate_of(der: bytes) -> x509.Certificate:
    """Return the certificate in some bytes. Raises ValueError for what is malformed."""
    with _quiet():
        return x509.load_der_x509_certificate(der)


@contextmanager
def _quiet() -> Iterator[None]:
    """Say nothing of serial numbers that are not positive (RFC 5280 forbids them): old authorities have such."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _certificate(found: x509.Certificate, *, is_first: bool) -> Certificate:
    return Certificate(
        role=_role(found, is_first=is_first),
        subject=found.subject.rfc4514_string(),
        issuer=found.issuer.rfc4514_string(),
        not_before=found.not_valid_before_utc,
        not_after=found.not_valid_after_utc,
        sha256=hashlib.sha256(found.public_bytes(Encoding.DER)).hexdigest(),
    )


def _role(found: x509.Certificate, *, is_first: bool) -> Role:
    try:
        is_authority = found.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError):
        is_authority = False
    if not is_authority:
        return "server"
    return "authority" if is_first or found.issuer == found.subject else "intermediate"


def chain_of(found: x509.Certificate, beside: Sequence[x509.Certificate], known: Sequence[x509.Certificate]) -> Chain:
    """Return whether a certificate leads, through those beside it, to an authority that is known or signs itself."""
    if _signed(found, found):
        return "self-signed"
    for _ in range(_LONGEST_CHAIN):
        if any(_signed(found, authority) for authority in known):
            return "complete"
        above = next((each for each in beside if each is not found and _signed(found, each)), None)
        if above is None:
            return "incomplete"
        if _signed(above, above):
            return "complete"
        found = above
    return "incomplete"


def _signed(found: x509.Certificate, by: x509.Certificate) -> bool:
    if found.issuer != by.subject:
        return False
    try:
        found.verify_directly_issued_by(by)
    except (InvalidSignature, *_MALFORMED):
        return False
    return True


def authorities(files: Iterable[Path]) -> list[x509.Certificate]:
    """Return the authorities of some files, those that can be read, and the system's."""
    found = []
    for path in files:
        try:
            found += read(path)
        except (OSError, *_MALFORMED):
            continue  # the file is watched itself, and told there
    return [*found, *_system()]


@lru_cache(maxsize=1)
def _system() -> tuple[x509.Certificate, ...]:
    """Return the authorities that the system trusts; they change with the system, which restarts us."""
    found: list[x509.Certificate] = []
    for der in ssl.create_default_context().get_ca_certs(binary_form=True):
        with suppress(*_MALFORMED):
            found.append(certificate_of(der))
    return tuple(found)
