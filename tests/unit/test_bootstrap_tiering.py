"""What migrates beside a serving archive leaves it room."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from archive.bootstrap_tiering import background_migration_of
from archive.config import Settings
from archive.config_tiering import ColdSettings, LossySettings
from archive.opening import open_core
from archive.services.committer import Committer
from archive.services.lossy_copies import LossyCopier
from tiering.budget import DutyCycle


def test_images_that_come_in_go_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before each frame the worker lets pass what comes in, and after its work it rests for its share."""
    looks: list[int] = []

    def is_receiving(_committer: Committer) -> bool:
        looks.append(1)
        return len(looks) < 4

    monkeypatch.setattr(Committer, "is_receiving", property(is_receiving))
    cold = ColdSettings(store="folder", folder=tmp_path / "cold")
    settings = Settings(home=tmp_path / "home", cold=cold, lossy=LossySettings(enabled=True))
    with open_core(settings) as core:
        migration = background_migration_of(core, threading.Event())
        copier = migration.migrator.lossy
    assert isinstance(copier, LossyCopier)
    copier.pause()
    assert len(looks) == 4
    assert isinstance(getattr(migration.rest, "__self__", None), DutyCycle)
