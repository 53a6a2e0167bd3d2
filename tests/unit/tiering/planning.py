"""Studies to plan for: one that may go in every respect, and strategies for any; must not hide what a test is about."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import Any, Final

from hypothesis import strategies as st

from tiering.lossy_rules import SeriesFacts, SiteRules
from tiering.lossy_tables import load_rules
from tiering.policy import Decision, Override, Reason, SeriesHolding, StudyHolding, TierPolicy, decide

TODAY: Final = date(2026, 11, 27)
CT_CLASS: Final = "1.2.840.10008.5.1.4.1.1.2"
SR_CLASS: Final = "1.2.840.10008.5.1.4.1.1.88.22"
PIXELS: Final = SeriesFacts(
    modality="CT",
    sop_class_uids=frozenset({CT_CLASS}),
    photometrics=frozenset({"MONOCHROME2"}),
    bits_allocated=16,
    bits_stored=12,
    body_part="CHEST",
)
CT: Final = SeriesHolding("1.2.3.1", "CT", 100, 20_000_000, PIXELS)
SR: Final = SeriesHolding("1.2.3.2", "SR", 1, 4_000, SeriesFacts("SR", frozenset({SR_CLASS}), frozenset(), 0, 0))
OLD: Final = StudyHolding("1.2.3", "CHU", date(2023, 3, 2), (CT,), 20_000_000, date(2020, 3, 1))
LOSSY: Final = TierPolicy(lossy=load_rules("drg"))
LOSSLESS: Final = TierPolicy()


def decided(policy: TierPolicy = LOSSLESS, *, on: date = TODAY, **values: Any) -> Decision:
    """Return what becomes of a study that would go, but for ``values``."""
    return decide(replace(OLD, **values), policy, on=on)


def codes(decision: Decision) -> list[str]:
    """Return the codes of the reasons, the deciding one first."""
    return [reason.code for reason in decision.reasons]


def reason(decision: Decision) -> Reason:
    """Return the only reason."""
    (only,) = decision.reasons
    return only


DAYS: Final = st.dates(date(2000, 1, 1), date(2060, 1, 1))
MODALITIES: Final = st.sampled_from(["CT", "MR", "MG", "SR", "PT", "US", "XA", ""])
SERIES: Final = st.builds(
    lambda modality, size, bits: SeriesHolding(
        "1.2.3.9", modality, 3, size, replace(PIXELS, modality=modality, bits_allocated=bits)
    ),
    MODALITIES,
    st.integers(0, 10**9),
    st.sampled_from([0, 8, 16]),
)
BLOCKERS: Final = st.sampled_from([(), ("hold:H-2026-0001",), ("appeal",), ("facts",), ("hold:H-2026-0002", "appeal")])
STUDIES: Final = st.builds(
    StudyHolding,
    study_instance_uid=st.integers(1, 10**6).map("1.2.{}".format),
    site=st.sampled_from(["CHU", "Clinique"]),
    lossless_until=st.none() | DAYS,
    series=st.lists(SERIES, max_size=3),
    size_bytes=st.integers(0, 10**10),
    exam_on=st.none() | DAYS,
    blocked_by=BLOCKERS,
    is_assessed=st.booleans() | st.just(True),
    is_stale=st.sampled_from([False, False, False, True]),
    reassess_on=st.none() | DAYS,
    error=st.sampled_from([None, None, None, "birth is no date"]),
    unsealed=st.sampled_from(["", "", "3 of its instances are not sealed yet"]),
    is_cold=st.sampled_from([False, False, True]),
    attempts=st.integers(0, 4),
)
OVERRIDES: Final = st.builds(
    Override,
    site=st.sampled_from(["", "CHU", "Clinique"]),
    modalities=st.frozensets(MODALITIES, max_size=2),
    extra_days=st.integers(0, 4000),
    stays=st.booleans(),
    is_lossless=st.booleans(),
)
POLICIES: Final = st.builds(
    TierPolicy,
    extra_days=st.integers(0, 2000),
    never_modalities=st.frozensets(MODALITIES, max_size=1),
    min_study_bytes=st.sampled_from([0, 0, 1_000_000]),
    attempts=st.integers(1, 5),
    held=st.sampled_from(["stay", "cold_lossless"]),
    overrides=st.lists(OVERRIDES, max_size=2),
    lossy=st.sampled_from([None, load_rules("drg"), load_rules("car", SiteRules(frozenset({"MR"})))]),
)
