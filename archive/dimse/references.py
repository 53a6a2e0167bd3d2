"""The data sets of storage commitment, to values and back (PS3.4 tables J.3-1 and J.3-2); must not know what they mean.

A request may name a hundred thousand objects. A general reader needs a tenth of a millisecond for each of them; this
one reads tag, length and two UIDs.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable
from typing import Final

from archive.dimse.answers import deflate
from archive.errors import InvalidIdentifier, InvalidUid
from archive.part10.syntax import DEFLATED, UNDEFINED, VR_IS_LONG, Layout, layout_of
from archive.services.commitment import CommitmentReport, Reference
from archive.uids import parse_uid

_RETRIEVE_AE_TITLE: Final = 0x00080054
_SOP_CLASS: Final = 0x00081150
_SOP_INSTANCE: Final = 0x00081155
_TRANSACTION: Final = 0x00081195
_FAILURE_REASON: Final = 0x00081197
_FAILED: Final = 0x00081198
_REFERENCED: Final = 0x00081199
_ITEM: Final = 0xFFFEE000
_ITEM_END: Final = 0xFFFEE00D
_SEQUENCE_END: Final = 0xFFFEE0DD
_DEEPEST: Final = 8
_INFLATED_LIMIT: Final = 64 * 1024 * 1024

_Span = tuple[int, int]


def decode_request(raw: bytes, transfer_syntax_uid: str) -> tuple[str, tuple[Reference, ...]]:
    """Return the Transaction UID and the objects named; raise InvalidIdentifier when either is missing or broken."""
    reader = _Reader(_inflate(raw) if transfer_syntax_uid in DEFLATED else raw, layout_of(transfer_syntax_uid))
    try:
        elements, _ = reader.elements(0, len(reader.data), 0)
        transaction = reader.uid(elements.get(_TRANSACTION), "TransactionUID")
        references = tuple(reader.reference(item) for item in reader.items_of(elements.get(_REFERENCED)))
    except (struct.error, KeyError) as exc:
        raise InvalidIdentifier(reason="it cannot be parsed") from exc
    if not references:
        raise InvalidIdentifier(reason="ReferencedSOPSequence is empty")
    return transaction, references


class _Reader:
    """Finds elements by position; lengths are checked, nothing is copied but the UIDs."""

    def __init__(self, data: bytes, layout: Layout) -> None:
        mark = "<" if layout.little_endian else ">"
        self.data = data
        self._implicit = layout.implicit
        self._tag = struct.Struct(mark + "HH").unpack_from
        self._long = struct.Struct(mark + "I").unpack_from
        self._short = struct.Struct(mark + "H").unpack_from

    def elements(self, start: int, end: int, depth: int) -> tuple[dict[int, _Span], int]:
        """Return where the values of the elements lie, up to ``end`` or an item's end, and where they stop."""
        found: dict[int, _Span] = {}
        while start < end:
            group, element = self._tag(self.data, start)
            tag = group << 16 | element
            if tag == _ITEM_END:
                return found, start + 8
            value, length = self._value_of(start, tag)
            stop = self._past_items(value, end, depth) if length == UNDEFINED else value + length
            if stop > end:
                raise InvalidIdentifier(reason="it is cut short")
            found[tag] = (value, stop)
            start = stop
        return found, start

    def _value_of(self, start: int, tag: int) -> _Span:
        """Return where the value of an element begins and the length it declares."""
        if self._implicit or tag >> 16 == 0xFFFE:
            return start + 8, self._long(self.data, start + 4)[0]
        if VR_IS_LONG[self.data[start + 4 : start + 6]]:
            return start + 12, self._long(self.data, start + 8)[0]
        return start + 8, self._short(self.data, start + 6)[0]

    def _past_items(self, start: int, end: int, depth: int) -> int:
        """Return where a sequence of undefined length ends, its delimiter included."""
        while start < end:
            group, element = self._tag(self.data, start)
            if group << 16 | element == _SEQUENCE_END:
                return start + 8
            start = self._item(start, end, depth)[1]
        raise InvalidIdentifier(reason="a sequence has no end")

    def _item(self, start: int, end: int, depth: int) -> _Span:
        """Return where an item's elements begin and where the next item does."""
        (length,) = self._long(self.data, start + 4)
        if self._tag(self.data, start) != (_ITEM >> 16, _ITEM & 0xFFFF) or depth > _DEEPEST:
            raise InvalidIdentifier(reason="a sequence is broken")
        if length == UNDEFINED:
            return start + 8, self.elements(start + 8, end, depth + 1)[1]
        return start + 8, start + 8 + length

    def items_of(self, span: _Span | None) -> Iterable[_Span]:
        """Yield where the items of a sequence lie."""
        start, end = span or (0, 0)
        while start < end:
            group, element = self._tag(self.data, start)
            if group << 16 | element == _SEQUENCE_END:
                return
            inside, start = self._item(start, end, 0)
            if start > end:
                raise InvalidIdentifier(reason="it is cut short")
            yield inside, start

    def reference(self, item: _Span) -> Reference:
        """Return the object one item names."""
        elements, _ = self.elements(*item, 0)
        return Reference(
            self.uid(elements.get(_SOP_CLASS), "ReferencedSOPClassUID"),
            self.uid(elements.get(_SOP_INSTANCE), "ReferencedSOPInstanceUID"),
        )

    def uid(self, span: _Span | None, keyword: str) -> str:
        """Return the UID that lies there."""
        start, end = span or (0, 0)
        try:
            return parse_uid(self.data[start:end].decode("latin_1"), keyword=keyword)
        except InvalidUid as exc:
            raise InvalidIdentifier(reason=f"{keyword} is missing or no UID") from exc


