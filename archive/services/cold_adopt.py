"""Indexes cold packs that the index does not know: in a rebuild, or when the store is back; must not move an object.

What is lossless wins, in whichever order it is found: packs without loss are taken in first. A lossy pack whose
originals are in the archive waits to be discarded, once those that lie in cold packs were read to their end, and only
one whose originals are gone brings its images in. A pack that is byte for byte a hot one is one more copy of all in it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from typing import Final

from archive import logs
from archive.audit import Body, Entry
from archive.clock import Clock
from archive.errors import FixityError, IngestError, InvalidUid
from archive.index import cold, cold_packs, successors, tombstones
from archive.index.instances import AddOutcome, InstanceWriter
from archive.index.packs import PackRow
from archive.index.records import NewInstance
from archive.index.reset import attempt
from archive.index.session import Connection, IndexRefused
from archive.index.successors import Successor
from archive.services.committer import bare
from archive.services.packed import FoundPack, attach_pack, read_cold_pack
from archive.services.reports import AddColdReport, Progress
from tiering.errors import StoreRefused, StoreUnavailable, TieringError
from tiering.pack import read_manifest
from tiering.stores.base import ObjectStore, StoredObject, digest_of

_log = logs.get(__name__)
_LISTED: Final = 500
_AT_ONCE: Final = 8
_KEY: Final = re.compile(r"[^/]+/(?P<study>[0-9.]+)/(?P<series>[0-9.]+)/[0-9]+-c(?P<sha256>[0-9a-f]{16})[0-9a-z]*\.zip")
"""``index.cold.cold_key``: a cold key has the first 16 digits of its content's digest."""
_KEPT: Final = (AddOutcome.ADDED, AddOutcome.SAME)

Work = Callable[[Connection], None]


@dataclass(frozen=True, slots=True)
class Index:
    """How the index is read and written: ``write`` does its work in one transaction, with an entry of the journal."""

    read: Callable[[], AbstractContextManager[Connection]]
    write: Callable[[Work, Entry], None]


@dataclass(frozen=True, slots=True)
class _Looked:
    """An object of the cold store, and the digest (32 bytes) of all of it."""

    stored: StoredObject
    sha256: bytes


class _Left(Exception):
    """A pack is left where it lies; the text says why."""


