"""The picture of a frame for the eye: original, cold copy and their difference side by side; must not judge it.

Pixels only: no name, number nor date of a patient is written. Captions are figures, and words that French and English
share.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from tiering.quality import FrameMetrics

Samples = NDArray[Any]
_Grey = NDArray[np.uint8]

LIMIT_BYTES: Final = 400_000
_LARGEST_SIDE: Final = 512
_LEAST_SIDE: Final = 48
_SHRINK: Final = 0.8
_DETAIL: Final = 64
_GAP: Final = 8
_LINE: Final = 18
_LEAST_PANEL: Final = 240
_BACKGROUND: Final = "#181818"
_INK: Final = "#ebebeb"


@dataclass(frozen=True, slots=True)
class Shown:
    """What is written above the pixels, and how they are made visible.

    ``window``: centre and width in stored values, None for the middle 99 % of the original's values. ``frame``: its
    number and how many there are.
    """

    window: tuple[float, float] | None
    frame: str
    ratio: float
    metrics: FrameMetrics
    unit: str = ""
    is_inverted: bool = False


def draw(original: Samples, copy: Samples, shown: Shown) -> bytes:
    """Return a PNG of ``LIMIT_BYTES`` at most: the whole frame, and below it the place of the largest error, enlarged.

    Each row has three panels: original, copy, and the difference around grey, stretched by the factor that is written
    above it. Large frames are made smaller; the lower row shows true pixels.
    """
    greys, factor = _greys(original, copy, shown)
    place = _place(original, copy)
    captions = _captions(shown, factor)
    side = _LARGEST_SIDE
    while True:
        png = _png(_Page(side, captions, place), greys)
        if len(png) <= LIMIT_BYTES or side <= _LEAST_SIDE:
            return png
        side = int(side * _SHRINK)


def _captions(shown: Shown, factor: float) -> list[tuple[str, str]]:
    metrics = shown.metrics
    error = f"max {metrics.max_scaled_error:g} {shown.unit}".strip()
    ssim = "" if metrics.ssim is None else f"  SSIM {metrics.ssim:.4f}"
    return [
        ("Original", shown.frame),
        ("Copie / copy", f"{shown.ratio:.1f} : 1"),
        (f"Difference x {factor:.3g}", f"{error}  PSNR {metrics.psnr_db:.1f} dB{ssim}"),
    ]


def _greys(original: Samples, copy: Samples, shown: Shown) -> tuple[list[_Grey], float]:
    """Return the three panels at full size, and how much the difference is stretched in steps of the display."""
    difference = np.subtract(copy, original, dtype="i4")
    if original.ndim == 3:
        low, high = 0.0, 255.0
    else:
        low, high = _bounds(original, shown.window)
    largest = max(int(np.abs(difference).max()), 1)
    stretched = difference.astype("f4")
    stretched *= np.float32(127 / largest)
    stretched += np.float32(128)
    panels = [_windowed(each, low, high) for each in (original, copy)]
    if shown.is_inverted:
        panels = [255 - panel for panel in panels]
    return [*panels, _grey(stretched)], 127 / largest * (high - low) / 255


def _bounds(samples: Samples, window: tuple[float, float] | None) -> tuple[float, float]:
    if window is not None:
        return window[0] - window[1] / 2, window[0] + window[1] / 2
    low, high = (float(each) for each in np.percentile(samples, (0.5, 99.5)))
    return (low, high) if high > low else (low, low + 1)


def _windowed(samples: Samples, low: float, high: float) -> _Grey:
    shown = samples.astype("f4")
    shown -= np.float32(low)
    shown *= np.float32(255 / (high - low))
    return _grey(shown)


def _grey(shown: NDArray[np.float32]) -> _Grey:
    """Return values between black and white, those beyond as the nearest; the array is used up."""
    np.clip(shown, 0, 255, out=shown)
    return np.rint(shown, out=shown).astype("u1")


def _place(original: Samples, copy: Samples) -> tuple[int, int, int, int]:
    """Return left, top, right and bottom of the surroundings of the largest error, inside of the frame."""
    error = np.abs(np.subtract(copy, original, dtype="i4"))
    flat = error.max(axis=2) if error.ndim == 3 else error
    row, column = np.unravel_index(int(flat.argmax()), flat.shape)
    rows, columns = flat.shape
    height, width = min(_DETAIL, rows), min(_DETAIL, columns)
    top = min(max(int(row) - height // 2, 0), rows - height)
    left = min(max(int(column) - width // 2, 0), columns - width)
    return left, top, left + width, top + height


@dataclass(frozen=True, slots=True)
class _Page:
    """How large a panel may be, what is written above each, and which part is enlarged."""

    side: int
    captions: list[tuple[str, str]]
    place: tuple[int, int, int, int]

    def panel(self, grey: _Grey) -> Image.Image:
        """Return a whole frame, with a frame around the place that is enlarged."""
        whole = Image.fromarray(grey)
        times = self.side // max(whole.size)
        scale = float(times) if times else self.side / max(whole.size)
        size = max(round(whole.width * scale), 1), max(round(whole.height * scale), 1)
        panel = whole.resize(size, Image.Resampling.NEAREST if times else Image.Resampling.BOX)
        edges = [edge * scale for edge in self.place]
        ImageDraw.Draw(panel).rectangle((edges[0], edges[1], edges[2] - 1, edges[3] - 1), outline=_INK)
        return panel

    def detail(self, grey: _Grey) -> Image.Image:
        """Return the enlarged place: each pixel a square, none made up."""
        part = Image.fromarray(grey).crop(self.place)
        times = max(min(self.side, 256) // max(part.width, part.height), 1)
        return part.resize((part.width * times, part.height * times), Image.Resampling.NEAREST)


def _png(page: _Page, greys: list[_Grey]) -> bytes:
    panels, details = [page.panel(grey) for grey in greys], [page.detail(grey) for grey in greys]
    column = max(_LEAST_PANEL, panels[0].width, details[0].width) + _GAP
    head = _GAP + 2 * _LINE
    below = head + panels[0].height + _GAP
    whole = Image.new(panels[0].mode, (_GAP + 3 * column, below + details[0].height + _GAP), _BACKGROUND)
    pen, font = ImageDraw.Draw(whole), ImageFont.load_default(14)
    for number, (panel, detail, lines) in enumerate(zip(panels, details, page.captions, strict=True)):
        left = _GAP + number * column
        for line, text in enumerate(lines):
            pen.text((left, _GAP // 2 + line * _LINE), text, fill=_INK, font=font)
        whole.paste(panel, (left, head))
        whole.paste(detail, (left, below))
    file = io.BytesIO()
    whole.save(file, "PNG", optimize=False, compress_level=6)
    return file.getvalue()
