"""What the index holds of studies that are hot, for the plan of their migration; must not decide which go.

Everything is asked for a page of studies at a time, through indexes. What has to be asked of every instance is asked of
those studies alone that are old enough, and answered by an index wherever one can.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from archive.index.session import Connection
from archive.index.statements import Row, Statement, rows_in


class PlannedStudy(NamedTuple):
    """A study with its stored assessment, if it has one; dates as ISO text, as in ``AssessmentRow``."""

    study_id: int
    study_instance_uid: str
    site: str
    is_assessed: int
    exam_on: str | None
    lossless_until: str | None
    blocked_by: str
    reassess_on: str | None
    error: str | None
    is_stale: int
    reading: str
    schedule_version: str
    size_bytes: int
    attempts: int


class PlannedPack(NamedTuple):
    """A pack of a study; ``waits``: cold copies stand in for it already."""

    study_instance_uid: str
    series_instance_uid: str
    pack_id: int
    tier: str
    size_bytes: int
    waits: int

    @property
    def is_hot(self) -> bool:
        """Tell whether it is still to go cold."""
        return self.tier == "hot" and not self.waits


class First(NamedTuple):
    """What the index tells of the first instance of a series; texts as the data set had them, "" for none."""

    transfer_syntax_uid: str
    photometric_interpretation: str
    samples_per_pixel: str
    bits_allocated: str
    bits_stored: str
    image_type: str
    lossy_image_compression: str


@dataclass(slots=True)
class Contents:
    """What a series has; ``classes`` are its SOP classes with how many instances of each."""

    study_id: int
    series_instance_uid: str
    modality: str
    body_part: str
    classes: dict[str, int] = field(default_factory=dict)
    first: First | None = None


_STUDY: Final = (
    "SELECT study.id, study.study_instance_uid, study.site, CASE WHEN assessed_at IS NULL THEN 0 ELSE 1 END, exam_on, "
    "lossless_until, COALESCE(blocked_by, ''), reassess_on, error, COALESCE(is_stale, 1), COALESCE(reading, ''), "
    "COALESCE(schedule_version, ''), COALESCE(size_bytes, 0), COALESCE(attempts, 0) FROM study "
    "LEFT JOIN assessment ON assessment.study_instance_uid = study.study_instance_uid "
    "LEFT JOIN set_aside ON set_aside.study_instance_uid = study.study_instance_uid"
)
_PAGE: Final = Statement(
    f"{_STUDY} WHERE study.id > ? AND (CAST(? AS TEXT) IS NULL OR study.site = ?) ORDER BY study.id LIMIT ?"
)
_BY_UID: Final = f"{_STUDY} WHERE study.study_instance_uid IN (%s)"
_PACKS: Final = (
    "SELECT pack.study_instance_uid, series_instance_uid, pack.id, tier, size_bytes, "
    "CASE WHEN pack_trim.key IS NULL THEN 0 ELSE 1 END FROM pack LEFT JOIN pack_trim ON pack_trim.key = pack.key "
    "WHERE pack.study_instance_uid IN (%s)"
)
_COPIES: Final = "SELECT pack_fk, COUNT(*) FROM location WHERE pack_fk IN (%s) GROUP BY pack_fk"
_SERIES: Final = (
    "SELECT id, study_fk, series_instance_uid, COALESCE(modality, ''), COALESCE(body_part_examined, '') "
    "FROM series WHERE study_fk IN (%s)"
)
_CLASSES: Final = (
    "SELECT series_fk, sop_class_uid, COUNT(*), MIN(id) FROM instance WHERE series_fk IN (%s) "
    "GROUP BY series_fk, sop_class_uid"
)
_FIRST: Final = (
    "SELECT series_fk, transfer_syntax_uid, COALESCE(photometric_interpretation, ''), COALESCE(samples_per_pixel, ''), "
    "COALESCE(bits_allocated, ''), COALESCE(bits_stored, ''), COALESCE(image_type, ''), "
    "COALESCE(lossy_image_compression, '') FROM instance WHERE id IN (%s)"
)
_OF_TRIM: Final = (
    "JOIN instance ON instance.series_fk = series.id JOIN trim ON trim.sop_instance_uid = instance.sop_instance_uid"
)
_UNTRIMMED: Final = Statement(f"SELECT DISTINCT study_fk FROM series {_OF_TRIM}")
_UNTRIMMED_OF: Final = f"SELECT DISTINCT study_fk FROM series {_OF_TRIM} WHERE study_fk IN (%s)"
_DUE: Final = Statement(
    "SELECT lossless_until, study_instance_uid FROM assessment WHERE lossless_until <= ? "
    "AND (lossless_until, study_instance_uid) > (?, ?) AND is_stale = 0 AND error IS NULL AND EXISTS "
    "(SELECT 1 FROM pack WHERE pack.study_instance_uid = assessment.study_instance_uid AND tier = 'hot' "
    "AND NOT EXISTS (SELECT 1 FROM pack_trim WHERE pack_trim.key = pack.key)) "
    "ORDER BY lossless_until, study_instance_uid LIMIT ?"
)


# ---- studies -------------------------------------------------------------------------------------------------------


def page(connection: Connection, after_id: int, limit: int, site: str | None = None) -> list[PlannedStudy]:
    """Return the next studies in the order of their row ids, of a site or of all."""
    return [PlannedStudy(*row) for row in _PAGE.rows(connection, (after_id, site, site, limit))]


def by_uid(connection: Connection, study_instance_uids: Collection[str]) -> list[PlannedStudy]:
    """Return the studies of these UIDs that the archive has, in the order of their row ids."""
    return sorted(PlannedStudy(*row) for row in rows_in(connection, _BY_UID, study_instance_uids))


def due(connection: Connection, day: str, after: tuple[str, str], limit: int) -> list[tuple[str, str]]:
    """Return the next (``lossless_until``, Study UID) after one, of studies with hot packs that are old enough.

    The oldest first; for proposing, the policy decides.
    """
    return [(row[0], row[1]) for row in _DUE.rows(connection, (day, *after, limit))]


# ---- what they have ------------------------------------------------------------------------------------------------


def packs(connection: Connection, study_instance_uids: Collection[str]) -> dict[str, list[PlannedPack]]:
    """Return the packs of both tiers by study; a study without any is left out."""
    found: dict[str, list[PlannedPack]] = defaultdict(list)
    for row in rows_in(connection, _PACKS, study_instance_uids):
        found[row[0]].append(PlannedPack(*row))
    return found


def copies(connection: Connection, pack_ids: Collection[int]) -> dict[int, int]:
    """Return how many copies the index has in each of these packs."""
    return {row[0]: int(row[1]) for row in rows_in(connection, _COPIES, pack_ids)}


def contents(connection: Connection, study_ids: Collection[int]) -> dict[int, list[Contents]]:
    """Return the series of these studies, by study, in no particular order."""
    series = {row[0]: Contents(*row[1:]) for row in rows_in(connection, _SERIES, study_ids)}
    firsts: dict[int, int] = {}
    for series_id, sop_class, count, first in rows_in(connection, _CLASSES, series):
        series[series_id].classes[sop_class] = int(count)
        firsts[series_id] = min(first, firsts.get(series_id, first))
    for row in _firsts(connection, firsts.values()):
        series[row[0]].first = First(*(str(each) for each in row[1:]))
    found: dict[int, list[Contents]] = defaultdict(list)
    for each in series.values():
        found[each.study_id].append(each)
    return found


def _firsts(connection: Connection, instance_ids: Collection[int]) -> Iterator[Row]:
    return rows_in(connection, _FIRST, instance_ids)


def untrimmed(connection: Connection) -> set[int]:
    """Return the row ids of all studies that still have files as they were received, beside packs."""
    return {row[0] for row in _UNTRIMMED.rows(connection)}


def untrimmed_of(connection: Connection, study_ids: Collection[int]) -> set[int]:
    """Return those of these studies that still have files as they were received, beside packs."""
    return {row[0] for row in rows_in(connection, _UNTRIMMED_OF, study_ids)}
