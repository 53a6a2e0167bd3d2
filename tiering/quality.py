"""How far a decoded frame is from its original, and whether that is near enough; must not compress nor decode.

Maximum error and PSNR are computed on every sample. Structural similarity (SSIM) is scikit-image's to twelve digits, in
a quarter of its time: tests compare the two. Plain SSIM follows radiologists no better than the root mean square error:
it is the third check, never the only one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[Any]

SSIM_WINDOW: Final = 7
"""Side of the window, in pixels: scikit-image's default; smaller frames get the largest odd window they hold."""
SSIM_ROWS: Final = 32
SSIM_COLUMNS: Final = 1024
"""Windows computed at a time, down and across: what is worked on then stays in the processor's cache."""
SSIM_WHOLE_ROWS: Final = 128
"""In frames with more rows of windows every other strip is computed, from the first: SSIM is a mean over the frame
and takes longer than all the rest. What is wrong in one place only is for the maximum error, which misses no sample.
"""


@dataclass(frozen=True, slots=True)
class PaddingRange:
    """Stored values that mean "no pixel here": Pixel Padding Value and its Range Limit (PS3.3 C.7.5.1.1.2)."""

    low: int
    high: int

    def mask(self, samples: Samples) -> NDArray[np.bool_]:
        """Return where samples are padding."""
        return (samples >= self.low) & (samples <= self.high)

    def widened(self, by: int, limits: tuple[int, int]) -> PaddingRange:
        """Return a range that takes samples moved `by` at most, inside what can be stored (`limits`)."""
        return PaddingRange(max(self.low - by, limits[0]), min(self.high + by, limits[1]))


@dataclass(frozen=True, slots=True)
class PixelFacts:
    """What the samples of a series mean.

    `slope` is Rescale Slope, the steepest when frames differ. `padding` is the original's; `padding_after` is what
    the compressed object will declare, the original's unless given.
    """

    slope: float = 1.0
    padding: PaddingRange | None = None
    padding_after: PaddingRange | None = None


@dataclass(frozen=True, slots=True)
class FrameMetrics:
    """One decoded frame against its original.

    `max_abs_error` is in stored values, `max_scaled_error` in the modality's unit (HU for CT: times the rescale
    slope; the intercept falls out). `range` is the peak PSNR and SSIM are counted with: highest minus lowest stored
    value of the original, padding left out; it makes both stricter than the range the bits could hold.
    `psnr_db` is infinite when nothing differs. `ssim` is None when it was not measured. `padding_moved` counts the
    samples that became padding or ceased to be.
    """

    frame: int
    max_abs_error: int
    max_scaled_error: float
    range: int
    psnr_db: float
    ssim: float | None = None
    padding_moved: int = 0

    @property
    def is_exact(self) -> bool:
        """Return whether no sample differs."""
        return self.max_abs_error == 0


@dataclass(frozen=True, slots=True)
class Gate:
    """What every frame of a series must hold; see `tiering/rules/gates.toml` for what each limit means and why.

    Exactly one of `max_error` (in the modality's unit) and `max_error_percent` (of the frame's range) is set.
    """

    min_psnr_db: float
    min_ssim: float
    max_error: float | None = None
    max_error_percent: float | None = None
    rationale: str = ""

    def faults(self, metrics: FrameMetrics) -> Iterator[str]:
        """Yield what is wrong with a frame; SSIM is left out when it was not measured. Not a number is wrong."""
        if metrics.padding_moved:
            yield f"{metrics.padding_moved} samples became padding or ceased to be"
        if metrics.is_exact:
            return
        error, limit = self._error(metrics)
        if not error <= limit:
            yield f"the largest error is {error:g}, above {limit:g}"
        if not metrics.psnr_db >= self.min_psnr_db:
            yield f"PSNR is {metrics.psnr_db:.2f} dB, below {self.min_psnr_db:g}"
        if metrics.ssim is not None and not metrics.ssim >= self.min_ssim:
            yield f"SSIM is {metrics.ssim:.4f}, below {self.min_ssim:g}"

    def passes(self, metrics: FrameMetrics) -> bool:
        """Return whether a frame, measured in full, is near enough."""
        return metrics.ssim is not None and not any(self.faults(metrics))

    def _error(self, metrics: FrameMetrics) -> tuple[float, float]:
        if self.max_error is not None:
            return metrics.max_scaled_error, self.max_error
        return float(metrics.max_abs_error), metrics.range * (self.max_error_percent or 0.0) / 100

    def tightened(self, other: Gate) -> Gate:
        """Return the stricter of both in every limit; where one kind of error limit is missing, ours stays."""
        return replace(
            self,
            min_psnr_db=max(self.min_psnr_db, other.min_psnr_db),
            min_ssim=max(self.min_ssim, other.min_ssim),
            max_error=_lower(self.max_error, other.max_error),
            max_error_percent=_lower(self.max_error_percent, other.max_error_percent),
        )


