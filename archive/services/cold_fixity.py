"""Reads cold packs again, each to its end, and proves every copy in them; must not put, repair or delete an object.

A pack is proven by the digest that it was put with, each copy in it by the digests of the index. It is read through
the wrappers that a retrieve uses: what is proven is what somebody would get.
"""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import islice
from typing import Final

from archive import logs
from archive.audit import Body, Entry
from archive.clock import Clock
from archive.index import cold_packs, marks, scrub
from archive.index.instances import set_location_state
from archive.index.scrub import ColdPack, PackCopy, Turn
from archive.index.session import Connection
from archive.services.committer import Committer
from archive.services.fixity import DAMAGED, MISSING, PRESENT
from archive.services.reports import ColdVerifyReport, Progress
from archive.services.turns import Budget, iter_turns
from tiering.errors import (
    ChecksumMismatch,
    EncryptionKeyMissing,
    NotThawed,
    ObjectNotFound,
    StoreError,
    StoreRefused,
    StoreUnavailable,
)
from tiering.stores.base import ObjectStore

_log = logs.get(__name__)
_WORKERS: Final = 2
_PAGE: Final = 16
_LISTED: Final = 500
MOST_TOLD: Final = 1000
"""Orphans that one report names: beyond that something else is wrong."""
UPLOAD_AFTER: Final = timedelta(days=7)
"""How long a pack that was put may stand in for nothing before it is told; what discards it waits two days."""


@dataclass(frozen=True, slots=True)
class Checked:
    """What reading a pack came to: the state of each copy by its key, and whether all of the pack is as it was put."""

    states: Mapping[str, str]
    is_whole: bool
    size_bytes: int


@dataclass(slots=True)
class _Found:
    """What was found so far; see ``ColdVerifyReport``."""

    checked: int = 0
    read_bytes: int = 0
    damaged: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    not_read: list[tuple[str, str]] = field(default_factory=list)
    orphans: list[str] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)


class _Stopped(Exception):
    """The store as a whole cannot be read now."""


@dataclass(frozen=True, slots=True)
class ColdFixity:
    """Verifies the cold packs of one archive within a budget."""

    committer: Committer
    store: ObjectStore
    clock: Clock
    budget: Budget = field(default_factory=Budget)

    def verify(self, progress: Progress) -> ColdVerifyReport:
        """Read the packs whose turn it is; mark copies that are missing or damaged, unmark those that are good again.

        A store that does not answer ends it: what was not read is told and keeps its state. Raises IndexUnavailable.
        """
        report, now = _Found(), self.clock()
        with self.committer.read() as connection:
            quota = self.budget.quota(scrub.count_cold(connection))
        turns = iter_turns(self.committer.read, scrub.cold_turns, now, quota)
        try:
            with ThreadPoolExecutor(_WORKERS) as pool:
                while page := list(islice(turns, _PAGE)):
                    packs = self._packs(page)
                    for pack, checked in zip(packs, pool.map(self._checked, packs), strict=True):
                        self._settle(pack, checked, report)
                    progress(report.checked, quota)
            self._find_strays(report)
        except _Stopped:
            _log.error("cold_verify_stopped", checked=report.checked)
        self._journal(report)
        return ColdVerifyReport(
            *(report.checked, report.read_bytes, report.damaged, report.missing),
            *(report.not_read, report.orphans, report.unused),
        )

    def check(self, pack: ColdPack) -> Checked:
        """Read a pack to its end. Raises StoreError for one that cannot be read now."""
        proof, digest, size = Proof(pack.copies), hashlib.sha256(), 0
        try:
            for chunk in self.store.read(pack.row.key):
                self.budget.pace(len(chunk))
                digest.update(chunk)
                proof.feed(chunk)
                size += len(chunk)
        except ObjectNotFound:
            return Checked({copy.key: MISSING for copy in pack.copies}, is_whole=False, size_bytes=0)
        except StoreError as exc:
            if not _is_damage(exc):
                raise
        is_whole = (size, digest.digest()) == (pack.row.size_bytes, pack.row.sha256)
        return Checked(proof.states(), is_whole, size)

    def _checked(self, pack: ColdPack) -> Checked | StoreError:
        """Check a pack; one that is not whole is read a second time, since the way may have been to blame."""
        try:
            found = self.check(pack)
            return found if found.is_whole else self.check(pack)
        except StoreError as exc:
            return exc

    def _packs(self, turns: Sequence[Turn]) -> list[ColdPack]:
        """Return the packs whose turn it is, each with those it took the place of that still wait to be trimmed."""
        with self.committer.read() as connection:
            wanted = [row for turn in turns for row in (turn.row_id, *scrub.behind(connection, turn.row_id))]
            found = [scrub.find_cold_pack(connection, row_id) for row_id in wanted]
        return [pack for pack in found if pack is not None]

    # ---- what is found -------------------------------------------------------------------------------------------

    def _settle(self, pack: ColdPack, checked: Checked | StoreError, report: _Found) -> None:
        """Write what was found of a pack, unless it went or was moved while it was read."""
        key = pack.row.key
        if isinstance(checked, StoreError):
            report.not_read.append((key, _advice(checked)))
            if isinstance(checked, StoreUnavailable | StoreRefused):
                raise _Stopped
            return
        with self.committer.read() as connection:
            if cold_packs.find(connection, key) is None:
                return
        report.checked += 1
        report.read_bytes += checked.size_bytes
        found = set(checked.states.values())
        if MISSING in found:
            report.missing.append(key)
        elif not checked.is_whole or DAMAGED in found:
            report.damaged.append(key)
        self._mark(pack, checked)

    def _mark(self, pack: ColdPack, checked: Checked) -> None:
        now, entries = self.clock(), []
        changed = {copy.key: checked.states[copy.key] for copy in pack.copies if copy.state != checked.states[copy.key]}
        for state in sorted(set(changed.values())):
            event = "recovered" if state == PRESENT else state
            count = sum(each == state for each in changed.values())
            entries.append(Entry(now, event, "drimbox", {"key": pack.row.key, "tier": "cold", "copies": count}))
            _log.error("stored_copy_changed", key=pack.row.key, now=state, copies=count)

        def work(connection: Connection) -> None:
            for key, state in checked.states.items():
                set_location_state(connection, key, state, verified_at=now)

        self.committer.record(*entries, work=work)

    def _find_strays(self, report: _Found) -> None:
        """Look for objects that no row knows, and for those that were put and stand in for nothing since days.

        A key is noted before anything is put under it, so an object without a row was never about to be one's.
        """
        try:
            report.orphans += islice(self._orphans(), MOST_TOLD)
        except StoreError as exc:
            report.not_read.append(("", f"the list of its objects: {exc.message}"))
        with self.committer.read() as connection:
            report.unused += cold_packs.stale_uploads(connection, self.clock() - UPLOAD_AFTER, "", MOST_TOLD)

    def _orphans(self) -> Iterator[str]:
        keys = iter(self.store.iter_keys())
        while page := list(islice(keys, _LISTED)):
            with self.committer.read() as connection:
                found = cold_packs.unknown(connection, page)
            yield from (key for key in found if self.store.find(key) is not None)

    def _journal(self, report: _Found) -> None:
        body: Body = {
            "tier": "cold",
            **{name: len(getattr(report, name)) for name in ("damaged", "missing", "not_read", "orphans", "unused")},
            "checked": report.checked,
        }
        now = self.clock()
        self.committer.record_synced(
            Entry(now, "verified", "drimbox", body),
            work=lambda connection: marks.put(connection, marks.VERIFIED_COLD, now),
        )


