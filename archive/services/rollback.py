"""Gives a study from the packs again that lossy or cold ones stand in for, in the grace period; must not delete any."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from archive import logs
from archive.audit import Body, Entry
from archive.clock import Clock
from archive.errors import MigrationRefused
from archive.index import cold_trim, set_aside
from archive.index.cold import NotAsPlanned
from archive.index.packs import PackRow
from archive.index.session import Connection
from archive.services.arrival import CHUNK_BYTES
from archive.services.committer import Committer
from archive.services.remains import PACK, Stores
from tiering.errors import TieringError
from tiering.stores.base import digest_of

_log = logs.get(__name__)


@dataclass(frozen=True, slots=True)
class Rollback:
    """Rolls studies back, in somebody's name."""

    committer: Committer
    stores: Stores
    clock: Clock
    actor: str = "drimbox"

    def roll_back(self, study_uid: str) -> int:
        """Give a study from the packs again that wait to be trimmed, in one transaction; return how many that are.

        Hot ones, or cold ones that lossy copies replaced. Each of them is read to its end first. The study then waits
        for ``drimbox tier retry``: it would go cold, or be made lossy, again at once. Raises MigrationRefused when
        there is nothing to go back to, or it cannot be believed.
        """
        with self.committer.read() as connection:
            packs = cold_trim.waiting_of(connection, study_uid)
        for pack in packs:
            reason = self._fault(pack)
            if reason:
                raise MigrationRefused(study=study_uid, reason=f"the {pack.tier} pack {pack.key} {reason}")
        body: Body = {"study_instance_uid": study_uid, "packs": [pack.key for pack in packs]}
        entry = Entry(self.clock(), "rolled_back", self.actor, body)
        try:
            self.committer.record_synced(entry, work=partial(self._go_back, study_uid))
        except NotAsPlanned as exc:
            raise MigrationRefused(study=study_uid, reason=str(exc)) from exc
        _log.info("study_rolled_back", study_instance_uid=study_uid, packs=len(packs))
        return len(packs)

    def _go_back(self, study_uid: str, connection: Connection) -> None:
        now = self.clock()
        cold_trim.roll_back(connection, study_uid, now)
        set_aside.leave_alone(connection, study_uid, f"rolled back by {self.actor}", now)

    def _fault(self, pack: PackRow) -> str:
        try:
            found = digest_of(self._chunks(pack))
        except OSError as exc:
            return f"cannot be read: {exc.strerror}"
        except TieringError as exc:
            return f"cannot be read: {exc.message}"
        return "" if found == (pack.size_bytes, pack.sha256) else "is not what was packed"

    def _chunks(self, pack: PackRow) -> Iterator[bytes]:
        if pack.tier == "cold":
            return self.stores.get_cold().read(pack.key)
        return self.stores.disk.read(self.stores.path(PACK, pack.key), chunk_bytes=CHUNK_BYTES)