@dataclass(slots=True)
class ColdAdopt:
    """Goes over the cold store twice. Memory: what is indexed of 8 packs, whatever the store holds, and what is wrong.

    ``are_readable``: tells whether the originals of a lossy pack, by UID, can be read where the index says they lie.
    """

    store: ObjectStore
    index: Index
    clock: Clock
    are_readable: Callable[[Collection[str]], bool] = lambda _uids: True
    report: AddColdReport = field(default_factory=AddColdReport)
    _is_for_lossy: bool = False
    _told: set[str] = field(default_factory=set)

    def run(self, progress: Progress) -> AddColdReport:
        """Take in every pack that the index does not know. Raises StoreError when the store does not answer."""
        for self._is_for_lossy in (False, True):
            self._pass(progress)
        return self.report

    def _pass(self, progress: Progress) -> None:
        """Go once over the store, for the packs without loss or for the lossy ones."""
        keys, done = iter(self.store.iter_keys()), 0
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            while page := list(islice(keys, _LISTED)):
                with self.index.read() as connection:
                    wanted = cold_packs.unknown(connection, page)
                for start in range(0, len(wanted), _AT_ONCE):
                    self._take_in(wanted[start : start + _AT_ONCE], pool)
                    progress(done + start, 0)
                done += len(page)
                progress(done, 0)

    def _take_in(self, keys: Sequence[str], pool: ThreadPoolExecutor) -> None:
        """Read some packs side by side, and index them one after the other."""
        looked = list(pool.map(self._look, keys))
        with self.index.read() as connection:
            twins = [self._twin(connection, each) for each in looked]
        packs = pool.map(self._read, looked, twins)
        for key, twin, pack in zip(keys, twins, packs, strict=True):
            if isinstance(pack, FoundPack | _Looked | str):
                self._take(key, pack, twin)

    def _look(self, key: str) -> _Looked | str | None:
        """Ask the store about an object, and read it when the store does not know its digest; text: why it is left."""
        try:
            stored = self.store.find(key)
            if stored is None or (stored.sha256 is None and not self._has_turn(stored)):
                return None
            digest = stored.sha256 or digest_of(self.store.read(key))[1]
        except (StoreUnavailable, StoreRefused):
            raise
        except TieringError as exc:
            return exc.message
        named = _KEY.fullmatch(key)
        if named is not None and digest.hex()[:16] != named["sha256"]:
            return "its bytes are not those that its name says"
        return _Looked(stored, digest)

    def _has_turn(self, stored: StoredObject) -> bool:
        """Tell whether it is the turn of packs like this one; what cannot be told is looked at as one without loss."""
        try:
            manifest = read_manifest(partial(self.store.read_range, stored.key), stored.size_bytes)
        except (StoreUnavailable, StoreRefused):
            raise
        except TieringError:
            return not self._is_for_lossy
        return any(member.derived_from is not None for member in manifest.members) is self._is_for_lossy

    def _twin(self, connection: Connection, looked: _Looked | str | None) -> PackRow | None:
        """Return the hot pack that is byte for byte the same."""
        named = _KEY.fullmatch(looked.stored.key) if isinstance(looked, _Looked) else None
        if named is None or not isinstance(looked, _Looked):
            return None
        size = looked.stored.size_bytes
        probe = PackRow("", "cold", named["study"], named["series"], 0, size, looked.sha256, self.clock())
        return cold_packs.find_twin(connection, probe, "hot")

    def _read(self, looked: _Looked | str | None, twin: PackRow | None) -> FoundPack | _Looked | str | None:
        """Read what the index will hold of a pack; nothing of one that has a twin, or is left."""
        if twin is not None or not isinstance(looked, _Looked):
            return looked
        try:
            is_wanted = self._has_turn(looked.stored)
            return read_cold_pack(self.store, looked.stored, looked.sha256) if is_wanted else None
        except (StoreUnavailable, StoreRefused):
            raise
        except (TieringError, IngestError, InvalidUid, FixityError) as exc:
            return exc.message

    def _take(self, key: str, pack: FoundPack | _Looked | str, twin: PackRow | None) -> None:
        try:
            if isinstance(pack, str):
                raise _Left(pack)
            if isinstance(pack, FoundPack):
                self._attach_lossy(pack) if pack.is_lossy else self._attach(pack)
            else:
                assert twin is not None
                self._attach_twin(twin, pack.stored)
        except _Left as exc:
            if key not in self._told:
                self.report.problems.append((key, str(exc)))
                _log.error("cold_pack_not_indexed", key=key, reason=str(exc))
            self._told.add(key)

    def _attach_twin(self, hot: PackRow, stored: StoredObject) -> None:
        row = replace(hot, key=stored.key, tier="cold", store_generation=stored.generation)

        def work(connection: Connection) -> None:
            cold_packs.attach_twin(connection, hot, row, self.clock())

        self.index.write(work, self._entry(row))
        self.report.packs += 1

    # ---- without a hot copy --------------------------------------------------------------------------------------

    def _attach(self, found: FoundPack) -> None:
        """Take in a lossless pack, but for instances whose place a lossy copy took; with all replaced it waits behind.

        So it is when it could not be read before, or somebody brought it back.
        """
        outcomes: dict[str, AddOutcome] = {}

        def work(connection: Connection) -> None:
            replaced = cold_packs.replaced(connection, {_uid(each) for each in found.instances})
            wanted = [each for each in found.instances if replaced.get(_uid(each)) != each.dataset_sha256]
            if not wanted:
                if not cold_packs.wait_behind(connection, found.row, found.copies, self.clock()):
                    raise _Left("lossy copies took the place of all in it: nothing needs it")
                return
            outcomes.update(self._add(connection, found, wanted))

        self._write(found, work, outcomes)

    def _attach_lossy(self, found: FoundPack) -> None:
        """Take in a lossy pack, but for copies whose original is in the archive; none left: it is to be discarded."""
        here = self._originals(found)
        if here and not self.are_readable(here):
            raise _Left("the index is older than the cold store: drimbox index rebuild")
        self._prove(here)
        outcomes: dict[str, AddOutcome] = {}

        def work(connection: Connection) -> None:
            now, wanted = self.clock(), [each for each in found.successors if each.sop_instance_uid not in here]
            if not wanted:
                cold.note_upload(connection, found.row, now)
                return
            if self._are_destroyed(connection, wanted):
                outcomes.update({each.successor_uid: AddOutcome.DESTROYED for each in wanted})
                return
            names = {each.successor_uid for each in wanted}
            outcomes.update(self._add(connection, found, [each for each in found.instances if _uid(each) in names]))
            kept = {uid for uid, outcome in outcomes.items() if outcome in _KEPT}
            successors.add(connection, (each for each in wanted if each.successor_uid in kept))
            if kept and found.evidence is not None:
                body = json.dumps(found.evidence, sort_keys=True, separators=(",", ":"))
                cold.put_evidence(connection, found.row, body, now)

        self._write(found, work, outcomes)

    def _prove(self, uids: Collection[str]) -> None:
        """Read the cold packs that instances lie in to their end: a copy of them is about to be let go of."""
        with self.index.read() as connection:
            packs = cold_packs.holding(connection, uids)
        for pack in packs:
            try:
                is_whole = digest_of(self.store.read(pack.key)) == (pack.size_bytes, pack.sha256)
                reason = "" if is_whole else f"{pack.key} is not what was put there"
            except (StoreUnavailable, StoreRefused):
                raise
            except TieringError as exc:
                reason = exc.message
            if reason:
                raise _Left(f"it is kept beside the pack of its originals, which is not proven: {reason}")

    def _originals(self, found: FoundPack) -> set[str]:
        """Return the instances, by the UID they were received under, that the index has as they were received."""
        was = {each.sop_instance_uid: each.dataset_sha256 for each in found.successors}
        with self.index.read() as connection:
            known = cold_packs.digests(connection, was)
        return {uid for uid, digest in known.items() if was[uid] == digest}

    def _are_destroyed(self, connection: Connection, wanted: Sequence[Successor]) -> bool:
        """Tell whether the originals were eliminated before their copies stood in for anything."""
        stones = tombstones.iter_among(connection, {each.sop_instance_uid for each in wanted})
        return any(stone.study_instance_uid == wanted[0].study_instance_uid for stone in stones)

    def _add(self, connection: Connection, found: FoundPack, wanted: Sequence[NewInstance]) -> Mapping[str, AddOutcome]:
        """Index instances and their copies in the pack; by their identifiers alone what the database refuses."""
        try:
            with attempt(connection):
                outcomes = InstanceWriter().add(connection, wanted)
        except IndexRefused:
            outcomes = InstanceWriter().add(connection, [bare(each) for each in wanted])
        by_uid = dict(zip(map(_uid, wanted), outcomes, strict=True))
        if any(outcome in _KEPT for outcome in outcomes):
            attach_pack(connection, found, by_uid, self.clock())
        return by_uid

    def _write(self, found: FoundPack, work: Work, outcomes: Mapping[str, AddOutcome]) -> None:
        """Do the work and count what came of it."""
        self.index.write(work, self._entry(found.row, len(found.instances)))
        counts, key = _counted(outcomes.values()), found.row.key
        self.report.instances += counts[AddOutcome.ADDED]
        self.report.packs += any(counts[each] for each in _KEPT)
        self.report.not_needed += not outcomes
        if counts[AddOutcome.DESTROYED]:
            self.report.destroyed += 1
            self.report.problems.append((key, "it was destroyed and is here all the same: drimbox disposal remains"))
        if counts[AddOutcome.CONFLICT]:
            differing = f"{counts[AddOutcome.CONFLICT]} of its instances are in the archive with other bytes"
            self.report.problems.append((key, differing))

    def _entry(self, row: PackRow, instances: int | None = None) -> Entry:
        body: Body = {"key": row.key, "sha256": row.sha256.hex(), "tier": "cold", "instances": instances}
        return Entry(self.clock(), "pack_adopted", "drimbox", body)


def _uid(instance: NewInstance) -> str:
    return instance.header.values["SOPInstanceUID"]


def _counted(outcomes: Iterable[AddOutcome]) -> dict[AddOutcome, int]:
    counts = dict.fromkeys(AddOutcome, 0)
    for outcome in outcomes:
        counts[outcome] += 1
    return counts
