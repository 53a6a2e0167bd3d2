"""Codecs that fail, lie or return garbage: nothing of theirs is ever accepted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import imagecodecs
import numpy as np
import pytest

from tests.unit.tiering.transcode.building import Module, Samples
from tests.unit.tiering.transcode.compressing import J2K, JPEG_LS, RPCL, compressed, native, smooth
from tiering.errors import CodecFailed, NotLossless, TranscodeError

Codec = Callable[..., Any]

FRAMES = smooth(3, 64, 65)
COLOUR = smooth(40, 41, 3, dtype="u1", bits=8)
LIBRARIES = {
    RPCL: ("imagecodecs.htj2k_encode", "imagecodecs.jpeg2k_decode"),
    JPEG_LS: ("jpeg_ls.encode_buffer", "tiering.transcode.ffmpeg.decode"),
    J2K: ("imagecodecs.jpeg2k_encode", "tiering.transcode.ffmpeg.decode"),
}
EVERY = pytest.mark.parametrize("uid", LIBRARIES)


def wrap(monkeypatch: pytest.MonkeyPatch, name: str, spoil: Callable[[Any], Any], *, call: int = 1) -> None:
    """Have a library's function spoil what it returns at its call number `call`, counted from 0."""
    module, function = name.rsplit(".", 1)
    real: Codec = getattr(__import__(module, fromlist=[function]), function)
    calls: list[None] = []

    def spoilt(*args: Any, **options: Any) -> Any:
        calls.append(None)
        result = real(*args, **options)
        return spoil(result) if len(calls) == call + 1 else result

    monkeypatch.setattr(name, spoilt)


def flip_a_sample(samples: Samples) -> Samples:
    """Change the lowest bit of one sample."""
    other = samples.copy()
    other.flat[other.size // 2] ^= 1
    return other


def fail(_: Any) -> Any:
    """Fail as imagecodecs does."""
    raise imagecodecs.Htj2kError("injected")


def run_out(_: Any) -> Any:
    """Fail as a codec does that finds no memory."""
    raise MemoryError("injected")


GARBLED: dict[str, Callable[[Samples], Any]] = {
    "a bit": flip_a_sample,
    "transposed": lambda samples: samples.T,
    "flat": lambda samples: samples.ravel(),
    "cut": lambda samples: samples[:-1],
    "one more axis": lambda samples: samples[..., None],
    "signed": lambda samples: samples.astype("i4"),
    "floating": lambda samples: samples.astype("f8"),
    "black": lambda samples: samples * 0,
    "upside down": lambda samples: samples[::-1],
    "bytes": lambda samples: samples.tobytes(),
    "nothing": lambda _: None,
}


@EVERY
@pytest.mark.parametrize("how", GARBLED)
def test_a_decoder_that_sees_another_picture_is_believed(uid: str, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the second library's picture is any other, frame 1 is not lossless and all is refused."""
    wrap(monkeypatch, LIBRARIES[uid][1], GARBLED[how])
    with pytest.raises(NotLossless) as caught:
        compressed(native(Module(FRAMES, frames=3, bits_stored=12)), uid=uid)
    assert caught.value.fields == {"frame": 1}


@EVERY
@pytest.mark.parametrize("which", [0, 1], ids=["encoder", "decoder"])
@pytest.mark.parametrize("how", [fail, run_out])
def test_a_library_that_fails_is_named(
    uid: str, which: int, how: Callable[[Any], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error of either library is a CodecFailed that says which frame."""
    wrap(monkeypatch, LIBRARIES[uid][which], how, call=2)
    with pytest.raises(CodecFailed, match="frame 2: injected"):
        compressed(native(Module(FRAMES, frames=3, bits_stored=12)), uid=uid)


@EVERY
@pytest.mark.parametrize("at", [0.0, 0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.999])
def test_a_flipped_bit_of_a_codestream_is_caught(uid: str, at: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """A codestream that is not the encoder's is refused, unless it still says the very same picture."""

    def flip(frame: bytes) -> bytes:
        other = bytearray(frame)
        other[int(at * len(other))] ^= 0x10
        return bytes(other)

    dataset = native(Module(FRAMES, frames=3, bits_stored=12))
    wrap(monkeypatch, LIBRARIES[uid][0], flip)
    try:
        result = compressed(dataset, uid=uid)
    except (NotLossless, CodecFailed):
        return
    monkeypatch.undo()
    assert result.native == dataset


@EVERY
@pytest.mark.parametrize(
    "garbage", [b"", b"\xff", bytes(1000), b"\xff\x4f\xff\x51" + bytes(60), b"\xff\xd8\xff\xd9", b"\xff" * 500]
)
def test_garbage_for_a_codestream_is_caught(uid: str, garbage: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """An encoder that returns no codestream at all is not believed."""
    wrap(monkeypatch, LIBRARIES[uid][0], lambda _: garbage)
    with pytest.raises(TranscodeError) as caught:
        compressed(native(Module(FRAMES, frames=3, bits_stored=12)), uid=uid)
    assert isinstance(caught.value, NotLossless | CodecFailed)


@EVERY
def test_the_frame_before_is_no_proof(uid: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An encoder that returns a good codestream of another frame is caught."""
    wrong = compressed(native(Module(FRAMES[0] + 1, bits_stored=13)), uid=uid).found.PixelData[20:]
    wrap(monkeypatch, LIBRARIES[uid][0], lambda _: wrong)
    with pytest.raises((NotLossless, CodecFailed)):
        compressed(native(Module(FRAMES, frames=3, bits_stored=13)), uid=uid)


def test_a_codestream_of_another_precision_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same samples in a codestream that does not say Bits Stored are refused (PS3.5 8.2.4)."""
    monkeypatch.setattr("tiering.transcode.encoders._with_precision", lambda picture, frame: frame)
    with pytest.raises(NotLossless):
        compressed(native(Module(smooth(64, 64, dtype="i2"), bits_stored=12, signed=True)))


def test_colours_out_of_order_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """Red and blue exchanged, or colours by plane, are not the picture."""
    for spoil in (lambda samples: samples[..., ::-1], lambda samples: np.moveaxis(samples, -1, 0)):
        with monkeypatch.context() as patch:
            wrap(patch, "imagecodecs.jpeg2k_decode", spoil, call=0)
            with pytest.raises(NotLossless):
                compressed(native(Module(COLOUR)))