@dataclass(frozen=True, slots=True)
class GateTable:
    """The gates by modality and region ("" for a whole modality)."""

    version: str
    gates: Mapping[tuple[str, str], Gate]

    def find(self, modality: str, region: str) -> Gate | None:
        """Return the gate of a series, None when there is none: it then stays lossless.

        When the region is not known, every gate of the modality holds.
        """
        mine = {key[1]: gate for key, gate in self.gates.items() if key[0] == modality}
        if not mine or region in mine:
            return mine.get(region)
        if "" in mine:
            return mine[""]
        first, *others = (mine[name] for name in sorted(mine))
        for other in others:
            first = first.tightened(other)
        return first


def _lower(ours: float | None, theirs: float | None) -> float | None:
    return ours if ours is None or theirs is None else min(ours, theirs)


def measure(original: Samples, decoded: Samples, *, frame: int = 0, facts: PixelFacts | None = None) -> FrameMetrics:
    """Return the metrics of a decoded frame: rows, columns and, for colours, samples; both of one shape, integers."""
    metrics = measure_errors(original, decoded, frame=frame, facts=facts)
    return with_ssim(metrics, original, decoded)


def measure_errors(
    original: Samples, decoded: Samples, *, frame: int = 0, facts: PixelFacts | None = None
) -> FrameMetrics:
    """Return the metrics without SSIM, which takes ten times longer than the others."""
    assert original.shape == decoded.shape and original.size, "frames of different sizes have no difference"
    facts = facts or PixelFacts()
    difference = np.subtract(original, decoded, dtype="i4").ravel()
    max_abs_error = max(int(difference.max()), -int(difference.min()))
    peak = _range(original, facts.padding)
    return FrameMetrics(
        frame=frame,
        max_abs_error=max_abs_error,
        max_scaled_error=max_abs_error * abs(facts.slope),
        range=peak,
        psnr_db=_psnr(difference, peak) if max_abs_error else math.inf,
        padding_moved=_padding_moved(original, decoded, facts),
    )


def with_ssim(metrics: FrameMetrics, original: Samples, decoded: Samples) -> FrameMetrics:
    """Return the metrics with SSIM, 1 for a frame that does not differ."""
    return replace(metrics, ssim=1.0 if metrics.is_exact else ssim(original, decoded, metrics.range))


def ssim(original: Samples, decoded: Samples, peak: int) -> float:
    """Return mean SSIM (Wang 2004) for values of the range `peak`; colours are averaged.

    Windows of every other strip stand for all in large frames, see SSIM_WHOLE_ROWS. A frame less than three pixels
    wide has no structure: what differs at all is 0, and so is a change of a frame that has one value only.
    """
    window = min(SSIM_WINDOW, *original.shape[:2])
    window -= 1 - window % 2
    if window < 3 or peak == 0:
        return 1.0 if np.array_equal(original, decoded) else 0.0
    rows = int(original.shape[0]) - window + 1
    total, counted = 0.0, 0
    for top in range(0, rows, SSIM_ROWS if rows <= SSIM_WHOLE_ROWS else 2 * SSIM_ROWS):
        count = min(SSIM_ROWS, rows - top)
        strip = slice(top, top + count + window - 1)
        total += count * _ssim_of(original[strip], decoded[strip], peak, window)
        counted += count
    return total / counted


