"""The viewer's files made ready, from a package of the form of OHIF's; the real one is tried in conformance tests."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from pathlib import Path

import pytest
from click.testing import CliRunner

from archive.cli import root
from archive.errors import ViewerRefused
from archive.services import viewer_files
from archive.services.viewer_files import CONFIG, INDEX, PACKAGE, VERSION, ViewerFiles

BUNDLE = "app.bundle.0123456789abcdef.js"
WORKER = "8097.bundle.fedcba9876543210.js"
PAGE = f'<html><script>inline()</script><script defer src="/{BUNDLE}"></script></html>'
ROOT = '__webpack_require__.p = "/";'
FILES = {
    "package/LICENSE": "MIT",
    f"package/dist/{INDEX}": PAGE,
    f"package/dist/{CONFIG}": "window.config = {};",
    f"package/dist/{BUNDLE}": f"{ROOT} app();" + " " * 2000,
    f"package/dist/{WORKER}": f"{ROOT} decode();",
    "package/dist/app.bundle.css": "a { b: url(/x.woff2) } c { d: url('/y.svg') } "
    "e { f: url(//host/z) } g { h: url(data:x) }",
    "package/dist/ort/ort.wasm": "a neural network",
    "package/dist/1.js.map": "{}",
    "package/README.md": "not served",
}


def write(path: Path, files: dict[str, str], *, link: str = "") -> Path:
    """Write a package as npm packs one; with ``link``, a member that points outside."""
    with tarfile.open(path, "w:gz") as archive:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(text.encode())
            archive.addfile(member, io.BytesIO(text.encode()))
        if link:
            member = tarfile.TarInfo("package/dist/out.js")
            member.type, member.linkname = tarfile.SYMTYPE, link
            archive.addfile(member)
    return path


def trust(monkeypatch: pytest.MonkeyPatch, package: Path) -> Path:
    """Let a package be the one this release knows."""
    monkeypatch.setattr(viewer_files, "SHA512", hashlib.sha512(package.read_bytes()).hexdigest())
    return package


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ViewerFiles:
    """Return the viewer of a package that was trusted."""
    files = ViewerFiles(tmp_path / "viewer")
    assert not files.is_ready
    package = trust(monkeypatch, write(tmp_path / "ohif.tgz", FILES))
    assert files.install(package) == tmp_path / "viewer" / VERSION
    return files


def test_nothing_but_what_is_served_is_unpacked(installed: ViewerFiles) -> None:
    """Neither OHIF's configuration nor what would load models from elsewhere lies there; its licence does."""
    assert installed.is_ready
    names = {path.relative_to(installed.root).as_posix() for path in installed.root.rglob("*") if path.is_file()}
    ours = {INDEX, "start.js", "workers.json"}
    assert names == {*ours, "LICENSE", BUNDLE, f"{BUNDLE}.gz", WORKER, "app.bundle.css"}


def test_scripts_and_styles_are_told_where_they_lie(installed: ViewerFiles) -> None:
    """Paths from the root of a site lead below /viewer, and no others are touched."""
    assert '__webpack_require__.p = "/viewer/";' in (installed.root / BUNDLE).read_text()
    style = (installed.root / "app.bundle.css").read_text()
    assert "url(/viewer/x.woff2)" in style
    assert "url('/viewer/y.svg')" in style
    assert "url(//host/z)" in style
    assert "url(data:x)" in style


def test_the_page_has_no_script_inside(installed: ViewerFiles) -> None:
    """A strict policy holds: every script of the page is a file of this site."""
    page = (installed.root / INDEX).read_text()
    assert "inline()" not in page
    assert page.count("<script") == page.count('src="/viewer/') == 3
    assert f'src="/viewer/{BUNDLE}"' in page


def test_scripts_beside_the_page_are_known(installed: ViewerFiles) -> None:
    """The decoders may do what the page may not, so which they are is kept."""
    assert installed.workers() == {WORKER}


def test_long_files_have_a_compressed_twin(installed: ViewerFiles) -> None:
    """It is the same, and short files have none."""
    assert gzip.decompress((installed.root / f"{BUNDLE}.gz").read_bytes()) == (installed.root / BUNDLE).read_bytes()
    assert not (installed.root / f"{WORKER}.gz").exists()


