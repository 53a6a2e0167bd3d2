"""A frame as a picture for the eye (PS3.4 annex N, PS3.18 10.4.1.1.3): window, colours, size; must not read a file.

Grey: stored values, Modality LUT, VOI LUT, the inversion of MONOCHROME1. Colours: palette, or YBR to RGB. Padding,
which is outside of the image, is black.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from archive.errors import NoSuchRegion
from archive.services.display import GreyDisplay, Lut, Palette, Window

Samples = NDArray[Any]
Picture8 = NDArray[np.uint8]
DEFAULT_QUALITY: Final = 90
LARGEST_SIDE: Final = 4096
_MIDDLE: Final = (0.5, 99.5)
_PNG_LEVEL: Final = 1
_LEAST_STEP: Final = 1e-9
_ROUNDING: Final = 1e-6
_TO_RGB: Final = np.array([[1.0, 0.0, 1.402], [1.0, -0.344136, -0.714136], [1.0, 1.772, 0.0]], "f4")
"""From YBR_FULL (PS3.3 C.7.6.3.1.2) with chroma around 128."""


@dataclass(frozen=True, slots=True)
class Region:
    """A part of an image in its own pixels, which may be fractions (PS3.18 section 8.3.5.1.3).

    ``width`` and ``height`` None: to the edge of the image; negative: what is cut is mirrored.
    """

    left: float = 0.0
    top: float = 0.0
    width: float | None = None
    height: float | None = None

    def cut(self, picture: Picture8) -> Picture8:
        """Return this part, to the nearest whole pixels, one at least. Raises NoSuchRegion when it reaches beyond."""
        rows, columns = picture.shape[:2]
        across, down = _pixels(self.left, self.width, columns), _pixels(self.top, self.height, rows)
        if across is None or down is None:
            raise NoSuchRegion(columns=columns, rows=rows, reason="outside of the image")
        part = picture[down, across]
        part = part[:, ::-1] if (self.width or 0) < 0 else part
        return np.ascontiguousarray(part[::-1] if (self.height or 0) < 0 else part)


def _pixels(start: float, length: float | None, size: int) -> slice | None:
    end = size if length is None else start + abs(length)
    if start >= size or end > size + _ROUNDING:
        return None
    first = min(int(start + 0.5), size - 1)
    return slice(first, max(int(end + 0.5), first + 1))


@dataclass(frozen=True, slots=True)
class Look:
    """How a picture is wanted: ``media_type`` image/jpeg or image/png; ``size`` (width, height) is what it fits in.

    ``window`` takes the place of the object's own; ``quality`` of JPEG from 1 to 100; ``region`` is what is shown.
    """

    media_type: Literal["image/jpeg", "image/png"] = "image/jpeg"
    window: Window | None = None
    size: tuple[int, int] | None = None
    quality: int = DEFAULT_QUALITY
    region: Region | None = None


def grey_picture(samples: Samples, display: GreyDisplay, window: Window | None = None) -> Picture8:
    """Return rows and columns of grey from 0 to 255; ``window`` takes the place of the object's own VOI LUT."""
    values = modality_values(samples, display)
    padding = _padding(samples, display)
    shown = _voi(values, display, window, padding)
    if display.is_inverted:
        shown = 255 - shown
    if padding is not None:
        shown[padding] = 0
    return shown


def modality_values(samples: Samples, display: GreyDisplay) -> Samples:
    """Return the values that a window is about: after Modality LUT or rescale."""
    if display.modality_lut is not None:
        return display.modality_lut.applied(samples).astype("f4")
    values = samples.astype("f4")
    if (display.slope, display.intercept) != (1.0, 0.0):
        values *= np.float32(display.slope)
        values += np.float32(display.intercept)
    return values


def _padding(samples: Samples, display: GreyDisplay) -> NDArray[np.bool_] | None:
    if display.padding is None:
        return None
    low, high = display.padding
    outside: NDArray[np.bool_] = (samples >= low) & (samples <= high)
    return outside if outside.any() else None


