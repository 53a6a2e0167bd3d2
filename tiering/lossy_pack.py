"""Writes the lossy pack of a hot pack, of frames that were found good, with its evidence; must not encode a frame."""

from __future__ import annotations

import base64
import hashlib
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Final, Literal, NamedTuple, cast

from tiering import lossy_evidence as evidence
from tiering.errors import PixelMismatch
from tiering.lossy import FrameEvidence, LossyChoice
from tiering.lossy_facts import layout_of
from tiering.lossy_rules import LossyRules
from tiering.lossy_source import HotPackFile, SeriesSource, SourceMember
from tiering.lossy_spool import Spool
from tiering.pack import MemberFacts, PackFacts, PackWriter, SeriesFacts
from tiering.quality import GateTable, PaddingRange
from tiering.transcode.derive import CompressedFrames, Derivation, Predecessor, derive
from tiering.transcode.frames import read_frame
from tiering.transcode.source import Source
from tiering.transcode.stored import read_stored

_CHUNK: Final = 1 << 20


LossyCodec = Literal["htj2k", "jpeg2000"]


class NewHeader(NamedTuple):
    """What the Part 10 header of a copy is to say; the digest has 32 bytes."""

    sop_instance_uid: str
    transfer_syntax_uid: str
    dataset_sha256: bytes
    dataset_size: int


MakeHeader = Callable[[bytes, NewHeader], bytes]
"""Returns the header of a copy, made of its original's."""
NewUid = Callable[[str, str], str]
"""Returns the SOP Instance UID of a copy of an instance with a UID and a received SHA-256 (hexadecimal)."""


@dataclass(frozen=True, slots=True)
class LossyMaking:
    """How lossy packs are made: rules, gates, who names copies, and what else their evidence is to say.

    ``codec`` is how frames are compressed. ``threads``: so many work on one series; what comes of it does not depend
    on their number. ``pause`` is called before each frame, and returns when there is time for one.
    """

    rules: LossyRules
    gates: GateTable
    make_header: MakeHeader
    new_uid: NewUid
    now: Callable[[], datetime]
    remarks: Mapping[str, Any] = field(default_factory=dict)
    codec: LossyCodec = "htj2k"
    threads: int = 1
    pause: Callable[[], None] = lambda: None


class PackContent(NamedTuple):
    """What all packs of a series say alike: how evidence opens, the unit of values, the picture (PNG)."""

    opening: Mapping[str, Any]
    unit: str
    picture: bytes


