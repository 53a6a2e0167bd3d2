"""Which series may be compressed with loss, how far, and that a site can only forbid more."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, strategies as st

from tiering.lossy_rules import LossyRules, SeriesFacts, SiteRules, Verdict, may_be_lossy
from tiering.lossy_tables import load_gates, load_rules

CT = SeriesFacts(
    modality="CT",
    sop_class_uids=frozenset({"1.2.840.10008.5.1.4.1.1.2"}),
    photometrics=frozenset({"MONOCHROME2"}),
    bits_allocated=16,
    bits_stored=12,
    body_part="CHEST",
    image_types=frozenset({"ORIGINAL", "PRIMARY", "AXIAL"}),
)
SOP_CLASSES = {
    "CR": "1.2.840.10008.5.1.4.1.1.1",
    "DX": "1.2.840.10008.5.1.4.1.1.1.1",
    "MR": "1.2.840.10008.5.1.4.1.1.4",
    "RF": "1.2.840.10008.5.1.4.1.1.12.2",
    "US": "1.2.840.10008.5.1.4.1.1.6.1",
    "XA": "1.2.840.10008.5.1.4.1.1.12.1",
    "MG": "1.2.840.10008.5.1.4.1.1.1.2",
    "NM": "1.2.840.10008.5.1.4.1.1.20",
}


def of(modality: str, **changes: Any) -> SeriesFacts:
    """Return an ordinary series of a modality, with some changes."""
    uid = SOP_CLASSES.get(modality, "1.2.840.10008.5.1.4.1.1.2")
    return replace(CT, **({"modality": modality, "sop_class_uids": frozenset({uid})} | changes))


def verdict(facts: SeriesFacts, table: str = "drg", **site: Any) -> Verdict:
    """Return the verdict under a table and what a site adds."""
    return may_be_lossy(facts, load_rules(table, SiteRules(**site)))


@pytest.mark.parametrize(
    ("modality", "body_part", "drg", "car"),
    [
        ("CT", "BRAIN", 5, 12),
        ("CT", "Head", 5, 12),
        ("CT", "CHEST", 8, 15),
        ("CR", "CHEST", 10, 30),
        ("DX", "HAND", 10, 30),
        ("MR", "BRAIN", 7, 24),
        ("MR", "", 7, 24),
        ("XA", "HEART", 6, None),
        ("RF", "ABDOMEN", 6, None),
        ("US", "LIVER", None, 12),
    ],
)
def test_caps_are_those_of_the_society(modality: str, body_part: str, drg: float | None, car: float | None) -> None:
    """Each society's ratio holds for its modality and region; what it does not name stays lossless."""
    for table, cap in (("drg", drg), ("car", car)):
        found = verdict(of(modality, body_part=body_part), table)
        assert (found.allowed, found.cap) == (cap is not None, cap)


@pytest.mark.parametrize("body_part", ["", "CSPINE", "NECK", "TOMATO", "HEADNECK"])
@pytest.mark.parametrize(("table", "lowest"), [("drg", 5), ("car", 12)])
def test_an_unknown_region_may_be_a_brain(body_part: str, table: str, lowest: float) -> None:
    """A CT whose region is not known, or not known to be elsewhere, gets the lowest cap of CT."""
    assert verdict(of("CT", body_part=body_part), table).cap == lowest


@pytest.mark.parametrize(
    ("body_part", "codes", "cap"),
    [
        ("", {"69536005"}, 5),
        ("", {"51185008"}, 8),
        ("CHEST", {"51185008"}, 8),
        ("CHEST", {"12738006"}, 5),
        ("CHEST", {"0"}, 5),
        ("", {"51185008", "113345001"}, 8),
        (" chest ", set(), 8),
    ],
)
def test_words_and_codes_must_agree_on_the_region(body_part: str, codes: set[str], cap: float) -> None:
    """The region is known when body part and code say the same; contradiction counts as unknown."""
    assert verdict(of("CT", body_part=body_part, region_codes=frozenset(codes))).cap == cap


