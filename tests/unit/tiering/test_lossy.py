"""The search for the strongest lossy setting: what it chooses, what it refuses, what it keeps."""

from __future__ import annotations

import hashlib
import math
import threading
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from tests.unit.tiering.lossy_series import CT, GATE, LIMITS, SERIES, Pair, Samples, check, phantom, search
from tiering.lossy import LADDER, Limits, LossyChoice, find_strongest
from tiering.lossy_series import htj2k_pair, jpeg2000_pair
from tiering.quality import Gate, PaddingRange, PixelFacts, measure
from tiering.transcode.irreversible import SampleFormat


def test_a_ct_goes_lossy() -> None:
    """Every frame passes the gate, none is beyond the cap, and what is kept of each is true."""
    choice = search(SERIES)
    check(choice, SERIES, htj2k_pair(CT))
    assert choice.reason == "every frame passed"
    assert 3 < choice.ratio <= 8


def test_the_next_step_would_fail() -> None:
    """The step is the strongest of the ladder: with the next one, some frame fails or is beyond the cap."""
    codecs = htj2k_pair(CT)
    choice = search(SERIES, limits=replace(LIMITS, cap=50.0))
    check(choice, SERIES, codecs)
    assert choice.step is not None
    stronger = LADDER[LADDER.index(choice.step) + 1]
    found = [measure(one, codecs.decode(codecs.encode(one, stronger))) for one in SERIES]
    assert not all(GATE.passes(metrics) for metrics in found)


def lifted(frames: Sequence[Samples], dtype: str, by: int) -> list[Samples]:
    """Return frames moved up, as unsigned scanners store them."""
    return [(frame.astype("i4") + by).astype(dtype) for frame in frames]


INVERTED = [(4095 - frame.astype("i4") - 2048).clip(0, 4095).astype("u2") for frame in SERIES]
EIGHT = [((frame.astype("f4") + 1100) / 8).clip(0, 255).astype("u1") for frame in SERIES]
FORMATS = {
    "signed 12 in 16": (CT, SERIES),
    "signed 16": (replace(CT, bits_stored=16), SERIES),
    "unsigned 12 in 16": (SampleFormat(16, 12), lifted(SERIES, "u2", 1100)),
    "unsigned 16": (SampleFormat(16, 16), lifted(SERIES, "u2", 33000)),
    "inverted": (SampleFormat(16, 12, photometric="MONOCHROME1"), INVERTED),
    "8 bits": (SampleFormat(8, 8), EIGHT),
}


@pytest.mark.parametrize("pair", [htj2k_pair, jpeg2000_pair])
@pytest.mark.parametrize(("layout", "frames"), FORMATS.values(), ids=FORMATS)
def test_every_format_goes_the_same_way(layout: SampleFormat, frames: list[Samples], pair: Pair) -> None:
    """Signed, unsigned, 12 bits in 16, MONOCHROME1 and 8 bits are compressed, decoded and measured right."""
    gate = replace(GATE, max_error=None, max_error_percent=3.0)
    choice = search(frames, layout=layout, limits=Limits(8.0, gate), pair=pair)
    check(choice, frames, pair(layout))
    assert choice.ratio > 1.5


def test_a_shift_of_all_values_changes_nothing() -> None:
    """Signed HU and the same slices stored with an offset of 1024 come to much the same."""
    signed = search(SERIES)
    unsigned = search(lifted(SERIES, "u2", 1100), layout=SampleFormat(16, 12))
    assert signed.ratio == pytest.approx(unsigned.ratio, rel=0.03)


@pytest.mark.parametrize("pair", [htj2k_pair, jpeg2000_pair])
def test_colours_go_lossy(pair: Pair) -> None:
    """Frames of three samples a pixel are measured over all of them."""
    rng = np.random.default_rng(1)
    layout = SampleFormat(8, 8, samples=3, photometric="RGB")
    base = np.cumsum(rng.normal(0, 2, (3, 80, 90, 3)), axis=2) + 128
    frames = list((base + rng.normal(0, 4, base.shape)).clip(0, 255).astype("u1"))
    gate = Gate(min_psnr_db=30.0, min_ssim=0.8, max_error_percent=15.0)
    choice = search(frames, layout=layout, limits=Limits(12.0, gate), pair=pair)
    check(choice, frames, pair(layout))


