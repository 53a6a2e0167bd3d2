"""Cold packs that are lossless, for who would make lossy ones of them; must not judge whether they may, nor switch.

A pack that waits to be trimmed is none of them: what takes its place is there already.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from archive.index import scrub
from archive.index.migrated import ColdPack
from archive.index.session import Connection
from archive.index.statements import Statement, rows_in

_IS_LOSSLESS: Final = (
    "tier = 'cold' AND NOT EXISTS (SELECT 1 FROM pack_trim WHERE pack_trim.key = pack.key) "
    "AND EXISTS (SELECT 1 FROM location WHERE pack_fk = pack.id) "
    "AND NOT EXISTS (SELECT 1 FROM location JOIN instance ON instance.id = instance_fk "
    "JOIN successor ON successor_uid = instance.sop_instance_uid WHERE pack_fk = pack.id)"
)
_STUDIES: Final = Statement(
    "SELECT study.id, study.study_instance_uid FROM study WHERE study.id > ? "
    "AND (CAST(? AS TEXT) IS NULL OR study.site = ?) AND EXISTS (SELECT 1 FROM pack "
    "WHERE pack.study_instance_uid = study.study_instance_uid AND tier = 'cold') AND NOT EXISTS "
    "(SELECT 1 FROM set_aside WHERE set_aside.study_instance_uid = study.study_instance_uid AND attempts >= ?) "
    "ORDER BY study.id LIMIT ?"
)
_DECIDED: Final = (
    "SELECT pack.id, study.id, pack.study_instance_uid, pack.series_instance_uid, study.site, pack.size_bytes, "
    "evidence.body, 0 FROM pack JOIN study ON study.study_instance_uid = pack.study_instance_uid "
    "LEFT JOIN evidence ON evidence.pack_key = pack.key "
    f"WHERE {_IS_LOSSLESS} AND pack.study_instance_uid IN (%s)"
)
_PACK_IDS: Final = Statement(
    f"SELECT pack.id FROM pack WHERE {_IS_LOSSLESS} AND study_instance_uid = ? ORDER BY series_instance_uid, key"
)
_CLASSES: Final = Statement(
    "SELECT DISTINCT pack.id, sop_class_uid FROM pack JOIN location ON pack_fk = pack.id "
    "JOIN instance ON instance.id = instance_fk WHERE pack.study_instance_uid = ? AND pack.tier = 'cold'"
)
_HOT: Final = Statement("SELECT COUNT(*) FROM pack WHERE study_instance_uid = ? AND tier = 'hot'")
_TWICE: Final = Statement(
    "SELECT COUNT(*) FROM location AS one JOIN pack ON pack.id = one.pack_fk WHERE pack.study_instance_uid = ? "
    "AND EXISTS (SELECT 1 FROM location AS other WHERE other.instance_fk = one.instance_fk AND other.id <> one.id)"
)
_SITE: Final = Statement("SELECT site FROM study WHERE study_instance_uid = ?")
_WAITING: Final = Statement("SELECT COUNT(*) FROM pack_trim WHERE study_instance_uid = ?")


def studies(
    connection: Connection, after_id: int, limit: int, *, attempts: int, site: str | None = None
) -> list[tuple[int, str]]:
    """Return (row id, UID) of the next studies with something cold, without those that failed so often."""
    return [(row[0], row[1]) for row in _STUDIES.rows(connection, (after_id, site, site, attempts, limit))]


def decided(connection: Connection, study_instance_uids: Collection[str]) -> list[ColdPack]:
    """Return the lossless cold packs of these studies, each with what was kept of the decision."""
    return sorted(ColdPack(*row) for row in rows_in(connection, _DECIDED, study_instance_uids))


def packs(connection: Connection, study_instance_uid: str) -> list[scrub.ColdPack]:
    """Return the lossless cold packs of a study with the copies in them, series by series."""
    rows = list(_PACK_IDS.rows(connection, (study_instance_uid,)))
    found = (scrub.find_cold_pack(connection, row[0]) for row in rows)
    return [pack for pack in found if pack is not None]


def site_of(connection: Connection, study_instance_uid: str) -> str:
    """Return the site of a study, "" of one that there is not."""
    row = _SITE.one(connection, (study_instance_uid,))
    return "" if row is None else str(row[0])


def classes(connection: Connection, study_instance_uid: str) -> dict[int, set[str]]:
    """Return the SOP classes of what is given from the cold packs of a study, by row of the pack."""
    found: dict[int, set[str]] = {}
    for pack_id, sop_class in _CLASSES.rows(connection, (study_instance_uid,)):
        found.setdefault(pack_id, set()).add(sop_class)
    return found


def has_hot(connection: Connection, study_instance_uid: str) -> bool:
    """Tell whether a study has a hot pack, be it that it waits to be trimmed."""
    row = _HOT.one(connection, (study_instance_uid,))
    return row is not None and bool(row[0])


def unfit(connection: Connection, study_instance_uid: str) -> str:
    """Say what of a study is hot, or waits to be trimmed; "" when all of it is settled in the cold tier."""
    for statement, words in (
        (_WAITING, "packs wait for the end of the grace period; they are trimmed, or rolled back, first"),
        (_HOT, "packs are in the hot tier still"),
        (_TWICE, "copies are not the only ones of their instances"),
    ):
        row = statement.one(connection, (study_instance_uid,))
        if row is not None and row[0]:
            return f"{row[0]} of its {words}"
    return ""
