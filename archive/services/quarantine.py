"""Keeps what was refused, byte for byte, for the operator to look at; must not decide what is refused.

Each object lies in ``quarantine/<day>/<id>.dcm`` with a ``.json`` beside it that says whence, when and why, so that
the folder explains itself without the index.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from archive.audit import Entry
from archive.clock import Clock
from archive.errors import ArchiveError, IndexUnavailable
from archive.index import quarantine as table
from archive.index.records import NewQuarantined, Quarantined
from archive.index.session import Database
from archive.part10.meta import Provenance
from archive.services.committer import Committer
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

        When the index is down the files alone remain; ``drimbox index rebuild`` lists them again.
        """
        now = self.clock()
        key = f"{now:%Y%m%d}/{now:%H%M%S}-{os.urandom(6).hex()}"
        path = path_of(self.root, key)
        self.disk.make_folder(path.parent)
        file.complete(header)
        self._write_note(path, provenance, error, now)
        file.link(path)
        self._record(key, file, provenance, error, now)
        return key

    def _write_note(self, path: Path, provenance: Provenance, error: Exception, now: datetime) -> None:
        note = json.dumps(
            {
                "reason": reason_of(error),
                "received_at": now.isoformat(),
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

    def _record(self, key: str, file: LandingFile, provenance: Provenance, error: Exception, now: datetime) -> None:
        digest = file.digest()
        row = NewQuarantined(
            key=key,
            reason=reason_of(error),
            sop_instance_uid=provenance.sop_instance_uid,
            calling_ae_title=provenance.calling_ae_title,
            peer_address=provenance.peer_address,
            size_bytes=file.size_bytes,
            sha256=digest,
            received_at=now,
        )
        entry = Entry(
            at=now,
            event="quarantined",
            actor=provenance.calling_ae_title,
            body={
                "sop_instance_uid": provenance.sop_instance_uid,
                "sha256": digest.hex(),
                "key": key,
                "reason": type(error).__name__,
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
