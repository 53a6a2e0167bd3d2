"""Seals quiet studies: each series becomes a pack, proven before it stands in; must not delete a received file.

Order: every received file is proven by its digest, compressed where that is proven lossless, and packed; the pack is
synced, named, and read back to its end; then one transaction lets it stand in for the received files, which wait to be
trimmed. A crash before that transaction leaves a pack that the next start takes in, and all received files.
"""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from hashlib import sha256
from itertools import groupby
from typing import BinaryIO, Final, cast

from archive import logs
from archive.audit import Body, Entry
from archive.clock import Clock
from archive.errors import ArchiveError
from archive.index import packs as table
from archive.index.packs import Loose, NotLoose, PackRow, Quiet
from archive.part10.meta import build_header
from archive.services.arrival import CHUNK_BYTES
from archive.services.committer import Committer
from archive.services.destroy import discard_pack
from archive.services.landed import Landed, read_landed
from archive.services.pack_file import ReadBack, WriteOnce
from archive.services.packed import packed_copy
from archive.services.remains import HOT, PACK, Stores
from tiering.disk import Disk
from tiering.errors import TieringError
from tiering.pack import MemberFacts, PackFacts, PackWriter, SeriesFacts, pack_key, verify_pack
from tiering.window import open_window

_log = logs.get(__name__)
_PAGE: Final = 100


@dataclass(frozen=True, slots=True)
class Compressed:
    """What became of a data set: its transfer syntax now, and the digest of its decoded pixels (hexadecimal)."""

    transfer_syntax_uid: str
    pixel_sha256: str


Compress = Callable[[BinaryIO, str, BinaryIO], Compressed | None]
"""Writes a data set, stored in a transfer syntax, smaller to another file, proven lossless; None: it stays as it is."""


@dataclass(slots=True)
class SealReport:
    """What sealing came to; sizes in bytes, ``left``: (key or study, why) that stay as they were received.

    ``is_complete``: there was no other quiet study.
    """

    studies: int = 0
    packs: int = 0
    instances: int = 0
    compressed: int = 0
    received_bytes: int = 0
    packed_bytes: int = 0
    left: list[tuple[str, str]] = field(default_factory=list)
    is_complete: bool = False


@dataclass(frozen=True, slots=True)
class _Member:
    """One instance in a pack: the received file, what the manifest says, and its Part 10 header."""

    file: Loose
    facts: MemberFacts
    header: bytes


@dataclass(frozen=True, slots=True)
class _Packing:
    """A member about to be packed; ``dataset`` reads its data set, and may be called again."""

    member: _Member
    dataset: Callable[[], Iterable[bytes]]

    def chunks(self) -> Iterator[bytes]:
        """Yield the Part 10 file."""
        yield self.member.header
        yield from self.dataset()


