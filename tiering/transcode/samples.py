"""Native frames as arrays of samples, and what their unused bits may be; must not know how frames are stored."""

from __future__ import annotations

import numpy as np

from tiering.errors import CannotCompress
from tiering.transcode.codecs import Samples
from tiering.transcode.picture import Picture


def to_samples(picture: Picture, native: bytes) -> Samples:
    """Return a native little-endian frame as rows, columns and, when there are several, samples.

    Planes of colours (Planar Configuration 1, PS3.3 C.7.6.3.1.3) are put together by pixel.
    """
    flat = np.frombuffer(native, f"<{'i' if picture.signed else 'u'}{picture.bits_allocated // 8}")
    if picture.samples == 1:
        return flat.reshape(picture.rows, picture.columns)
    if picture.native_planar == 1:
        planes = flat.reshape(picture.samples, picture.rows, picture.columns)
        return np.ascontiguousarray(np.moveaxis(planes, 0, -1))
    return flat.reshape(picture.rows, picture.columns, picture.samples)


def check_unused_bits(picture: Picture, samples: Samples, index: int) -> None:
    """Raise CannotCompress when the bits above Bits Stored are not zeros, or the sign of signed samples.

    Codecs carry Bits Stored bits: overlays and other guests of the unused ones (PS3.5 8.1.1) would be lost.
    """
    if picture.bits_stored == picture.bits_allocated:
        return
    low, high = value_range(picture)
    if samples.max() > high or (picture.signed and samples.min() < low):
        raise CannotCompress(reason=f"frame {index} uses bits above Bits Stored")


def value_range(picture: Picture) -> tuple[int, int]:
    """Return the lowest and the highest value Bits Stored bits hold."""
    if picture.signed:
        return -(1 << picture.bits_stored - 1), (1 << picture.bits_stored - 1) - 1
    return 0, (1 << picture.bits_stored) - 1