def test_plain_colours_stay_lossless() -> None:
    """Colours that any step compresses beyond the cap have no exact form of the same photometric: not lossy."""
    frames = [np.full((64, 64, 3), 7, "u1")]
    choice = search(frames, layout=SampleFormat(8, 8, samples=3, photometric="RGB"))
    assert not choice.is_lossy
    assert "beyond the cap" in choice.reason


def test_the_slope_gives_errors_in_hu() -> None:
    """With half a HU a stored value, errors in stored values may be twice as large."""
    gate = replace(GATE, min_psnr_db=30.0, min_ssim=0.5)
    whole = search(SERIES, limits=Limits(50.0, gate))
    half = search(SERIES, limits=Limits(50.0, gate, PixelFacts(slope=0.5)))
    assert max(frame.metrics.max_abs_error for frame in half.frames) > 45
    assert max(frame.metrics.max_scaled_error for frame in half.frames) <= 40
    assert half.step is not None and whole.step is not None
    assert half.step > whole.step


def test_the_cap_holds_for_every_frame() -> None:
    """Where the gate would allow more, each frame ends just below the cap."""
    limits = Limits(5.0, replace(GATE, max_error=1000.0, min_psnr_db=20.0, min_ssim=0.5))
    choice = search(SERIES, limits=limits)
    check(choice, SERIES, htj2k_pair(CT))
    assert all(4.7 < frame.ratio <= 5.0 for frame in choice.frames)


def test_an_empty_slice_is_kept_exactly() -> None:
    """A blank frame, which any step compresses beyond the cap, loses nothing and keeps no other frame back."""
    frames = [*SERIES[:6], np.full((96, 96), -1000, "i2"), *SERIES[6:]]
    choice = search(frames)
    check(choice, frames, htj2k_pair(CT))
    assert [index for index, frame in enumerate(choice.frames) if frame.step is None] == [6]
    assert choice.frames[6].metrics.is_exact
    assert choice.step == search(SERIES).step


def test_loss_that_saves_nothing_is_refused() -> None:
    """A series that is as small without loss stays lossless, and says so."""
    choice = search([np.full((96, 96), index, "i2") for index in range(5)])
    assert not choice.is_lossy
    assert choice.reason == "loss would save 0%, less than 10%"


PADDED = [frame.copy() for frame in SERIES]
for _frame in PADDED:
    _frame[:12] = -2000


def test_padding_that_would_change_keeps_a_series_lossless() -> None:
    """Around -2000 loss moves some padding samples: refused, however small the error."""
    limits = Limits(8.0, GATE, PixelFacts(padding=PaddingRange(-2000, -2000)))
    choice = search(PADDED, limits=limits)
    assert not choice.is_lossy
    assert "padding" in choice.reason


def test_padding_declared_as_a_range_is_kept() -> None:
    """With a padding range of its own, wide enough and far from any pixel, the compressed series passes."""
    padding = PaddingRange(-2000, -2000)
    limits = Limits(8.0, GATE, PixelFacts(padding=padding, padding_after=padding.widened(40, CT.limits)))
    choice = search(PADDED, limits=limits)
    check(choice, PADDED, htj2k_pair(CT))


def test_overlay_bits_keep_a_series_lossless() -> None:
    """Samples with bits above Bits Stored are not compressed."""
    frames = [*lifted(SERIES[:3], "u2", 1100)]
    frames[1][0, 0] |= 0x8000
    choice = search(frames, layout=SampleFormat(16, 12))
    assert not choice.is_lossy
    assert choice.reason.startswith("frame 2: ")
    assert "beyond what 12 bits stored hold" in choice.reason


def test_frames_of_several_objects_may_differ_in_size() -> None:
    """A localizer of another size goes with its series."""
    frames = [*SERIES[:4], phantom(5, size=60)]
    check(search(frames), frames, htj2k_pair(CT))


def test_big_endian_memory_has_the_same_digest() -> None:
    """The digest is of little-endian samples, whatever order they come in."""
    little = search(SERIES[:1])
    codecs = htj2k_pair(CT)
    swapped = replace(codecs, encode=lambda samples, step: codecs.encode(samples.astype("<i2"), step))
    swapped = replace(swapped, decode=lambda frame: codecs.decode(frame).astype(">i2"))
    big = find_strongest([SERIES[0].astype(">i2")], limits=LIMITS, codecs=swapped)
    assert big.frames[0].source_sha256 == little.frames[0].source_sha256