@dataclass(frozen=True, slots=True)
class LossyPackWriter:
    """Writes the packs of a series whose frames were all found good."""

    source: SeriesSource
    choice: LossyChoice
    spool: Spool
    making: LossyMaking
    content: PackContent

    def write(self, pack: HotPackFile, path: Path) -> tuple[PackFacts, Mapping[str, Any]]:
        """Write the lossy pack of a hot one; return what was written and its evidence.

        Raises TranscodeError when a data set cannot be derived from, OSError.
        """
        members = [each for each in self.source.members if each.pack is pack]
        body = self._evidence(members)
        with path.open("wb") as target, tempfile.TemporaryFile(dir=path.parent) as scratch:
            writer = PackWriter(target, series=self._series(pack, members, body))
            for member in members:
                self._add(writer, member, cast(BinaryIO, scratch))
            return writer.finish(), body

    def _evidence(self, members: Sequence[SourceMember]) -> dict[str, Any]:
        instances = [
            evidence.instance(
                self._uid(each), each.member.sop_instance_uid, each.member.received_sha256, self._of(each)
            )
            for each in members
        ]
        return evidence.lossy(self.content.opening, self.choice, instances, unit=self.content.unit or "stored values")

    def _of(self, member: SourceMember) -> Sequence[FrameEvidence]:
        return self.choice.frames[member.first_frame : member.frames.stop]

    def _uid(self, member: SourceMember) -> str:
        return self.making.new_uid(member.member.sop_instance_uid, member.member.received_sha256)

    def _series(self, pack: HotPackFile, members: Sequence[SourceMember], body: Mapping[str, Any]) -> SeriesFacts:
        was = pack.manifest.series
        return SeriesFacts(
            site=was.site,
            study_instance_uid=was.study_instance_uid,
            series_instance_uid=was.series_instance_uid,
            generation=was.generation,
            created_at=self.making.now(),
            metadata={
                "received_sizes": {self._uid(each): _received_size(each) for each in members},
                "lossy": body,
                "picture_png": base64.b64encode(self.content.picture).decode("ascii"),
            },
        )

    def _add(self, writer: PackWriter, member: SourceMember, scratch: BinaryIO) -> None:
        scratch.seek(0)
        scratch.truncate()
        hashed = _Hashed(scratch)
        self._derive(member, cast(BinaryIO, hashed))
        self._check_copy(member, scratch)
        old, syntax = member.member, self.choice.codecs.transfer_syntax_uid
        new = NewHeader(self._uid(member), syntax, hashed.digest.digest(), hashed.size)
        header = self.making.make_header(member.pack.header(old), new)
        facts = MemberFacts(
            sop_instance_uid=new.sop_instance_uid,
            sop_class_uid=old.sop_class_uid,
            transfer_syntax_uid=syntax,
            header_size=len(header),
            dataset_sha256=hashed.digest.hexdigest(),
            received_sha256=old.received_sha256,
            received_transfer_syntax_uid=old.received_transfer_syntax_uid,
            pixel_sha256=self._pixel_sha256(member),
            derived_from=old.sop_instance_uid,
            instance_number=old.instance_number,
        )
        writer.add(facts, partial(_with_header, header, scratch))

    def _derive(self, member: SourceMember, target: BinaryIO) -> None:
        old, found, frames = member.member, self._of(member), member.frames
        derivation = Derivation(
            predecessor=Predecessor(old.sop_class_uid, old.sop_instance_uid),
            sop_instance_uid=self._uid(member),
            layout=member.layout,
            ratio=sum(each.raw_bytes for each in found) / sum(each.coded_bytes for each in found),
            description=self._description(found),
            padding=self._padding(),
            target=self.choice.codecs.target,
        )
        derive(
            member.pack.dataset(old),
            source_uid=old.transfer_syntax_uid,
            target=target,
            derivation=derivation,
            frames=CompressedFrames(
                [self.spool.length(frame) for frame in frames], lambda index: self._frame(frames[index])
            ),
        )

    def _check_copy(self, member: SourceMember, dataset: BinaryIO) -> None:
        """Read the new data set as any reader does; raise PixelMismatch when its frames are not those measured."""
        dataset.seek(0)
        source, syntax = Source(dataset), self.choice.codecs.transfer_syntax_uid
        stored, facts = read_stored(source, syntax)
        pixels = stored.encapsulated.get(0)
        said = (facts.lossy, facts.picture and layout_of(facts.picture))
        if pixels is None or len(pixels.frames) != len(member.frames) or said != (True, member.layout):
            raise PixelMismatch(reason=f"the copy of {member.member.name} does not describe its pixels")
        for numbers, found in zip(pixels.frames, self._of(member), strict=True):
            frame = read_frame(source, pixels.fragments, numbers)[: found.coded_bytes]
            if hashlib.sha256(frame).hexdigest() != found.coded_sha256:
                raise PixelMismatch(reason=f"the copy of {member.member.name} does not hold what was measured")

    def _frame(self, frame: int) -> bytes:
        return self.spool.read(frame, self.choice.frames[frame].coded_sha256)

    def _pixel_sha256(self, member: SourceMember) -> str:
        """Return the digest of a copy's decoded pixels; several frames are decoded once more for it.

        Raises PixelMismatch when one of them comes out otherwise than before.
        """
        if len(member.frames) == 1:
            return self.choice.frames[member.first_frame].decoded_sha256
        digest = hashlib.sha256()
        for frame in member.frames:
            samples = self.choice.codecs.decode(self._frame(frame))
            if hashlib.sha256(samples.data).hexdigest() != self.choice.frames[frame].decoded_sha256:
                raise PixelMismatch(reason=f"frame {frame + 1} does not decode to what was measured")
            digest.update(samples.data)
        return digest.hexdigest()

    def _padding(self) -> PaddingRange | None:
        return self.choice.limits.pixels.padding_after

    def _description(self, frames: Sequence[FrameEvidence]) -> str:
        step = max((each.step or 0.0 for each in frames), default=0.0)
        codecs = self.choice.codecs
        how = codecs.describe(step) if step else "without loss"
        return f"{codecs.target.name}, {how}, {codecs.encoder}, checked with {codecs.decoder}"


class _Hashed:
    """A file that is written front to end, and the digest of what was written."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.digest = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> int:
        """Write, and remember."""
        self.digest.update(data)
        self.size += len(data)
        return self._file.write(data)


def _received_size(member: SourceMember) -> int:
    """Return how long the original's data set was when it was received; 0 when nobody knows."""
    packed, sizes = member.member, member.pack.manifest.series.metadata.get("received_sizes", {})
    as_received = packed.length - packed.header_size if packed.dataset_sha256 == packed.received_sha256 else 0
    return int(sizes.get(packed.sop_instance_uid, as_received))


def _with_header(header: bytes, file: BinaryIO) -> Iterator[bytes]:
    yield header
    file.seek(0)
    while chunk := file.read(_CHUNK):
        yield chunk
