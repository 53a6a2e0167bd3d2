"""What the Image Pixel module says of pixel data to be decoded, and what it must say after; must not decode.

PS3.3 C.7.6.3 (attributes), PS3.5 8.2 (which of their values go with which compression).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from tiering.errors import ConversionTooLarge, PixelMismatch
from tiering.transcode.level import Level
from tiering.transcode.sink import LENGTH_LIMIT
from tiering.transcode.syntaxes import RAW_CODECS, Codec
from tiering.transcode.vr import BITS_ALLOCATED, PIXEL_REPRESENTATION

SAMPLES_PER_PIXEL: Final = 0x00280002
PHOTOMETRIC_INTERPRETATION: Final = 0x00280004
PLANAR_CONFIGURATION: Final = 0x00280006
NUMBER_OF_FRAMES: Final = 0x00280008
ROWS: Final = 0x00280010
COLUMNS: Final = 0x00280011
BITS_STORED: Final = 0x00280101

NATIVE_LIMIT: Final = LENGTH_LIMIT
"""The bytes of native pixel data an element holds."""
FRAME_BYTES_LIMIT: Final = 1 << 30
_CONTAINERS: Final = frozenset({1, 8, 16, 32, 64})
_UNKNOWN_COLOURS: Final = frozenset({"", "YBR_PARTIAL_422", "YBR_PARTIAL_420"})
"""No statement, or one that has no uncompressed form a codec yields."""


@dataclass(frozen=True, slots=True)
class Picture:
    """Pixel data as their data set describes them; lengths in pixels, samples, bits."""

    codec: Codec
    rows: int
    columns: int
    samples: int
    frames: int
    bits_allocated: int
    bits_stored: int
    signed: bool
    photometric: str
    planar: int | None

    @property
    def frame_bits(self) -> int:
        """Return the length of one native frame in bits."""
        samples = 2 if self._subsampled else self.samples
        return self.rows * self.columns * samples * self.bits_allocated

    @property
    def native_bytes(self) -> int:
        """Return the length of all native frames; single bits run on from frame to frame (PS3.5 8.1.1)."""
        return (self.frames * self.frame_bits + 7) // 8

    @property
    def vr(self) -> str:
        """Return the VR of the native pixel data in explicit VR (PS3.5 A.2)."""
        return "OW" if self.bits_allocated > 8 else "OB"

    @property
    def lossy_colour(self) -> bool:
        """Return whether the codec itself turns colours into RGB, as lossy JPEG does."""
        return self.samples == 3 and self.codec in (Codec.JPEG, Codec.JPEG_XL_RECOMPRESSED)

    @property
    def native_planar(self) -> int | None:
        """Return the Planar Configuration of the native frames, None when there is none."""
        if self.samples == 1:
            return None
        return self.planar or 0 if self.codec in RAW_CODECS else 0

    @property
    def native_photometric(self) -> str:
        """Return the Photometric Interpretation of the native frames.

        The samples stay what the codec yields: JPEG 2000 undoes its own colour transforms, JPEG's lossy processes
        decode to RGB, and 4:2:2 names a layout no codec yields.
        """
        if self.samples != 3 or self.codec in RAW_CODECS:
            return self.photometric
        if self.lossy_colour or self.photometric in ("YBR_RCT", "YBR_ICT", "XYB"):
            return "RGB"
        return "YBR_FULL" if self.photometric == "YBR_FULL_422" else self.photometric

    @property
    def _subsampled(self) -> bool:
        return self.codec in RAW_CODECS and self.photometric == "YBR_FULL_422"


def read_picture(codec: Codec, level: Level, *, limit: int = NATIVE_LIMIT) -> Picture:
    """Return the picture a data set describes; raise PixelMismatch when the description cannot be.

    Raises ConversionTooLarge when its native frames take more than `limit` bytes.
    """
    planar = level.number(PLANAR_CONFIGURATION)
    picture = Picture(
        codec=codec,
        rows=_required(level, ROWS),
        columns=_required(level, COLUMNS),
        samples=_required(level, SAMPLES_PER_PIXEL),
        frames=read_frames(level),
        bits_allocated=_required(level, BITS_ALLOCATED),
        bits_stored=level.number(BITS_STORED) or _required(level, BITS_ALLOCATED),
        signed=level.number(PIXEL_REPRESENTATION) == 1,
        photometric=level.text(PHOTOMETRIC_INTERPRETATION),
        planar=planar,
    )
    _check(picture, limit)
    return picture


def read_frames(level: Level) -> int:
    """Return Number of Frames, 1 when absent; raise PixelMismatch when it is no positive number."""
    text = level.text(NUMBER_OF_FRAMES).removeprefix("+") or "1"
    if not text.isdecimal() or not 0 < int(text) <= LENGTH_LIMIT:
        raise PixelMismatch(reason="Number of Frames is not a positive number")
    return int(text)


def _required(level: Level, tag: int) -> int:
    number = level.number(tag)
    if not number:
        raise PixelMismatch(reason=f"({tag >> 16:04X},{tag & 0xFFFF:04X}) is absent or zero")
    return number


def _check(picture: Picture, limit: int) -> None:
    if picture.bits_allocated not in _CONTAINERS or picture.bits_stored > picture.bits_allocated:
        raise PixelMismatch(reason=f"{picture.bits_stored} bits stored in {picture.bits_allocated} allocated")
    if picture.samples == 3 and picture.photometric in _UNKNOWN_COLOURS:
        raise PixelMismatch(reason=f"colours of Photometric Interpretation {picture.photometric!r}")
    frame_bytes = picture.rows * picture.columns * picture.samples * max(picture.bits_allocated // 8, 1)
    if frame_bytes > FRAME_BYTES_LIMIT:
        raise ConversionTooLarge(reason=f"a frame would take {frame_bytes} bytes in memory")
    if picture.native_bytes > limit:
        raise ConversionTooLarge(reason=f"the pixel data would be {picture.native_bytes} bytes long")
