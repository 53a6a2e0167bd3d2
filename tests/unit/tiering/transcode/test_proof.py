"""What counts as a proof: the stored bytes, whole, one decoder call at a time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import imagecodecs
import jpeg_ls
import numpy as np
import pytest

from tests.unit.tiering.transcode.compressing import J2K, JPEG_LS, RPCL, SEALED, smooth
from tiering.errors import CodecFailed, NotLossless
from tiering.transcode import ffmpeg
from tiering.transcode.encoders import ENCODERS
from tiering.transcode.picture import Picture
from tiering.transcode.proof import encode_proven, prove
from tiering.transcode.syntaxes import Codec

EVERY = pytest.mark.parametrize("uid", SEALED)
FFMPEG = "tiering.transcode.ffmpeg.decode"
DECODERS = {RPCL: "imagecodecs.jpeg2k_decode", JPEG_LS: FFMPEG, J2K: FFMPEG}


def picture_of(samples: Any, **changes: Any) -> Picture:
    """Return the 12-bit picture the samples are."""
    rows, columns = samples.shape
    described: dict[str, Any] = {
        "codec": Codec.UNCOMPRESSED,
        "rows": rows,
        "columns": columns,
        "samples": 1,
        "frames": 1,
        "bits_allocated": 16,
        "bits_stored": 12,
        "signed": False,
        "photometric": "MONOCHROME2",
        "planar": None,
    }
    return Picture(**described | changes)


@EVERY
def test_the_padded_bytes_are_proven(uid: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The decoder is given what will be stored, of even length, and that is what is returned."""
    name = DECODERS[uid]
    real: Callable[..., Any] = ffmpeg.decode if name == FFMPEG else imagecodecs.jpeg2k_decode
    seen: list[bytes] = []

    def listen(*arguments: Any, **options: Any) -> Any:
        seen.append(arguments[-1])
        return real(*arguments, **options)

    monkeypatch.setattr(name, listen)
    frames = []
    for width in range(60, 72):
        samples = smooth(64, width)
        frames.append(encode_proven(ENCODERS[uid], picture_of(samples), samples, 0))
    assert seen == frames
    assert all(len(frame) % 2 == 0 for frame in frames)
    assert {frame[-1] for frame in frames} == {0, 0xD9}, "some were odd, and some were not"


@EVERY
@pytest.mark.parametrize("end", [b"", b"\xff\xd8", b"\xff\xd9\0\0", b"\xff\xd9\1"])
def test_a_codestream_without_its_end_is_no_proof(uid: str, end: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """However forgiving the decoder, the end marker and at most one byte of padding have to be there."""
    samples = smooth(64, 64)
    picture = picture_of(samples)
    encoder = ENCODERS[uid]
    frame = encode_proven(encoder, picture, samples, 0)
    monkeypatch.setattr(DECODERS[uid], lambda *_, **options: samples)
    monkeypatch.setattr("tiering.transcode.proof.read_codestream", _read_as(frame))
    prove(encoder, picture, samples=samples, frame=frame, index=0)
    with pytest.raises(NotLossless):
        prove(encoder, picture, samples=samples, frame=frame[: frame.rindex(b"\xff\xd9")] + end, index=0)


def _read_as(frame: bytes) -> Callable[[Codec, bytes], Any]:
    """Return a reader of headers that reads `frame`'s, whatever it is given."""
    from tiering.transcode.codestream import read_codestream

    return lambda codec, _: read_codestream(codec, frame)


@EVERY
@pytest.mark.parametrize(
    "changes", [{"rows": 32, "columns": 128}, {"bits_stored": 13}, {"bits_stored": 16}, {"columns": 65}]
)
def test_a_header_of_another_picture_is_no_proof(uid: str, changes: dict[str, int]) -> None:
    """Rows, columns and precision of the codestream are the data set's, or it is not lossless."""
    samples = smooth(64, 64)
    frame = encode_proven(ENCODERS[uid], picture_of(samples), samples, 0)
    with pytest.raises(NotLossless) as caught:
        prove(ENCODERS[uid], picture_of(samples, **changes), samples=samples, frame=frame, index=7)
    assert caught.value.fields == {"frame": 7}


def test_a_wrapped_codestream_is_no_proof() -> None:
    """PS3.5 A.4.4 wants the bare codestream: a JP2 file around it is refused, though it decodes to the samples."""
    samples = smooth(64, 64)
    frame = bytes(imagecodecs.jpeg2k_encode(samples, codecformat="jp2", reversible=True, level=0, bitspersample=12))
    assert np.array_equal(imagecodecs.jpeg2k_decode(frame), samples)
    with pytest.raises(CodecFailed, match="bare codestream"):
        prove(ENCODERS[J2K], picture_of(samples), samples=samples, frame=frame, index=0)


def test_a_library_that_holds_the_interpreter_runs_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not known to bear two threads is called by one at a time."""
    real = jpeg_ls.encode_buffer
    inside: list[int] = []
    most: list[int] = []

    def slow(*args: Any, **options: Any) -> Any:
        inside.append(1)
        most.append(len(inside))
        time.sleep(0.01)
        inside.pop()
        return real(*args, **options)

    monkeypatch.setattr(jpeg_ls, "encode_buffer", slow)
    samples = smooth(64, 64)
    work = threading.Thread(target=lambda: encode_proven(ENCODERS[JPEG_LS], picture_of(samples), samples, 0))
    work.start()
    encode_proven(ENCODERS[JPEG_LS], picture_of(samples), samples, 0)
    work.join()
    assert most == [1, 1]


def test_every_codec_is_proven_by_another_library() -> None:
    """No two names are of one project: CharLS comes as pyjpegls, and FFmpeg has decoders of its own."""
    named = {uid: (each.name_encoder().name, each.name_decoder().name) for uid, each in ENCODERS.items()}
    assert named == {
        RPCL: ("openjph", "openjpeg"),
        JPEG_LS: ("pyjpegls", "ffmpeg"),
        J2K: ("openjpeg", "ffmpeg"),
    }


def test_every_side_is_brought_under_64() -> None:
    """PS3.5 10.18.1 for every size: the base resolution's shorter side is at most 64."""
    for side in (1, 63, 64, 65, 2048, 2049, 4096, 4097):
        samples = np.zeros((side, 4100 if side > 4000 else side), "u2")
        frame = encode_proven(ENCODERS[RPCL], picture_of(samples), samples, 0)
        levels = frame[frame.index(b"\xff\x52") + 9]
        assert -(-side // 2**levels) <= 64