# ---- what is kept -------------------------------------------------------------------------------------------------


def test_what_is_kept_is_what_was_measured() -> None:
    """The last codestream kept of each frame is the one in evidence, also of frames done more than once."""
    frames = [*[phantom(index, noise=5) for index in range(16)], phantom(99, noise=60)]
    kept: dict[int, list[bytes]] = {}
    choice = find_strongest(
        frames, limits=LIMITS, codecs=htj2k_pair(CT), keep=lambda index, data: kept.setdefault(index, []).append(data)
    )
    check(choice, frames, htj2k_pair(CT))
    assert sorted(kept) == list(range(len(frames)))
    for index, frame in enumerate(choice.frames):
        assert hashlib.sha256(kept[index][-1]).hexdigest() == frame.coded_sha256


def test_one_step_holds_for_the_series() -> None:
    """A frame nobody tried first, and that fails, lowers the step of all: those done before are done again."""
    frames = [phantom(index, noise=4) for index in range(16)]
    frames[-1][:8, :8] = 2000
    frames[-1][1:7:2, 1:7:2] = -2000
    kept: list[int] = []
    limits = Limits(60.0, replace(GATE, max_error=30.0, min_psnr_db=20.0, min_ssim=0.5))
    choice = find_strongest(frames, limits=limits, codecs=htj2k_pair(CT), keep=lambda index, _: kept.append(index))
    check(choice, frames, htj2k_pair(CT))
    assert len({frame.step for frame in choice.frames}) == 1
    assert len(kept) > len(frames)


class Watched:
    """A series that counts which frames are read."""

    def __init__(self, frames: Sequence[Samples]) -> None:
        self.frames = frames
        self.reads: list[int] = []

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int, /) -> Samples:
        self.reads.append(index)
        return self.frames[index]


def test_frames_are_read_few_times() -> None:
    """A series is not decoded over and over: a sample, then all, then what has to be done again."""
    watched = Watched([phantom(index) for index in range(40)])
    assert search(watched).is_lossy
    assert len(watched.reads) <= 10 + 5 + 40 * 2


def test_a_reading_error_passes_through() -> None:
    """A frame that cannot be read is no matter of quality: the error is the reader's own."""

    class Broken(Watched):
        def __getitem__(self, index: int, /) -> Samples:
            raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        search(Broken(SERIES))


@pytest.mark.parametrize("cap", [1.0, 0.5, -1.0, math.nan, math.inf])
def test_a_cap_that_is_none_allows_nothing(cap: float) -> None:
    """A cap that is not a ratio above 1 is never taken for no cap."""
    assert "allows nothing" in search(SERIES, limits=replace(LIMITS, cap=cap)).reason


def test_a_series_without_frames_stays_lossless() -> None:
    """No frame has passed where there is none."""
    choice = search([])
    assert (choice.is_lossy, choice.reason, choice.ratio) == (False, "it has no frame", 1.0)


