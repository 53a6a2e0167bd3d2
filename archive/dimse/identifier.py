"""Identifiers (the data sets of C-FIND, C-MOVE and C-GET) to text by keyword and back; must not know what keys mean.

Reading elements is pydicom's; text is decoded as that of stored objects is. Writing is ours: an answer is a few dozen
short elements, and there may be ten thousand answers.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Mapping
from functools import lru_cache
from io import BytesIO
from typing import Final, NamedTuple

from pydicom.charset import python_encoding
from pydicom.datadict import dictionary_VR, keyword_for_tag, tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.filereader import data_element_generator

from archive.errors import InvalidIdentifier
from archive.part10.syntax import DEFLATED, VR_IS_LONG, Layout, layout_of
from archive.part10.text import charsets_of, decode_text, narrowest_charset

_CHARACTER_SET: Final = "SpecificCharacterSet"
_FIRST_GROUP: Final = 0x0008
_INFLATED_LIMIT: Final = 8 * 1024 * 1024
_LONGEST_SHORT_VALUE: Final = 0xFFFE
_PADDING: Final = "\0 \t\r\n"
_UNTYPED: Final = frozenset(("UN", "OB"))
_NOT_TEXT: Final = frozenset(("SQ", "AT", "OB", "OD", "OF", "OL", "OV", "OW", "UN"))
_NUMBERS: Final = {"US": "H", "SS": "h", "UL": "I", "SL": "i", "UV": "Q", "SV": "q", "FL": "f", "FD": "d"}


class _Definition(NamedTuple):
    """An element of the standard's dictionary; sorts by tag."""

    tag: int
    vr: str
    keyword: str


def decode_identifier(raw: bytes, transfer_syntax: str) -> Mapping[str, str]:
    """Return the keys of an identifier, keyword -> text, "" for a universal key; raise InvalidIdentifier.

    Several values are joined by a backslash. Private and unknown elements are left out, so is Specific Character Set,
    which says how the others are read. A sequence is a universal key whatever its items say.
    """
    layout = layout_of(transfer_syntax)
    elements = _elements(_inflate(raw) if transfer_syntax in DEFLATED else raw, layout)
    charsets = charsets_of((elements.pop(_CHARACTER_SET, ("CS", b""))[1]).decode("latin_1"))
    return {keyword: _text(vr, value, charsets, layout) for keyword, (vr, value) in elements.items()}


def encode_identifier(values: Mapping[str, str], transfer_syntax: str) -> bytes:
    """Return a data set of ``values`` (keyword -> text) in the narrowest character set that holds them.

    Keywords that are not in the standard's dictionary are left out; sequences are written without items.
    """
    texts = {keyword: text for keyword, text in values.items() if keyword != _CHARACTER_SET}
    charset = narrowest_charset(texts.values())
    if charset:
        texts[_CHARACTER_SET] = charset
    codec = python_encoding.get(charset, "ascii")
    layout = layout_of(transfer_syntax)
    known = sorted(found for keyword in texts if (found := _definition(keyword)) is not None)
    raw = b"".join(_element(definition, texts[definition.keyword], codec, layout) for definition in known)
    return _deflate(raw) if transfer_syntax in DEFLATED else raw


def _elements(raw: bytes, layout: Layout) -> dict[str, tuple[str, bytes]]:
    try:
        return dict(_iter_elements(raw, layout))
    except InvalidIdentifier:
        raise
    except Exception as exc:  # the parser meets hostile bytes: any failure of it is the peer's
        raise InvalidIdentifier(reason="it cannot be parsed") from exc


