"""Moves studies to the cold tier: prepares copies, proves them where they lie, switches; must not delete a hot copy.

``prepare`` may be interrupted anywhere and done again: what it put is noted before, and nothing stands in for anything.
``switch`` is one transaction a study. A reader sees the study from its hot packs before it, and from whatever the
index says after it.
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol, cast

from archive import logs
from archive.audit import Body, Entry
from archive.clock import Clock
from archive.errors import ColdCopyDiffers, MigrationRefused
from archive.index import cold, set_aside
from archive.index.cold import HotPack, LossyMember, NotAsPlanned
from archive.index.packs import PackRow
from archive.index.records import from_text, to_text
from archive.index.session import Connection
from archive.services.arrival import CHUNK_BYTES
from archive.services.committer import Committer
from archive.services.destroy import discard_cold
from archive.services.keeping_hot import keeps_for_destruction, keeps_hot, keeps_lossless
from archive.services.lossy_members import lossy_members
from archive.services.pack_file import ReadBack
from archive.services.remains import PACK, Stores
from tiering.disk import Disk
from tiering.errors import ChecksumMismatch
from tiering.policy import Held
from tiering.stores.base import ObjectStore, Source, digest_of

_log = logs.get(__name__)
LOSSY: Final = "lossy"
LOSSLESS: Final = "lossless"


@dataclass(frozen=True, slots=True)
class LossyPack:
    """A lossy pack on the local disk, made of the hot pack ``hot_key``; ``sha256`` (32 bytes) is of all of it."""

    hot_key: str
    path: Path
    size_bytes: int
    sha256: bytes


@dataclass(frozen=True, slots=True)
class LossyResult:
    """What became of a series: a lossy pack for each hot one, or none and it stays lossless.

    ``evidence`` by hot key is canonical JSON: what proves the pack, or why it stays.
    """

    packs: Sequence[LossyPack]
    evidence: Mapping[str, str]


class LossyCopies(Protocol):
    """Makes lossy packs of hot ones where that is allowed and proven harmless."""

    def make(self, series: Sequence[PackRow], folder: Path) -> LossyResult:
        """Write the lossy packs of all hot packs of a series into a folder, or none of them."""


@dataclass(frozen=True, slots=True)
class Copied:
    """A cold pack that was put and read back; digests in hexadecimal, so that all of it is JSON."""

    hot_key: str
    key: str
    kind: str
    size_bytes: int
    sha256: str
    store_generation: str
    made_at: str
    evidence: str

    def row(self, hot: PackRow) -> PackRow:
        """Return what the index will hold of it; the store's generation is not known before it was put."""
        return PackRow(
            *(self.key, "cold", hot.study_instance_uid, hot.series_instance_uid, hot.generation, self.size_bytes),
            *(bytes.fromhex(self.sha256), from_text(self.made_at)),
        )


@dataclass(frozen=True, slots=True)
class _Plan:
    """One pack about to stand in, and what it replaces."""

    copied: Copied
    row: PackRow
    members: Sequence[LossyMember]


