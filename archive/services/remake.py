"""Makes lossy packs of what went cold without loss, where the rules of today allow it; must not delete a lossless one.

The way is that of a migration, and so are its parts: a pack is fetched and proven, compressed by the same code with the
same gates, put under a new key, read back; one transaction a study lets the lossy packs stand in. The lossless ones
wait for the end of the grace period then, and may be gone back to. ``prepare`` may be interrupted anywhere.
"""

from __future__ import annotations

import errno
import hashlib
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import date, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final

from archive import logs
from archive.audit import Body, Entry
from archive.errors import ClockNotTrusted, MigrationRefused
from archive.index import assessments, cold, lossless_cold, scrub, set_aside
from archive.index.cold import LossyMember, NotAsPlanned
from archive.index.packs import PackRow
from archive.index.scrub import ColdPack
from archive.index.session import Connection
from archive.services.cold_fixity import Proof
from archive.services.fixity import PRESENT
from archive.services.keeping_hot import keeps_hot
from archive.services.lossy_members import header_digests, lossy_members_of
from archive.services.migrate import Copied, LossyCopies, LossyPack, Migrator, check_not_rolled_back, planned
from archive.services.remains import PACK, Stores
from archive.services.tier_impact import Candidate, TierImpact
from tiering.errors import TieringError
from tiering.policy import SeriesHolding, StudyHolding
from tiering.references import may_name_images
from tiering.stores.base import Availability

_log = logs.get(__name__)
_PAGE: Final = 200
_AT_ONCE: Final = 8
_READABLE: Final = (Availability.ONLINE, Availability.WARM)
REMADE: Final = "remade"

MakesLossy = Callable[[Stores, Sequence[PackRow]], LossyCopies]
"""Returns what makes lossy packs of packs in a folder, given those in which something may name their images."""


@dataclass(slots=True)
class RemakeReport:
    """What re-making would come to, by forecast; ``left``: (Study Instance UID, why) of those that could and stay."""

    studies: int = 0
    packs: int = 0
    size_bytes: int = 0
    gain_bytes: int = 0
    left: list[tuple[str, str]] = field(default_factory=list)

    def add(self, candidates: Sequence[Candidate]) -> None:
        """Count a study."""
        self.studies += 1
        self.packs += len(candidates)
        self.size_bytes += sum(each.size_bytes for each in candidates)
        self.gain_bytes += sum(each.gain_bytes for each in candidates)


@dataclass(frozen=True, slots=True)
class _Plan:
    """A lossy pack about to take the place of the lossless ``copied.hot_key``."""

    copied: Copied
    row: PackRow
    members: Sequence[LossyMember]


