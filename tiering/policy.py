"""Which studies may leave the fast tier on a day, how, and why the others stay: pure; must not read anything.

Age counts from the exam, never from arrival: ``lossless_until`` is the first day after the immediate and lossless
access that the law asks for. Whoever is not sure keeps: a study that is not assessed, held, or not sealed stays.

Whether a series may be compressed with loss is a forecast here, made of what the index has of its first instance; the
pixels decide when it is migrated (``tiering.lossy_rules``, ``tiering.lossy``).
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from typing import Final, Literal, NamedTuple

from tiering.lossy_rules import LossyRules, SeriesFacts, may_be_lossy

Held = Literal["stay", "cold_lossless"]
"""What becomes of studies under a hold or an appeal: never with loss, and by default not cold at all."""

_NO_PIXELS: Final = SeriesFacts("", frozenset(), frozenset(), 0, 0)


class Action(enum.Enum):
    """What becomes of a study or of a series of it; ``MIXED`` of a study, some of whose series may be lossy."""

    STAY = "stay"
    COLD_LOSSLESS = "cold_lossless"
    COLD_LOSSY = "cold_lossy"
    MIXED = "mixed"


class Reason(NamedTuple):
    """Why: ``code`` for machines, ``text`` in words, with the deciding fact."""

    code: str
    text: str


@dataclass(frozen=True, slots=True)
class SeriesHolding:
    """What the hot tier has of one series; ``size_bytes`` is that of its packs.

    ``facts`` are what the index tells of its pixels; whether it was lossy when it came is among them.
    """

    series_instance_uid: str
    modality: str
    instances: int
    size_bytes: int
    facts: SeriesFacts = _NO_PIXELS


@dataclass(frozen=True, slots=True)
class StudyHolding:
    """What is known of a study that is hot; ``size_bytes`` is what it takes there.

    ``lossless_until`` is None when no assessment says it. ``blocked_by`` are the words of the assessment (``hold:…``,
    ``appeal``, ``facts``). ``is_stale``: something became known since it was assessed. ``reassess_on``: the first day
    on which time alone may change the assessment. ``unsealed`` says what of it is not in packs alone, ``attempts`` how
    often its migration failed. ``disposal_list`` names the approved list that will have it destroyed.
    """

    study_instance_uid: str
    site: str
    lossless_until: date | None
    series: Sequence[SeriesHolding]
    size_bytes: int = 0
    exam_on: date | None = None
    blocked_by: tuple[str, ...] = ()
    is_assessed: bool = True
    is_stale: bool = False
    reassess_on: date | None = None
    error: str | None = None
    unsealed: str = ""
    is_cold: bool = False
    attempts: int = 0
    disposal_list: str = ""

    @property
    def is_held(self) -> bool:
        """Tell whether somebody or an appeal keeps it from being disposed of."""
        return any(map(is_hold_or_appeal, self.blocked_by))


def is_hold_or_appeal(word: str) -> bool:
    """Tell whether what blocks the disposal of a study is a hold (``hold:…``) or an appeal."""
    return word.partition(":")[0] in ("hold", "appeal")


@dataclass(frozen=True, slots=True)
class Override:
    """What holds for studies of ``site`` ("" is any) with a series of ``modalities`` (none: any).

    It can only keep longer or gentler: so many days more, never cold, never with loss.
    """

    site: str = ""
    modalities: frozenset[str] = frozenset()
    extra_days: int = 0
    stays: bool = False
    is_lossless: bool = False

    def covers(self, site: str, modality: str) -> bool:
        """Tell whether it is meant for a series of a modality at a site."""
        return self.site in ("", site) and (not self.modalities or modality in self.modalities)


@dataclass(frozen=True, slots=True)
class TierPolicy:
    """When studies go cold, and how; ``lossy`` None: never with loss.

    ``extra_days``: so many after the law's. ``min_study_bytes``: a smaller study is not worth an object store's
    requests. ``attempts``: so many failures and a study is left alone.
    """

    extra_days: int = 0
    never_modalities: frozenset[str] = frozenset()
    min_study_bytes: int = 0
    attempts: int = 3
    held: Held = "stay"
    overrides: Sequence[Override] = ()
    lossy: LossyRules | None = None

    def rules_at(self, site: str) -> LossyRules | None:
        """Return the rules of lossy compression for what one site has; None: never with loss."""
        if self.lossy is None:
            return None
        here = [each for each in self.overrides if each.is_lossless and each.site in ("", site)]
        if any(not each.modalities for each in here):
            return None
        never = self.lossy.site.never_modalities.union(*(each.modalities for each in here))
        return replace(self.lossy, site=replace(self.lossy.site, never_modalities=never))

    def extra_days_of(self, study: StudyHolding) -> int:
        """Return how many days more than the law's a study stays."""
        return max([self.extra_days, *(each.extra_days for each in self._of(study))])

    def kept_modalities(self, study: StudyHolding) -> Sequence[str]:
        """Return the modalities of a study that never go cold, sorted."""
        return sorted(
            {
                each.modality
                for each in study.series
                if each.modality in self.never_modalities
                or any(one.stays and one.covers(study.site, each.modality) for one in self.overrides)
            }
        )

    def _of(self, study: StudyHolding) -> Iterator[Override]:
        for each in self.overrides:
            if any(each.covers(study.site, series.modality) for series in study.series):
                yield each


