"""What migrates beside a serving archive leaves it room."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from archive.bootstrap_tiering import background_migration_of, lossy_of, sealer_of
from archive.config import Settings
from archive.config_sections import SealingSettings
from archive.config_tiering import ColdSettings, LossySettings
from archive.errors import ConfigError
from archive.opening import open_core
from archive.services.committer import Committer
from archive.services.lossy_copies import LossyCopier
from tiering.budget import DutyCycle
from tiering.transcode import ffmpeg


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


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"sealing": SealingSettings(codec="jpeg-ls")}, "sealing.codec"),
        ({"sealing": SealingSettings(codec="jpeg2000")}, "sealing.codec"),
        ({"lossy": LossySettings(enabled=True, codec="jpeg2000")}, "lossy.codec"),
    ],
)
def test_a_codec_without_its_second_decoder_is_a_wrong_setting(
    settings: dict[str, Any], name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where OpenCV is not installed the setting is refused, with what to install; the default needs none."""
    with open_core(Settings(home=tmp_path / "home", **settings)) as core:
        make = sealer_of if name == "sealing.codec" else lossy_of
        assert make(core) is not None
        monkeypatch.setitem(sys.modules, "cv2", None)
        ffmpeg._library.cache_clear()
        with pytest.raises(ConfigError, match=rf"{name} .*install drimbox-archive\[codecs\]"):
            make(core)
    with open_core(Settings(home=tmp_path / "other")) as core:
        assert (sealer_of(core) is not None, lossy_of(core)) == (True, None)
