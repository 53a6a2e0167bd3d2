"""Lets received files go that a pack stands in for; must not delete one itself, nor without reading the copy again.

After a grace period; each time the copy in the pack is read to its end and compared with the index, and the received
file is the one of its warrant. A crash in between leaves a row whose file is gone: the next run finds that.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from archive import logs
from archive.audit import Entry
from archive.clock import Clock
from archive.index import packs
from archive.index.instances import iter_instances
from archive.index.packs import TrimRow
from archive.index.records import StoredLocation
from archive.services.arrival import CHUNK_BYTES
from archive.services.committer import Committer
from archive.services.destroy import trim_received
from archive.services.remains import PACK, Stores
from tiering.errors import ObjectDiffers

_log = logs.get(__name__)
_PAGE: Final = 256


@dataclass(slots=True)
class TrimReport:
    """What trimming came to; ``left``: (key, why) of received files that stay."""

    trimmed: int = 0
    freed_bytes: int = 0
    left: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Trimmer:
    """Trims one archive; ``grace`` is how long a received file stays beside the pack."""

    committer: Committer
    stores: Stores
    clock: Clock
    grace: timedelta
    actor: str = "drimbox"

    def run(self, *, most: int | None = None) -> TrimReport:
        """Trim up to ``most`` received files whose grace period is over."""
        report, after, before = TrimReport(), "", self.clock() - self.grace
        while most is None or report.trimmed < most:
            limit = _PAGE if most is None else min(_PAGE, most - report.trimmed)
            with self.committer.read() as connection:
                page = packs.trims(connection, before, after, limit)
            if not page:
                break
            after = page[-1].key
            self._trim(page, report)
        return report

    def plan(self) -> TrimReport:
        """Return how many received files would be trimmed now, if their copies are whole."""
        report, after, before = TrimReport(), "", self.clock() - self.grace
        while True:
            with self.committer.read() as connection:
                page = packs.trims(connection, before, after, _PAGE)
            if not page:
                return report
            after = page[-1].key
            report.trimmed += len(page)
            report.freed_bytes += sum(row.size_bytes for row in page)

    def _trim(self, page: Sequence[TrimRow], report: TrimReport) -> None:
        gone = [row for row in page if self._let_go(row, report)]
        if gone:
            keys, size = {row.key for row in gone}, sum(row.size_bytes for row in gone)
            entry = Entry(self.clock(), "trimmed", self.actor, {"objects": len(gone), "size_bytes": size})
            self.committer.record_synced(entry, work=lambda connection: packs.forget_trims(connection, keys))
            report.trimmed += len(gone)
            report.freed_bytes += size

    def _let_go(self, row: TrimRow, report: TrimReport) -> bool:
        """Delete one received file; tell whether it is gone."""
        try:
            if self._stands_in(row):
                trim_received(self.stores, row)
                return True
            reason = "no proven copy in a pack stands in for it: drimbox verify"
        except ObjectDiffers as exc:
            reason = str(exc.fields["reason"])
        except OSError as exc:
            reason = exc.strerror or type(exc).__name__
        report.left.append((row.key, reason))
        _log.error("received_file_not_trimmed", key=row.key, reason=reason)
        return False

    def _stands_in(self, row: TrimRow) -> bool:
        """Tell whether a copy in a pack is there, byte for byte as the index has it. Raises OSError."""
        with self.committer.read() as connection:
            found = next(iter_instances(connection, sops=[row.sop_instance_uid]), None)
        if found is None or found.dataset_sha256 != row.dataset_sha256:
            return False
        copies = [each for each in found.copies if each.tier == "hot" and each.pack_key is not None]
        return any(self._is_whole(each, found.dataset_sha256) for each in copies)

    def _is_whole(self, copy: StoredLocation, received_sha256: bytes) -> bool:
        assert copy.pack_key is not None
        path = self.stores.path(PACK, copy.pack_key)
        chunks = self.stores.disk.read(path, chunk_bytes=CHUNK_BYTES, offset=copy.start, length=copy.size_bytes)
        first = next(chunks, b"")
        dataset, size = hashlib.sha256(first[copy.header_size :]), len(first)
        for chunk in chunks:
            dataset.update(chunk)
            size += len(chunk)
        header = hashlib.sha256(first[: copy.header_size]).digest()
        wanted = copy.dataset_sha256 or received_sha256
        return (header, dataset.digest(), size) == (copy.sha256, wanted, copy.size_bytes)
