"""Searches the strongest lossy setting with which every frame of a series passes; must not decide which series may.

One quantization step holds for a series: the largest of a ladder with which all its frames, decoded by another
library than encoded them, pass the gate. No frame is compressed beyond the cap: one that would be gets a smaller step
of its own, and one too plain for any step (an empty slice) is compressed without loss. A series on which loss would
save next to nothing stays lossless.

Speed: a frame is encoded, decoded and measured once where the guess was right. So some of the frames, spread over the
series, are done first; others then seldom fail, and when one does, only those compressed too far are done again.

Threads share the work and not the decisions: frames are tried in batches that all start from the same guess, and what
came of them is looked at in their order. So the result is the same with any number of threads.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final, Protocol

from numpy.typing import NDArray

from tiering.errors import CodecFailed, PixelMismatch
from tiering.quality import FrameMetrics, Gate, PixelFacts, measure_errors, with_ssim
from tiering.transcode.syntaxes import Irreversible

Samples = NDArray[Any]

STEPS_PER_OCTAVE: Final = 8
LADDER: Final = tuple(2 ** (level / STEPS_PER_OCTAVE) for level in range(12 * STEPS_PER_OCTAVE + 1))
"""Quantization steps tried, in stored values: 1 to 4096, each 9 % more, which makes a frame 4 to 6 % smaller."""

LEVEL_SHRINKS: Final = 0.96
"""A frame is at least this much smaller one level up: nearer to the cap than that, the next level is not tried."""
TYPICAL_SHRINK: Final = 0.95
"""What a level leaves of a frame, more or less: tells how far to jump."""
SHRINK_MARGIN: Final = 0.005
"""So much less than its neighbour a frame may shrink by a level: what a neighbour did spares most trials in vain."""

SAMPLED_EVERY: Final = 4
"""One frame in so many is done before all others; five at least."""
SAMPLED_AT_LEAST: Final = 5
START: Final = 4 * STEPS_PER_OCTAVE
"""The level tried first of all: a step of 16."""
MOST_WISHES: Final = 5
"""So often a level is guessed; then what is left is halved."""
BATCH: Final = 8
"""So many frames start from the same guess, whatever the number of threads."""
ROUNDS: Final = 4
"""How often frames compressed too far may be done again; a series that still does not hold stays lossless."""

LEAST_SAVING: Final = 0.9
"""Loss has to bring the bytes of the frames tried down to this share of what they take without loss."""

NO_LOSS: Final = -1
"""The level of a frame compressed without loss."""


class Frames(Protocol):
    """The frames of a series in order, each read when it is asked for, by any thread; one a thread is in memory."""

    def __len__(self) -> int:
        """Return how many there are."""

    def __getitem__(self, index: int, /) -> Samples:
        """Return one: rows, columns and, for colours, samples."""


@dataclass(frozen=True, slots=True)
class CodecPair:
    """Who encodes to what and who decodes: two libraries, so that one does not vouch for its own mistakes.

    `encode(samples, step)` compresses with a quantization step in stored values, without loss when it is None, and
    raises PixelMismatch when it cannot; `describe` says for whoever reads the copy what the encoder made of a step.
    Names come with versions: they are evidence.
    """

    target: Irreversible
    encoder: str
    decoder: str
    encode: Callable[[Samples, float | None], bytes]
    decode: Callable[[bytes], Samples]
    describe: Callable[[float], str] = "quantization step {:.4g}".format

    def __post_init__(self) -> None:
        assert self.encoder.split()[:1] != self.decoder.split()[:1], "a codec cannot verify itself"

    @property
    def transfer_syntax_uid(self) -> str:
        """Return the transfer syntax of the codestreams."""
        return self.target.transfer_syntax_uid


@dataclass(frozen=True, slots=True)
class Limits:
    """What holds for every frame: the highest ratio, the gate, and what the samples mean.

    ``each`` gives what those of one frame mean, where frames differ; ``pixels`` is then what holds for all, the
    steepest slope.
    """

    cap: float
    gate: Gate
    pixels: PixelFacts = field(default_factory=PixelFacts)
    each: Callable[[int], PixelFacts] | None = None

    def of(self, frame: int) -> PixelFacts:
        """Return what the samples of a frame mean."""
        return self.pixels if self.each is None else self.each(frame)


@dataclass(frozen=True, slots=True)
class FrameEvidence:
    """What is kept of a frame for ever. `step` is None when it was compressed without loss.

    Digests are SHA-256, of the native little-endian samples before, the codestream, and the samples as decoded from it.
    `raw_bytes` counts samples in their allocated width.
    """

    metrics: FrameMetrics
    step: float | None
    raw_bytes: int
    coded_bytes: int
    source_sha256: str
    coded_sha256: str
    decoded_sha256: str

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


def find_strongest(
    frames: Frames, *, limits: Limits, codecs: CodecPair, keep: Keep | None = None, threads: int = 1
) -> LossyChoice:
    """Return the strongest setting with which every frame passes, or why the series stays lossless.

    `keep(index, codestream)` is given every compressed frame, the very bytes that were decoded and measured. The same
    index may come again: the last one counts, and none when the series stays lossless. Errors of reading frames and
    of `keep` pass through. With `threads`, frames are read and codecs called by so many; `keep` is not. Safe to call
    from many threads, on different series.
    """
    if not math.isfinite(limits.cap) or limits.cap <= 1:
        return LossyChoice(None, f"a cap of {limits.cap:g} allows nothing", codecs, limits)
    if not len(frames):
        return LossyChoice(None, "it has no frame", codecs, limits)
    with ExitStack() as stack:
        over = map if threads == 1 else stack.enter_context(ThreadPoolExecutor(threads)).map
        search = _Search(_Trials(frames, limits, codecs), keep or _keep_nothing, over)
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
class _Guess:
    """Where to start: the highest level allowed, and what a neighbour came to.

    `fitting`: the level it fitted under the cap with; `shrink`: the share of its bytes that the next level left.
    """

    ceiling: int
    fitting: int
    shrink: float = LEVEL_SHRINKS

    def after(self, fit: _Fit) -> _Guess:
        """Return where the next frame starts."""
        return _Guess(self.ceiling, fit.fitting, fit.shrink)


@dataclass(frozen=True, slots=True)
class _Fit:
    """A frame at the highest level allowed and within the cap; `fitting` and `shrink` are for the next guess."""

    level: int
    codestream: bytes
    fitting: int
    shrink: float


@dataclass(frozen=True, slots=True)
class _Trial:
    """One frame compressed at one level and judged; `evidence` is None when there are faults."""

    fit: _Fit
    faults: tuple[str, ...]
    evidence: FrameEvidence | None = None


@dataclass(frozen=True, slots=True)
class _Trials:
    """Compresses frames and judges them, each on its own; keeps no state, for any number of threads."""

    frames: Frames
    limits: Limits
    codecs: CodecPair

    def attempt(self, guess: _Guess, index: int) -> _Trial:
        """Compress a frame at the highest level the guess allows and judge it."""
        return self.judge(index, self.frames[index], guess)

    def judge(self, index: int, samples: Samples, guess: _Guess) -> _Trial:
        """Compress samples at the highest level within the cap, no higher than the ceiling, and judge them."""
        try:
            fit = self.fit(samples, guess)
            decoded = self.codecs.decode(fit.codestream)
        except (CodecFailed, PixelMismatch) as exc:
            return _Trial(_Fit(guess.ceiling, b"", guess.fitting, guess.shrink), (str(exc),))
        if decoded.shape != samples.shape or decoded.dtype != samples.dtype:
            fault = f"{samples.dtype} {samples.shape} comes back as {decoded.dtype} {decoded.shape}"
            return _Trial(fit, (fault,))
        metrics = measure_errors(samples, decoded, frame=index, facts=self.limits.of(index))
        faults = tuple(self.limits.gate.faults(metrics))
        if not faults:
            metrics = with_ssim(metrics, samples, decoded)
            faults = tuple(self.limits.gate.faults(metrics))
        if fit.level == NO_LOSS and not metrics.is_exact:
            faults += ("it comes back changed though compressed without loss",)
        evidence = None if faults else _evidence(metrics, samples, decoded, fit)
        return _Trial(fit, faults, evidence)

    def fit(self, samples: Samples, guess: _Guess) -> _Fit:
        """Return a frame at the highest level whose ratio is within the cap, up to the ceiling.

        Neighbours need much the same level: the search goes on from where the last frame's ended.
        """
        least = math.ceil(samples.nbytes / self.limits.cap)
        level, shrink = min(guess.fitting, guess.ceiling), guess.shrink
        low, high, best = NO_LOSS, guess.ceiling + 1, b""
        for tries in range(1, len(LADDER) + 2):
            found = self._encode(samples, level)
            shrink = _shrink(best, found, level - low, shrink)
            if len(found) >= least:
                low, best = level, found
            else:
                high = level
            if high - low <= 1 or (low >= 0 and len(best) * shrink < least):
                break
            level = _between(low, high, level + _levels_to(len(found), least), tries)
        if low == NO_LOSS:
            return _Fit(NO_LOSS, self._exact(samples), guess.fitting, guess.shrink)
        return _Fit(low, best, low if low < guess.ceiling else len(LADDER) - 1, shrink)

    def _exact(self, samples: Samples) -> bytes:
        if samples.ndim > 2:
            reason = "the smallest step compresses beyond the cap, and colours know no exact form"
            raise PixelMismatch(reason=reason)
        return self.codecs.encode(samples, None)

    def exact_bytes(self, index: int) -> int:
        """Return how long a frame is without loss."""
        return len(self.codecs.encode(self.frames[index], None))

    def _encode(self, samples: Samples, level: int) -> bytes:
        return self.codecs.encode(samples, LADDER[level])


Over = Callable[[Callable[[int], _Trial], Iterable[int]], Iterator[_Trial]]
"""`map`, or that of a pool of threads: results come in the order of what they are of."""


class _Search:
    """The state of one search: the level that holds so far, and what every frame came to."""

    def __init__(self, trials: _Trials, keep: Keep, over: Over) -> None:
        self._trials = trials
        self._keep = keep
        self._over = over
        self._done: dict[int, tuple[int, FrameEvidence]] = {}
        self._guess = _Guess(len(LADDER) - 1, START)

    def run(self) -> float:
        """Return the step; raise _StaysLossless."""
        count = len(self._trials.frames)
        sampled = _spread(count, max(SAMPLED_AT_LEAST, count // SAMPLED_EVERY))
        self._round(sampled[:1])  # alone: it starts with no neighbour's level, and finds the first
        self._round(sampled[1:])
        self._check_saving([sampled[number] for number in _spread(len(sampled), SAMPLED_AT_LEAST)])
        todo = self._todo()
        for _ in range(ROUNDS):
            self._round(todo)
            todo = self._todo()
            if not todo:
                return max(frame.step or 0.0 for frame in self.evidence())
        raise _StaysLossless(f"frame {todo[0] + 1}: no step held after {ROUNDS} rounds")

    def evidence(self) -> Iterator[FrameEvidence]:
        """Yield what is kept of every frame."""
        for index in sorted(self._done):
            yield self._done[index][1]

    def _todo(self) -> list[int]:
        return [index for index in range(len(self._trials.frames)) if self._is_to_do(index)]

    def _is_to_do(self, index: int) -> bool:
        """Tell whether a frame was not done yet, or compressed further than is allowed by now."""
        return index not in self._done or self._done[index][0] > self._guess.ceiling

    def _check_saving(self, indexes: Sequence[int]) -> None:
        """Raise _StaysLossless when frames are hardly smaller with loss than without."""
        lossy = exact = 0
        for index in indexes:
            if self._is_to_do(index):
                self._settle(index, self._trials.attempt(self._guess, index))
            lossy += self._done[index][1].coded_bytes
            exact += self._trials.exact_bytes(index)
        if lossy > exact * LEAST_SAVING:
            raise _StaysLossless(f"loss would save {max(1 - lossy / exact, 0):.0%}, less than {1 - LEAST_SAVING:.0%}")

    def _round(self, indexes: Sequence[int]) -> None:
        for start in range(0, len(indexes), BATCH):
            batch = indexes[start : start + BATCH]
            for index, trial in zip(batch, self._over(partial(self._trials.attempt, self._guess), batch), strict=True):
                self._settle(index, trial)

    def _settle(self, index: int, trial: _Trial) -> None:
        """Keep what a frame came to; when it fails, lower the ceiling for all until it passes."""
        if trial.faults:
            trial = self._lower(index, trial)
        assert trial.evidence is not None
        self._guess = self._guess.after(trial.fit)
        self._keep(index, trial.fit.codestream)
        self._done[index] = (trial.fit.level, trial.evidence)

    def _lower(self, index: int, failed: _Trial) -> _Trial:
        """Return a trial that passes, at the ceiling if possible; else at the highest level, found by halving."""
        samples = self._trials.frames[index]
        passed, low, high = None, -1, min(failed.fit.level, self._guess.ceiling + 1)
        middle = min(self._guess.ceiling, high - 1)
        while high - low > 1:
            trial = self._trials.judge(index, samples, replace(self._guess, ceiling=middle))
            if trial.faults:
                failed, high = trial, middle
            else:
                passed, low = trial, middle
            middle = (low + high) // 2
        if passed is None:
            raise _StaysLossless(f"frame {index + 1}: {'; '.join(failed.faults)}")
        self._guess = replace(self._guess, ceiling=min(self._guess.ceiling, low))
        return passed


def _shrink(before: bytes, after: bytes, levels: int, known: float) -> float:
    """Return the share of a frame's bytes the next level leaves, from two neighbouring ones; else what was known."""
    if not before or levels != 1:
        return known
    return min(len(after) / len(before) + SHRINK_MARGIN, LEVEL_SHRINKS)


