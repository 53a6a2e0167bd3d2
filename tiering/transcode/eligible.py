"""Whether a stored picture may be compressed again without loss, and why not; must not read a data set."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from tiering.transcode.encoders import ENCODERS, HTJ2K_RPCL_LOSSLESS, Encoder
from tiering.transcode.picture import Picture
from tiering.transcode.syntaxes import RAW_CODECS

LOSSY_UIDS: Final = frozenset(f"1.2.840.10008.1.2.4.{last}" for last in (50, 51, 53, 55, 81, 91, 111, 112, 203))
"""Transfer syntaxes that are lossy or may be: nothing tells in which way their frames were made."""


@dataclass(frozen=True, slots=True)
class CompressPolicy:
    """What is worth compressing: `min_gain_percent` of the stored pixel data's bytes must go, below 0 they may grow."""

    min_gain_percent: float = 5.0


@dataclass(frozen=True, slots=True)
class PictureFacts:
    """What a data set says of its pixel data; `picture` is None when it has none that are integers.

    `stored_bytes` is the length of the pixel data element's value as stored, `lossy` what (0028,2110) says.
    `overlay_in_pixels` tells of overlays in the unused bits (retired, PS3.5 8.1.2).
    """

    source_uid: str
    picture: Picture | None
    stored_bytes: int = 0
    high_bit: int | None = None
    lossy: bool = False
    floating: bool = False
    overlay_in_pixels: bool = False


def cannot_compress(facts: PictureFacts, *, target_uid: str = HTJ2K_RPCL_LOSSLESS) -> str | None:
    """Return why a picture is to be left as it is, None when it may be compressed to `target_uid`.

    What only the samples tell (used high bits, too little gain) shows while compressing.
    """
    encoder = ENCODERS.get(target_uid)
    if encoder is None:
        return "no lossless encoder for the target"
    if facts.source_uid == target_uid:
        return "already in the target transfer syntax"
    return _unfit_facts(facts) or _unfit_picture(facts, encoder)


def _unfit_facts(facts: PictureFacts) -> str | None:
    return next((reason for reason, applies in _UNFIT_FACTS if applies(facts)), None)


_UNFIT_FACTS: Final[tuple[tuple[str, Callable[[PictureFacts], bool]], ...]] = (
    ("lossy transfer syntax", lambda facts: facts.source_uid in LOSSY_UIDS),
    ("lossy compressed before", lambda facts: facts.lossy),
    ("float or double pixel data", lambda facts: facts.floating),
    ("no pixel data", lambda facts: facts.picture is None or not facts.stored_bytes),
    ("overlay in the unused bits of the pixel data", lambda facts: facts.overlay_in_pixels),
)


def _unfit_picture(facts: PictureFacts, encoder: Encoder) -> str | None:
    picture = facts.picture
    assert picture is not None, "asked after _unfit_facts"
    if picture.codec in RAW_CODECS and picture.native_photometric == "YBR_FULL_422":
        return "subsampled colours"
    if (reason := _unfit_bits(picture, facts.high_bit, encoder)) is not None:
        return reason
    return _unfit_colours(picture, encoder)


def _unfit_bits(picture: Picture, high_bit: int | None, encoder: Encoder) -> str | None:
    if picture.bits_allocated not in (8, 16):
        return f"{picture.bits_allocated} bits allocated"
    if picture.bits_stored < encoder.min_bits:
        return f"{picture.bits_stored} bits stored"
    if high_bit is not None and high_bit != picture.bits_stored - 1:
        return "High Bit is not Bits Stored less one"
    return None


def _unfit_colours(picture: Picture, encoder: Encoder) -> str | None:
    """Return why PS3.5 tables 8.2.3-1, 8.2.4-1 and 8.2.14-1 do not list the picture."""
    photometric = picture.native_photometric
    grey = photometric.startswith("MONOCHROME")
    if picture.bits_allocated not in encoder.photometrics.get(photometric, ()):
        return "the target does not take its Photometric Interpretation"
    if picture.samples != (3 if photometric in ("RGB", "YBR_FULL") else 1):
        return f"{picture.samples} samples per pixel do not fit its Photometric Interpretation"
    if picture.samples == 3 and picture.bits_stored not in encoder.colour_bits:
        return f"no second decoder for colours of {picture.bits_stored} bits"
    return "signed colours" if picture.signed and not grey else None
