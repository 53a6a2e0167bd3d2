"""A data set as a flat run of tokens, read once and forward; must not decode pixels nor write anything."""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from tiering.errors import ConversionTooLarge, MalformedDataset
from tiering.transcode.level import Kind, Level, Token
from tiering.transcode.source import Source
from tiering.transcode.syntaxes import EXPLICIT_LITTLE, IMPLICIT_LITTLE, Encoding
from tiering.transcode.vr import KNOWN_VRS, LONG_VRS, PIXEL_DATA, UNDEFINED, implicit_vr

ITEM: Final = 0xFFFEE000
ITEM_DELIMITER: Final = 0xFFFEE00D
SEQUENCE_DELIMITER: Final = 0xFFFEE0DD
ITEM_BYTES: Final = struct.pack("<HH", ITEM >> 16, ITEM & 0xFFFF)

SMALL_BYTES: Final = 1 << 16
"""Values up to this size come with their token; longer ones are left in the source to be copied."""
DEPTH_LIMIT: Final = 128
"""Levels and sequences open at once: no object known nests a tenth as deep."""
FRAGMENT_LIMIT: Final = 1 << 20

_EXPLICIT: Final = {order: struct.Struct(order + "HH2sH") for order in "<>"}
_IMPLICIT: Final = {order: struct.Struct(order + "HHI") for order in "<>"}


@dataclass(slots=True)
class Items:
    """The inside of a sequence, between its items."""

    end: int | None
    encoding: Encoding
    level: Level


