"""A stored data set compressed without loss, each frame proven by another decoder; must not accept one unproven.

Two passes: the first learns what the pixel data are and where, the second writes. In memory: one frame, its
compressed form, its decoded form, a chunk of the longest other value, and never the data set.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import BinaryIO, Final

from tiering.errors import CannotCompress, UnsupportedConversion
from tiering.transcode.convert import can_convert
from tiering.transcode.decoding import Decoding, iter_frames
from tiering.transcode.eligible import CompressPolicy, PictureFacts, cannot_compress
from tiering.transcode.encapsulate import Encapsulation
from tiering.transcode.encoders import ENCODERS, HTJ2K_RPCL_LOSSLESS, Encoder
from tiering.transcode.level import Token
from tiering.transcode.picture import Picture
from tiering.transcode.proof import encode_proven
from tiering.transcode.rewriting import Outlook
from tiering.transcode.samples import check_unused_bits, to_samples
from tiering.transcode.sink import Sink
from tiering.transcode.source import InflatingSource, Source
from tiering.transcode.stored import Stored, read_stored
from tiering.transcode.syntaxes import EXPLICIT_LITTLE, SOURCES
from tiering.transcode.tokens import Tokens
from tiering.transcode.vr import PIXEL_DATA

DEFAULT_POLICY: Final = CompressPolicy()
_NATIVE_UID: Final = "1.2.840.10008.1.2.1"


@dataclass(frozen=True, slots=True)
class CompressedFacts:
    """What was compressed and who proved it; sizes in bytes.

    `pixel_sha256` is over the decoded frames, little endian, colours by pixel, without padding: the same however
    they are stored. `stored_bytes` is the pixel data's length in the source, `compressed_bytes` in the target,
    without the offset table. Codec and decoder are different libraries.
    """

    frames: int
    pixel_sha256: str
    native_bytes: int
    stored_bytes: int
    compressed_bytes: int
    codec: str
    codec_version: str
    decoder: str
    decoder_version: str

    @property
    def ratio(self) -> float:
        """Return how many native bytes became one."""
        return self.native_bytes / self.compressed_bytes


def read_picture_facts(source: BinaryIO, *, source_uid: str) -> PictureFacts:
    """Return what `cannot_compress` wants to know of the data set that starts at `source`'s position.

    Raises what `compress` raises for a data set that is not what it claims to be.
    """
    _check_known(source_uid, HTJ2K_RPCL_LOSSLESS)
    return read_stored(_open(source, source_uid, source.tell()), source_uid)[1]


def compress(
    source: BinaryIO,
    *,
    source_uid: str,
    target_uid: str = HTJ2K_RPCL_LOSSLESS,
    target: BinaryIO,
    policy: CompressPolicy = DEFAULT_POLICY,
) -> CompressedFacts:
    """Write the data set that starts at `source`'s position, stored in `source_uid`, to `target` as `target_uid`.

    Both are seekable buffered files, `source` is read to its end; neither holds a preamble or file meta here. All
    elements stay as `convert` keeps them, SOP Instance UID too; of the root's pixel data only the encoding changes,
    with Photometric Interpretation (RGB becomes YBR_RCT where the codec transforms) and Planar Configuration (0) as
    PS3.5 8.2 wants. One fragment a frame, behind a Basic Offset Table, or an Extended one beyond 4 GiB. Pixel data
    of sequence items (icons) become native. Safe to call from many threads.

    Raises CannotCompress when the data set is to be left as it is, NotLossless when a frame does not decode to the
    samples it was made from, another leaf of TranscodeError when the data set or the codec is at fault: what
    `target` then holds is to be thrown away. Errors of the files themselves (OSError) pass through.
    """
    _check_known(source_uid, target_uid)
    start = source.tell()
    stored, facts = read_stored(_open(source, source_uid, start), source_uid)
    reason = cannot_compress(facts, target_uid=target_uid)
    if reason is not None:
        raise CannotCompress(reason=reason)
    limit = int(facts.stored_bytes * (100 - policy.min_gain_percent) / 100)
    opened = _open(source, source_uid, start)
    sealing = _Sealing(opened, target, stored, encoder=ENCODERS[target_uid], limit=limit)
    sealing.run(Tokens(opened, SOURCES[source_uid].encoding, stored.values))
    return sealing.facts()


def _check_known(source_uid: str, target_uid: str) -> None:
    if not can_convert(source_uid, _NATIVE_UID) or target_uid not in ENCODERS:
        raise UnsupportedConversion(source_uid=source_uid, target_uid=target_uid)


def _open(file: BinaryIO, source_uid: str, start: int) -> Source:
    """Return the data set from its start: deflated ones cannot be gone back in."""
    file.seek(start)
    return InflatingSource(file) if SOURCES[source_uid].encoding.deflated else Source(file)


class _Sealing(Decoding):
    """The second pass: the root's pixel data are compressed; others, of sequence items, become native."""

    def __init__(self, source: Source, target: BinaryIO, stored: Stored, *, encoder: Encoder, limit: int) -> None:
        super().__init__(source, Sink(target, EXPLICIT_LITTLE), stored.encapsulated)
        self._root = source.position
        self._target = target
        self._stored = stored
        self._encoder = encoder
        self._limit = limit
        self._digest = hashlib.sha256()
        self._compressed_bytes = 0
        self._outlooks = self._with_root_outlook(self._outlooks)

    @property
    def _picture(self) -> Picture:
        pixels = self._stored.native or self._stored.encapsulated[self._root]
        return pixels.picture

    def _with_root_outlook(self, outlooks: Mapping[int, Outlook]) -> Mapping[int, Outlook]:
        pixels = self._stored.native or self._stored.encapsulated[self._root]
        before = pixels.outlook
        photometric = self._encoder.photometric(pixels.picture)
        planar = None if before.planar is None else 0
        return {**outlooks, self._root: Outlook(photometric, planar, before.states_planar)}

    def facts(self) -> CompressedFacts:
        """Return what was done."""
        codec, decoder = self._encoder.name_encoder(), self._encoder.name_decoder()
        return CompressedFacts(
            frames=self._picture.frames,
            pixel_sha256=self._digest.hexdigest(),
            native_bytes=self._picture.native_bytes,
            stored_bytes=self._stored.stored_bytes,
            compressed_bytes=self._compressed_bytes,
            codec=codec.name,
            codec_version=codec.version,
            decoder=decoder.name,
            decoder_version=decoder.version,
        )

    def _write_value(self, token: Token) -> None:
        if token.tag == PIXEL_DATA and token.level.start == self._root:
            assert self._stored.native is not None, "the first pass saw it"
            self._seal(self._stored.native.iter_frames(self._source, token.value))
        else:
            super()._write_value(token)

    def _write_pixels(self, token: Token) -> None:
        if token.level.start == self._root:
            self._seal(iter_frames(self._source, self._stored.encapsulated[self._root]))
        else:
            super()._write_pixels(token)

    def _seal(self, frames: Iterator[bytes]) -> None:
        pixels = Encapsulation(self._target, self._picture.frames, limit=self._limit)
        for index, native in enumerate(frames):
            self._compressed_bytes = pixels.add(self._seal_frame(native, index))
            if self._compressed_bytes > self._limit:
                raise CannotCompress(reason="too little would be gained")
        pixels.finish()

    def _seal_frame(self, native: bytes, index: int) -> bytes:
        samples = to_samples(self._picture, native)
        check_unused_bits(self._picture, samples, index)
        self._digest.update(samples.data)
        return encode_proven(self._encoder, self._picture, samples, index)
