"""Hot packs that cold ones stand in for: which may go, what stands in, and the way back; must not touch an object."""

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
    "transfer_syntax_uid, dataset_sha256) SELECT instance_fk, 'hot', key, sha256, header_size, size_bytes, 'present', "
    "pack_fk, offset_bytes, transfer_syntax_uid, dataset_sha256 FROM retired WHERE pack_fk = ?"
)
_DROP_RETIRED: Final = Statement("DELETE FROM retired WHERE pack_fk = ?")
_PACK_ID: Final = Statement("SELECT id FROM pack WHERE key = ?")
_DROP_SUCCESSORS: Final = Statement(
    "DELETE FROM successor WHERE study_instance_uid = ? AND EXISTS (SELECT 1 FROM instance AS now "
    "WHERE now.sop_instance_uid = successor.sop_instance_uid AND now.dataset_sha256 = successor.dataset_sha256)"
)
_DROP_COLD: Final = Statement(
    "DELETE FROM location WHERE tier = 'cold' AND pack_fk IN "
    "(SELECT id FROM pack WHERE study_instance_uid = ? AND tier = 'cold')"
)
_TO_UPLOAD: Final = Statement(
    "INSERT INTO upload (key, study_instance_uid, size_bytes, sha256, since) "
    "SELECT key, study_instance_uid, size_bytes, sha256, ? FROM pack WHERE study_instance_uid = ? AND tier = 'cold'"
)
_DROP_COLD_PACKS: Final = Statement("DELETE FROM pack WHERE study_instance_uid = ? AND tier = 'cold'")
_DROP_TRIMS: Final = Statement("DELETE FROM pack_trim WHERE study_instance_uid = ?")
_DROP_EVIDENCE: Final = Statement("DELETE FROM evidence WHERE study_instance_uid = ?")
_ONLY_COLD: Final = Statement(
    "SELECT COUNT(*) FROM location WHERE tier = 'cold' AND pack_fk IN "
    "(SELECT id FROM pack WHERE study_instance_uid = ? AND tier = 'cold') "
    "AND NOT EXISTS (SELECT 1 FROM location AS hot "
    "WHERE hot.instance_fk = location.instance_fk AND hot.tier = 'hot' AND hot.state = 'present') "
    "AND NOT EXISTS (SELECT 1 FROM retired WHERE retired.instance_fk = location.instance_fk)"
)


@dataclass(frozen=True, slots=True)
class StandIns:
    """What stands in for a hot pack: the cold packs, and how many of its instances none of them has."""

    packs: Sequence[PackRow]
    uncovered: int


def waiting(connection: Connection, before: datetime, after_key: str, limit: int) -> list[PackRow]:
    """Return the next hot packs that cold ones stand in for since before a moment, by key."""
    return [pack_row(row) for row in _WAITING.rows(connection, (to_text(before), after_key, limit))]


def waiting_of(connection: Connection, study_instance_uid: str) -> list[PackRow]:
    """Return the hot packs of a study that cold ones stand in for."""
    return [pack_row(row) for row in _OF_STUDY.rows(connection, (study_instance_uid,))]


def is_lossless_original(connection: Connection, hot_key: str) -> bool:
    """Tell whether a hot pack holds what lossy copies replaced."""
    return _IS_RETIRED.one(connection, (hot_key,)) is not None


def stand_ins(connection: Connection, hot_key: str) -> StandIns:
    """Return what stands in for all that is, or was, given from a hot pack."""
    missing = _NOT_COLD.one(connection, (hot_key, hot_key))
    found = [pack_row(row) for row in _STAND_INS.rows(connection, (hot_key, hot_key))]
    assert missing is not None
    return StandIns(found, int(missing[0]))


def forget_hot(connection: Connection, hot_key: str) -> None:
    """Take a hot pack that is gone out of the index."""
    for statement in _FORGET:
        statement.run(connection, (hot_key,))


def roll_back(connection: Connection, study_instance_uid: str, at: datetime) -> Sequence[PackRow]:
    """Give a study from its hot packs alone again; return these. Its cold packs wait to be discarded.

    Raises NotAsPlanned when something of it is in the cold store alone.
    """
    hot = waiting_of(connection, study_instance_uid)
    only_cold = _ONLY_COLD.one(connection, (study_instance_uid,))
    if not hot:
        raise NotAsPlanned("no hot pack of it waits to be trimmed: there is nothing to go back to")
    if only_cold is not None and only_cold[0]:
        raise NotAsPlanned(f"{only_cold[0]} of its instances are in the cold store alone")
    _DROP_COLD.run(connection, (study_instance_uid,))
    for pack in hot:
        row = _PACK_ID.one(connection, (pack.key,))
        assert row is not None
        for statement in (_PUT_BACK, _RETURN, _DROP_RETIRED):
            statement.run(connection, (row[0],))
    _TO_UPLOAD.run(connection, (to_text(at), study_instance_uid))
    for statement in (_DROP_SUCCESSORS, _DROP_COLD_PACKS, _DROP_TRIMS, _DROP_EVIDENCE):
        statement.run(connection, (study_instance_uid,))
    return hot
