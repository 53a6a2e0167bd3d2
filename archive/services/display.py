"""What an object says of how its frames are to be shown (PS3.3 C.11, C.7.6.3, C.7.6.16); must not look at a pixel."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from archive.errors import RetrieveError

Samples = NDArray[Any]
_UNFIT: Final = (TypeError, ValueError, AttributeError, IndexError, KeyError, OverflowError, NotImplementedError)
"""What values raise that are not what they should be."""
_PLANES: Final = ("Red", "Green", "Blue")
_WIDEST: Final = 1 << 16
_DISCRETE, _LINEAR, _REPEATED = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Window:
    """Centre and width, in values after the Modality LUT, and the function that goes with them."""

    centre: float
    width: float
    function: str = "LINEAR"


@dataclass(frozen=True, slots=True)
class Lut:
    """A look-up table (PS3.3 C.11.1.1): ``table`` from the value ``first`` on; values beyond are its ends'."""

    table: Samples
    first: int
    bits: int

    def applied(self, values: Samples) -> Samples:
        """Return the entries for values."""
        found: Samples = self.table[np.clip(values.astype("i8") - self.first, 0, len(self.table) - 1)]
        return found

    def scaled(self, values: Samples) -> NDArray[np.uint8]:
        """Return the entries for values in eight bits."""
        found = self.applied(values)
        return (found >> max(self.bits - 8, 0)).astype("u1")


@dataclass(frozen=True, slots=True)
class Palette:
    """The tables of red, green and blue."""

    luts: Sequence[Lut]


@dataclass(frozen=True, slots=True)
class GreyDisplay:
    """How a grey frame is shown; ``padding``: the lowest and highest stored value that is outside of the image."""

    slope: float = 1.0
    intercept: float = 0.0
    modality_lut: Lut | None = None
    window: Window | None = None
    voi_lut: Lut | None = None
    is_inverted: bool = False
    padding: tuple[int, int] | None = None


def grey_display(ds: Dataset, frame: int) -> GreyDisplay:
    """Return how a grey frame (from 0) of an object is shown; what the object says wrongly is passed over."""
    transformation = _nearest(ds, frame, "PixelValueTransformationSequence", "RescaleSlope")
    voi = _nearest(ds, frame, "FrameVOILUTSequence", "WindowCenter")
    slope = _number(transformation, "RescaleSlope", 1.0)
    return GreyDisplay(
        slope=slope or 1.0,
        intercept=_number(transformation, "RescaleIntercept", 0.0),
        modality_lut=_lut(ds, "ModalityLUTSequence"),
        window=_window(voi),
        voi_lut=_lut(ds, "VOILUTSequence"),
        is_inverted=str(ds.get("PhotometricInterpretation", "")).strip() == "MONOCHROME1",
        padding=_padding(ds),
    )


def palette_of(ds: Dataset) -> Palette:
    """Return the palette of a PALETTE COLOR object. Raises RetrieveError when it has none that can be used."""
    try:
        return Palette([_palette_lut(ds, plane) for plane in _PLANES])
    except _UNFIT as exc:
        raise RetrieveError(reason="its palette cannot be read") from exc


def pixel_aspect(ds: Dataset) -> float:
    """Return how much higher than wide a pixel is: Pixel Aspect Ratio, else spacing; 1 when neither is said."""
    for keyword in ("PixelAspectRatio", "PixelSpacing", "ImagerPixelSpacing"):
        with suppress(*_UNFIT):
            vertical, horizontal = (float(part) for part in ds[keyword].value)
            ratio = vertical / horizontal if horizontal else 1.0
            if math.isfinite(ratio) and 0.05 <= ratio <= 20:
                return ratio
    return 1.0


def _nearest(ds: Dataset, frame: int, macro: str, keyword: str) -> Dataset:
    """Return the data set that says a keyword: the frame's functional group, the shared one, the object itself."""
    for group in _groups(ds, frame):
        with suppress(*_UNFIT):
            found: Dataset = group[macro].value[0]
            if keyword in found:
                return found
    return ds


def _groups(ds: Dataset, frame: int) -> Iterator[Dataset]:
    with suppress(*_UNFIT):
        yield ds["PerFrameFunctionalGroupsSequence"].value[frame]
    with suppress(*_UNFIT):
        yield ds["SharedFunctionalGroupsSequence"].value[0]