def _iter_elements(raw: bytes, layout: Layout) -> Iterator[tuple[str, tuple[str, bytes]]]:
    """Yield keyword, VR and value bytes of every element the dictionary knows."""
    for element in data_element_generator(BytesIO(raw), layout.implicit, layout.little_endian):
        value = element.value if isinstance(element, RawDataElement) else b""
        if isinstance(element, RawDataElement) and element.length != 0xFFFFFFFF and len(value or b"") < element.length:
            raise InvalidIdentifier(reason="it is cut short")
        definition = _definition(keyword_for_tag(element.tag))
        if element.tag >> 16 >= _FIRST_GROUP and definition is not None:
            vr = definition.vr if element.VR is None or element.VR in _UNTYPED else str(element.VR)
            yield definition.keyword, (vr, value or b"")


@lru_cache(maxsize=1024)
def _definition(keyword: str) -> _Definition | None:
    tag = tag_for_keyword(keyword) if keyword else None
    return None if tag is None or tag & 0xFFFF == 0 else _Definition(tag, dictionary_VR(tag)[:2], keyword)


def _text(vr: str, value: bytes, charsets: tuple[str, ...], layout: Layout) -> str:
    if vr in _NUMBERS:
        return _decimals(value, _NUMBERS[vr], layout)
    if vr in _NOT_TEXT or not value:
        return ""
    text, _ = decode_text(value, charsets, vr)
    values = [part.strip(_PADDING) for part in text.replace("\0", " ").split("\\")]
    return "\\".join(values) if any(values) else ""


def _decimals(value: bytes, code: str, layout: Layout) -> str:
    count = len(value) // struct.calcsize(code)
    numbers = struct.unpack_from(f"{_mark(layout)}{count}{code}", value)
    return "\\".join(format(number, "g") if isinstance(number, float) else str(number) for number in numbers)


def _element(definition: _Definition, text: str, codec: str, layout: Layout) -> bytes:
    vr, mark = definition.vr, _mark(layout)
    value = _value(vr, text, codec, mark)
    group, element = definition.tag >> 16, definition.tag & 0xFFFF
    if layout.implicit:
        return struct.pack(f"{mark}HHI", group, element, len(value)) + value
    if len(value) > _LONGEST_SHORT_VALUE and not VR_IS_LONG[vr.encode()]:
        vr = "UN"  # PS3.5 section 6.2.2, note 7: too long for the length field its own VR has
    if VR_IS_LONG[vr.encode()]:
        return struct.pack(f"{mark}HH2sHI", group, element, vr.encode(), 0, len(value)) + value
    return struct.pack(f"{mark}HH2sH", group, element, vr.encode(), len(value)) + value


def _value(vr: str, text: str, codec: str, mark: str) -> bytes:
    if not text or vr in _NOT_TEXT:
        return b""
    if vr in _NUMBERS:
        return _packed(text, _NUMBERS[vr], mark)
    value = text.encode(codec, "replace")
    return value + (b"\0" if vr == "UI" else b" ") if len(value) % 2 else value


def _packed(text: str, code: str, mark: str) -> bytes:
    """Return the numbers of ``text``, or nothing when it is none (the index holds what odd objects said)."""
    kind = float if code in "fd" else int
    try:
        return b"".join(struct.pack(mark + code, kind(part)) for part in text.split("\\"))
    except (ValueError, OverflowError, struct.error):
        return b""


def _mark(layout: Layout) -> str:
    return "<" if layout.little_endian else ">"


def _inflate(raw: bytes) -> bytes:
    try:
        inflated = zlib.decompressobj(-zlib.MAX_WBITS).decompress(raw, _INFLATED_LIMIT + 1)
    except zlib.error as exc:
        raise InvalidIdentifier(reason="it cannot be inflated") from exc
    if len(inflated) > _INFLATED_LIMIT:
        raise InvalidIdentifier(reason=f"it inflates to more than {_INFLATED_LIMIT} bytes")
    return inflated


def _deflate(raw: bytes) -> bytes:
    """Deflate without a zlib header, padded to even length (PS3.5 annex A.5)."""
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    packed = packer.compress(raw) + packer.flush()
    return packed + b"\0" * (len(packed) % 2)
