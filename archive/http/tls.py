"""The TLS context of the HTTP port (BCP 195); must not open a socket."""

from __future__ import annotations

import ssl
from typing import Final

from archive.config import HttpSettings
from archive.errors import ConfigError

_SUITES: Final = "ECDHE+AESGCM:ECDHE+CHACHA20:!aNULL:!eNULL"
_VERIFY: Final = {"none": ssl.CERT_NONE, "optional": ssl.CERT_OPTIONAL, "required": ssl.CERT_REQUIRED}


def server_context(settings: HttpSettings) -> ssl.SSLContext | None:
    """Return the port's context, or None without a certificate; raise ConfigError for files that do not load."""
    if settings.certificate is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_SUITES)
    context.set_alpn_protocols(["http/1.1"])
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    try:
        context.load_cert_chain(settings.certificate, settings.key)
        if settings.ca is not None:
            context.load_verify_locations(settings.ca)
    except (ssl.SSLError, OSError) as exc:
        raise ConfigError(name="http", reason=f"certificate, key or ca does not load ({exc.strerror})") from exc
    context.verify_mode = _VERIFY[settings.client_certificate]
    return context
