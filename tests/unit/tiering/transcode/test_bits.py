"""How frames of single bits are joined."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from hypothesis import given, strategies as st

from tiering.transcode.bits import join_bits


@given(st.integers(1, 40), st.integers(1, 6), st.integers(0, 2**32 - 1))
def test_no_bit_is_lost_or_moved(frame_bits: int, count: int, seed: int) -> None:
    """The joined run holds every frame's bits in order, and zeros only behind the last."""
    frames = np.random.default_rng(seed).integers(0, 2, (count, frame_bits), dtype="u1")
    packed = [np.packbits(frame, bitorder="little").tobytes() for frame in frames]
    joined = np.frombuffer(b"".join(join_bits(packed, frame_bits)), "u1")
    bits = np.unpackbits(joined, bitorder="little")
    assert len(joined) == (count * frame_bits + 7) // 8
    assert np.array_equal(bits[: frames.size], frames.ravel())
    assert not bits[frames.size :].any()


def test_what_fills_a_frame_up_does_not_get_in() -> None:
    """Bits beyond a frame's last pixel, whatever they are, do not reach the next frame."""
    assert b"".join(join_bits([b"\xfb", b"\xfe"], 3)) == b"\x33"


def test_frames_are_joined_one_at_a_time() -> None:
    """Bytes that are complete come out before the next frame is asked for."""
    asked = []

    def frames() -> Iterator[bytes]:
        for number in range(3):
            asked.append(number)
            yield b"\xff\x0f"

    joined = join_bits(frames(), 12)
    assert next(joined) == b"\xff"
    assert asked == [0]
