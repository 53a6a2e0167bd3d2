"""Has axe-core (npm, MPL-2.0, for tests alone) look for what keeps people from using a page; must not be shipped."""

from __future__ import annotations

import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Final, Literal

from playwright.sync_api import Page

VERSION: Final = "4.10.3"
_RULES: Final = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]


@cache
def script() -> str:
    """Return axe-core, installed once at a fixed version."""
    folder = Path.home() / ".cache" / "drimbox-tests" / f"axe-core-{VERSION}"
    file = folder / "node_modules" / "axe-core" / "axe.min.js"
    if not file.is_file():
        npm = shutil.which("npm")
        assert npm is not None, "node and npm are needed to check pages with axe-core"
        folder.mkdir(parents=True, exist_ok=True)
        quiet = ["--no-save", "--no-audit", "--no-fund", "--prefix", str(folder)]
        subprocess.run([npm, "install", *quiet, f"axe-core@{VERSION}"], check=True, capture_output=True)
    return file.read_text(encoding="utf-8")


def violations(page: Page) -> list[str]:
    """Return what a page breaks of WCAG 2.2 A and AA, in light and in dark: the rule and the first elements."""
    page.evaluate(script())  # as a debugger does: the page's own policy forbids scripts in it
    page.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")
    found = _run(page, "light", {"type": "tag", "values": _RULES})
    return found + _run(page, "dark", {"type": "rule", "values": ["color-contrast"]})


def _run(page: Page, scheme: Literal["light", "dark"], only: dict[str, object]) -> list[str]:
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    found = page.evaluate("only => axe.run({runOnly: only, resultTypes: ['violations']})", only)
    return [
        f"{page.url} {scheme} {each['id']}: {each['help']}: {[node['html'][:160] for node in each['nodes'][:3]]}"
        for each in found["violations"]
    ]
