"""Lossless encoders, each with the decoder that proves its work; must not know where frames come from nor go.

| target | encoder | decoder | independent |
|---|---|---|---|
| HTJ2K | OpenJPH | OpenJPEG | yes: other code for packets, wavelet, colours; its block decoder is OpenJPH's author's |
| JPEG 2000 | OpenJPEG | OpenJPEG, another build | no |
| JPEG-LS | CharLS | CharLS, another build | no |

imagecodecs releases the interpreter; pyjpegls and pylibjpeg-openjpeg hold it, and run one call at a time here.
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
import openjpeg.utils

from tiering.transcode.codecs import Samples
from tiering.transcode.picture import Picture
from tiering.transcode.syntaxes import Codec

_ALONE: Final = Lock()
_BASE_SIDE: Final = 64
_LEVELS: Final = 5
"""Decompositions of a small picture: fewer compress worse, more gain nothing (measured on CT)."""
_BY_RESOLUTION: Final = 1
_SIZ_COMPONENTS: Final = 40
"""Where the number of components stands in a bare codestream: behind SOC, in SIZ (ISO 15444-1 A.5.1)."""


class Library(NamedTuple):
    """A library that encodes or decodes, and its version."""

    name: str
    version: str


@dataclass(frozen=True, slots=True)
class Encoder:
    """Compresses one frame without loss by `encode`, and `decode` checks it; each names its library when asked.

    `independent` tells whether those are different libraries, `transforms` whether RGB goes through the reversible
    component transform, `signed` whether the codestream says that samples are signed. `min_bits` is the least Bits
    Stored; `photometrics` are what PS3.5 8.2 lists for the transfer syntax, with the Bits Allocated each may have.
    """

    codec: Codec
    encode: Callable[[Picture, Samples], bytes]
    decode: Callable[[bytes], Samples]
    name_encoder: Callable[[], Library]
    name_decoder: Callable[[], Library]
    photometrics: Mapping[str, tuple[int, ...]]
    independent: bool = False
    transforms: bool = True
    signed: bool = True
    min_bits: int = 1

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
    # imagecodecs writes no precision below 9 for samples of 16 bits
    narrow = samples.astype(f"{samples.dtype.kind}1") if picture.bits_stored <= 8 else samples
    frame = imagecodecs.jpeg2k_encode(
        narrow,
        level=0,
        codecformat="j2k",
        reversible=True,
        bitspersample=picture.bits_stored,
        mct=picture.native_photometric == "RGB",
        numthreads=1,
    )
    return bytes(frame)


def _decode_jpeg2000(frame: bytes) -> Samples:
    with _ALONE:
        return openjpeg.utils.decode(frame)


def _encode_jpeg_ls(picture: Picture, samples: Samples) -> bytes:
    with _ALONE:
        frame = jpeg_ls.encode_pixel_data(
            _without_sign(picture, samples).tobytes(),
            rows=picture.rows,
            columns=picture.columns,
            samples_per_pixel=picture.samples,
            bits_stored=picture.bits_stored,
            planar_configuration=0,
        )
    return bytes(frame)


def _decode_jpeg_ls(frame: bytes) -> Samples:
    return imagecodecs.jpegls_decode(frame)


def _library(stated: str) -> Library:
    """Return what imagecodecs states of a library: its name, a space, its version."""
    name, number = stated.split(" ", 1)
    return Library(name, number)


@cache
def _package(name: str) -> Library:
    """Return a package as installed; asking takes longer than a small frame."""
    return Library(name, version(name))


_WIDTHS: Final = (8, 16)
_GREY_AND_RGB: Final = dict.fromkeys(("MONOCHROME1", "MONOCHROME2", "RGB"), _WIDTHS)

HTJ2K_RPCL_LOSSLESS: Final = "1.2.840.10008.1.2.4.202"
ENCODERS: Final[Mapping[str, Encoder]] = {
    HTJ2K_RPCL_LOSSLESS: Encoder(
        Codec.JPEG_2000,
        _encode_htj2k,
        _decode_htj2k,
        name_encoder=lambda: _library(imagecodecs.htj2k_version()),
        name_decoder=lambda: _library(imagecodecs.jpeg2k_version()),
        photometrics={**_GREY_AND_RGB, "YBR_FULL": _WIDTHS},
        independent=True,
    ),
    "1.2.840.10008.1.2.4.80": Encoder(
        Codec.JPEG_LS,
        _encode_jpeg_ls,
        _decode_jpeg_ls,
        name_encoder=lambda: _package("pyjpegls"),
        name_decoder=lambda: _library(imagecodecs.jpegls_version()),
        photometrics={**_GREY_AND_RGB, "YBR_FULL": (8,), "PALETTE COLOR": _WIDTHS},
        transforms=False,
        signed=False,
        min_bits=2,
    ),
    "1.2.840.10008.1.2.4.90": Encoder(
        Codec.JPEG_2000,
        _encode_jpeg2000,
        _decode_jpeg2000,
        name_encoder=lambda: _library(imagecodecs.jpeg2k_version()),
        name_decoder=lambda: _package("pylibjpeg-openjpeg"),
        photometrics={**_GREY_AND_RGB, "YBR_FULL": _WIDTHS, "PALETTE COLOR": _WIDTHS},
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
