"""What the port offers, path by path, and the headers each of it is protected with; must not know who asks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from starlette.types import ASGIApp

_MIB: Final = 1024 * 1024
NOTHING_LOADS: Final = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
"""The Content-Security-Policy of what is no page."""


@dataclass(frozen=True, slots=True)
class Surface:
    """One thing offered below ``path`` ("/dicom-web"), an ASGI application that sees the rest of the path.

    Who is unknown is answered 401, or sent to the page ``login`` when there is one; everybody may come in where
    ``is_public``. Each chooses its Content-Security-Policy, further headers, and the longest body it takes, in bytes.
    ``at_end`` is called once no request is answered any more.
    """

    path: str
    application: ASGIApp
    is_public: bool = False
    login: str | None = None
    policy: str = NOTHING_LOADS
    headers: Mapping[str, str] = field(default_factory=dict)
    max_body_bytes: int = _MIB
    at_end: Callable[[], None] | None = None

    def protecting(self, *, is_encrypted: bool) -> list[tuple[bytes, bytes]]:
        """Return the security headers of an answer; what the application sets itself has precedence."""
        told = {
            "content-security-policy": self.policy,
            "x-content-type-options": "nosniff",
            "referrer-policy": "no-referrer",
            "cross-origin-resource-policy": "same-origin",
            "cross-origin-opener-policy": "same-origin",
            "cache-control": "no-store",
        }
        if is_encrypted:
            told["strict-transport-security"] = "max-age=31536000"
        told |= {name.lower(): value for name, value in self.headers.items()}
        return [(name.encode("latin_1"), value.encode("latin_1")) for name, value in told.items()]


def find_surface(surfaces: Sequence[Surface], path: str) -> Surface | None:
    """Return the surface a path lies on: the longest of those that begin it, in whole segments."""
    found = (each for each in surfaces if path == each.path or path.startswith(each.path.rstrip("/") + "/"))
    return max(found, key=lambda surface: len(surface.path), default=None)
