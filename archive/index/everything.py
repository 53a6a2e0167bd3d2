"""What can be told of an entity at each level, as a query asks for all of it; must not run a query."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

from archive.index.derived import DERIVED
from archive.index.keys import KEYS, Level

_LEVELS: Final[Mapping[Literal["STUDY", "SERIES", "IMAGE"], Level]] = {
    "STUDY": Level.STUDY,
    "SERIES": Level.SERIES,
    "IMAGE": Level.IMAGE,
}


def _all_of(level: Level) -> tuple[str, ...]:
    stored = [keyword for keyword, key in KEYS.items() if key.level <= level]
    derived = [keyword for keyword, each in DERIVED.items() if Level.STUDY <= each.level <= level]
    return (*stored, *derived, "InstanceAvailability")


EVERYTHING: Final[Mapping[Literal["STUDY", "SERIES", "IMAGE"], tuple[str, ...]]] = {
    name: _all_of(level) for name, level in _LEVELS.items()
}
"""The keywords of a level and of those above it; not the counts over all of a patient's studies: they cross sites."""
