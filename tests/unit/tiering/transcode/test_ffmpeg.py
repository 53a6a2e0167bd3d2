"""FFmpeg's decoders: every sample as OpenJPEG and CharLS encoded it, errors of ours, and no crash."""

from __future__ import annotations

import subprocess
import sys
import threading
from functools import partial
from importlib.metadata import files
from pathlib import Path
from typing import Any

import imagecodecs
import jpeg_ls
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from tests.unit.tiering.transcode.building import Samples
from tiering.errors import CodecFailed
from tiering.transcode import ffmpeg, jpeg2000
from tiering.transcode.irreversible import SampleFormat
from tiering.transcode.syntaxes import Codec

J2K, JLS = Codec.JPEG_2000, Codec.JPEG_LS
REFUSALS = (RuntimeError, ValueError, IndexError)
SHAPES = [(1, 1), (1, 2), (1, 97), (97, 1), (2, 2), (3, 5), (17, 15), (33, 64), (20, 3000)]


def noise(*shape: int, bits: int, is_signed: bool = False) -> Samples:
    """Return samples all over the range of so many bits."""
    low, high = (-(1 << bits - 1), 1 << bits - 1) if is_signed else (0, 1 << bits)
    found = np.random.default_rng(bits).integers(low, high, shape)
    found.flat[0], found.flat[-1] = low, high - 1
    return found.astype(f"{'i' if is_signed else 'u'}{1 if bits <= 8 else 2}")


def encoded(codec: Codec, samples: Samples, bits: int) -> bytes:
    """Return a frame as the archive's encoders write it."""
    colours = samples.shape[2] if samples.ndim == 3 else 1
    if codec is J2K:
        return jpeg2000.write(samples, None, bits_stored=bits, is_rgb=colours == 3)
    frame = jpeg_ls.encode_buffer(
        samples.tobytes(),
        rows=samples.shape[0],
        columns=samples.shape[1],
        samples_per_pixel=colours,
        bits_stored=bits,
        interleave_mode=int(colours == 3),
    )
    return bytes(frame)


@pytest.mark.parametrize("is_signed", [False, True], ids=["unsigned", "signed"])
@pytest.mark.parametrize("bits", range(2, 17))
def test_samples_of_every_depth_are_read(bits: int, is_signed: bool) -> None:
    """From 2 to 16 bits every sample comes back, signed ones where the codestream can say that they are."""
    samples = noise(48, 61, bits=bits, is_signed=is_signed)
    found = ffmpeg.decode(J2K, encoded(J2K, samples, bits))
    assert found.dtype == samples.dtype
    assert np.array_equal(found, samples)
    if not is_signed:
        assert np.array_equal(ffmpeg.decode(JLS, encoded(JLS, samples, bits)), samples)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("codec", [J2K, JLS])
def test_frames_of_every_shape_are_read(codec: Codec, shape: tuple[int, int]) -> None:
    """One pixel, one row, one column, odd sides: grey and colours keep shape and samples."""
    for samples, bits in ((noise(*shape, bits=12), 12), (noise(*shape, 3, bits=8), 8)):
        try:
            frame = encoded(codec, samples, bits)
        except RuntimeError:
            assert codec is JLS and samples.size < 200, "pyjpegls has no room for the noise of tiny frames"
            continue
        found = ffmpeg.decode(codec, frame)
        assert found.shape == samples.shape
        assert np.array_equal(found, samples)


@pytest.mark.parametrize("step", [1.0, 8.0, 40.0])
def test_lossy_frames_are_what_openjpeg_decodes_to_a_rounding(step: float) -> None:
    """The two decoders differ by one at most: each rounds its own floating point numbers."""
    y, x = np.mgrid[:61, :83]
    grey = (2000 + 1500 * np.sin(x / 9) * np.cos(y / 7)).astype("u2") + noise(61, 83, bits=5)
    colours = np.stack([grey >> 4, grey >> 5, 255 - (grey >> 4)], -1).astype("u1")
    for samples, bits, photometric in ((grey, 12, "MONOCHROME2"), (colours, 8, "RGB")):
        layout = SampleFormat(16 if bits == 12 else 8, bits, samples=samples[0, 0].size, photometric=photometric)
        frame = jpeg2000.encode(samples, step, layout)
        theirs = imagecodecs.jpeg2k_decode(frame, planar=False).astype(int)
        assert np.abs(ffmpeg.decode(J2K, frame) - theirs).max() <= 1


def test_what_it_cannot_read_is_refused_before_it_is_given_to_it() -> None:
    """Wrapped codestreams, headers of an application, two components, deep colours: a ValueError each."""
    grey, deep = noise(16, 16, bits=12), noise(16, 16, 3, bits=12)
    two = imagecodecs.jpeg2k_encode(noise(16, 16, 2, bits=8), level=0, codecformat="j2k", planar=False)
    wrapped = imagecodecs.jpeg2k_encode(grey, level=0, codecformat="jp2", bitspersample=12)
    cases = [(J2K, two), (J2K, wrapped), (JLS, imagecodecs.jpegls_encode(grey)), (J2K, encoded(J2K, deep, 12))]
    for codec, frame in cases:
        with pytest.raises(ValueError, match=r"bare codestream|colours of 12 bits"):
            ffmpeg.decode(codec, bytes(frame))