@dataclass(frozen=True, slots=True)
class Remaker:
    """Re-makes the studies of one archive, in the name and with the stores of ``migrator``.

    Safe beside a running archive and beside another of its kind. ``min_free_bytes`` of the local disk are left alone.
    """

    migrator: Migrator
    impact: TierImpact
    makes_lossy: MakesLossy
    min_free_bytes: int = 0

    # ---- which -------------------------------------------------------------------------------------------------------

    def next_due(self, _on: date, after: tuple[str, str]) -> list[tuple[tuple[str, str], bool]]:
        """Look at the next studies after a (row, Study UID) that have something cold; tell of each if it is re-made.

        Empty when there are no more. What is frozen, or cannot be asked for now, is not.
        """
        rows, found = self._page(int(after[0] or 0), None)
        looked: list[tuple[tuple[str, str], bool]] = []
        for row_id, uid in rows:
            looked.append(((f"{row_id:020}", uid), uid in found and self._goes_now(uid, found[uid])))
            if sum(goes for _, goes in looked) >= _AT_ONCE:
                break
        return looked

    def _goes_now(self, study_uid: str, candidates: Sequence[Candidate]) -> bool:
        try:
            with self.migrator.committer.read() as connection:
                reason = self._why(connection, study_uid, candidates)
            return not (reason or self._frozen(study_uid))
        except (ClockNotTrusted, TieringError):
            return False  # what is due to migrate goes on meanwhile

    def plan(self, studies: Collection[str], *, site: str | None = None, most: int | None = None) -> RemakeReport:
        """Forecast what re-making these studies, or up to ``most`` of all of a site or the archive, would come to."""
        report = RemakeReport()
        for uid, candidates, reason in self._named(studies) if studies else self._all(site):
            if most is not None and report.studies >= most:
                break
            if reason:
                report.left.append((uid, reason))
            else:
                report.add(candidates)
        return report

    def due(self, *, site: str | None = None) -> Iterator[str]:
        """Yield the studies that may be re-made, of a site or of all, as far as the index knows."""
        return (uid for uid, _, reason in self._all(site) if not reason)

    def _all(self, site: str | None) -> Iterator[tuple[str, Sequence[Candidate], str]]:
        after = 0
        while True:
            rows, found = self._page(after, site)
            if not rows:
                return
            after = rows[-1][0]
            yield from self._judged(found)

    def _named(self, studies: Collection[str]) -> Iterator[tuple[str, Sequence[Candidate], str]]:
        with self.migrator.committer.read() as connection:
            found = self.impact.could_be_lossy(connection, studies)
        yield from self._judged({uid: found.get(uid, []) for uid in dict.fromkeys(studies)})

    def _judged(self, found: Mapping[str, Sequence[Candidate]]) -> Iterator[tuple[str, Sequence[Candidate], str]]:
        with self.migrator.committer.read() as connection:
            reasons = {uid: self._why(connection, uid, found[uid]) for uid in found}
        yield from ((uid, found[uid], reasons[uid]) for uid in found)

    def _page(self, after: int, site: str | None) -> tuple[list[tuple[int, str]], dict[str, list[Candidate]]]:
        attempts = self.impact.policy.attempts
        with self.migrator.committer.read() as connection:
            rows = lossless_cold.studies(connection, after, _PAGE, attempts=attempts, site=site)
            return rows, self.impact.could_be_lossy(connection, [uid for _, uid in rows])

    def _why(self, connection: Connection, study_uid: str, candidates: Sequence[Candidate]) -> str:
        """Say why a study stays lossless, "" when it may be re-made."""
        if not candidates:
            return "nothing of it is cold without loss that could be lossy by the rules of today: drimbox tier impact"
        return (
            keeps_hot(connection, study_uid, self.migrator.clock())
            or self._too_young(connection, study_uid, candidates)
            or cold.unsealed(connection, study_uid)
            or lossless_cold.unfit(connection, study_uid)
        )

    def _too_young(self, connection: Connection, study_uid: str, candidates: Sequence[Candidate]) -> str:
        """Say that the settings keep it lossless longer than the law does; asked after ``keeps_hot``."""
        row = assessments.by_uid(connection, [study_uid])[study_uid]
        assert row.lossless_until is not None
        series = [SeriesHolding(each.series_instance_uid, each.modality, 0, 0) for each in candidates]
        site = lossless_cold.site_of(connection, study_uid)
        days = self.impact.policy.extra_days_of(StudyHolding(study_uid, site, None, series))
        until = date.fromisoformat(row.lossless_until) + timedelta(days=days)
        return f"it is lossless until {until}, by the settings" if self.migrator.clock().date() < until else ""

    def _frozen(self, study_uid: str) -> str:
        """Say how many packs of a study have to thaw before they can be read. Raises StoreError."""
        with self.migrator.committer.read() as connection:
            packs = [*lossless_cold.packs(connection, study_uid), *_referring(connection, study_uid)]
        keys = {pack.row.key for pack in packs}
        frozen = sum(self.migrator.cold.availability(key) not in _READABLE for key in keys)
        return f"{frozen} of its packs are frozen: drimbox tier recall {study_uid}, then again" if frozen else ""

    # ---- preparing ---------------------------------------------------------------------------------------------------

    def is_meant(self, study_uid: str) -> bool:
        """Tell whether nothing of a study is hot, so that it can only be re-made."""
        with self.migrator.committer.read() as connection:
            return not lossless_cold.has_hot(connection, study_uid)

    def series_of(self, study_uid: str) -> Sequence[str]:
        """Return the series of a study that are to be re-made.

        Raises MigrationRefused when it has to stay, or has to thaw first; StoreError.
        """
        with self.migrator.committer.read() as connection:
            candidates = self._may_go(connection, study_uid)
        frozen = self._frozen(study_uid)
        if frozen:
            raise MigrationRefused(study=study_uid, reason=frozen)
        return sorted({each.series_instance_uid for each in candidates})

    def prepare(self, study_uid: str, series_uid: str) -> Mapping[str, Any]:
        """Put lossy packs of all lossless ones of a series into the cold store, proven, or say why it stays lossless.

        Raises MigrationRefused, ColdCopyDiffers, StoreError, OSError, TieringError for a pack that cannot be read.
        """
        with self.migrator.committer.read() as connection:
            self._may_go(connection, study_uid)
            packs = [each for each in lossless_cold.packs(connection, study_uid) if _is_of(each, series_uid)]
            referring = list(_referring(connection, study_uid))
        rows = [each.row for each in packs]
        with self._fetched(study_uid, packs, referring) as stores:
            lossy = self.makes_lossy(stores, [each.row for each in referring])
            with self.migrator.lossy_packs(rows, lossy) as (made, evidence):
                copied = [self._put(row, made[row.key], evidence[row.key]) for row in rows if made]
            if not made and not evidence:
                raise MigrationRefused(study=study_uid, reason="lossy copies are off at the site that its packs name")
        kept = {} if made else dict(evidence)
        return {REMADE: True, "series": series_uid, "packs": copied, "kept": kept}

    def _may_go(self, connection: Connection, study_uid: str) -> Sequence[Candidate]:
        candidates = self.impact.could_be_lossy(connection, [study_uid]).get(study_uid, [])
        reason = self._why(connection, study_uid, candidates)
        if reason:
            raise MigrationRefused(study=study_uid, reason=reason)
        return candidates

    @contextmanager
    def _fetched(self, study_uid: str, packs: Sequence[ColdPack], beside: Sequence[ColdPack]) -> Iterator[Stores]:
        """Lend packs of the cold store as files that lie where hot ones would; they go at the end."""
        wanted = {each.row.key: each for each in (*packs, *beside)}
        self._ask_for_room(wanted.values())
        with tempfile.TemporaryDirectory(dir=self.migrator.scratch) as folder:
            stores = self.migrator.stores
            stores = replace(stores, roots={**stores.roots, PACK: Path(folder)})
            for pack in wanted.values():
                self._fetch(study_uid, pack, stores.path(PACK, pack.row.key))
            yield stores

    def _ask_for_room(self, packs: Collection[ColdPack]) -> None:
        """Raise OSError where packs, and what is made of them, would take what images that come in need."""
        migrator = self.migrator
        migrator.disk.make_folder(migrator.scratch)
        needed = 2 * sum(each.row.size_bytes for each in packs)
        if migrator.disk.free_bytes(migrator.scratch) - needed < self.min_free_bytes:
            raise OSError(errno.ENOSPC, f"no room for {needed} bytes beside storage.min_free_mib", migrator.scratch)

    def _fetch(self, study_uid: str, pack: ColdPack, path: Path) -> None:
        """Read a pack from the cold store; raise MigrationRefused when a copy in it is not what the index says."""
        proof, digest, size = Proof(pack.copies), hashlib.sha256(), 0
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            for chunk in self.migrator.cold.read(pack.row.key):
                file.write(chunk)
                digest.update(chunk)
                proof.feed(chunk)
                size += len(chunk)
        is_whole = (size, digest.digest()) == (pack.row.size_bytes, pack.row.sha256)
        if not is_whole or set(proof.states().values()) != {PRESENT}:
            reason = f"its cold pack {pack.row.key} is not what was put there: drimbox verify --tier cold"
            raise MigrationRefused(study=study_uid, reason=reason)

    def _put(self, lossless: PackRow, lossy: LossyPack, evidence: str) -> Mapping[str, Any]:
        headers = header_digests(self.migrator.disk, lossy.path, lossy.size_bytes)
        return {"copied": asdict(self.migrator.copy(lossless, lossy, evidence)), "headers": headers}

    # ---- switching ---------------------------------------------------------------------------------------------------

    def switch(self, study_uid: str, prepared: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
        """Let lossy packs take the place of lossless ones, all of a study in one transaction; done already is done.

        Raises MigrationRefused when the study has to stay by now, or is not as it was prepared; StoreError.
        """
        headers = {pack["copied"]["key"]: pack["headers"] for each in prepared for pack in each["packs"]}
        copied = [Copied(**pack["copied"]) for each in prepared for pack in each["packs"]]
        plans = [self._plan(study_uid, each, headers[each.key]) for each in self.migrator.not_done(copied)]
        kept = {key: body for each in prepared for key, body in each["kept"].items()}
        if plans or kept:
            body: Body = {
                "study_instance_uid": study_uid,
                "packs": [each.row.key for each in plans],
                "sha256": [each.copied.sha256 for each in plans],
                "lossless": len(kept),
            }
            entry = Entry(self.migrator.clock(), "remade", self.migrator.actor, body)
            with planned(study_uid):
                self.migrator.committer.record_synced(entry, work=partial(self._switch, study_uid, plans, kept))
            _log.info("study_remade", study_instance_uid=study_uid, packs=len(plans), lossless=len(kept))
        return {"packs": len(plans), "lossy": len(plans), "lossless": len(kept)}

    def _plan(self, study_uid: str, copied: Copied, headers: Sequence[str]) -> _Plan:
        """Look once more at what lies in the cold store, and say what the index will hold of it."""
        with self.migrator.committer.read() as connection:
            lossless = cold.find_pack(connection, copied.hot_key)
        if lossless is None:
            raise MigrationRefused(study=study_uid, reason=f"its pack {copied.hot_key} is gone")
        row = self.migrator.still_there(copied, lossless)
        return _Plan(copied, row, lossy_members_of(self.migrator.cold, row, headers))

    def _switch(self, study_uid: str, plans: Sequence[_Plan], kept: Mapping[str, str], connection: Connection) -> None:
        now = self.migrator.clock()
        if plans:
            self._check(connection, study_uid, {plan.row.series_instance_uid for plan in plans})
            check_not_rolled_back(connection, study_uid, [plan.copied for plan in plans])
        for plan in plans:
            cold.switch_lossy(connection, plan.copied.hot_key, plan.row, plan.members, now)
            cold.put_evidence(connection, plan.row, plan.copied.evidence, now)
        for key, body in kept.items():
            pack = cold.find_pack(connection, key)
            if pack is not None:
                cold.put_evidence(connection, pack, body, now)
        set_aside.clear(connection, study_uid)

    def _check(self, connection: Connection, study_uid: str, series: Set[str]) -> None:
        """Raise NotAsPlanned when the study has to stay by now, or the rules of a series changed once more."""
        candidates = self.impact.could_be_lossy(connection, [study_uid]).get(study_uid, [])
        reason = self._why(connection, study_uid, candidates)
        if not reason and not series <= {each.series_instance_uid for each in candidates}:
            reason = "the rules of today are others than those it was prepared by"
        if reason:
            raise NotAsPlanned(reason)

    # ---- the whole ---------------------------------------------------------------------------------------------------

    def remake(self, study_uid: str) -> Mapping[str, Any]:
        """Prepare and switch a study, one step after the other. Raises what they do."""
        return self.switch(study_uid, [self.prepare(study_uid, series) for series in self.series_of(study_uid)])


def _is_of(pack: ColdPack, series_uid: str) -> bool:
    return pack.row.series_instance_uid == series_uid


def _referring(connection: Connection, study_uid: str) -> Iterator[ColdPack]:
    """Yield the cold packs of a study in which something may name images."""
    for pack_id, classes in lossless_cold.classes(connection, study_uid).items():
        if any(map(may_name_images, classes)):
            pack = scrub.find_cold_pack(connection, pack_id)
            if pack is not None:
                yield pack
