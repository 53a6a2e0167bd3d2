"""What the data sets of a series say that decides about loss, gathered from their tokens; must not decide.

Whatever one instance says counts for the series, at any depth where the standard allows it: functional groups of
enhanced objects too, icons not.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from tiering.lossy_rules import SeriesFacts
from tiering.pack import PackedMember
from tiering.quality import PaddingRange
from tiering.transcode.derive import (
    FRAME_TYPE,
    IMAGE_TYPE,
    LOSSY,
    LOSSY_METHOD,
    LOSSY_RATIO,
    PADDING_LIMIT,
    PADDING_VALUE,
    SIGNATURES,
)
from tiering.transcode.eligible import LOSSY_UIDS, PictureFacts
from tiering.transcode.irreversible import SampleFormat
from tiering.transcode.level import Kind, Token
from tiering.transcode.picture import Picture

LOSSY_SYNTAXES: Final = LOSSY_UIDS | frozenset(
    f"1.2.840.10008.1.2.4.{number}" for number in (52, 54, 56, *range(58, 67), 81, 93, *range(100, 109))
)
"""Transfer syntaxes that lose or may have lost, video among them: nothing tells the two apart afterwards."""

MODALITY: Final = 0x00080060
BODY_PART: Final = 0x00180015
CODE_VALUE: Final = 0x00080100
COMPLEX_COMPONENT: Final = 0x00089208
RESCALE_INTERCEPT: Final = 0x00281052
RESCALE_SLOPE: Final = 0x00281053
RESCALE_TYPE: Final = 0x00281054
WINDOW_CENTER: Final = 0x00281050
WINDOW_WIDTH: Final = 0x00281051
UNITS: Final = 0x00541001

_ICONS: Final = 0x00880200
_REGIONS: Final = 0x00082218
_SHARED: Final = 0x52009229
_PER_FRAME: Final = 0x52009230
_VALUE_TRANSFORMATION: Final = 0x00289145
_REAL_WORLD: Final = 0x00409096
_MODALITY_LUT: Final = 0x00283000
_PALETTE: Final = frozenset(
    {*range(0x00281101, 0x00281105), *range(0x00281201, 0x00281205), *range(0x00281221, 0x00281224)}
)
_DISPLAY: Final = frozenset({RESCALE_INTERCEPT, WINDOW_CENTER, WINDOW_WIDTH})
_PLAIN_UNITS: Final = frozenset({"", "US", "NORMALIZED"})
"""Rescale Types without a unit: "unspecified", and what Philips writes for MR signal."""
_OWN_UNITS: Final[Mapping[str, frozenset[str]]] = {
    "CT": frozenset({"HU"}),
    "CR": frozenset({"OD"}),
    "DX": frozenset({"OD"}),
}
"""Rescale Types that are the modality's own (PS3.3 C.11.1.1.2): the gates were made for them."""
_MANY: Final = 3


