"""Rules that changed are held against what was decided by the ones before; nothing but a finding comes of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import pytest

from tests.unit.tiering.planning import PIXELS
from tiering import lossy_evidence
from tiering.impact import Change, Finding, Today, judge
from tiering.lossy_rules import LossyRules, SeriesFacts, SiteRules, may_be_lossy
from tiering.lossy_tables import load_gates, load_rules
from tiering.quality import Gate, GateTable

DRG: Final = load_rules("drg")
GATES: Final = load_gates()
TODAY: Final = Today(DRG, GATES)
NO_PIXELS: Final = SeriesFacts("", frozenset(), frozenset(), 0, 0)
FRAME: Final = {
    "max_abs_error": 20,
    "max_error": 20.0,
    "range": 3000,
    "psnr_db": 52.0,
    "ssim": 0.99,
    "raw_bytes": 80_000,
    "coded_bytes": 10_100,
}


def lossy(facts: SeriesFacts | None = PIXELS, *, ratio: float = 7.92, **frame: Any) -> Mapping[str, Any]:
    """Return the evidence of a lossy pack that passed."""
    head = lossy_evidence.head(DRG, GATES.version, may_be_lossy(PIXELS, DRG), facts=facts)
    frames = [FRAME, {**FRAME, **frame}]
    return {**head, "lossy": True, "ratio": ratio, "worst": {"ratio": ratio}, "instances": [{"frames": frames}]}


def lossless(rules: LossyRules = DRG, facts: SeriesFacts = PIXELS, gates: str = GATES.version) -> Mapping[str, Any]:
    """Return the evidence of a series that stayed lossless."""
    head = lossy_evidence.head(rules, gates, may_be_lossy(facts, rules), facts=facts)
    return lossy_evidence.lossless(head, "a frame failed, or the rules forbid it")


def with_site(**values: Any) -> Today:
    """Return today's rules with what a site adds."""
    return Today(load_rules("drg", SiteRules(**values)), GATES)


def gates(version: str = "gates of tomorrow", **limits: Any) -> Today:
    """Return today's rules with another gate for CT."""
    gate = Gate(**{"min_psnr_db": 48.0, "min_ssim": 0.97, "max_error": 40.0, **limits})
    return Today(DRG, GateTable(version, {("CT", ""): gate}))


# ---- lossy copies --------------------------------------------------------------------------------------------------


def test_the_same_rules_find_nothing() -> None:
    """What passed passes; a lossy copy is not forbidden for being lossy already."""
    assert judge(lossy(), NO_PIXELS, TODAY) == Finding(Change.NONE)
    assert judge(lossy(), replace(PIXELS, is_already_lossy=True), TODAY).change is Change.NONE


@pytest.mark.parametrize(
    ("today", "words"),
    [
        (Today(None, GATES), "off"),
        (with_site(never_modalities=frozenset({"CT"})), "CT: never, by the site's rules"),
        (with_site(never_body_parts=frozenset({"CHEST"})), "CHEST: never"),
        (with_site(caps={"CT": 6.0}), "7.92:1, above the 6:1"),
        (gates(max_error=19.0), "2 of 2 frames do not pass gates of tomorrow: the largest error is 20, above 19"),
        (gates(min_psnr_db=53.0), "PSNR is 52.00 dB, below 53"),
        (gates(min_ssim=0.995), "SSIM is 0.9900, below 0.995"),
        (gates(max_error=None, max_error_percent=0.5), "above 15"),
        (Today(DRG, GateTable("none", {})), "no gate for modality CT"),
    ],
)
def test_stricter_rules_find_what_they_would_forbid(today: Today, words: str) -> None:
    """Each kind of rule, with the number that is too high or too low."""
    found = judge(lossy(), NO_PIXELS, today)
    assert found.change is Change.FORBIDDEN
    assert words in " ".join(found.reasons)


