"""Whether a series may be compressed with loss, and how far at most; must not read a file nor a pixel.

The rules are data (`tiering/rules/*.toml`, read by `tiering.lossy_tables`). A series may be compressed with loss only
when nothing forbids it: an unknown SOP class, modality or Photometric Interpretation forbids it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

REPRESENTABLE_BITS = frozenset({*range(2, 9), *range(10, 17)})
"""Bits Stored a codestream of the same precision can be made for; see `tiering.transcode.irreversible`."""


@dataclass(frozen=True, slots=True)
class SeriesFacts:
    """What is known of a series; values as the data sets state them, those of all its instances together.

    `photometrics`, `image_types` (every value of Image Type and Frame Type) and `sop_class_uids` hold whatever any
    instance says. `region_codes` are the code values of Anatomic Region Sequence, and other words for the body where
    instances differ. `is_quantitative` tells of real world value mappings or units other than the modality's.
    `obstacles` is what keeps a pipeline from compressing it whatever the rules say, each a reason.
    """

    modality: str
    sop_class_uids: frozenset[str]
    photometrics: frozenset[str]
    bits_allocated: int
    bits_stored: int
    samples: int = 1
    is_signed: bool = False
    body_part: str = ""
    region_codes: frozenset[str] = frozenset()
    image_types: frozenset[str] = frozenset()
    is_already_lossy: bool = False
    has_float_pixels: bool = False
    has_palette: bool = False
    is_quantitative: bool = False
    obstacles: tuple[str, ...] = ()

    @property
    def body_words(self) -> frozenset[str]:
        """Return every word and code for the body, in capitals."""
        return frozenset({self.body_part.strip().upper(), *self.region_codes} - {""})


@dataclass(frozen=True, slots=True)
class Cap:
    """The highest ratio of a modality, or of one region of it; `quote` is the source's own words."""

    modality: str
    ratio: float
    quote: str
    region: str = ""


@dataclass(frozen=True, slots=True)
class CapTable:
    """The caps of one society: `source` names it in verdicts, `url` is where it was read."""

    name: str
    version: str
    source: str
    url: str
    caps: tuple[Cap, ...]


