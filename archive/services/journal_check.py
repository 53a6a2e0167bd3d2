"""The check of the whole journal and the whole ledger, entry by entry, with its progress; must not mend a chain."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from archive import audit
from archive.index import journal
from archive.index.journal_search import last_sequence
from archive.index.records import JournalRow
from archive.services.ledger import Ledger
from archive.services.reports import AuditReport, Progress

_STEP: Final = 1000


@dataclass(frozen=True, slots=True)
class JournalCheck:
    """Checks both chains."""

    ledger: Ledger

    def run(self, progress: Progress) -> AuditReport:
        """Return what was checked; raise AuditBroken or LedgerBroken at a break."""
        with self.ledger.database.read() as connection:
            total = last_sequence(connection)
            entries, head = audit.verify(_counted(journal.iter_entries(connection), total, progress))
        events, last = self.ledger.files.verify()
        return AuditReport(entries=entries, head=head.hex(), ledger_events=events, ledger_head=last.hex())


def _counted(rows: Iterable[JournalRow], total: int, progress: Progress) -> Iterator[JournalRow]:
    for row in rows:
        yield row
        if row.sequence % _STEP == 0:
            progress(row.sequence, total)