def encode_report(report: CommitmentReport, transfer_syntax_uid: str) -> bytes:
    """Return the Event Information of a report; a list without objects is left out."""
    writer = _Writer(layout_of(transfer_syntax_uid))
    parts = [
        writer.text(_RETRIEVE_AE_TITLE, "AE", report.retrieve_ae_title),
        writer.text(_TRANSACTION, "UI", report.transaction_uid),
    ]
    if report.failed:
        items = (writer.reference(reference) + writer.reason(reason) for reference, reason in report.failed)
        parts.append(writer.sequence(_FAILED, items))
    if report.committed:
        parts.append(writer.sequence(_REFERENCED, map(writer.reference, report.committed)))
    raw = b"".join(parts)
    return deflate(raw) if transfer_syntax_uid in DEFLATED else raw


class _Writer:
    """Writes the few kinds of elements a report has."""

    def __init__(self, layout: Layout) -> None:
        self._implicit = layout.implicit
        self._mark = "<" if layout.little_endian else ">"

    def _element(self, tag: int, vr: str, value: bytes) -> bytes:
        head = struct.pack(self._mark + "HH", tag >> 16, tag & 0xFFFF)
        if self._implicit or tag == _ITEM:
            return head + struct.pack(self._mark + "I", len(value)) + value
        if vr == "SQ":
            return head + b"SQ\0\0" + struct.pack(self._mark + "I", len(value)) + value
        return head + vr.encode() + struct.pack(self._mark + "H", len(value)) + value

    def text(self, tag: int, vr: str, text: str) -> bytes:
        """Return an AE or UI element."""
        value = text.encode("ascii", "replace")
        return self._element(tag, vr, value + (b"\0" if vr == "UI" else b" ") if len(value) % 2 else value)

    def reference(self, reference: Reference) -> bytes:
        """Return the two elements that name an object."""
        names = self.text(_SOP_CLASS, "UI", reference.sop_class_uid)
        return names + self.text(_SOP_INSTANCE, "UI", reference.sop_instance_uid)

    def reason(self, reason: int) -> bytes:
        """Return a Failure Reason."""
        return self._element(_FAILURE_REASON, "US", struct.pack(self._mark + "H", reason))

    def sequence(self, tag: int, items: Iterable[bytes]) -> bytes:
        """Return a sequence of defined length."""
        return self._element(tag, "SQ", b"".join(self._element(_ITEM, "", item) for item in items))


def _inflate(raw: bytes) -> bytes:
    unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        inflated = unpacker.decompress(raw, _INFLATED_LIMIT)
    except zlib.error as exc:
        raise InvalidIdentifier(reason="it cannot be inflated") from exc
    if not unpacker.eof:
        raise InvalidIdentifier(reason="it is cut short or too large when inflated")
    return inflated
