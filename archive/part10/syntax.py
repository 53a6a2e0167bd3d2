"""How a transfer syntax lays out elements, and which layout some bytes have; must not read values."""

from __future__ import annotations

import struct
from enum import Enum

IMPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2"
EXPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"
EXPLICIT_VR_BIG_ENDIAN = "1.2.840.10008.1.2.2"

DEFLATED = frozenset(("1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.205"))
"""Transfer syntaxes whose data set as a whole is a deflate stream: Deflated Explicit VR and both JPIP Deflate."""

_IMPLICIT = frozenset((IMPLICIT_VR_LITTLE_ENDIAN, "1.2.840.113619.5.2", "1.2.840.10008.1.20"))

UNDEFINED = 0xFFFFFFFF
LONG_VRS = frozenset((b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"))
_SHORT_VRS = b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split()
VR_IS_LONG: dict[bytes, bool] = dict.fromkeys(_SHORT_VRS, False) | dict.fromkeys(LONG_VRS, True)
"""Every VR of PS3.5 section 6.2; True when its length field has 32 bits (PS3.5 section 7.1.2)."""

_HIGHEST_FIRST_GROUP = 0x0010


class Layout(Enum):
    """How the elements of a data set are written (PS3.5 sections 7.1 and 7.3)."""

    EXPLICIT_LITTLE = EXPLICIT_VR_LITTLE_ENDIAN
    EXPLICIT_BIG = EXPLICIT_VR_BIG_ENDIAN
    IMPLICIT_LITTLE = IMPLICIT_VR_LITTLE_ENDIAN

    @property
    def implicit(self) -> bool:
        """Return whether elements carry no VR."""
        return self is Layout.IMPLICIT_LITTLE

    @property
    def little_endian(self) -> bool:
        """Return whether numbers have their lowest byte first."""
        return self is not Layout.EXPLICIT_BIG


def layout_of(transfer_syntax_uid: str) -> Layout:
    """Return the layout a transfer syntax prescribes; unknown and private ones are explicit little endian."""
    if transfer_syntax_uid in _IMPLICIT:
        return Layout.IMPLICIT_LITTLE
    return Layout.EXPLICIT_BIG if transfer_syntax_uid == EXPLICIT_VR_BIG_ENDIAN else Layout.EXPLICIT_LITTLE


def guess_layout(head: bytes) -> Layout | None:
    """Return the layout of the first element in ``head`` (a data set's first bytes), None when there is none.

    An empty element without VR says nothing for sure: then the next one tells.
    """
    for position in range(0, len(head) - 7, 8):
        little, length = struct.unpack_from("<HxxI", head, position)
        explicit = head[position + 4 : position + 6] in VR_IS_LONG
        if little > _HIGHEST_FIRST_GROUP:
            big = int.from_bytes(head[position : position + 2], "big")
            return Layout.EXPLICIT_BIG if explicit and big <= _HIGHEST_FIRST_GROUP else None
        if explicit:
            return Layout.EXPLICIT_LITTLE
        if length:
            return Layout.IMPLICIT_LITTLE if length < 0x10000 else None
    return None