@dataclass(frozen=True, slots=True)
class Sealer:
    """Seals the studies of one archive, in somebody's name; safe beside a running one and beside another sealer."""

    committer: Committer
    stores: Stores
    clock: Clock
    quiet: timedelta
    compress: Compress | None = None
    actor: str = "drimbox"

    @property
    def disk(self) -> Disk:
        """Return the disk of all stores."""
        return self.stores.disk

    def run(
        self, *, most: int | None = None, since_instance: int = 0, is_over: Callable[[], bool] = lambda: False
    ) -> SealReport:
        """Seal up to ``most`` quiet studies, until it ``is_over``. One that cannot be sealed is told, others go on.

        With ``since_instance`` only those for which something was indexed after that row are looked for.
        """
        report, after, which = SealReport(), 0, Quiet(self.clock() - self.quiet, since_instance)
        while not is_over() and (most is None or report.studies < most):
            limit = _PAGE if most is None else min(_PAGE, most - report.studies)
            with self.committer.read() as connection:
                page = table.quiet(connection, which, after, limit)
            if not page:
                report.is_complete = True
                return report
            for _, uid, site in page:
                if is_over():
                    return report
                self._seal_study(uid, site, report)
            after = page[-1][0]
        return report

    def plan(self) -> SealReport:
        """Return what ``run`` would seal: studies, instances and bytes as they were received."""
        report, after, which = SealReport(), 0, Quiet(self.clock() - self.quiet)
        while True:
            with self.committer.read() as connection:
                page = table.quiet(connection, which, after, _PAGE)
                files = [file for _, uid, _ in page for file in table.loose(connection, uid)]
            if not page:
                return report
            report.studies += len(page)
            report.instances += len(files)
            report.received_bytes += sum(file.size_bytes for file in files)
            after = page[-1][0]

    def seal(self, study_instance_uid: str, site: str) -> SealReport:
        """Seal one study, quiet or not."""
        report = SealReport()
        self._seal_study(study_instance_uid, site, report)
        return report

    def _seal_study(self, uid: str, site: str, report: SealReport) -> None:
        with self.committer.read() as connection:
            files = table.loose(connection, uid)
        for series, group in groupby(files, key=lambda each: each.series_instance_uid):
            try:
                self._seal_series(_Series(uid, series, site), list(group), report)
            except (ArchiveError, TieringError, OSError) as exc:
                reason = exc.strerror if isinstance(exc, OSError) else str(exc)
                _log.error("series_not_sealed", study_instance_uid=uid, reason=reason)
                report.left.append((uid, str(reason)))
        report.studies += 1

    def _seal_series(self, series: _Series, files: Sequence[Loose], report: SealReport) -> None:
        facts = self._facts(series, files)
        key = pack_key(series.site, series.study, series.uid, facts.generation, suffix=os.urandom(6).hex())
        members: list[_Member] = []
        written = self._write(key, facts, self._members(_in_order(files), members, report))
        if written is None:
            return
        self._stand_in(key, facts, written, members)
        report.packs += 1
        report.instances += len(members)
        report.compressed += sum(1 for each in members if each.facts.pixel_sha256 is not None)
        report.received_bytes += sum(each.file.size_bytes for each in members)
        report.packed_bytes += written.size_bytes

    def _facts(self, series: _Series, files: Sequence[Loose]) -> SeriesFacts:
        with self.committer.read() as connection:
            last = table.last_generation(connection, series.study, series.uid)
        return SeriesFacts(
            site=series.site,
            study_instance_uid=series.study,
            series_instance_uid=series.uid,
            generation=last + 1,
            created_at=self.clock(),
            metadata={"received_sizes": {each.sop_instance_uid: each.size_bytes - each.header_size for each in files}},
        )

    # ---- members -------------------------------------------------------------------------------------------------

    def _members(self, files: Sequence[Loose], done: list[_Member], report: SealReport) -> Iterator[_Packing]:
        """Yield what goes into the pack, one after the other; what it was is added to ``done``."""
        for file in files:
            landed = self._proven(file, report)
            if landed is None:
                continue
            with ExitStack() as scratch:
                packing = self._smaller(file, landed, scratch) or self._as_received(file, landed)
                yield packing
            done.append(packing.member)

    def _proven(self, file: Loose, report: SealReport) -> Landed | None:
        """Read a received file to its end; None, and told, when it is not what the index knows."""
        try:
            landed = read_landed(self.disk, self.stores.path(HOT, file.key), key=file.key)
        except (ArchiveError, OSError) as exc:
            _log.error("received_file_not_sealed", key=file.key, exc_info=exc)
        else:
            found = (landed.stored.dataset_sha256, sha256(landed.file_header).digest())
            if found == (file.dataset_sha256, file.sha256):
                return landed
        report.left.append((file.key, "it is not what was received: drimbox verify"))
        return None

    def _as_received(self, file: Loose, landed: Landed) -> _Packing:
        path, stored = self.stores.path(HOT, file.key), landed.stored
        member = _member(file, landed, landed.file_header, stored.dataset_sha256, None)
        read = partial(self.disk.read, path, chunk_bytes=CHUNK_BYTES, offset=stored.header_size)
        return _Packing(member, read)

    def _smaller(self, file: Loose, landed: Landed, scratch: ExitStack) -> _Packing | None:
        """Compress a data set into a file without a name; None when it stays as it was received."""
        if self.compress is None:
            return None
        target: BinaryIO = scratch.enter_context(
            tempfile.TemporaryFile(dir=self.stores.roots[HOT])  # noqa: SIM115  the stack closes it
        )
        path, stored = self.stores.path(HOT, file.key), landed.stored
        with open_window(path, offset=stored.header_size, length=stored.dataset_size) as source:
            found = self.compress(source, stored.provenance.transfer_syntax_uid, target)
        size, digest = target.tell(), sha256()
        if found is None or size >= stored.dataset_size:
            return None
        for chunk in _from_start(target):
            digest.update(chunk)
        provenance = replace(stored.provenance, transfer_syntax_uid=found.transfer_syntax_uid)
        header = build_header(provenance, dataset_sha256=digest.digest(), dataset_size=size)
        return _Packing(_member(file, landed, header, digest.digest(), found), partial(_from_start, target))

    # ---- the pack ------------------------------------------------------------------------------------------------

    def _write(self, key: str, series: SeriesFacts, packings: Iterator[_Packing]) -> PackFacts | None:
        """Write a pack, durably under its name, and read it back to its end; None when nothing goes into it.

        Raises PackError, OSError.
        """
        path = self.stores.path(PACK, key)
        self.disk.make_folder(path.parent)
        handle = self.disk.create(path.parent)
        try:
            written = _pack(cast(BinaryIO, WriteOnce(self.disk, handle)), series, packings)
            if written is None:
                return None
            self.disk.sync_file(handle)
            self.disk.link(handle, path)
            self.disk.sync_folder(path.parent)
        finally:
            self.disk.close(handle)
        with io.BufferedReader(ReadBack(self.disk, path, written.size_bytes), CHUNK_BYTES) as file:
            verify_pack(cast(BinaryIO, file), sha256=written.sha256)
        return written

    def _stand_in(self, key: str, series: SeriesFacts, written: PackFacts, members: Sequence[_Member]) -> None:
        """Let the pack stand in for the received files; when one is not as it was any more, let go of the pack."""
        study, digest = series.study_instance_uid, bytes.fromhex(written.sha256)
        row = PackRow(
            *(key, "hot", study, series.series_instance_uid, series.generation),
            *(written.size_bytes, digest, series.created_at),
        )
        copies = [
            (packed_copy(packed, member.header, member.file.key), _generation(member.file))
            for member, packed in zip(members, written.members, strict=True)
        ]
        body: Body = {"study_instance_uid": study, "key": key, "sha256": written.sha256, "instances": len(members)}
        entry = Entry(series.created_at, "sealed", self.actor, body)
        try:
            self.committer.record_synced(
                entry, work=lambda connection: table.switch(connection, row, copies, self.clock())
            )
        except NotLoose:
            discard_pack(self.committer.database, self.stores, row)
            _log.warning("pack_discarded", key=key)


