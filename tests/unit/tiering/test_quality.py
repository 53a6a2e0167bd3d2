"""How the difference of two frames is measured and judged."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from numpy.typing import NDArray
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from tiering.lossy_tables import load_gates
from tiering.quality import (
    SSIM_ROWS,
    FrameMetrics,
    Gate,
    PaddingRange,
    PixelFacts,
    measure,
    measure_errors,
    ssim,
    with_ssim,
)

Samples = NDArray[Any]

GATE = Gate(min_psnr_db=40.0, min_ssim=0.95, max_error=40.0)


def phantom(rows: int = 90, columns: int = 70, *, dtype: str = "i2", seed: int = 1) -> Samples:
    """Return a disc with a gradient and noise, -1000 to about 1100, or the same lifted to fit unsigned samples."""
    y, x = np.mgrid[:rows, :columns]
    inside = (y - rows / 2) ** 2 + (x - columns / 2) ** 2 < (min(rows, columns) / 2.2) ** 2
    noise = np.random.default_rng(seed).normal(0, 12, (rows, columns))
    values = np.where(inside, 40 + 1000 * x / columns, -1000) + noise
    return (values + (1100 if dtype == "u2" else 0)).round().astype(dtype)


def changed(original: Samples, *, by: int = 1, every: int = 7) -> Samples:
    """Return a copy in which some samples differ."""
    copy = original.copy()
    copy.reshape(-1)[::every] += by
    return copy


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2"])
def test_nothing_differs_from_itself(dtype: str) -> None:
    """A frame that came back exactly has no error, infinite PSNR and SSIM 1."""
    frame = np.random.default_rng(0).integers(0, 100, (20, 30)).astype(dtype)
    metrics = measure(frame, frame.copy(), frame=3)
    assert metrics == FrameMetrics(3, 0, 0.0, int(frame.max()) - int(frame.min()), math.inf, 1.0, 0)
    assert metrics.is_exact


@pytest.mark.parametrize("by", [1, -1, 300, -300])
def test_the_largest_error_counts_in_both_directions(by: int) -> None:
    """One sample that is off is found, above or below."""
    original = phantom()
    decoded = original.copy()
    decoded[40, 30] += by
    assert measure_errors(original, decoded).max_abs_error == abs(by)


def test_errors_do_not_wrap() -> None:
    """From the lowest to the highest value of 16 bits is 65535, signed or not."""
    for dtype in ("u2", "i2"):
        limits = np.iinfo(dtype)
        low, high = np.full((9, 9), limits.min, dtype), np.full((9, 9), limits.max, dtype)
        assert measure_errors(low, high).max_abs_error == 65535
        assert measure_errors(high, low).max_abs_error == 65535


@pytest.mark.parametrize(("slope", "scaled"), [(1.0, 10.0), (0.5, 5.0), (-2.0, 20.0)])
def test_errors_are_given_in_the_modalitys_unit(slope: float, scaled: float) -> None:
    """The rescale slope turns stored values into HU, whatever its sign; the intercept falls out."""
    original = phantom()
    metrics = measure_errors(original, changed(original, by=10), facts=PixelFacts(slope=slope))
    assert (metrics.max_abs_error, metrics.max_scaled_error) == (10, scaled)


@pytest.mark.parametrize("dtype", ["i2", "u2"])
def test_psnr_is_that_of_the_library(dtype: str) -> None:
    """PSNR, counted with the frame's own range, is what scikit-image finds."""
    original = phantom(dtype=dtype)
    decoded = changed(original, by=9, every=3)
    peak = int(original.max()) - int(original.min())
    expected = peak_signal_noise_ratio(original, decoded, data_range=peak)
    assert measure_errors(original, decoded).psnr_db == pytest.approx(expected, abs=1e-4)


