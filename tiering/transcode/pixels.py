"""The frames of a stored data set, each by itself, as it is stored or decoded; must not write nor change a sample.

The data set is read up to its pixel data and no further. In memory: where the fragments are, and the frame asked for.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np

from tiering.errors import PixelMismatch, UnsupportedConversion
from tiering.transcode.codecs import Samples, is_available, unpack_frame
from tiering.transcode.decoding import Encapsulated, locate_frames
from tiering.transcode.frames import read_frame
from tiering.transcode.level import Kind, Token
from tiering.transcode.picture import PLANAR_CONFIGURATION, Picture, read_picture
from tiering.transcode.rewriting import valid_vr
from tiering.transcode.samples import to_samples
from tiering.transcode.source import Source
from tiering.transcode.stored import PICTURE_LIMIT, Native
from tiering.transcode.syntaxes import SOURCES, Codec, Syntax
from tiering.transcode.tokens import Tokens
from tiering.transcode.vr import PIXEL_DATA, SWAPPED


@dataclass(frozen=True, slots=True)
class Frames(ABC):
    """The frames of one open data set; frames count from 0. ``can_decode``: this build has their codec."""

    source: Source
    picture: Picture

    @property
    def can_decode(self) -> bool:
        """Tell whether frames can be had decoded."""
        return is_available(self.picture.codec)

    def stored(self, index: int) -> bytes:
        """Return a frame as it is stored, native ones in little endian. Raises PixelMismatch, MalformedDataset."""
        if not 0 <= index < self.picture.frames:
            raise PixelMismatch(reason=f"frame {index + 1} of {self.picture.frames}")
        return self._read(index)

    @abstractmethod
    def native(self, index: int) -> bytes:
        """Return a frame's native bytes in little endian, single bits packed, the last byte filled with zeros.

        Raises CodecFailed, PixelMismatch, MalformedDataset.
        """

    def samples(self, index: int) -> Samples:
        """Return a frame as rows, columns and, when there are several, samples; single bits as 0 and 1.

        Colours that share chroma samples (YBR_FULL_422, PS3.3 C.7.6.3.1.2) are filled up. Raises what ``native`` does.
        """
        picture, native = self.picture, self.native(index)
        if picture.bits_allocated == 1:
            bits = np.unpackbits(np.frombuffer(native, "u1"), count=picture.frame_bits, bitorder="little")
            return bits.reshape(picture.rows, picture.columns)
        if picture.samples == 3 and picture.frame_bits < picture.rows * picture.columns * 3 * picture.bits_allocated:
            return _filled_up(picture, native)
        return to_samples(picture, native)

    @abstractmethod
    def _read(self, index: int) -> bytes: ...


@dataclass(frozen=True, slots=True)
class _Compressed(Frames):
    pixels: Encapsulated

    def native(self, index: int) -> bytes:
        return unpack_frame(self.picture, self.stored(index), index)

    def _read(self, index: int) -> bytes:
        return read_frame(self.source, self.pixels.fragments, self.pixels.frames[index])


@dataclass(frozen=True, slots=True)
class _Uncompressed(Frames):
    pixels: Native
    value: bytes | None
    base: int

    def native(self, index: int) -> bytes:
        return self.stored(index)

    def _read(self, index: int) -> bytes:
        bits = self.picture.frame_bits
        if bits % 8 == 0:
            return self.pixels.read_frame(self.source, self.value, self.base, index)
        return self._bits(index * bits, bits)

    def _bits(self, start: int, count: int) -> bytes:
        """Return single bits that start anywhere in a byte (PS3.5 8.1.1) as bytes of their own."""
        first, behind = start // 8, (start + count + 7) // 8
        if self.value is None:
            self.source.seek(self.base + first)
        data = self.source.read(behind - first) if self.value is None else self.value[first:behind]
        bits = np.unpackbits(np.frombuffer(data, "u1"), bitorder="little")[start % 8 :][:count]
        return np.packbits(bits, bitorder="little").tobytes()


def find_frames(file: BinaryIO, *, source_uid: str) -> Frames | None:
    """Return the frames of the data set at the position of ``file``, stored in ``source_uid``; None without pixel data.

    ``file`` is seekable and buffered, and stays open as long as frames are wanted. Raises UnsupportedConversion for a
    transfer syntax that is not known or deflated, PixelMismatch, MalformedDataset.
    """
    syntax = SOURCES.get(source_uid)
    if syntax is None or syntax.encoding.deflated:
        raise UnsupportedConversion(source_uid=source_uid, target_uid="frames")
    source = Source(file)
    tokens = Tokens(source, syntax.encoding)
    for token in tokens:
        if token.level is tokens.root and token.tag == PIXEL_DATA:
            return _frames(source, syntax, token)
    return None


def _frames(source: Source, syntax: Syntax, token: Token) -> Frames:
    if token.kind is Kind.FRAGMENTS:
        pixels = locate_frames(source, syntax, token, limit=PICTURE_LIMIT)
        return _Compressed(source, pixels.picture, pixels)
    picture = read_picture(Codec.UNCOMPRESSED, token.level, limit=PICTURE_LIMIT)
    if token.length < picture.native_bytes:
        raise PixelMismatch(reason=f"{token.length} bytes of pixel data, not {picture.native_bytes}")
    unit = SWAPPED.get(valid_vr(token), 1) if token.level.encoding.big else 1
    native = Native(picture, token.length, unit, PLANAR_CONFIGURATION in token.level.values)
    return _Uncompressed(source, picture, native, token.value, source.position)


def _filled_up(picture: Picture, native: bytes) -> Samples:
    """Return YBR_FULL_422, two luminances and their common chroma in a row, with a chroma for each pixel."""
    pairs = np.frombuffer(native, "u1").reshape(picture.rows, picture.columns // 2, 4)
    filled = np.empty((picture.rows, picture.columns, 3), "u1")
    filled[:, 0::2, 0], filled[:, 1::2, 0] = pairs[:, :, 0], pairs[:, :, 1]
    for plane in (1, 2):
        filled[:, 0::2, plane] = filled[:, 1::2, plane] = pairs[:, :, plane + 1]
    return filled