class Proof:
    """The digests of the copies in a pack, taken while it goes by once, from front to end; see ``PackCopy``."""

    def __init__(self, copies: Sequence[PackCopy]) -> None:
        self._copies = copies
        self._parts = [part for copy in copies for part in _parts(copy)]
        self._next = 0
        self._position = 0
        self._digest = hashlib.sha256()
        self._wrong: set[str] = set()

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes of the pack."""
        start, view = self._position, memoryview(chunk)
        self._position += len(chunk)
        while self._next < len(self._parts):
            key, begin, end, sha256 = self._parts[self._next]
            if begin >= self._position:
                return
            self._digest.update(view[max(begin - start, 0) : end - start])
            if end > self._position:
                return
            if self._digest.digest() != sha256:
                self._wrong.add(key)
            self._digest = hashlib.sha256()
            self._next += 1

    def states(self) -> dict[str, str]:
        """Return the state of each copy; what did not come any more is damaged."""
        self._wrong |= {key for key, *_ in self._parts[self._next :]}
        return {copy.key: DAMAGED if copy.key in self._wrong else PRESENT for copy in self._copies}


def _parts(copy: PackCopy) -> Iterator[tuple[str, int, int, bytes]]:
    """Yield (key, begin, end, digest) of a copy's header and of its data set."""
    dataset = copy.offset_bytes + copy.header_size
    yield copy.key, copy.offset_bytes, dataset, copy.sha256
    yield copy.key, dataset, copy.offset_bytes + copy.size_bytes, copy.dataset_sha256


def _is_damage(error: StoreError) -> bool:
    """Tell whether the object itself cannot be read, not the store: it ends early, was tampered with, is unreadable."""
    cause = error.__cause__
    return isinstance(error, ChecksumMismatch) or (isinstance(cause, OSError) and cause.errno == errno.EIO)


def _advice(error: StoreError) -> str:
    if isinstance(error, NotThawed):
        return "it is frozen: drimbox tier recall its study, then verify again"
    if isinstance(error, EncryptionKeyMissing):
        return f"{error.message} Put the key back into cold.key_ring"
    return f"{error.message}; verify again when it answers"
