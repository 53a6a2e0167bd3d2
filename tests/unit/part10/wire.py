"""Bytes of data sets for the part10 tests, written element by element; must not use the code under test."""

from __future__ import annotations

import struct
from pathlib import Path

import pydicom

EXPLICIT = "1.2.840.10008.1.2.1"
IMPLICIT = "1.2.840.10008.1.2"
BIG_ENDIAN = "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"
CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
UNDEFINED = 0xFFFFFFFF

PYDICOM_DATA = Path(pydicom.__file__).parent / "data"
LONG_VRS = ("OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV")

ITEM = struct.pack("<HHI", 0xFFFE, 0xE000, UNDEFINED)
ITEM_END = struct.pack("<HHI", 0xFFFE, 0xE00D, 0)
SEQUENCE_END = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)


def element(tag: int, vr: str, value: bytes | str, *, order: str = "<", length: int | None = None) -> bytes:
    """Return one explicit VR element; ``length`` overrides the true one, odd values are padded."""
    raw = value.encode("latin_1") if isinstance(value, str) else value
    if len(raw) % 2 and length is None:
        raw += b"\0" if vr in ("UI", "OB", "UN") else b" "
    size = len(raw) if length is None else length
    head = struct.pack(f"{order}HH", tag >> 16, tag & 0xFFFF) + vr.encode()
    if vr in LONG_VRS:
        return head + struct.pack(f"{order}HI", 0, size) + raw
    return head + struct.pack(f"{order}H", size) + raw


def implicit(tag: int, value: bytes | str, *, length: int | None = None) -> bytes:
    """Return one implicit VR element; ``length`` overrides the true one, odd values are padded."""
    raw = value.encode("latin_1") if isinstance(value, str) else value
    if len(raw) % 2 and length is None:
        raw += b" "
    return struct.pack("<HHI", tag >> 16, tag & 0xFFFF, len(raw) if length is None else length) + raw


def item(content: bytes, *, defined: bool = True) -> bytes:
    """Return one sequence item around ``content``, with or without a length."""
    if defined:
        return struct.pack("<HHI", 0xFFFE, 0xE000, len(content)) + content
    return ITEM + content + ITEM_END


def sequence(tag: int, items: bytes, *, defined: bool = True, vr: str = "SQ") -> bytes:
    """Return one explicit VR sequence element around ``items``, with or without a length."""
    if defined:
        return element(tag, vr, items)
    return element(tag, vr, b"", length=UNDEFINED) + items + SEQUENCE_END


HEAD = (
    element(0x00080005, "CS", "ISO_IR 100")
    + element(0x00080016, "UI", CT_IMAGE)
    + element(0x00080018, "UI", "1.2.3.4")
    + element(0x00080060, "CS", "CT")
)
"""The first elements of an object: character set, SOP class and instance, modality."""

TAIL = (
    element(0x0020000D, "UI", "1.2.3")
    + element(0x0020000E, "UI", "1.2.3.1")
    + element(0x00200013, "IS", "17")
    + element(0x00280010, "US", struct.pack("<H", 512))
)
"""The last indexed elements of an object: study and series, instance number, rows."""

PIXELS = element(0x7FE00010, "OW", bytes(64))
FOUND = {
    "SpecificCharacterSet": "ISO_IR 100",
    "SOPClassUID": CT_IMAGE,
    "SOPInstanceUID": "1.2.3.4",
    "Modality": "CT",
    "StudyInstanceUID": "1.2.3",
    "SeriesInstanceUID": "1.2.3.1",
    "InstanceNumber": "17",
    "Rows": "512",
}
"""What HEAD and TAIL say."""
