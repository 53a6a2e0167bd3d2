"""A stored data set in another transfer syntax, element by element, frame by frame; must not change a sample value.

Two passes over compressed or implicit data sets: the first learns what the second needs before it meets it (what
the pixel data will be once decoded, whether pixels are signed); one pass over the others. In memory: one frame, its
compressed form, a chunk of the longest value, and never the data set.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from typing import BinaryIO

from tiering.errors import PixelMismatch, UnsupportedConversion
from tiering.transcode.codecs import is_available
from tiering.transcode.decoding import Decoding, Encapsulated, locate_frames
from tiering.transcode.level import Kind, Token
from tiering.transcode.picture import read_picture
from tiering.transcode.sink import Sink
from tiering.transcode.source import CHUNK_BYTES, InflatingSource, Source
from tiering.transcode.syntaxes import SOURCES, TARGETS, Codec, Syntax
from tiering.transcode.tokens import Tokens
from tiering.transcode.vr import PIXEL_DATA, PIXEL_REPRESENTATION


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
    Decoding(opened, sink, survey.encapsulated).run(Tokens(opened, syntax.encoding, survey.values))
    sink.finish()


@dataclass(frozen=True, slots=True)
class _Survey:
    """What the first pass learnt: root values for implicit VRs, and encapsulated pixel data by level start."""

    values: dict[int, bytes] = field(default_factory=dict)
    encapsulated: dict[int, Encapsulated] = field(default_factory=dict)


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
            survey.encapsulated[token.level.start] = locate_frames(source, syntax, token)
        elif token.level is tokens.root and token.tag == PIXEL_DATA and token.length and syntax.codec is not None:
            _check_native(syntax.codec, token)
    if PIXEL_REPRESENTATION in tokens.root.values:
        survey.values[PIXEL_REPRESENTATION] = tokens.root.values[PIXEL_REPRESENTATION]
    source.seek(start)
    return survey


def _check_native(codec: Codec, token: Token) -> None:
    """Raise PixelMismatch when pixel data of defined length, in a compressed syntax, are not native after all."""
    expected = read_picture(codec, token.level).native_bytes
    if token.length < expected:
        raise PixelMismatch(reason=f"{token.length} bytes of pixel data, neither encapsulated nor {expected} long")
