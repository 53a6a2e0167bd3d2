"""Encapsulated pixel data of a data set made native while it is rewritten; must not encode a frame.

In memory: one frame, its compressed form, and never the data set.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from tiering.errors import MalformedDataset
from tiering.transcode.bits import join_bits
from tiering.transcode.codecs import unpack_frame
from tiering.transcode.frames import Fragments, group_frames, read_fragments, read_frame
from tiering.transcode.level import Token
from tiering.transcode.picture import NATIVE_LIMIT, PLANAR_CONFIGURATION, Picture, read_picture
from tiering.transcode.rewriting import Outlook, Rewriting
from tiering.transcode.sink import Sink
from tiering.transcode.source import Source
from tiering.transcode.syntaxes import Syntax


@dataclass(frozen=True, slots=True)
class Encapsulated:
    """Encapsulated pixel data of one level: the picture and where its frames are."""

    picture: Picture
    fragments: Fragments
    frames: list[range]
    states_planar: bool

    @property
    def outlook(self) -> Outlook:
        """Return what the data set says of the decoded frames."""
        return Outlook(self.picture.native_photometric, self.picture.native_planar, self.states_planar)


def locate_frames(source: Source, syntax: Syntax, token: Token, *, limit: int = NATIVE_LIMIT) -> Encapsulated:
    """Return the picture and the frames of a FRAGMENTS token; decoded they may take `limit` bytes.

    Raises MalformedDataset, PixelMismatch or ConversionTooLarge when they are not what the data set promises.
    """
    if syntax.codec is None or token.fragments is None:
        raise MalformedDataset(offset=source.position, reason="a native transfer syntax with compressed pixel data")
    picture = read_picture(syntax.codec, token.level, limit=limit)
    fragments = read_fragments(source, token.fragments)
    frames = group_frames(source, fragments, picture.codec, picture.frames)
    return Encapsulated(picture, fragments, frames, PLANAR_CONFIGURATION in token.level.values)


def iter_frames(source: Source, pixels: Encapsulated) -> Iterator[bytes]:
    """Decode the frames one after the other."""
    for index, numbers in enumerate(pixels.frames):
        yield unpack_frame(pixels.picture, read_frame(source, pixels.fragments, numbers), index)


class Decoding(Rewriting):
    """Writes a data set with native pixel data at every level; `encapsulated` goes by the start of their level."""

    def __init__(self, source: Source, sink: Sink, encapsulated: Mapping[int, Encapsulated]) -> None:
        super().__init__(source, sink, {start: pixels.outlook for start, pixels in encapsulated.items()})
        self._encapsulated = encapsulated

    def _write_pixels(self, token: Token) -> None:
        pixels = self._encapsulated.get(token.level.start)
        if pixels is None:
            raise MalformedDataset(offset=self._source.position, reason="compressed pixel data in a native syntax")
        picture = pixels.picture
        frames = iter_frames(self._source, pixels)
        if picture.frame_bits % 8:
            frames = join_bits(frames, picture.frame_bits)
        self._sink.value(token.tag, picture.vr, picture.native_bytes, frames, big=False)
