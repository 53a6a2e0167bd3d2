"""A stored data set as DICOM JSON (PS3.18 annex F), read once and forward; must not decode pixels nor hold bulk data.

Written straight from the tokens of the data set: a data set of pydicom's for each of 600 images takes three times as
long, and holds what is only referred to. Values of more than ``INLINE_BYTES`` become a BulkDataURI below ``bulk_base``.
"""

from __future__ import annotations

import base64
import json
import math
import struct
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Final

from archive.part10.text import charsets_of, decode_text
from tiering.errors import TranscodeError, UnsupportedConversion
from tiering.transcode.level import Kind, Level, Token
from tiering.transcode.sink import swapped
from tiering.transcode.source import InflatingSource, Source
from tiering.transcode.syntaxes import SOURCES
from tiering.transcode.tokens import Tokens
from tiering.transcode.vr import KNOWN_VRS, PIXEL_DATA, implicit_vr

Json = dict[str, Any]
INLINE_BYTES: Final = 1024
"""The longest binary value that stands in the JSON itself, in base 64."""
_LONGEST_TEXT: Final = 1 << 16
_CHARACTER_SET: Final = 0x00080005
_FLOAT_PIXELS: Final = frozenset({0x7FE00008, 0x7FE00009})
_BINARY: Final = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "UN"})
_ONE_VALUE: Final = frozenset({"LT", "ST", "UR", "UT"})
_NUMBERS: Final = {"FD": "d", "FL": "f", "SL": "i", "SS": "h", "SV": "q", "UL": "I", "US": "H", "UV": "Q"}
_SAFE_INTEGER: Final = (1 << 53) - 1
_NAME_PARTS: Final = ("Alphabetic", "Ideographic", "Phonetic")


@dataclass(slots=True)
class _Scope:
    """A data set being filled, the whole or an item: its elements, its character sets, its place for bulk data."""

    elements: Json
    charsets: tuple[str, ...]
    path: str
    items: list[Json] = field(default_factory=list)
    sequence: str = ""


def to_json(file: BinaryIO, *, source_uid: str, bulk_base: str, known: Mapping[str, Json] | None = None) -> bytes:
    """Return the data set that starts at the position of ``file``, stored in ``source_uid``, as one JSON object.

    ``bulk_base`` ends with a slash; behind it come tags and numbers of items, from 1 on. A data set that is damaged, or
    in a transfer syntax that nobody knows, is told as far as it can be read, and with what is ``known`` of it anyway.
    """
    writer = _Writer(bulk_base)
    with suppress(TranscodeError):  # whoever retrieves the object is told what is wrong with it
        writer.read(file, source_uid)
    root = {**(known or {}), **writer.root}
    return json.dumps(dict(sorted(root.items())), ensure_ascii=False, separators=(",", ":")).encode()


