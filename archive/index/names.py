"""The folded form of person names, under which they are stored and matched; must not know SQL."""

from __future__ import annotations

from typing import Final

from archive.part10.text import fold

LONGEST_KEY: Final = 512
"""Characters of a name that take part in matching: bounds an index entry (folding may lengthen a text)."""


def name_key(text: str) -> str:
    """Return what a name, or several joined by a backslash, is matched under; see ``archive.part10.text.fold``."""
    return "\\".join(fold(value) for value in text.split("\\"))[:LONGEST_KEY]
