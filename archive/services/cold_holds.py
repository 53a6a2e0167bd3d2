"""Has the cold store keep what our holds keep, and let go of it again; must not decide what is on hold.

The holds of the ledger are what counts: every deletion asks them. What the store keeps beside is for whoever has the
keys to the store and does not come through here.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from archive import logs
from archive.audit import Entry
from archive.clock import Clock
from archive.index import cold_packs
from archive.index.cold_packs import HoldRow
from archive.index.holds import blocking_holds
from archive.index.session import Connection
from archive.services.committer import Committer
from tiering.errors import StoreError, StoreRefused, StoreUnavailable
from tiering.stores.base import ObjectHolds

_log = logs.get(__name__)
_PAGE: Final = 500


@dataclass(slots=True)
class MirrorReport:
    """How many packs the store keeps now, or does not any more; ``left``: (key, why) of those that it was not told."""

    held: int = 0
    released: int = 0
    left: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class HoldMirror:
    """Mirrors the holds of one archive; ``holds`` is None for a store that cannot keep anything: nothing to do."""

    committer: Committer
    holds: ObjectHolds | None
    clock: Clock

    def run(self, studies: Collection[str] | None = None) -> MirrorReport:
        """Tell the store what changed, of these studies or of all; what it was not told is tried again the next time.

        Harmless to repeat. Raises IndexUnavailable, nothing else.
        """
        report = MirrorReport()
        for page in self._pages(studies) if self.holds is not None else ():
            with self.committer.read() as connection:
                blocked = blocking_holds(connection, {row.study_instance_uid for row in page})
            wrong = [row for row in page if row.is_held is not (row.study_instance_uid in blocked)]
            told, is_over = self._tell(wrong, report)
            self._write(told, report)
            if is_over:
                break
        return report

    def _pages(self, studies: Collection[str] | None) -> Iterator[Sequence[HoldRow]]:
        if studies is not None:
            with self.committer.read() as connection:
                yield cold_packs.hold_rows_of(connection, studies)
            return
        after = 0
        while True:
            with self.committer.read() as connection:
                page = cold_packs.hold_page(connection, after, _PAGE)
            if not page:
                return
            after = page[-1].row_id
            yield page

    def _tell(self, rows: Sequence[HoldRow], report: MirrorReport) -> tuple[list[HoldRow], bool]:
        """Turn each of these; return those that the store took, and whether it stopped answering."""
        assert self.holds is not None
        told: list[HoldRow] = []
        for row in rows:
            try:
                (self.holds.release_hold if row.is_held else self.holds.set_hold)(row.key)
            except StoreError as exc:
                report.left.append((row.key, exc.message))
                _log.warning("cold_hold_not_mirrored", key=row.key, reason=exc.message)
                if isinstance(exc, StoreUnavailable | StoreRefused):
                    return told, True
            else:
                told.append(row)
        return told, False

    def _write(self, told: Sequence[HoldRow], report: MirrorReport) -> None:
        if not told:
            return
        now, released = self.clock(), sum(row.is_held for row in told)

        def work(connection: Connection) -> None:
            for row in told:
                cold_packs.set_held(connection, row.key, None if row.is_held else now)

        body = {"held": len(told) - released, "released": released}
        self.committer.record_synced(Entry(now, "cold_holds_mirrored", "drimbox", body), work=work)
        report.released += released
        report.held += len(told) - released
