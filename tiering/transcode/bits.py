"""Frames of single bits joined into one run of bits; must not know where the frames come from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np


def join_bits(frames: Iterable[bytes], frame_bits: int) -> Iterator[bytes]:
    """Yield `frames`, each `frame_bits` bits filled up to whole bytes, as one run without the filling.

    Native pixel data of Bits Allocated 1 do not start a frame on a byte (PS3.5 8.1.1), encapsulated ones do. The
    first pixel is the least significant bit.
    """
    rest = np.empty(0, "u1")
    for frame in frames:
        added = np.unpackbits(np.frombuffer(frame, "u1"), count=frame_bits, bitorder="little")
        bits = np.concatenate((rest, added))
        whole = len(bits) - len(bits) % 8
        yield np.packbits(bits[:whole], bitorder="little").tobytes()
        rest = bits[whole:]
    yield np.packbits(rest, bitorder="little").tobytes()
