"""Keeps what was refused, byte for byte, for the operator to look at; must not decide what is refused.

Each object lies in ``quarantine/<day>/<id>.dcm`` with a ``.json`` beside it that says whence, when and why, so that
the folder explains itself without the index.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from archive.audit import Entry
from archive.clock import Clock
from archive.errors import ArchiveError, IndexUnavailable
from archive.index import quarantine as table
from archive.index.records import NewQuarantined, Quarantined
from archive.index.session import Database
from archive.part10.meta import Provenance
from archive.services.committer import Committer
from archive.uids import uid_or_nothing
from tiering.disk import Disk
from tiering.landing import LandingFile, path_of


@dataclass(slots=True)
class Quarantine:
    """The quarantine folder and its table."""

    disk: Disk
    root: Path
    committer: Committer
    clock: Clock

    def keep(self, file: LandingFile, header: bytes, provenance: Provenance, error: Exception) -> str:
        """Make a refused object durable under a fresh name and journal it; return its key.

        One that its sender tries again and again is kept once and journaled each time: it must not fill the disk.
        When the index is down the files alone remain; ``drimbox index rebuild`` lists them again.
        """
        now = self.clock()
        row = NewQuarantined(
            key=f"{now:%Y%m%d}/{now:%H%M%S}-{os.urandom(6).hex()}",
            reason=reason_of(error),
            sop_instance_uid=provenance.sop_instance_uid,
            calling_ae_title=provenance.calling_ae_title,
            peer_address=provenance.peer_address,
            size_bytes=file.size_bytes,
            sha256=file.digest(),
            received_at=now,
        )
        kept = self._find_copy(row)
        if kept is None:
            self._write(row, file, header, provenance)
        self._record(row if kept is None else replace(row, key=kept), type(error).__name__)
        return kept or row.key

    def _find_copy(self, row: NewQuarantined) -> str | None:
        """Return the key under which the same bytes are kept for the same reason, unless somebody took them away."""
        with suppress(IndexUnavailable), self.committer.database.glance() as connection:
            for key in table.find_copies(connection, row):
                with suppress(OSError, ValueError):
                    if self.disk.size_bytes(path_of(self.root, key)) >= row.size_bytes:
                        return key
        return None

    def _write(self, row: NewQuarantined, file: LandingFile, header: bytes, provenance: Provenance) -> None:
        path = path_of(self.root, row.key)
        self.disk.make_folder(path.parent)
        file.complete(header)
        self._write_note(path, provenance, row)
        file.link(path)

    def _write_note(self, path: Path, provenance: Provenance, row: NewQuarantined) -> None:
        note = json.dumps(
            {
                "reason": row.reason,
                "received_at": row.received_at.isoformat(),
                "calling_ae_title": provenance.calling_ae_title,
                "peer_address": provenance.peer_address,
                "announced_sop_class_uid": provenance.sop_class_uid,
                "announced_sop_instance_uid": provenance.sop_instance_uid,
                "transfer_syntax_uid": provenance.transfer_syntax_uid,
            },
            indent=1,
        )
        handle = self.disk.create(path.parent)
        try:
            self.disk.write(handle, note.encode(), 0)
            self.disk.sync_file(handle)
            self.disk.link(handle, path.with_suffix(".json"))
        finally:
            self.disk.close(handle)

    def _record(self, row: NewQuarantined, reason: str) -> None:
        entry = Entry(
            at=row.received_at,
            event="quarantined",
            actor=row.calling_ae_title,
            body={
                "sop_instance_uid": uid_or_nothing(row.sop_instance_uid),
                "sha256": row.sha256.hex(),
                "key": row.key,
                "reason": reason,
            },
        )
        try:
            self.committer.record(entry, work=lambda connection: table.add(connection, row))
        except IndexUnavailable:
            return


def reason_of(error: Exception) -> str:
    """Return the error's words; ours name no patient, others give their class only."""
    return error.message if isinstance(error, ArchiveError) else type(error).__name__


def iter_quarantine(database: Database) -> Iterator[Quarantined]:
    """Yield what is in quarantine and not yet resolved, oldest first."""
    with database.read() as connection:
        yield from table.iter_open(connection)


def quarantine_page(database: Database, offset: int, limit: int) -> list[Quarantined]:
    """Return some of what is in quarantine and not yet resolved, oldest first."""
    with database.read() as connection:
        return table.open_page(connection, limit, offset)
