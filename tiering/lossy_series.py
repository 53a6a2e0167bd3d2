"""Makes lossy packs of a series' hot ones, each with its evidence, or says why it stays; must not put any away.

All packs of a series share one decision: the setting is searched over all of its frames, and one frame that fails
leaves all of it lossless. What is decoded and measured are the very bytes that are packed. Packs are written to files;
whoever asked for them puts them where they belong.
"""

from __future__ import annotations

import hashlib
import tempfile
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

from tiering import lossy_evidence as evidence
from tiering.errors import PixelMismatch, TranscodeError
from tiering.lossy import CodecPair, Limits, LossyChoice, Samples, find_strongest
from tiering.lossy_pack import LossyCodec, LossyMaking, LossyPackWriter, MakeHeader, NewHeader, NewUid, PackContent
from tiering.lossy_padding import widen_padding
from tiering.lossy_picture import Shown, draw
from tiering.lossy_rules import may_be_lossy
from tiering.lossy_source import HotPackFile, SeriesSource, SourceMember, read_series
from tiering.lossy_spool import Spool
from tiering.pack import PackFacts
from tiering.quality import Gate
from tiering.transcode import irreversible, jpeg2000
from tiering.transcode.irreversible import SampleFormat
from tiering.transcode.syntaxes import HTJ2K_LOSSY, JPEG_2000_LOSSY

__all__ = [
    "LossyCodec",
    "LossyMaking",
    "MadePack",
    "MadeSeries",
    "MakeHeader",
    "NewHeader",
    "NewUid",
    "copy_uid",
    "htj2k_pair",
    "jpeg2000_pair",
    "make_lossy",
]

_UNITS: Final = {"CT": "HU"}


@dataclass(frozen=True, slots=True)
class MadePack:
    """A lossy pack that was written, made of the hot pack ``hot_key``."""

    hot_key: str
    path: Path
    facts: PackFacts


@dataclass(frozen=True, slots=True)
class MadeSeries:
    """What became of a series: a pack for each hot one, or none; ``evidence`` is JSON by hot key."""

    packs: Sequence[MadePack]
    evidence: Mapping[str, str]


def copy_uid(old_uid: str, received_sha256: str) -> str:
    """Return the UID of a lossy copy: of the same bytes under the same UID always the same (PS3.5 B.2, RFC 9562).

    ``2.25.`` and the number of a version-8 UUID, made of a SHA-256 of both.
    """
    digest = hashlib.sha256(b"drimbox lossy 1\0" + old_uid.encode() + b"\0" + bytes.fromhex(received_sha256)).digest()
    raw = bytearray(digest[:16])
    raw[6], raw[8] = raw[6] & 0x0F | 0x80, raw[8] & 0x3F | 0x80
    return f"2.25.{uuid.UUID(bytes=bytes(raw)).int}"


def htj2k_pair(layout: SampleFormat) -> CodecPair:
    """Return the codecs for samples of a format: OpenJPH encodes, OpenJPEG decodes."""
    encoder, decoder = irreversible.versions()
    return CodecPair(
        HTJ2K_LOSSY,
        encoder,
        decoder,
        lambda samples, step: irreversible.encode(samples, step, layout),
        lambda frame: irreversible.decode(frame, layout),
    )


def jpeg2000_pair(layout: SampleFormat) -> CodecPair:
    """Return the codecs for samples of a format: OpenJPEG encodes, FFmpeg decodes."""
    encoder, decoder = jpeg2000.versions()
    return CodecPair(
        JPEG_2000_LOSSY,
        encoder,
        decoder,
        lambda samples, step: jpeg2000.encode(samples, step, layout),
        lambda frame: jpeg2000.decode(frame, layout),
        lambda step: (
            f"aimed at {jpeg2000.decibels(step, layout.bits_stored):.1f} dB, a quantization step of {step:.4g}"
        ),
    )


def _pair(codec: LossyCodec, layout: SampleFormat) -> CodecPair:
    return jpeg2000_pair(layout) if codec == "jpeg2000" else htj2k_pair(layout)


