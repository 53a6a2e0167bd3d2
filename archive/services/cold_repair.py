"""Makes a damaged pack whole again from its twin in the other tier; must not trust a copy that it has not just read.

One way only: from a pack that is byte for byte what was packed, to a new key. A key is never used again; what was
damaged goes once the index has the new one.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Final, cast

from archive import logs
from archive.audit import Body, Entry
from archive.clock import Clock
from archive.index import cold, cold_packs, cold_trim, scrub
from archive.index.packs import PackRow
from archive.index.session import Connection
from archive.services.arrival import CHUNK_BYTES
from archive.services.committer import Committer
from archive.services.destroy import trim_pack
from archive.services.pack_file import ReadBack, WriteOnce
from archive.services.remains import PACK, Stores
from tiering.errors import StoreError
from tiering.stores.base import Source, digest_of

_log = logs.get(__name__)
_PAGE: Final = 64


@dataclass(slots=True)
class RepairReport:
    """``repaired``: (old key, new key); ``left``: (key, what to do) of packs that nothing here can make whole."""

    repaired: list[tuple[str, str]] = field(default_factory=list)
    left: list[tuple[str, str]] = field(default_factory=list)


class _Left(Exception):
    """A pack stays as it is; the text says what to do."""


@dataclass(frozen=True, slots=True)
class Repair:
    """Repairs the packs of one archive, in somebody's name."""

    committer: Committer
    stores: Stores
    clock: Clock
    actor: str = "drimbox"

    def run(self, damaged: Collection[str] = ()) -> RepairReport:
        """Repair every pack with a copy that is damaged or missing, and those named. One that stays is told.

        ``damaged``: keys of packs whose copies are good but which are not as they were put.
        """
        report = RepairReport()
        for key in sorted({*damaged, *self._broken("hot"), *self._broken("cold")}):
            with self.committer.read() as connection:
                pack = cold_packs.find(connection, key)
            if pack is None:
                continue
            try:
                new = self._cold(pack) if pack.tier == "cold" else self._hot(pack)
            except (_Left, StoreError, OSError) as exc:
                reason = (exc.strerror or type(exc).__name__) if isinstance(exc, OSError) else str(exc)
                report.left.append((key, reason))
                _log.error("pack_not_repaired", key=key, reason=reason)
            else:
                report.repaired.append((key, new))
        return report

    def _broken(self, tier: str) -> Iterator[str]:
        after = ""
        while True:
            with self.committer.read() as connection:
                page = scrub.broken_packs(connection, tier, after, _PAGE)
            if not page:
                return
            yield from (pack.key for pack in page)
            after = page[-1].key

    # ---- a cold pack from a hot one ------------------------------------------------------------------------------

    def _cold(self, pack: PackRow) -> str:
        """Put the hot twin of a cold pack under a new key; return that."""
        hot = self._twin(pack, "hot")
        path, store = self.stores.path(PACK, hot.key), self.stores.get_cold()
        if not self._is_whole(hot):
            raise _Left(f"its hot pack {hot.key} is not whole either: drimbox verify --tier hot")
        new = replace(pack, key=self._free_key(pack), store_generation=None)
        self.committer.record_synced(work=lambda connection: cold.note_upload(connection, new, self.clock()))
        with io.BufferedReader(ReadBack(self.stores.disk, path, pack.size_bytes), CHUNK_BYTES) as file:
            stored = store.put(new.key, cast(Source, file), size_bytes=pack.size_bytes, sha256=pack.sha256)
        if digest_of(store.read(new.key)) != (pack.size_bytes, pack.sha256):
            raise _Left("the cold store gave other bytes back than it was given: see to it before you repair")
        self._switch(pack, replace(new, store_generation=stored.generation))
        return new.key

    def _free_key(self, pack: PackRow) -> str:
        """Return a key that never was one's: that of the content, counted on."""
        stem, store = cold.cold_key(pack.key, pack.sha256).removesuffix(".zip"), self.stores.get_cold()
        with self.committer.read() as connection:
            for number in count(1):
                key = f"{stem}r{number}.zip"
                if not cold_packs.is_taken(connection, key) and store.find(key) is None:
                    return key
        raise AssertionError("there is always a next number")

    # ---- a hot pack from a cold one ------------------------------------------------------------------------------

    def _hot(self, pack: PackRow) -> str:
        """Write a hot pack again from its cold twin under a new key, and let go of the damaged one; return the key."""
        twin = self._twin(pack, "cold")
        again = self._written_before(pack, twin)
        if again is not None:
            return again
        folder, _, name = pack.key.rpartition("/")
        new = replace(pack, key=f"{folder}/{name.partition('-')[0]}-{os.urandom(6).hex()}.zip")
        self._write(twin, new)
        if not self._is_whole(new):
            raise _Left("the disk gave other bytes back than were written: see to it before you repair")
        self._switch(pack, new)
        trim_pack(self.stores, pack, accept_damaged=True)
        return new.key

    def _written_before(self, pack: PackRow, twin: PackRow) -> str | None:
        """Return the key of the whole pack that a repair wrote before a crash, and a start took in; None without."""
        with self.committer.read() as connection:
            sibling = cold_packs.find_twin(connection, pack, "hot")
        if sibling is None or not self._is_whole(sibling):
            return None
        body: Body = {"key": pack.key, "new_key": sibling.key, "tier": "hot", "sha256": pack.sha256.hex()}

        def work(connection: Connection) -> None:
            cold_trim.forget(connection, pack.key)
            cold.stands_in_again(connection, twin, self.clock())

        self.committer.record_synced(Entry(self.clock(), "pack_repaired", self.actor, body), work=work)
        trim_pack(self.stores, pack, accept_damaged=True)
        return sibling.key

    def _is_whole(self, hot: PackRow) -> bool:
        """Read a hot pack to its end. Raises OSError."""
        chunks = self.stores.disk.read(self.stores.path(PACK, hot.key), chunk_bytes=CHUNK_BYTES)
        return digest_of(chunks) == (hot.size_bytes, hot.sha256)

    def _write(self, twin: PackRow, new: PackRow) -> None:
        """Write the bytes of a cold pack to a hot one, durably; nothing has the name when they are not right."""
        disk, path = self.stores.disk, self.stores.path(PACK, new.key)
        disk.make_folder(path.parent)
        handle, digest = disk.create(path.parent), hashlib.sha256()
        try:
            target = WriteOnce(disk, handle)
            for chunk in self.stores.get_cold().read(twin.key):
                digest.update(chunk)
                target.write(chunk)
            if digest.digest() != new.sha256:
                raise _Left(f"its cold pack {twin.key} is not whole either: drimbox verify --tier cold")
            disk.sync_file(handle)
            disk.link(handle, path)
            disk.sync_folder(path.parent)
        finally:
            disk.close(handle)

    # ---- both ----------------------------------------------------------------------------------------------------

    def _twin(self, pack: PackRow, tier: str) -> PackRow:
        with self.committer.read() as connection:
            twin = cold_packs.find_twin(connection, pack, tier)
            originals = cold_trim.waiting_of(connection, pack.study_instance_uid)
        if twin is not None:
            return twin
        if tier == "hot" and any(each.series_instance_uid == pack.series_instance_uid for each in originals):
            raise _Left(f"its originals are there still: drimbox tier rollback {pack.study_instance_uid}")
        raise _Left("the archive has no other copy of it: bring the object back from a copy of the store")

    def _switch(self, old: PackRow, new: PackRow) -> None:
        """Have the index point to the new key; what the cold store has under the old one is discarded later."""
        body: Body = {"key": old.key, "new_key": new.key, "tier": old.tier, "sha256": old.sha256.hex()}
        was_held: list[bool] = []

        def work(connection: Connection) -> None:
            now = self.clock()
            if cold_packs.find(connection, old.key) is None:
                raise _Left("it was trimmed, rolled back or destroyed meanwhile")
            was_held.append(bool(cold_packs.held(connection, [old.key])))
            cold_packs.move(connection, old.key, new, now)
            if old.tier == "cold":
                cold.forget_upload(connection, new.key)
                cold.note_upload(connection, old, now)

        self.committer.record_synced(Entry(self.clock(), "pack_repaired", self.actor, body), work=work)
        if was_held[0]:
            self._hold(old.key, new.key)

    def _hold(self, old_key: str, new_key: str) -> None:
        """Have the store keep the new object and no more the old one; what fails is done by the mirror of the holds."""
        holds = self.stores.cold_holds
        if holds is None:
            return
        with suppress(StoreError):
            holds.set_hold(new_key)
            self.committer.record(work=lambda connection: cold_packs.set_held(connection, new_key, self.clock()))
            holds.release_hold(old_key)
