"""What proves, repairs, takes in and holds copies in both tiers, made from settings; must hold no rule of its own."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial

from archive.clock import monotonic, utc_now
from archive.config import Settings
from archive.errors import ConfigError
from archive.index.instances import iter_instances
from archive.index.records import LocatedCopy, StoredInstance
from archive.opening import Core, check_home, open_existing, stores_of
from archive.services.cold_adopt import ColdAdopt, Index
from archive.services.cold_fixity import ColdFixity
from archive.services.cold_holds import HoldMirror
from archive.services.cold_repair import Repair
from archive.services.fixity import PRESENT, Fixity
from archive.services.lock import share_home
from archive.services.reports import AddColdReport, Progress, VerifyReport, VerifyWanted
from archive.services.turns import Budget
from tiering.stores.base import ObjectStore
from tiering.stores.limiting import Bandwidth

_MIB = 1 << 20


def verify(settings: Settings, wanted: VerifyWanted, progress: Progress) -> VerifyReport:
    """Read copies again, compare them with the index, and repair what can be when somebody asks for it.

    Raises ConfigError for a tier that there is not.
    """
    check_home(settings)
    beside = share_home(settings.home) if wanted.repair_as is not None else nullcontext()
    with beside, open_existing(settings) as core:
        report = _verified(core, wanted, progress)
        if wanted.repair_as is None:
            return report
        done = Repair(core.committer, stores_of(core), utc_now, wanted.repair_as).run(
            () if report.cold is None else report.cold.damaged
        )
        return replace(report, repaired=done.repaired, not_repaired=done.left)


def add_cold(settings: Settings, progress: Progress) -> AddColdReport:
    """Index the packs of the cold store that the index does not know. Raises ConfigError without one, StoreError."""
    check_home(settings)
    with share_home(settings.home), open_existing(settings) as core:
        index = Index(core.committer.read, lambda work, entry: core.committer.record_synced(entry, work=work))
        readable = partial(_are_readable, core)
        return ColdAdopt(_cold_of(core), index, utc_now, readable).run(progress)


def mirror_of(core: Core) -> HoldMirror:
    """Return what has the cold store keep what our holds keep; it does nothing where the store cannot."""
    return HoldMirror(core.committer, None if core.cold is None else core.cold.holds, utc_now)


def _verified(core: Core, wanted: VerifyWanted, progress: Progress) -> VerifyReport:
    budget, hot, cold = _budget(wanted), VerifyReport(0, (), ()), None
    if wanted.tier != "cold":
        hot = Fixity(core.committer, core.disk, core.settings.hot_folder, utc_now, budget).verify(progress)
    if wanted.tier == "cold" or (wanted.tier == "all" and core.cold is not None):
        cold = ColdFixity(core.committer, _cold_of(core), utc_now, budget).verify(progress)
    return replace(hot, cold=cold)


def _budget(wanted: VerifyWanted) -> Budget:
    if not wanted.mib_per_second:
        return Budget(wanted.percent)
    return Budget(wanted.percent, Bandwidth(wanted.mib_per_second * _MIB, monotonic, time.sleep).take)


def _cold_of(core: Core) -> ObjectStore:
    if core.cold is None:
        raise ConfigError(name="cold.store", reason="there is no cold tier; set it to folder or s3")
    return core.cold.store


def _are_readable(core: Core, uids: Collection[str]) -> bool:
    """Tell whether each of these instances has a cold copy, which is proven later, or a hot one that reads right."""
    fixity = Fixity(core.committer, core.disk, core.settings.hot_folder, utc_now)
    with core.committer.read() as connection:
        found = list(iter_instances(connection, sops=sorted(uids)))
    return len(found) == len(uids) and all(_is_readable(fixity.check, each) for each in found)


def _is_readable(check: Callable[[LocatedCopy], str], instance: StoredInstance) -> bool:
    is_cold = any(copy.tier == "cold" for copy in instance.copies)
    return is_cold or any(check(copy) == PRESENT for copy in _hot_copies(instance))


def _hot_copies(instance: StoredInstance) -> Sequence[LocatedCopy]:
    return [
        LocatedCopy(0, instance.sop_instance_uid, instance.dataset_sha256, instance.dataset_size, None, copy)
        for copy in instance.copies
        if copy.tier == "hot"
    ]