NEVER = {
    "mammography": (of("MG"), "mammography"),
    "segmentation": (of("SEG"), "segmentation"),
    "PET": (of("PT"), "measured"),
    "NM": (of("NM"), "measured"),
    "dose": (of("RTDOSE"), "radiotherapy"),
    "RT image": (of("RTIMAGE"), "radiotherapy"),
    "report": (of("SR"), "no image"),
    "presentation state": (of("PR"), "no image"),
    "key objects": (of("KO"), "no image"),
    "PDF": (of("DOC"), "no image"),
    "ECG": (of("ECG"), "no image"),
    "unknown modality": (of("ZZ"), "no ratio for modality ZZ"),
    "no modality": (of(""), "no ratio for modality unknown"),
    "single bits": (of("CT", bits_allocated=1, bits_stored=1), "single bits"),
    "one bit of eight": (of("CT", bits_allocated=8, bits_stored=1), "single bits"),
    "32 bits": (of("CT", bits_allocated=32, bits_stored=32), "32 bits stored"),
    "9 bits": (of("CT", bits_stored=9), "9 bits stored"),
    "more stored than allocated": (of("CT", bits_allocated=8), "12 bits stored in 8"),
    "float": (of("CT", has_float_pixels=True), "floating point"),
    "palette": (of("US", photometrics=frozenset({"PALETTE COLOR"})), "PALETTE COLOR"),
    "palette in monochrome": (of("CT", has_palette=True), "PALETTE COLOR"),
    "one palette among many": (of("US", photometrics=frozenset({"MONOCHROME2", "PALETTE COLOR"})), "PALETTE COLOR"),
    "unknown colours": (of("US", photometrics=frozenset({"HSV"})), "Photometric Interpretation HSV"),
    "no photometric": (of("CT", photometrics=frozenset()), "Photometric Interpretation unknown"),
    "already lossy": (of("CT", is_already_lossy=True), "already lossy"),
    "quantitative": (of("MR", is_quantitative=True), "measured"),
    "ADC map": (of("MR", image_types=frozenset({"DERIVED", "PRIMARY", "DIFFUSION", "ADC"})), "Image Type ADC"),
    "lower case map": (of("MR", image_types=frozenset({"derived", " adc "})), "Image Type ADC"),
    "perfusion": (of("CT", image_types=frozenset({"DERIVED", "PERFUSION"})), "Image Type PERFUSION"),
    "phase": (of("MR", image_types=frozenset({"ORIGINAL", "PHASE"})), "Image Type PHASE"),
    "secondary capture": (of("CT", sop_class_uids=frozenset({"1.2.840.10008.5.1.4.1.1.7"})), "SOP class"),
    "parametric map": (of("MR", sop_class_uids=frozenset({"1.2.840.10008.5.1.4.1.1.30"})), "SOP class"),
    "raw X-ray": (of("DX", sop_class_uids=frozenset({"1.2.840.10008.5.1.4.1.1.1.1.1"})), "SOP class"),
    "one odd class among many": (of("CT", sop_class_uids=CT.sop_class_uids | {"1.2.3"}), "SOP class 1.2.3"),
    "no class": (of("CT", sop_class_uids=frozenset()), "SOP class unknown"),
    "two samples": (of("US", samples=2), "2 samples"),
    "wide colours": (of("US", samples=3, photometrics=frozenset({"RGB"})), "3 samples of 16 bits"),
    "signed colours": (of("US", samples=3, bits_allocated=8, bits_stored=8, is_signed=True), "3 samples"),
}


@pytest.mark.parametrize(("facts", "reason"), NEVER.values(), ids=NEVER)
@pytest.mark.parametrize("table", ["drg", "car"])
def test_what_never_goes_lossy(facts: SeriesFacts, reason: str, table: str) -> None:
    """Each of these stays lossless whatever the table, has no cap, and the verdict says why."""
    found = verdict(facts, table)
    assert not found.allowed
    assert found.cap is None
    assert any(reason in one for one in found.reasons), found.reasons


def test_every_reason_is_given() -> None:
    """A series that may not go for several reasons is told all of them, so that none has to be found by trying."""
    found = verdict(of("PT", is_already_lossy=True, has_float_pixels=True))
    assert len(found.reasons) >= 4


def test_the_verdict_cites_its_source() -> None:
    """An allowed series is told whose ratio it is, in the source's own words."""
    (reason,) = verdict(CT).reasons
    assert "Konsensuskonferenz" in reason
    assert "CT (alle übrigen Anwendungen) 1:8" in reason


def test_colours_of_eight_bits_may() -> None:
    """Ultrasound in colour goes lossy where a table has a ratio for it."""
    facts = of("US", samples=3, bits_allocated=8, bits_stored=8, photometrics=frozenset({"RGB"}))
    assert verdict(facts, "car").cap == 12


