"""What the rules of today would decide otherwise about what is cold already; must not change any of it."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from archive.index import lossless_cold, migrated, tiering
from archive.index.migrated import ColdPack
from archive.index.session import Connection
from archive.index.tiering import Contents
from archive.services.committer import Committer
from archive.services.planned_series import facts_of
from archive.services.reports import Progress
from tiering.impact import Change, Today, judge
from tiering.policy import TierPolicy
from tiering.prices import Prices
from tiering.quality import GateTable

_PAGE: Final = 500


@dataclass(slots=True)
class Gain:
    """Lossless cold packs of one modality that could be lossy: what they take, and what that might save (forecast)."""

    packs: int = 0
    size_bytes: int = 0
    gain_bytes: int = 0

    def add(self, size_bytes: int, gain_bytes: int) -> None:
        """Count a pack."""
        self.packs += 1
        self.size_bytes += size_bytes
        self.gain_bytes += gain_bytes


class Candidate(NamedTuple):
    """A lossless cold pack that could be lossy; ``gain_bytes`` is a forecast."""

    series_instance_uid: str
    modality: str
    size_bytes: int
    gain_bytes: int


class Forbidden(NamedTuple):
    """A lossy pack that would not be made today; within the grace period ``can_go_back`` by ``tier rollback``."""

    study_instance_uid: str
    series_instance_uid: str
    site: str
    reasons: tuple[str, ...]
    can_go_back: bool


@dataclass(slots=True)
class ImpactReport:
    """What would be decided otherwise; ``could_be_lossy`` is by modality, ``because`` counts packs by the reason."""

    rules: str
    gates: str
    packs: int = 0
    lossy: int = 0
    could_be_lossy: dict[str, Gain] = field(default_factory=lambda: defaultdict(Gain))
    because: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    forbidden: list[Forbidden] = field(default_factory=list)

    @property
    def gain_bytes(self) -> int:
        """Return the bytes that might be saved."""
        return sum(each.gain_bytes for each in self.could_be_lossy.values())


@dataclass(frozen=True, slots=True)
class TierImpact:
    """Compares what is cold in one archive with the rules of today."""

    committer: Committer
    policy: TierPolicy
    gates: GateTable
    prices: Prices

    def report(self, progress: Progress, *, site: str | None = None) -> ImpactReport:
        """Return what would be decided otherwise, of one site or of all."""
        rules = "lossy copies are off" if self.policy.lossy is None else self.policy.lossy.version
        report = ImpactReport(rules, self.gates.version)
        self.committer.database.know_tables()
        for pack, contents in self._packs(site):
            self._count(pack, contents, report)
            report.packs += 1
            if report.packs % _PAGE == 0:
                progress(report.packs, 0)
        return report

    def _packs(self, site: str | None) -> Iterator[tuple[ColdPack, Contents | None]]:
        after = 0
        while True:
            with self.committer.read() as connection:
                page = migrated.cold_packs(connection, after, _PAGE, site)
                series = tiering.contents(connection, {pack.study_id for pack in page})
            if not page:
                return
            known = {(study, each.series_instance_uid): each for study, some in series.items() for each in some}
            for pack in page:
                yield pack, known.get((pack.study_id, pack.series_instance_uid))
            after = page[-1].pack_id

    def _count(self, pack: ColdPack, contents: Contents | None, report: ImpactReport) -> None:
        facts, body = facts_of(contents), None if pack.evidence is None else json.loads(pack.evidence)
        report.lossy += bool(body and body.get("lossy"))
        finding = judge(body, facts, Today(self.policy.rules_at(pack.site), self.gates))
        if finding.change is Change.FORBIDDEN:
            where = (pack.study_instance_uid, pack.series_instance_uid, pack.site)
            report.forbidden.append(Forbidden(*where, finding.reasons, bool(pack.can_go_back)))
        elif finding.change is Change.COULD_BE_LOSSY:
            report.could_be_lossy[facts.modality].add(pack.size_bytes, self._gain(pack, facts.modality))
            report.because[finding.reasons[0]] += 1

    def _gain(self, pack: ColdPack, modality: str) -> int:
        return pack.size_bytes - self.prices.lossy_bytes(pack.size_bytes, modality)

    def could_be_lossy(self, connection: Connection, study_uids: Collection[str]) -> dict[str, list[Candidate]]:
        """Return the lossless cold packs of these studies that could be lossy, by study; studies without are left out.

        Those that wait to be trimmed are none.
        """
        found = defaultdict[str, list[Candidate]](list)
        packs = lossless_cold.decided(connection, study_uids)
        series = tiering.contents(connection, {pack.study_id for pack in packs})
        known = {(study, each.series_instance_uid): each for study, some in series.items() for each in some}
        for pack in packs:
            facts = facts_of(known.get((pack.study_id, pack.series_instance_uid)))
            body = None if pack.evidence is None else json.loads(pack.evidence)
            finding = judge(body, facts, Today(self.policy.rules_at(pack.site), self.gates))
            if finding.change is Change.COULD_BE_LOSSY:
                gain = self._gain(pack, facts.modality)
                candidate = Candidate(pack.series_instance_uid, facts.modality, pack.size_bytes, gain)
                found[pack.study_instance_uid].append(candidate)
        return dict(found)