def _window(said: Dataset) -> Window | None:
    centre, width = _number(said, "WindowCenter", None), _number(said, "WindowWidth", None)
    if centre is None or width is None or width <= 0:
        return None
    function = str(said.get("VOILUTFunction", "") or "LINEAR").strip().upper()
    return Window(centre, width, function)


def _number(said: Dataset, keyword: str, default: Any) -> Any:
    """Return the first of one or several numbers."""
    with suppress(*_UNFIT):
        value = said[keyword].value
        first = value if isinstance(value, str | int | float) else value[0]
        number = float(first)
        if math.isfinite(number):
            return number
    return default


def _padding(ds: Dataset) -> tuple[int, int] | None:
    with suppress(*_UNFIT):
        value = _signed(ds, int(ds["PixelPaddingValue"].value))
        limit = _signed(ds, int(ds.get("PixelPaddingRangeLimit", value)))
        return min(value, limit), max(value, limit)
    return None


def _signed(ds: Dataset, value: int) -> int:
    """Return a value as the pixels have it: some call a signed one US, or the other way round."""
    bits = int(ds["BitsAllocated"].value)
    value &= (1 << bits) - 1
    return value - (1 << bits) if int(ds["PixelRepresentation"].value) and value >> (bits - 1) else value


def _lut(ds: Dataset, keyword: str) -> Lut | None:
    with suppress(*_UNFIT):
        item = ds[keyword].value[0]
        return _table(item, "LUTDescriptor", item["LUTData"].value)
    return None


def _palette_lut(ds: Dataset, plane: str) -> Lut:
    descriptor = f"{plane}PaletteColorLookupTableDescriptor"
    plain = f"{plane}PaletteColorLookupTableData"
    if plain in ds:
        return _table(ds, descriptor, ds[plain].value)
    segmented = ds[f"Segmented{plane}PaletteColorLookupTableData"].value
    return _table(ds, descriptor, _unfolded(segmented, int(ds[descriptor].value[2])))


def _table(said: Dataset, descriptor: str, data: Any) -> Lut:
    count, first, bits = (int(part) for part in said[descriptor].value)
    count = (count & 0xFFFF) or _WIDEST
    table = _entries(data, count, bits)
    if not len(table):
        raise ValueError("an empty table")
    return Lut(table, first, _true_bits(table, bits))


def _entries(data: Any, count: int, bits: int) -> Samples:
    """Return the entries: bytes in words or one a byte (C.7.6.3.1.6), or numbers as pydicom read them."""
    if not isinstance(data, bytes):
        values = [int(each) for each in data] if not isinstance(data, int) else [data]
        return np.array(values, "i8")[:count] & 0xFFFF
    is_bytes = bits <= 8 and len(data) < 2 * count
    return np.frombuffer(data[: len(data) - len(data) % 2], "u1" if is_bytes else "<u2")[:count].astype("i8")


def _true_bits(table: Samples, bits: int) -> int:
    """Return how many bits entries have: some say 16 and mean 8, some say 8 and shift."""
    largest = int(table.max())
    if (bits > 8 and largest <= 255) or (bits <= 8 and largest > 255):
        return 8 if largest <= 255 else 16
    return bits


def _unfolded(segments: bytes, bits: int) -> list[int]:
    """Return the entries of a segmented palette (PS3.3 C.7.9.2): discrete, linear and repeated segments."""
    words = np.frombuffer(segments, "u1" if bits <= 8 else "<u2").tolist()
    entries: list[int] = []
    position = 0
    while position + 1 < len(words) and len(entries) < _WIDEST:
        if words[position] != _REPEATED:
            position = _unfold(words, position, entries)
            continue
        at = words[position + 2] | words[position + 3] << 16
        for _ in range(words[position + 1]):
            at = _unfold(words, at, entries)
        position += 4
    return entries


def _unfold(words: Sequence[int], position: int, entries: list[int]) -> int:
    """Add one discrete or linear segment; return where the next one is. Raises ValueError for another one."""
    kind, count = words[position], words[position + 1]
    if kind == _DISCRETE:
        entries += words[position + 2 : position + 2 + count]
        return position + 2 + count
    if kind != _LINEAR or not entries:
        raise ValueError("a segment of a palette that is none")
    entries += np.rint(np.linspace(entries[-1], words[position + 2], count + 1)[1:]).astype(int).tolist()
    return position + 3
