"""The URLs of the service as a requester reaches it; must not trust more of a request than where it was sent to."""

from __future__ import annotations

from typing import Final

from starlette.requests import Request

_USUAL_PORTS: Final = {"http": 80, "https": 443}


def base_url(request: Request) -> str:
    """Return the URL of the DICOMweb service as this requester reaches it, without a slash at its end.

    Some clients leave the port out of their Host header: then it is the one the request came to, unless a proxy is
    between, which has another.
    """
    url = request.base_url
    server = request.scope.get("server")
    if url.port is None and server is not None and server[1] not in (None, _USUAL_PORTS.get(url.scheme)):
        url = url.replace(port=server[1])
    return str(url).rstrip("/")
