"""Lets packs go that proven cold ones stand in for, and cold objects that stand in for nothing; by one gateway.

The lossless original of a lossy copy, hot or cold, is never let go of while something keeps its study.
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
from archive.index.session import Connection
from archive.services.clock_trust import check_clock
from archive.services.committer import Committer
from archive.services.destroy import discard_cold, trim_pack
from archive.services.keeping_hot import keeps_hot
from archive.services.remains import Stores
from archive.services.trim import TrimReport
from tiering.errors import TieringError
from tiering.stores.base import ObjectStore, digest_of

_log = logs.get(__name__)
_PAGE: Final = 64
DISCARD_AFTER: Final = timedelta(days=2)
"""How long a cold object that stands in for nothing is left alone: whoever prepared it may still want it."""
END_UPLOADS_AFTER: Final = timedelta(days=7)
"""How long an upload in parts may take: the parts of one that nobody ends take room which no listing shows."""


@dataclass(frozen=True, slots=True)
class HotTrimmer:
    """Trims the packs of one archive; ``grace`` is how long one stays beside the cold copies that stand in for it."""

    committer: Committer
    stores: Stores
    cold: ObjectStore
    clock: Clock
    grace: timedelta
    actor: str = "drimbox"

    def run(self, *, most: int | None = None, is_over: Callable[[], bool] = lambda: False) -> TrimReport:
        """Trim up to ``most`` packs whose grace period is over."""
        report, after, before = TrimReport(), "", self.clock() - self.grace
        while not is_over() and (page := self._page(before, after, report.trimmed, most)):
            after = page[-1].key
            for pack in page:
                if not is_over():
                    self._trim(pack, report)
        return report

    def plan(self) -> TrimReport:
        """Return which packs would be trimmed now, if their cold copies are whole."""
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
        reason = self._stays(pack) or self._condemn(pack)
        if reason:
            self._spare(pack)
        else:
            reason = self._delete(pack)
        if reason:
            report.left.append((pack.key, reason))
            told = {"key": pack.key, "reason": reason}
            if pack.tier == "cold":
                _log.error("cold_pack_not_trimmed", **told)
            else:
                _log.error("hot_pack_not_trimmed", **told)
            return
        body: Body = {"key": pack.key, "size_bytes": pack.size_bytes, "study_instance_uid": pack.study_instance_uid}
        entry = Entry(self.clock(), f"{pack.tier}_pack_trimmed", self.actor, body)
        self.committer.record_synced(entry, work=lambda connection: cold_trim.forget(connection, pack.key))
        report.trimmed += 1
        report.freed_bytes += pack.size_bytes

    def _condemn(self, pack: PackRow) -> str:
        """Take the way back to a pack away before it is deleted; say why it stays when something came in between."""
        kept: list[str] = []

        def work(connection: Connection) -> None:
            kept.append(self._kept(connection, pack))
            if not kept[-1] and not cold_trim.condemn(connection, pack.key):
                kept[-1] = "it does not wait any more"

        self.committer.record_synced(work=work)
        return kept[-1]

    def _spare(self, pack: PackRow) -> None:
        """Have a pack wait anew whose deletion a crash, or a store that was away, left undone."""
        with self.committer.read() as connection:
            is_condemned = cold_trim.is_condemned(connection, pack.key)
        if is_condemned:
            self.committer.record_synced(work=lambda connection: cold_trim.spare(connection, pack.key, self.clock()))

    def _delete(self, pack: PackRow) -> str:
        try:
            trim_pack(self.stores, pack)
        except (TieringError, OSError) as exc:
            return _words(exc)
        return ""

    def _kept(self, connection: Connection, pack: PackRow) -> str:
        """Say what keeps the lossless original of a lossy copy."""
        check_clock(connection, self.clock())
        if not cold_trim.is_lossless_original(connection, pack.key):
            return ""
        kept = keeps_hot(connection, pack.study_instance_uid, self.clock())
        return f"{kept}; drimbox tier rollback gives the study without loss again" if kept else ""

    def _stays(self, pack: PackRow) -> str:
        """Say why a pack stays, "" when what stands in for it was just read to its end."""
        with self.committer.read() as connection:
            kept = self._kept(connection, pack)
            if kept:
                return kept
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
    """What became of cold objects that stand in for nothing; ``left``: (key, why), "" for uploads.

    ``uploads_ended``: so many uploads were begun long ago and never ended, until now.
    """

    discarded: int = 0
    freed_bytes: int = 0
    uploads_ended: int = 0
    left: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class ColdCleaner:
    """Discards what tries and rollbacks left in the cold store.

    ``end_uploads`` ends uploads in parts that were begun before a moment and returns how many; None where there are
    none. Raises StoreError.
    """

    committer: Committer
    stores: Stores
    clock: Clock
    after: timedelta = DISCARD_AFTER
    actor: str = "drimbox"
    end_uploads: Callable[[datetime], int] | None = None

    def run(self) -> DiscardReport:
        """Discard every cold object that stands in for nothing since long enough, and end old uploads."""
        report, key, before = DiscardReport(), "", self.clock() - self.after
        while page := self._page(before, key):
            key = page[-1].key
            for each in page:
                self._discard(each, before, report)
        self._end_uploads(report)
        return report

    def _end_uploads(self, report: DiscardReport) -> None:
        if self.end_uploads is None:
            return
        try:
            report.uploads_ended = self.end_uploads(self.clock() - END_UPLOADS_AFTER)
        except TieringError as exc:
            report.left.append(("", _words(exc)))
            _log.warning("cold_uploads_not_ended", reason=_words(exc))
            return
        if report.uploads_ended:
            _log.warning("cold_uploads_ended", uploads=report.uploads_ended)

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
