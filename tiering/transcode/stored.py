"""What the pixel data of a stored data set are and where, learnt in one pass; must not decode a frame.

In memory: where the fragments are, and never the data set.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from tiering.errors import CannotCompress, PixelMismatch
from tiering.transcode.decoding import Encapsulated, locate_frames
from tiering.transcode.eligible import PictureFacts
from tiering.transcode.level import Kind, Level, Token
from tiering.transcode.picture import PLANAR_CONFIGURATION, Picture, read_picture
from tiering.transcode.rewriting import Outlook, valid_vr
from tiering.transcode.sink import swapped
from tiering.transcode.source import Source
from tiering.transcode.syntaxes import SOURCES, Codec
from tiering.transcode.tokens import Tokens
from tiering.transcode.vr import PIXEL_DATA, PIXEL_REPRESENTATION, SWAPPED

HIGH_BIT: Final = 0x00280102
LOSSY_IMAGE_COMPRESSION: Final = 0x00282110
FLOAT_PIXEL_DATA: Final = frozenset({0x7FE00008, 0x7FE00009})
PICTURE_LIMIT: Final = 1 << 40
"""Native bytes of one data set's frames: they never are one element, nor together in memory."""

_OVERLAY_GROUPS: Final = range(0x6000, 0x6100, 2)
_OVERLAY_BITS_ALLOCATED: Final = 0x0100
_OVERLAY_DATA: Final = 0x3000


@dataclass(frozen=True, slots=True)
class Native:
    """Native pixel data of the root; `unit` is how many bytes are swapped to make them little endian."""

    picture: Picture
    length: int
    unit: int
    states_planar: bool

    @property
    def outlook(self) -> Outlook:
        """Return what the data set says of the frames put together by pixel."""
        return Outlook(self.picture.native_photometric, 0 if self.picture.samples > 1 else None, self.states_planar)

    def iter_frames(self, source: Source, value: bytes | None) -> Iterator[bytes]:
        """Yield the frames, little endian; they are in `value`, or wait in the source where it stands.

        What is swapped may reach over the edge of a frame: a word holds two samples of eight bits (PS3.5 annex D).
        """
        base = source.position
        for index in range(self.picture.frames):
            yield self.read_frame(source, value, base, index)

    def read_frame(self, source: Source, value: bytes | None, base: int, index: int) -> bytes:
        """Return one frame, little endian; it is in `value`, or in the source, where the pixel data start at `base`."""
        size = self.picture.frame_bits // 8
        start = index * size
        first = start - start % self.unit
        behind = min(start + size + -(start + size) % self.unit, self.length)
        if value is None:
            source.seek(base + first)
        data = source.read(behind - first) if value is None else value[first:behind]
        return (data if self.unit == 1 else swapped(data, self.unit))[start - first : start - first + size]


@dataclass(slots=True)
class Stored:
    """What is known of a data set: `values` of the root to read it again with, encapsulated pixel data by level.

    Native pixel data start at `native_at`, or are `native_value` when they are short.
    """

    values: dict[int, bytes] = field(default_factory=dict)
    encapsulated: dict[int, Encapsulated] = field(default_factory=dict)
    native: Native | None = None
    native_at: int = 0
    native_value: bytes | None = None
    stored_bytes: int = 0
    floating: bool = False
    overlays: set[int] = field(default_factory=set)


def read_stored(
    source: Source, source_uid: str, see: Callable[[Token], None] | None = None
) -> tuple[Stored, PictureFacts]:
    """Read a data set to its end; return where its pixel data are, and what they are for `cannot_compress`.

    `see` is shown every token, and may not read on.
    Raises MalformedDataset, PixelMismatch or ConversionTooLarge when the data set is not what it claims to be, and
    CannotCompress when it claims two things at once.
    """
    stored = Stored()
    tokens = Tokens(source, SOURCES[source_uid].encoding)
    for token in tokens:
        if see is not None:
            see(token)
        if token.kind is Kind.FRAGMENTS:
            _see_fragments(stored, source, token, source_uid)
        elif token.level is tokens.root:
            _see_value(stored, token, source_uid)
            if token.tag == PIXEL_DATA and token.length:
                stored.native_at, stored.native_value = source.position, token.value
    if PIXEL_REPRESENTATION in tokens.root.values:
        stored.values[PIXEL_REPRESENTATION] = tokens.root.values[PIXEL_REPRESENTATION]
    return stored, _facts(stored, tokens.root, source_uid)


def _facts(stored: Stored, root: Level, source_uid: str) -> PictureFacts:
    encapsulated = stored.encapsulated.get(root.start)
    pixels = encapsulated or stored.native
    return PictureFacts(
        source_uid,
        picture=pixels.picture if pixels else None,
        stored_bytes=stored.stored_bytes,
        high_bit=root.number(HIGH_BIT),
        lossy=root.text(LOSSY_IMAGE_COMPRESSION) == "01",
        floating=stored.floating,
        overlay_in_pixels=bool(stored.overlays),
    )


def _see_fragments(stored: Stored, source: Source, token: Token, source_uid: str) -> None:
    syntax = SOURCES[source_uid]
    if token.level.parent is not None:
        stored.encapsulated[token.level.start] = locate_frames(source, syntax, token)
        return
    _see_once(stored)
    pixels = locate_frames(source, syntax, token, limit=PICTURE_LIMIT)
    stored.encapsulated[token.level.start] = pixels
    stored.stored_bytes = sum(pixels.fragments.lengths)


def _see_value(stored: Stored, token: Token, source_uid: str) -> None:
    if token.tag == PIXEL_DATA and token.length:
        _see_once(stored)
        stored.native = _native(token, source_uid)
        stored.stored_bytes = token.length
    elif token.tag in FLOAT_PIXEL_DATA:
        stored.floating = True
    elif token.tag >> 16 in _OVERLAY_GROUPS:
        _see_overlay(stored, token)


def _see_once(stored: Stored) -> None:
    """Raise CannotCompress at the root's second pixel data element: nothing tells which one is the picture."""
    if stored.stored_bytes:
        raise CannotCompress(reason="pixel data twice")


def _see_overlay(stored: Stored, token: Token) -> None:
    """Note overlays that say they use several bits, until their own data show that they do not."""
    group, element = token.tag >> 16, token.tag & 0xFFFF
    if element == _OVERLAY_BITS_ALLOCATED:
        bits = (token.value or b"")[:2]
        if int.from_bytes(bits, "big" if token.level.encoding.big else "little") > 1:
            stored.overlays.add(group)
    elif element == _OVERLAY_DATA:
        stored.overlays.discard(group)


def _native(token: Token, source_uid: str) -> Native:
    if SOURCES[source_uid].codec is not None:
        raise CannotCompress(reason="native pixel data in a compressed transfer syntax")
    picture = read_picture(Codec.UNCOMPRESSED, token.level)
    expected = picture.native_bytes
    if token.length < expected:
        raise PixelMismatch(reason=f"{token.length} bytes of pixel data, not {expected}")
    if token.length > expected + expected % 2:
        raise CannotCompress(reason=f"{token.length - expected} bytes of pixel data that are in no frame")
    unit = SWAPPED.get(valid_vr(token), 1) if token.level.encoding.big else 1
    return Native(picture, token.length, unit, PLANAR_CONFIGURATION in token.level.values)
