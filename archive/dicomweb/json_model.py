"""Writes rows of the index in the DICOM JSON Model (PS3.18 annex F); must not know HTTP or the index."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any, Final

from pydicom.datadict import dictionary_VR, tag_for_keyword

MEDIA_TYPE: Final = "application/dicom+json"

_WHOLE: Final = frozenset(("IS", "SL", "SS", "SV", "UL", "US", "UV"))
_DECIMAL: Final = frozenset(("DS", "FD", "FL"))
_ONE_TEXT: Final = frozenset(("LT", "ST", "UT", "UR"))
_GROUPS: Final = ("Alphabetic", "Ideographic", "Phonetic")


def row_json(row: Mapping[str, str]) -> bytes:
    """Return one answer of a query: keyword -> text, several values separated by backslashes; no value is told empty.

    Keywords that are not in the standard's dictionary are left out.
    """
    return dumps({tag: _element(vr, row[keyword]) for tag, vr, keyword in _shape(tuple(row))})


def dumps(model: object) -> bytes:
    """Return JSON as it goes out: UTF-8, no blanks."""
    return json.dumps(model, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def array(objects: Iterable[bytes]) -> bytes:
    """Return the JSON array of objects that are written already."""
    return b"[" + b",".join(objects) + b"]"


@lru_cache(maxsize=256)
def _shape(keywords: tuple[str, ...]) -> tuple[tuple[str, str, str], ...]:
    """Return tag, VR and keyword of what a row tells, in the order of the tags (annex F.2.2)."""
    known = ((tag_for_keyword(keyword), keyword) for keyword in keywords)
    return tuple(
        (f"{tag:08X}", dictionary_VR(tag)[:2], keyword)
        for tag, keyword in sorted((tag, keyword) for tag, keyword in known if tag is not None)
    )


def _element(vr: str, text: str) -> dict[str, Any]:
    if not text:
        return {"vr": vr}
    values = [text] if vr in _ONE_TEXT else text.split("\\")
    return {"vr": vr, "Value": [_value(vr, value) for value in values]}


def _value(vr: str, text: str) -> Any:
    """Return one value (table F.2.3-1); a number that is none stays the text it is, JSON has room for it."""
    if not text:
        return None
    if vr == "PN":
        return {group: part for group, part in zip(_GROUPS, text.split("="), strict=False) if part}
    if vr in _WHOLE:
        return _number(text, int)
    return _number(text, float) if vr in _DECIMAL else text


def _number(text: str, kind: Callable[[str], float]) -> float | str:
    try:
        number = kind(text)
    except ValueError:
        return text.strip()
    # JSON has neither infinity nor NaN; a low line between digits is Python's and no DICOM.
    return number if abs(number) < float("inf") and "_" not in text else text.strip()
