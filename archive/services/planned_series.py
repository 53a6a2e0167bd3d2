"""The series of a study as the plan of migration sees them, made of rows of the index; must not ask for any."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from archive.index.tiering import Contents, First, PlannedPack
from tiering.lossy_rules import SeriesFacts
from tiering.policy import SeriesHolding
from tiering.transcode.eligible import LOSSY_UIDS


def series_of(
    packs: Sequence[PlannedPack], copies: Mapping[int, int], contents: Sequence[Contents], *, has_received: bool
) -> tuple[list[SeriesHolding], str]:
    """Return what of a study lies in hot packs, series by series, and what of it is not in packs alone ("" nothing)."""
    by_uid = {each.series_instance_uid: each for each in contents}
    series = []
    for uid in sorted({pack.series_instance_uid for pack in packs if pack.is_hot}):
        hot = [pack for pack in packs if pack.is_hot and pack.series_instance_uid == uid]
        instances = sum(copies.get(pack.pack_id, 0) for pack in hot)
        size = sum(pack.size_bytes for pack in hot)
        known = by_uid.get(uid)
        series.append(SeriesHolding(uid, known.modality if known else "", instances, size, facts_of(known)))
    return series, _unsealed(packs, copies, contents, has_received=has_received)


def _unsealed(
    packs: Sequence[PlannedPack], copies: Mapping[int, int], contents: Sequence[Contents], *, has_received: bool
) -> str:
    # Of a pack that waits to be trimmed the cold twin counts.
    packed = sum(copies.get(pack.pack_id, 0) for pack in packs if not pack.waits)
    loose = sum(sum(each.classes.values()) for each in contents) - packed
    if loose > 0:
        return f"{loose} of its instances are not sealed yet"
    return "files that were received still lie beside its packs (sealing.grace_hours)" if has_received else ""


def facts_of(contents: Contents | None) -> SeriesFacts:
    """Return what the index tells of the pixels of a series: those of its first instance stand for all."""
    if contents is None:
        return SeriesFacts("", frozenset(), frozenset(), 0, 0)
    first = contents.first or First(*([""] * len(First._fields)))
    return SeriesFacts(
        modality=contents.modality,
        sop_class_uids=frozenset(contents.classes),
        photometrics=frozenset({first.photometric_interpretation.strip().upper()} - {""}),
        bits_allocated=_number(first.bits_allocated),
        bits_stored=_number(first.bits_stored),
        samples=_number(first.samples_per_pixel) or 1,
        body_part=contents.body_part,
        image_types=frozenset(word.strip().upper() for word in first.image_type.split("\\") if word.strip()),
        is_already_lossy=first.lossy_image_compression == "01" or first.transfer_syntax_uid in LOSSY_UIDS,
    )


def _number(text: str) -> int:
    return int(text) if text.strip().isdecimal() else 0
