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

from archive.services.display import GreyDisplay, Lut, Palette, Window

Samples = NDArray[Any]
Picture8 = NDArray[np.uint8]
DEFAULT_QUALITY: Final = 90
LARGEST_SIDE: Final = 4096
_MIDDLE: Final = (0.5, 99.5)
_PNG_LEVEL: Final = 1
_LEAST_STEP: Final = 1e-9
_TO_RGB: Final = np.array([[1.0, 0.0, 1.402], [1.0, -0.344136, -0.714136], [1.0, 1.772, 0.0]], "f4")
"""From YBR_FULL (PS3.3 C.7.6.3.1.2) with chroma around 128."""


@dataclass(frozen=True, slots=True)
class Look:
    """How a picture is wanted: ``media_type`` image/jpeg or image/png; ``size`` (width, height) is what it fits in.

    ``window`` takes the place of the object's own; ``quality`` of JPEG from 1 to 100.
    """

    media_type: Literal["image/jpeg", "image/png"] = "image/jpeg"
    window: Window | None = None
    size: tuple[int, int] | None = None
    quality: int = DEFAULT_QUALITY


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

    It is never made larger than it is, unless a size says so.
    """
    image = Image.fromarray(picture)
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
