"""Finds the data set in other people's files, Part 10 or not; must not trust what such a file says of itself."""

from __future__ import annotations

import struct
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from archive.errors import UnreadableDataset
from archive.part10.attributes import InstanceHeader
from archive.part10.scan import scan_header
from archive.part10.syntax import VR_IS_LONG, Layout, guess_layout

_HEAD_BYTES = 1 << 20
_META_GROUP = b"\x02\x00"
_SOP_CLASS, _SOP_INSTANCE, _TRANSFER_SYNTAX = 0x0002, 0x0003, 0x0010
_NATIVE = frozenset(layout.value for layout in Layout)


@dataclass(frozen=True, slots=True)
class ForeignFile:
    """Where the data set of a file starts and what it is; the data set goes on to the end of the file."""

    transfer_syntax_uid: str
    sop_class_uid: str
    sop_instance_uid: str
    dataset_offset: int


def parse_foreign(source: str | Path | BinaryIO) -> ForeignFile:
    """Return what is needed to import ``source``, a path or a seekable binary file (read from its start).

    Preamble, prefix, group length, transfer syntax or the whole file meta group may be missing or wrong. The SOP
    UIDs are those of the data set, or of the file meta group when the data set has none. One of the three native
    transfer syntaxes is put right when the bytes are in another. Raises UnreadableDataset for what is not DICOM,
    OSError when the file cannot be read.
    """
    with open(source, "rb") if isinstance(source, (str, Path)) else nullcontext(source) as file:
        file.seek(0)
        head = file.read(_HEAD_BYTES)
    return parse_head(head, complete=len(head) < _HEAD_BYTES)


def parse_head(head: bytes, *, complete: bool) -> ForeignFile:
    """Return the same from the first bytes of a file, all of them if ``complete``; raise UnreadableDataset."""
    meta, offset = _read_meta(head, _meta_offset(head))
    dataset = head[offset:]
    transfer_syntax_uid = _transfer_syntax(dataset, meta.get(_TRANSFER_SYNTAX, ""))
    values = _scan(dataset, transfer_syntax_uid, complete=complete).values
    sop_instance_uid = values.get("SOPInstanceUID") or meta.get(_SOP_INSTANCE, "")
    if not sop_instance_uid:
        raise UnreadableDataset(reason="not a DICOM file, or one without SOP Instance UID")
    sop_class_uid = values.get("SOPClassUID") or meta.get(_SOP_CLASS, "")
    return ForeignFile(transfer_syntax_uid, sop_class_uid, sop_instance_uid, offset)


def claims_part10(source: BinaryIO) -> bool:
    """Tell whether a seekable file has the prefix of PS3.10 section 7.1: it is meant to be DICOM, readable or not."""
    source.seek(128)
    return source.read(4) == b"DICM"


def _meta_offset(head: bytes) -> int:
    for prefix in (128, 0):
        if head[prefix : prefix + 4] == b"DICM":
            return prefix + 4
    return 128 if head[:2] != _META_GROUP and head[128:130] == _META_GROUP and head[132:134] in VR_IS_LONG else 0


def _read_meta(head: bytes, position: int) -> tuple[dict[int, str], int]:
    """Return the file meta elements at ``position`` and where the first element of another group is.

    The group length is not looked at: it is the one thing that is often wrong. Some writers leave out the VRs.
    """
    meta: dict[int, str] = {}
    while head[position : position + 2] == _META_GROUP and len(head) >= position + 12:
        element, vr, length = struct.unpack_from("<H2sH", head, position + 2)
        start = position + 8
        if vr not in VR_IS_LONG:
            (length,) = struct.unpack_from("<I", head, position + 4)
        elif VR_IS_LONG[vr]:
            (length,) = struct.unpack_from("<I", head, start)
            start += 4
        position = start + length
        meta[element] = head[start : min(position, start + 128)].decode("latin_1").strip("\0 ")
    return meta, position


def _transfer_syntax(dataset: bytes, declared: str) -> str:
    if declared and declared not in _NATIVE:
        return declared
    found = guess_layout(dataset[:64])
    if found is None and not declared:
        raise UnreadableDataset(reason="not a DICOM file, or one without transfer syntax")
    return found.value if found else declared


def _scan(dataset: bytes, transfer_syntax_uid: str, *, complete: bool) -> InstanceHeader:
    try:
        return scan_header(dataset, transfer_syntax_uid, complete=complete)
    except UnreadableDataset:
        return InstanceHeader({})
