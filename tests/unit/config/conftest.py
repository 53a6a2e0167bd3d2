"""A bare environment, and a way to load a configuration from text."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from archive.config import Settings, load_settings
from tests.unit.config.samples import Load


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.upper().startswith("DRIMBOX_"):
            monkeypatch.delenv(name)


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Write a configuration file and load it with a home beside it."""

    def write_and_load(text: str = "", **overrides: object) -> Settings:
        file = tmp_path / "some.toml"
        file.write_text(text, encoding="utf-8")
        return load_settings(file, {"home": tmp_path / "home", **overrides})

    return write_and_load
