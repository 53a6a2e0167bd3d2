"""Packs that cold ones stand in for: which may go, what stands in, and the way back; must not touch an object.

They are hot, or cold ones without loss that lossy copies replaced later.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from archive.index.cold import NotAsPlanned, pack_row
from archive.index.packs import PackRow
from archive.index.records import to_text
from archive.index.session import Connection
from archive.index.statements import Statement

_PACK: Final = (
    "pack.key, pack.tier, pack.study_instance_uid, pack.series_instance_uid, pack.generation, pack.size_bytes, "
    "pack.sha256, pack.created_at, pack.store_generation"
)
_WAITING: Final = Statement(
    f"SELECT {_PACK} FROM pack_trim JOIN pack ON pack.key = pack_trim.key WHERE since < ? AND pack_trim.key > ? "
    "ORDER BY pack_trim.key LIMIT ?"
)
_OF_STUDY: Final = Statement(
    f"SELECT {_PACK} FROM pack_trim JOIN pack ON pack.key = pack_trim.key WHERE pack_trim.study_instance_uid = ? "
    "ORDER BY pack.key"
)
_IS_RETIRED: Final = Statement("SELECT 1 FROM retired JOIN pack ON pack.id = pack_fk WHERE pack.key = ? LIMIT 1")
_GIVEN: Final = (
    "(SELECT instance_fk FROM location JOIN pack ON pack.id = pack_fk WHERE pack.key = ? "
    "UNION SELECT instance_fk FROM retired JOIN pack ON pack.id = pack_fk WHERE pack.key = ?)"
)
_NOT_COLD: Final = Statement(
    f"SELECT COUNT(*) FROM {_GIVEN} AS given WHERE NOT EXISTS (SELECT 1 FROM location "
    "WHERE location.instance_fk = given.instance_fk AND tier = 'cold' AND state = 'present')"
)
_STAND_INS: Final = Statement(
    f"SELECT DISTINCT {_PACK} FROM {_GIVEN} AS given JOIN location ON location.instance_fk = given.instance_fk "
    "JOIN pack ON pack.id = location.pack_fk WHERE location.tier = 'cold' AND state = 'present' ORDER BY 1"
)
_FORGET: Final = (
    Statement("DELETE FROM retired WHERE pack_fk = (SELECT id FROM pack WHERE key = ?)"),
    Statement("DELETE FROM location WHERE pack_fk = (SELECT id FROM pack WHERE key = ?)"),
    Statement("DELETE FROM evidence WHERE pack_key = ?"),
    Statement("DELETE FROM pack WHERE key = ?"),
    Statement("DELETE FROM pack_trim WHERE key = ?"),
)
_PUT_BACK: Final = Statement(
    "UPDATE instance SET sop_instance_uid = was.sop_instance_uid, transfer_syntax_uid = was.transfer_syntax_uid, "
    "dataset_sha256 = was.dataset_sha256, dataset_size = was.dataset_size FROM successor AS was, retired "
    "WHERE was.successor_uid = instance.sop_instance_uid AND retired.instance_fk = instance.id AND retired.pack_fk = ?"
)
_RETURN: Final = Statement(
    "INSERT INTO location (instance_fk, tier, key, sha256, header_size, size_bytes, state, pack_fk, offset_bytes, "
    "transfer_syntax_uid, dataset_sha256) SELECT instance_fk, pack.tier, retired.key, retired.sha256, header_size, "
    "retired.size_bytes, 'present', pack_fk, offset_bytes, transfer_syntax_uid, dataset_sha256 FROM retired "
    "JOIN pack ON pack.id = pack_fk WHERE pack_fk = ?"
)
_DROP_RETIRED: Final = Statement("DELETE FROM retired WHERE pack_fk = ?")
_PACK_ID: Final = Statement("SELECT id FROM pack WHERE key = ?")
_DROP_SUCCESSORS: Final = Statement(
    "DELETE FROM successor WHERE study_instance_uid = ? AND EXISTS (SELECT 1 FROM instance AS now "
    "WHERE now.sop_instance_uid = successor.sop_instance_uid AND now.dataset_sha256 = successor.dataset_sha256)"
)
_GIVEN_BY_WAITING: Final = (
    "instance_fk IN (SELECT instance_fk FROM {} WHERE pack_fk IN "
    "(SELECT pack.id FROM pack JOIN pack_trim ON pack_trim.key = pack.key WHERE pack_trim.study_instance_uid = ?))"
)
_STANDING_IN: Final = Statement(
    "SELECT pack.id FROM pack WHERE study_instance_uid = ? AND tier = 'cold' "
    "AND NOT EXISTS (SELECT 1 FROM pack_trim WHERE pack_trim.key = pack.key) AND EXISTS (SELECT 1 FROM location "
    f"WHERE pack_fk = pack.id AND ({_GIVEN_BY_WAITING.format('retired')} OR {_GIVEN_BY_WAITING.format('location')}))"
)
_TO_UPLOAD: Final = Statement(
    "INSERT INTO upload (key, study_instance_uid, size_bytes, sha256, since) "
    "SELECT key, study_instance_uid, size_bytes, sha256, CAST(? AS TEXT) FROM pack WHERE id = ?"
)
_DROP_COLD: Final = (
    Statement("DELETE FROM location WHERE pack_fk = ?"),
    Statement("DELETE FROM evidence WHERE pack_key = (SELECT key FROM pack WHERE id = ?)"),
    Statement("DELETE FROM pack WHERE id = ?"),
)
_DROP_TRIMS: Final = Statement("DELETE FROM pack_trim WHERE study_instance_uid = ?")
_CONDEMN: Final = Statement("UPDATE pack_trim SET since = '' WHERE key = ?")
_SPARE: Final = Statement("UPDATE pack_trim SET since = ? WHERE key = ? AND since = ''")
_IS_CONDEMNED: Final = Statement("SELECT 1 FROM pack_trim WHERE key = ? AND since = ''")
_CONDEMNED: Final = Statement("SELECT COUNT(*) FROM pack_trim WHERE study_instance_uid = ? AND since = ''")
_ONLY_COLD: Final = Statement(
    "SELECT COUNT(*) FROM location WHERE tier = 'cold' AND pack_fk IN "
    "(SELECT id FROM pack WHERE study_instance_uid = ? AND tier = 'cold') "
    "AND NOT EXISTS (SELECT 1 FROM location AS hot "
    "WHERE hot.instance_fk = location.instance_fk AND hot.tier = 'hot' AND hot.state = 'present') "
    "AND NOT EXISTS (SELECT 1 FROM retired WHERE retired.instance_fk = location.instance_fk)"
)


@dataclass(frozen=True, slots=True)
class StandIns:
    """What stands in for a pack: the cold packs, and how many of its instances none of them has."""

    packs: Sequence[PackRow]
    uncovered: int


def waiting(connection: Connection, before: datetime, after_key: str, limit: int) -> list[PackRow]:
    """Return the next packs that cold ones stand in for since before a moment, by key."""
    return [pack_row(row) for row in _WAITING.rows(connection, (to_text(before), after_key, limit))]


def waiting_of(connection: Connection, study_instance_uid: str) -> list[PackRow]:
    """Return the packs of a study that cold ones stand in for."""
    return [pack_row(row) for row in _OF_STUDY.rows(connection, (study_instance_uid,))]


def is_lossless_original(connection: Connection, key: str) -> bool:
    """Tell whether a pack holds what lossy copies replaced."""
    return _IS_RETIRED.one(connection, (key,)) is not None


def stand_ins(connection: Connection, key: str) -> StandIns:
    """Return what stands in for all that is, or was, given from a pack."""
    missing = _NOT_COLD.one(connection, (key, key))
    found = [pack_row(row) for row in _STAND_INS.rows(connection, (key, key)) if row[0] != key]
    assert missing is not None
    return StandIns(found, int(missing[0]))


def condemn(connection: Connection, key: str) -> bool:
    """Say that a pack is about to be deleted, unless it was rolled back; tell whether it still waits.

    From here on nobody can go back to it, whatever a crash does to the deletion.
    """
    changed: int = _CONDEMN.run(connection, (key,)).rowcount
    return changed == 1


def is_condemned(connection: Connection, key: str) -> bool:
    """Tell whether a pack is about to be deleted."""
    return _IS_CONDEMNED.one(connection, (key,)) is not None


def spare(connection: Connection, key: str, at: datetime) -> None:
    """Say that a pack that was about to be deleted stays after all: it waits anew."""
    _SPARE.run(connection, (to_text(at), key))


def forget(connection: Connection, key: str) -> None:
    """Take a pack that is gone out of the index."""
    for statement in _FORGET:
        statement.run(connection, (key,))


def roll_back(connection: Connection, study_instance_uid: str, at: datetime) -> Sequence[PackRow]:
    """Give a study from the packs again that wait to be trimmed; return these. What stood in waits to be discarded.

    Raises NotAsPlanned when there are none, one of them is being deleted, or a study that would be hot again is in the
    cold store alone in part.
    """
    study = study_instance_uid
    waiting = waiting_of(connection, study)
    if not waiting:
        raise NotAsPlanned("no pack of it waits to be trimmed: there is nothing to go back to")
    if _count(_CONDEMNED, connection, study):
        raise NotAsPlanned("one of its packs is being deleted: its grace period is over")
    only_cold = _count(_ONLY_COLD, connection, study) if any(pack.tier == "hot" for pack in waiting) else 0
    if only_cold:
        raise NotAsPlanned(f"{only_cold} of its instances are in the cold store alone")
    for (pack_id,) in list(_STANDING_IN.rows(connection, (study, study, study))):
        _TO_UPLOAD.run(connection, (to_text(at), pack_id))
        for statement in _DROP_COLD:
            statement.run(connection, (pack_id,))
    for pack in waiting:
        row = _PACK_ID.one(connection, (pack.key,))
        assert row is not None
        for statement in (_PUT_BACK, _RETURN, _DROP_RETIRED):
            statement.run(connection, (row[0],))
    for statement in (_DROP_SUCCESSORS, _DROP_TRIMS):
        statement.run(connection, (study,))
    return waiting


def _count(statement: Statement, connection: Connection, study_instance_uid: str) -> int:
    row = statement.one(connection, (study_instance_uid,))
    assert row is not None
    return int(row[0])