def test_psnr_of_large_errors_is_exact_enough() -> None:
    """Errors whose squares fill single precision still give PSNR to a thousandth of a decibel."""
    original = np.zeros((300, 300), "u2")
    original[0, 0] = 60000
    decoded = (original.astype("i4") + np.arange(90000).reshape(300, 300) % 5000).clip(0, 65535).astype("u2")
    expected = peak_signal_noise_ratio(original, decoded, data_range=60000)
    assert measure_errors(original, decoded).psnr_db == pytest.approx(expected, abs=1e-3)


def test_padding_does_not_widen_the_range() -> None:
    """-2000 around a CT slice does not make PSNR look better."""
    original = phantom()
    original[:10] = -2000
    facts = PixelFacts(padding=PaddingRange(-2000, -2000))
    decoded = changed(original[10:], by=3)
    decoded = np.concatenate((original[:10], decoded))
    with_padding, without = measure_errors(original, decoded, facts=facts), measure_errors(original, decoded)
    assert with_padding.range == int(original[10:].max()) - int(original[10:].min())
    assert with_padding.psnr_db < without.psnr_db


def test_a_frame_of_padding_only_has_no_range() -> None:
    """A frame without a pixel must come back exactly: there is no range to forgive an error in."""
    original = np.full((12, 12), -2000, "i2")
    facts = PixelFacts(padding=PaddingRange(-2000, -2000))
    assert measure(original, original, facts=facts).is_exact
    off = measure(original, changed(original), facts=facts)
    assert (off.range, off.psnr_db, off.ssim) == (0, -math.inf, 0.0)
    assert not replace(GATE, max_error=100.0).passes(replace(off, padding_moved=0))


@pytest.mark.parametrize(("by", "moved"), [(1, 1), (-1, 1), (0, 0)])
def test_padding_that_changes_is_found(by: int, moved: int) -> None:
    """A padding sample one value off is no padding any more, and no error limit forgives that."""
    original = phantom()
    original[0] = -2000
    decoded = original.copy()
    decoded[0, 5] += by
    metrics = measure(original, decoded, facts=PixelFacts(padding=PaddingRange(-2000, -2000)))
    assert metrics.padding_moved == moved
    assert GATE.passes(metrics) == (moved == 0)


def test_a_pixel_that_becomes_padding_is_found() -> None:
    """A pixel that comes back as the padding value would vanish from the image."""
    original = phantom()
    original[3, 3] = -1999
    decoded = original.copy()
    decoded[3, 3] = -2000
    metrics = measure(original, decoded, facts=PixelFacts(padding=PaddingRange(-2000, -2000)))
    assert metrics.padding_moved == 1


def test_a_wider_declared_range_keeps_padding() -> None:
    """Where no pixel comes near, a range declared with the compressed object holds padding that moved a little."""
    original = phantom()
    original[:5] = -2000
    decoded = original.copy()
    decoded[:5, ::2] += 30
    padding = PaddingRange(-2000, -2000)
    after = padding.widened(40, (-32768, 32767))
    assert after == PaddingRange(-2040, -1960)
    assert measure(original, decoded, facts=PixelFacts(padding=padding)).padding_moved == 5 * 35
    assert measure(original, decoded, facts=PixelFacts(padding=padding, padding_after=after)).padding_moved == 0
    original[50, 50] = decoded[50, 50] = -1970
    assert measure(original, decoded, facts=PixelFacts(padding=padding, padding_after=after)).padding_moved == 1


def test_a_widened_range_stays_in_what_can_be_stored() -> None:
    """A range does not go below the lowest value nor above the highest."""
    assert PaddingRange(3, 4090).widened(40, (0, 4095)) == PaddingRange(0, 4095)


KINDS = {"i1": (-128, 127), "u1": (0, 255), "u2": (0, 4095), "i2": (-32768, 32767), "<u2": (0, 65535), "i4": (0, 9000)}


def library_ssim(original: Samples, decoded: Samples, peak: float, window: int = 7) -> float:
    """Return SSIM of a whole frame by scikit-image, in double precision."""
    axis = 2 if original.ndim == 3 else None
    one, other = original.astype("f8"), decoded.astype("f8")
    return float(structural_similarity(one, other, data_range=peak, channel_axis=axis, win_size=window))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("error", [1, 9, 900])
