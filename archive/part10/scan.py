"""Reads the indexed attributes out of a data set's first bytes; must not decode pixels or keep the data set."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from archive.errors import UnreadableDataset
from archive.part10.attributes import InstanceHeader
from archive.part10.elements import Unusual, Walk, pixels_are_cut, walk, walk_tolerantly
from archive.part10.syntax import DEFLATED, Layout, guess_layout, layout_of
from archive.part10.values import Element, read_values

INFLATED_LIMIT_BYTES = 2 << 20
_FIRST_INFLATED_BYTES = 1 << 16
_FIRST_WINDOW_BYTES = 1 << 14
_IDENTIFIERS = frozenset((0x00080016, 0x00080018, 0x0020000D, 0x0020000E))
"""SOP Class, SOP Instance, Study and Series Instance UID: a walk without them deserves a second look."""
_DEFLATE_FORMS = (-zlib.MAX_WBITS, zlib.MAX_WBITS | 32)


def scan_header(
    head: bytes | memoryview, transfer_syntax_uid: str, *, complete: bool, size_bytes: int | None = None
) -> InstanceHeader:
    """Return the indexed attributes in ``head``, the first bytes of a data set in ``transfer_syntax_uid``.

    ``complete`` says that ``head`` is the whole data set; ``size_bytes`` is the whole one's size, where it is known:
    pixel data that would go on behind it get the flag "cut". Bytes in another layout than announced, unknown VRs and
    broken sequences are read as well as can be, and flagged. Raises UnreadableDataset when no indexed attribute
    is found, nothing else whatever the bytes. Time and memory are bounded by the head's size, or by 2 MiB inflated.
    """
    if transfer_syntax_uid not in DEFLATED:
        return _scan(head, layout_of(transfer_syntax_uid), complete, size_bytes)
    for inflated, dry in _inflations(head):
        header = _scan(inflated, Layout.EXPLICIT_LITTLE, complete and dry)
        if "truncated_scan" not in header.flags:
            break
    return header


def _scan(head: bytes | memoryview, declared: Layout, complete: bool, size_bytes: int | None = None) -> InstanceHeader:
    layout = guess_layout(bytes(head[:64])) or declared
    flags = set() if layout is declared else {"fallback", "vr"}
    elements, stop, rest = _walk_windows(head, layout, flags)
    if not _IDENTIFIERS.issubset([wanted.tag for wanted, _, _ in elements]):
        again = walk_tolerantly(bytes(head), layout)
        if len(again.elements) > len(elements):
            flags.add("fallback")
            elements, stop, rest = again
    if stop is not None and not (complete and stop == len(head)):
        flags.add("truncated" if complete else "truncated_scan")
    if size_bytes is not None and rest is not None and pixels_are_cut(head, rest, size_bytes, layout):
        flags.add("cut")
    header = read_values(elements, little_endian=layout.little_endian, flags=flags)
    if not header.values:
        raise UnreadableDataset(reason="no indexed attribute in its first bytes")
    return header


def _walk_windows(head: bytes | memoryview, layout: Layout, flags: set[str]) -> Walk:
    """Walk ``head`` copying little of it: one window is nearly always enough, a long value is stepped over."""
    elements: list[Element] = []
    base, size = 0, _FIRST_WINDOW_BYTES
    while True:
        try:
            found = walk(bytes(head[base : base + size]), layout)
        except Unusual:
            flags.add("fallback")
            size = len(head)
            found = walk_tolerantly(bytes(head[base:]), layout)
        elements += found.elements
        if found.stop is None:
            return Walk(elements, None, None if found.rest is None else base + found.rest)
        if base + size >= len(head):
            return Walk(elements, base + found.stop)
        base += found.stop
        size = _FIRST_WINDOW_BYTES if found.stop else size * 4


def _inflations(head: bytes | memoryview) -> Iterator[tuple[bytes, bool]]:
    """Yield what ``head`` inflates to, a first part and then 2 MiB at most, and whether no more comes out of it.

    The standard wants a bare deflate stream (PS3.5 annex A.5); zlib and gzip wrappings are met in the field,
    and data sets nobody deflated.
    """
    for form in _DEFLATE_FORMS:
        stream = zlib.decompressobj(form)
        try:
            first = stream.decompress(head, _FIRST_INFLATED_BYTES)
        except zlib.error:
            continue
        yield first, len(first) < _FIRST_INFLATED_BYTES
        inflated = first + _inflate_more(stream, INFLATED_LIMIT_BYTES - len(first))
        yield inflated, len(inflated) < INFLATED_LIMIT_BYTES
        return
    yield bytes(head[:INFLATED_LIMIT_BYTES]), len(head) <= INFLATED_LIMIT_BYTES


def _inflate_more(stream: zlib._Decompress, limit: int) -> bytes:
    try:
        return stream.decompress(stream.unconsumed_tail, limit)
    except zlib.error:
        return b""