def test_threads_search_at_once() -> None:
    """Series searched by several threads at the same time come to what they come to one after the other."""
    expected = search(SERIES)
    found: list[LossyChoice] = []
    threads = [threading.Thread(target=lambda: found.append(search(SERIES))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [choice.frames for choice in found] == [expected.frames] * 3


# ---- threads --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("threads", [2, 3, 8])
def test_any_number_of_threads_comes_to_the_same(threads: int) -> None:
    """Same step, same evidence, and the same frames kept in the same order: frames that fail are among them."""
    frames = [phantom(index, noise=4 + index % 5) for index in range(20)]
    frames[13][:8, :8] = 2000
    frames[13][1:7:2, 1:7:2] = -2000
    limits = Limits(9.0, replace(GATE, max_error=30.0, min_psnr_db=20.0, min_ssim=0.5))
    kept: dict[int, list[tuple[int, bytes]]] = {1: [], threads: []}
    found = [
        find_strongest(
            frames,
            limits=limits,
            codecs=htj2k_pair(CT),
            keep=lambda index, data, count=count: kept[count].append((index, data)),  # type: ignore[misc]
            threads=count,
        )
        for count in (1, threads)
    ]
    check(found[1], frames, htj2k_pair(CT))
    assert found[0].frames == found[1].frames
    assert kept[1] == kept[threads]


def test_threads_work_at_once_and_keep_does_not() -> None:
    """Two frames are encoded at the same time; what is kept is handed over by the thread that asked."""
    meeting, good = threading.Barrier(2, timeout=30), htj2k_pair(CT)
    met = threading.Event()

    def encode(samples: Samples, step: float | None) -> bytes:
        if not met.is_set() and threading.current_thread() is not threading.main_thread() and seen:
            meeting.wait()
            met.set()
        return good.encode(samples, step)

    seen: list[threading.Thread] = []
    codecs = replace(good, encode=encode)
    choice = find_strongest(
        SERIES, limits=LIMITS, codecs=codecs, keep=lambda *_: seen.append(threading.current_thread()), threads=2
    )
    assert choice.is_lossy
    assert met.is_set()
    assert set(seen) == {threading.main_thread()}


def test_no_more_frames_are_in_memory_than_threads() -> None:
    """Each thread has one frame, however many wait for their turn."""
    lock, now, most = threading.Lock(), 0, 0
    good = htj2k_pair(CT)

    def encode(samples: Samples, step: float | None) -> bytes:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        try:
            return good.encode(samples, step)
        finally:
            with lock:
                now -= 1

    assert find_strongest(SERIES, limits=LIMITS, codecs=replace(good, encode=encode), threads=3).is_lossy
    assert 1 <= most <= 3


def test_an_error_in_a_thread_passes_through() -> None:
    """What a frame's reader raises comes out where the search was asked for."""

    class Broken(Watched):
        def __getitem__(self, index: int, /) -> Samples:
            if index == 9:
                raise OSError("gone")
            return super().__getitem__(index)

    with pytest.raises(OSError, match="gone"):
        search(Broken(SERIES), threads=2)


def test_few_frames_are_encoded_in_vain() -> None:
    """Near the cap, what a neighbour came to tells the next frame its step: about one trial and a half for each."""
    calls, good = 0, htj2k_pair(CT)

    def encode(samples: Samples, step: float | None) -> bytes:
        nonlocal calls
        calls += 1
        return good.encode(samples, step)

    frames = [phantom(index) for index in range(60)]
    assert find_strongest(frames, limits=replace(LIMITS, cap=4.0), codecs=replace(good, encode=encode)).is_lossy
    assert calls <= 60 * 1.7 + 25


def test_each_frame_is_judged_by_what_its_own_samples_mean() -> None:
    """A frame that is rescaled more steeply allows less; the others' errors stay in their own unit."""
    gate = replace(GATE, min_psnr_db=30.0, min_ssim=0.5)
    steep = Limits(50.0, gate, PixelFacts(slope=2.0), lambda frame: PixelFacts(slope=2.0 if frame == 3 else 1.0))
    choice = search(SERIES, limits=steep)
    for index, frame in enumerate(choice.frames):
        assert frame.metrics.max_scaled_error == frame.metrics.max_abs_error * (2 if index == 3 else 1)
        assert frame.metrics.max_scaled_error <= 40
    all_steep = search(SERIES, limits=Limits(50.0, gate, PixelFacts(slope=2.0)))
    assert choice.step is not None and all_steep.step is not None
    assert choice.step >= all_steep.step


@pytest.mark.parametrize("cap", [4.0, 5.5, 8.0, 30.0])
def test_a_single_frame_is_near_its_cap_after_few_trials(cap: float) -> None:
    """Sizes fall evenly from level to level: a jump or two lead to the cap, from wherever the search starts."""
    calls, good = 0, htj2k_pair(CT)

    def encode(samples: Samples, step: float | None) -> bytes:
        nonlocal calls
        calls += 1
        return good.encode(samples, step)

    loose = Gate(min_psnr_db=20.0, min_ssim=0.5, max_error=1000.0)
    choice = find_strongest([phantom(1, size=256)], limits=Limits(cap, loose), codecs=replace(good, encode=encode))
    (frame,) = choice.frames
    assert frame.step is not None
    assert cap * 0.93 < frame.ratio <= cap
    assert len(good.encode(phantom(1, size=256), LADDER[LADDER.index(frame.step) + 1])) < frame.raw_bytes / cap
    assert calls <= 8