class _Writer:
    def __init__(self, bulk_base: str) -> None:
        self.root: Json = {}
        self._bulk_base = bulk_base
        self._scopes = [_Scope(self.root, (), "")]

    def read(self, file: BinaryIO, source_uid: str) -> None:
        syntax = SOURCES.get(source_uid)
        if syntax is None:
            raise UnsupportedConversion(source_uid=source_uid, target_uid="JSON")
        source = InflatingSource(file) if syntax.encoding.deflated else Source(file)
        for token in Tokens(source, syntax.encoding):
            self._take(token)

    def _take(self, token: Token) -> None:
        scope = self._scopes[-1]
        if token.kind is Kind.VALUE:
            if token.tag & 0xFFFF:
                scope.elements[f"{token.tag:08X}"] = self._element(scope, token)
        elif token.kind is Kind.SEQUENCE:
            scope.sequence, scope.items = f"{token.tag:08X}", []
            scope.elements[scope.sequence] = {"vr": "SQ"}
        elif token.kind is Kind.ITEM:
            new: Json = {}
            scope.items.append(new)
            scope.elements[scope.sequence]["Value"] = scope.items
            self._scopes.append(_Scope(new, scope.charsets, f"{scope.path}{scope.sequence}/{len(scope.items)}/"))
        elif token.kind is Kind.ITEM_END:
            self._scopes.pop()
        elif token.kind is Kind.FRAGMENTS:
            scope.elements[f"{token.tag:08X}"] = self._bulk(scope, token, "OB")

    def _element(self, scope: _Scope, token: Token) -> Json:
        vr = _vr(token)
        if token.tag == _CHARACTER_SET and token.length:
            scope.charsets = charsets_of((token.value or b"").decode("ascii", "replace"))
            return {"vr": "CS", "Value": ["ISO_IR 192"]}
        if not token.length:
            return {"vr": vr}
        is_pixels = token.tag == PIXEL_DATA or token.tag in _FLOAT_PIXELS
        if token.value is None or is_pixels or (vr in _BINARY and token.length > INLINE_BYTES):
            return self._bulk(scope, token, vr)
        if vr in _BINARY:
            return {"vr": vr, "InlineBinary": base64.b64encode(_little(token.level, vr, token.value)).decode("ascii")}
        values = _values(vr, token.value, token.level.encoding.order, scope.charsets)
        return {"vr": vr, "Value": values} if values else {"vr": vr}

    def _bulk(self, scope: _Scope, token: Token, vr: str) -> Json:
        return {"vr": vr, "BulkDataURI": f"{self._bulk_base}{scope.path}{token.tag:08X}"}


def _vr(token: Token) -> str:
    """Return the VR of a value; the dictionary may know what an element is that somebody called UN (PS3.5 6.2.2)."""
    if token.vr in KNOWN_VRS and token.vr != "UN":
        return token.vr
    found = implicit_vr(token.tag, token.level)
    return "UN" if found == "SQ" else found


def _values(vr: str, raw: bytes, order: str, charsets: tuple[str, ...]) -> list[Any]:
    if vr in _NUMBERS:
        return _numbers(_NUMBERS[vr], raw, order)
    if vr == "AT":
        pairs = struct.iter_unpack(order + "HH", raw[: len(raw) - len(raw) % 4])
        return [f"{group:04X}{element:04X}" for group, element in pairs]
    text, _ = decode_text(raw, charsets, vr)
    if vr in _ONE_VALUE:
        only = text.rstrip(" \0")
        return [only] if only else []
    return _several(text, _READERS.get(vr, _text))


def _several(text: str, read: Callable[[str], Any]) -> list[Any]:
    values = [read(part.strip(" \0")) for part in text.split("\\")]
    return values if any(value is not None for value in values) else []


def _numbers(form: str, raw: bytes, order: str) -> list[Any]:
    size = struct.calcsize(form)
    numbers = struct.unpack(f"{order}{len(raw) // size}{form}", raw[: len(raw) - len(raw) % size])
    return [_number(number) for number in numbers]


def _number(number: Any) -> Any:
    """Return a number as JSON has it: none that is not finite, and none that is rounded where it is read (F.2.3)."""
    if isinstance(number, float):
        return number if math.isfinite(number) else None
    return number if abs(number) <= _SAFE_INTEGER else str(number)


def _text(part: str) -> str | None:
    return part or None


def _decimal(part: str) -> Any:
    try:
        return _number(float(part)) if part else None
    except ValueError:
        return part


def _integer(part: str) -> Any:
    try:
        return _number(int(part)) if part else None
    except ValueError:
        return _decimal(part)


def _name(part: str) -> Json | None:
    groups = [group.rstrip("^ ") for group in part.split("=")[:3]]
    return {name: group for name, group in zip(_NAME_PARTS, groups, strict=False) if group} or None


_READERS: Final[Mapping[str, Callable[[str], Any]]] = {"DS": _decimal, "IS": _integer, "PN": _name}


def _little(level: Level, vr: str, raw: bytes) -> bytes:
    """Return a binary value in little endian, which is what InlineBinary is in (F.2.7)."""
    unit = {"OW": 2, "OF": 4, "OL": 4, "OD": 8, "OV": 8}.get(vr, 1)
    return swapped(raw, unit) if level.encoding.big and unit > 1 else raw
