"""What people searched for, under names that tell nothing; must not know what is searched.

A search is about a patient, so no address may hold it. A page that answers a form cannot be gone back to, though, nor
loaded again without sending the form once more: the form leads to a page whose address has a random name instead.
"""

from __future__ import annotations

import secrets
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

MOST: Final = 1000
_NAME_BYTES: Final = 12
_LONGEST: Final = 1000


@dataclass(frozen=True, slots=True)
class Searches:
    """Keeps the last ``MOST`` searches of everybody in memory: who goes back to an older one gets an empty form."""

    _kept: OrderedDict[str, tuple[str, Mapping[str, str]]] = field(default_factory=OrderedDict, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def keep(self, person: str, told: Mapping[str, str]) -> str:
        """Keep what a person searched for, and return its name."""
        name = secrets.token_urlsafe(_NAME_BYTES)
        with self._lock:
            self._kept[name] = (person, {key: text[:_LONGEST] for key, text in told.items()})
            while len(self._kept) > MOST:
                self._kept.popitem(last=False)
        return name

    def recall(self, person: str, name: str) -> Mapping[str, str] | None:
        """Return what the person searched for under a name; None for what is forgotten, or was somebody else's."""
        with self._lock:
            owner, told = self._kept.get(name, ("", None))
        return told if owner == person else None
