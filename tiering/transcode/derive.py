"""The data set of a lossily compressed image, made from its predecessor's; must not compress nor judge anything.

What a compressed version of an image has to say is in PS3.3 C.7.6.1.1.2, C.7.6.1.1.5 and C.12.4.1.1: a SOP Instance
UID of its own, Image Type DERIVED, that it is lossy, how, how much, and from which image it comes. Everything else is
copied element by element, byte for byte, into explicit VR little endian; only the pixel data are others.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO, Final

from tiering.errors import MalformedDataset, PixelMismatch, TranscodeError, UnsupportedConversion
from tiering.quality import PaddingRange
from tiering.transcode.irreversible import SampleFormat
from tiering.transcode.level import Kind, Token
from tiering.transcode.picture import PHOTOMETRIC_INTERPRETATION, PLANAR_CONFIGURATION, read_frames
from tiering.transcode.sink import Sink
from tiering.transcode.source import CHUNK_BYTES, InflatingSource, Source
from tiering.transcode.syntaxes import EXPLICIT_LITTLE, HTJ2K_LOSSY, SOURCES, Irreversible
from tiering.transcode.tokens import Tokens
from tiering.transcode.vr import PIXEL_DATA, PIXEL_REPRESENTATION

IMAGE_TYPE: Final = 0x00080008
FRAME_TYPE: Final = 0x00089007
SOP_CLASS_UID: Final = 0x00080016
SOP_INSTANCE_UID: Final = 0x00080018
DERIVATION_DESCRIPTION: Final = 0x00082111
SOURCE_IMAGES: Final = 0x00082112
DERIVATION_CODES: Final = 0x00089215
PADDING_VALUE: Final = 0x00280120
PADDING_LIMIT: Final = 0x00280121
LOSSY: Final = 0x00282110
LOSSY_RATIO: Final = 0x00282112
LOSSY_METHOD: Final = 0x00282114

SIGNATURES: Final = frozenset({0x4FFE0001, 0xFFFAFFFA})
LEFT_OUT: Final = frozenset({*range(0x00280106, 0x00280112), 0x7FE00001, 0x7FE00002, 0x7FE00003})
"""Smallest and largest values (optional, and no longer true) and offset tables of the old pixel data."""

_DESCRIPTION_BYTES: Final = 1024
_OFFSET_LIMIT: Final = 1 << 32
_LOSSY_COMPRESSION: Final = ("113040", "Lossy Compression")
_UNCOMPRESSED_PREDECESSOR: Final = ("121320", "Uncompressed predecessor")


@dataclass(frozen=True, slots=True)
class Predecessor:
    """The image that was compressed, as its own data set states it."""

    sop_class_uid: str
    sop_instance_uid: str


@dataclass(frozen=True, slots=True)
class Derivation:
    """What the new data set says.

    With the predecessor's own SOP Instance UID, which C.7.6.1.1.2 does not allow and a site may ask for, it is DERIVED
    and lossy all the same (that is what its pixels are); it then names no source image, which would be itself.

    `ratio` is uncompressed to compressed bytes of this object, `description` one ASCII line on codec and parameters.
    `padding` is the range to declare when the predecessor's does not hold any more. `target` is how frames are
    compressed.
    """

    predecessor: Predecessor
    sop_instance_uid: str
    layout: SampleFormat
    ratio: float
    description: str
    padding: PaddingRange | None = None
    target: Irreversible = HTJ2K_LOSSY


@dataclass(frozen=True, slots=True)
class CompressedFrames:
    """Compressed frames in order: their lengths, and how one is read when its turn comes."""

    lengths: Sequence[int]
    read: Callable[[int], bytes]


def derive(
    source: BinaryIO, *, source_uid: str, target: BinaryIO, derivation: Derivation, frames: CompressedFrames
) -> None:
    """Write the data set of the compressed image to `target`, in the encoding of compressed ones, no file meta.

    `source` is the predecessor's data set, a seekable buffered file at its start, encoded as `source_uid`. Derivation
    Description, its codes, Source Image Sequence and lossy ratio and method are appended to what is there. Raises
    TranscodeError (or a leaf) when the data set is not the predecessor's, is signed, or has compressed pixel data
    inside a sequence; what `target` then holds is to be thrown away.
    """
    syntax = SOURCES.get(source_uid)
    if syntax is None:
        raise UnsupportedConversion(source_uid=source_uid, target_uid=derivation.target.transfer_syntax_uid)
    opened = InflatingSource(source) if syntax.encoding.deflated else Source(source)
    # Implicit VR, always little endian, has elements before this one whose VR hangs on it.
    sign = struct.pack("<H", derivation.layout.is_signed)
    tokens = Tokens(opened, syntax.encoding, {PIXEL_REPRESENTATION: sign})
    _Deriving(opened, Sink(target, EXPLICIT_LITTLE), derivation, frames).run(tokens)


class _Deriving:
    """One pass over the predecessor: every token copied, replaced, or preceded by what is new."""

    def __init__(self, source: Source, sink: Sink, derivation: Derivation, frames: CompressedFrames) -> None:
        self._source = source
        self._sink = sink
        self._derivation = derivation
        self._frames = frames
        self._values = _new_values(derivation)
        self._sequences = {DERIVATION_CODES: self._write_code}
        if derivation.sop_instance_uid != derivation.predecessor.sop_instance_uid:
            self._sequences[SOURCE_IMAGES] = self._write_source
        self._waiting = sorted(self._values.keys() | self._sequences.keys())
        self._root_sequence = 0
        old = derivation.predecessor
        self._expected = {SOP_CLASS_UID: old.sop_class_uid, SOP_INSTANCE_UID: old.sop_instance_uid}

    def run(self, tokens: Tokens) -> None:
        """Write the whole data set; raise when it has no pixel data or does not say which image it is."""
        has_pixels = False
        for token in tokens:
            is_root = token.level is tokens.root
            if is_root and token.tag:
                self._check(token)
                self._write_up_to(token.tag)
            if is_root and token.tag == PIXEL_DATA:
                self._write_pixels(token)
                has_pixels = True
            elif token.kind is Kind.VALUE:
                self._write_value(token, is_root=is_root)
            else:
                self._write_structure(token, is_root=is_root)
        if not has_pixels or self._expected:
            raise PixelMismatch(reason="there are no pixel data, or no UIDs")

    def _check(self, token: Token) -> None:
        """Raise when the data set is not the one to derive from, or one not to be changed."""
        expected = self._expected.pop(token.tag, None)
        if expected is not None and (token.value or b"").rstrip(b"\0 ") != expected.encode("ascii"):
            raise MalformedDataset(offset=self._source.position, reason="it is not the image that was compressed")
        if token.tag in SIGNATURES:
            raise TranscodeError(reason="it is digitally signed")

    def _write_up_to(self, tag: int) -> None:
        """Write what is new and comes before `tag`; `tag` itself is for whoever meets it."""
        while self._waiting and self._waiting[0] < tag:
            self._write_new(self._waiting.pop(0))
        if self._waiting and self._waiting[0] == tag:
            self._waiting.pop(0)

    def _write_new(self, tag: int) -> None:
        if tag in self._sequences:
            self._sink.open_sequence(tag)
            self._sequences[tag]()
            self._sink.close_sequence()
        else:
            vr, new = self._values[tag]
            self._put(tag, vr, new(b""))

    def _write_value(self, token: Token, *, is_root: bool) -> None:
        if token.tag & 0xFFFF == 0 or (is_root and token.tag in LEFT_OUT):
            return
        if is_root and token.tag in self._values:
            vr, new = self._values[token.tag]
            self._put(token.tag, vr, new((token.value or b"").rstrip(b"\0 ")))
        elif is_root and token.tag in self._sequences:
            self._write_new(token.tag)
        elif token.tag == FRAME_TYPE:
            self._put(token.tag, "CS", _derived(token.value or b""))
        else:
            chunks = iter([token.value]) if token.value else self._chunks(token.length)
            self._sink.value(token.tag, token.vr, token.length, chunks, big=token.level.encoding.big)

    def _chunks(self, length: int) -> Iterator[bytes]:
        end = self._source.position + length
        while self._source.position < end:
            yield self._source.read(min(CHUNK_BYTES, end - self._source.position))

    def _write_structure(self, token: Token, *, is_root: bool) -> None:
        if token.kind is Kind.SEQUENCE:
            self._root_sequence = token.tag if is_root else self._root_sequence
            self._sink.open_sequence(token.tag)
        elif token.kind is Kind.ITEM:
            self._sink.open_item()
        elif token.kind is Kind.ITEM_END:
            self._sink.close_item()
        elif token.kind is Kind.SEQUENCE_END:
            if is_root and self._root_sequence in self._sequences:
                self._sequences[self._root_sequence]()
            self._sink.close_sequence()
        else:
            raise TranscodeError(reason="there are compressed pixel data inside a sequence")

    def _write_code(self) -> None:
        self._write_coded_item(*_LOSSY_COMPRESSION)

    def _write_coded_item(self, code: str, meaning: str) -> None:
        self._sink.open_item()
        self._put(0x00080100, "SH", code.encode("ascii"))
        self._put(0x00080102, "SH", b"DCM")
        self._put(0x00080104, "LO", meaning.encode("ascii"))
        self._sink.close_item()

    def _write_source(self) -> None:
        old = self._derivation.predecessor
        self._sink.open_item()
        self._put(0x00081150, "UI", old.sop_class_uid.encode("ascii"))
        self._put(0x00081155, "UI", old.sop_instance_uid.encode("ascii"))
        self._sink.open_sequence(0x0040A170)
        self._write_coded_item(*_UNCOMPRESSED_PREDECESSOR)
        self._sink.close_sequence()
        self._sink.close_item()

    def _put(self, tag: int, vr: str, value: bytes) -> None:
        self._sink.value(tag, vr, len(value), [value], big=False)

    def _write_pixels(self, token: Token) -> None:
        if (expected := read_frames(token.level)) != len(self._frames.lengths):
            raise PixelMismatch(reason=f"{expected} frames described, {len(self._frames.lengths)} compressed")
        self._sink.open_fragments(_offsets(self._frames.lengths))
        for index, length in enumerate(self._frames.lengths):
            frame = self._frames.read(index)
            if len(frame) != length:
                raise PixelMismatch(reason=f"frame {index} has {len(frame)} bytes, not {length}")
            self._sink.fragment(frame)
        self._sink.close_sequence()


New = Callable[[bytes], bytes]


def _new_values(derivation: Derivation) -> dict[int, tuple[str, New]]:
    """Return VR and value of every element that is new or changed; the value is made from what was there."""
    layout, padding = derivation.layout, derivation.padding
    values: dict[int, tuple[str, New]] = {
        IMAGE_TYPE: ("CS", _derived),
        SOP_INSTANCE_UID: ("UI", _always(derivation.sop_instance_uid)),
        DERIVATION_DESCRIPTION: ("ST", _described(derivation.description)),
        PHOTOMETRIC_INTERPRETATION: ("CS", _always(layout.compressed_photometric)),
        LOSSY: ("CS", _always("01")),
        LOSSY_RATIO: ("DS", _appended(f"{derivation.ratio:.6g}")),
        LOSSY_METHOD: ("CS", _appended(derivation.target.method)),
    }
    if layout.samples > 1:
        values[PLANAR_CONFIGURATION] = "US", lambda _: bytes(2)
    if padding is not None:
        vr, form = ("SS", "<h") if layout.is_signed else ("US", "<H")
        low, high = struct.pack(form, padding.low), struct.pack(form, padding.high)
        values[PADDING_VALUE], values[PADDING_LIMIT] = (vr, lambda _: low), (vr, lambda _: high)
    return values


def _always(value: str) -> New:
    return lambda _: value.encode("ascii")


def _appended(value: str) -> New:
    return lambda old: b"\\".join(part for part in (old, value.encode("ascii")) if part)


def _derived(old: bytes) -> bytes:
    """Return an Image Type whose first value is DERIVED; the second, PRIMARY or SECONDARY, stays (C.7.6.1.1.2)."""
    _, *others = old.rstrip(b"\0 ").split(b"\\")
    return b"\\".join([b"DERIVED", *(others or [b"PRIMARY"])])


def _described(text: str) -> New:
    """Return the old description and ours; when both are too long for the element, the old one: codes say ours."""

    def joined(old: bytes) -> bytes:
        both = b"; ".join(part for part in (old, text.encode("ascii")) if part)
        return both if len(both) <= _DESCRIPTION_BYTES else old

    return joined


def _offsets(lengths: Sequence[int]) -> bytes:
    """Return the Basic Offset Table (PS3.5 A.4): empty for one frame, or when an offset does not fit 32 bits."""
    offsets, position = [], 0
    for length in lengths:
        offsets.append(position)
        position += 8 + length + length % 2
    if len(lengths) == 1 or offsets[-1] >= _OFFSET_LIMIT:
        return b""
    return struct.pack(f"<{len(offsets)}L", *offsets)
