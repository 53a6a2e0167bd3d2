"""Series to ask ourselves for, and how long they took; must not ask."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final, NamedTuple

from archive.index.records import from_text, to_text
from archive.index.session import Connection
from archive.index.statements import Statement, insert_into

_PAGE: Final = 500
_NO_IMAGES: Final = "('SR', 'PR', 'KO', 'DOC', 'AU', 'PLAN', 'RTSTRUCT', 'RTPLAN', 'FID', 'REG')"
_HOT_COPY: Final = (
    "EXISTS (SELECT 1 FROM instance JOIN location ON instance_fk = instance.id "
    "WHERE series_fk = {series} AND location.tier = 'hot' AND location.state = 'present')"
)
_IN_USE: Final = "EXISTS (SELECT 1 FROM location WHERE location.pack_fk = page.id AND location.state = 'present')"
_HOT: Final = Statement(
    "SELECT study_instance_uid, page.series_instance_uid FROM "
    f"(SELECT id, study_fk, series_instance_uid, modality FROM series WHERE id >= ? ORDER BY id LIMIT {_PAGE}) AS page "
    f"JOIN study ON study.id = page.study_fk WHERE site = ? AND COALESCE(modality, '') NOT IN {_NO_IMAGES} "
    f"AND {_HOT_COPY.format(series='page.id')} ORDER BY page.id LIMIT 1"
)
_COLD: Final = Statement(
    "SELECT study.study_instance_uid, page.series_instance_uid FROM "
    "(SELECT id, study_instance_uid, series_instance_uid "
    f"FROM pack WHERE tier = 'cold' AND id >= ? ORDER BY id LIMIT {_PAGE}) AS page "
    "JOIN study ON study.study_instance_uid = page.study_instance_uid "
    "JOIN series ON series.study_fk = study.id AND series.series_instance_uid = page.series_instance_uid "
    f"WHERE site = ? AND COALESCE(modality, '') NOT IN {_NO_IMAGES} AND {_IN_USE} "
    f"AND NOT {_HOT_COPY.format(series='series.id')} ORDER BY page.id LIMIT 1"
)
_PICK: Final = {"hot": _HOT, "cold": _COLD}
_LAST_ID: Final = {
    "hot": Statement("SELECT COALESCE(MAX(id), 0) FROM series"),
    "cold": Statement("SELECT COALESCE(MAX(id), 0) FROM pack"),
}
_SITES: Final = Statement("SELECT DISTINCT site FROM study ORDER BY site")
_COLUMNS: Final = ("at", "tier", "site", "instances", "size_bytes", "first_ms", "whole_ms", "problem")
_ADD: Final = insert_into("probe", _COLUMNS)
_SINCE: Final = Statement(f"SELECT {', '.join(_COLUMNS)} FROM probe WHERE at >= ? ORDER BY at, id")
_FORGET: Final = Statement("DELETE FROM probe WHERE at < ?")


class Probed(NamedTuple):
    """One measurement; ``problem`` is empty when the whole series came. Nothing says which series it was."""

    at: datetime
    tier: str
    site: str
    instances: int
    size_bytes: int
    first_ms: int
    whole_ms: int
    problem: str


def pick(connection: Connection, tier: str, site: str, fractions: Sequence[float]) -> tuple[str, str] | None:
    """Return study and series UID of a series of images that is given from a tier, or None when none is met.

    It looks at 500 series behind each of some places, from 0.0, the oldest, to 1.0: a tier that is rare may be missed.
    """
    row = _LAST_ID[tier].one(connection)
    last = int(row[0]) if row else 0
    for fraction in fractions:
        found = _PICK[tier].one(connection, (max(1, int(fraction * last)), site))
        if found is not None:
            return str(found[0]), str(found[1])
    return None


def sites(connection: Connection) -> list[str]:
    """Return the sites that have studies."""
    return [str(site) for (site,) in _SITES.rows(connection)]


def add(connection: Connection, probed: Probed) -> None:
    """Keep a measurement."""
    _ADD.run(connection, (to_text(probed.at), *probed[1:]))


def since(connection: Connection, moment: datetime) -> list[Probed]:
    """Return what was measured from a moment on, oldest first."""
    return [Probed(from_text(at), *rest) for at, *rest in _SINCE.rows(connection, (to_text(moment),))]


def forget_before(connection: Connection, moment: datetime) -> None:
    """Drop what was measured before a moment."""
    _FORGET.run(connection, (to_text(moment),))
