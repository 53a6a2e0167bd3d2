"""Writes what associations did to the association log and the journal; must never make one fail."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from archive import logs
from archive.audit import Entry
from archive.clock import Clock
from archive.dimse.association import Association, Peer
from archive.errors import ArchiveError
from archive.index import associations
from archive.index.records import AssociationSummary
from archive.services.committer import Committer

_log = logs.get(__name__)


@dataclass(frozen=True, slots=True)
class AssociationRecorder:
    """Records through the committer, so that the journal's chain stays one."""

    committer: Committer
    clock: Clock

    def ended(self, association: Association, started_at: datetime, outcome: str) -> None:
        """Write one line of the association log."""
        peer, tally = association.peer, association.tally
        summary = AssociationSummary(
            calling_ae_title=peer.name,
            called_ae_title=peer.called_ae_title,
            peer_address=peer.address,
            started_at=started_at,
            ended_at=self.clock(),
            outcome=outcome,
            stored=tally.stored,
            retrieved=tally.retrieved,
            found=tally.found,
            refused=tally.refused,
            bytes_in=tally.bytes_in,
            bytes_out=tally.bytes_out,
        )
        try:
            self.committer.record(work=lambda connection: associations.add(connection, summary))
        except ArchiveError as exc:
            _log.warning("association_not_recorded", exc_info=exc)

    def refused(self, peer: Peer, reason: str) -> None:
        """Journal that a peer was not let in."""
        body = {"called_ae_title": peer.called_ae_title, "peer_address": peer.address, "reason": reason}
        entry = Entry(at=self.clock(), event="refused", actor=peer.calling_ae_title, body=body)
        try:
            self.committer.record(entry)
        except ArchiveError as exc:
            _log.warning("refusal_not_recorded", exc_info=exc)
