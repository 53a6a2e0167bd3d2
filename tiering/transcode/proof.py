"""Proof that a compressed frame is the frame it was made from; must not encode nor write anything."""

from __future__ import annotations

from typing import Final

import numpy as np

from tiering.errors import CodecFailed, NotLossless
from tiering.transcode.codecs import FAULTS, Samples
from tiering.transcode.codestream import Codestream, read_codestream
from tiering.transcode.encoders import Encoder
from tiering.transcode.picture import Picture

_END: Final = b"\xff\xd9"
"""EOC of JPEG 2000 and EOI of JPEG-LS."""


def encode_proven(encoder: Encoder, picture: Picture, samples: Samples, index: int) -> bytes:
    """Return a frame's codestream, of even length, that the encoder's second library decodes to the very same samples.

    Raises CodecFailed when either library refuses, NotLossless when the codestream describes another picture, or
    any sample of it differs. The padded bytes are proven, as they will be stored: decoders may read on behind the
    end of a codestream.
    """
    try:
        bare = encoder.encode(picture, samples)
    except FAULTS as exc:
        raise CodecFailed(codec=encoder.name_encoder().name, frame=index, reason=str(exc)) from exc
    frame = bare + bytes(len(bare) % 2)
    prove(encoder, picture, samples=samples, frame=frame, index=index)
    return frame


def prove(encoder: Encoder, picture: Picture, *, samples: Samples, frame: bytes, index: int) -> None:
    """Raise NotLossless or CodecFailed unless `frame` is `samples`."""
    try:
        head = read_codestream(encoder.codec, frame)
        decoded = encoder.decode(frame)
    except FAULTS as exc:
        raise CodecFailed(codec=encoder.name_decoder().name, frame=index, reason=str(exc)) from exc
    if not (_fits(picture, head) and _ends(frame) and _is_same(encoder.coded(picture, samples), decoded)):
        raise NotLossless(frame=index)


def _fits(picture: Picture, head: Codestream) -> bool:
    """Return whether the codestream's own header agrees with the data set (PS3.5 8.2.4)."""
    described = (picture.rows, picture.columns, picture.samples, picture.bits_stored)
    return head.start == 0 and (head.rows, head.columns, head.samples, head.precision) == described


def _ends(frame: bytes) -> bool:
    """Return whether the codestream is complete: some decoders make do without its end, others do not."""
    return frame.endswith((_END, _END + b"\0"))


def _is_same(samples: Samples, decoded: object) -> bool:
    """Return whether both have the same shape, the same sign and the same values; widths may differ."""
    if not isinstance(decoded, np.ndarray) or decoded.dtype.kind != samples.dtype.kind:
        return False
    return decoded.shape == samples.shape and bool((decoded == samples).all())