@dataclass(slots=True)
class Statements:
    """What one data set says; ``see`` is for every token of it, in order.

    ``slopes`` by frame from 0, ``None`` for all of them; ``display`` has the first of intercept and window.
    """

    modality: str = ""
    body_part: str = ""
    regions: set[str] = field(default_factory=set)
    image_types: set[str] = field(default_factory=set)
    units: set[str] = field(default_factory=set)
    slopes: dict[int | None, float] = field(default_factory=dict)
    display: dict[int, float] = field(default_factory=dict)
    padding: dict[int, bytes] = field(default_factory=dict)
    is_lossy: bool = False
    has_palette: bool = False
    is_quantitative: bool = False
    is_big_endian: bool = False
    obstacles: set[str] = field(default_factory=set)
    _path: list[int] = field(default_factory=list)
    _frame: int = -1

    def see(self, token: Token) -> None:
        """Take note of what a token says."""
        if token.kind is Kind.SEQUENCE:
            self._open(token.tag)
        elif token.kind is Kind.SEQUENCE_END:
            self._path.pop()
        elif token.kind is Kind.ITEM:
            self._frame += self._path == [_PER_FRAME]
        elif token.kind is Kind.FRAGMENTS and self._path:
            self.obstacles.add("there are compressed pixel data inside a sequence")
        elif token.kind is Kind.VALUE and _ICONS not in self._path:
            self._value(token)

    def _open(self, tag: int) -> None:
        if tag == _REAL_WORLD:
            self.is_quantitative = True
        elif tag == _MODALITY_LUT and not self._path:
            self.obstacles.add("its values go through a table: what an error means is not known")
        elif tag in SIGNATURES:
            self.obstacles.add("it is digitally signed")
        self._path.append(tag)

    def _value(self, token: Token) -> None:
        if token.tag in _PALETTE:
            self.has_palette = True
        elif token.tag in SIGNATURES:
            self.obstacles.add("it is digitally signed")
        elif token.tag in _DISPLAY:
            self.display.setdefault(token.tag, _first_number(token))
        elif token.tag in (PADDING_VALUE, PADDING_LIMIT) and not self._path:
            self.padding[token.tag] = token.value or b""
            self.is_big_endian = token.level.encoding.big
        elif (note := _NOTES.get(token.tag)) is not None:
            note(self, token)

    def _note_slope(self, token: Token) -> None:
        if self._path == [_PER_FRAME, _VALUE_TRANSFORMATION]:
            self.slopes[self._frame] = _first_number(token)
        elif self._path in ([], [_SHARED, _VALUE_TRANSFORMATION]):
            self.slopes[None] = _first_number(token)

    def _note_modality(self, token: Token) -> None:
        if not self._path:
            self.modality = _text(token).upper()

    def _note_body_part(self, token: Token) -> None:
        if not self._path:
            self.body_part = _text(token).upper()

    def _note_code(self, token: Token) -> None:
        if self._path and self._path[-1] == _REGIONS:
            self.regions.add(_text(token).upper())

    def _note_words(self, token: Token) -> None:
        self.image_types |= {word.strip().upper() for word in _text(token).split("\\")} - {""}

    def _note_unit(self, token: Token) -> None:
        self.units.add(_text(token).upper())

    def _note_measured(self, token: Token) -> None:
        self.is_quantitative |= _text(token).upper() not in ("", "NONE")

    def _note_lossy(self, token: Token) -> None:
        self.is_lossy |= _text(token) == "01" if token.tag == LOSSY else bool(_text(token))

    def slope_of(self, frame: int) -> float:
        """Return Rescale Slope of a frame, 1 when none is stated."""
        return self.slopes.get(frame, self.slopes.get(None, 1.0))

    def window(self) -> tuple[float, float] | None:
        """Return centre and width for the display in stored values; None when the data set names none that works."""
        slope, intercept = self.slope_of(0), self.display.get(RESCALE_INTERCEPT, 0.0)
        if not slope or not {WINDOW_CENTER, WINDOW_WIDTH} <= self.display.keys():
            return None
        centre, width = (self.display[WINDOW_CENTER] - intercept) / slope, abs(self.display[WINDOW_WIDTH] / slope)
        return (centre, width) if math.isfinite(centre) and math.isfinite(width) and width >= 1 else None


_NOTES: Final[Mapping[int, Callable[[Statements, Token], None]]] = {
    MODALITY: Statements._note_modality,
    BODY_PART: Statements._note_body_part,
    CODE_VALUE: Statements._note_code,
    IMAGE_TYPE: Statements._note_words,
    FRAME_TYPE: Statements._note_words,
    COMPLEX_COMPONENT: Statements._note_words,
    RESCALE_SLOPE: Statements._note_slope,
    RESCALE_TYPE: Statements._note_unit,
    UNITS: Statements._note_measured,
    LOSSY: Statements._note_lossy,
    LOSSY_RATIO: Statements._note_lossy,
    LOSSY_METHOD: Statements._note_lossy,
}


def _text(token: Token) -> str:
    return (token.value or b"").decode("ascii", "replace").strip(" \0")


def _first_number(token: Token) -> float:
    """Return the first number of a DS value, not a number when it is none."""
    try:
        return float(_text(token).partition("\\")[0])
    except ValueError:
        return math.nan


def layout_of(picture: Picture) -> SampleFormat:
    """Return how the samples of a picture lie in its decoded frames."""
    return SampleFormat(
        picture.bits_allocated, picture.bits_stored, picture.signed, picture.samples, picture.native_photometric
    )


def slopes_of(said: Statements, frames: int) -> tuple[float, ...]:
    """Return how steep each frame is rescaled, one for all when they are alike. Raises ValueError for no number."""
    found = tuple(abs(said.slope_of(frame)) for frame in range(frames))
    if not all(math.isfinite(slope) and slope for slope in found):
        raise ValueError("Rescale Slope is not a number other than zero")
    return found if len(set(found)) > 1 else found[:1]


