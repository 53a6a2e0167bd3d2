"""The OHIF viewer, the real one, in a real Chromium: what is hot, sealed, or cold and lossy is drawn."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from archive.cli import root
from archive.services.viewer_files import PACKAGE, VERSION
from tests.archive_process import ArchiveProcess, running_archive
from tests.chromium import browsing, running_browser
from tests.conformance.test_cold import CONFIG, go_cold, write_study
from tests.conformance.test_elimination import Desk
from tests.dcmtk import storescu
from tests.npm import packed
from tests.objects import ROOT

HTTP = """
[http]
port = 0
[[http.clients]]
name = "reading-room"
addresses = ["127.0.0.1/32"]
roles = ["radiologist"]
"""
COLD, SEALED, HOT = (f"{ROOT}.{number}" for number in (1, 2, 3))
_SECONDS = 60_000.0


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ArchiveProcess]:
    """Lend an archive with a study in each state, and the viewer installed."""
    folder = tmp_path_factory.mktemp("viewer")
    config = CONFIG.format(lossy="true") + HTTP
    with running_archive(folder / "home", config=config) as archive:
        desk = Desk(archive)
        desk.people(f"sqlite:///{archive.home / 'index.db'}")
        desk.drimbox("cold", "create")
        for number in (1, 2, 3):
            sent = folder / str(number)
            write_study(sent, study=number, on="20200302" if number == 1 else "20260901")
            assert storescu(archive, "+sd", sent).returncode == 0
            if number == 1:
                go_cold(desk)
            if number == 2:
                desk.drimbox("tier", "seal", "--apply", "--as", "olga")
        desk.drimbox("viewer", "install", str(packed(f"{PACKAGE}@{VERSION}")))
        yield archive


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Lend Chromium."""
    with running_browser() as browser:
        yield browser


def show(page: Page, archive: ArchiveProcess, study: str) -> set[str]:
    """Open a study in the viewer and wait for its images; return the hosts that were asked for anything."""
    asked: set[str] = set()
    page.on("request", lambda request: asked.add(request.url.split("/")[2] if "://" in request.url else ""))
    page.goto(f"http://127.0.0.1:{archive.http_port}/viewer/viewer?StudyInstanceUIDs={study}")
    expect(page.locator("canvas.cornerstone-canvas").first).to_be_visible(timeout=_SECONDS)
    expect(page.get_by_text(re.compile(r"I:\s*\d+ \(1/6\)")).first).to_be_visible(timeout=_SECONDS)
    return asked


def drawn(page: Page) -> int:
    """Return how many shades the viewport has, once it has more than two."""
    canvas = page.locator("canvas.cornerstone-canvas").first
    for _ in range(100):
        pixels = np.asarray(Image.open(io.BytesIO(canvas.screenshot())).convert("L"))
        shades = len(np.unique(pixels[pixels.shape[0] // 4 : -pixels.shape[0] // 4]))
        if shades > 40:
            return shades
        page.wait_for_timeout(100)
    return shades


@pytest.mark.parametrize(("study", "is_lossy"), [(HOT, False), (SEALED, False), (COLD, True)])
def test_the_viewer_draws(archive: ArchiveProcess, browser: Browser, study: str, *, is_lossy: bool) -> None:
    """A study is drawn whatever state it is in, a lossy one says so on screen, nobody outside is asked."""
    with browsing(browser) as page:
        asked = show(page, archive, study)
        assert drawn(page) > 40
        notice = page.get_by_text(re.compile(r"Lossy compression \d+(\.\d)?:1"))
        if is_lossy:
            expect(notice).to_be_visible(timeout=_SECONDS)
        else:
            assert notice.count() == 0
    assert {host for host in asked if host} <= {f"127.0.0.1:{archive.http_port}"}


def test_the_notice_is_french_for_the_french(archive: ArchiveProcess, browser: Browser) -> None:
    """Where the browser is French, the lossy image says so in French."""
    with browsing(browser, locale="fr-FR") as page:
        show(page, archive, COLD)
        expect(page.get_by_text(re.compile(r"Compression avec perte \d+(,\d)?:1"))).to_be_visible(timeout=_SECONDS)


def test_the_viewer_leaves_its_folder_to_nobody(archive: ArchiveProcess) -> None:
    """No path leads out of the viewer's folder, and a file that is not there is not the page."""
    with httpx.Client(base_url=f"http://127.0.0.1:{archive.http_port}") as client:
        for path in (
            "/viewer/../drimbox.toml",
            "/viewer/%2e%2e/%2e%2e/index.db",
            "/viewer/..%2f..%2findex.db",
            "/viewer/x.js",
        ):
            assert client.get(path).status_code == 404, path
        page = client.get("/viewer/a/b")
        assert page.status_code == 200
        assert "<script>" not in page.text
        assert "unsafe-eval'" not in page.headers["content-security-policy"].replace("wasm-unsafe-eval", "")
        assert client.post("/viewer/").status_code == 405


def test_scripts_are_kept_and_come_compressed(archive: ArchiveProcess) -> None:
    """A slow line fetches a script once, compressed; the page itself is asked for again."""
    with httpx.Client(base_url=f"http://127.0.0.1:{archive.http_port}") as client:
        page = client.get("/viewer/")
        bundle = re.search(r"/viewer/app\.bundle\.[0-9a-f]+\.js", page.text)
        assert bundle is not None
        answer = client.get(bundle[0], headers={"accept-encoding": "gzip"})
        assert answer.headers["content-encoding"] == "gzip"
        assert "immutable" in answer.headers["cache-control"]
        assert page.headers["cache-control"] == "private, no-cache"
        plain = client.get(bundle[0], headers={"accept-encoding": "identity"})
        assert plain.content == answer.content


def test_another_package_is_refused(tmp_path: Path) -> None:
    """A package whose bytes this release does not know is not unpacked."""
    from click.testing import CliRunner

    fake = tmp_path / "ohif.tgz"
    fake.write_bytes(b"not it")
    done = CliRunner().invoke(root, ["viewer", "install", str(fake), "--home", str(tmp_path / "home")])
    assert done.exit_code == 39
    assert "./run viewer" in done.stderr
    assert not (tmp_path / "home" / "viewer").exists()
