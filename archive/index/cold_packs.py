"""Packs of the cold store for who takes in, repairs and holds them; must not touch an object, nor decide about one.

What is written here is about packs that were found in storage; what a migration writes is in ``cold``.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Final, NamedTuple

from archive.index.cold import pack_row
from archive.index.packs import PackedCopy, PackRow, copy_key
from archive.index.records import to_text
from archive.index.session import Connection
from archive.index.statements import Statement, insert_into, rows_in


class HoldRow(NamedTuple):
    """A cold pack for who mirrors holds; ``is_held``: the cold store was told to keep it."""

    row_id: int
    key: str
    study_instance_uid: str
    is_held: bool


_PACK: Final = (
    "key, tier, study_instance_uid, series_instance_uid, generation, size_bytes, sha256, created_at, store_generation"
)
_KNOWN: Final = "SELECT key FROM pack WHERE key IN (%s)"
_UPLOADING: Final = "SELECT key FROM upload WHERE key IN (%s)"
_FIND: Final = Statement(f"SELECT {_PACK} FROM pack WHERE key = ?")
_TWIN: Final = Statement(
    f"SELECT {_PACK} FROM pack WHERE study_instance_uid = ? AND series_instance_uid = ? AND tier = ? AND sha256 = ? "
    "AND size_bytes = ? AND key <> ? ORDER BY key LIMIT 1"
)
_ADD_PACK: Final = insert_into("pack", _PACK.split(", "), " RETURNING id")
_PACK_ID: Final = Statement("SELECT id FROM pack WHERE key = ?")
_ADD_COPIES: Final = Statement(
    "INSERT INTO location (instance_fk, tier, key, sha256, header_size, size_bytes, state, pack_fk, offset_bytes, "
    "transfer_syntax_uid, dataset_sha256) SELECT instance_fk, 'cold', CAST(? AS TEXT) || SUBSTR(key, ?), sha256, "
    "header_size, size_bytes, 'present', CAST(? AS BIGINT), offset_bytes, transfer_syntax_uid, dataset_sha256 "
    "FROM location WHERE pack_fk = ?"
)
_START_GRACE: Final = insert_into(
    "pack_trim", ("key", "study_instance_uid", "since"), " ON CONFLICT (key) DO UPDATE SET since = excluded.since"
)
_COPY_OF: Final = Statement(
    "SELECT instance.id FROM successor JOIN instance ON instance.sop_instance_uid = successor_uid "
    "WHERE successor.sop_instance_uid = ? AND successor_uid <> successor.sop_instance_uid"
)
_RETIRE: Final = insert_into(
    "retired",
    (
        *("key", "instance_fk", "sha256", "header_size", "size_bytes", "pack_fk", "offset_bytes"),
        *("transfer_syntax_uid", "dataset_sha256"),
    ),
    " ON CONFLICT (key) DO NOTHING",
)
_REPLACED: Final = "SELECT sop_instance_uid, dataset_sha256 FROM successor WHERE sop_instance_uid IN (%s)"
_DIGESTS: Final = "SELECT sop_instance_uid, dataset_sha256 FROM instance WHERE sop_instance_uid IN (%s)"
_HOLDING: Final = (
    "SELECT DISTINCT pack.key, pack.tier, pack.study_instance_uid, pack.series_instance_uid, pack.generation, "
    "pack.size_bytes, pack.sha256, pack.created_at, pack.store_generation FROM pack JOIN location ON pack_fk = pack.id "
    "JOIN instance ON instance.id = instance_fk WHERE pack.tier = 'cold' AND sop_instance_uid IN (%s)"
)
_MOVE_PACK: Final = Statement("UPDATE pack SET key = ?, store_generation = ?, held_at = NULL WHERE key = ?")
_MOVE_COPIES: Final = Statement(
    "UPDATE location SET key = CAST(? AS TEXT) || SUBSTR(key, ?), state = 'present', verified_at = ? "
    "WHERE pack_fk = (SELECT id FROM pack WHERE key = ?)"
)
_MOVE: Final = (
    Statement("UPDATE pack_trim SET key = ? WHERE key = ?"),
    Statement("UPDATE evidence SET pack_key = ? WHERE pack_key = ?"),
)
_DROP_THAW: Final = Statement("DELETE FROM thaw WHERE pack_key = ?")
_TO_HOLD: Final = (
    "SELECT id, key, study_instance_uid, CASE WHEN held_at IS NULL THEN 0 ELSE 1 END FROM pack WHERE tier = 'cold'"
)
_HOLD_PAGE: Final = Statement(f"{_TO_HOLD} AND id > ? ORDER BY id LIMIT ?")
_HOLD_OF: Final = f"{_TO_HOLD} AND study_instance_uid IN (%s)"
_SET_HELD: Final = Statement("UPDATE pack SET held_at = ? WHERE key = ? AND tier = 'cold'")
_HELD: Final = "SELECT key FROM pack WHERE held_at IS NOT NULL AND key IN (%s)"
_ARE_COLD: Final = Statement("SELECT 1 FROM pack WHERE tier = 'cold' LIMIT 1")
_STALE_UPLOADS: Final = Statement("SELECT key, since FROM upload WHERE since < ? AND key > ? ORDER BY key LIMIT ?")


# ---- taking in -----------------------------------------------------------------------------------------------------


def unknown(connection: Connection, keys: Sequence[str]) -> list[str]:
    """Return those of these keys of the cold store that the index has neither as packs nor as put for a migration."""
    known = {key for sql in (_KNOWN, _UPLOADING) for (key,) in rows_in(connection, sql, keys)}
    return [key for key in keys if key not in known]


def find(connection: Connection, key: str) -> PackRow | None:
    """Return a pack of either tier, or None."""
    row = _FIND.one(connection, (key,))
    return None if row is None else pack_row(row)


def find_twin(connection: Connection, pack: PackRow, tier: str) -> PackRow | None:
    """Return another pack, of a tier, that is byte for byte the same as ``pack``; None when there is none."""
    values = (pack.study_instance_uid, pack.series_instance_uid, tier, pack.sha256, pack.size_bytes, pack.key)
    row = _TWIN.one(connection, values)
    return None if row is None else pack_row(row)


def attach_twin(connection: Connection, hot: PackRow, cold: PackRow, at: datetime) -> int:
    """Index a cold pack that is byte for byte a hot one, as one more copy of all in it; return how many.

    The grace of the hot one starts again.
    """
    hot_id, cold_id = _PACK_ID.one(connection, (hot.key,)), _ADD_PACK.one(connection, _values(cold))
    assert hot_id is not None
    assert cold_id is not None
    copies: int = _ADD_COPIES.run(connection, (cold.key, len(hot.key) + 1, cold_id[0], hot_id[0])).rowcount
    _START_GRACE.run(connection, (hot.key, hot.study_instance_uid, to_text(at)))
    return copies


def stand_in_again(connection: Connection, hot: PackRow, copies: Sequence[PackedCopy], at: datetime) -> None:
    """Let a hot pack that was just indexed wait to be trimmed where cold copies stand in for it.

    They do when a cold pack is byte for byte the same, or when lossy copies took the place of all that it holds: a
    rollback can go back to it then.
    """
    pack_id, is_needed = _PACK_ID.one(connection, (hot.key,)), find_twin(connection, hot, "cold") is not None
    assert pack_id is not None
    found = [(copy, _COPY_OF.one(connection, (copy.sop_instance_uid,))) for copy in copies]
    for copy, row in found:
        if row is not None:
            _RETIRE.run(connection, _retired(hot, pack_id[0], copy, row[0]))
    if is_needed or all(row is not None for _, row in found):
        _START_GRACE.run(connection, (hot.key, hot.study_instance_uid, to_text(at)))


def wait_behind(connection: Connection, pack: PackRow, copies: Sequence[PackedCopy], at: datetime) -> bool:
    """Index a cold pack that lossy copies took the place of: it waits to be trimmed, and can be gone back to.

    Tell whether it was: they must have taken the place of all that it holds.
    """
    found = [(copy, _COPY_OF.one(connection, (copy.sop_instance_uid,))) for copy in copies]
    if any(row is None for _, row in found):
        return False
    pack_id = _ADD_PACK.one(connection, _values(pack))
    assert pack_id is not None
    for copy, row in found:
        assert row is not None
        _RETIRE.run(connection, _retired(pack, pack_id[0], copy, row[0]))
    _START_GRACE.run(connection, (pack.key, pack.study_instance_uid, to_text(at)))
    return True


def _retired(hot: PackRow, pack_id: int, copy: PackedCopy, instance_id: int) -> tuple[object, ...]:
    where = (copy_key(hot.key, copy.name), instance_id, copy.sha256, copy.header_size, copy.size_bytes)
    return (*where, pack_id, copy.offset_bytes, copy.transfer_syntax_uid, copy.dataset_sha256)


def replaced(connection: Connection, sop_instance_uids: Collection[str]) -> dict[str, bytes]:
    """Return the digest as received of those of these instances whose place a lossy copy took."""
    return {uid: bytes(digest) for uid, digest in rows_in(connection, _REPLACED, sop_instance_uids)}


def digests(connection: Connection, sop_instance_uids: Collection[str]) -> dict[str, bytes]:
    """Return the digests of those of these instances that the index has, as they are now."""
    return {uid: bytes(digest) for uid, digest in rows_in(connection, _DIGESTS, sop_instance_uids)}


def holding(connection: Connection, sop_instance_uids: Collection[str]) -> list[PackRow]:
    """Return the cold packs that copies of these instances lie in."""
    found = {str(row[0]): pack_row(row) for row in rows_in(connection, _HOLDING, sop_instance_uids)}
    return [found[key] for key in sorted(found)]


# ---- repairing -----------------------------------------------------------------------------------------------------


def move(connection: Connection, old_key: str, new: PackRow, at: datetime) -> None:
    """Say that a pack lies whole under another key, with all its copies; whoever had the old key of it has the new."""
    _MOVE_COPIES.run(connection, (new.key, len(old_key) + 1, to_text(at), old_key))
    _MOVE_PACK.run(connection, (new.key, new.store_generation, old_key))
    for statement in _MOVE:
        statement.run(connection, (new.key, old_key))
    _DROP_THAW.run(connection, (old_key,))


def is_taken(connection: Connection, key: str) -> bool:
    """Tell whether a key names, or may name, an object by what the index has."""
    return not unknown(connection, [key])


def stale_uploads(connection: Connection, before: datetime, after_key: str, limit: int) -> list[str]:
    """Return the next keys that were to be put before a moment and stand in for nothing."""
    return [key for key, _ in _STALE_UPLOADS.rows(connection, (to_text(before), after_key, limit))]


# ---- holding -------------------------------------------------------------------------------------------------------


def hold_page(connection: Connection, after_id: int, limit: int) -> list[HoldRow]:
    """Return the next cold packs by row."""
    return [_hold_row(row) for row in _HOLD_PAGE.rows(connection, (after_id, limit))]


def hold_rows_of(connection: Connection, study_instance_uids: Collection[str]) -> list[HoldRow]:
    """Return the cold packs of these studies."""
    return [_hold_row(row) for row in rows_in(connection, _HOLD_OF, study_instance_uids)]


def set_held(connection: Connection, key: str, at: datetime | None) -> None:
    """Say since when the cold store keeps a pack because we asked, None that it does not."""
    _SET_HELD.run(connection, (None if at is None else to_text(at), key))


def held(connection: Connection, keys: Collection[str]) -> set[str]:
    """Return those of these packs that the cold store keeps because we asked."""
    return {key for (key,) in rows_in(connection, _HELD, keys)}


def exist(connection: Connection) -> bool:
    """Tell whether anything is in the cold tier."""
    return _ARE_COLD.one(connection) is not None


def _hold_row(row: Sequence[object]) -> HoldRow:
    row_id, key, study, is_held = row
    assert isinstance(row_id, int)
    return HoldRow(row_id, str(key), str(study), bool(is_held))


def _values(pack: PackRow) -> tuple[object, ...]:
    return (
        *(pack.key, pack.tier, pack.study_instance_uid, pack.series_instance_uid, pack.generation, pack.size_bytes),
        *(pack.sha256, to_text(pack.created_at), pack.store_generation),
    )