@pytest.mark.parametrize("today", [with_site(caps={"CT": 7.92}), gates(max_error=20.0), gates(min_psnr_db=52.0)])
def test_a_limit_that_is_just_reached_holds(today: Today) -> None:
    """The cap and the gate are limits that may be reached, then as today."""
    assert judge(lossy(), NO_PIXELS, today).change is Change.NONE


def test_one_frame_is_enough() -> None:
    """The gate is for every frame: the number of those that fail is told."""
    found = judge(lossy(psnr_db=49.0), NO_PIXELS, gates(min_psnr_db=50.0))
    assert "1 of 2 frames" in found.reasons[0]


def test_an_exact_frame_passes_any_gate() -> None:
    """PSNR without an error is null in evidence, and infinite."""
    assert judge(lossy(max_abs_error=0, psnr_db=None, max_error=0.0), NO_PIXELS, TODAY).change is Change.NONE


def test_evidence_that_says_too_little_is_told() -> None:
    """Lossy without metrics: nobody could defend it, so it is listed."""
    body = {name: value for name, value in lossy().items() if name != "instances"}
    assert "does not say how far" in judge(body, NO_PIXELS, TODAY).reasons[0]


def test_without_its_own_facts_the_index_and_the_region_count() -> None:
    """Evidence of another form is judged by what the index has, and the region it names."""
    body = {**lossy(None), "region": "brain"}
    found = judge(body, replace(PIXELS, body_part=""), TODAY)
    assert "above the 5:1" in found.reasons[0]
    assert judge(lossy(None), PIXELS, TODAY).change is Change.NONE
    assert judge(lossy(None), replace(PIXELS, is_already_lossy=True), TODAY).change is Change.NONE


# ---- lossless copies -----------------------------------------------------------------------------------------------


def test_what_went_cold_before_lossy_copies_were_on_could_be() -> None:
    """Without evidence the index decides whether it is worth a look."""
    assert judge(None, PIXELS, TODAY).change is Change.COULD_BE_LOSSY
    assert judge(None, NO_PIXELS, TODAY).change is Change.NONE
    assert judge(None, replace(PIXELS, is_already_lossy=True), TODAY).change is Change.NONE
    assert judge(None, PIXELS, Today(None, GATES)).change is Change.NONE


def test_rules_that_were_loosened_find_what_they_would_allow() -> None:
    """What a site forbade once, and does not today."""
    strict = load_rules("drg", SiteRules(never_modalities=frozenset({"CT"})))
    found = judge(lossless(strict), NO_PIXELS, TODAY)
    assert found.change is Change.COULD_BE_LOSSY and "forbade" in found.reasons[0]
    assert judge(lossless(strict), NO_PIXELS, Today(strict, GATES)).change is Change.NONE


def test_the_pixels_of_then_count() -> None:
    """What the index cannot see goes on forbidding: measured values stay lossless."""
    measured = replace(PIXELS, is_quantitative=True)
    assert judge(lossless(facts=measured), PIXELS, TODAY).change is Change.NONE


def test_what_failed_the_gate_is_worth_another_try_with_others() -> None:
    """By the same gates it would fail again."""
    assert judge(lossless(), NO_PIXELS, TODAY).change is Change.NONE
    found = judge(lossless(), NO_PIXELS, gates())
    assert found.change is Change.COULD_BE_LOSSY and "gates of tomorrow" in found.reasons[0]


# ---- what evidence keeps -------------------------------------------------------------------------------------------


def test_facts_survive_the_evidence() -> None:
    """Written as canonical JSON and read back they are the same, sets and all."""
    import json

    for facts in (PIXELS, replace(PIXELS, obstacles=("000001.dcm: it is digitally signed",))):
        body = json.loads(lossy_evidence.encoded(lossy(facts)))
        assert lossy_evidence.facts_of(body) == facts


@pytest.mark.parametrize("facts", [None, "CT", {}, {"modality": "CT", "colour": "red"}])
def test_facts_that_are_not_clear_are_none(facts: object) -> None:
    """Evidence of another version is not guessed at."""
    assert lossy_evidence.facts_of({"facts": facts}) is None
    assert lossy_evidence.facts_of({}) is None
