"""The transfer syntaxes conversion knows (PS3.5 annex A) and how each encodes; must not read a data set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final, NamedTuple


class Codec(Enum):
    """How the frames of encapsulated pixel data are compressed; the value is the name given in errors."""

    JPEG = "JPEG"
    JPEG_LOSSLESS = "JPEG lossless"
    JPEG_LS = "JPEG-LS"
    JPEG_2000 = "JPEG 2000"
    JPEG_XL = "JPEG XL"
    JPEG_XL_RECOMPRESSED = "JPEG XL JPEG recompression"
    RLE = "RLE"
    DEFLATED_FRAME = "deflated frame"
    UNCOMPRESSED = "uncompressed frame"


RAW_CODECS: Final = frozenset({Codec.DEFLATED_FRAME, Codec.UNCOMPRESSED})
"""Codecs whose frames, once unpacked, already are native pixel data."""


@dataclass(frozen=True, slots=True)
class Encoding:
    """How data elements are written: VR in the element or in the dictionary, byte order, whole data set deflated."""

    implicit: bool = False
    big: bool = False
    deflated: bool = False

    @property
    def order(self) -> str:
        """Return the byte order as `struct` writes it."""
        return ">" if self.big else "<"


@dataclass(frozen=True, slots=True)
class Syntax:
    """A transfer syntax: its element encoding and, when pixel data are encapsulated, their codec."""

    encoding: Encoding
    codec: Codec | None = None


class Irreversible(NamedTuple):
    """A compression with loss: its name, its transfer syntax, and its Lossy Image Compression Method (0028,2114).

    The methods are those of PS3.3 C.7.6.1.1.5.1.
    """

    name: str
    transfer_syntax_uid: str
    method: str


HTJ2K_LOSSY: Final = Irreversible("HTJ2K irreversible", "1.2.840.10008.1.2.4.203", "ISO_15444_15")
JPEG_2000_LOSSY: Final = Irreversible("JPEG 2000 irreversible", "1.2.840.10008.1.2.4.91", "ISO_15444_1")

IMPLICIT_LITTLE: Final = Encoding(implicit=True)
EXPLICIT_LITTLE: Final = Encoding()

_NATIVE: Final = {
    "1.2.840.10008.1.2": IMPLICIT_LITTLE,
    "1.2.840.10008.1.2.1": EXPLICIT_LITTLE,
    "1.2.840.10008.1.2.1.99": Encoding(deflated=True),
    "1.2.840.10008.1.2.2": Encoding(big=True),
}
_ENCAPSULATED: Final = {
    "1.2.840.10008.1.2.1.98": Codec.UNCOMPRESSED,
    "1.2.840.10008.1.2.4.50": Codec.JPEG,
    "1.2.840.10008.1.2.4.51": Codec.JPEG,
    "1.2.840.10008.1.2.4.53": Codec.JPEG,
    "1.2.840.10008.1.2.4.55": Codec.JPEG,
    "1.2.840.10008.1.2.4.57": Codec.JPEG_LOSSLESS,
    "1.2.840.10008.1.2.4.70": Codec.JPEG_LOSSLESS,
    "1.2.840.10008.1.2.4.80": Codec.JPEG_LS,
    "1.2.840.10008.1.2.4.81": Codec.JPEG_LS,
    "1.2.840.10008.1.2.4.90": Codec.JPEG_2000,
    "1.2.840.10008.1.2.4.91": Codec.JPEG_2000,
    "1.2.840.10008.1.2.4.110": Codec.JPEG_XL,
    "1.2.840.10008.1.2.4.111": Codec.JPEG_XL_RECOMPRESSED,
    "1.2.840.10008.1.2.4.112": Codec.JPEG_XL,
    "1.2.840.10008.1.2.4.201": Codec.JPEG_2000,
    "1.2.840.10008.1.2.4.202": Codec.JPEG_2000,
    "1.2.840.10008.1.2.4.203": Codec.JPEG_2000,
    "1.2.840.10008.1.2.5": Codec.RLE,
    "1.2.840.10008.1.2.8.1": Codec.DEFLATED_FRAME,
}

TARGETS: Final[Mapping[str, Encoding]] = _NATIVE
"""Transfer syntaxes a data set can be converted to: the native ones."""

SOURCES: Final[Mapping[str, Syntax]] = {
    **{uid: Syntax(encoding) for uid, encoding in _NATIVE.items()},
    **{uid: Syntax(EXPLICIT_LITTLE, codec) for uid, codec in _ENCAPSULATED.items()},
}
"""Transfer syntaxes a data set can be converted from."""
