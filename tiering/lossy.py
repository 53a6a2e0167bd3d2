"""Searches the strongest lossy setting with which every frame of a series passes; must not decide which series may.

One quantization step holds for a series: the largest of a ladder with which all its frames, decoded by another
library than encoded them, pass the gate. No frame is compressed beyond the cap: one that would be gets a smaller step
of its own, and one too plain for any step (an empty slice) is compressed without loss. A series on which loss would
save next to nothing stays lossless.

Speed: a frame is encoded, decoded and measured once where the guess was right. So the guess is made first, on some of
the frames; others then seldom fail, and when one does, only those compressed too far are done again.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from numpy.typing import NDArray

from tiering.errors import CodecFailed, PixelMismatch
from tiering.quality import FrameMetrics, Gate, PixelFacts, measure_errors, with_ssim

Samples = NDArray[Any]

STEPS_PER_OCTAVE: Final = 8
LADDER: Final = tuple(2 ** (level / STEPS_PER_OCTAVE) for level in range(12 * STEPS_PER_OCTAVE + 1))
"""Quantization steps tried, in stored values: 1 to 4096, each 9 % more, which makes a frame 4 to 6 % smaller."""

LEVEL_SHRINKS: Final = 0.96
"""A frame is at least this much smaller one level up: nearer to the cap than that, the next level is not tried."""

SAMPLED_EVERY: Final = 4
"""One frame in so many is tried, without SSIM, before all are done; five at least."""
SAMPLED_AT_LEAST: Final = 5
ROUNDS: Final = 4
"""How often frames compressed too far may be done again; a series that still does not hold stays lossless."""

LEAST_SAVING: Final = 0.9
"""Loss has to bring the bytes of the frames tried down to this share of what they take without loss."""

NO_LOSS: Final = -1
"""The level of a frame compressed without loss."""


class Frames(Protocol):
    """The frames of a series in order, each read when it is asked for: no more than two are in memory."""

    def __len__(self) -> int:
        """Return how many there are."""

    def __getitem__(self, index: int, /) -> Samples:
        """Return one: rows, columns and, for colours, samples."""


@dataclass(frozen=True, slots=True)
class CodecPair:
    """Who encodes and who decodes: two libraries, so that one does not vouch for its own mistakes.

    `encode(samples, step)` compresses with a quantization step in stored values, without loss when it is None, and
    raises PixelMismatch when it cannot. Names come with versions: they are evidence.
    """

    transfer_syntax_uid: str
    encoder: str
    decoder: str
    encode: Callable[[Samples, float | None], bytes]
    decode: Callable[[bytes], Samples]

    def __post_init__(self) -> None:
        assert self.encoder.split()[:1] != self.decoder.split()[:1], "a codec cannot verify itself"


@dataclass(frozen=True, slots=True)
class Limits:
    """What holds for every frame: the highest ratio, the gate, and what the samples mean."""

    cap: float
    gate: Gate
    pixels: PixelFacts = field(default_factory=PixelFacts)


@dataclass(frozen=True, slots=True)
class FrameEvidence:
    """What is kept of a frame for ever. `step` is None when it was compressed without loss.

    Digests are SHA-256, of the native little-endian samples and of the codestream. `raw_bytes` counts samples in their
    allocated width.
    """

    metrics: FrameMetrics
    step: float | None
    raw_bytes: int
    coded_bytes: int
    source_sha256: str
    coded_sha256: str

    @property
    def ratio(self) -> float:
        """Return uncompressed to compressed bytes."""
        return self.raw_bytes / self.coded_bytes


@dataclass(frozen=True, slots=True)
class LossyChoice:
    """What the search came to. `step` is the largest quantization step of a frame, None when it stays lossless.

    `reason` then says why, and `frames` is empty. Otherwise `frames` has one entry a frame, in order.
    """

    step: float | None
    reason: str
    codecs: CodecPair
    limits: Limits
    frames: tuple[FrameEvidence, ...] = ()

    @property
    def is_lossy(self) -> bool:
        """Return whether every frame passed."""
        return self.step is not None

    @property
    def ratio(self) -> float:
        """Return uncompressed to compressed bytes of the series; 1 when it stays lossless."""
        coded = sum(frame.coded_bytes for frame in self.frames)
        return sum(frame.raw_bytes for frame in self.frames) / coded if coded else 1.0


Keep = Callable[[int, bytes], None]


def find_strongest(frames: Frames, *, limits: Limits, codecs: CodecPair, keep: Keep | None = None) -> LossyChoice:
    """Return the strongest setting with which every frame passes, or why the series stays lossless.

    `keep(index, codestream)` is given every compressed frame, the very bytes that were decoded and measured. The same
    index may come again: the last one counts, and none when the series stays lossless. Errors of reading frames and
    of `keep` pass through. Safe to call from many threads, on different series.
    """
    if not math.isfinite(limits.cap) or limits.cap <= 1:
        return LossyChoice(None, f"a cap of {limits.cap:g} allows nothing", codecs, limits)
    if not len(frames):
        return LossyChoice(None, "it has no frame", codecs, limits)
    search = _Search(frames, limits, codecs, keep or _keep_nothing)
    try:
        step = search.run()
    except _StaysLossless as exc:
        return LossyChoice(None, str(exc), codecs, limits)
    return LossyChoice(step, "every frame passed", codecs, limits, tuple(search.evidence()))


def _keep_nothing(index: int, codestream: bytes) -> None:
    """Keep nothing."""


class _StaysLossless(Exception):
    """What keeps the series lossless; the text says which frame and why."""


@dataclass(frozen=True, slots=True)
class _Trial:
    """One frame compressed at one level; `metrics` is None when it could not be decoded."""

    level: int
    codestream: bytes
    metrics: FrameMetrics | None
    faults: tuple[str, ...]


class _Search:
    """The state of one search: the level that holds so far, and what every frame came to."""

    def __init__(self, frames: Frames, limits: Limits, codecs: CodecPair, keep: Keep) -> None:
        self._frames = frames
        self._limits = limits
        self._codecs = codecs
        self._keep = keep
        self._done: dict[int, tuple[int, FrameEvidence]] = {}
        self._ceiling = len(LADDER) - 1
        self._fitting = self._ceiling

    def run(self) -> float:
        """Return the step; raise _StaysLossless."""
        sampled = _spread(len(self._frames), max(SAMPLED_AT_LEAST, len(self._frames) // SAMPLED_EVERY))
        for index in sampled:
            self._settle(index, self._frames[index], has_ssim=False)
        self._check_saving([sampled[number] for number in _spread(len(sampled), SAMPLED_AT_LEAST)])
        todo: Sequence[int] = range(len(self._frames))
        for _ in range(ROUNDS):
            for index in todo:
                self._do(index)
            todo = [index for index, (level, _) in self._done.items() if level > self._ceiling]
            if not todo:
                return max(frame.step or 0.0 for frame in self.evidence())
        raise _StaysLossless(f"frame {todo[0] + 1}: no step held after {ROUNDS} rounds")

    def _check_saving(self, indexes: Sequence[int]) -> None:
        """Raise _StaysLossless when frames are hardly smaller with loss than without."""
        lossy = exact = 0
        for index in indexes:
            samples = self._frames[index]
            lossy += len(self._fit(samples, self._ceiling)[1])
            exact += len(self._codecs.encode(samples, None))
        if lossy > exact * LEAST_SAVING:
            raise _StaysLossless(f"loss would save {max(1 - lossy / exact, 0):.0%}, less than {1 - LEAST_SAVING:.0%}")

    def evidence(self) -> Iterator[FrameEvidence]:
        """Yield what is kept of every frame."""
        for index in sorted(self._done):
            yield self._done[index][1]

    def _do(self, index: int) -> None:
        samples = self._frames[index]
        trial = self._settle(index, samples, has_ssim=True)
        assert trial.metrics is not None
        self._keep(index, trial.codestream)
        self._done[index] = (
            trial.level,
            FrameEvidence(
                metrics=trial.metrics,
                step=None if trial.level == NO_LOSS else LADDER[trial.level],
                raw_bytes=samples.nbytes,
                coded_bytes=len(trial.codestream),
                source_sha256=_sha256(samples),
                coded_sha256=_sha256(trial.codestream),
            ),
        )

    def _settle(self, index: int, samples: Samples, *, has_ssim: bool) -> _Trial:
        """Return a trial of the frame that passes, at the ceiling if possible; else lower the ceiling for all."""
        trial = self._try(index, samples, self._ceiling, has_ssim=has_ssim)
        if trial.faults:
            trial = self._lower(index, samples, trial, has_ssim=has_ssim)
        return trial

    def _lower(self, index: int, samples: Samples, failed: _Trial, *, has_ssim: bool) -> _Trial:
        """Lower the ceiling to the highest level at which the frame passes, found by halving."""
        passed, low, high = None, -1, failed.level
        while high - low > 1:
            middle = (low + high) // 2
            trial = self._try(index, samples, middle, has_ssim=has_ssim)
            if trial.faults:
                failed, high = trial, middle
            else:
                passed, low = trial, middle
        if passed is None:
            raise _StaysLossless(f"frame {index + 1}: {'; '.join(failed.faults)}")
        self._ceiling = low
        return passed

    def _try(self, index: int, samples: Samples, ceiling: int, *, has_ssim: bool) -> _Trial:
        """Compress a frame at the highest level within the cap, no higher than `ceiling`, and judge it."""
        try:
            level, codestream = self._fit(samples, ceiling)
            decoded = self._codecs.decode(codestream)
        except (CodecFailed, PixelMismatch) as exc:
            return _Trial(ceiling, b"", None, (str(exc),))
        if decoded.shape != samples.shape or decoded.dtype != samples.dtype:
            fault = f"{samples.dtype} {samples.shape} comes back as {decoded.dtype} {decoded.shape}"
            return _Trial(level, codestream, None, (fault,))
        metrics = measure_errors(samples, decoded, frame=index, facts=self._limits.pixels)
        faults = tuple(self._limits.gate.faults(metrics))
        if has_ssim and not faults:
            metrics = with_ssim(metrics, samples, decoded)
            faults = tuple(self._limits.gate.faults(metrics))
        if level == NO_LOSS and not metrics.is_exact:
            faults += ("it comes back changed though compressed without loss",)
        return _Trial(level, codestream, metrics, faults)

    def _fit(self, samples: Samples, ceiling: int) -> tuple[int, bytes]:
        """Return the highest level whose ratio is within the cap, up to `ceiling`, and the frame at that level.

        Neighbours need much the same level: the search goes on from where the last frame's ended.
        """
        least = math.ceil(samples.nbytes / self._limits.cap)
        level = min(self._fitting, ceiling)
        best = self._encode(samples, level)
        if len(best) >= least:
            while level < ceiling and len(best) * LEVEL_SHRINKS >= least:
                next_up = self._encode(samples, level + 1)
                if len(next_up) < least:
                    break
                level, best = level + 1, next_up
        else:
            level, best = self._fit_below(samples, level, least)
        if level != NO_LOSS:
            self._fitting = level if level < ceiling else len(LADDER) - 1
        return level, best

    def _fit_below(self, samples: Samples, level: int, least: int) -> tuple[int, bytes]:
        """Go down in growing strides, then halve what lies between."""
        low, high, stride = level - 1, level, 1
        found = self._encode(samples, low) if low >= 0 else b""
        while low >= 0 and len(found) < least:
            stride, high = stride * 2, low
            low = max(low - stride, 0) if low else -1
            found = self._encode(samples, low) if low >= 0 else b""
        if low < 0:
            if samples.ndim > 2:
                raise PixelMismatch(
                    reason="the smallest step compresses beyond the cap, and colours know no exact form"
                )
            return NO_LOSS, self._codecs.encode(samples, None)
        while high - low > 1:
            middle = (low + high) // 2
            tried = self._encode(samples, middle)
            if len(tried) >= least:
                low, found = middle, tried
            else:
                high = middle
        return low, found

    def _encode(self, samples: Samples, level: int) -> bytes:
        return self._codecs.encode(samples, LADDER[level])


def _spread(count: int, most: int) -> list[int]:
    """Return up to `most` of so many indexes, spread evenly, the ends left out."""
    chosen = min(count, most)
    return [(2 * number + 1) * count // (2 * chosen) for number in range(chosen)]


def _sha256(data: bytes | Samples) -> str:
    native = data if isinstance(data, bytes) else data.astype(data.dtype.newbyteorder("<"), order="C", copy=False).data
    return hashlib.sha256(native).hexdigest()
