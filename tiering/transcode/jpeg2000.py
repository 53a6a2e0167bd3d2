"""One frame to JPEG 2000, with or without loss, and back by another library; must not judge what the loss does.

OpenJPEG (through imagecodecs) encodes, FFmpeg's own decoder decodes. Both release the interpreter and keep no state, so
that any number of threads may work at once. (pylibjpeg-openjpeg's encoder is not used: it crashes in two threads.)

OpenJPEG is not steered by a quantization step: it quantizes finely, then drops coding passes until the mean squared
error it expects is that of a given PSNR, relative to the range of the precision. A uniform quantizer of a step has
the mean squared error step^2 / 12, so each step has its PSNR: what is called a step here is that one's. On a
phantom of a CT of 512 x 512 the error came to 0.96 to 1.00 times that of the step from a step of 8 on; rounding to
whole values adds to smaller ones. A larger step never made a frame larger.
"""

from __future__ import annotations

import math
from typing import Any, Final

import imagecodecs
from numpy.typing import NDArray

from tiering.errors import CodecFailed, PixelMismatch
from tiering.transcode import ffmpeg
from tiering.transcode.codecs import FAULTS
from tiering.transcode.codestream import read_codestream
from tiering.transcode.irreversible import SampleFormat, check_samples
from tiering.transcode.syntaxes import Codec

Samples = NDArray[Any]

_LOWEST_DB: Final = 1.0
"""Below it OpenJPEG is told to drop nothing."""


def versions() -> tuple[str, str]:
    """Return name and version of the library that encodes and of the one that decodes."""
    return imagecodecs.jpeg2k_version(), f"ffmpeg {ffmpeg.decoder_version()}"


def decibels(step: float, bits_stored: int) -> float:
    """Return the PSNR (dB, of the range of so many bits) of rounding to multiples of a step; 1 at least."""
    return max(20 * math.log10(((1 << bits_stored) - 1) / step) + 10 * math.log10(12), _LOWEST_DB)


def encode(samples: Samples, step: float | None, layout: SampleFormat) -> bytes:
    """Return a frame as a JPEG 2000 codestream; `step` is a quantization step in stored values, None for no loss.

    Raises what `irreversible.encode` does. Colours without loss are of another Photometric Interpretation, YBR_RCT.
    """
    check_samples(samples, layout)
    level = None if step is None else decibels(step, layout.bits_stored)
    try:
        return write(samples, level, bits_stored=layout.bits_stored, is_rgb=layout.photometric == "RGB")
    except FAULTS as exc:
        raise CodecFailed(codec="JPEG 2000", frame=0, reason=str(exc)) from exc


def write(samples: Samples, decibels: float | None, *, bits_stored: int, is_rgb: bool) -> bytes:
    """Return what OpenJPEG makes of samples, by the 9/7 wavelet, or without loss by the 5/3 when `decibels` is None."""
    # imagecodecs writes no precision below 9 for samples of 16 bits
    narrow = samples.astype(f"{samples.dtype.kind}1") if bits_stored <= 8 else samples
    level: Any = decibels or 0  # said to be whole; OpenJPEG and imagecodecs take fractions
    frame = imagecodecs.jpeg2k_encode(
        narrow,
        level=level,
        codecformat="j2k",
        reversible=decibels is None,
        bitspersample=bits_stored,
        mct=is_rgb,
        numthreads=1,
    )
    return bytes(frame)


def decode(frame: bytes, layout: SampleFormat) -> Samples:
    """Return the samples of a frame, decoded by FFmpeg; raise CodecFailed or PixelMismatch when that cannot be."""
    try:
        head = read_codestream(Codec.JPEG_2000, frame)
        found = ffmpeg.decode(Codec.JPEG_2000, frame)
    except FAULTS as exc:
        raise CodecFailed(codec="FFmpeg", frame=0, reason=str(exc)) from exc
    if head.precision != layout.bits_stored or (found.dtype.kind == "i") != layout.is_signed:
        raise PixelMismatch(reason=f"{found.dtype} samples of {head.precision} bits were encoded")
    return found.astype(layout.dtype, copy=False)