@dataclass(frozen=True, slots=True)
class Migrator:
    """Moves the studies of one archive, in somebody's name; safe beside a running one and beside another of its kind.

    ``scratch``: a folder on the local disk with room for the lossy packs of one series. Without ``lossy`` everything
    goes as it is. ``held``: whether studies under a hold or an appeal may go at all; with loss they never do.
    """

    committer: Committer
    stores: Stores
    cold: ObjectStore
    clock: Clock
    scratch: Path
    lossy: LossyCopies | None = None
    actor: str = "drimbox"
    held: Held = "stay"

    @property
    def disk(self) -> Disk:
        """Return the disk of the hot tier."""
        return self.stores.disk

    # ---- preparing -----------------------------------------------------------------------------------------------

    def series_of(self, study_uid: str) -> Sequence[str]:
        """Return the series of a study that are to be prepared. Raises MigrationRefused when it has to stay."""
        with self.committer.read() as connection:
            packs = self._may_go(connection, study_uid)
        return list(dict.fromkeys(each.row.series_instance_uid for each in packs))

    def prepare(self, study_uid: str, series_uid: str) -> Mapping[str, Any]:
        """Put the packs of a series into the cold store and read them back to their end; return what came of it.

        Raises MigrationRefused, ColdCopyDiffers, StoreError, OSError, TieringError for a pack that cannot be read.
        """
        with self.committer.read() as connection:
            packs = [
                each.row for each in self._may_go(connection, study_uid) if each.row.series_instance_uid == series_uid
            ]
            lossy = None if keeps_lossless(connection, study_uid) else self.lossy
        with self.lossy_packs(packs, lossy) as (made, evidence):
            copied = [self.copy(pack, made.get(pack.key), evidence.get(pack.key, "")) for pack in packs]
        return {"series": series_uid, "packs": [asdict(each) for each in copied]}

    def _may_go(self, connection: Connection, study_uid: str) -> list[HotPack]:
        """Return the hot packs that are to go. Raises MigrationRefused, ClockNotTrusted."""
        reason = self._keeps(connection, study_uid, self.clock())
        if reason:
            raise MigrationRefused(study=study_uid, reason=reason)
        return [each for each in cold.hot_packs(connection, study_uid) if each.copies]

    def _keeps(self, connection: Connection, study_uid: str, now: datetime) -> str:
        """Say why a study stays, "" when it may go."""
        return (
            keeps_hot(connection, study_uid, now, held=self.held)
            or keeps_for_destruction(connection, study_uid)
            or cold.unsealed(connection, study_uid)
        )

    @contextmanager
    def lossy_packs(
        self, packs: Sequence[PackRow], lossy: LossyCopies | None
    ) -> Iterator[tuple[Mapping[str, LossyPack], Mapping[str, str]]]:
        """Lend the lossy packs of a series, if it gets any; their files go at the end."""
        if lossy is None or not packs:
            yield {}, {}
            return
        self.disk.make_folder(self.scratch)
        with tempfile.TemporaryDirectory(dir=self.scratch) as folder:
            result = lossy.make(packs, Path(folder))
            _log.info("series_compressed", study_instance_uid=packs[0].study_instance_uid, lossy=bool(result.packs))
            yield {each.hot_key: each for each in result.packs}, result.evidence

    def copy(self, hot: PackRow, lossy: LossyPack | None, evidence: str) -> Copied:
        """Put one pack, the hot one or the lossy one that was made of it, and read it back to its end.

        Its key is noted before. Raises MigrationRefused, ColdCopyDiffers, StoreError, OSError.
        """
        path = self.stores.path(PACK, hot.key) if lossy is None else lossy.path
        size, digest = (hot.size_bytes, hot.sha256) if lossy is None else (lossy.size_bytes, lossy.sha256)
        now, kind = self.clock(), LOSSLESS if lossy is None else LOSSY
        key = cold.cold_key(hot.key, digest)
        copied = Copied(hot.key, key, kind, size, digest.hex(), "", to_text(now), evidence)
        row = copied.row(hot)
        with planned(hot.study_instance_uid):
            self.committer.record_synced(work=lambda connection: cold.note_upload(connection, row, now))
        with io.BufferedReader(ReadBack(self.disk, path, size), CHUNK_BYTES) as file:
            stored = self.cold.put(key, cast(Source, file), size_bytes=size, sha256=digest)
        self._read_back(row)
        return replace(copied, store_generation=stored.generation)

    def _read_back(self, row: PackRow) -> None:
        """Read what was put, from where it lies, to its end. One that differs is let go of, and told."""
        try:
            size, digest = digest_of(self.cold.read(row.key))
            reason = f"{size} bytes with SHA-256 {digest.hex()}"
        except ChecksumMismatch as exc:
            size, digest, reason = 0, b"", exc.message
        if (size, digest) == (row.size_bytes, row.sha256):
            return
        body: Body = {"key": row.key, "sha256": row.sha256.hex(), "found": digest.hex()}
        self.committer.record_synced(Entry(self.clock(), "cold_copy_differs", self.actor, body))
        _log.error("cold_copy_differs", key=row.key)
        discard_cold(self.stores, row.key, row.sha256, accept_damaged=True)
        raise ColdCopyDiffers(key=row.key, reason=reason)

    # ---- switching -----------------------------------------------------------------------------------------------

    def switch(self, study_uid: str, prepared: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
        """Let cold packs stand in for the hot ones, all of a study in one transaction; done already is done.

        Raises MigrationRefused when the study has to stay by now, or is not as it was prepared; StoreError.
        """
        copied = [Copied(**pack) for each in prepared for pack in each["packs"]]
        plans = [self._plan(each) for each in self.not_done(copied)]
        if plans:
            body: Body = {
                "study_instance_uid": study_uid,
                "packs": [each.row.key for each in plans],
                "lossy": sum(each.copied.kind == LOSSY for each in plans),
                "sha256": [each.copied.sha256 for each in plans],
            }
            entry = Entry(self.clock(), "migrated", self.actor, body)
            with planned(study_uid):
                self.committer.record_synced(entry, work=partial(self._switch, study_uid, plans))
            _log.info("study_migrated", study_instance_uid=study_uid, packs=len(plans))
        return {"packs": len(plans), "lossy": sum(each.copied.kind == LOSSY for each in plans)}

    def not_done(self, copied: Sequence[Copied]) -> list[Copied]:
        """Return those of these packs that do not stand in yet."""
        with self.committer.read() as connection:
            return [each for each in copied if cold.find_pack(connection, each.key) is None]

    def _plan(self, copied: Copied) -> _Plan:
        """Look once more at what lies in the cold store, and say what the index will hold of it."""
        with self.committer.read() as connection:
            hot = cold.find_pack(connection, copied.hot_key)
        if hot is None:
            raise MigrationRefused(study=copied.hot_key, reason="its hot pack is gone")
        row = self.still_there(copied, hot)
        if copied.kind == LOSSLESS:
            return _Plan(copied, row, ())
        return _Plan(copied, row, lossy_members(self.stores, hot, self.cold, row))

    def still_there(self, copied: Copied, source: PackRow) -> PackRow:
        """Return what the index will hold of a pack that was put. Raises ColdCopyDiffers, StoreError."""
        row = replace(copied.row(source), store_generation=copied.store_generation)
        found = self.cold.find(copied.key)
        if found is None or (found.size_bytes, found.generation) != (row.size_bytes, row.store_generation):
            raise ColdCopyDiffers(key=copied.key, reason="it is not there any more as it was put")
        return row

    def _switch(self, study_uid: str, plans: Sequence[_Plan], connection: Connection) -> None:
        now = self.clock()
        reason = self._keeps(connection, study_uid, now)
        if not reason and any(plan.copied.kind == LOSSY for plan in plans):
            reason = keeps_lossless(connection, study_uid)
        if reason:
            raise NotAsPlanned(reason)
        check_not_rolled_back(connection, study_uid, [plan.copied for plan in plans])
        for plan in plans:
            if plan.copied.kind == LOSSLESS:
                cold.switch_lossless(connection, plan.copied.hot_key, plan.row, now)
            else:
                cold.switch_lossy(connection, plan.copied.hot_key, plan.row, plan.members, now)
            if plan.copied.evidence:
                cold.put_evidence(connection, plan.row, plan.copied.evidence, now)
        set_aside.clear(connection, study_uid)

    # ---- the whole -----------------------------------------------------------------------------------------------

    def migrate(self, study_uid: str) -> Mapping[str, Any]:
        """Prepare and switch a study, one step after the other. Raises what they do."""
        return self.switch(study_uid, [self.prepare(study_uid, series) for series in self.series_of(study_uid)])


def check_not_rolled_back(connection: Connection, study_uid: str, copied: Sequence[Copied]) -> None:
    """Raise NotAsPlanned for a study that was rolled back since it was prepared: a step may be run again much later."""
    if set_aside.is_left_alone_since(connection, study_uid, min(from_text(each.made_at) for each in copied)):
        raise NotAsPlanned("it was rolled back since it was prepared")


@contextmanager
def planned(study_uid: str) -> Iterator[None]:
    """Turn what does not fit the index any more into what the operator hears."""
    try:
        yield
    except NotAsPlanned as exc:
        raise MigrationRefused(study=study_uid, reason=str(exc)) from exc