def _voi(values: Samples, display: GreyDisplay, window: Window | None, padding: NDArray[np.bool_] | None) -> Picture8:
    window = window or display.window
    if window is None and display.voi_lut is not None:
        return _lut_grey(values, display.voi_lut)
    return windowed(values, window or _own_window(values, padding))


def _lut_grey(values: Samples, lut: Lut) -> Picture8:
    found = lut.applied(np.rint(values).astype("i8")).astype("f4")
    return _grey(found * np.float32(255 / max((1 << lut.bits) - 1, 1)))


def _own_window(values: Samples, padding: NDArray[np.bool_] | None) -> Window:
    """Return a window over the middle 99 % of what is in the image, for an object that has none."""
    inside = values if padding is None else values[~padding]
    if not inside.size:
        return Window(0.0, 1.0)
    low, high = (float(each) for each in np.percentile(inside[:: max(inside.size >> 18, 1)], _MIDDLE))
    if high <= low:
        low, high = float(inside.min()), float(inside.max())
    return Window((low + high) / 2 + 0.5, max(high - low, _LEAST_STEP) + 1)


def windowed(values: Samples, window: Window) -> Picture8:
    """Return values through a window, by its function (PS3.3 C.11.2.1.2 and C.11.2.1.3)."""
    centre, width = window.centre, window.width
    if window.function == "SIGMOID":
        return _grey(255 / (1 + np.exp(np.clip(-4 * (values - centre) / max(width, _LEAST_STEP), -60, 60))))
    if window.function == "LINEAR_EXACT":
        return _grey((values - np.float32(centre)) * np.float32(255 / max(width, _LEAST_STEP)) + np.float32(127.5))
    if width <= 1:
        return np.where(values > centre - 0.5, 255, 0).astype("u1")
    return _grey((values - np.float32(centre - 0.5)) * np.float32(255 / (width - 1)) + np.float32(127.5))


def _grey(shown: Samples) -> Picture8:
    grey: Picture8 = np.rint(np.clip(shown, 0, 255)).astype("u1")
    return grey


def palette_picture(samples: Samples, palette: Palette) -> Picture8:
    """Return rows, columns and RGB of a PALETTE COLOR frame (PS3.3 C.7.9)."""
    return np.stack([lut.scaled(samples) for lut in palette.luts], axis=-1)


def colour_picture(samples: Samples, photometric: str, bits_stored: int) -> Picture8:
    """Return rows, columns and RGB of a frame of three samples: RGB, or YBR_FULL and its kin in full range."""
    if bits_stored > 8:
        samples = samples >> (bits_stored - 8)
    shown = samples.astype("u1", copy=False)
    return _rgb_of_ybr(shown) if photometric.startswith("YBR_FULL") else shown


def _rgb_of_ybr(ybr: Picture8) -> Picture8:
    parts = ybr.astype("f4")
    parts[..., 1:] -= 128
    return _grey(parts @ _TO_RGB.T)


def encoded(picture: Picture8, look: Look, *, aspect: float = 1.0) -> bytes:
    """Return a picture as PNG or JPEG, fitted into the size that is wanted; ``aspect``: height of a pixel to its width.

    It is never made larger than it is, unless a size says so. What is outside of the region is cut off first. Raises
    NoSuchRegion.
    """
    image = Image.fromarray(picture if look.region is None else look.region.cut(picture))
    size = _fitted(image.width, max(round(image.height * aspect), 1), look.size)
    if size != image.size:
        is_smaller = size[0] < image.width
        image = image.resize(size, Image.Resampling.BOX if is_smaller else Image.Resampling.BILINEAR, reducing_gap=3.0)
    file = io.BytesIO()
    if look.media_type == "image/png":
        image.save(file, "PNG", compress_level=_PNG_LEVEL)
    else:
        image.save(file, "JPEG", quality=look.quality)
    return file.getvalue()


def _fitted(width: int, height: int, size: tuple[int, int] | None) -> tuple[int, int]:
    box = size or (min(width, LARGEST_SIDE), min(height, LARGEST_SIDE))
    scale = min(box[0] / width, box[1] / height)
    return max(round(width * scale), 1), max(round(height * scale), 1)
