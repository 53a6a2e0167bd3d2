"""What a compressed frame says of itself before it is decoded; must not decode nor know the data set.

Read first, so that a frame whose size is not the data set's never reaches a codec that would allocate for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from tiering.transcode.syntaxes import Codec

_SOI: Final = b"\xff\xd8"
_EOI: Final = b"\xff\xd9"
_J2K_START: Final = b"\xff\x4f\xff\x51"
_JXL_START: Final = b"\xff\x0a"
_JXL_BOX: Final = b"\0\0\0\x0cJXL \r\n\x87\n"
_STARTS: Final = {
    Codec.JPEG: (_SOI,),
    Codec.JPEG_LOSSLESS: (_SOI,),
    Codec.JPEG_LS: (_SOI,),
    Codec.JPEG_2000: (_J2K_START, b"\0\0\0\x0cjP  "),
    Codec.JPEG_XL: (_JXL_START, _JXL_BOX),
    Codec.JPEG_XL_RECOMPRESSED: (_JXL_START, _JXL_BOX),
}
START_BYTES: Final = 12
"""How much of a fragment tells whether it starts a frame."""

_SOS: Final = 0xDA
_SOF_JPEG_LS: Final = 0xF7
_NO_LENGTH: Final = frozenset({0x01, *range(0xD0, 0xD9)})
_SOF: Final = frozenset({*range(0xC0, 0xD0), _SOF_JPEG_LS}) - {0xC4, 0xC8, 0xCC}
_JXL_RATIOS: Final = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))
_JXL_SIZE_BITS: Final = (9, 13, 18, 30)


@dataclass(frozen=True, slots=True)
class Codestream:
    """Size and sample format; `precision` 0 and `samples` 0 when the header does not tell.

    `start` is where the codestream begins in the frame (a JP2 file may wrap it). `colour` is "RGB" or "YBR" when a
    JPEG says which it is, else "".
    """

    rows: int
    columns: int
    samples: int
    precision: int
    start: int = 0
    colour: str = ""


def has_start_marker(codec: Codec) -> bool:
    """Return whether the first bytes of a frame tell it from the middle of one."""
    return codec in _STARTS


def starts_frame(codec: Codec, head: bytes) -> bool:
    """Return whether a fragment that begins with `head` begins a frame."""
    return head.startswith(_STARTS[codec])


def read_codestream(codec: Codec, frame: bytes) -> Codestream:
    """Return the header of a JPEG, JPEG-LS, JPEG 2000 or JPEG XL frame; raise ValueError when it has none."""
    if codec is Codec.JPEG_2000:
        return _read_j2k(frame)
    if codec in (Codec.JPEG_XL, Codec.JPEG_XL_RECOMPRESSED):
        return _read_jxl(frame)
    return _read_jpeg(frame)


def _read_jpeg(frame: bytes) -> Codestream:
    """Read SOF (ISO 10918-1 B.2.2, ISO 14495-1 C.2.2) and the markers before it that tell the colours."""
    if not frame.startswith(_SOI):
        raise ValueError("no start of image")
    if frame.rfind(_EOI) < frame.rfind(b"\xff\xda"):
        raise ValueError("no end of image: the frame is truncated")
    colour = ""
    for marker, body in _segments(frame):
        if marker in _SOF:
            return _frame_header(body, colour)
        colour = _application_colour(marker, body) or colour
    raise ValueError("no frame header")


def _segments(frame: bytes) -> Iterator[tuple[int, bytes]]:
    position = 2
    while position + 4 <= len(frame):
        marker = frame[position + 1]
        if frame[position] != 0xFF or marker == _SOS:
            return
        if marker == 0xFF or marker in _NO_LENGTH:
            position += 1 if marker == 0xFF else 2
            continue
        length = int.from_bytes(frame[position + 2 : position + 4], "big")
        yield marker, frame[position + 4 : position + 2 + length]
        position += 2 + max(length, 2)


def _application_colour(marker: int, body: bytes) -> str:
    """Return what JFIF (always YBR) or Adobe's APP14 (its transform flag) says of the colours."""
    if marker == 0xE0 and body.startswith(b"JFIF"):
        return "YBR"
    if marker == 0xEE and body.startswith(b"Adobe") and len(body) >= 12:
        return "YBR" if body[11] == 1 else "RGB"
    return ""


def _frame_header(body: bytes, colour: str) -> Codestream:
    if len(body) < 6 or len(body) < 6 + 3 * body[5]:
        raise ValueError("the frame header is too short")
    components = body[6 : 6 + 3 * body[5]]
    if components[0::3] in (b"RGB", b"rgb"):
        colour = "RGB"
    elif len(set(components[1::3])) > 1:
        colour = "YBR"
    rows, columns = int.from_bytes(body[1:3], "big"), int.from_bytes(body[3:5], "big")
    return Codestream(rows, columns, samples=body[5], precision=body[0], colour=colour)


def _read_j2k(frame: bytes) -> Codestream:
    """Read SIZ (ISO 15444-1 A.5.1)."""
    start = frame.find(_J2K_START)
    if start < 0:
        raise ValueError("no start of codestream")
    siz = frame[start + 6 :]
    right, bottom, left, top = (int.from_bytes(siz[at : at + 4], "big") for at in range(2, 18, 4))
    samples = int.from_bytes(siz[34:36], "big")
    components = siz[36 : 36 + 3 * samples]
    if not samples or len(components) < 3 * samples:
        raise ValueError("the size marker is too short")
    if len(set(components[0::3])) > 1 or set(components[1::3] + components[2::3]) != {1}:
        raise ValueError("the components differ in precision or size")
    return Codestream(bottom - top, right - left, samples, precision=(components[0] & 0x7F) + 1, start=start)


def _read_jxl(frame: bytes) -> Codestream:
    """Read the SizeHeader (ISO 18181-1 D.2), in a bare codestream or in a container's first codestream box."""
    start = 0 if frame.startswith(_JXL_START) else frame.find(_JXL_START, frame.find(b"jxl", len(_JXL_BOX)))
    if start < 0 or not frame.startswith((_JXL_START, _JXL_BOX)):
        raise ValueError("no start of codestream")
    bits = _Bits(frame[start + 2 : start + 14])
    small = bits.take(1)
    rows = _jxl_side(bits, small)
    ratio = bits.take(3)
    if not ratio:
        return Codestream(rows, _jxl_side(bits, small), samples=0, precision=0)
    across, down = _JXL_RATIOS[ratio - 1]
    return Codestream(rows, rows * across // down, samples=0, precision=0)


def _jxl_side(bits: _Bits, small: int) -> int:
    if small:
        return (bits.take(5) + 1) * 8
    return bits.take(_JXL_SIZE_BITS[bits.take(2)]) + 1


class _Bits:
    """Numbers of some bits, the least significant first."""

    def __init__(self, data: bytes) -> None:
        self._bits = int.from_bytes(data, "little")

    def take(self, count: int) -> int:
        taken = self._bits & ((1 << count) - 1)
        self._bits >>= count
        return taken
