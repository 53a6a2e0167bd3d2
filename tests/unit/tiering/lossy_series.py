"""Synthetic series and what must hold of every lossy choice; holds no test."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tiering.lossy import LADDER, CodecPair, Frames, Limits, LossyChoice, find_strongest
from tiering.lossy_series import htj2k_pair
from tiering.quality import Gate, measure
from tiering.transcode.irreversible import SampleFormat

Samples = NDArray[Any]
Pair = Callable[[SampleFormat], CodecPair]

CT = SampleFormat(16, 12, is_signed=True)
GATE = Gate(min_psnr_db=45.0, min_ssim=0.95, max_error=40.0)
LIMITS = Limits(cap=8.0, gate=GATE)


def phantom(index: int = 0, *, size: int = 96, noise: float = 12.0) -> Samples:
    """Return one slice of a cylinder in air, in HU."""
    rng = np.random.default_rng(index)
    y, x = np.mgrid[:size, :size] - size / 2
    inside = x**2 + y**2 < (size / 2.3 - index % 3) ** 2
    values = np.where(inside, 40 + 60 * np.sin(x / 5) + 400 * (x**2 + y**2 < 30), -1000.0)
    return (values + rng.normal(0, noise, values.shape)).round().clip(-2048, 2047).astype("i2")


SERIES = [phantom(index) for index in range(12)]


def search(
    frames: Frames, *, layout: SampleFormat = CT, limits: Limits = LIMITS, threads: int = 1, pair: Pair = htj2k_pair
) -> LossyChoice:
    """Return what the search comes to with the shipped codecs."""
    return find_strongest(frames, limits=limits, codecs=pair(layout), threads=threads)


def check(choice: LossyChoice, frames: Sequence[Samples], codecs: CodecPair) -> None:
    """Assert what holds for every lossy choice: each frame, compressed anew, passes and is the one in evidence."""
    assert choice.is_lossy, choice.reason
    assert len(choice.frames) == len(frames)
    for index, (samples, kept) in enumerate(zip(frames, choice.frames, strict=True)):
        frame = codecs.encode(samples, kept.step)
        metrics = measure(samples, codecs.decode(frame), frame=index, facts=choice.limits.pixels)
        assert metrics == kept.metrics
        assert choice.limits.gate.passes(metrics)
        assert kept.step is None or (kept.step in LADDER and kept.ratio <= choice.limits.cap)
        assert kept.step is not None or metrics.is_exact
        assert (kept.raw_bytes, kept.coded_bytes) == (samples.nbytes, len(frame))
        assert kept.coded_sha256 == hashlib.sha256(frame).hexdigest()
        assert kept.source_sha256 == hashlib.sha256(samples.tobytes()).hexdigest()
        assert kept.decoded_sha256 == hashlib.sha256(codecs.decode(frame).tobytes()).hexdigest()
    assert choice.step == max(kept.step or 0 for kept in choice.frames)