@dataclass(frozen=True, slots=True)
class NeverRules:
    """What no table can allow: reasons by modality and by word of Image Type, and what may be at all.

    `regions` gives the region of a body part's word or code.
    """

    version: str
    sop_classes: frozenset[str]
    photometrics: frozenset[str]
    modalities: Mapping[str, str]
    image_types: Mapping[str, str]
    regions: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class SiteRules:
    """What a site adds; it can only forbid more. `caps` are by modality, a higher one than the table's is void."""

    never_modalities: frozenset[str] = frozenset()
    never_body_parts: frozenset[str] = frozenset()
    never_image_types: frozenset[str] = frozenset()
    caps: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LossyRules:
    """A table of caps, what is never compressed with loss, and what the site adds."""

    table: CapTable
    never: NeverRules
    site: SiteRules = field(default_factory=SiteRules)

    @property
    def version(self) -> str:
        """Return what evidence names the rules by."""
        return f"{self.table.version}, {self.never.version}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a series may be compressed with loss; `cap` is None when it may not.

    `reasons` holds everything that forbids it, or the source of the cap. `region` is "" when not known.
    """

    allowed: bool
    cap: float | None
    reasons: tuple[str, ...]
    region: str = ""


def may_be_lossy(facts: SeriesFacts, rules: LossyRules) -> Verdict:
    """Return whether the series may be compressed with loss, under which cap, and why.

    The cap is a ratio of uncompressed bytes, in their allocated width, to compressed ones (PS3.3 C.7.6.1.1.5.2):
    counted in allocated bits a ratio is higher than in stored ones, so that the cap is reached sooner.
    """
    region = region_of(facts, rules.never)
    forbidden = (_forbidden_pixels(facts, rules.never), _forbidden_contents(facts, rules), _forbidden_by(facts, rules))
    reasons = (*facts.obstacles, *(reason for reasons in forbidden for reason in reasons))
    cap = find_cap(facts, rules, region)
    if cap is None:
        reasons += (f"{rules.table.name} has no ratio for modality {facts.modality or 'unknown'}",)
    if cap is None or reasons:
        return Verdict(False, None, reasons, region)
    ratio = min(cap.ratio, rules.site.caps.get(facts.modality, cap.ratio))
    where = "" if ratio == cap.ratio else f", lowered to {ratio:g}:1 by the site"
    return Verdict(True, ratio, (f"{rules.table.source}: {cap.quote}{where}",), region)


def region_of(facts: SeriesFacts, never: NeverRules) -> str:
    """Return the region the body part and the codes agree on, "" when they do not, or say nothing known."""
    found = {never.regions.get(word, "") for word in facts.body_words}
    return found.pop() if len(found) == 1 else ""


def find_cap(facts: SeriesFacts, rules: LossyRules, region: str) -> Cap | None:
    """Return the cap for a modality and region, None when the table has none.

    When the region is not known, the lowest cap of the modality holds: a body nobody named may be a brain.
    """
    caps = [cap for cap in rules.table.caps if cap.modality == facts.modality]
    exact = [cap for cap in caps if region and cap.region == region]
    return min(exact or caps, key=lambda cap: cap.ratio, default=None)


def _forbidden_pixels(facts: SeriesFacts, never: NeverRules) -> Iterator[str]:
    if facts.has_float_pixels:
        yield "the pixels are floating point numbers"
    if not facts.bits_allocated:
        return
    if facts.has_palette or "PALETTE COLOR" in facts.photometrics:
        yield "PALETTE COLOR: samples are indices (PS3.5 table 8.2.4-1 allows lossless only)"
    if facts.bits_allocated == 1 or facts.bits_stored == 1:
        yield "the pixels are single bits"
    elif facts.bits_allocated not in (8, 16) or facts.bits_stored not in REPRESENTABLE_BITS:
        yield f"{facts.bits_stored} bits stored in {facts.bits_allocated} cannot be compressed with loss"
    elif facts.bits_stored > facts.bits_allocated:
        yield f"{facts.bits_stored} bits stored in {facts.bits_allocated} cannot be"
    if facts.samples not in (1, 3) or (facts.samples == 3 and (facts.bits_allocated != 8 or facts.is_signed)):
        yield f"{facts.samples} samples of {facts.bits_allocated} bits"
    unknown = facts.photometrics - never.photometrics - {"PALETTE COLOR"}
    if unknown or not facts.photometrics:
        yield f"Photometric Interpretation {', '.join(sorted(unknown)) or 'unknown'}"


def _forbidden_contents(facts: SeriesFacts, rules: LossyRules) -> Iterator[str]:
    if facts.is_already_lossy:
        yield "it is already lossy: a second lossy compression is avoided"
    if facts.is_quantitative:
        yield "its values are measured"
    if facts.modality in rules.never.modalities:
        yield f"{facts.modality}: {rules.never.modalities[facts.modality]}"
    for word in sorted({word.strip().upper() for word in facts.image_types} & rules.never.image_types.keys()):
        yield f"Image Type {word}: {rules.never.image_types[word]}"
    unknown = facts.sop_class_uids - rules.never.sop_classes
    if unknown or not facts.sop_class_uids:
        yield f"SOP class {', '.join(sorted(unknown)) or 'unknown'} is not one that may be"


def _forbidden_by(facts: SeriesFacts, rules: LossyRules) -> Iterator[str]:
    site = rules.site
    if facts.modality in site.never_modalities:
        yield f"{facts.modality}: never, by the site's rules"
    for word in sorted(facts.body_words & site.never_body_parts):
        yield f"{word}: never, by the site's rules"
    for word in sorted({word.strip().upper() for word in facts.image_types} & site.never_image_types):
        yield f"Image Type {word}: never, by the site's rules"
