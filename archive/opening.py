"""Opens the index and the storage of a home, for serving and for every command; must hold no rule of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from archive import logs
from archive.clock import utc_now
from archive.config import Settings
from archive.errors import ConfigError, LedgerBroken
from archive.index.session import CACHED_BYTES, MAPPED_BYTES, Database
from archive.opening_cold import ColdStore, open_cold_store
from archive.services.committer import Committer
from archive.services.ingest import Ingest
from archive.services.ledger import Ledger, LedgerFiles
from archive.services.quarantine import Quarantine
from archive.services.remains import HOT, PACK, QUARANTINE, Stores
from archive.services.tracing import NO_TRACES, Traces
from tiering.disk import OsDisk
from tiering.landing import PACKS, LandingArea

_MIB = 1024 * 1024
_log = logs.get(__name__)


@dataclass(frozen=True, slots=True)
class Core:
    """What serving and the offline commands share: index, journal and the way in."""

    settings: Settings
    disk: OsDisk
    database: Database
    committer: Committer
    ingest: Ingest
    ledger: Ledger
    cold: ColdStore | None = None
    traces: Traces = NO_TRACES


@contextmanager
def open_core(
    settings: Settings,
    *,
    mapped_bytes: int = MAPPED_BYTES,
    cached_bytes: int = CACHED_BYTES,
    traces: Traces = NO_TRACES,
) -> Iterator[Core]:
    """Open the index and the storage of a home; seal and sync at the end."""
    disk = OsDisk(direct=settings.storage.direct_io)
    for folder in (settings.hot_folder, settings.quarantine_folder):
        disk.make_folder(folder)
    database = Database(settings.database_url, mapped_bytes=mapped_bytes, cached_bytes=cached_bytes)
    try:
        database.migrate()
        core = _core(settings, disk, database, traces)
        _catch_up(core.ledger)
        core.committer.start()
        core.ingest.start()
        try:
            yield core
            core.ingest.close()
        finally:
            core.committer.close()
    finally:
        database.close()


def _catch_up(ledger: Ledger) -> None:
    """Apply what the ledger has and the tables have not. A broken one stops decisions, not images."""
    try:
        ledger.catch_up()
    except LedgerBroken as exc:
        _log.error("ledger_broken", exc_info=exc)


def _core(settings: Settings, disk: OsDisk, database: Database, traces: Traces) -> Core:
    committer = Committer(database)
    # Who sends alone (an object may follow before the one ahead is durable) leaves time for a copy, and what came is
    # looked at next; several who send at once need every cycle.
    disk.is_read_soon = lambda: len(committer.arriving) in (1, 2)
    ingest = Ingest(
        database=database,
        committer=committer,
        landing=LandingArea(disk, settings.hot_folder),
        quarantine=Quarantine(disk, settings.quarantine_folder, committer, utc_now),
        clock=utc_now,
        min_free_bytes=settings.storage.min_free_mib * _MIB,
        traces=traces,
    )
    ledger = Ledger(LedgerFiles(disk, settings.ledger_folder), database, utc_now)
    return Core(settings, disk, database, committer, ingest, ledger, open_cold_store(settings.cold, disk), traces)


@contextmanager
def open_existing(settings: Settings) -> Iterator[Core]:
    """Open the archive of a home that is there: looking at one must not make one. Raises ConfigError."""
    check_home(settings)
    # A command that reads all of the index once gains nothing by keeping it, and would seem to need all that memory.
    with open_core(settings, mapped_bytes=0, cached_bytes=16 * _MIB) as core:
        yield core


def check_home(settings: Settings) -> None:
    """Raise ConfigError unless there is an archive to look at."""
    if not settings.home.is_dir():
        raise ConfigError(name="home", reason=f"there is no archive in {settings.home}; serve makes one")


def stores_of(core: Core) -> Stores:
    """Return where the copies of an archive lie."""
    hot, roots = core.settings.hot_folder, {QUARANTINE: core.settings.quarantine_folder}
    cold, holds = (None, None) if core.cold is None else (core.cold.store, core.cold.holds)
    return Stores(core.disk, {HOT: hot, PACK: hot / PACKS, **roots}, cold, holds, core.settings.cache_folder)
