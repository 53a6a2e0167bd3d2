"""Which copies are to be verified next: those that were longest not; must not read one, nor judge it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple

from archive.index.cold import pack_row
from archive.index.packs import PackRow
from archive.index.records import LocatedCopy, StoredLocation, from_text, to_text
from archive.index.session import Connection
from archive.index.statements import Statement


class Turn(NamedTuple):
    """Whose turn it is: row, and when it was verified last, "" for never. They come in this order."""

    verified_at: str
    row_id: int


FIRST: Final = Turn("", 0)


class PackCopy(NamedTuple):
    """A copy in a cold pack: where it begins, and the digests (32 bytes) of its header and its data set."""

    key: str
    sop_instance_uid: str
    offset_bytes: int
    header_size: int
    size_bytes: int
    sha256: bytes
    dataset_sha256: bytes
    state: str


@dataclass(frozen=True, slots=True)
class ColdPack:
    """A cold pack and every copy that the index has in it, in their order there; of a replaced one, those it gave."""

    row: PackRow
    copies: Sequence[PackCopy]


_PACK: Final = (
    "pack.key, tier, study_instance_uid, series_instance_uid, generation, size_bytes, sha256, created_at, "
    "store_generation"
)
_IS_GIVEN: Final = "NOT EXISTS (SELECT 1 FROM pack_trim WHERE pack_trim.key = pack.key)"
"""A cold pack in its grace period has no turn: it is read with the one that took its place."""
_OF_PACK: Final = "(SELECT MIN(COALESCE(verified_at, '')) FROM location WHERE pack_fk = pack.id)"
_TURNS: Final = (
    "SELECT turn, id FROM (SELECT id, CASE WHEN at > ? THEN '' ELSE COALESCE(at, '') END AS turn "
    "FROM ({}) AS dated) AS turns WHERE turn > ? OR (turn = ? AND id > ?) ORDER BY turn, id LIMIT ?"
)
"""A date in the future says nothing: the clock was wrong then."""
_COLD_TURNS: Final = Statement(
    _TURNS.format(f"SELECT id, {_OF_PACK} AS at FROM pack WHERE tier = 'cold' AND {_IS_GIVEN}")
)
_HOT_TURNS: Final = Statement(_TURNS.format("SELECT id, verified_at AS at FROM location WHERE tier = 'hot'"))
_COUNT_COLD: Final = Statement(f"SELECT COUNT(*) FROM pack WHERE tier = 'cold' AND {_IS_GIVEN}")
_COUNT_HOT: Final = Statement("SELECT COUNT(*) FROM location WHERE tier = 'hot'")
_COLD_PACK: Final = Statement(f"SELECT {_PACK} FROM pack WHERE id = ?")
_COPIES: Final = Statement(
    "SELECT location.key, sop_instance_uid, offset_bytes, header_size, size_bytes, sha256, "
    "COALESCE(location.dataset_sha256, instance.dataset_sha256), state "
    "FROM location JOIN instance ON instance.id = instance_fk WHERE pack_fk = ? ORDER BY offset_bytes"
)
_RETIRED: Final = Statement(
    "SELECT retired.key, sop_instance_uid, offset_bytes, header_size, size_bytes, sha256, retired.dataset_sha256, "
    "'present' FROM retired JOIN instance ON instance.id = instance_fk WHERE pack_fk = ? ORDER BY offset_bytes"
)
_BEHIND: Final = Statement(
    "SELECT DISTINCT pack.id FROM location JOIN retired ON retired.instance_fk = location.instance_fk "
    "JOIN pack ON pack.id = retired.pack_fk WHERE location.pack_fk = ? AND pack.tier = 'cold' ORDER BY 1"
)
_HOT_COPY: Final = Statement(
    "SELECT location.id, sop_instance_uid, instance.dataset_sha256, dataset_size, verified_at, location.tier, "
    "location.key, location.sha256, location.header_size, location.size_bytes, state, pack.key, offset_bytes, "
    "location.transfer_syntax_uid, location.dataset_sha256 FROM location JOIN instance ON instance.id = instance_fk "
    "LEFT JOIN pack ON pack.id = pack_fk WHERE location.id = ?"
)
_HOT_RETIRED: Final = Statement(
    "SELECT 0, sop_instance_uid, retired.dataset_sha256, dataset_size, NULL, 'hot', retired.key, retired.sha256, "
    "retired.header_size, retired.size_bytes, 'present', pack.key, offset_bytes, retired.transfer_syntax_uid, "
    "retired.dataset_sha256 FROM retired JOIN instance ON instance.id = instance_fk JOIN pack ON pack.id = pack_fk "
    "WHERE pack.tier = 'hot' AND retired.key > ? ORDER BY retired.key LIMIT ?"
)
_COUNT_RETIRED: Final = Statement("SELECT COUNT(*) FROM retired JOIN pack ON pack.id = pack_fk WHERE tier = 'hot'")
_RETIRED_BEFORE: Final = Statement(
    "SELECT retired.key FROM retired JOIN pack ON pack.id = pack_fk WHERE tier = 'hot' ORDER BY 1 LIMIT 1 OFFSET ?"
)
_BROKEN: Final = Statement(
    f"SELECT {_PACK} FROM pack WHERE tier = ? AND pack.key > ? AND EXISTS "
    "(SELECT 1 FROM location WHERE pack_fk = pack.id AND state <> 'present') ORDER BY pack.key LIMIT ?"
)


def cold_turns(connection: Connection, now: datetime, after: Turn, limit: int) -> list[Turn]:
    """Return the next cold packs after one, those that were verified longest before ``now`` first."""
    return [Turn(at, row_id) for at, row_id in _COLD_TURNS.rows(connection, _bounds(now, after, limit))]


def hot_turns(connection: Connection, now: datetime, after: Turn, limit: int) -> list[Turn]:
    """Return the next hot copies after one, those that were verified longest before ``now`` first."""
    return [Turn(at, row_id) for at, row_id in _HOT_TURNS.rows(connection, _bounds(now, after, limit))]


def count_cold(connection: Connection) -> int:
    """Return how many cold packs there are."""
    return _count(_COUNT_COLD, connection)


def count_hot(connection: Connection) -> int:
    """Return how many hot copies there are."""
    return _count(_COUNT_HOT, connection)


def count_retired(connection: Connection) -> int:
    """Return how many hot copies there are that lossy ones replaced."""
    return _count(_COUNT_RETIRED, connection)


def retired_key(connection: Connection, number: int) -> str:
    """Return the key of one of them, counted from 0 in the order of keys; "" when there are no more so many."""
    row = _RETIRED_BEFORE.one(connection, (number,))
    return "" if row is None else str(row[0])


def retired_copies(connection: Connection, after_key: str, limit: int) -> list[LocatedCopy]:
    """Return the next copies that lossy ones replaced, by key; nobody keeps in which state they are."""
    return [_located(row) for row in _HOT_RETIRED.rows(connection, (after_key, limit))]


def find_cold_pack(connection: Connection, row_id: int) -> ColdPack | None:
    """Return a pack with its copies, None when it went since."""
    row = _COLD_PACK.one(connection, (row_id,))
    if row is None:
        return None
    rows = list(_COPIES.rows(connection, (row_id,))) or _RETIRED.rows(connection, (row_id,))
    copies = [PackCopy._make(copy) for copy in rows]
    return ColdPack(
        pack_row(row),
        [copy._replace(sha256=bytes(copy.sha256), dataset_sha256=bytes(copy.dataset_sha256)) for copy in copies],
    )


def behind(connection: Connection, row_id: int) -> list[int]:
    """Return the rows of the lossless cold packs in their grace period that a lossy one took the place of."""
    return [row[0] for row in _BEHIND.rows(connection, (row_id,))]


def find_hot_copies(connection: Connection, turns: Sequence[Turn]) -> list[LocatedCopy]:
    """Return the copies whose turn it is, without those that went since."""
    rows = [_HOT_COPY.one(connection, (turn.row_id,)) for turn in turns]
    return [_located(row) for row in rows if row is not None]


def broken_packs(connection: Connection, tier: str, after_key: str, limit: int) -> list[PackRow]:
    """Return the next packs of a tier, by key, in which a copy is damaged or missing."""
    return [pack_row(row) for row in _BROKEN.rows(connection, (tier, after_key, limit))]


def _bounds(now: datetime, after: Turn, limit: int) -> tuple[object, ...]:
    return (to_text(now), after.verified_at, after.verified_at, after.row_id, limit)


def _count(statement: Statement, connection: Connection) -> int:
    row = statement.one(connection)
    assert row is not None
    return int(row[0])


def _located(row: Sequence[object]) -> LocatedCopy:
    location_id, uid, digest, size, verified_at, *copy = row
    moment = None if verified_at is None else from_text(str(verified_at))
    assert isinstance(location_id, int)
    assert isinstance(size, int)
    assert isinstance(digest, bytes)
    return LocatedCopy(location_id, str(uid), digest, size, moment, StoredLocation(*copy))  # type: ignore[arg-type]
