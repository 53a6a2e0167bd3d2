"""Lossless encoders, each with the decoder that proves its work; must not know where frames come from nor go.

| target | encoder | decoder |
|---|---|---|
| HTJ2K | OpenJPH | OpenJPEG: other code for packets, wavelet, colours; its block decoder is OpenJPH's author's |
| JPEG 2000 | OpenJPEG | FFmpeg's own |
| JPEG-LS | CharLS | FFmpeg's own |

imagecodecs and OpenCV, which brings FFmpeg, release the interpreter; pyjpegls holds it, and runs one call at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from threading import Lock
from typing import Final, NamedTuple

import imagecodecs
import jpeg_ls

from tiering.transcode import ffmpeg, jpeg2000
from tiering.transcode.codecs import Samples
from tiering.transcode.picture import Picture
from tiering.transcode.syntaxes import Codec

_ALONE: Final = Lock()
_BASE_SIDE: Final = 64
_LEVELS: Final = 5
"""Decompositions of a small picture: fewer compress worse, more gain nothing (measured on CT)."""
_BY_RESOLUTION: Final = 1
_BY_LINE: Final = 1
_SIZ_COMPONENTS: Final = 40
"""Where the number of components stands in a bare codestream: behind SOC, in SIZ (ISO 15444-1 A.5.1)."""


class Library(NamedTuple):
    """A library that encodes or decodes, and its version."""

    name: str
    version: str


@dataclass(frozen=True, slots=True)
class Encoder:
    """Compresses one frame without loss by `encode`, and `decode` checks it; each names its library when asked.

    Those are different libraries. `transforms` tells whether RGB goes through the reversible component transform,
    `signed` whether the codestream says that samples are signed. `min_bits` is the least Bits Stored, `colour_bits`
    those of colours that the second library decodes; `photometrics` are what PS3.5 8.2 lists for the transfer syntax,
    with the Bits Allocated each may have.
    """

    codec: Codec
    encode: Callable[[Picture, Samples], bytes]
    decode: Callable[[bytes], Samples]
    name_encoder: Callable[[], Library]
    name_decoder: Callable[[], Library]
    photometrics: Mapping[str, tuple[int, ...]]
    transforms: bool = True
    signed: bool = True
    min_bits: int = 1
    colour_bits: range = range(1, 17)

    def photometric(self, picture: Picture) -> str:
        """Return the Photometric Interpretation of the compressed frames."""
        transformed = self.transforms and picture.native_photometric == "RGB"
        return "YBR_RCT" if transformed else picture.native_photometric

    def coded(self, picture: Picture, samples: Samples) -> Samples:
        """Return the samples as the codestream has them."""
        return samples if self.signed else _without_sign(picture, samples)


def _encode_htj2k(picture: Picture, samples: Samples) -> bytes:
    """Encode as PS3.5 10.18.1 wants it for RPCL: a base resolution of at most 64, and TLM by resolution."""
    narrow = picture.bits_stored < picture.bits_allocated
    frame = imagecodecs.htj2k_encode(
        _centred(picture, samples) if narrow else samples,
        rgb=picture.native_photometric == "RGB",
        planar=False,
        reversible=True,
        resolutions=_levels(picture),
        tlm=True,
        tilepart=_BY_RESOLUTION,
    )
    return _with_precision(picture, bytes(frame)) if narrow else bytes(frame)


def _decode_htj2k(frame: bytes) -> Samples:
    return imagecodecs.jpeg2k_decode(frame, planar=False, numthreads=1)


def _encode_jpeg2000(picture: Picture, samples: Samples) -> bytes:
    is_rgb = picture.native_photometric == "RGB"
    return jpeg2000.write(samples, None, bits_stored=picture.bits_stored, is_rgb=is_rgb)


def _decode_jpeg2000(frame: bytes) -> Samples:
    return ffmpeg.decode(Codec.JPEG_2000, frame)


def _encode_jpeg_ls(picture: Picture, samples: Samples) -> bytes:
    """Encode as FFmpeg decodes it: colours line by line, not pixel by pixel (ISO 14495-1 annex B)."""
    with _ALONE:
        frame = jpeg_ls.encode_buffer(
            _without_sign(picture, samples).tobytes(),
            rows=picture.rows,
            columns=picture.columns,
            samples_per_pixel=picture.samples,
            bits_stored=picture.bits_stored,
            interleave_mode=_BY_LINE if picture.samples > 1 else 0,
        )
    return bytes(frame)


def _decode_jpeg_ls(frame: bytes) -> Samples:
    return ffmpeg.decode(Codec.JPEG_LS, frame)


def _library(stated: str) -> Library:
    """Return what imagecodecs states of a library: its name, a space, its version."""
    name, number = stated.split(" ", 1)
    return Library(name, number)


@cache
def _package(name: str) -> Library:
    """Return a package as installed; asking takes longer than a small frame."""
    return Library(name, version(name))


def _ffmpeg() -> Library:
    return Library("ffmpeg", ffmpeg.decoder_version())


_WIDTHS: Final = (8, 16)
_GREY_AND_RGB: Final = dict.fromkeys(("MONOCHROME1", "MONOCHROME2", "RGB"), _WIDTHS)

HTJ2K_RPCL_LOSSLESS: Final = "1.2.840.10008.1.2.4.202"
JPEG_LS_LOSSLESS: Final = "1.2.840.10008.1.2.4.80"
JPEG_2000_LOSSLESS: Final = "1.2.840.10008.1.2.4.90"
ENCODERS: Final[Mapping[str, Encoder]] = {
    HTJ2K_RPCL_LOSSLESS: Encoder(
        Codec.JPEG_2000,
        _encode_htj2k,
        _decode_htj2k,
        name_encoder=lambda: _library(imagecodecs.htj2k_version()),
        name_decoder=lambda: _library(imagecodecs.jpeg2k_version()),
        photometrics={**_GREY_AND_RGB, "YBR_FULL": _WIDTHS},
    ),
    JPEG_LS_LOSSLESS: Encoder(
        Codec.JPEG_LS,
        _encode_jpeg_ls,
        _decode_jpeg_ls,
        name_encoder=lambda: _package("pyjpegls"),
        name_decoder=_ffmpeg,
        photometrics={**_GREY_AND_RGB, "YBR_FULL": (8,), "PALETTE COLOR": _WIDTHS},
        transforms=False,
        signed=False,
        min_bits=2,
        colour_bits=range(8, 9),
    ),
    JPEG_2000_LOSSLESS: Encoder(
        Codec.JPEG_2000,
        _encode_jpeg2000,
        _decode_jpeg2000,
        name_encoder=lambda: _library(imagecodecs.jpeg2k_version()),
        name_decoder=_ffmpeg,
        photometrics={**_GREY_AND_RGB, "YBR_FULL": _WIDTHS, "PALETTE COLOR": _WIDTHS},
        colour_bits=range(1, 9),
    ),
}
"""How to compress to each target transfer syntax."""


def _without_sign(picture: Picture, samples: Samples) -> Samples:
    """Return signed samples as the unsigned numbers of the same Bits Stored bits (PS3.5 8.2.3)."""
    if not picture.signed:
        return samples
    return samples.view(f"u{samples.dtype.itemsize}") & ((1 << picture.bits_stored) - 1)


def _levels(picture: Picture) -> int:
    """Return the decompositions after which the shorter side is at most 64 (PS3.5 10.18.1)."""
    side = min(picture.rows, picture.columns)
    return max(_LEVELS, (-(-side // _BASE_SIDE) - 1).bit_length())


def _centred(picture: Picture, samples: Samples) -> Samples:
    """Return unsigned samples about zero, as the encoder itself would shift them were Bits Stored known to it."""
    if picture.signed:
        return samples
    # may wrap in between; what Bits Stored bits hold comes out right
    return (samples - (1 << picture.bits_stored - 1)).view(f"i{samples.dtype.itemsize}")


def _with_precision(picture: Picture, frame: bytes) -> bytes:
    """Return a codestream of signed samples that says Bits Stored and the samples' true sign in SIZ.

    imagecodecs takes the array's width for the precision, and PS3.5 8.2.4 wants the codestream to agree with Bits
    Stored. Decoders undo the shift of `_centred` by what SIZ says; the rest of the codestream does not hang on it.
    """
    patched = bytearray(frame)
    precision = picture.bits_stored - 1 | (0x80 if picture.signed else 0)
    for component in range(picture.samples):
        patched[_SIZ_COMPONENTS + 2 + 3 * component] = precision
    return bytes(patched)
