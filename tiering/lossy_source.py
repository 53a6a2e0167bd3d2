"""What the hot packs of a series hold: proven bytes, what they say, and their frames one by one; must not compress.

A frame is decoded when it is asked for, by whatever thread asks; in memory are where the frames lie, and never a data
set.
"""

from __future__ import annotations

import hashlib
import io
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any, BinaryIO, Final, cast

from numpy.typing import NDArray

from tiering.errors import CannotCompress, PackMismatch, TranscodeError
from tiering.lossy_facts import Gathered, Statements, layout_of, slopes_of
from tiering.lossy_rules import SeriesFacts
from tiering.pack import Manifest, PackedMember
from tiering.quality import PaddingRange, PixelFacts
from tiering.transcode.codecs import unpack_frame, unpack_known_frame
from tiering.transcode.eligible import PictureFacts
from tiering.transcode.frames import read_frame
from tiering.transcode.irreversible import SampleFormat
from tiering.transcode.picture import Picture
from tiering.transcode.samples import to_samples
from tiering.transcode.source import Source
from tiering.transcode.stored import Stored, read_stored
from tiering.transcode.syntaxes import SOURCES

Samples = NDArray[Any]

MOST_FRAMES: Final = 30_000
"""Evidence of so many frames fits the manifest of a pack, which bounds what is read of a cold one."""
_CHUNK_BYTES: Final = 1 << 20
_BUFFER_BYTES: Final = 1 << 16


class _Section(io.RawIOBase):
    """``length`` bytes of an open file from ``offset`` on, as a file of its own; the file stays open."""

    name = "part of a pack"

    def __init__(self, pack: HotPackFile, offset: int, length: int) -> None:
        self._pack, self._offset, self._length, self._position = pack, offset, length, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._length}[whence]
        self._position = max(base + offset, 0)
        return self._position

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: object) -> int:
        view = memoryview(cast(bytearray, buffer)).cast("B")[: max(self._length - self._position, 0)]
        data = self._pack.read_at(self._offset + self._position, len(view))
        view[: len(data)] = data
        self._position += len(data)
        return len(data)


class HotPackFile:
    """A hot pack, open, and its manifest, which was read from it; parts of it may be read by any thread."""

    def __init__(self, key: str, manifest: Manifest, file: BinaryIO) -> None:
        self.key = key
        self.manifest = manifest
        self.file = file
        self._lock = Lock()

    def read_at(self, offset: int, count: int) -> bytes:
        """Return bytes from an offset on, fewer where the pack ends. Raises OSError."""
        with self._lock:
            self.file.seek(offset)
            return self.file.read(count)

    def dataset(self, member: PackedMember) -> BinaryIO:
        """Return a member's data set."""
        return self._part(member.offset + member.header_size, member.length - member.header_size)

    def header(self, member: PackedMember) -> bytes:
        """Return a member's Part 10 header."""
        return self.read_at(member.offset, member.header_size)

    def check(self, member: PackedMember) -> None:
        """Read a member to its end. Raises PackMismatch when it is not what was packed, OSError."""
        digest = hashlib.sha256()
        for start in range(0, member.length, _CHUNK_BYTES):
            digest.update(self.read_at(member.offset + start, min(_CHUNK_BYTES, member.length - start)))
        if digest.hexdigest() != member.sha256:
            raise PackMismatch(part=member.name, reason="has another digest")

    def _part(self, offset: int, length: int) -> BinaryIO:
        return cast(BinaryIO, io.BufferedReader(_Section(self, offset, length), _BUFFER_BYTES))