@dataclass(frozen=True, slots=True)
class _Series:
    study: str
    uid: str
    site: str


def _in_order(files: Sequence[Loose]) -> list[Loose]:
    def number(file: Loose) -> tuple[bool, int]:
        text = file.instance_number.strip()
        return (False, int(text)) if text.isascii() and text.isdecimal() else (True, 0)

    return sorted(files, key=number)


def _member(
    file: Loose, landed: Landed, header: bytes, dataset_sha256: bytes, compressed: Compressed | None
) -> _Member:
    received, text = landed.stored, file.instance_number.strip()
    syntax = received.provenance.transfer_syntax_uid
    facts = MemberFacts(
        sop_instance_uid=file.sop_instance_uid,
        sop_class_uid=file.sop_class_uid,
        transfer_syntax_uid=syntax if compressed is None else compressed.transfer_syntax_uid,
        header_size=len(header),
        dataset_sha256=dataset_sha256.hex(),
        received_sha256=received.dataset_sha256.hex(),
        received_transfer_syntax_uid=syntax,
        pixel_sha256=None if compressed is None else compressed.pixel_sha256,
        instance_number=int(text) if text.isascii() and text.isdecimal() else None,
    )
    return _Member(file, facts, header)


def _pack(target: BinaryIO, series: SeriesFacts, packings: Iterator[_Packing]) -> PackFacts | None:
    writer, is_empty = PackWriter(target, series=series), True
    for packing in packings:
        writer.add(packing.member.facts, packing.chunks)
        is_empty = False
    return None if is_empty else writer.finish()


def _generation(file: Loose) -> str:
    return f"{file.size_bytes}.{file.header_size}.{file.sha256.hex()}"


def _from_start(file: BinaryIO) -> Iterator[bytes]:
    file.seek(0)
    while chunk := file.read(CHUNK_BYTES):
        yield chunk