def test_installing_again_changes_nothing(installed: ViewerFiles, tmp_path: Path) -> None:
    """A viewer that is there is left alone, and nothing else is left behind."""
    before = (installed.root / INDEX).stat().st_mtime_ns
    installed.install(tmp_path / "ohif.tgz")
    assert (installed.root / INDEX).stat().st_mtime_ns == before
    assert [path.name for path in installed.folder.iterdir()] == [VERSION]


@pytest.mark.parametrize("link", ["/etc/passwd", "../../../etc/passwd"])
def test_a_link_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, link: str) -> None:
    """Only files are: a link could lead anywhere."""
    package = trust(monkeypatch, write(tmp_path / "ohif.tgz", FILES, link=link))
    assert not (ViewerFiles(tmp_path / "viewer").install(package) / "out.js").is_symlink()


@pytest.mark.parametrize("name", ["../out.js", "../../../out.js", "/out.js", "a/../../out.js"])
def test_a_file_that_would_lie_outside_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """A name leads nowhere but below the viewer's folder, and nothing of such a package stays."""
    package = trust(monkeypatch, write(tmp_path / "ohif.tgz", {**FILES, f"package/dist/{name}": "out();"}))
    viewer = ViewerFiles(tmp_path / "viewer")
    with pytest.raises(ViewerRefused, match="would lie outside"):
        viewer.install(package)
    assert list(tmp_path.rglob("out.js")) == []
    assert list(viewer.folder.iterdir()) == []


def test_files_in_folders_keep_their_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that the package does not name on its own is made."""
    package = trust(monkeypatch, write(tmp_path / "ohif.tgz", {**FILES, "package/dist/a/b/c.svg": "<svg/>"}))
    assert (ViewerFiles(tmp_path / "viewer").install(package) / "a/b/c.svg").read_text() == "<svg/>"


def test_it_is_unpacked_by_the_first_python_that_is_promised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before 3.11.4, as in Debian 12, tarfile takes no filter; the viewer is installed there too."""

    def as_it_was(_self: tarfile.TarFile, _member: tarfile.TarInfo, _path: str = "") -> None:
        raise AssertionError("no filter was given")

    monkeypatch.setattr(tarfile.TarFile, "extract", as_it_was)
    monkeypatch.setattr(tarfile.TarFile, "extractall", as_it_was)
    package = trust(monkeypatch, write(tmp_path / "ohif.tgz", FILES))
    assert ViewerFiles(tmp_path / "viewer").install(package).is_dir()


@pytest.mark.parametrize("files", [{}, {f"package/dist/{INDEX}": "<html></html>"}], ids=["no page", "no bundle"])
def test_a_package_of_another_form_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str]
) -> None:
    """What cannot be made ready is refused, and no half of it is served."""
    package = trust(monkeypatch, write(tmp_path / "ohif.tgz", files))
    viewer = ViewerFiles(tmp_path / "viewer")
    with pytest.raises(ViewerRefused, match="cannot be unpacked"):
        viewer.install(package)
    assert not viewer.is_ready
    assert list(viewer.folder.iterdir()) == []


def test_other_bytes_are_refused(tmp_path: Path) -> None:
    """A package that is not the one this release knows is not opened, nor is one that is not there."""
    package = write(tmp_path / "ohif.tgz", FILES)
    with pytest.raises(ViewerRefused, match="not those of the version"):
        ViewerFiles(tmp_path / "viewer").install(package)
    with pytest.raises(ViewerRefused, match="cannot be read"):
        ViewerFiles(tmp_path / "viewer").install(tmp_path / "none.tgz")
    assert not (tmp_path / "viewer").exists()


def test_the_command_says_what_to_fetch_and_what_it_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a registry at hand, the operator reads what npm has to pack elsewhere, and installs the file."""
    package = trust(monkeypatch, write(tmp_path / "ohif.tgz", FILES))
    home = tmp_path / "home"
    told = CliRunner().invoke(root, ["viewer", "package"])
    assert (told.exit_code, told.output) == (0, f"{PACKAGE}@{VERSION}\n")
    done = CliRunner().invoke(root, ["viewer", "install", str(package), "--home", str(home)])
    assert (done.exit_code, done.output) == (0, f"the viewer is in {home / 'viewer' / VERSION}\n")
    assert ViewerFiles(home / "viewer").is_ready
