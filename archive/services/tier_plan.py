"""The plan of migration: which studies would go cold on a day, what that saves, why others stay; must not move any."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Final

from archive.index import disposal, tiering as table
from archive.index.session import Connection
from archive.index.tiering import PlannedPack, PlannedStudy
from archive.services.committer import Committer
from archive.services.planned_series import series_of
from archive.services.reports import Progress
from tiering.policy import Decision, StudyHolding, TierPolicy, decide, plan
from tiering.prices import Prices, Savings, saved

_PAGE: Final = 1000
_ORDINARY: Final = frozenset({"young", "extra_days", "cold"})
_DUE_PAGE: Final = 200


@dataclass(slots=True)
class Totals:
    """Counts of one kind of decision; ``cold_bytes``: the forecast of what they would take in the cold tier."""

    studies: int = 0
    instances: int = 0
    hot_bytes: int = 0
    cold_bytes: int = 0

    def add(self, instances: int, hot_bytes: int, cold_bytes: int) -> None:
        """Count a part of a study."""
        self.instances += instances
        self.hot_bytes += hot_bytes
        self.cold_bytes += cold_bytes


@dataclass(slots=True)
class Kept:
    """Studies that stay for one reason, and what they take in the fast tier."""

    studies: int = 0
    size_bytes: int = 0


@dataclass(slots=True)
class PlanReport:
    """What a plan came to: totals by action, by site and by modality of what goes; what stays, by the deciding reason.

    ``going`` and ``staying``: some decisions, for the eye; of those that stay only such as age does not explain.
    """

    on: date
    site: str | None
    prices: Prices
    cold_class: str
    actions: dict[str, Totals] = field(default_factory=lambda: defaultdict(Totals))
    sites: dict[str, Totals] = field(default_factory=lambda: defaultdict(Totals))
    modalities: dict[str, Totals] = field(default_factory=lambda: defaultdict(Totals))
    stay: dict[str, Kept] = field(default_factory=lambda: defaultdict(Kept))
    going: list[Decision] = field(default_factory=list)
    staying: list[Decision] = field(default_factory=list)

    @property
    def savings(self) -> Savings:
        """Return what all that goes saves."""
        hot = sum(each.hot_bytes for each in self.actions.values())
        return saved(hot, sum(each.cold_bytes for each in self.actions.values()), self.prices, self.cold_class)

    @property
    def studies_going(self) -> int:
        """Return how many studies go."""
        return sum(each.studies for each in self.actions.values())

    def count(self, decision: Decision, *, listed: int) -> None:
        """Count a decision; keep up to ``listed`` of each kind to be shown."""
        if not decision.goes:
            kept = self.stay[decision.code]
            kept.studies += 1
            kept.size_bytes += decision.study.size_bytes
            if len(self.staying) < listed and decision.code not in _ORDINARY:
                self.staying.append(decision)
            return
        if len(self.going) < listed:
            self.going.append(decision)
        self._count_series(decision)

    def _count_series(self, decision: Decision) -> None:
        whole = (self.actions[decision.action.value], self.sites[decision.study.site])
        modalities = {each.holding.modality for each in decision.series}
        for totals in (*whole, *(self.modalities[each] for each in modalities)):
            totals.studies += 1
        for each in decision.series:
            size, cold = each.holding.size_bytes, self.prices.cold_bytes(each)
            for totals in (*whole, self.modalities[each.holding.modality]):
                totals.add(each.holding.instances, size, cold)


@dataclass(frozen=True, slots=True)
class TierPlan:
    """Plans the migration of one archive; ``cold_class`` is the storage class whose price is taken.

    ``bases``: by site, the (reading, schedule version) that assessments have to be made by to be believed.
    """

    committer: Committer
    policy: TierPolicy
    bases: Mapping[str, tuple[str, str]]
    prices: Prices
    cold_class: str

    def report(self, on: date, progress: Progress, *, site: str | None = None, listed: int = 0) -> PlanReport:
        """Return what migrating on a day would come to."""
        report = PlanReport(on, site, self.prices, self.cold_class)
        self.committer.database.know_tables()
        for done, decision in enumerate(plan(self._holdings(on, site), self.policy, on=on), start=1):
            report.count(decision, listed=listed)
            if done % _PAGE == 0:
                progress(done, 0)
        return report

    def explain(self, study_uid: str, on: date) -> Decision | None:
        """Return what would become of one study, with all that keeps it; None when the archive does not have it."""
        with self.committer.read() as connection:
            found = self._of_page(connection, table.by_uid(connection, [study_uid]), on, None)
        return next((decide(study, self.policy, on=on) for study in found), None)

    def next_due(self, on: date, after: tuple[str, str]) -> list[tuple[tuple[str, str], bool]]:
        """Look at the next studies after a (``lossless_until``, Study UID), the oldest first; tell of each if it goes.

        Empty when there are no more with hot packs and age enough by law.
        """
        with self.committer.read() as connection:
            keys = table.due(connection, on.isoformat(), after, _DUE_PAGE)
            rows = table.by_uid(connection, [uid for _, uid in keys])
            found = self._of_page(connection, rows, on, None)
        going = {each.study_instance_uid for each in found if decide(each, self.policy, on=on).goes}
        return [(key, key[1] in going) for key in keys]

    # ---- what is known -------------------------------------------------------------------------------------------

    def _holdings(self, on: date, site: str | None) -> Iterator[StudyHolding]:
        """Yield all studies, a page at a time; what is committed meanwhile may be seen or not."""
        with self.committer.read() as connection:
            untrimmed = table.untrimmed(connection)
        after = 0
        while True:
            with self.committer.read() as connection:
                rows = table.page(connection, after, _PAGE, site)
                found = self._of_page(connection, rows, on, untrimmed)
            if not rows:
                return
            yield from found
            after = rows[-1].study_id

    def _of_page(
        self, connection: Connection, rows: Sequence[PlannedStudy], on: date, untrimmed: Collection[int] | None
    ) -> Sequence[StudyHolding]:
        """Return what is known of a page; of what cannot go by its assessment the series are not looked at."""
        uids = [row.study_instance_uid for row in rows]
        packs, awaited = table.packs(connection, uids), disposal.awaited(connection, uids)
        holdings = {
            row.study_id: self._holding(
                row, packs.get(row.study_instance_uid, ()), awaited.get(row.study_instance_uid, "")
            )
            for row in rows
        }
        closer = [row for row in rows if _deserves_a_look(holdings[row.study_id], on)]
        ids = [row.study_id for row in closer]
        if untrimmed is None:
            untrimmed = table.untrimmed_of(connection, ids)
        theirs = [pack for row in closer for pack in packs.get(row.study_instance_uid, ())]
        copies = table.copies(connection, [pack.pack_id for pack in theirs])
        contents = table.contents(connection, ids)
        for row in closer:
            known = packs.get(row.study_instance_uid, ())
            series, words = series_of(known, copies, contents[row.study_id], has_received=row.study_id in untrimmed)
            holdings[row.study_id] = replace(holdings[row.study_id], series=series, unsealed=words)
        return list(holdings.values())

    def _holding(self, row: PlannedStudy, packs: Sequence[PlannedPack], disposal_list: str) -> StudyHolding:
        hot = [pack for pack in packs if pack.is_hot]
        size = sum(pack.size_bytes for pack in hot) if packs else row.size_bytes
        is_current = (row.reading, row.schedule_version) == self.bases.get(row.site)
        return StudyHolding(
            study_instance_uid=row.study_instance_uid,
            site=row.site,
            lossless_until=_day(row.lossless_until),
            series=(),
            size_bytes=size,
            exam_on=_day(row.exam_on),
            blocked_by=tuple(row.blocked_by.split()),
            is_assessed=bool(row.is_assessed),
            is_stale=bool(row.is_assessed) and (bool(row.is_stale) or not is_current),
            reassess_on=_day(row.reassess_on),
            error=row.error,
            unsealed="" if packs else "it is not sealed yet",
            is_cold=bool(packs) and not hot,
            attempts=row.attempts,
            disposal_list=disposal_list,
        )


def _deserves_a_look(study: StudyHolding, on: date) -> bool:
    """Tell whether its series matter: it is in hot packs, and the law lets it go by what is stored."""
    is_old = study.lossless_until is not None and study.lossless_until <= on
    return is_old and not (study.is_stale or study.error or study.unsealed or study.is_cold)


def _day(text: str | None) -> date | None:
    return None if text is None else date.fromisoformat(text)
