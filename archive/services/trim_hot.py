"""Lets hot packs go that proven cold ones stand in for, and cold objects that stand in for nothing; by one gateway.

The lossless original of a lossy copy is never let go of while something keeps its study.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from archive import logs
from archive.audit import Body, Entry
from archive.clock import Clock
from archive.errors import ArchiveError
from archive.index import cold, cold_trim
from archive.index.cold import Upload
from archive.index.packs import PackRow
from archive.services.clock_trust import check_clock
from archive.services.committer import Committer
from archive.services.destroy import discard_cold, trim_hot_pack
from archive.services.keeping_hot import keeps_hot
from archive.services.remains import Stores
from archive.services.trim import TrimReport
from tiering.errors import TieringError
from tiering.stores.base import ObjectStore, digest_of

_log = logs.get(__name__)
_PAGE: Final = 64
DISCARD_AFTER: Final = timedelta(days=2)
"""How long a cold object that stands in for nothing is left alone: whoever prepared it may still want it."""


@dataclass(frozen=True, slots=True)
class HotTrimmer:
    """Trims the hot packs of one archive; ``grace`` is how long one stays beside its cold copies."""

    committer: Committer
    stores: Stores
    cold: ObjectStore
    clock: Clock
    grace: timedelta
    actor: str = "drimbox"

    def run(self, *, most: int | None = None, is_over: Callable[[], bool] = lambda: False) -> TrimReport:
        """Trim up to ``most`` hot packs whose grace period is over."""
        report, after, before = TrimReport(), "", self.clock() - self.grace
        while not is_over() and (page := self._page(before, after, report.trimmed, most)):
            after = page[-1].key
            for pack in page:
                if not is_over():
                    self._trim(pack, report)
        return report

    def plan(self) -> TrimReport:
        """Return which hot packs would be trimmed now, if their cold copies are whole."""
        report, after, before = TrimReport(), "", self.clock() - self.grace
        while page := self._page(before, after, 0, None):
            after = page[-1].key
            report.trimmed += len(page)
            report.freed_bytes += sum(pack.size_bytes for pack in page)
        return report

    def _page(self, before: datetime, after: str, done: int, most: int | None) -> Sequence[PackRow]:
        limit = _PAGE if most is None else min(_PAGE, most - done)
        with self.committer.read() as connection:
            return cold_trim.waiting(connection, before, after, limit) if limit > 0 else ()

    def _trim(self, pack: PackRow, report: TrimReport) -> None:
        reason = self._stays(pack)
        if not reason:
            try:
                trim_hot_pack(self.stores, pack)
            except (TieringError, OSError) as exc:
                reason = _words(exc)
        if reason:
            report.left.append((pack.key, reason))
            _log.error("hot_pack_not_trimmed", key=pack.key, reason=reason)
            return
        body: Body = {"key": pack.key, "size_bytes": pack.size_bytes, "study_instance_uid": pack.study_instance_uid}
        entry = Entry(self.clock(), "hot_pack_trimmed", self.actor, body)
        self.committer.record_synced(entry, work=lambda connection: cold_trim.forget_hot(connection, pack.key))
        report.trimmed += 1
        report.freed_bytes += pack.size_bytes

    def _stays(self, pack: PackRow) -> str:
        """Say why a hot pack stays, "" when what stands in for it was just read to its end."""
        with self.committer.read() as connection:
            check_clock(connection, self.clock())
            if cold_trim.is_lossless_original(connection, pack.key):
                kept = keeps_hot(connection, pack.study_instance_uid, self.clock())
                if kept:
                    return f"{kept}; drimbox tier rollback gives the study without loss again"
            found = cold_trim.stand_ins(connection, pack.key)
        if found.uncovered or not found.packs:
            return f"{found.uncovered} of its instances have no cold copy that can be read: drimbox verify"
        for each in found.packs:
            try:
                is_whole = digest_of(self.cold.read(each.key)) == (each.size_bytes, each.sha256)
            except TieringError as exc:
                return exc.message
            if not is_whole:
                return f"the cold pack {each.key} is not what was put there: drimbox verify"
        return ""


@dataclass(slots=True)
class DiscardReport:
    """What became of cold objects that stand in for nothing; ``left``: (key, why)."""

    discarded: int = 0
    freed_bytes: int = 0
    left: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class ColdCleaner:
    """Discards what tries and rollbacks left in the cold store."""

    committer: Committer
    stores: Stores
    clock: Clock
    after: timedelta = DISCARD_AFTER
    actor: str = "drimbox"

    def run(self) -> DiscardReport:
        """Discard every cold object that stands in for nothing since long enough."""
        report, key, before = DiscardReport(), "", self.clock() - self.after
        while page := self._page(before, key):
            key = page[-1].key
            for each in page:
                self._discard(each, before, report)
        return report

    def _page(self, before: datetime, after: str) -> Sequence[Upload]:
        with self.committer.read() as connection:
            return cold.uploads(connection, before, after, _PAGE)

    def _discard(self, upload: Upload, before: datetime, report: DiscardReport) -> None:
        condemned: list[bool] = []
        self.committer.record_synced(
            work=lambda connection: condemned.append(cold.condemn_upload(connection, upload.key, before))
        )
        if not condemned[0]:
            return
        try:
            discard_cold(self.stores, upload.key, upload.sha256, accept_damaged=True)
        except (ArchiveError, TieringError, OSError) as exc:
            report.left.append((upload.key, _words(exc)))
            _log.warning("cold_object_not_discarded", key=upload.key, reason=_words(exc))
            return
        body: Body = {"key": upload.key, "size_bytes": upload.size_bytes}
        entry = Entry(self.clock(), "cold_object_discarded", self.actor, body)
        self.committer.record_synced(entry, work=lambda connection: cold.forget_upload(connection, upload.key))
        report.discarded += 1
        report.freed_bytes += upload.size_bytes


def _words(error: Exception) -> str:
    if isinstance(error, ArchiveError | TieringError):
        return error.message
    return (error.strerror if isinstance(error, OSError) else None) or type(error).__name__
