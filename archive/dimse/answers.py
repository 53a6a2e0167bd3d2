"""Encodes the answers of one query, all of the same shape, quickly; must not know where their values come from.

``identifier.encode_identifier`` writes any values, at a cost for each element. Here tags, VRs and headers are worked
out once a query and each answer only joins bytes, in the character set the query was written in when that holds them.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Final, NamedTuple

from pydicom.charset import python_encoding
from pydicom.datadict import dictionary_VR, tag_for_keyword

from archive.part10.syntax import DEFLATED, VR_IS_LONG, Layout, layout_of
from archive.part10.text import charsets_of, narrowest_charset

_CHARACTER_SET: Final = "SpecificCharacterSet"
_CHARACTER_SET_TAG: Final = 0x00080005
_TEXT: Final = frozenset(("LO", "LT", "PN", "SH", "ST", "UC", "UT"))
_ASCII: Final = frozenset(("AE", "AS", "CS", "DA", "DS", "DT", "IS", "TM", "UI", "UR"))
_NUMBERS: Final = {"US": "H", "SS": "h", "UL": "I", "SL": "i"}
_LONGEST: Final = 0xFFFE
_PREFERABLE: Final = frozenset(
    ("100", "101", "109", "110", "126", "127", "138", "144", "148", "166", "192", "GB18030", "GBK")
)
"""Sets that need no escape sequences: those an answer may be in because the query was."""


class _Element(NamedTuple):
    """How one element of every answer is written: ``head`` is all but the length and the value."""

    tag: int
    keyword: str
    vr: str
    head: bytes
    length: struct.Struct
    padding: bytes
    empty: bytes


class AnswerEncoder:
    """Writes answers with the elements ``keywords`` in one transfer syntax.

    ``charset`` is the Specific Character Set of the query: answers it can hold are in it. Keywords the standard's
    dictionary does not have are left out, sequences have no item.
    """

    def __init__(self, keywords: Iterable[str], transfer_syntax_uid: str, *, charset: str = "") -> None:
        layout = layout_of(transfer_syntax_uid)
        self._deflates = transfer_syntax_uid in DEFLATED
        self._mark = "<" if layout.little_endian else ">"
        self._charset = _preferable(charset)
        tags = ((tag_for_keyword(keyword), keyword) for keyword in {*keywords} - {_CHARACTER_SET})
        self._elements = sorted(_element(tag, keyword, layout) for tag, keyword in tags if tag is not None)
        self._charset_element = _element(_CHARACTER_SET_TAG, _CHARACTER_SET, layout)

    def encode(self, values: Mapping[str, str]) -> bytes:
        """Return one answer; an element without a value is there, empty."""
        charset = self._charset_for(values)
        codec = python_encoding.get(charset, "ascii")
        parts = [_written(self._charset_element, charset.encode())] if charset else []
        for element in self._elements:
            text = values.get(element.keyword)
            if not text:
                parts.append(element.empty)
            elif text.isascii() and element.vr not in _NUMBERS:
                parts.append(_written(element, text.encode()))
            else:
                parts.append(_written(element, self._value(text, element.vr, codec)))
        raw = b"".join(parts)
        return deflate(raw) if self._deflates else raw

    def _charset_for(self, values: Mapping[str, str]) -> str:
        """Return the query's character set when it holds the answer, else the narrowest; none for plain ASCII."""
        if "".join(values.values()).isascii():
            return ""
        texts = [values.get(element.keyword, "") for element in self._elements if element.vr in _TEXT]
        joined = "".join(texts)
        if self._charset and not joined.isascii() and _holds(self._charset, joined):
            return self._charset
        return narrowest_charset(texts)

    def _value(self, text: str, vr: str, codec: str) -> bytes:
        if vr in _NUMBERS:
            return _packed(text, self._mark + _NUMBERS[vr])
        return text.encode(codec if vr in _TEXT else "ascii", "replace")


def query_charset(raw: bytes, transfer_syntax_uid: str) -> str:
    """Return the Specific Character Set an identifier begins with, or nothing; never raises."""
    layout = layout_of(transfer_syntax_uid)
    mark = "<" if layout.little_endian else ">"
    start = 12 if raw[:4] == struct.pack(mark + "HH", 8, 0) else 0  # a group length comes first
    if len(raw) < start + 8 or raw[start : start + 4] != struct.pack(mark + "HH", 8, 5):
        return ""
    (length,) = struct.unpack_from(mark + ("I" if layout.implicit else "2xH"), raw, start + 4)
    return raw[start + 8 : start + 8 + length].decode("latin_1").strip("\0 ")


@lru_cache(maxsize=1024)
def _element(tag: int, keyword: str, layout: Layout) -> _Element:
    vr, mark = dictionary_VR(tag)[:2], "<" if layout.little_endian else ">"
    is_long = layout.implicit or VR_IS_LONG[vr.encode()]
    length = struct.Struct(mark + ("I" if is_long else "H"))
    head = struct.pack(mark + "HH", tag >> 16, tag & 0xFFFF)
    if not layout.implicit:
        head += vr.encode() + (b"\0\0" if is_long else b"")
    return _Element(tag, keyword, vr, head, length, b"\0" if vr == "UI" else b" ", head + length.pack(0))


def _written(element: _Element, value: bytes) -> bytes:
    """Return one element, its value of even length (PS3.5 section 7.1)."""
    if element.vr not in _TEXT and element.vr not in _ASCII and element.vr not in _NUMBERS:
        return element.empty
    if len(value) % 2:
        value += element.padding
    if len(value) > _LONGEST:
        value = value[:_LONGEST]
    return element.head + element.length.pack(len(value)) + value


def _preferable(charset: str) -> str:
    """Return the defined term of a single set without code extensions, or nothing."""
    terms = [term for term in charsets_of(charset) if term != "ISO 2022 IR 6"]
    number = terms[0].rpartition(" ")[2] if len(terms) == 1 else ""
    if number not in _PREFERABLE:
        return ""
    return f"ISO_IR {number}" if number.isdecimal() else number


def _holds(charset: str, text: str) -> bool:
    try:
        text.encode(python_encoding[charset])
    except UnicodeEncodeError:
        return False
    return True


def _packed(text: str, code: str) -> bytes:
    """Return the numbers of ``text``, or nothing when it is none: the index holds what odd objects said."""
    try:
        return b"".join(struct.pack(code, int(part)) for part in text.split("\\"))
    except (ValueError, struct.error):
        return b""


def deflate(raw: bytes) -> bytes:
    """Deflate without a zlib header, padded to even length (PS3.5 annex A.5)."""
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    packed = packer.compress(raw) + packer.flush()
    return packed + b"\0" * (len(packed) % 2)
