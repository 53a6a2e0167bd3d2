"""Serves the OHIF viewer and its configuration, which is ours; must not serve anything from outside its folder."""

from __future__ import annotations

import json
import mimetypes
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Final

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.responses import FileResponse, RedirectResponse, Response
from starlette.types import Receive, Scope, Send

from archive.errors import MethodNotOffered, NoSuchResource
from archive.http.surfaces import Surface
from archive.services.viewer_files import CONFIG, INDEX, PATH, ViewerFiles

POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self' 'wasm-unsafe-eval'",
        "worker-src 'self' blob:",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: blob:",
        "font-src 'self' data:",
        "connect-src 'self' data: blob:",
        "media-src 'self' blob:",
        "frame-ancestors 'none'",
        "base-uri 'none'",
        "form-action 'none'",
    )
)
"""What the viewer may load: of this site alone; WebAssembly for its codecs, styles its components write themselves."""

DECODERS: Final = "default-src 'none'; script-src 'self' 'wasm-unsafe-eval' 'unsafe-eval'; connect-src 'self'"
"""What scripts beside the page may do, where nothing can be shown or sent elsewhere: the decoders write functions."""

_HASHED: Final = re.compile(r"(?:^|\.)[0-9a-f]{16}\.|^[0-9a-f]{16}\.")
_FOREVER: Final = {"cache-control": "private, max-age=31536000, immutable"}
_ASK_AGAIN: Final = {"cache-control": "private, no-cache"}
_TYPES: Final = {".js": "text/javascript", ".wasm": "application/wasm", ".css": "text/css", ".html": "text/html"}


@dataclass(frozen=True, slots=True)
class Viewer:
    """The ASGI application below ``/viewer``; ``dicomweb`` is the path it asks for images."""

    files: ViewerFiles
    dicomweb: str

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with a file, the configuration or, for a path of the viewer's own, its page."""
        if scope["method"] not in ("GET", "HEAD"):
            raise MethodNotOffered(reason="the viewer is read with GET")
        response = await run_in_threadpool(self._response, scope)
        await response(scope, receive, send)

    def _response(self, scope: Scope) -> Response:
        name = scope["path"].removeprefix(PATH)
        if not name:
            return RedirectResponse(PATH + "/", status_code=308)
        name = name.removeprefix("/")
        if not self.files.is_ready:
            raise NoSuchResource(reason="the viewer is not installed; ./run viewer does that")
        if name == CONFIG:
            return Response(configuration(self.dicomweb), headers=_ASK_AGAIN, media_type=_TYPES[".js"])
        path = self._find(name)
        if path is None and "." in name.rpartition("/")[2]:
            raise NoSuchResource(reason="the viewer has no such file")
        path = path or self.files.root / INDEX
        policy = {"content-security-policy": DECODERS} if path.name in self.files.workers() else {}
        return _file(path, Headers(scope=scope), policy)

    def _find(self, name: str) -> Path | None:
        root = self.files.root.resolve()
        try:
            path = (root / name).resolve()
            return path if path.is_relative_to(root) and path.is_file() else None
        except (OSError, ValueError):
            return None


def viewer_surface(files: ViewerFiles, dicomweb: str, login: str | None) -> Surface:
    """Return the viewer as something the port offers."""
    isolated = {"cross-origin-embedder-policy": "require-corp"}
    return Surface(PATH, Viewer(files, dicomweb), login=login, policy=POLICY, headers=isolated)


def configuration(dicomweb: str) -> str:
    """Return the viewer's configuration: this archive alone, and a word on screen about every lossy image."""
    text = files("archive.http").joinpath("viewer_config.js").read_text("utf-8")
    values: Mapping[str, str] = {"DICOMWEB": dicomweb, "VIEWER": PATH}
    for word, value in values.items():
        text = text.replace(f'"{word}"', json.dumps(value))
    return text


def _file(path: Path, headers: Headers, more: Mapping[str, str]) -> Response:
    told = {**(_FOREVER if _HASHED.search(path.name) else _ASK_AGAIN), **more}
    kind = _TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    packed = path.with_name(path.name + ".gz")
    if packed.is_file():
        told["vary"] = "accept-encoding"
        if "gzip" in headers.get("accept-encoding", ""):
            return FileResponse(packed, headers={**told, "content-encoding": "gzip"}, media_type=kind)
    return FileResponse(path, headers=told, media_type=kind)
