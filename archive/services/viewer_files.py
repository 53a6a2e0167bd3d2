"""Makes the files of the OHIF viewer ready to be served below ``/viewer``; must not fetch anything.

The package is OHIF's own (MIT), one version, known by its digest. Nothing of it is compiled again: where it takes for
granted that it lies at the root of a site, it is told the path; its page is written anew, without scripts inside, so
that a strict Content-Security-Policy holds.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import shutil
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from archive.errors import ViewerRefused

PACKAGE: Final = "@ohif/app"
VERSION: Final = "3.13.2"
SHA512: Final = (
    "5997719a9986eeba85816f5924b71b82bdd70ad2e2d4a0cd3e831a798e4f3dee"
    "a3e06e1f8c48e393271933a0ba664d85f3b04ac457e9abe8dde715d907d13c10"
)
PATH: Final = "/viewer"
INDEX: Final = "index.html"
CONFIG: Final = "app-config.js"
START: Final = "start.js"
WORKERS: Final = "workers.json"
"""The names of the scripts that run beside the page, its decoders among them."""

_INSIDE: Final = "package/dist/"
_LICENSE: Final = "package/LICENSE"
_ROOT: Final = b'__webpack_require__.p = "/"'
_STYLED: Final = re.compile(rb"url\((['\"]?)/(?!/)")
_BUNDLE: Final = re.compile(r'<script defer src="/(app\.bundle\.[0-9a-f]+\.js)">')
_LEFT_OUT: Final = (CONFIG, "_headers", "_redirects", "sw.js", "init-service-worker.js", "manifest.json")
_PACKED: Final = frozenset({".js", ".css", ".wasm", ".json", ".svg"})
_NEVER_USED: Final = re.compile(r"ort/|.*\.map$")
"""A neural network's engine whose models would come from elsewhere, and what only OHIF's own authors read."""
_LEAST_PACKED: Final = 1024


@dataclass(frozen=True, slots=True)
class ViewerFiles:
    """The folder the viewer is served from."""

    folder: Path

    @property
    def is_ready(self) -> bool:
        """Tell whether the version of this release was installed."""
        return (self.folder / VERSION / INDEX).is_file()

    @property
    def root(self) -> Path:
        """Return where the files of this release's version lie."""
        return self.folder / VERSION

    def workers(self) -> frozenset[str]:
        """Return the names of the scripts that run beside the page."""
        return frozenset(json.loads((self.root / WORKERS).read_text("utf-8")))

    def install(self, package: Path) -> Path:
        """Unpack a package that npm fetched; return where it lies. Raises ViewerRefused. Done already is done."""
        self._check(package)
        if self.is_ready:
            return self.root
        self.folder.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=".new-", dir=self.folder))
        try:
            _unpack(package, scratch)
            _adapt(scratch)
            shutil.rmtree(self.root, ignore_errors=True)
            scratch.chmod(0o755)
            scratch.rename(self.root)
        except (OSError, tarfile.TarError) as exc:
            raise ViewerRefused(package=package, reason=f"it cannot be unpacked ({exc})") from exc
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        return self.root

    def _check(self, package: Path) -> None:
        try:
            with package.open("rb") as file:
                found = hashlib.file_digest(file, "sha512").hexdigest()
        except OSError as exc:
            raise ViewerRefused(package=package, reason=f"it cannot be read ({exc.strerror})") from exc
        if found != SHA512:
            raise ViewerRefused(package=package, reason="its bytes are not those of the version this release knows")


def _unpack(package: Path, target: Path) -> None:
    with tarfile.open(package) as archive:
        for member in archive:
            name = "LICENSE" if member.name == _LICENSE else member.name.removeprefix(_INSIDE)
            source = archive.extractfile(member) if member.isfile() else None
            if source is not None and name != member.name and _is_wanted(name):
                _write(source, target / name, target)


def _write(source: IO[bytes], path: Path, below: Path) -> None:
    """Write a file of the package. By hand: the tarfile of Python before 3.11.4 has no filter that keeps it inside."""
    if not path.resolve().is_relative_to(below.resolve()):
        raise OSError(f"{path.name} would lie outside")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        shutil.copyfileobj(source, file)


def _is_wanted(name: str) -> bool:
    return name not in _LEFT_OUT and not _NEVER_USED.match(name)


def _adapt(folder: Path) -> None:
    """Tell the files where they lie; write the page anew; keep a compressed twin of what is long."""
    page = (folder / INDEX).read_text("utf-8")
    bundle = _BUNDLE.search(page)
    if bundle is None:
        raise OSError("its page names no bundle")
    files = sorted(each for each in folder.rglob("*") if each.is_file())
    workers = [each.name for each in files if _ROOT in each.read_bytes() and each.name != bundle[1]]
    for path in files:
        _move(path)
    (folder / WORKERS).write_text(json.dumps(workers), "utf-8")
    (folder / INDEX).write_text(_PAGE.format(path=PATH, bundle=bundle[1], start=START, config=CONFIG), "utf-8")
    (folder / START).write_text(_START.format(path=PATH), "utf-8")


def _move(path: Path) -> None:
    data = path.read_bytes()
    if path.suffix == ".js":
        data = data.replace(_ROOT, _ROOT[:-1] + PATH[1:].encode() + b'/"')
    elif path.suffix == ".css":
        data = _STYLED.sub(rb"url(\1" + PATH.encode() + b"/", data)
    path.write_bytes(data)
    if path.suffix in _PACKED and len(data) >= _LEAST_PACKED:
        path.with_name(path.name + ".gz").write_bytes(gzip.compress(data, 6, mtime=0))


_START: Final = """window.PUBLIC_URL = '{path}/';
window.browserImportFunction = name => import(name);
"""

_PAGE: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Viewer</title>
<link rel="icon" type="image/png" sizes="32x32" href="{path}/assets/favicon-32x32.png">
<script src="{path}/{start}"></script>
<script src="{path}/{config}"></script>
<script defer src="{path}/{bundle}"></script>
<link href="{path}/app.bundle.css" rel="stylesheet">
</head>
<body>
<noscript>The viewer needs JavaScript. La visionneuse a besoin de JavaScript.</noscript>
<div id="react-portal"></div>
<div id="root"></div>
</body>
</html>
"""
