"""A stored data set in another transfer syntax, element by element, frame by frame; must not change a sample value.

Two passes over compressed or implicit data sets: the first learns what the second needs before it meets it (what
the pixel data will be once decoded, whether pixels are signed); one pass over the others. In memory: one frame, its
compressed form, a chunk of the longest value, and never the data set.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO, Final

from tiering.errors import MalformedDataset, PixelMismatch, UnsupportedConversion
from tiering.transcode.bits import join_bits
from tiering.transcode.codecs import is_available, unpack_frame
from tiering.transcode.frames import Fragments, group_frames, read_fragments, read_frame
from tiering.transcode.level import Kind, Level, Token
from tiering.transcode.picture import PHOTOMETRIC_INTERPRETATION, PLANAR_CONFIGURATION, Picture, read_picture
from tiering.transcode.sink import Sink
from tiering.transcode.source import CHUNK_BYTES, InflatingSource, Source
from tiering.transcode.syntaxes import SOURCES, TARGETS, Codec, Syntax
from tiering.transcode.tokens import Tokens
from tiering.transcode.vr import BITS_ALLOCATED, PIXEL_DATA, PIXEL_REPRESENTATION

_OFFSET_TABLES: Final = frozenset({0x7FE00001, 0x7FE00002, 0x7FE00003})


def can_convert(source_uid: str, target_uid: str) -> bool:
    """Return whether `convert` knows both transfer syntaxes and has the codec to leave the first one."""
    syntax = SOURCES.get(source_uid)
    return target_uid in TARGETS and syntax is not None and (syntax.codec is None or is_available(syntax.codec))


def convert(source: BinaryIO, *, source_uid: str, target_uid: str, target: BinaryIO) -> None:
    """Write the data set that starts at `source`'s position, encoded as `source_uid`, to `target` as `target_uid`.

    `source` is a seekable buffered file, read to its end; neither file holds a preamble or file meta here. Sample
    values are what the codec yields; Photometric Interpretation, Planar Configuration and the pixel data's VR say
    what they became (PS3.3 C.7.6.3, PS3.5 A.4). Text is copied byte for byte, whatever its character set. Group
    lengths and offset tables are left out; sequences get undefined length. Safe to call from many threads.

    Raises TranscodeError (one of its leaves) when the data set cannot be converted: what `target` then holds is to
    be thrown away. Errors of the files themselves (OSError) pass through.
    """
    if not can_convert(source_uid, target_uid):
        raise UnsupportedConversion(source_uid=source_uid, target_uid=target_uid)
    if source_uid == target_uid:
        shutil.copyfileobj(source, target, CHUNK_BYTES)
        return
    syntax = SOURCES[source_uid]
    opened = InflatingSource(source) if syntax.encoding.deflated else Source(source)
    survey = _survey(opened, syntax)
    sink = Sink(target, TARGETS[target_uid])
    _Rewriting(opened, sink, survey).run(Tokens(opened, syntax.encoding, survey.values))
    sink.finish()


@dataclass(frozen=True, slots=True)
class _Encapsulated:
    """Encapsulated pixel data of one level: the picture and where its frames are."""

    picture: Picture
    fragments: Fragments
    frames: list[range]
    states_planar: bool


@dataclass(frozen=True, slots=True)
class _Survey:
    """What the first pass learnt: root values for implicit VRs, and encapsulated pixel data by level start."""

    values: dict[int, bytes] = field(default_factory=dict)
    encapsulated: dict[int, _Encapsulated] = field(default_factory=dict)


def _survey(source: Source, syntax: Syntax) -> _Survey:
    if syntax.codec is None and not syntax.encoding.implicit:
        return _Survey()
    survey = _Survey()
    start = source.position
    tokens = Tokens(source, syntax.encoding)
    for token in tokens:
        if syntax.codec is None and token.level is tokens.root and token.tag > PIXEL_REPRESENTATION:
            break
        if token.kind is Kind.FRAGMENTS:
            survey.encapsulated[token.level.start] = _find_frames(source, syntax, token)
        elif token.level is tokens.root and token.tag == PIXEL_DATA and token.length and syntax.codec is not None:
            _check_native(syntax.codec, token)
    if PIXEL_REPRESENTATION in tokens.root.values:
        survey.values[PIXEL_REPRESENTATION] = tokens.root.values[PIXEL_REPRESENTATION]
    source.seek(start)
    return survey


def _find_frames(source: Source, syntax: Syntax, token: Token) -> _Encapsulated:
    if syntax.codec is None or token.fragments is None:
        raise MalformedDataset(offset=source.position, reason="a native transfer syntax with compressed pixel data")
    picture = read_picture(syntax.codec, token.level)
    fragments = read_fragments(source, token.fragments)
    frames = group_frames(source, fragments, picture.codec, picture.frames)
    return _Encapsulated(picture, fragments, frames, PLANAR_CONFIGURATION in token.level.values)


def _check_native(codec: Codec, token: Token) -> None:
    """Raise PixelMismatch when pixel data of defined length, in a compressed syntax, are not native after all."""
    expected = read_picture(codec, token.level).native_bytes
    if token.length < expected:
        raise PixelMismatch(reason=f"{token.length} bytes of pixel data, neither encapsulated nor {expected} long")


class _Rewriting:
    """The second pass: every token of the source, written as the target wants it."""

    def __init__(self, source: Source, sink: Sink, survey: _Survey) -> None:
        self._source = source
        self._sink = sink
        self._encapsulated = survey.encapsulated

    def run(self, tokens: Tokens) -> None:
        for token in tokens:
            if token.tag:
                self._fill_in_planar(token)
            self._write(token)

    def _write(self, token: Token) -> None:
        if token.kind is Kind.VALUE:
            self._write_value(token)
        elif token.kind is Kind.SEQUENCE:
            self._sink.open_sequence(token.tag)
        elif token.kind is Kind.ITEM:
            self._sink.open_item()
        elif token.kind is Kind.ITEM_END:
            self._sink.close_item()
        elif token.kind is Kind.SEQUENCE_END:
            self._sink.close_sequence()
        else:
            self._write_pixels(token)

    def _write_value(self, token: Token) -> None:
        if token.tag & 0xFFFF == 0:
            return
        pixels = self._encapsulated.get(token.level.start)
        if pixels is None:
            self._copy(token)
        elif token.tag == PHOTOMETRIC_INTERPRETATION:
            self._put(token.level, token.tag, "CS", pixels.picture.native_photometric.encode("ascii", "replace"))
        elif token.tag == PLANAR_CONFIGURATION and pixels.picture.native_planar is not None:
            self._put_planar(token.level, pixels.picture.native_planar)
        elif token.tag not in _OFFSET_TABLES:
            self._copy(token)

    def _copy(self, token: Token) -> None:
        chunks = iter([token.value]) if token.value else self._chunks(token.length)
        self._sink.value(token.tag, _valid_vr(token), token.length, chunks, big=token.level.encoding.big)

    def _chunks(self, length: int) -> Iterator[bytes]:
        end = self._source.position + length
        while self._source.position < end:
            yield self._source.read(min(CHUNK_BYTES, end - self._source.position))

    def _fill_in_planar(self, token: Token) -> None:
        """Write the Planar Configuration colours need and the data set lacks, at its place in the tag order."""
        pixels = self._encapsulated.get(token.level.start)
        if pixels is None or pixels.states_planar or pixels.picture.native_planar is None:
            return
        if token.level.previous < PLANAR_CONFIGURATION < token.tag:
            self._put_planar(token.level, pixels.picture.native_planar)

    def _put_planar(self, level: Level, planar: int) -> None:
        self._put(level, PLANAR_CONFIGURATION, "US", planar.to_bytes(2, "little"))

    def _put(self, level: Level, tag: int, vr: str, value: bytes) -> None:
        assert not level.encoding.big, "encapsulated pixel data are little endian"
        self._sink.value(tag, vr, len(value), [value], big=False)

    def _write_pixels(self, token: Token) -> None:
        pixels = self._encapsulated.get(token.level.start)
        if pixels is None:
            raise MalformedDataset(offset=self._source.position, reason="compressed pixel data in a native syntax")
        picture = pixels.picture
        frames = self._frames(pixels)
        if picture.frame_bits % 8:
            frames = join_bits(frames, picture.frame_bits)
        self._sink.value(token.tag, picture.vr, picture.native_bytes, frames, big=False)

    def _frames(self, pixels: _Encapsulated) -> Iterator[bytes]:
        """Decode the frames one after the other."""
        for index, numbers in enumerate(pixels.frames):
            yield unpack_frame(pixels.picture, read_frame(self._source, pixels.fragments, numbers), index)


def _valid_vr(token: Token) -> str:
    """Return the token's VR, OW for samples of several bytes some writers call OB (PS3.5 A.2): they are swapped."""
    wide = token.tag == PIXEL_DATA and (token.level.number(BITS_ALLOCATED) or 0) > 8
    return "OW" if wide and token.vr == "OB" else token.vr