class Tokens:
    """Iterates over a data set; raises MalformedDataset as soon as the bytes contradict their encoding.

    A caller may read any part of a long value, and may go anywhere in a seekable source: the next step starts behind
    the token's value. Sequences come item by item whether their lengths are defined or not, and so do elements of VR
    UN and undefined length, which hold implicit VR little endian (PS3.5 6.2.2). `values` is what the root is known
    to hold before it is read.
    """

    def __init__(self, source: Source, encoding: Encoding, values: Mapping[int, bytes] | None = None) -> None:
        self._source = source
        self._behind = source.position
        self.root = Level(source.position, None, _true_encoding(source, encoding), values=dict(values or {}))
        self._stack: list[Level | Items] = [self.root]

    def __iter__(self) -> Iterator[Token]:
        while (token := self._step()) is not None:
            yield token
            if token.kind is Kind.FRAGMENTS or (token.kind is Kind.VALUE and token.value is None):
                self._source.seek(self._behind)
            if token.tag:
                token.level.previous = token.tag

    def _step(self) -> Token | None:
        scope = self._stack[-1]
        if scope.end is not None and self._source.position >= scope.end:
            return self._close(scope)
        if isinstance(scope, Items):
            return self._item(scope)
        if scope is self.root and self._nothing_left():
            return None
        return self._element(scope)

    def _nothing_left(self) -> bool:
        """Return whether the data set is over; up to seven NUL bytes behind its last element are padding."""
        rest = self._source.find_rest(8)
        return rest is not None and not any(rest)

    def _close(self, scope: Level | Items) -> Token:
        if scope.end is not None and self._source.position > scope.end:
            raise self._malformed("a value reaches beyond the item or sequence it is in")
        self._stack.pop()
        if isinstance(scope, Items):
            return Token(Kind.SEQUENCE_END, scope.level)
        return Token(Kind.ITEM_END, scope)

    def _element(self, level: Level) -> Token:
        tag, stated, length = self._header(level.encoding)
        if tag == ITEM_DELIMITER and level.parent is not None and level.end is None:
            return self._close(level)
        if tag >> 16 == 0xFFFE:
            raise self._malformed("an item or a delimiter stands where an element is expected")
        vr = stated or implicit_vr(tag, level)
        if length == UNDEFINED:
            return self._undefined(level, tag, vr, stated)
        self._behind = self._reach(length)
        if vr != "SQ":
            return self._value(level, tag, vr, length)
        if not stated and length and self._source.peek(4) != ITEM_BYTES:
            return self._value(level, tag, "UN", length)
        return self._open_sequence(level, tag, self._behind, level.encoding)

    def _value(self, level: Level, tag: int, vr: str, length: int) -> Token:
        if length > SMALL_BYTES:
            return Token(Kind.VALUE, level, tag, vr, length)
        value = self._source.read(length)
        level.remember(tag, value)
        return Token(Kind.VALUE, level, tag, vr, length, value)

    def _undefined(self, level: Level, tag: int, vr: str, stated: str) -> Token:
        if tag == PIXEL_DATA:
            fragments = self._fragments()
            self._behind = self._source.position
            return Token(Kind.FRAGMENTS, level, tag, vr, UNDEFINED, fragments=fragments)
        if stated not in ("", "SQ", "UN"):
            raise self._malformed(f"an element of VR {stated} has no length")
        return self._open_sequence(level, tag, None, IMPLICIT_LITTLE if stated == "UN" else level.encoding)

    def _open_sequence(self, level: Level, tag: int, end: int | None, encoding: Encoding) -> Token:
        if len(self._stack) >= DEPTH_LIMIT:
            raise self._malformed("sequences are nested too deep")
        self._stack.append(Items(end, encoding, level))
        return Token(Kind.SEQUENCE, level, tag, "SQ")

    def _item(self, items: Items) -> Token:
        tag, length = self._item_header(items.encoding)
        if tag == SEQUENCE_DELIMITER and items.end is None:
            return self._close(items)
        if tag != ITEM:
            raise self._malformed("an element stands where a sequence item is expected")
        end = None if length == UNDEFINED else self._reach(length)
        level = Level(self._source.position, end, items.encoding, items.level)
        self._stack.append(level)
        return Token(Kind.ITEM, level)

    def _fragments(self) -> array[int]:
        """Return where the fragments are (PS3.5 A.4); only their headers are read."""
        found = array("Q")
        while (header := self._item_header(EXPLICIT_LITTLE))[0] == ITEM and header[1] != UNDEFINED:
            found.extend((self._source.position, header[1]))
            self._source.seek(self._reach(header[1]))
            if len(found) > 2 * FRAGMENT_LIMIT:
                raise ConversionTooLarge(reason=f"the pixel data have more than {FRAGMENT_LIMIT} fragments")
        if header[0] != SEQUENCE_DELIMITER:
            raise self._malformed("something else stands between the fragments of the pixel data")
        return found

    def _header(self, encoding: Encoding) -> tuple[int, str, int]:
        """Return tag, stated VR ("" when it is not) and length of the element that follows.

        Some writers switch to implicit VR inside sequences of explicit VR: what cannot be a VR is a length.
        """
        raw = self._source.read(8)
        group, element, vr, length = _EXPLICIT[encoding.order].unpack(raw)
        if encoding.implicit or not (vr.isalpha() and vr.isupper()):
            group, element, length = _IMPLICIT[encoding.order].unpack(raw)
            return group << 16 | element, "", length
        stated = vr.decode("ascii")
        if stated in LONG_VRS:
            length = int.from_bytes(self._source.read(4), "big" if encoding.big else "little")
        return group << 16 | element, stated, length

    def _item_header(self, encoding: Encoding) -> tuple[int, int]:
        group, element, length = _IMPLICIT[encoding.order].unpack(self._source.read(8))
        return group << 16 | element, length

    def _reach(self, length: int) -> int:
        """Return the position behind a value of `length` bytes; raise when the bytes end before."""
        end = self._source.position + length
        self._source.check_reach(end)
        return end

    def _malformed(self, reason: str) -> MalformedDataset:
        return MalformedDataset(offset=self._source.position, reason=reason)


def _true_encoding(source: Source, encoding: Encoding) -> Encoding:
    """Return how the data set is encoded: some claim implicit VR and state their VRs all the same."""
    stated = source.peek(6)[4:].decode("ascii", "replace")
    return EXPLICIT_LITTLE if encoding.implicit and stated in KNOWN_VRS else encoding
