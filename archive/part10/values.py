"""Turns the raw values of indexed attributes into normalised text; must not look for elements in a data set."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Sequence
from typing import NamedTuple

from archive.part10.attributes import Attribute, InstanceHeader
from archive.part10.text import charsets_of, decode_text

LONGEST_TEXT = 512
"""Characters kept of one value: more than any indexed VR allows, and less than a database index entry may hold."""

_PADDING = "\0 \t\r\n"
_ESC = 0x1B
_ODD_OR_LONG = ~(LONGEST_TEXT - 2)
_NUMBER_FORMATS = {b"US": "H", b"SS": "h", b"UL": "I", b"SL": "i", b"UV": "Q", b"SV": "q", b"FL": "f", b"FD": "d"}
_UNTYPED_VRS = frozenset((b"UN", b"OB"))
_NOT_TEXT_VRS = frozenset((b"SQ", b"AT", b"OD", b"OF", b"OL", b"OV", b"OW"))
_LEGACY_DATE = re.compile(r"(\d{4})[.\-/](\d{2})[.\-/](\d{2})")


class Wanted(NamedTuple):
    """An attribute prepared for the loops: VR as bytes, and what its text still needs after stripping."""

    tag: int
    keyword: str
    vr: bytes
    finish: Callable[[str], str] | None


Element = tuple[Wanted, bytes, bytes]
"""One element found: what was wanted, the VR it has (the expected one in implicit VR), the bytes of its value."""


def prepare(attribute: Attribute) -> Wanted:
    """Return ``attribute`` in the form the loops want."""
    finish = {"DA": _plain_date, "PN": _plain_name, "TM": _plain_time}.get(attribute.vr)
    return Wanted(attribute.tag, attribute.keyword, attribute.vr.encode(), finish)


def read_values(elements: Sequence[Element], *, little_endian: bool, flags: set[str]) -> InstanceHeader:
    """Return the header made of ``elements`` in the order they were found; never raises.

    The last non-empty one of repeated elements wins. ``flags`` are the caller's, more are added.
    """
    values: dict[str, str] = {}
    charsets: tuple[str, ...] | None = None
    last_tag = 0
    for element in elements:
        (tag, keyword, expected_vr, finish), vr, raw = element
        if tag <= last_tag:
            flags.add("tags")
        last_tag = tag
        if vr == b"US" and len(raw) == 2:
            text = str(raw[0] | raw[1] << 8 if little_endian else raw[1] | raw[0] << 8)
        elif vr != expected_vr or vr == b"US" or len(raw) & _ODD_OR_LONG or _ESC in raw or not raw.isascii():
            if charsets is None:
                charsets = charsets_of(_character_set(elements))
            text = _read_with_care(element, charsets, little_endian, flags)
        else:
            text = raw.decode("ascii").strip(_PADDING)
            if "\\" in text or "\0" in text:
                text = _strip_each(text)
            if finish is not None:
                text = finish(text)
        if text:
            values[keyword] = text
    return InstanceHeader(values, tuple(sorted(flags)) if flags else ())


def _read_with_care(element: Element, charsets: tuple[str, ...], little_endian: bool, flags: set[str]) -> str:
    (_, _, expected_vr, finish), vr, raw = element
    if vr != expected_vr or len(raw) & 1 or len(raw) > 4 * LONGEST_TEXT:
        flags.add("vr")
    vr = expected_vr if vr in _UNTYPED_VRS else vr
    raw = raw[: 4 * LONGEST_TEXT]
    if vr in _NUMBER_FORMATS:
        return _decimal_text(raw, _NUMBER_FORMATS[vr], little_endian)
    if vr in _NOT_TEXT_VRS:
        return ""
    text, clean = decode_text(raw, charsets, vr.decode("latin_1"))
    if not clean:
        flags.add("charset")
    text = _strip_each(text)
    if len(text) > LONGEST_TEXT:
        flags.add("vr")
    return (finish(text) if finish else text)[:LONGEST_TEXT].rstrip(_PADDING)


def _character_set(elements: Sequence[Element]) -> str:
    for wanted, _, raw in elements:
        if wanted.keyword == "SpecificCharacterSet":
            return raw[:LONGEST_TEXT].decode("latin_1")
    return ""


def _strip_each(text: str) -> str:
    """Strip each of several values; NUL inside a value becomes a space (no database text may hold one)."""
    values = [value.strip(_PADDING) for value in text.replace("\0", " ").split("\\")]
    return "\\".join(values) if any(values) else ""


def _plain_date(text: str) -> str:
    """Return DA as YYYYMMDD, also from the ACR-NEMA form 1990.02.14 (PS3.5 section 6.2, note)."""
    return text if text.isdigit() else _LEGACY_DATE.sub(r"\1\2\3", text)


def _plain_time(text: str) -> str:
    """Return TM as HHMMSS.FFFFFF, also from the ACR-NEMA form 10:15:00 (PS3.5 section 6.2, note)."""
    return text if text.isdigit() else text.replace(":", "").replace(" ", "")


def _plain_name(text: str) -> str:
    """Return PN without empty component groups at its end, or nothing when it has delimiters only."""
    return text.rstrip("=") if text.strip("^=\\ ") else ""


def _decimal_text(raw: bytes, code: str, little_endian: bool) -> str:
    size = struct.calcsize(code)
    count = min(len(raw) // size, 16)
    numbers = struct.unpack_from(f"{'<' if little_endian else '>'}{count}{code}", raw)
    return "\\".join(format(number, "g") if isinstance(number, float) else str(number) for number in numbers)
