"""What moves and reads studies between the tiers, made from settings; must hold no rule of its own."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from archive.clock import monotonic, utc_now
from archive.config import Settings
from archive.config_tiering import WEEKDAYS
from archive.errors import ConfigError
from archive.opening import Core, stores_of
from archive.services.assess import rules_of
from archive.services.cold_reading import ColdReading, ReadingPlan, cold_reading, make_recall
from archive.services.compression import compression
from archive.services.evidence import EvidenceRoom
from archive.services.migrate import Migrator
from archive.services.migration import Migration
from archive.services.migration_queue import MigrationQueue
from archive.services.prefetch import PrefetchPolicy
from archive.services.recall import Recall
from archive.services.rollback import Rollback
from archive.services.seal import Sealer
from archive.services.tier_plan import TierPlan
from archive.services.traced_steps import TracedSteps
from archive.services.trim import Trimmer
from archive.services.trim_hot import ColdCleaner, HotTrimmer
from archive.worker import Pace, Worker
from tiering.budget import DutyCycle, GiveWay, TimeWindow
from tiering.lossy_rules import LossyRules, SiteRules
from tiering.policy import Override, TierPolicy
from tiering.prices import FOLDER, STANDARD, load_prices
from tiering.stores.base import ObjectStore
from tiering.transcode import ffmpeg

if TYPE_CHECKING:
    from archive.services.lossy_copies import LossyCopier
    from archive.services.remake import Remaker
    from archive.services.tier_impact import TierImpact

_PROVEN_BY_FFMPEG = frozenset({"jpeg2000", "jpeg-ls"})
_MIB = 1 << 20
_GIB = 1 << 30
_PAGES = 20
"""A look for studies to re-make stops after so many: the worker has other things to see to meanwhile."""


def sealer_of(core: Core, *, actor: str = "drimbox") -> Sealer:
    """Return what packs the quiet studies of an archive, in somebody's name. Raises ConfigError."""
    sealing = core.settings.sealing
    _check_second_decoder("sealing.codec", sealing.codec)
    quiet = timedelta(minutes=sealing.quiet_minutes)
    return Sealer(core.committer, stores_of(core), utc_now, quiet, compression(sealing.codec), actor)


def _check_second_decoder(name: str, codec: str) -> None:
    """Raise ConfigError when the library is not there that proves what a codec of the settings makes."""
    if codec in _PROVEN_BY_FFMPEG and not ffmpeg.is_usable():
        reason = f"{codec} is proven by FFmpeg, which is missing: install drimbox-archive[codecs] ({ffmpeg.PACKAGE})"
        raise ConfigError(name=name, reason=reason)


def trimmer_of(core: Core, *, actor: str = "drimbox") -> Trimmer:
    """Return what lets received files go that a pack stands in for, in somebody's name."""
    grace = timedelta(hours=core.settings.sealing.grace_hours)
    return Trimmer(core.committer, stores_of(core), utc_now, grace, actor)


def cold_of(core: Core) -> ObjectStore:
    """Return the cold store of an archive. Raises ConfigError when it has none."""
    if core.cold is None:
        raise ConfigError(name="cold.store", reason="there is no cold tier; set it to folder or s3")
    return core.cold.store


@contextmanager
def cold_reading_of(core: Core) -> Iterator[ColdReading | None]:
    """Lend what reads the cold store of an archive that serves, None when there is none; it is to be started."""
    if core.cold is None:
        yield None
        return
    reading = cold_reading(core.cold.store, core.committer, utc_now, _reading_plan(core.settings))
    try:
        yield reading
    finally:
        reading.stop()


def recall_of(core: Core) -> Recall:
    """Return what asks for thaws, beside a running archive too. Raises ConfigError."""
    return make_recall(cold_of(core), core.committer, utc_now, _reading_plan(core.settings))


def _reading_plan(settings: Settings) -> ReadingPlan:
    recall = settings.recall
    return ReadingPlan(
        folder=settings.cache_folder,
        cache_bytes=int(recall.cache_gib * _GIB),
        # The cache gives way before the archive refuses objects for want of room.
        min_free_bytes=2 * settings.storage.min_free_mib * _MIB,
        threads=recall.threads,
        wait=timedelta(seconds=recall.wait_seconds),
        thaw_days=recall.thaw_days,
        storage_class=settings.cold.storage_class,
        prefetch=PrefetchPolicy(recall.prefetch_priors, recall.prefetch_same_modality),
    )


def migrator_of(core: Core, *, actor: str = "drimbox", pause: Callable[[], None] | None = None) -> Migrator:
    """Return what moves the studies of an archive to the cold tier, in somebody's name. Raises ConfigError."""
    return Migrator(
        *(core.committer, stores_of(core), cold_of(core), utc_now, core.settings.scratch_folder),
        lossy_of(core, pause),
        actor=actor,
        held=core.settings.migration.held,
    )


def hot_trimmer_of(core: Core, *, actor: str = "drimbox") -> HotTrimmer:
    """Return what lets hot packs go that cold ones stand in for. Raises ConfigError."""
    grace = timedelta(days=core.settings.migration.grace_days)
    return HotTrimmer(core.committer, stores_of(core), cold_of(core), utc_now, grace, actor)


def rollback_of(core: Core, *, actor: str) -> Rollback:
    """Return what gives migrated studies from their hot packs again, in somebody's name."""
    return Rollback(core.committer, stores_of(core), utc_now, actor)


def evidence_of(core: Core) -> EvidenceRoom:
    """Return where evidence is looked up."""
    return EvidenceRoom(core.committer, None if core.cold is None else core.cold.store)


