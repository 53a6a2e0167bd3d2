"""Value representations: how each is laid out, and which one an implicit element has; must not read bytes itself."""

from __future__ import annotations

from functools import lru_cache
from typing import Final, Protocol

from pydicom.datadict import dictionary_VR, private_dictionary_VR

UNDEFINED: Final = 0xFFFFFFFF
"""The length of a value that ends with a delimiter."""

LONG_VRS: Final = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"})
"""Explicit VRs with two reserved bytes and a 32-bit length (PS3.5 table 7.1-1)."""

SWAPPED: Final = {
    **dict.fromkeys(("AT", "OW", "SS", "US"), 2),
    **dict.fromkeys(("FL", "OF", "OL", "SL", "UL"), 4),
    **dict.fromkeys(("FD", "OD", "OV", "SV", "UV"), 8),
}
"""Bytes in one unit of the VRs whose byte order follows the transfer syntax (PS3.5 7.3)."""

TEXT_VRS: Final = frozenset(("AE AS CS DA DS DT IS LO LT PN SH ST TM UC UR UT").split())
"""VRs padded to even length with a space; the others, UI among them, with NUL (PS3.5 6.2)."""

KNOWN_VRS: Final = LONG_VRS | TEXT_VRS | frozenset(SWAPPED) | {"UI"}

REMEMBERED_TAGS: Final = 8192
"""How many answers of the dictionaries are kept: looking one up takes longer than reading an element."""

PIXEL_DATA: Final = 0x7FE00010
PIXEL_REPRESENTATION: Final = 0x00280103
BITS_ALLOCATED: Final = 0x00280100
LUT_DESCRIPTOR: Final = 0x00283002
WAVEFORM_BITS_ALLOCATED: Final = 0x54001004


class Context(Protocol):
    """What the VR of an element may hang on: the data set it stands in and those around."""

    def number(self, tag: int) -> int | None:
        """Return the first number of `tag` in this data set, None when absent."""

    def nearest(self, tag: int) -> int | None:
        """Return the first number of `tag` in this data set or the closest one around it."""

    def creator(self, tag: int) -> str | None:
        """Return who reserved the private block of `tag` in this data set."""


def implicit_vr(tag: int, context: Context) -> str:
    """Return the VR of an element that does not state it: by dictionary, UN when no dictionary has it."""
    if tag & 0xFFFF == 0:
        return "UL"
    vr = _private_vr(tag, context.creator(tag)) if tag >> 16 & 1 else _standard_vr(tag)
    return vr if vr in KNOWN_VRS else _settle(tag, vr, context)


@lru_cache(REMEMBERED_TAGS)
def _standard_vr(tag: int) -> str:
    try:
        return dictionary_VR(tag)
    except KeyError:
        return "UN"


@lru_cache(REMEMBERED_TAGS)
def _private_vr(tag: int, creator: str | None) -> str:
    if 0x10 <= tag & 0xFFFF <= 0xFF:
        return "LO"
    try:
        return "UN" if creator is None else private_dictionary_VR(tag, creator)
    except KeyError:
        return "UN"


def _settle(tag: int, vr: str, context: Context) -> str:
    """Choose among the dictionary's alternatives: "US or SS", "OB or OW", "US or OW", "US or SS or OW"."""
    if tag == PIXEL_DATA:
        return _by_width(context.nearest(BITS_ALLOCATED))
    if tag >> 16 == WAVEFORM_BITS_ALLOCATED >> 16:
        return _by_width(context.number(WAVEFORM_BITS_ALLOCATED))
    if vr == "US or SS":
        return "SS" if context.nearest(PIXEL_REPRESENTATION) == 1 else "US"
    if vr == "US or OW" and context.number(LUT_DESCRIPTOR) == 1:
        return "US"
    return "OW" if "OW" in vr else "UN"


def _by_width(bits: int | None) -> str:
    """Return OB for samples of a byte or less, else OW (PS3.5 A.2)."""
    return "OB" if bits is not None and bits <= 8 else "OW"
