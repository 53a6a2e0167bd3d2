"""Studies whose migration failed: which, why, and another try for one of them; must not migrate anything."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from archive.audit import Body, Entry
from archive.clock import Clock
from archive.errors import MigrationRefused
from archive.index import set_aside as table
from archive.index.session import Connection
from archive.index.set_aside import SetAside
from archive.services.committer import Committer


class _NotThere(Exception):
    """The study was not set aside."""


@dataclass(frozen=True, slots=True)
class FailedStudies:
    """The studies of an archive that failed to migrate, in somebody's hands."""

    committer: Committer
    clock: Clock
    actor: str = "drimbox"

    def all(self) -> Sequence[SetAside]:
        """Return them, the one that failed longest ago first; those of few attempts are tried again by themselves."""
        with self.committer.read() as connection:
            return table.all_of(connection)

    def retry(self, study_uid: str) -> None:
        """Let a study be migrated again, its failures forgotten. Raises MigrationRefused when it has none."""
        body: Body = {"study_instance_uid": study_uid}
        entry = Entry(self.clock(), "migration_retried", self.actor, body)
        try:
            self.committer.record_synced(entry, work=partial(_clear, study_uid))
        except _NotThere:
            reason = "it is not set aside; drimbox tier jobs prints what is"
            raise MigrationRefused(study=study_uid, reason=reason) from None


def _clear(study_uid: str, connection: Connection) -> None:
    if not table.clear(connection, study_uid):
        raise _NotThere