def make_lossy(packs: Sequence[HotPackFile], folder: Path, making: LossyMaking) -> MadeSeries:
    """Write the lossy packs of a series into ``folder``, or say why it stays lossless.

    Memory: a few frames for each thread, and where frames lie. Raises PackMismatch for a hot pack that is not what was
    packed, OSError; what was written by then is gone.
    """
    source = read_series(packs)
    verdict = may_be_lossy(source.facts, making.rules)
    opening = {
        **evidence.head(making.rules, making.gates.version, verdict, facts=source.facts),
        **making.remarks,
    }
    gate = making.gates.find(source.facts.modality, verdict.region)
    if verdict.cap is None or source.layout is None:
        return _lossless(packs, opening, "the rules forbid it")
    if gate is None:
        return _lossless(packs, opening, "its modality has no gate")
    with tempfile.TemporaryFile(dir=folder) as file:
        compressing = _Compressing(source, source.layout, making, Spool(cast(BinaryIO, file)))
        try:
            choice = compressing.search(verdict.cap, gate)
            if choice.is_lossy:
                return _write(packs, folder, compressing.writer(choice, opening))
        except TranscodeError as exc:
            return _lossless(packs, opening, exc.message)
    return _lossless(packs, opening, choice.reason)


def _lossless(packs: Sequence[HotPackFile], opening: Mapping[str, Any], why: str) -> MadeSeries:
    body = evidence.encoded(evidence.lossless(opening, why))
    return MadeSeries((), {pack.key: body for pack in packs})


def _write(packs: Sequence[HotPackFile], folder: Path, writer: LossyPackWriter) -> MadeSeries:
    """Write all packs of a series, or none: what was written goes when one fails."""
    made, bodies = list[MadePack](), dict[str, str]()
    with ExitStack() as undoing:
        for number, pack in enumerate(packs):
            path = folder / f"{number}.zip"
            undoing.callback(path.unlink, missing_ok=True)
            facts, body = writer.write(pack, path)
            made.append(MadePack(pack.key, path, facts))
            bodies[pack.key] = evidence.encoded(body)
        undoing.pop_all()
    return MadeSeries(made, bodies)


@dataclass(frozen=True, slots=True)
class _Paced:
    """Frames before each of which there is a pause."""

    source: SeriesSource
    pause: Callable[[], None]

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, frame: int, /) -> Samples:
        self.pause()
        return self.source[frame]


@dataclass(frozen=True, slots=True)
class _Compressing:
    """Compresses one series into a spool and proves what was found."""

    source: SeriesSource
    layout: SampleFormat
    making: LossyMaking
    spool: Spool

    def search(self, cap: float, gate: Gate) -> LossyChoice:
        """Return what the search came to. Raises TranscodeError for frames that cannot be read as they were sealed."""
        after = widen_padding(self.source, self.layout, gate)
        choice = find_strongest(
            _Paced(self.source, self.making.pause),
            limits=Limits(
                cap,
                gate,
                self.source.pixels(padding_after=after),
                lambda frame: self.source.pixels(frame, padding_after=after),
            ),
            codecs=_pair(self.making.codec, self.layout),
            keep=self.spool.keep,
            threads=self.making.threads,
        )
        if choice.is_lossy:
            self._prove_originals(choice)
        return choice

    def _prove_originals(self, choice: LossyChoice) -> None:
        """Raise PixelMismatch when a frame was decoded otherwise than when its instance was sealed."""
        for each in self.source.members:
            if each.member.pixel_sha256 not in (None, self._original_sha256(each, choice)):
                raise PixelMismatch(reason=f"{each.member.name} is not decoded to what was sealed")

    def _original_sha256(self, each: SourceMember, choice: LossyChoice) -> str:
        """Return the digest of all that was compressed of a member; several frames are read once more for it."""
        if len(each.frames) == 1:
            return choice.frames[each.first_frame].source_sha256
        digest = hashlib.sha256()
        for frame in each.frames:
            samples = each.read(frame)
            digest.update(samples.data)
            if hashlib.sha256(samples.data).hexdigest() != choice.frames[frame].source_sha256:
                raise PixelMismatch(reason=f"frame {frame + 1} is not decoded to what it was")
        return digest.hexdigest()

    def writer(self, choice: LossyChoice, opening: Mapping[str, Any]) -> LossyPackWriter:
        """Return what writes the packs."""
        unit = _UNITS.get(self.source.facts.modality, "")
        content = PackContent({**opening}, unit, self._picture(choice, unit))
        return LossyPackWriter(self.source, choice, self.spool, self.making, content)

    def _picture(self, choice: LossyChoice, unit: str) -> bytes:
        index = evidence.worst_frame(choice.frames)
        found = choice.frames[index]
        return draw(
            self.source[index],
            choice.codecs.decode(self.spool.read(index, found.coded_sha256)),
            Shown(
                window=self.source.member_of(index).window,
                frame=f"{index + 1} / {len(self.source)}",
                ratio=found.ratio,
                metrics=found.metrics,
                unit=unit,
                is_inverted=self.layout.photometric == "MONOCHROME1",
            ),
        )