def migration_of(core: Core, *, actor: str = "drimbox", pause: Callable[[], None] | None = None) -> Migration:
    """Return all that moves studies between the tiers of an archive; ``pause`` comes before each frame.

    Raises ConfigError.
    """
    end_uploads = None if core.cold is None else core.cold.end_uploads
    cleaner = ColdCleaner(core.committer, stores_of(core), utc_now, actor=actor, end_uploads=end_uploads)
    queue = MigrationQueue(tier_plan_of(core), monotonic)
    migration = Migration(
        migrator_of(core, actor=actor, pause=pause),
        hot_trimmer_of(core, actor=actor),
        cleaner,
        lambda limit: queue.due(utc_now().date(), limit),
    )
    if not (core.settings.migration.remake and core.settings.lossy.enabled):
        return migration
    remaker = remaker_of(core, actor=actor, pause=pause)
    remade = MigrationQueue(remaker, monotonic, pages=_PAGES)
    return replace(migration, remaker=remaker, next_remade=lambda limit: remade.due(utc_now().date(), limit))


def remaker_of(core: Core, *, actor: str = "drimbox", pause: Callable[[], None] | None = None) -> Remaker:
    """Return what makes lossy what went cold without loss, in somebody's name. Raises ConfigError."""
    from archive.services.remake import Remaker  # noqa: PLC0415  its libraries are slow to load

    copier = lossy_of(core, pause)
    if copier is None:
        raise ConfigError(name="lossy.enabled", reason="lossy copies are off")
    return Remaker(
        migrator_of(core, actor=actor),
        tier_impact_of(core),
        lambda stores, referring: replace(copier, stores=stores, referring=referring),
        2 * core.settings.storage.min_free_mib * _MIB,
    )


def lossy_of(core: Core, pause: Callable[[], None] | None = None) -> LossyCopier | None:
    """Return what makes lossy copies; None when they are off. Raises ConfigError."""
    policy = tier_policy_of(core)
    if policy.lossy is None:
        return None
    from archive.services.lossy_copies import LossyCopier  # noqa: PLC0415  its libraries are slow to load

    lossy = core.settings.lossy
    _check_second_decoder("lossy.codec", lossy.codec)
    copier = LossyCopier(
        core.committer,
        stores_of(core),
        utc_now,
        policy.rules_at,
        keeps_uids=lossy.keep_uids,
        codec=lossy.codec,
        threads=lossy.threads,
    )
    return copier if pause is None else replace(copier, pause=pause)


def background_migration_of(core: Core, over: threading.Event) -> Migration:
    """Return what moves studies beside a serving archive: a share of the time, and after images that come in."""
    ingest_first = GiveWay(lambda: core.committer.is_receiving, over.wait)
    share = DutyCycle(core.settings.migration.cpu_share, over.wait)
    return replace(migration_of(core, pause=ingest_first.wait), rest=share.rest)


def worker_of(core: Core, over: threading.Event) -> Worker | None:
    """Return what migrates by itself, None when nothing is to; ``over`` is set when it is to end."""
    settings = core.settings.migration
    if not settings.enabled or core.cold is None:
        return None
    window = migration_window_of(core)
    steps = background_migration_of(core, over)
    return Worker(
        TracedSteps(steps, core.traces),
        Pace(concurrency=settings.concurrency, attempts=settings.attempts),
        system_database_url=core.settings.workflows_url,
        executor_id=f"{socket.gethostname()}:{core.settings.home}",
        is_open=lambda: window is None or window.is_open(utc_now()),
    )


def tier_plan_of(core: Core) -> TierPlan:
    """Return what plans the migration of an archive."""
    settings, cold = core.settings, core.settings.cold
    cold_class = FOLDER if cold.store == "folder" else cold.storage_class or STANDARD
    bases = {site: rules.basis for site, rules in rules_of(settings.sites).items()}
    prices = load_prices().with_own(settings.migration.prices)
    return TierPlan(core.committer, tier_policy_of(core), bases, prices, cold_class)


def tier_impact_of(core: Core) -> TierImpact:
    """Return what compares what is cold with the rules of today."""
    from archive.services.tier_impact import TierImpact  # noqa: PLC0415  its libraries are slow to load
    from tiering.lossy_tables import load_gates  # noqa: PLC0415

    prices = load_prices().with_own(core.settings.migration.prices)
    return TierImpact(core.committer, tier_policy_of(core), load_gates(), prices)


def tier_policy_of(core: Core) -> TierPolicy:
    """Return when studies go cold, and how, by the settings."""
    settings = core.settings.migration
    return TierPolicy(
        extra_days=settings.extra_days,
        never_modalities=frozenset(settings.never_modalities),
        min_study_bytes=int(settings.min_study_mib * _MIB),
        attempts=settings.attempts,
        held=settings.held,
        overrides=[
            Override(rule.site, frozenset(rule.modalities), rule.extra_days, rule.never, rule.lossless)
            for rule in settings.rules
        ],
        lossy=lossy_rules_of(core),
    )


def migration_window_of(core: Core) -> TimeWindow | None:
    """Return when migration may begin something, None for any time."""
    settings = core.settings.migration
    days = frozenset(WEEKDAYS.index(day) for day in settings.weekdays)
    return TimeWindow.parse(settings.window, settings.time_zone, days)


def lossy_rules_of(core: Core) -> LossyRules | None:
    """Return the rules of lossy compression and what the site adds; None when lossy copies are off."""
    lossy = core.settings.lossy
    if not lossy.enabled:
        return None
    site = SiteRules(
        never_modalities=frozenset(lossy.never_modalities),
        never_body_parts=frozenset(part.upper() for part in lossy.never_body_parts),
        never_image_types=frozenset(word.upper() for word in lossy.never_image_types),
        caps=dict(lossy.caps),
    )
    from tiering.lossy_tables import load_rules  # noqa: PLC0415  its libraries are slow to load

    return load_rules(lossy.table, site)