@dataclass(frozen=True, slots=True)
class SourceMember:
    """A member to be compressed: where its frames are, which frames of the series they are, what their samples mean.

    ``slopes``: of each frame, or one for all; ``window``: centre and width for the display, in stored values.
    """

    pack: HotPackFile
    member: PackedMember
    stored: Stored
    picture: Picture
    first_frame: int
    slopes: tuple[float, ...] = (1.0,)
    window: tuple[float, float] | None = None

    @property
    def frames(self) -> range:
        """Return the numbers of its frames in the series, from 0."""
        return range(self.first_frame, self.first_frame + self.picture.frames)

    @property
    def layout(self) -> SampleFormat:
        """Return how the samples of a frame lie."""
        return layout_of(self.picture)

    @property
    def is_known(self) -> bool:
        """Tell whether the manifest has a digest of its decoded pixels."""
        return self.member.pixel_sha256 is not None

    def slope(self, frame: int) -> float:
        """Return Rescale Slope of a frame by its number in the series, without a sign."""
        return self.slopes[frame - self.first_frame] if len(self.slopes) > 1 else self.slopes[0]

    def read(self, frame: int) -> Samples:
        """Return a frame by its number in the series. Raises TranscodeError, OSError."""
        index = frame - self.first_frame
        source = Source(self.pack.dataset(self.member))
        if self.stored.native is not None:
            native, value = self.stored.native, self.stored.native_value
            return to_samples(self.picture, native.read_frame(source, value, self.stored.native_at, index))
        pixels = self.stored.encapsulated[0]
        coded = read_frame(source, pixels.fragments, pixels.frames[index])
        unpack = unpack_known_frame if self.is_known else unpack_frame
        return to_samples(self.picture, unpack(self.picture, coded, index))


@dataclass(frozen=True, slots=True)
class SeriesSource:
    """All of a series: the facts that rules ask for, what its samples mean, and its frames in order.

    With ``facts.obstacles``, ``members`` may not be complete.
    """

    facts: SeriesFacts
    members: Sequence[SourceMember]
    layout: SampleFormat | None
    slope: float
    padding: PaddingRange | None
    starts: Sequence[int]

    def __len__(self) -> int:
        return self.members[-1].frames.stop if self.members else 0

    def __getitem__(self, frame: int, /) -> Samples:
        return self.member_of(frame).read(frame)

    def member_of(self, frame: int) -> SourceMember:
        """Return the member that a frame of the series is in."""
        return self.members[bisect_right(self.starts, frame) - 1]

    def pixels(self, frame: int | None = None, *, padding_after: PaddingRange | None = None) -> PixelFacts:
        """Return what the samples of a frame mean, or those of all frames: the steepest slope."""
        slope = self.slope if frame is None else self.member_of(frame).slope(frame)
        return PixelFacts(slope, self.padding, padding_after)


def read_series(packs: Sequence[HotPackFile]) -> SeriesSource:
    """Read what the packs of a series hold, each member proven by its digest first.

    Raises PackMismatch for a pack that is not what was packed, OSError. What is wrong with a data set that is as it was
    received is an obstacle: the series stays as it is.
    """
    gathered, members, frames = Gathered(), list[SourceMember](), 0
    for pack, member in _members(packs):
        pack.check(member)
        found = _read_member(pack, member, gathered, frames)
        if found is not None:
            members.append(found)
            frames = found.frames.stop
    if frames > MOST_FRAMES:
        gathered.refuse("the series", f"{frames} frames are more than evidence is kept of, {MOST_FRAMES}")
    return SeriesSource(
        facts=gathered.series(),
        members=members,
        layout=members[0].layout if members else None,
        slope=gathered.slope or 1.0,
        padding=next(iter(gathered.paddings), None),
        starts=[each.first_frame for each in members],
    )


def _members(packs: Sequence[HotPackFile]) -> Iterator[tuple[HotPackFile, PackedMember]]:
    for pack in packs:
        for member in pack.manifest.members:
            yield pack, member


def _read_member(pack: HotPackFile, member: PackedMember, into: Gathered, first_frame: int) -> SourceMember | None:
    said = Statements()
    try:
        stored, facts = _read_dataset(pack, member, said)
        into.add_picture(member, said, facts)
    except (TranscodeError, ValueError) as exc:
        into.refuse(member.name, str(exc))
        return None
    finally:
        into.add_statements(member, said)
    picture = facts.picture
    if picture is None:
        return None
    return SourceMember(pack, member, stored, picture, first_frame, slopes_of(said, picture.frames), said.window())


def _read_dataset(pack: HotPackFile, member: PackedMember, said: Statements) -> tuple[Stored, PictureFacts]:
    syntax = SOURCES.get(member.transfer_syntax_uid)
    if syntax is None or syntax.encoding.deflated:
        raise CannotCompress(reason=f"frames cannot be read one by one in {member.transfer_syntax_uid}")
    return read_stored(Source(pack.dataset(member)), member.transfer_syntax_uid, said.see)
