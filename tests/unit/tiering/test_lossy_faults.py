"""What codecs may do wrong, and what holds of the search whatever the series: properties and damaged frames."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from tests.unit.tiering.lossy_series import CT, GATE, LIMITS, SERIES, Samples, check, phantom, search
from tiering.errors import CodecFailed, PixelMismatch
from tiering.lossy import CodecPair, Limits, find_strongest
from tiering.lossy_series import htj2k_pair
from tiering.quality import Gate
from tiering.transcode.syntaxes import HTJ2K_LOSSY

# ---- faulty codecs -------------------------------------------------------------------------------------------------


def noise(samples: Samples) -> Samples:
    """Return a frame of noise."""
    return np.random.default_rng(0).integers(-1000, 1000, samples.shape).astype(samples.dtype)


def without_a_block(samples: Samples) -> Samples:
    """Return a frame in which a few pixels are blank, as a lost code-block leaves them."""
    copy = samples.copy()
    copy[40:44, 40:44] = 0
    return copy


def one_pixel(samples: Samples) -> Samples:
    """Return a frame in which a single pixel is far off."""
    copy = samples.copy()
    copy[50, 50] += 100
    return copy


DAMAGES: dict[str, Callable[[Samples], Any]] = {
    "noise": noise,
    "blank": np.zeros_like,
    "white": lambda samples: np.full_like(samples, 2047),
    "shifted by a pixel": lambda samples: np.roll(samples, 1, axis=1),
    "upside down": lambda samples: samples[::-1].copy(),
    "inverted": lambda samples: -samples,
    "transposed": lambda samples: samples.T.copy(),
    "half as bright": lambda samples: samples // 2,
    "lifted": lambda samples: samples + np.int16(60),
    "without a sign": lambda samples: samples & np.int16(0x0FFF),
    "lost block": without_a_block,
    "one pixel": one_pixel,
    "cut": lambda samples: samples[:-1],
    "unsigned": lambda samples: samples.view("u2"),
    "wider": lambda samples: samples.astype("i4"),
    "flat": lambda samples: samples.reshape(-1),
}


def damaged(damage: Callable[[Samples], Any], only: Callable[[Samples], bool]) -> CodecPair:
    """Return the shipped codecs with a decoder that damages the frames `only` is true of."""
    good = htj2k_pair(CT)

    def decode(frame: bytes) -> Samples:
        samples = good.decode(frame)
        return damage(samples) if only(samples) else samples

    return replace(good, decode=decode)


LAST = int(SERIES[-1][48, 48])
MARKED = [frame.copy() for frame in SERIES]
MARKED[7][:8, :8] = 2000


def is_marked(samples: Samples) -> bool:
    """Tell the marked frame from the others, after loss too."""
    return bool(samples[:8, :8].mean() > 1000)


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
@pytest.mark.parametrize("only", [is_marked, lambda _: True], ids=["one frame", "every frame"])
def test_a_damaged_frame_keeps_the_series_lossless(damage: Callable[[Samples], Any], only: Any) -> None:
    """Whatever a codec does to one frame only, no frame of the series goes lossy, and the reason names the frame."""
    choice = find_strongest(MARKED, limits=LIMITS, codecs=damaged(damage, only))
    assert not choice.is_lossy
    assert choice.frames == ()
    assert choice.reason.startswith("frame 8: " if only is is_marked else "frame ")


@pytest.mark.parametrize("error", [CodecFailed(codec="X", frame=0, reason="no"), PixelMismatch(reason="no")])
@pytest.mark.parametrize("side", ["encode", "decode"])
def test_a_codec_that_refuses_keeps_the_series_lossless(error: Exception, side: str) -> None:
    """A codec's refusal is a reason, not a crash."""

    def refuse(*_: Any) -> Any:
        raise error

    good = htj2k_pair(CT)
    codecs = replace(good, encode=refuse) if side == "encode" else replace(good, decode=refuse)
    choice = find_strongest(SERIES, limits=LIMITS, codecs=codecs)
    assert not choice.is_lossy
    assert "no" in choice.reason


def test_an_exact_form_that_is_not_exact_is_refused() -> None:
    """A frame said to be without loss has to come back without one."""
    good = htj2k_pair(CT)
    plain = np.full((96, 96), -1000, "i2")
    plain[40, 40] = 1000
    # The last byte of COD says which wavelet: 1 for the reversible one (ISO 15444-1 A.6.1).
    codecs = replace(good, decode=lambda frame: good.decode(frame) + np.int16(frame[frame.index(b"\xff\x52") + 13]))
    choice = find_strongest([*SERIES, plain], limits=LIMITS, codecs=codecs)
    assert not choice.is_lossy
    assert choice.reason == "frame 13: it comes back changed though compressed without loss"


