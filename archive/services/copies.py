"""Which file a copy lies in, and where; must not read or judge it."""

from __future__ import annotations

from pathlib import Path

from archive.index.records import StoredLocation
from tiering.landing import pack_path, path_of


def file_of(hot_root: Path, location: StoredLocation) -> Path:
    """Return the file of a hot copy: its own, or the pack that holds it. Raises ValueError for a key that is none."""
    if location.pack_key is None:
        return path_of(hot_root, location.key)
    return pack_path(hot_root, location.pack_key)
