"""Decodes JPEG 2000 and JPEG-LS with FFmpeg's own decoders, to prove other libraries' work; must not serve a reader.

FFmpeg has decoders of its own for both, by other authors than OpenJPEG's and CharLS's. OpenCV's package brings them (a
build under the LGPL, without OpenJPEG) and is optional: it is loaded when it is asked for, and nothing else imports
it. Only its FFmpeg is used: the JPEG 2000 of ``cv2.imread`` is OpenJPEG again.

FFmpeg decodes in the process of the archive. Frames come from encoders of the archive alone, never from a peer.

What comes back is told by what goes in: grey in 8 or 16 bits, the codestream's bits at their upper end, signed samples
raised by half of their range; colours (of up to 8 bits) as blue, green, red. Each call has a decoder of its own and
releases the interpreter: threads may decode at once.
"""

from __future__ import annotations

import io
import os
import re
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tiering.transcode.codestream import Codestream, read_codestream
from tiering.transcode.syntaxes import Codec

PACKAGE: Final = "opencv-python-headless"
_SIZ_SIGN: Final = 42
"""The byte of a bare codestream whose highest bit says that the first component is signed (ISO 15444-1 A.5.1)."""
_STARTS: Final = {Codec.JPEG_2000: b"\xff\x4f\xff\x51", Codec.JPEG_LS: b"\xff\xd8\xff\xf7"}
"""How FFmpeg knows a stream; it takes no JPEG-LS with a header of an application before the frame's."""
_LARGEST_COLOUR_BITS: Final = 8


def is_usable() -> bool:
    """Return whether there is an OpenCV whose FFmpeg reads from memory; loads it."""
    try:
        cv2 = _library()
    except RuntimeError:
        return False
    return cv2.CAP_FFMPEG in cv2.videoio_registry.getStreamBufferedBackends()


def decoder_version() -> str:
    """Return the versions of FFmpeg's decoders and of the package that brings them, "unknown" without it."""
    try:
        cv2 = _library()
    except RuntimeError:
        return "unknown"
    found = re.search(r"avcodec:\s+YES \(([\d.]+)\)", cv2.getBuildInformation())
    return f"libavcodec {found[1] if found else 'unknown'} of OpenCV {cv2.__version__}"


def decode(codec: Codec, frame: bytes) -> NDArray[Any]:
    """Return the samples of a JPEG 2000 or JPEG-LS frame: rows, columns and, for colours, three samples.

    Samples of JPEG-LS are unsigned, those of JPEG 2000 as the codestream says. Raises ValueError for a codestream that
    these decoders do not take, RuntimeError when they refuse it, or yield a picture of another form, or are missing.
    """
    head = read_codestream(codec, frame)
    if not frame.startswith(_STARTS[codec]) or head.samples not in (1, 3):
        raise ValueError("not a bare codestream of one or three components")
    if head.samples == 3 and head.precision > _LARGEST_COLOUR_BITS:
        raise ValueError(f"colours of {head.precision} bits")
    is_signed = codec is Codec.JPEG_2000 and frame[_SIZ_SIGN] & 0x80 != 0
    return _Form(head, is_signed).restore(_read(frame, is_colour=head.samples == 3))


@dataclass(frozen=True, slots=True)
class _Form:
    """What a codestream says of its samples."""

    head: Codestream
    is_signed: bool

    def restore(self, found: NDArray[Any]) -> NDArray[Any]:
        """Return the samples as they were encoded; raise RuntimeError when the picture is of another form."""
        head = self.head
        width = 8 if head.precision <= 8 else 16
        shape = (head.rows, head.columns, *((3,) if head.samples == 3 else ()))
        if found.shape != shape or found.dtype != np.dtype(f"u{width // 8}"):
            raise RuntimeError(f"{found.dtype} samples of shape {found.shape} decoded, not {shape} of {width} bits")
        samples = found >> (width - head.precision)
        if self.is_signed:
            # may wrap in between; what so many bits hold comes out right
            samples = (samples - samples.dtype.type(1 << head.precision - 1)).view(f"i{width // 8}")
        return np.ascontiguousarray(samples[..., ::-1]) if head.samples == 3 else samples


def _read(frame: bytes, *, is_colour: bool) -> NDArray[Any]:
    """Return the first picture of a stream as OpenCV has it; colours are asked for, else it takes them for grey.

    The capture is left to go by itself: its ``release`` lets go of the stream without holding the interpreter, and
    the process dies of it (seen with OpenCV 5.0).
    """
    cv2 = _library()
    options = [cv2.CAP_PROP_CONVERT_RGB, int(is_colour), cv2.CAP_PROP_N_THREADS, 1]
    try:
        capture = cv2.VideoCapture(io.BufferedReader(io.BytesIO(frame)), cv2.CAP_FFMPEG, options)
        is_there, picture = capture.read()
    except cv2.error as exc:
        raise RuntimeError(str(exc)) from exc
    if not is_there or picture is None:
        raise RuntimeError("FFmpeg finds no picture in the frame")
    found: NDArray[Any] = picture
    return found


@cache
def _library() -> ModuleType:
    """Return OpenCV, silenced: it would write to standard error at every frame."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    try:
        import cv2  # noqa: PLC0415  optional, large, and slow to load
    except ImportError as exc:
        raise RuntimeError(f"FFmpeg's decoders are missing: install {PACKAGE} ({exc})") from exc
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    return cv2