def test_a_site_can_forbid_more() -> None:
    """Modalities, body parts and words of Image Type a site names stay lossless."""
    assert not verdict(CT, never_modalities=frozenset({"CT"})).allowed
    assert not verdict(CT, never_body_parts=frozenset({"CHEST"})).allowed
    assert not verdict(CT, never_image_types=frozenset({"AXIAL"})).allowed
    assert verdict(CT, never_modalities=frozenset({"MR"})).allowed


def test_a_site_can_lower_a_cap_and_not_raise_it() -> None:
    """A lower cap holds and is told; a higher one than the society's changes nothing."""
    lowered = verdict(CT, caps={"CT": 4.0})
    assert lowered.cap == 4.0
    assert "lowered to 4:1 by the site" in lowered.reasons[0]
    assert verdict(CT, caps={"CT": 40.0}).cap == 8.0
    assert not verdict(of("US"), caps={"US": 5.0}).allowed


MODALITIES = st.sampled_from(["CT", "MR", "CR", "DX", "MG", "US", "XA", "PT", "SEG", "ZZ"])
FACTS = st.builds(
    of,
    MODALITIES,
    body_part=st.sampled_from(["", "BRAIN", "CHEST", "TOMATO"]),
    bits_stored=st.integers(1, 16),
    is_already_lossy=st.booleans(),
    has_float_pixels=st.booleans(),
    photometrics=st.frozensets(st.sampled_from(["MONOCHROME1", "MONOCHROME2", "PALETTE COLOR"]), max_size=2),
)
SITES = st.builds(
    SiteRules,
    never_modalities=st.frozensets(MODALITIES, max_size=2),
    never_body_parts=st.frozensets(st.sampled_from(["BRAIN", "CHEST"]), max_size=1),
    never_image_types=st.frozensets(st.sampled_from(["AXIAL", "OTHER"]), max_size=1),
    caps=st.dictionaries(MODALITIES, st.floats(1.1, 50), max_size=3),
)


@given(FACTS, SITES, st.sampled_from(["drg", "car"]))
def test_a_site_only_tightens(facts: SeriesFacts, site: SiteRules, table: str) -> None:
    """Whatever a site adds, nothing becomes allowed that was not, and no cap rises."""
    plain, tightened = may_be_lossy(facts, load_rules(table)), may_be_lossy(facts, load_rules(table, site))
    assert plain.allowed or not tightened.allowed
    assert (tightened.cap or 0) <= (plain.cap or 0)
    assert tightened.allowed == (tightened.cap is not None)
    assert tightened.reasons


@given(FACTS)
def test_a_region_that_is_not_known_never_helps(facts: SeriesFacts) -> None:
    """Leaving the body part out never raises the cap."""
    unknown = verdict(replace(facts, body_part="", region_codes=frozenset()))
    assert (unknown.cap or 0) <= (verdict(facts).cap or 0)


def test_every_allowed_modality_has_a_gate() -> None:
    """No table allows a modality whose errors nothing limits."""
    gates = load_gates()
    for table in ("drg", "car"):
        rules = load_rules(table)
        for cap in rules.table.caps:
            if cap.modality not in rules.never.modalities:
                assert gates.find(cap.modality, cap.region) is not None, cap


def test_rules_name_their_version() -> None:
    """Evidence can tell under which rules a series went."""
    rules = load_rules()
    assert rules.version == "drg 2008, never 2026.1"
    assert isinstance(rules, LossyRules)


def test_what_a_pipeline_cannot_carry_forbids() -> None:
    """Whatever the rules say; each obstacle is a reason."""
    found = verdict(replace(CT, obstacles=("its instances differ in bits", "000003.dcm: it is digitally signed")))
    assert not found.allowed
    assert found.reasons == ("its instances differ in bits", "000003.dcm: it is digitally signed")


def test_a_site_s_word_for_the_body_holds_for_any_instance() -> None:
    """Instances that differ in it, and codes, are all asked."""
    mixed = replace(CT, body_part="CHEST", region_codes=frozenset({"HEAD"}))
    assert not verdict(mixed, never_body_parts=frozenset({"HEAD"})).allowed
    coded = replace(CT, body_part="", region_codes=frozenset({"51185008"}))
    assert not verdict(coded, never_body_parts=frozenset({"51185008"})).allowed


def test_an_object_without_pixels_gets_no_reasons_about_bits() -> None:
    """A report is no image: that is said, and not that zero bits are too few."""
    reasons = verdict(replace(CT, modality="SR", bits_allocated=0, bits_stored=0, photometrics=frozenset())).reasons
    assert any("no image" in reason for reason in reasons)
    assert not any("bits" in reason or "Photometric" in reason for reason in reasons)
