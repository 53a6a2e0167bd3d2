"""One frame to HTJ2K, with or without loss, and back by another library; must not judge what the loss does.

OpenJPH (through imagecodecs) encodes, OpenJPEG decodes: what both agree on is what the standard says. Both release the
interpreter and keep no state, so that any number of threads may work at once.

imagecodecs has OpenJPH write codestreams of 8 or 16 bits, while DICOM asks for the precision of Bits Stored (PS3.5
8.2.4). The header is therefore rewritten. The wavelet coefficients of a sample do not depend on the precision once its
level shift is the same (ISO 15444-1 G.1), which `_levelled` sees to. What a decoder reads of them is
  step = 2^(precision + gain - exponent) x mantissa   (E-3: so precision and exponents fall together), and
  bit planes = guard bits + exponent - 1              (E-2: so guard bits rise by as much).
There are at most seven guard bits, one of them used: 9 bits in 16 cannot be written.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from tiering.errors import CodecFailed, PixelMismatch
from tiering.transcode.codestream import read_codestream
from tiering.transcode.syntaxes import Codec

Samples = NDArray[Any]

_SIZ: Final = 0xFF51
_QCD: Final = 0xFF5C
_QCC: Final = 0xFF5D
_TILE_PARTS: Final = frozenset({0xFF90, 0xFF93})
_MOST_GUARD_BITS: Final = 7
_FAULTS: Final = (RuntimeError, ValueError, TypeError, IndexError, OverflowError, MemoryError, struct.error)


@dataclass(frozen=True, slots=True)
class SampleFormat:
    """How samples lie in a frame: rows, columns and, for three samples a pixel, colours."""

    bits_allocated: int
    bits_stored: int
    is_signed: bool = False
    samples: int = 1
    photometric: str = "MONOCHROME2"

    @property
    def limits(self) -> tuple[int, int]:
        """Return the lowest and the highest value Bits Stored can hold."""
        if self.is_signed:
            return -(1 << self.bits_stored - 1), (1 << self.bits_stored - 1) - 1
        return 0, (1 << self.bits_stored) - 1

    @property
    def dtype(self) -> np.dtype[Any]:
        """Return the type of native samples."""
        return np.dtype(f"<{'i' if self.is_signed else 'u'}{self.bits_allocated // 8}")

    @property
    def compressed_photometric(self) -> str:
        """Return the Photometric Interpretation of the frames `encode` makes (PS3.5 8.2.4)."""
        return "YBR_ICT" if self.photometric == "RGB" else self.photometric


def versions() -> tuple[str, str]:
    """Return name and version of the library that encodes and of the one that decodes."""
    return imagecodecs.htj2k_version(), imagecodecs.jpeg2k_version()


def encode(samples: Samples, step: float | None, layout: SampleFormat) -> bytes:
    """Return a frame as an HTJ2K codestream; `step` is the quantization step in stored values, None for no loss.

    Colours without loss are of another Photometric Interpretation, YBR_RCT. Raises PixelMismatch for samples that are
    not what `layout` says, values that do not fit Bits Stored among them, CodecFailed when the codec refuses.
    """
    check_samples(samples, layout)
    width = 8 if layout.bits_stored <= 8 else 16
    level = None if step is None else step / (1 << width)
    try:
        found = imagecodecs.htj2k_encode(
            _levelled(samples, layout, width), level=level, reversible=step is None, rgb=layout.photometric == "RGB"
        )
        return _with_precision(bytearray(found), width, layout)
    except _FAULTS as exc:
        raise CodecFailed(codec="HTJ2K", frame=0, reason=str(exc)) from exc


def decode(frame: bytes, layout: SampleFormat) -> Samples:
    """Return the samples of a frame, decoded by OpenJPEG; raise CodecFailed or PixelMismatch when that cannot be."""
    try:
        head = read_codestream(Codec.JPEG_2000, frame)
        found: Samples = imagecodecs.jpeg2k_decode(frame, planar=False, numthreads=1)
    except _FAULTS as exc:
        raise CodecFailed(codec="OpenJPEG", frame=0, reason=str(exc)) from exc
    if head.precision != layout.bits_stored or (found.dtype.kind == "i") != layout.is_signed:
        raise PixelMismatch(reason=f"{found.dtype} samples of {head.precision} bits were encoded")
    # OpenJPEG leaves out dimensions of one.
    shape = (head.rows, head.columns, *([head.samples] if head.samples > 1 else []))
    return found.reshape(shape).astype(layout.dtype, copy=False)


def check_samples(samples: Samples, layout: SampleFormat) -> None:
    """Raise PixelMismatch for samples that are not what `layout` says, or do not fit Bits Stored."""
    colours = samples.shape[2] if samples.ndim == 3 else 1
    if samples.dtype != layout.dtype or samples.ndim not in (2, 3) or colours != layout.samples or not samples.size:
        raise PixelMismatch(reason=f"{samples.dtype} samples of shape {samples.shape} are not {layout.dtype}")
    low, high = layout.limits
    if samples.min() < low or samples.max() > high:
        raise PixelMismatch(reason=f"samples are beyond what {layout.bits_stored} bits stored hold")


def _levelled(samples: Samples, layout: SampleFormat, width: int) -> Samples:
    """Return samples `width` bits wide whose level shift yields what one of Bits Stored would (ISO 15444-1 G.1)."""
    if layout.is_signed:
        return samples.astype(f"i{width // 8}", copy=False)
    shift = (1 << width - 1) - (1 << layout.bits_stored - 1)
    wide = samples.astype(f"u{width // 8}", copy=False)
    return wide + wide.dtype.type(shift) if shift else wide


def _with_precision(frame: bytearray, width: int, layout: SampleFormat) -> bytes:
    """Return a codestream of `width` bits rewritten as one of Bits Stored; see the module's opening."""
    fall = width - layout.bits_stored
    if not fall:
        return bytes(frame)
    for marker, at in _segments(frame):
        if marker == _SIZ:
            for component in range(layout.samples):
                frame[at + 40 + 3 * component] -= fall
        elif marker == _QCD:
            _lower_exponents(frame, at, fall)
        elif marker == _QCC:
            raise ValueError("a component with quantization of its own")
    return bytes(frame)


def _segments(frame: bytearray) -> Iterator[tuple[int, int]]:
    """Yield the marker segments of the main header and where they start."""
    at = 2
    while (marker := int.from_bytes(frame[at : at + 2], "big")) not in _TILE_PARTS:
        if at + 4 > len(frame):
            raise ValueError("no tile part")
        yield marker, at
        at += 2 + int.from_bytes(frame[at + 2 : at + 4], "big")


def _lower_exponents(frame: bytearray, at: int, fall: int) -> None:
    """Lower the exponents of a QCD segment by `fall` and raise its guard bits as much (ISO 15444-1 A.6.4)."""
    end = at + 2 + int.from_bytes(frame[at + 2 : at + 4], "big")
    guard, style = frame[at + 4] >> 5, frame[at + 4] & 0x1F
    if guard + fall > _MOST_GUARD_BITS:
        raise ValueError(f"{fall} bits less than written")
    frame[at + 4] = guard + fall << 5 | style
    # Without loss (style 0) a byte a subband, with loss two; the exponent is the highest five bits.
    for position in range(at + 5, end, 2 if style else 1):
        if frame[position] >> 3 < fall:
            raise ValueError("the step is too large for the precision")
        frame[position] -= fall << 3
