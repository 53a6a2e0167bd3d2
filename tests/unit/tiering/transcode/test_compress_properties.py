"""Any picture there can be is either compressed and proven, or refused with a reason; nothing in between."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from pydicom.pixels.utils import pixel_array

from tests.unit.tiering.transcode.building import BIG, EXPLICIT, IMPLICIT, Module, converted
from tests.unit.tiering.transcode.compressing import FREE, J2K, JPEG_LS, SEALED, compressed, native
from tiering.errors import CannotCompress, CodecFailed, NotLossless

SIDES = st.integers(1, 70)
KINDS: dict[str, Callable[[Any, int, int, tuple[int, ...]], Any]] = {
    "noise": lambda random, low, high, shape: random.integers(low, high, shape, endpoint=True),
    "extremes": lambda random, low, high, shape: np.where(random.random(shape) < 0.5, low, high),
    "flat": lambda random, low, high, shape: np.full(shape, high),
    "low": lambda random, low, high, shape: np.full(shape, low),
    "sparse": lambda random, low, high, shape: np.where(random.random(shape) < 0.02, high, 0),
}


@st.composite
def modules(draw: st.DrawFn) -> Module:
    """Draw pictures: bits, signedness, size, frames, photometric interpretation, contents."""
    allocated = draw(st.sampled_from([8, 16]))
    stored = draw(st.integers(1, allocated))
    colours = draw(st.sampled_from([1, 1, 3]))
    signed = colours == 1 and draw(st.booleans())
    frames = draw(st.integers(1, 4))
    shape = (draw(SIDES), draw(SIDES)) + ((3,) if colours == 3 else ())
    low, high = (-(1 << stored - 1), (1 << stored - 1) - 1) if signed else (0, (1 << stored) - 1)
    random = np.random.default_rng(draw(st.integers(0, 1 << 30)))
    samples = KINDS[draw(st.sampled_from(sorted(KINDS)))](random, low, high, (frames, *shape) if frames > 1 else shape)
    names = ["RGB", "YBR_FULL"] if colours == 3 else ["MONOCHROME1", "MONOCHROME2"]
    return Module(
        samples.astype(f"{'i' if signed else 'u'}{allocated // 8}"),
        frames=frames,
        bits_stored=stored,
        signed=signed,
        photometric=draw(st.sampled_from(names)),
    )


@pytest.mark.parametrize("uid", SEALED)
@given(module=modules(), source_uid=st.sampled_from([EXPLICIT, IMPLICIT, BIG]))
@settings(max_examples=60, deadline=None)
def test_every_picture_comes_back_or_stays(uid: str, module: Module, source_uid: str) -> None:
    """Whatever its size, depth, sign, colours and contents, a compressed picture is the picture."""
    dataset = native(module)
    try:
        result = compressed(converted(dataset, EXPLICIT, source_uid), uid=uid, source_uid=source_uid, policy=FREE)
    except (CannotCompress, CodecFailed, NotLossless) as exc:
        # OpenJPEG's colour transform overflows for some colours of few bits: that is seen, and it is not offered.
        is_colour = module.photometric in ("RGB", "YBR_FULL")
        expected = is_colour and (module.bits_stored < 8 or isinstance(exc, CannotCompress))
        assert (uid == JPEG_LS and not isinstance(exc, NotLossless)) or (uid == J2K and expected), exc
        return
    assert result.native == dataset
    assert result.facts.pixel_sha256 == hashlib.sha256(module.samples.tobytes()).hexdigest()


@given(module=modules())
@settings(max_examples=25, deadline=None)
def test_an_independent_reader_sees_the_same(module: Module) -> None:
    """pydicom, with pylibjpeg-openjpeg, gives the samples of the original; the codec itself undoes YBR_RCT."""
    found = pixel_array(compressed(native(module), policy=FREE).found, raw=True)
    assert np.array_equal(found.reshape(module.samples.shape), module.samples)


@given(module=modules(), stray=st.integers(0, 1 << 30), bit=st.integers(0, 15))
@settings(max_examples=60, deadline=None)
def test_a_stray_bit_is_never_lost(module: Module, stray: int, bit: int) -> None:
    """Whatever bit of whatever sample is set, it is carried or the picture stays."""
    samples = module.samples.copy()
    flat = samples.reshape(-1).view(f"u{samples.dtype.itemsize}")
    flat[stray % flat.size] |= np.array(1 << bit % (8 * samples.dtype.itemsize)).astype(flat.dtype)
    module.samples = samples
    try:
        result = compressed(native(module), policy=FREE)
    except CannotCompress as exc:
        assert "uses bits above Bits Stored" in str(exc)
        return
    assert result.native == native(module)