def _levels_to(found: int, least: int) -> int:
    """Return how many levels away a frame probably is from the size it may have; up when it is larger."""
    return round(math.log(max(found, 1) / max(least, 1)) / -math.log(TYPICAL_SHRINK))


def _between(low: int, high: int, wanted: int, tries: int) -> int:
    """Return a level strictly between two: the one wanted, or the middle when wishes do not get there."""
    return (low + high) // 2 if tries > MOST_WISHES else min(max(wanted, low + 1), high - 1)


def _evidence(metrics: FrameMetrics, samples: Samples, decoded: Samples, fit: _Fit) -> FrameEvidence:
    return FrameEvidence(
        metrics=metrics,
        step=None if fit.level == NO_LOSS else LADDER[fit.level],
        raw_bytes=samples.nbytes,
        coded_bytes=len(fit.codestream),
        source_sha256=_sha256(samples),
        coded_sha256=_sha256(fit.codestream),
        decoded_sha256=_sha256(decoded),
    )


def _spread(count: int, most: int) -> list[int]:
    """Return up to `most` of so many indexes, spread evenly, the ends left out."""
    chosen = min(count, most)
    return [(2 * number + 1) * count // (2 * chosen) for number in range(chosen)]


def _sha256(data: bytes | Samples) -> str:
    native = data if isinstance(data, bytes) else data.astype(data.dtype.newbyteorder("<"), order="C", copy=False).data
    return hashlib.sha256(native).hexdigest()
