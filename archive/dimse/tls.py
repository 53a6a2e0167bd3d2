"""TLS contexts by the profiles of PS3.15 annex B (B.9 BCP 195, B.11 extended BCP 195); must not open a socket."""

from __future__ import annotations

import ssl
from typing import Final

from archive.config import TlsSettings
from archive.errors import ConfigError

# PS3.15 B.11: ephemeral key exchange and AEAD only, also in TLS 1.2; TLS 1.3 has nothing else.
_AEAD: Final = "ECDHE+AESGCM:DHE+AESGCM"
_BCP_195: Final = f"{_AEAD}:ECDHE+CHACHA20:!aNULL:!eNULL"
_VERIFY: Final = {"none": ssl.CERT_NONE, "optional": ssl.CERT_OPTIONAL, "required": ssl.CERT_REQUIRED}


def server_context(settings: TlsSettings) -> ssl.SSLContext | None:
    """Return the listener's context, or None when TLS is off; raise ConfigError for files that do not load."""
    if settings.port is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _harden(context, settings)
    _load(context, settings)
    context.verify_mode = _VERIFY[settings.client_certificate]
    return context


def client_context(settings: TlsSettings) -> ssl.SSLContext:
    """Return the context for associations we open; the peer's name is its AE title, so only its chain is checked."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    _harden(context, settings)
    context.check_hostname = False
    if settings.ca is None:
        context.load_default_certs()
    _load(context, settings)
    return context


def _harden(context: ssl.SSLContext, settings: TlsSettings) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_AEAD if settings.profile == "extended" else _BCP_195)
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION


def _load(context: ssl.SSLContext, settings: TlsSettings) -> None:
    try:
        if settings.certificate is not None:
            context.load_cert_chain(settings.certificate, settings.key)
        if settings.ca is not None:
            context.load_verify_locations(settings.ca)
    except (ssl.SSLError, OSError) as exc:
        raise ConfigError(name="dicom.tls", reason=f"certificate, key or ca does not load ({exc.strerror})") from exc