@dataclass(frozen=True, slots=True)
class SeriesPlan:
    """What becomes of a series, and why; ``cap`` is the highest ratio that it may be compressed to."""

    holding: SeriesHolding
    action: Action
    reason: Reason
    cap: float | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of a study. Of ``reasons`` the first decides; of one that stays they are all that keeps it."""

    study: StudyHolding
    action: Action
    reasons: tuple[Reason, ...]
    series: Sequence[SeriesPlan] = field(default_factory=tuple)

    @property
    def code(self) -> str:
        """Return the deciding fact, for machines."""
        return self.reasons[0].code

    @property
    def goes(self) -> bool:
        """Tell whether the study goes cold."""
        return self.action is not Action.STAY


def plan(studies: Iterable[StudyHolding], policy: TierPolicy, *, on: date) -> Iterator[Decision]:
    """Yield what becomes of each study on a day, in their order; one does not depend on another."""
    return (decide(study, policy, on=on) for study in studies)


def decide(study: StudyHolding, policy: TierPolicy, *, on: date) -> Decision:
    """Return what becomes of a study on a day."""
    reasons = tuple(why_stay(study, policy, on=on))
    if reasons:
        return Decision(study, Action.STAY, reasons)
    series = [_series_plan(each, study, policy) for each in study.series]
    actions = {each.action for each in series}
    action = Action.MIXED if len(actions) > 1 else next(iter(actions), Action.COLD_LOSSLESS)
    return Decision(study, action, (Reason("age", f"its immediate access ended on {study.lossless_until}"),), series)


def why_stay(study: StudyHolding, policy: TierPolicy, *, on: date) -> Iterator[Reason]:
    """Yield what keeps a study hot on a day, the deciding reason first; nothing when it may go."""
    if study.is_cold:
        yield Reason("cold", "cold copies stand in for all of it already")
    yield from _unknown(study, on)
    yield from _blocked(study, policy)
    yield from _young(study, policy, on)
    yield from _unfit(study, policy)


def _unknown(study: StudyHolding, on: date) -> Iterator[Reason]:
    """Whatever makes the assessment no ground to stand on."""
    if not study.is_assessed:
        yield Reason("not_assessed", "its retention was never assessed: drimbox retention sweep")
        return
    if study.error is not None:
        yield Reason("error", f"its retention could not be assessed: {study.error}")
    if study.is_stale:
        yield Reason("stale", "something became known since its retention was assessed: drimbox retention sweep")
    if study.reassess_on is not None and study.reassess_on <= on:
        yield Reason("stale", f"its retention may be another from {study.reassess_on} on: it is to be assessed then")
    if study.exam_on is not None and study.exam_on > on:
        yield Reason("future", f"its exam is dated {study.exam_on}, which has not come yet")


def _blocked(study: StudyHolding, policy: TierPolicy) -> Iterator[Reason]:
    for word in study.blocked_by:
        kind, _, name = word.partition(":")
        if kind == "facts":
            yield Reason("facts", "facts about it contradict each other: drimbox retention explain")
        elif kind not in ("hold", "appeal"):
            yield Reason("blocked", f"it is blocked by {word}")
        elif policy.held == "stay":
            yield Reason(kind, f"it is on hold ({name})" if kind == "hold" else "an appeal is under way")


def _young(study: StudyHolding, policy: TierPolicy, on: date) -> Iterator[Reason]:
    if study.lossless_until is None:
        if study.is_assessed and study.error is None:
            yield Reason("unknown", "no day is known on which its immediate access ends")
        return
    more = policy.extra_days_of(study)
    first = _later(study.lossless_until, more)
    if first is None or on < first:
        until = first or "a day beyond the calendar"
        by = f", {more} days more than the law asks for" if more else ""
        code = "extra_days" if first and on >= study.lossless_until else "young"
        yield Reason(code, f"it is immediate and lossless until {until}{by}")


def _unfit(study: StudyHolding, policy: TierPolicy) -> Iterator[Reason]:
    if study.disposal_list:
        yield Reason("disposal", f"it waits for its destruction on the approved list {study.disposal_list}")
    kept = policy.kept_modalities(study)
    if kept:
        yield Reason("modality", f"{', '.join(kept)} never goes cold, by the settings")
    if study.size_bytes < policy.min_study_bytes:
        yield Reason(
            "small", f"it has {study.size_bytes} bytes, fewer than the {policy.min_study_bytes} of the settings"
        )
    if study.attempts >= policy.attempts:
        yield Reason("set_aside", "its migration failed too often, or was rolled back: drimbox tier retry")
    if study.unsealed:
        yield Reason("unsealed", study.unsealed)


def _later(day: date, days: int) -> date | None:
    try:
        return day + timedelta(days=days)
    except OverflowError:
        return None


# ---- with loss or without ------------------------------------------------------------------------------------------


def _series_plan(series: SeriesHolding, study: StudyHolding, policy: TierPolicy) -> SeriesPlan:
    rules = policy.rules_at(study.site)
    if rules is None:
        off = Reason("lossy_off", "lossy copies are off, by the settings")
        return SeriesPlan(series, Action.COLD_LOSSLESS, off)
    if study.is_held:
        held = Reason("held", "its study is under a hold or an appeal: never with loss")
        return SeriesPlan(series, Action.COLD_LOSSLESS, held)
    if not series.facts.bits_allocated:
        return SeriesPlan(series, Action.COLD_LOSSLESS, Reason("never", "it has no pixels"))
    verdict = may_be_lossy(replace(series.facts, modality=series.modality), rules)
    if verdict.cap is None:
        return SeriesPlan(series, Action.COLD_LOSSLESS, Reason("never", "; ".join(verdict.reasons)))
    allowed = Reason("allowed", f"up to {verdict.cap:g}:1 by {rules.table.version}; its pixels decide when it migrates")
    return SeriesPlan(series, Action.COLD_LOSSY, allowed, verdict.cap)
