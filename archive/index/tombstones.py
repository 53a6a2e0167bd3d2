"""What remains of destroyed instances: UIDs, digests and the list on which they went; must not delete anything."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from archive.errors import NoSuchStudy, StudyDestroyed
from archive.index.records import from_text, to_text
from archive.index.session import Connection
from archive.index.statements import Row, Statement, insert_into, rows_in


@dataclass(frozen=True, slots=True)
class Tombstone:
    """One destroyed instance; ``dataset_sha256`` (32 bytes) is the digest of the data set that was destroyed."""

    sop_instance_uid: str
    study_instance_uid: str
    list_id: str
    dataset_sha256: bytes
    destroyed_at: datetime


_COLUMNS: Final = ("sop_instance_uid", "study_instance_uid", "list_id", "dataset_sha256", "destroyed_at")
_SELECT: Final = f"SELECT {', '.join(_COLUMNS)} FROM tombstone"
_ADD: Final = insert_into(
    "tombstone",
    _COLUMNS,
    " ON CONFLICT (sop_instance_uid) DO UPDATE SET study_instance_uid = excluded.study_instance_uid, "
    "list_id = excluded.list_id, dataset_sha256 = excluded.dataset_sha256, destroyed_at = excluded.destroyed_at",
)
_OF_UID: Final = Statement(
    f"{_SELECT} WHERE sop_instance_uid = ? UNION ALL {_SELECT} WHERE study_instance_uid = ? ORDER BY 1"
)
_BY_SOP: Final = f"{_SELECT} WHERE sop_instance_uid IN (%s)"
_ANY: Final = Statement("SELECT 1 FROM tombstone LIMIT 1")


def add(connection: Connection, stones: Iterable[Tombstone]) -> None:
    """Put up tombstones; of a UID that was destroyed twice the last one counts."""
    rows = [
        (each.sop_instance_uid, each.study_instance_uid, each.list_id, each.dataset_sha256, to_text(each.destroyed_at))
        for each in stones
    ]
    if rows:
        _ADD.run_many(connection, rows)


def iter_of(connection: Connection, uid: str) -> Iterator[Tombstone]:
    """Yield what was destroyed under a SOP or a Study Instance UID."""
    return map(_tombstone, _OF_UID.rows(connection, (uid, uid)))


def why_not_here(connection: Connection, study_instance_uid: str) -> NoSuchStudy:
    """Return the error for a study that is not here: whether it was destroyed, and on which list."""
    stone = next(iter_of(connection, study_instance_uid), None)
    if stone is None:
        return NoSuchStudy(study_instance_uid=study_instance_uid)
    return StudyDestroyed(study_instance_uid=study_instance_uid, list_id=stone.list_id)


def find(connection: Connection, sop_instance_uid: str) -> Tombstone | None:
    """Return the tombstone of an instance, or None."""
    return next(iter_among(connection, [sop_instance_uid]), None)


def iter_among(connection: Connection, sop_instance_uids: Collection[str]) -> Iterator[Tombstone]:
    """Yield the tombstones of those of these instances that were destroyed."""
    return map(_tombstone, rows_in(connection, _BY_SOP, sop_instance_uids))


def exist(connection: Connection) -> bool:
    """Tell whether anything was ever destroyed."""
    return _ANY.one(connection) is not None


def _tombstone(row: Row) -> Tombstone:
    uid, study, list_id, digest, at = row
    return Tombstone(uid, study, list_id, bytes(digest), from_text(at))