@pytest.mark.parametrize(
    "found",
    [np.zeros((9, 8), "u2"), np.zeros((8, 9), "u1"), np.zeros((8, 9, 3), "u2"), np.zeros((8, 9), "f4")],
    ids=["transposed", "narrow", "colours", "floating"],
)
def test_a_picture_of_another_form_is_refused(found: Samples, monkeypatch: pytest.MonkeyPatch) -> None:
    """What OpenCV makes of a stream has to be of the size and width that its header says."""
    frame = encoded(J2K, noise(8, 9, bits=12), 12)
    monkeypatch.setattr(ffmpeg, "_read", lambda _, **options: found)
    with pytest.raises(RuntimeError, match="decoded, not"):
        ffmpeg.decode(J2K, frame)


GOOD = [
    (J2K, encoded(J2K, noise(40, 41, bits=12, is_signed=True), 12)),
    (J2K, encoded(J2K, noise(24, 25, 3, bits=8), 8)),
    (JLS, encoded(JLS, noise(40, 41, bits=12), 12)),
    (JLS, encoded(JLS, noise(24, 25, 3, bits=8), 8)),
]


def damaged(frame: bytes, seed: int) -> bytes:
    """Return a frame with four bytes changed, and cut when the seed is even."""
    rng = np.random.default_rng(seed)
    other = bytearray(frame)
    for position in rng.integers(0, len(other), 4):
        other[position] = rng.integers(0, 256)
    return bytes(other[: rng.integers(1, len(other))]) if seed % 2 == 0 else bytes(other)


@given(st.sampled_from(GOOD), st.integers(0, 2**32 - 1))
@settings(max_examples=200, deadline=None)
def test_damaged_frames_crash_nothing(good: tuple[Codec, bytes], seed: int) -> None:
    """Decoded in this very process: a damaged frame is another picture of the size it says, or an error."""
    codec, frame = good
    try:
        found = ffmpeg.decode(codec, damaged(frame, seed))
    except REFUSALS:
        return
    assert found.dtype.kind in "iu"


@given(st.sampled_from([b"\xff\x4f\xff\x51", b"\xff\xd8\xff\xf7"]), st.binary(max_size=300))
@settings(max_examples=100, deadline=None)
def test_garbage_is_refused(start: bytes, garbage: bytes) -> None:
    """What only begins like a codestream raises an error."""
    with pytest.raises(REFUSALS):
        ffmpeg.decode(J2K if start[1] == 0x4F else JLS, start + garbage)


def test_threads_work_at_once() -> None:
    """Good and damaged frames decoded by several threads give what they give one after the other."""
    expected = [ffmpeg.decode(codec, frame) for codec, frame in GOOD]
    wrong: list[int] = []

    def work(seed: int) -> None:
        for number in range(60):
            codec, frame = GOOD[number % 4]
            if not np.array_equal(ffmpeg.decode(codec, frame), expected[number % 4]):
                wrong.append(number)
            try:
                ffmpeg.decode(codec, damaged(frame, seed * 1000 + number))
            except REFUSALS:
                continue

    threads = [threading.Thread(target=partial(work, seed)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_nothing_is_written_to_standard_error(capfd: pytest.CaptureFixture[str]) -> None:
    """OpenCV and FFmpeg warn at every frame unless they are told not to."""
    codec, frame = GOOD[0]
    ffmpeg.decode(codec, frame)
    for seed in range(40):
        try:
            ffmpeg.decode(codec, damaged(frame, seed))
        except REFUSALS:
            continue
    assert capfd.readouterr() == ("", "")


def test_without_the_package_there_is_an_error_that_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A frame is refused as by any codec, and says what to install."""
    monkeypatch.setitem(sys.modules, "cv2", None)
    ffmpeg._library.cache_clear()
    layout = SampleFormat(16, 12, is_signed=True)
    with pytest.raises(CodecFailed, match=f"install {ffmpeg.PACKAGE}"):
        jpeg2000.decode(GOOD[0][1], layout)
    assert not ffmpeg.is_usable()
    assert jpeg2000.versions()[1] == "ffmpeg unknown"


def test_it_is_loaded_by_the_first_frame_alone() -> None:
    """Importing what starts the archive does not load OpenCV: its hundred and fifty megabytes stay on the disk."""
    program = "import sys; import archive.bootstrap, tiering.lossy_series; sys.exit('cv2' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True, cwd=Path(__file__).parents[4])


def test_the_decoders_are_ffmpegs_own() -> None:
    """The package's libavcodec was built without OpenJPEG, knows no CharLS, and is under the LGPL."""
    packed: list[Any] = [file for file in files(ffmpeg.PACKAGE) or () if file.name.startswith("libavcodec")]
    (library,) = packed
    content = Path(library.locate()).read_bytes().lower()
    assert b"lgpl version 2.1 or later" in content
    for other in (b"openjpeg", b"charls", b"--enable-gpl", b"--enable-nonfree"):
        assert other not in content
    assert ffmpeg.is_usable()
    assert ffmpeg.decoder_version().startswith("libavcodec 6")
