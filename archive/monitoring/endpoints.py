"""Asks servers for their certificate with a TLS handshake (RFC 8446); must not trust one, nor send a byte of data.

Two handshakes: one that takes whatever comes, to see it, and one that wants a known authority, to know its chain.
A server that speaks TLS 1.2 and wants a certificate of us ends the first one, and cannot be seen.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from archive.monitoring import x509
from archive.services.tls_certificates import Chain, Place, Seen

_NO_CHECK_TIME: Final = 0x200000
"""X509_V_FLAG_NO_CHECK_TIME of OpenSSL: the days are ours to judge."""
_SELF_SIGNED: Final = (18, 19)


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Looks at servers, each with at most so many seconds for a connection and each step on it."""

    timeout_seconds: float

    def look(self, place: Place) -> Sequence[Seen]:
        """Return the certificate that a server shows, or why none was seen."""
        assert place.endpoint is not None
        try:
            found = x509.certificate_of(self._shake_hands(place.endpoint, _blind()))
        except ValueError:
            return [Seen(place, problem="it shows a malformed certificate")]
        except OSError as exc:
            return [Seen(place, problem=_words(exc))]
        seen = x509.see(place, found, [], [], is_first=True)
        return [Seen(place, seen.certificate, self._chain(place), seen.problem)]

    def _shake_hands(self, endpoint: tuple[str, int], context: ssl.SSLContext) -> bytes:
        with (
            socket.create_connection(endpoint, self.timeout_seconds) as connection,
            context.wrap_socket(connection, server_hostname=endpoint[0]) as secured,
        ):
            return secured.getpeercert(binary_form=True) or b""

    def _chain(self, place: Place) -> Chain:
        assert place.endpoint is not None
        try:
            self._shake_hands(place.endpoint, _wary(place))
        except ssl.SSLCertVerificationError as exc:
            return "self-signed" if exc.verify_code in _SELF_SIGNED else "incomplete"
        except OSError:
            return "unknown"
        return "complete"


def _blind() -> ssl.SSLContext:
    """Return a context that takes any certificate, of any strength: it is looked at, never relied on."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    return context


def _wary(place: Place) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_flags |= _NO_CHECK_TIME
    context.load_default_certs()
    for path in place.authorities:
        context.load_verify_locations(path)
    return context


def _words(error: OSError) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, ssl.SSLError):
        return f"the handshake failed ({error.reason or type(error).__name__})"
    return error.strerror or type(error).__name__
