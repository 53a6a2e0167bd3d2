"""What lies in the cold tier, with what was kept of the decision how; must not judge it."""

from __future__ import annotations

from typing import Final, NamedTuple

from archive.index.session import Connection
from archive.index.statements import Statement


class ColdPack(NamedTuple):
    """A cold pack; ``evidence`` is canonical JSON, None where nothing was tried.

    ``can_go_back``: what it took the place of still waits to be trimmed.
    """

    pack_id: int
    study_id: int
    study_instance_uid: str
    series_instance_uid: str
    site: str
    size_bytes: int
    evidence: str | None
    can_go_back: int


_PAGE: Final = Statement(
    "SELECT pack.id, study.id, pack.study_instance_uid, pack.series_instance_uid, study.site, pack.size_bytes, "
    "evidence.body, CASE WHEN EXISTS (SELECT 1 FROM pack_trim "
    "WHERE pack_trim.study_instance_uid = pack.study_instance_uid) AND EXISTS "
    "(SELECT 1 FROM location JOIN retired ON retired.instance_fk = location.instance_fk "
    "WHERE location.pack_fk = pack.id) THEN 1 ELSE 0 END FROM pack "
    "JOIN study ON study.study_instance_uid = pack.study_instance_uid "
    "LEFT JOIN evidence ON evidence.pack_key = pack.key "
    "WHERE pack.id > ? AND tier = 'cold' AND NOT EXISTS (SELECT 1 FROM pack_trim WHERE pack_trim.key = pack.key) "
    "AND (CAST(? AS TEXT) IS NULL OR study.site = ?) ORDER BY pack.id LIMIT ?"
)


def cold_packs(connection: Connection, after_id: int, limit: int, site: str | None = None) -> list[ColdPack]:
    """Return the next cold packs in the order in which they were indexed, of a site or of all."""
    return [ColdPack(*row) for row in _PAGE.rows(connection, (after_id, site, site, limit))]