def _ssim_of(original: Samples, decoded: Samples, peak: int, window: int) -> float:
    """Return the mean over all windows of a strip: strips that overlap by a window less a row add up to the frame."""
    colours = original.shape[2] if original.ndim == 3 else 1
    planes = (
        [(original, decoded)] if original.ndim == 2 else [(original[..., n], decoded[..., n]) for n in range(colours)]
    )
    width, total = int(original.shape[1]) - window + 1, 0.0
    for left in range(0, width, SSIM_COLUMNS):
        tile = slice(left, min(left + SSIM_COLUMNS, width) + window - 1)
        total += sum(_ssim_sum(was[:, tile], now[:, tile], peak, window) for was, now in planes)
    return total / (width * colours * (int(original.shape[0]) - window + 1))


def _ssim_sum(original: Samples, decoded: Samples, peak: int, window: int) -> float:
    """Return the sum of SSIM over all windows, with the unbiased covariance scikit-image takes.

    By sum and difference of both frames, two boxes less are needed. What is summed are whole numbers that fit their
    type, so that nothing is rounded before the last lines. See Wang 2004, formula 13.
    """
    centre = int(original[0, 0])
    kind = _kind(max(_reach(original, centre), _reach(decoded, centre)), window)
    one, other = original.astype(kind) - kind.type(centre), decoded.astype(kind) - kind.type(centre)
    both, apart = one + other, one - other
    sums = (_boxes(values, window).astype("f8") for values in (both, apart, both * both, apart * apart))
    mean, distance, spread, noise = sums
    count = window * window
    distance *= distance
    spread *= count
    spread -= mean * mean
    noise *= count
    noise -= distance
    mean += 2 * count * centre
    mean *= mean
    # Means times the window, squared; variances times the window and the window less one; both of twice the values.
    first, second = 2 * (0.01 * peak * count) ** 2, 2 * (0.03 * peak) ** 2 * count * (count - 1)
    above = (mean - distance + first) * (spread - noise + second)
    mean += distance
    spread += noise
    return float((above / ((mean + first) * (spread + second))).sum())


def _reach(samples: Samples, centre: int) -> int:
    return max(int(samples.max()) - centre, centre - int(samples.min()))


def _kind(reach: int, window: int) -> np.dtype[Any]:
    """Return a type in which a window of squares of sums, each of two samples up to `reach`, is exact."""
    return np.dtype("i4") if (2 * reach * window) ** 2 < 1 << 31 else np.dtype("f8")


def _boxes(values: NDArray[Any], window: int) -> NDArray[Any]:
    """Return the sums over all squares of `window` rows and columns."""
    return _runs(_runs(values.T, window).T, window)


def _runs(values: NDArray[Any], window: int) -> NDArray[Any]:
    """Return the sums of `window` neighbours in each row, put together of runs of 1, 2, 4: few passes, all vectors."""
    count = values.shape[1] - window + 1
    power, size, offset = values, 1, 0
    total: NDArray[Any] | None = None
    while True:
        if window & size:
            piece = power[:, offset : offset + count]
            total = piece if total is None else total + piece
            offset += size
        if 2 * size > window:
            assert total is not None, "a window has a pixel"
            return total
        power = power[:, :-size] + power[:, size:]
        size *= 2


def _range(original: Samples, padding: PaddingRange | None) -> int:
    if padding is not None:
        original = original[~padding.mask(original)]
    return int(original.max()) - int(original.min()) if original.size else 0


def _psnr(difference: NDArray[np.int32], peak: int) -> float:
    """Return 10 log10(peak² / mean squared error); minus infinity when a frame of one value is changed."""
    if not peak:
        return -math.inf
    real = difference.astype("f4")
    return 10 * math.log10(float(peak) ** 2 * real.size / float(np.dot(real, real)))


def _padding_moved(original: Samples, decoded: Samples, facts: PixelFacts) -> int:
    if facts.padding is None:
        return 0
    after = facts.padding_after or facts.padding
    return int(np.count_nonzero(facts.padding.mask(original) != after.mask(decoded)))
