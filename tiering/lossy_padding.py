"""How far padding may move and still be told from pixels; must not compress."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tiering.lossy import Frames, Samples
from tiering.lossy_source import SeriesSource
from tiering.quality import Gate, PaddingRange
from tiering.transcode.irreversible import SampleFormat


@dataclass(frozen=True, slots=True)
class _Gap:
    """How far the nearest pixel is below and above padding, in stored values; None when there is none."""

    below: int | None = None
    above: int | None = None

    def nearer(self, other: _Gap) -> _Gap:
        """Return the smaller gaps of both."""
        return _Gap(_least(self.below, other.below), _least(self.above, other.above))


def widen_padding(source: SeriesSource, layout: SampleFormat, gate: Gate) -> PaddingRange | None:
    """Return the range of padding for a lossy copy of a series, None when it has no padding or none can be wider.

    Loss moves padding as it moves pixels. Half of the way from padding to the nearest pixel of the whole series, and no
    more than the gate lets any sample move, still is padding afterwards. All frames are read once.
    """
    padding = source.padding
    if padding is None:
        return None
    gap = _nearest(source, padding)
    most = _most(gate, source.slope, layout)
    low = max(padding.low - _half(gap.below, most), layout.limits[0])
    high = min(padding.high + _half(gap.above, most), layout.limits[1])
    wider = PaddingRange(min(low, padding.low), max(high, padding.high))
    return None if wider == padding else wider


def _most(gate: Gate, slope: float, layout: SampleFormat) -> int:
    """Return how far, in stored values, the gate lets a sample move at most."""
    if gate.max_error is not None:
        return int(gate.max_error / slope) + 1
    low, high = layout.limits
    return int((high - low) * (gate.max_error_percent or 0.0) / 100) + 1


def _half(gap: int | None, most: int) -> int:
    return most if gap is None else min((gap - 1) // 2, most)


def _nearest(frames: Frames, padding: PaddingRange) -> _Gap:
    gap = _Gap()
    for index in range(len(frames)):
        gap = gap.nearer(_gap_of(frames[index], padding))
    return gap


def _gap_of(samples: Samples, padding: PaddingRange) -> _Gap:
    below, above = samples[samples < padding.low], samples[samples > padding.high]
    return _Gap(
        padding.low - int(np.max(below)) if below.size else None,
        int(np.min(above)) - padding.high if above.size else None,
    )


def _least(one: int | None, other: int | None) -> int | None:
    known = [gap for gap in (one, other) if gap is not None]
    return min(known, default=None)