@pytest.mark.parametrize("shape", [(7, 7), (40, 33), (134, 40), (9, 1100), (22, 9, 3), (8, 1040, 3)])
def test_ssim_is_that_of_the_library(shape: tuple[int, ...], error: int, kind: str) -> None:
    """Computed tile by tile, with whole numbers of any width, SSIM is what scikit-image finds for the whole frame."""
    rng = np.random.default_rng(3)
    low, high = KINDS[kind]
    original = rng.integers(low, high, shape, endpoint=True).astype(kind)
    decoded = (original + rng.integers(-error, error, shape, endpoint=True)).clip(low, high).astype(kind)
    expected = library_ssim(original, decoded, float(high - low))
    assert ssim(original, decoded, high - low) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("window", [3, 5])
def test_ssim_of_a_small_frame_is_that_of_the_library(window: int) -> None:
    """With the largest odd window such a frame holds."""
    rng = np.random.default_rng(4)
    original = rng.integers(0, 4000, (window, 40)).astype("u2")
    decoded = (original + rng.integers(0, 90, original.shape)).astype("u2")
    assert ssim(original, decoded, 4000) == pytest.approx(library_ssim(original, decoded, 4000.0, window), abs=1e-9)


@settings(max_examples=60)
@given(st.integers(0, 2**32 - 1), st.integers(0, 60000), st.integers(0, 5000), st.integers(0, 3000))
def test_ssim_is_exact_whatever_the_values(seed: int, base: int, spread: int, error: int) -> None:
    """Large values with little between them, which rounding would lose: still the library's number."""
    rng = np.random.default_rng(seed)
    original = (base + rng.integers(0, spread, (12, 19), endpoint=True)).astype("u2")
    decoded = (original + rng.integers(0, error, original.shape, endpoint=True)).clip(0, 65535).astype("u2")
    peak = int(original.max()) - int(original.min())
    if peak:
        assert ssim(original, decoded, peak) == pytest.approx(library_ssim(original, decoded, float(peak)), abs=1e-7)


def test_ssim_of_a_large_frame_is_near_that_of_the_library() -> None:
    """Every other strip of a large frame stands for all of them, each to the library's digits."""
    original = phantom(400, 300)
    decoded = (original + np.random.default_rng(2).normal(0, 40, original.shape)).astype("i2")
    peak = int(original.max()) - int(original.min())
    assert ssim(original, decoded, peak) == pytest.approx(library_ssim(original, decoded, float(peak)), abs=0.005)
    strips = [slice(top, min(top + SSIM_ROWS, 394) + 6) for top in range(0, 394, 2 * SSIM_ROWS)]
    sums = [(rows.stop - rows.start - 6, library_ssim(original[rows], decoded[rows], float(peak))) for rows in strips]
    expected = sum(count * found for count, found in sums) / sum(count for count, _ in sums)
    assert ssim(original, decoded, peak) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("shape", [(1, 1), (2, 40), (40, 2), (3, 3), (5, 40), (6, 6), (2, 2, 3)])
def test_small_frames_are_measured(shape: tuple[int, ...]) -> None:
    """Frames smaller than a window have an SSIM: 1 when nothing differs, less when something does."""
    original = np.arange(np.prod(shape), dtype="u2").reshape(shape) * 50
    assert ssim(original, original, 100) == pytest.approx(1.0)
    assert ssim(original, original + np.uint16(7) * (original % 100 > 0), 5000) < 1 or original.size == 1


def test_a_constant_frame_that_changes_has_no_similarity() -> None:
    """A blank frame has no range; any change of it is a failure."""
    blank = np.full((20, 20), 5, "u2")
    assert measure(blank, blank).ssim == 1.0
    metrics = measure(blank, changed(blank))
    assert (metrics.ssim, metrics.psnr_db) == (0.0, -math.inf)