def test_a_codec_that_changes_its_mind_comes_to_an_end() -> None:
    """When a frame passes once and fails the next time, the search still ends, after a bounded number of trials."""
    good = htj2k_pair(CT)
    calls = 0

    def decode(frame: bytes) -> Samples:
        nonlocal calls
        calls += 1
        return good.decode(frame) + np.int16(41 * (calls % 3 == 0))

    choice = find_strongest(SERIES, limits=LIMITS, codecs=replace(good, decode=decode))
    assert not choice.is_lossy or all(GATE.passes(frame.metrics) for frame in choice.frames)
    assert calls < 2000


def test_a_codec_cannot_verify_itself() -> None:
    """Encoder and decoder of one library, whatever the versions, are no pair."""
    with pytest.raises(AssertionError, match="verify itself"):
        replace(htj2k_pair(CT), decoder="openjph 9.9")


# ---- properties, with a codec that is arithmetic -----------------------------------------------------------------


def toy() -> CodecPair:
    """Return a codec that rounds samples to multiples of the step: a larger step, larger errors, a smaller frame."""

    def encode(samples: Samples, step: float | None) -> bytes:
        levels = np.round(samples / (step or 1.0)).astype("<i2")
        head = np.float64(step or 1.0).tobytes() + np.array(samples.shape, "<i4").tobytes()
        return head + zlib.compress(levels.tobytes(), 1)

    def decode(frame: bytes) -> Samples:
        shape = np.frombuffer(frame, "<i4", 2, 8)
        levels = np.frombuffer(zlib.decompress(frame[16:]), "<i2").reshape(shape)
        return (levels * float(np.frombuffer(frame, "f8", 1)[0])).round().astype("i2")

    return CodecPair(HTJ2K_LOSSY, "toy 1", "other 1", encode, decode)


def small(seed: int) -> Samples:
    """Return a small noisy slice."""
    return phantom(seed, size=40, noise=5 + seed % 37)


FRAMES = st.lists(st.integers(0, 2**16).map(small), min_size=1, max_size=9)
ERRORS = st.floats(2.0, 120.0)


def limits_of(error: float) -> Limits:
    """Return limits the largest error decides."""
    return Limits(50.0, Gate(20.0, 0.5, max_error=error))


@settings(max_examples=40)
@given(FRAMES, ERRORS)
def test_a_series_passes_only_if_every_frame_passes(frames: list[Samples], error: float) -> None:
    """Whatever the series, a lossy choice holds for each frame, measured again from the start."""
    limits = limits_of(error)
    choice = search(frames, limits=limits)
    if choice.is_lossy:
        check(choice, frames, htj2k_pair(CT))
    else:
        assert choice.reason


@settings(max_examples=40)
@given(FRAMES, st.integers(0, 2**16).map(small), ERRORS)
def test_adding_a_frame_never_weakens(frames: list[Samples], added: Samples, error: float) -> None:
    """With one frame more the step is never larger: no frame is outvoted."""
    fewer, more = (find_strongest(some, limits=limits_of(error), codecs=toy()) for some in (frames, [*frames, added]))
    assert fewer.is_lossy or not more.is_lossy or "save" in fewer.reason
    if fewer.is_lossy and more.is_lossy:
        assert (more.step or 0) <= (fewer.step or 0)


@settings(max_examples=40)
@given(st.permutations([small(seed) for seed in range(7)]), ERRORS)
def test_the_order_of_frames_does_not_matter(frames: list[Samples], error: float) -> None:
    """Which frames were tried first decides how long the search takes, not what it comes to."""
    in_order = find_strongest([small(seed) for seed in range(7)], limits=limits_of(error), codecs=toy())
    assert find_strongest(frames, limits=limits_of(error), codecs=toy()).step == in_order.step


@settings(max_examples=40)
@given(FRAMES, st.floats(1.5, 20.0))
def test_no_cap_is_ever_exceeded(frames: list[Samples], cap: float) -> None:
    """Every frame is within the cap, or lost nothing."""
    choice = search(frames, limits=Limits(cap, Gate(20.0, 0.5, max_error=500.0)))
    for frame in choice.frames:
        assert frame.ratio <= cap or (frame.step is None and frame.metrics.is_exact)


@settings(max_examples=30)
@given(FRAMES, ERRORS, st.floats(0.1, 1.0))
def test_a_stricter_gate_never_allows_more(frames: list[Samples], error: float, share: float) -> None:
    """Lowering the error limit never raises the largest error found."""
    loose, strict = (search(frames, limits=limits_of(limit)) for limit in (error, error * share))
    if strict.is_lossy:
        assert max(frame.metrics.max_scaled_error for frame in strict.frames) <= error * share
        assert loose.is_lossy
