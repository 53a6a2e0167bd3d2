"""Finds the indexed elements in a data set's first bytes; must not decode a value or copy what is not indexed."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, NamedTuple

from archive.part10.attributes import (
    INSTANCE,
    ISSUER_QUALIFIERS_TAG,
    ISSUER_UNIVERSAL_ID,
    PATIENT,
    SERIES,
    STUDY,
    Attribute,
)
from archive.part10.syntax import UNDEFINED, VR_IS_LONG, Layout
from archive.part10.values import Element, Wanted, prepare

_LAST_GROUP = 0x0070
_PIXEL_GROUP = 0x7FE0
_CONTENT_SEQUENCE = 0x0040A730
_UNIVERSAL_ENTITY_ID_TAG = 0x00400032
_FAILED_SKIPS_ALLOWED = 2

_QUALIFIERS = prepare(Attribute(ISSUER_QUALIFIERS_TAG, "IssuerOfPatientIDQualifiersSequence", "SQ"))
_UNIVERSAL_ID = prepare(Attribute(ISSUER_QUALIFIERS_TAG, ISSUER_UNIVERSAL_ID, "UT"))
_INDEXED = {attribute.tag: prepare(attribute) for attribute in (*PATIENT, *STUDY, *SERIES, *INSTANCE)}


class Unusual(Exception):
    """The bytes are not what the narrow loops understand."""


class Walk(NamedTuple):
    """What a walk found, in order.

    ``stop`` is None when the walk saw all it wanted. Otherwise it ran off the bytes, and the walk may go on at
    ``stop`` when more are there: past their end when a value not wanted lies there, before it when an element
    that must be seen whole does. ``rest`` is where the element begins behind all that was wanted.
    """

    elements: list[Element]
    stop: int | None
    rest: int | None = None


class _Order(NamedTuple):
    """One layout for the loops; a *key* is the integer the four bytes of a tag make in that byte order."""

    implicit: bool
    unpack_head: Callable[[bytes, int], tuple[Any, ...]]
    unpack_number: Callable[[bytes, int], tuple[Any, ...]]
    wanted: dict[int, Wanted]
    group_mask: int
    last_group: int
    pixel_group: int
    content_sequence: int
    item: int
    item_end: int
    sequence_end: int
    delimiter: bytes


def _order(*, implicit: bool, little_endian: bool, indexed: dict[int, Wanted]) -> _Order:
    def key(tag: int) -> int:
        return (tag & 0xFFFF) << 16 | tag >> 16 if little_endian else tag

    mark = "<" if little_endian else ">"
    return _Order(
        implicit=implicit,
        unpack_head=struct.Struct(f"{mark}II" if implicit else f"{mark}I2sH").unpack_from,
        unpack_number=struct.Struct(f"{mark}I").unpack_from,
        wanted={key(tag): wanted for tag, wanted in indexed.items()},
        group_mask=key(0xFFFF0000),
        last_group=key(_LAST_GROUP << 16),
        pixel_group=key(_PIXEL_GROUP << 16),
        content_sequence=key(_CONTENT_SEQUENCE),
        item=key(0xFFFEE000),
        item_end=key(0xFFFEE00D),
        sequence_end=key(0xFFFEE0DD),
        delimiter=struct.pack(f"{mark}II", key(0xFFFEE0DD), 0),
    )


def _orders(indexed: dict[int, Wanted]) -> dict[Layout, _Order]:
    return {
        layout: _order(implicit=layout.implicit, little_endian=layout.little_endian, indexed=indexed)
        for layout in Layout
    }


_ORDERS = _orders(_INDEXED | {ISSUER_QUALIFIERS_TAG: _QUALIFIERS})
_ISSUER_ORDERS = _orders({_UNIVERSAL_ENTITY_ID_TAG: _UNIVERSAL_ID})
_IMPLICIT = _ORDERS[Layout.IMPLICIT_LITTLE]


def walk(data: bytes, layout: Layout) -> Walk:
    """Return the indexed elements of ``data``, reading no further than the last of them; raise Unusual."""
    order = _ORDERS[layout]
    found, stop, rest = _walk_implicit(data, order) if layout.implicit else _walk_explicit(data, order)
    return Walk(_open_qualifiers(found, layout), stop, rest)


def walk_tolerantly(data: bytes, layout: Layout) -> Walk:
    """Return the indexed elements of ``data`` up to the pixels, making the best of broken elements; never raises."""
    found, stop, rest = _walk_tolerantly(data, _ORDERS[layout])
    return Walk(_open_qualifiers(found, layout), stop, rest)


def _walk_explicit(data: bytes, order: _Order) -> Walk:
    unpack_head, unpack_number, wanted = order.unpack_head, order.unpack_number, order.wanted
    mask, last_group, content_sequence = order.group_mask, order.last_group, order.content_sequence
    found: list[Element] = []
    position = key = 0
    try:
        while True:
            key, vr, length = unpack_head(data, position)
            start = position + 8
            if VR_IS_LONG[vr]:
                if key & mask > last_group or key == content_sequence:
                    return Walk(found, None, position)
                (length,) = unpack_number(data, start)
                start += 4
                if length == UNDEFINED:
                    length = _skip_undefined(data, start, _IMPLICIT if vr == b"UN" else order) - start
            position = start + length
            if key in wanted:
                found.append((wanted[key], vr, data[start:position]))
    except KeyError as exc:
        raise Unusual("unknown VR") from exc
    except struct.error:
        if position > len(data) and key in wanted:
            found.pop()
            position = start - (12 if VR_IS_LONG[vr] else 8)
        return Walk(found, position)


def _walk_implicit(data: bytes, order: _Order) -> Walk:
    unpack_head, wanted = order.unpack_head, order.wanted
    mask, last_group, content_sequence = order.group_mask, order.last_group, order.content_sequence
    found: list[Element] = []
    position = key = 0
    try:
        while True:
            here = position
            key, length = unpack_head(data, position)
            start = position + 8
            if length == UNDEFINED and key & mask <= last_group and key != content_sequence:
                length = _skip_undefined(data, start, order) - start
            position = start + length
            if key in wanted:
                attribute = wanted[key]
                found.append((attribute, attribute.vr, data[start:position]))
            elif key & mask > last_group or key == content_sequence:
                return Walk(found, None, here)
    except struct.error:
        if position > len(data) and key in wanted:
            found.pop()
            position = start - 8
        return Walk(found, position)


def _skip_undefined(data: bytes, position: int, order: _Order) -> int:
    """Return the position after a value of undefined length (PS3.5 section 7.5); raise Unusual or struct.error.

    The value starts at ``position``. Levels are kept in a list: nesting is as deep as the bytes allow.
    """
    levels: list[tuple[_Order, bool]] = [(order, False)]
    while levels:
        order, in_item = levels[-1]
        (key,) = order.unpack_number(data, position)
        if key == (order.item_end if in_item else order.sequence_end):
            levels.pop()
            position += 8
        elif in_item:
            _, vr, length, position = _read_head(data, position, order)
            if length == UNDEFINED:
                levels.append((_IMPLICIT if vr == b"UN" else order, False))
            else:
                position += length
        elif key == order.item:
            (length,) = order.unpack_number(data, position + 4)
            position += 8
            if length == UNDEFINED:
                levels.append((order, True))
            else:
                position += length
        else:
            raise Unusual("neither item nor delimiter")
    return position


def _read_head(data: bytes, position: int, order: _Order) -> tuple[int, bytes, int, int]:
    """Return key, VR (empty when there is none), length and start of the value of the element at ``position``.

    An element without a VR where there should be one is implicit: real writers switch inside sequences.
    """
    if order.implicit:
        key, length = order.unpack_head(data, position)
        return key, b"", length, position + 8
    key, vr, length = order.unpack_head(data, position)
    if vr not in VR_IS_LONG:
        return _read_unknown_vr(data, position, order)
    if VR_IS_LONG[vr]:
        return key, vr, order.unpack_number(data, position + 8)[0], position + 12
    return key, vr, length, position + 8


def _read_unknown_vr(data: bytes, position: int, order: _Order) -> tuple[int, bytes, int, int]:
    """Read a head whose VR is none: of its three possible forms, the one after which the data set goes on.

    When none fits: without VR, or with a 16-bit length when what stands there could be a VR of the future.
    """
    key, vr, short_length = order.unpack_head(data, position)
    without_vr = (key, b"", order.unpack_number(data, position + 4)[0], position + 8)
    with_short_length = (key, b"", short_length, position + 8)
    forms = [without_vr, with_short_length]
    if position + 12 <= len(data):
        forms.append((key, b"", order.unpack_number(data, position + 8)[0], position + 12))
    for form in forms:
        end = form[3] + form[2]
        if end == len(data) or data[end + 4 : end + 6] in VR_IS_LONG:
            return form
    return with_short_length if vr.isalpha() and vr.isupper() else without_vr


def _walk_tolerantly(data: bytes, order: _Order) -> Walk:
    found: list[Element] = []
    position = key = failed_skips = 0
    try:
        while True:
            key, vr, length, start = _read_head(data, position, order)
            if key in (order.item, order.item_end, order.sequence_end):
                position += 8
                continue
            if key & order.group_mask == order.pixel_group:
                return Walk(found, None, position)
            if length == UNDEFINED:
                length, failed = _measure_undefined(data, start, vr, order, guess=failed_skips >= _FAILED_SKIPS_ALLOWED)
                failed_skips += failed
            position = start + length
            attribute = order.wanted.get(key)
            if attribute is not None:
                found.append((attribute, vr or attribute.vr, data[start:position]))
    except struct.error:
        if position > len(data) and key in order.wanted:
            found.pop()
        return Walk(found, position)


def _measure_undefined(data: bytes, start: int, vr: bytes, order: _Order, *, guess: bool) -> tuple[int, bool]:
    """Return the length of a value of undefined length, and whether it could only be guessed by its delimiter."""
    if not guess:
        try:
            return _skip_undefined(data, start, _IMPLICIT if vr == b"UN" else order) - start, False
        except (Unusual, struct.error):
            pass
    end = data.find(order.delimiter, start)
    return (end + 8 if end >= 0 else len(data) + 1) - start, True


def pixels_are_cut(head: bytes | memoryview, rest: int, size_bytes: int, layout: Layout) -> bool:
    """Tell whether a data set of ``size_bytes`` ends before its pixel data do; what cannot be told is not cut.

    ``head`` is its beginning or all of it, ``rest`` from a walk. Never raises.
    """
    order = _ORDERS[layout]
    while rest + 8 <= len(head):
        try:
            key, _, length, start = _read_head(bytes(head[rest : rest + 16]), 0, order)
        except struct.error:
            return False
        is_pixels = key & order.group_mask == order.pixel_group
        if length == UNDEFINED:
            return is_pixels and len(head) == size_bytes and _runs_off(bytes(head[rest + start :]), order)
        rest += start + length
        if is_pixels and rest > size_bytes:
            return True
    return False


def _runs_off(value: bytes, order: _Order) -> bool:
    """Tell whether a value of undefined length has no end within the bytes there are."""
    try:
        return _skip_undefined(value, 0, order) > len(value)
    except struct.error:
        return True
    except Unusual:
        return False


def _open_qualifiers(found: list[Element], layout: Layout) -> list[Element]:
    """Put the Universal Entity ID inside IssuerOfPatientIDQualifiersSequence in the place of the sequence."""
    for index, (wanted, vr, raw) in enumerate(found):
        if wanted is _QUALIFIERS:
            order = _ISSUER_ORDERS[Layout.IMPLICIT_LITTLE if vr == b"UN" else layout]
            found[index : index + 1] = _walk_tolerantly(raw[8:], order).elements[:1]
            break
    return found