def test_ssim_is_measured_last() -> None:
    """Errors are known without SSIM, and a gate does not pass what was not measured in full."""
    original = phantom()
    errors = measure_errors(original, original)
    assert errors.ssim is None
    assert not GATE.passes(errors)
    assert not list(GATE.faults(errors))
    assert GATE.passes(with_ssim(errors, original, original))


GOOD = FrameMetrics(0, max_abs_error=40, max_scaled_error=40.0, range=1000, psnr_db=40.0, ssim=0.95)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"max_scaled_error": 40.5}, "largest error is 40.5, above 40"),
        ({"psnr_db": 39.9}, "PSNR is 39.90 dB, below 40"),
        ({"ssim": 0.949}, "SSIM is 0.9490, below 0.95"),
        ({"padding_moved": 1}, "1 samples became padding"),
        ({"psnr_db": math.nan}, "PSNR is nan"),
        ({"ssim": math.nan}, "SSIM is nan"),
        ({"max_scaled_error": math.nan}, "largest error is nan"),
    ],
)
def test_each_limit_bites_alone(change: dict[str, Any], fault: str) -> None:
    """At its limits a frame passes; beyond any one of them it does not, and the fault says which."""
    assert GATE.passes(GOOD)
    found = list(GATE.faults(replace(GOOD, **change)))
    assert len(found) == 1
    assert fault in found[0]
    assert not GATE.passes(replace(GOOD, **change))


def test_a_relative_limit_is_of_the_frames_range() -> None:
    """Four percent of a range of 1000 stored values is 40, whatever the slope."""
    gate = Gate(min_psnr_db=40.0, min_ssim=0.95, max_error_percent=4.0)
    assert gate.passes(replace(GOOD, max_scaled_error=9000.0))
    assert not gate.passes(replace(GOOD, max_abs_error=41))


def test_gates_are_found_by_region() -> None:
    """A brain has the brain's gate; a region nobody knows has to pass every gate of the modality."""
    gates = load_gates()
    brain, other, unknown = (gates.find("CT", region) for region in ("brain", "other", ""))
    assert brain is not None and other is not None and unknown is not None
    assert (brain.max_error, other.max_error) == (8.0, 40.0)
    assert (unknown.max_error, unknown.min_psnr_db, unknown.min_ssim) == (8.0, 55.0, 0.985)
    assert gates.find("MR", "brain") == gates.find("MR", "")
    assert gates.find("PT", "") is None


LIMITS = st.builds(Gate, st.floats(20, 80), st.floats(0.5, 1), max_error=st.floats(1, 100), max_error_percent=st.none())
FOUND = st.builds(
    FrameMetrics,
    st.just(0),
    st.integers(0, 100),
    st.floats(0, 100),
    st.just(1000),
    st.floats(10, 100),
    st.floats(0, 1),
    st.integers(0, 1),
)


@given(LIMITS, LIMITS, FOUND)
def test_a_tightened_gate_passes_what_both_pass(one: Gate, other: Gate, metrics: FrameMetrics) -> None:
    """Of two gates the stricter limits hold: nothing passes that one of them refuses."""
    assert one.tightened(other).passes(metrics) == (one.passes(metrics) and other.passes(metrics))


SHAPES = st.tuples(st.integers(1, 20), st.integers(1, 20))


@given(SHAPES, st.integers(0, 2**32 - 1), st.integers(1, 400))
def test_more_error_never_looks_better(shape: tuple[int, int], seed: int, by: int) -> None:
    """Doubling every difference doubles the largest error and lowers PSNR."""
    rng = np.random.default_rng(seed)
    original = rng.integers(-1000, 1000, shape).astype("i2")
    noise = rng.integers(-by, by + 1, shape).astype("i2")
    once, twice = measure_errors(original, original + noise), measure_errors(original, original + 2 * noise)
    assert twice.max_abs_error == 2 * once.max_abs_error
    assert twice.psnr_db <= once.psnr_db
