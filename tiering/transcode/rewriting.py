"""A data set written again, element by element, with what its pixel data become; must not decode nor encode a frame."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from tiering.transcode.level import Kind, Token
from tiering.transcode.picture import PHOTOMETRIC_INTERPRETATION, PLANAR_CONFIGURATION
from tiering.transcode.sink import Sink
from tiering.transcode.source import CHUNK_BYTES, Source
from tiering.transcode.tokens import Tokens
from tiering.transcode.vr import BITS_ALLOCATED, PIXEL_DATA

_OFFSET_TABLES: Final = frozenset({0x7FE00001, 0x7FE00002, 0x7FE00003})


@dataclass(frozen=True, slots=True)
class Outlook:
    """What a data set will say of its pixel data; `planar` is None where none is said of one sample per pixel.

    `states_planar` tells whether the source has Planar Configuration, right or wrong.
    """

    photometric: str
    planar: int | None
    states_planar: bool


class Rewriting(ABC):
    """Every token of the source, written as the target wants it; `outlooks` go by the start of their level.

    Text is copied byte for byte. Group lengths are left out, and so are offset tables where pixel data change.
    """

    def __init__(self, source: Source, sink: Sink, outlooks: Mapping[int, Outlook]) -> None:
        self._source = source
        self._sink = sink
        self._outlooks = outlooks

    def run(self, tokens: Tokens) -> None:
        """Write the whole data set."""
        for token in tokens:
            if token.tag:
                self._fill_in_planar(token)
            self._write(token)

    @abstractmethod
    def _write_pixels(self, token: Token) -> None:
        """Write encapsulated pixel data."""

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
        outlook = self._outlooks.get(token.level.start)
        if outlook is None:
            self._copy(token)
        elif token.tag == PHOTOMETRIC_INTERPRETATION:
            self._put(token.tag, "CS", outlook.photometric.encode("ascii", "replace"))
        elif token.tag == PLANAR_CONFIGURATION and outlook.planar is not None:
            self._put_planar(outlook.planar)
        elif token.tag not in _OFFSET_TABLES:
            self._copy(token)

    def _copy(self, token: Token) -> None:
        chunks = iter([token.value]) if token.value else self._chunks(token.length)
        self._sink.value(token.tag, valid_vr(token), token.length, chunks, big=token.level.encoding.big)

    def _chunks(self, length: int) -> Iterator[bytes]:
        end = self._source.position + length
        while self._source.position < end:
            yield self._source.read(min(CHUNK_BYTES, end - self._source.position))

    def _fill_in_planar(self, token: Token) -> None:
        """Write the Planar Configuration colours need and the data set lacks, at its place in the tag order."""
        outlook = self._outlooks.get(token.level.start)
        if outlook is None or outlook.states_planar or outlook.planar is None:
            return
        if token.level.previous < PLANAR_CONFIGURATION < token.tag:
            self._put_planar(outlook.planar)

    def _put_planar(self, planar: int) -> None:
        self._put(PLANAR_CONFIGURATION, "US", planar.to_bytes(2, "little"))

    def _put(self, tag: int, vr: str, value: bytes) -> None:
        self._sink.value(tag, vr, len(value), [value], big=False)


def valid_vr(token: Token) -> str:
    """Return the token's VR, OW for samples of several bytes some writers call OB (PS3.5 A.2): they are swapped."""
    wide = token.tag == PIXEL_DATA and (token.level.number(BITS_ALLOCATED) or 0) > 8
    return "OW" if wide and token.vr == "OB" else token.vr