def padding_of(said: Statements, picture: Picture) -> PaddingRange | None:
    """Return which stored values mean "no pixel here", None for none. Raises ValueError when that is not clear.

    The two values are as wide as two bytes whatever the samples are (PS3.3 C.7.5.1.1.2), signed as they are.
    """
    low, high = (said.padding.get(tag) for tag in (PADDING_VALUE, PADDING_LIMIT))
    if not low and not high:
        return None
    form = (">" if said.is_big_endian else "<") + ("h" if picture.signed else "H")
    if not low or len(low) != 2 or (high and len(high) != 2):
        raise ValueError("Pixel Padding Value or its limit is not one number")
    values = [int(struct.unpack(form, value)[0]) for value in (low, high or low)]
    return PaddingRange(min(values), max(values))


@dataclass(slots=True)
class Gathered:
    """What all data sets of a series say together."""

    modalities: set[str] = field(default_factory=set)
    sop_classes: set[str] = field(default_factory=set)
    photometrics: set[str] = field(default_factory=set)
    layouts: set[SampleFormat] = field(default_factory=set)
    paddings: set[PaddingRange | None] = field(default_factory=set)
    body_parts: set[str] = field(default_factory=set)
    words: set[str] = field(default_factory=set)
    regions: set[str] = field(default_factory=set)
    obstacles: list[str] = field(default_factory=list)
    slope: float = 0.0
    is_lossy: bool = False
    is_floating: bool = False
    has_palette: bool = False
    is_quantitative: bool = False

    def refuse(self, name: str, reason: str) -> None:
        """Note why one instance keeps the series from being compressed; the first few are enough."""
        if len(self.obstacles) < _MANY:
            self.obstacles.append(f"{name}: {reason}")

    def add_statements(self, member: PackedMember, said: Statements) -> None:
        """Take in what one data set says of itself."""
        self.sop_classes.add(member.sop_class_uid)
        self.modalities.add(said.modality)
        self.body_parts |= {said.body_part} - {""}
        self.regions |= said.regions - {""}
        self.words |= said.image_types
        syntaxes = {member.received_transfer_syntax_uid, member.transfer_syntax_uid}
        self.is_lossy |= said.is_lossy or member.derived_from is not None or bool(syntaxes & LOSSY_SYNTAXES)
        self.has_palette |= said.has_palette
        plain = _PLAIN_UNITS | _OWN_UNITS.get(said.modality, frozenset())
        self.is_quantitative |= said.is_quantitative or not said.units <= plain
        for reason in sorted(said.obstacles):
            self.refuse(member.name, reason)

    def add_picture(self, member: PackedMember, said: Statements, facts: PictureFacts) -> None:
        """Take in what its pixel data are. Raises ValueError when what its samples mean is not clear."""
        picture = facts.picture
        self.is_floating |= facts.floating
        if facts.overlay_in_pixels:
            self.refuse(member.name, "an overlay lies in the unused bits of its pixels")
        if picture is None:
            self.refuse(member.name, "it has no pixels that are whole numbers")
            return
        if facts.high_bit not in (None, picture.bits_stored - 1):
            self.refuse(member.name, "High Bit is not Bits Stored less one")
        self.photometrics.add(picture.native_photometric)
        self.layouts.add(layout_of(picture))
        self.slope = max(self.slope, *slopes_of(said, picture.frames))
        self.paddings.add(padding_of(said, picture))

    def series(self) -> SeriesFacts:
        """Return the facts that rules ask for; what instances differ in is among the obstacles."""
        counts = {
            "modality": len(self.modalities),
            "bits, sign, samples or colours": len(self.layouts),
            "padding": len(self.paddings),
        }
        obstacles = [f"its instances differ in {what}" for what, count in counts.items() if count > 1]
        layout = min(self.layouts, key=repr, default=SampleFormat(0, 0))
        body, *others = sorted(self.body_parts) or [""]
        return SeriesFacts(
            modality=min(self.modalities, default=""),
            sop_class_uids=frozenset(self.sop_classes),
            photometrics=frozenset(self.photometrics),
            bits_allocated=layout.bits_allocated,
            bits_stored=layout.bits_stored,
            samples=layout.samples,
            is_signed=layout.is_signed,
            body_part=body,
            region_codes=frozenset({*self.regions, *others}),
            image_types=frozenset(self.words),
            is_already_lossy=self.is_lossy,
            has_float_pixels=self.is_floating,
            has_palette=self.has_palette,
            is_quantitative=self.is_quantitative,
            obstacles=(*self.obstacles, *obstacles),
        )
