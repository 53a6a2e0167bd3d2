"""What a study holds at this moment, in one look: whose it is, its series, the digest of each; must not read a file."""

from __future__ import annotations

from hashlib import sha256
from typing import Final, NamedTuple

from archive.index.session import Connection
from archive.index.statements import Statement


class SeriesContent(NamedTuple):
    """A series of a study; ``generation`` changes whenever an instance comes, goes or has other bytes."""

    series_instance_uid: str
    instances: int
    generation: str


_SITE: Final = Statement("SELECT site FROM study WHERE study_instance_uid = ?")
_COPIES: Final = Statement(
    "SELECT series.series_instance_uid, instance.id, instance.sop_instance_uid, "
    "COALESCE(location.dataset_sha256, instance.dataset_sha256) "
    "FROM study JOIN series ON series.study_fk = study.id JOIN instance ON instance.series_fk = series.id "
    "LEFT JOIN location ON location.instance_fk = instance.id AND location.state = 'present' "
    "WHERE study.study_instance_uid = ? AND (? = '' OR series.series_instance_uid = ?) "
    "ORDER BY series.id, instance.id, location.tier DESC, location.id"
)


def site_of(connection: Connection, study_instance_uid: str) -> str | None:
    """Return the site that a study belongs to, None when it is not here."""
    row = _SITE.one(connection, (study_instance_uid,))
    return None if row is None else str(row[0])


def contents(connection: Connection, study_instance_uid: str, series_instance_uid: str = "") -> list[SeriesContent]:
    """Return the series of a study in the order in which they came, or one of them; by the copies they are given from.

    Those are the ones that ``StoredInstance.readable`` names: a hot one as long as there is one.
    """
    parameters = (study_instance_uid, series_instance_uid, series_instance_uid)
    found: dict[str, dict[int, tuple[str, bytes]]] = {}
    for series, instance, uid, digest in _COPIES.rows(connection, parameters):
        found.setdefault(series, {}).setdefault(instance, (uid, bytes(digest)))
    return [SeriesContent(series, len(copies), _generation(copies)) for series, copies in found.items()]


def _generation(copies: dict[int, tuple[str, bytes]]) -> str:
    digest = sha256()
    for uid, copy in copies.values():
        digest.update(uid.encode() + b"\0" + copy)
    return digest.hexdigest()[:32]
